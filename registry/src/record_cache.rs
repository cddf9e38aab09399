//! Decoded records that were read lately, so that showing or listing the same images again costs
//! neither a search in the tables nor a decoding.
//!
//! A record sits in the slot that its row names, until another takes it. Only the newest view reads
//! and fills the slots; older ones, for which a record may be too new, go to the tables. So that this
//! holds at any moment, the index of the newest view is compared under the slot's lock, and a group
//! of commands first moves that index, then empties the slots it changed, then shows its view.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use glimpse_replication::LogIndex;
use parking_lot::Mutex;

use crate::{image::Image, status::Status};

/// Bytes of redb's page cache for each slot here.
const PAGE_CACHE_PER_SLOT: usize = 64 << 10;
/// Encoded bytes of a record that is kept at most; decoded it takes about three times that.
pub(crate) const MAX_RECORD: usize = 4 << 10;

/// A bounded cache of decoded records.
pub(crate) struct RecordCache {
    newest: AtomicU64,
    slots: Box<[Mutex<Option<Arc<Image>>>]>,
}

impl RecordCache {
    /// As large as suits a page cache of so many bytes: a fifth of it at most, mostly far less.
    pub(crate) fn beside(page_cache: usize, newest: LogIndex) -> Self {
        let slots = (page_cache / PAGE_CACHE_PER_SLOT).max(1);
        Self {
            newest: AtomicU64::new(newest),
            slots: (0..slots).map(|_| Mutex::new(None)).collect(),
        }
    }

    /// The record of a row as the view at `index` sees it, if it is held.
    pub(crate) fn get(&self, index: LogIndex, row: u32) -> Option<Arc<Image>> {
        let slot = self.slot(row)?.lock();
        if self.newest.load(Ordering::Acquire) != index {
            return None;
        }
        slot.as_ref().filter(|image| image.row == row).cloned()
    }

    /// Keeps a record that the view at `index` has read.
    pub(crate) fn put(&self, index: LogIndex, image: &Arc<Image>) {
        // An upload changes without its image.
        if image.status == Status::Saving {
            return;
        }
        let Some(slot) = self.slot(image.row) else {
            return;
        };
        let mut slot = slot.lock();
        if self.newest.load(Ordering::Acquire) == index {
            *slot = Some(Arc::clone(image));
        }
    }

    /// Moves on to the view at `index`, which differs from the one before in these rows. To be
    /// called before anyone gets that view.
    pub(crate) fn advance(&self, index: LogIndex, changed: impl IntoIterator<Item = u32>) {
        self.newest.store(index, Ordering::Release);
        for row in changed {
            if let Some(slot) = self.slot(row) {
                *slot.lock() = None;
            }
        }
    }

    /// Moves on to a view that has nothing to do with the one before.
    pub(crate) fn clear(&self, index: LogIndex) {
        self.newest.store(index, Ordering::Release);
        for slot in &self.slots {
            *slot.lock() = None;
        }
    }

    fn slot(&self, row: u32) -> Option<&Mutex<Option<Arc<Image>>>> {
        self.slots.get(row as usize % self.slots.len().max(1))
    }
}
