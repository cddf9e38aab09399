//! From image data that arrives in pieces of any size to its manifest, without keeping any of it.

use crate::{
    chunk::{CHUNK_SIZE, ChunkName, ChunkRef, ZEROS, is_zero},
    manifest::Manifest,
};

/// Computes a manifest from image data that arrives in pieces of any size.
#[derive(Default)]
pub struct ManifestBuilder {
    manifest: Manifest,
    length: u64,
    /// Bytes of the chunk under way.
    filled: usize,
    /// Hash of the chunk under way, from its first piece that is not all zeros: zeros before it are
    /// only counted until then, so that a hole costs a comparison and no hash.
    hasher: Option<Box<blake3::Hasher>>,
}

impl ManifestBuilder {
    /// Starts an empty image.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, mut data: &[u8]) {
        self.length = self.length.saturating_add(data.len() as u64);
        while !data.is_empty() {
            let room = ZEROS.len() - self.filled;
            let (piece, rest) = data.split_at(room.min(data.len()));
            self.take(piece);
            if self.filled == ZEROS.len() {
                self.end_chunk();
            }
            data = rest;
        }
    }

    /// Ends the image.
    pub fn finish(mut self) -> Manifest {
        if self.filled > 0 {
            self.end_chunk();
        }
        self.manifest.set_length(self.length);
        self.manifest
    }

    fn take(&mut self, piece: &[u8]) {
        match &mut self.hasher {
            Some(hasher) => drop(hasher.update(piece)),
            None if is_zero(piece) => {}
            None => {
                let mut hasher = Box::<blake3::Hasher>::default();
                hasher.update(ZEROS.get(..self.filled).unwrap_or_default());
                hasher.update(piece);
                self.hasher = Some(hasher);
            }
        }
        self.filled += piece.len();
    }

    fn end_chunk(&mut self) {
        let chunk = match self.hasher.take() {
            Some(hasher) => ChunkRef::Data(ChunkName(*hasher.finalize().as_bytes())),
            None => ChunkRef::Zero,
        };
        self.filled = 0;
        let counted = self.manifest.push(chunk, 1);
        debug_assert!(
            counted.is_some(),
            "an image of more than {} chunks of {CHUNK_SIZE}",
            u32::MAX
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// So many cases, as each hashes megabytes, or as many as the environment asks for where that
    /// is more.
    fn cases(least: u32) -> ProptestConfig {
        let asked = std::env::var("PROPTEST_CASES").unwrap_or_default();
        ProptestConfig::with_cases(asked.parse().unwrap_or(0).max(least))
    }

    proptest! {
        #![proptest_config(cases(24))]

        #[test]
        fn the_manifest_does_not_depend_on_the_pieces(
            runs in prop::collection::vec((0..2_500_000_usize, any::<bool>()), 0..4),
            pieces in prop::collection::vec(1..1_500_000_usize, 1..6),
        ) {
            let mut data = Vec::new();
            for (len, zero) in runs {
                let from = data.len();
                data.extend((from..from + len).map(|at| if zero { 0 } else { (at % 251) as u8 }));
            }
            let mut builder = ManifestBuilder::new();
            let mut rest = data.as_slice();
            for piece in pieces.iter().cycle() {
                let (piece, after) = rest.split_at((*piece).min(rest.len()));
                builder.update(piece);
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            let manifest = builder.finish();
            prop_assert_eq!(manifest.length(), data.len() as u64);
            let chunks: Vec<&[u8]> = data.chunks(CHUNK_SIZE as usize).collect();
            prop_assert_eq!(manifest.chunk_count() as usize, chunks.len());
            for (index, chunk) in (0..).zip(chunks) {
                let expected = match chunk.iter().all(|byte| *byte == 0) {
                    true => ChunkRef::Zero,
                    false => ChunkRef::Data(ChunkName::of([chunk])),
                };
                prop_assert_eq!(manifest.chunk(index), expected);
                prop_assert_eq!(manifest.chunk_len(index) as usize, chunk.len());
            }
        }
    }

    #[test]
    fn an_image_of_nothing_has_no_chunks() {
        let manifest = ManifestBuilder::new().finish();
        assert_eq!((manifest.length(), manifest.chunk_count()), (0, 0));
        let (name, body) = manifest.encode();
        assert_eq!(Manifest::decode(name, &body).unwrap(), manifest);
    }
}
