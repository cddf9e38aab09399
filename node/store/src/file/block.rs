//! The buffer of one write: so aligned that a direct write needs no further copy.

use bytes::{Buf, Bytes};

use super::disk::DIRECT_ALIGNMENT;

/// Bytes written at once: direct writes of this size cost a third of buffered ones.
pub(super) const BLOCK: usize = 1 << 20;

/// Up to [`BLOCK`] bytes at an aligned address.
pub(super) struct Block {
    /// Longer than a block by one alignment; never reallocated, so that `start` stays right.
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Block {
    pub(super) fn new() -> Self {
        let memory = vec![0; BLOCK + DIRECT_ALIGNMENT];
        let start = memory.as_ptr().align_offset(DIRECT_ALIGNMENT);
        Self {
            memory,
            start: start.min(DIRECT_ALIGNMENT),
            len: 0,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == BLOCK
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        let end = self.start + self.len;
        self.memory.get(self.start..end).unwrap_or_default()
    }

    /// Takes from the front of `data` what fits.
    pub(super) fn fill(&mut self, data: &mut Bytes) {
        let from = self.start + self.len;
        let to = self.start + BLOCK;
        let room = self.memory.get_mut(from..to).unwrap_or_default();
        let taken = room.len().min(data.len());
        let (room, _) = room.split_at_mut(taken);
        data.copy_to_slice(room);
        self.len += taken;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_aligned_and_takes_no_more_than_fits() {
        let mut block = Block::new();
        let mut data = Bytes::from(vec![7; BLOCK + 5]);
        block.fill(&mut data);
        assert_eq!(data.len(), 5);
        assert!(block.is_full());
        assert_eq!(block.as_slice().as_ptr().addr() % DIRECT_ALIGNMENT, 0);
        block.clear();
        block.fill(&mut data);
        assert_eq!(block.as_slice(), [7; 5]);
    }
}
