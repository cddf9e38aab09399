//! The memory of one upload, going round: filled from the network, read by hashes and store, free
//! again when the last of them has dropped it. So aligned that a direct write needs no copy of its
//! own, and reused, since fresh memory costs a page fault for every 4 KiB.

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

/// Addresses, lengths and offsets of direct reads and writes are multiples of this.
pub const DIRECT_ALIGNMENT: usize = 4096;

/// Bytes written at once: direct writes of this size cost a third of buffered ones.
pub const BLOCK: usize = 1 << 20;

/// Memory at an aligned address, filled from the front.
pub(crate) struct Block {
    /// Longer than its size by one alignment; never reallocated, so that `start` stays right.
    memory: Vec<u8>,
    start: usize,
    len: usize,
    size: usize,
}

impl Block {
    /// Of `size` bytes. Allocates nothing before the first byte.
    pub(crate) fn new(size: usize) -> Self {
        Self {
            memory: Vec::new(),
            start: 0,
            len: 0,
            size,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len == self.size
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        let end = self.start + self.len;
        self.memory.get(self.start..end).unwrap_or_default()
    }

    /// Takes from the front of `data` what fits.
    pub(crate) fn fill(&mut self, data: &mut Bytes) {
        if self.memory.is_empty() {
            self.memory = vec![0; self.size + DIRECT_ALIGNMENT];
            let start = self.memory.as_ptr().align_offset(DIRECT_ALIGNMENT);
            self.start = start.min(DIRECT_ALIGNMENT);
        }
        let from = self.start + self.len;
        let to = self.start + self.size;
        let room = self.memory.get_mut(from..to).unwrap_or_default();
        let taken = room.len().min(data.len());
        let (room, _) = room.split_at_mut(taken);
        data.copy_to_slice(room);
        self.len += taken;
    }
}

/// A fixed number of buffers, each in one hand at a time.
pub struct Buffers {
    size: usize,
    /// Those that were not made yet.
    unmade: usize,
    free: mpsc::UnboundedReceiver<Block>,
    back: mpsc::UnboundedSender<Block>,
}

impl Buffers {
    /// At most `count` buffers of `size` bytes; made when they are first needed.
    pub fn new(count: usize, size: usize) -> Self {
        // Not more messages than buffers.
        let (back, free) = mpsc::unbounded_channel();
        Self {
            size: size.max(1),
            unmade: count.max(1),
            free,
            back,
        }
    }

    /// An empty buffer; waits until one is free.
    pub async fn take(&mut self) -> Buffer {
        let block = match self.free.try_recv() {
            Ok(block) => Some(block),
            Err(_) if self.unmade > 0 => {
                self.unmade -= 1;
                None
            }
            Err(_) => self.free.recv().await,
        };
        let mut block = block.unwrap_or_else(|| Block::new(self.size));
        block.clear();
        let back = self.back.clone();
        Buffer { block, back }
    }
}

/// One buffer, being filled. Dropped, it is lost to its [`Buffers`]; [`Buffer::freeze`] is the way
/// back.
pub struct Buffer {
    block: Block,
    back: mpsc::UnboundedSender<Block>,
}

impl Buffer {
    /// Takes from the front of `data` what fits.
    pub fn fill(&mut self, data: &mut Bytes) {
        self.block.fill(data);
    }

    /// Nothing fits any more.
    pub fn is_full(&self) -> bool {
        self.block.is_full()
    }

    /// What it was filled with. The buffer is free again when the last clone is dropped.
    pub fn freeze(self) -> Bytes {
        let block = Some(self.block);
        let back = self.back;
        Bytes::from_owner(Lent { block, back })
    }
}

/// A block in other hands, which comes back by itself.
struct Lent {
    block: Option<Block>,
    back: mpsc::UnboundedSender<Block>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.block.as_ref().map_or(&[], Block::as_slice)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            // Nobody waits for it when the upload has ended.
            let _ = self.back.send(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_block_is_aligned_and_takes_no_more_than_fits() {
        let mut block = Block::new(BLOCK);
        let mut data = Bytes::from(vec![7; BLOCK + 5]);
        block.fill(&mut data);
        assert_eq!(data.len(), 5);
        assert!(block.is_full());
        assert_eq!(block.as_slice().as_ptr().addr() % DIRECT_ALIGNMENT, 0);
        block.clear();
        block.fill(&mut data);
        assert_eq!(block.as_slice(), [7; 5]);
    }

    #[test]
    fn a_buffer_is_free_again_when_the_last_reader_drops_it() {
        let mut buffers = Buffers::new(2, 8);
        let fill = |buffers: &mut Buffers, byte: u8| {
            let mut buffer = buffers.take().now_or_never()?;
            buffer.fill(&mut Bytes::from(vec![byte; 3]));
            Some(buffer.freeze())
        };
        let first = fill(&mut buffers, 1).unwrap();
        let second = fill(&mut buffers, 2).unwrap();
        assert_eq!((&first[..], &second[..]), (&[1; 3][..], &[2; 3][..]));
        let reader = first.clone();
        let place = first.as_ptr();
        drop(first);
        assert!(fill(&mut buffers, 3).is_none());
        drop(reader);
        let third = fill(&mut buffers, 3).unwrap();
        assert_eq!(third.as_ptr(), place);
        assert_eq!((&third[..], &second[..]), (&[3; 3][..], &[2; 3][..]));
    }
}
