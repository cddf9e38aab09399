//! The append-only log: what Raft must not forget. One frame and one fdatasync per group of
//! changes; the format is in [`mod@format`].
//!
//! A failed write or fsync is never tried again: after it nobody knows what is on disk (the kernel
//! may have dropped the dirty pages), so the log refuses all further writes and the node stops.

use std::sync::Arc;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};

use self::{
    record::{Position, Record},
    scan::{FIRST_SEGMENT, FIRST_SEQUENCE, Scanned, Segment},
    state::State,
};
use crate::{
    Fault,
    disk::{Disk, File},
};

pub(crate) mod format;
mod open;
pub(crate) mod record;
mod scan;
pub(crate) mod state;
mod storage;

#[cfg(test)]
mod tests;

pub use self::format::{LOG_FORMAT, found_format};
pub(crate) use self::{open::Options, storage::SnapshotSlot};

/// An open log.
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    id: u64,
    /// Of the next frame.
    sequence: u64,
    state: State,
    /// In order; the last one is written to.
    segments: Vec<Segment>,
    file: Box<dyn File>,
    /// Where the next frame belongs.
    end: u64,
    /// Bytes that the current segment has room for.
    capacity: u64,
    /// The next segment, so that a full disk is met while this one still has room.
    spare: Option<Box<dyn File>>,
    /// The frame being made; kept for its memory.
    buffer: Vec<u8>,
    /// Bytes written since the log was opened.
    written: u64,
    broken: Option<Fault>,
    run: u64,
    /// The membership that is in force at the machine's applied index when the log is opened.
    initial: ConfState,
    snapshot: SnapshotSlot,
}

impl Log {
    /// The number of the frame that was written when the log was opened: unique to this run.
    pub(crate) fn run(&self) -> u64 {
        self.run
    }

    /// Bytes written since the log was opened.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// What the log holds.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Notes a hard state that need not be durable yet (only its commit index moved). It goes to
    /// disk with the next frame.
    pub(crate) fn note(&mut self, hard: HardState) {
        self.state.hard = hard;
    }

    /// Notes a commit index; see [`Log::note`].
    pub(crate) fn note_commit(&mut self, commit: u64) {
        self.state.hard.commit = commit;
    }

    /// Makes `records` durable, in one frame together with the hard state.
    pub(crate) fn append(&mut self, records: Vec<Record>) -> Result<(), Fault> {
        if let Some(fault) = &self.broken {
            return Err(fault.clone());
        }
        self.write(&records)
            .map_err(|error| self.give_up("writing the log", &error))?;
        for record in records {
            if let (Record::Entry(entry), Some(segment)) = (&record, self.segments.last_mut()) {
                segment.last_index = segment.last_index.max(entry.index);
            }
            self.state.apply(record).map_err(|cause| Fault {
                what: "appending to the log",
                cause,
            })?;
        }
        Ok(())
    }

    fn seal(&mut self, records: &[Record]) -> std::io::Result<u64> {
        Record::HardState(self.state.hard.clone()).encode(&mut self.buffer);
        for record in records {
            record.encode(&mut self.buffer);
        }
        if !format::seal(&mut self.buffer, self.id, self.sequence) {
            return Err(std::io::Error::other("a frame is over 4 GiB"));
        }
        Ok(self.buffer.len() as u64)
    }

    fn write(&mut self, records: &[Record]) -> std::io::Result<()> {
        format::begin(&mut self.buffer);
        let mut size = self.seal(records)?;
        if self.end.saturating_add(size) > self.capacity {
            size = self.roll(records)?;
        }
        self.file.write_at(self.end, &self.buffer)?;
        self.file.sync_data()?;
        if self.end == 0 {
            self.disk.sync_dir()?;
        }
        self.end += size;
        self.written += size;
        self.sequence += 1;
        Ok(())
    }

    /// Begins the next segment; its first frame repeats the state and holds `records` as well.
    fn roll(&mut self, records: &[Record]) -> std::io::Result<u64> {
        format::begin(&mut self.buffer);
        for record in self.state.head() {
            record.encode(&mut self.buffer);
        }
        let size = self.seal(records)?;
        let number = match self.segments.last() {
            Some(segment) => segment.number + 1,
            None => FIRST_SEGMENT,
        };
        let name = format::segment_name(number);
        self.capacity = self.segment_bytes.max(size);
        self.file = match self.spare.take_if(|_| size <= self.segment_bytes) {
            Some(spare) => {
                self.disk.rename(format::SPARE, &name)?;
                spare
            }
            None => {
                let file = self.disk.open(&name, true)?;
                file.allocate(self.capacity)?;
                file
            }
        };
        self.segments.push(Segment {
            number,
            last_index: 0,
        });
        self.end = 0;
        Ok(size)
    }

