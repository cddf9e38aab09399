//! Chunks: their size, their names, and the one that is never stored.

use std::fmt;

/// Bytes of image data in one chunk (the last of an image may be shorter).
pub const CHUNK_SIZE: u32 = 1 << 20;

/// A chunk of zeros, for all who serve or compare one.
pub(crate) static ZEROS: [u8; CHUNK_SIZE as usize] = [0; CHUNK_SIZE as usize];

/// The name of a chunk: BLAKE3 of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkName(pub [u8; 32]);

/// What an image says of one of its chunks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChunkRef {
    /// All zeros: never stored.
    Zero,
    /// Anything else.
    Data(ChunkName),
}

impl ChunkName {
    /// The name of these bytes, given in pieces.
    pub fn of<T: AsRef<[u8]>>(pieces: impl IntoIterator<Item = T>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for piece in pieces {
            hasher.update(piece.as_ref());
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// Enough of it to recognize it by, where a mistake does no harm.
    pub(crate) fn short(self) -> u64 {
        self.0
            .first_chunk()
            .map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

impl fmt::Debug for ChunkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", blake3::Hash::from_bytes(self.0).to_hex())
    }
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(data: &[u8]) -> bool {
    // Slices are compared by memcmp, which is fast in every build.
    data.chunks(ZEROS.len())
        .all(|part| ZEROS.get(..part.len()) == Some(part))
}
