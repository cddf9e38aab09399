//! The log as Raft reads it.

use std::cell::{Cell, RefCell};

use raft::{
    GetEntriesContext, RaftState, Storage, StorageError,
    eraftpb::{Entry, Snapshot},
};

use super::Log;

/// A snapshot on its way from the machine to Raft. Raft asks in the middle of a step, when the
/// machine is out of reach; it is told to ask again, and by then the snapshot is here.
#[derive(Default)]
pub(crate) struct SnapshotSlot {
    wanted: Cell<bool>,
    made: RefCell<Option<Snapshot>>,
}

impl SnapshotSlot {
    /// Whether a snapshot was asked for since the last call.
    pub(crate) fn take_wanted(&self) -> bool {
        self.wanted.take()
    }

    /// Leaves a snapshot, or frees the memory of the last one.
    pub(crate) fn put(&self, snapshot: Option<Snapshot>) {
        self.made.replace(snapshot);
    }

    fn get(&self, at_least: u64) -> Option<Snapshot> {
        self.made
            .borrow()
            .as_ref()
            .filter(|made| made.get_metadata().index >= at_least)
            .cloned()
    }
}

fn bytes(entry: &Entry) -> u64 {
    /// About what the fields besides data and context take in a message.
    const FIELDS: usize = 24;
    (entry.data.len() + entry.context.len() + FIELDS) as u64
}

impl Storage for Log {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(
            self.state.hard.clone(),
            self.initial.clone(),
        ))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let limit = max_size.into().unwrap_or(u64::MAX);
        if low <= self.state.base.index {
            return Err(StorageError::Compacted.into());
        }
        if high > self.state.last().index + 1 {
            return Err(StorageError::Unavailable.into());
        }
        let mut size = 0;
        let mut entries = Vec::new();
        for index in low..high {
            let Some(entry) = self.state.entry(index) else {
                return Err(StorageError::Unavailable.into());
            };
            size += bytes(entry);
            // At least one entry, however large.
            if size > limit && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index < self.state.base.index {
            return Err(StorageError::Compacted.into());
        }
        self.state
            .term(index)
            .ok_or_else(|| StorageError::Unavailable.into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.state.base.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.state.last().index)
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        // One below the first entry would leave a gap.
        let at_least = request_index.max(self.state.base.index);
        self.snapshot.get(at_least).ok_or_else(|| {
            self.snapshot.wanted.set(true);
            StorageError::SnapshotTemporarilyUnavailable.into()
        })
    }
}