    /// Preallocates the next segment, if that is still to be done. A full disk is no fault.
    pub(crate) fn prepare(&mut self) -> Result<(), Fault> {
        if self.spare.is_some() || self.broken.is_some() {
            return Ok(());
        }
        self.spare = self
            .make_spare()
            .map_err(|error| self.give_up("preallocating a segment of the log", &error))?;
        Ok(())
    }

    fn make_spare(&self) -> std::io::Result<Option<Box<dyn File>>> {
        let full = |error: &std::io::Error| {
            use std::io::ErrorKind::{QuotaExceeded, StorageFull};
            matches!(error.kind(), StorageFull | QuotaExceeded)
        };
        let file = match self.disk.open(format::SPARE, true) {
            Err(error) if full(&error) => return Ok(None),
            file => file?,
        };
        match file.allocate(self.segment_bytes) {
            Ok(()) => Ok(Some(file)),
            Err(error) if full(&error) => {
                // What it got of the last room is better used by others.
                self.disk.remove(format::SPARE)?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the room of the next segment back to the disk.
    pub(crate) fn release_spare(&mut self) -> Result<(), Fault> {
        if self.spare.take().is_none() {
            return Ok(());
        }
        self.disk
            .remove(format::SPARE)
            .and_then(|()| self.disk.sync_dir())
            .map_err(|error| self.give_up("removing a segment of the log", &error))
    }

    /// Bytes left in the current segment, if there is no next one.
    pub(crate) fn room(&self) -> Option<u64> {
        match self.spare {
            Some(_) => None,
            None => Some(self.capacity.saturating_sub(self.end)),
        }
    }

    /// Bytes free on the disk.
    pub(crate) fn available(&self) -> Result<u64, Fault> {
        self.disk.available().map_err(|error| Fault {
            what: "asking for the room on the disk of the log",
            cause: error.to_string(),
        })
    }

    /// Forgets the entries up to `index` and removes the segments that only held such.
    pub(crate) fn compact(&mut self, index: u64) -> Result<(), Fault> {
        if index <= self.state.base.index {
            return Ok(());
        }
        let Some(term) = self.state.term(index) else {
            return Err(Fault {
                what: "compacting the log",
                cause: format!("it does not hold entry {index}"),
            });
        };
        self.append(vec![Record::Compacted(Position { index, term })])?;
        self.remove_old()
            .map_err(|error| self.give_up("removing a segment of the log", &error))
    }

    fn give_up(&mut self, what: &'static str, error: &std::io::Error) -> Fault {
        let cause = error.to_string();
        self.broken.insert(Fault { what, cause }).clone()
    }

    /// The oldest first, each durably before the next: a gap in the row would be taken for damage.
    fn remove_old(&mut self) -> std::io::Result<()> {
        while let [oldest, _, ..] = self.segments.as_slice()
            && oldest.last_index <= self.state.base.index
        {
            self.disk.remove(&format::segment_name(oldest.number))?;
            self.disk.sync_dir()?;
            self.segments.remove(0);
        }
        Ok(())
    }

    /// Notes durably that the machine is about to be replaced by a snapshot, so that a crash
    /// between the machine's last step and the log's can be told from damage.
    pub(crate) fn begin_install(&mut self, snapshot: &Snapshot) -> Result<(), Fault> {
        let (at, members) = describe(snapshot);
        self.append(vec![Record::Installing(at, members)])
    }

    /// What replaces the log's content once the machine holds the snapshot.
    pub(crate) fn installed(snapshot: &Snapshot) -> Record {
        let (at, members) = describe(snapshot);
        Record::Snapshot(at, members)
    }

    /// Entries as records.
    pub(crate) fn entries(entries: Vec<Entry>) -> impl Iterator<Item = Record> {
        entries.into_iter().map(Record::Entry)
    }

    /// Where a snapshot that Raft asks for is left.
    pub(crate) fn snapshot_slot(&self) -> &SnapshotSlot {
        &self.snapshot
    }
}

fn describe(snapshot: &Snapshot) -> (Position, ConfState) {
    let metadata = snapshot.get_metadata();
    let at = Position {
        index: metadata.index,
        term: metadata.term,
    };
    (at, metadata.get_conf_state().clone())
}
