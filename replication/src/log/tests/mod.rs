//! Tests of the log by itself.

mod conformance;
mod damage;

use std::sync::Arc;

use raft::eraftpb::{Entry, HardState};

use super::{Log, Options, record::Record};
use crate::{StartError, testing::SimDisk};

const SEGMENT: u64 = 4096;

fn open_at(disk: &SimDisk, applied: u64) -> Result<Log, StartError> {
    let options = Options {
        segment_bytes: SEGMENT,
        applied,
        voters: &[1],
        id: 0x1234_5678_9ABC_DEF0,
    };
    Log::open(Arc::new(disk.clone()), &options)
}

fn open(disk: &SimDisk) -> Result<Log, StartError> {
    open_at(disk, 1)
}

fn entry(index: u64, term: u64, size: usize) -> Entry {
    Entry {
        index,
        term,
        data: vec![index as u8; size].into(),
        context: vec![term as u8; 3].into(),
        ..Entry::default()
    }
}

fn hard(term: u64, vote: u64, commit: u64) -> HardState {
    HardState {
        term,
        vote,
        commit,
        ..HardState::default()
    }
}

fn append(log: &mut Log, entries: impl IntoIterator<Item = Entry>) {
    let records = entries.into_iter().map(Record::Entry).collect();
    log.append(records).unwrap();
}
