//! A bound on the memory that requests hold while they wait for their clients: JSON bodies that are
//! not complete, and JSON answers that are not taken (`limits.json_memory`). Without it as many
//! slow clients as there are connections hold a body or a page each.
//!
//! What is small is not counted, so that ordinary requests are answered while the rest is held;
//! it is bounded by the number of connections.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use bytes::Bytes;

use crate::api::error::ApiError;

/// Bytes of one body or answer that are not counted: a page of usual length fits, and with the
/// default `limits.connections` all of them together take no more than is counted.
pub(super) const SMALL: usize = 64 << 10;

/// What all requests of one node may hold.
#[derive(Debug)]
pub struct Memory {
    bound: usize,
    held: AtomicUsize,
    refused: AtomicU64,
}

impl Memory {
    /// None of `bound` bytes is held.
    pub fn new(bound: usize) -> Arc<Self> {
        Arc::new(Self {
            bound,
            held: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// Bytes that are counted now.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed) as u64
    }

    /// Requests and answers that found no room.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Room for one body or answer, none yet.
    pub(super) fn room(self: &Arc<Self>) -> Room {
        Room {
            memory: Arc::clone(self),
            counted: 0,
        }
    }
}

/// The bytes that one body or answer holds, given back when dropped.
#[derive(Debug)]
pub(super) struct Room {
    memory: Arc<Memory>,
    counted: usize,
}

impl Room {
    /// Makes it as large as `bytes`. One that does not fit any more is left as it was.
    ///
    /// # Errors
    /// 503: the others hold too much.
    pub(super) fn resize(&mut self, bytes: usize) -> Result<(), ApiError> {
        let wanted = if bytes <= SMALL { 0 } else { bytes };
        let Memory {
            bound,
            held,
            refused,
        } = &*self.memory;
        let resized = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            let others = held - self.counted;
            let fits = wanted <= self.counted || wanted <= bound.saturating_sub(others);
            fits.then_some(others + wanted)
        });
        if resized.is_err() {
            refused.fetch_add(1, Ordering::Relaxed);
            return Err(ApiError::busy("large requests and answers"));
        }
        self.counted = wanted;
        Ok(())
    }

    /// The answer, which takes its room for as long as the connection holds any of it. A body that
    /// held the room itself would be dropped when its bytes are queued, long before they are sent.
    pub(super) fn hold(self, answer: Vec<u8>) -> Bytes {
        if self.counted == 0 {
            return answer.into();
        }
        Bytes::from_owner(Held {
            answer,
            _room: self,
        })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.memory.held.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

struct Held {
    answer: Vec<u8>,
    _room: Room,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_large_is_counted_until_it_is_dropped() {
        let memory = Memory::new(4 * SMALL);
        let mut body = memory.room();
        body.resize(SMALL).unwrap();
        assert_eq!(memory.held(), 0);
        body.resize(2 * SMALL).unwrap();
        body.resize(3 * SMALL).unwrap();
        let mut other = memory.room();
        let refused = other.resize(2 * SMALL).unwrap_err();
        assert_eq!((refused.status.as_u16(), memory.refused()), (503, 1));
        assert!(refused.retry_after.is_some());
        // What is small is answered all the same; what is there may shrink.
        other.resize(SMALL).unwrap();
        body.resize(2 * SMALL).unwrap();
        other.resize(2 * SMALL).unwrap();
        assert_eq!(memory.held(), 4 * SMALL as u64);
        drop((body, other));
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn an_answer_is_counted_for_as_long_as_a_part_of_it_is_held() {
        let memory = Memory::new(4 * SMALL);
        let answer = vec![7; 2 * SMALL];
        let mut room = memory.room();
        room.resize(answer.len()).unwrap();
        let bytes = room.hold(answer);
        // As a connection queues it.
        let part = bytes.slice(2 * SMALL - 1..);
        drop(bytes);
        assert_eq!(memory.held(), 2 * SMALL as u64);
        assert_eq!(part, [7][..]);
        drop(part);
        assert_eq!(memory.held(), 0);
    }
}
