//! The parts of a stream that the formats keep. How much is kept is bounded by constants of this
//! program, never by a length field of the image.

/// Bytes of one region at most: a VMDK descriptor of just below 1 MiB.
pub(super) const MAX_REGION: usize = (1 << 20) - 1;

/// Bytes `start..start + length` of the stream.
#[derive(Debug)]
pub(super) struct Region {
    start: u64,
    length: usize,
    data: Vec<u8>,
}

impl Region {
    /// A region to come. Longer ones than [`MAX_REGION`] are cut to it.
    pub(super) fn new(start: u64, length: usize) -> Self {
        Self {
            start,
            length: length.min(MAX_REGION),
            data: Vec::new(),
        }
    }

    /// Keeps what belongs to it of a piece that starts at `at`. Pieces come in order.
    pub(super) fn take(&mut self, at: u64, piece: &[u8]) {
        let missing = self.length - self.data.len();
        if missing == 0 {
            return;
        }
        let next = self.start.saturating_add(self.data.len() as u64);
        let Some(new) = next
            .checked_sub(at)
            .and_then(|skip| piece.get(usize::try_from(skip).ok()?..))
        else {
            return;
        };
        self.data
            .extend_from_slice(new.get(..missing).unwrap_or(new));
    }

    /// All of it is there.
    pub(super) fn is_complete(&self) -> bool {
        self.data.len() == self.length
    }

    /// What is there.
    pub(super) fn data(&self) -> &[u8] {
        &self.data
    }
}

/// The last bytes of the stream.
#[derive(Debug)]
pub(super) struct Tail {
    length: usize,
    data: Vec<u8>,
}

impl Tail {
    pub(super) const fn new(length: usize) -> Self {
        Self {
            length,
            data: Vec::new(),
        }
    }

    pub(super) fn take(&mut self, piece: &[u8]) {
        let new = piece
            .len()
            .checked_sub(self.length)
            .and_then(|skip| piece.get(skip..))
            .unwrap_or(piece);
        let excess = (self.data.len() + new.len()).saturating_sub(self.length);
        self.data.drain(..excess);
        self.data.extend_from_slice(new);
    }

    /// All of them, once the stream was that long.
    pub(super) fn data(&self) -> Option<&[u8]> {
        (self.data.len() == self.length).then_some(&*self.data)
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.data.len()
    }
}

/// The `N` bytes at `offset`.
pub(super) fn bytes<const N: usize>(data: &[u8], offset: usize) -> Option<[u8; N]> {
    data.get(offset..)?.first_chunk().copied()
}
