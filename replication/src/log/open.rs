//! Opening a log: scan, check, and only then repair; or make a new one.

use std::sync::Arc;

use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, Entry, EntryType, HardState};

use super::{FIRST_SEQUENCE, Log, Position, Record, Scanned, SnapshotSlot, State, format, scan};
use crate::{StartError, disk::Disk};

/// The term in which a new group's first members wrote themselves into the log.
const FIRST_TERM: u64 = 1;

/// How to open a log.
pub(crate) struct Options<'a> {
    /// Size of one segment.
    pub(crate) segment_bytes: u64,
    /// The machine has applied up to here; the log must reach from before this to beyond it.
    pub(crate) applied: u64,
    /// Members of a new group, if there is no log. None: there must be one.
    pub(crate) voters: &'a [u64],
    /// The id of a new log; any random number.
    pub(crate) id: u64,
}

impl Log {
    /// Opens the log in `disk`, or makes it. Nothing is written before everything is checked.
    pub(crate) fn open(disk: Arc<dyn Disk>, options: &Options<'_>) -> Result<Self, StartError> {
        let applied = options.applied;
        let Some(scanned) = scan::scan(disk.as_ref())? else {
            if applied > options.voters.len() as u64 {
                return Err(StartError::Damaged(format!(
                    "there is no log, but the machine has applied up to {applied}"
                )));
            }
            if options.voters.is_empty() {
                return Err(StartError::Damaged(
                    "there is no log, but this node has written one before".to_owned(),
                ));
            }
            return Self::make(disk, options);
        };
        let unfinished = scanned.state.unfinished_install(applied);
        let (base, last) = (scanned.state.base.index, scanned.state.last().index);
        if unfinished.is_none() && !(base..=last).contains(&applied) {
            return Err(StartError::Damaged(format!(
                "the log reaches from {base} to {last}, but the machine has applied up to {applied}"
            )));
        }
        let mut log = Self::repair(disk, options, scanned)?;
        // What was applied was committed, whether or not the log learned of it.
        log.state.hard.commit = log.state.hard.commit.max(applied);
        if let Some((at, _)) = &unfinished
            && at.term > log.state.hard.term
        {
            log.state.hard.term = at.term;
            log.state.hard.vote = 0;
        }
        // This frame proves that the disk can be written, and its number is unique to this run.
        let records = unfinished.map(|(at, members)| Record::Snapshot(at, members));
        log.append(records.into_iter().collect())?;
        log.initial = log.state.members_at(applied);
        Ok(log)
    }

    /// Cuts a torn tail and removes a segment that was never begun, durably, before any write.
    fn repair(
        disk: Arc<dyn Disk>,
        options: &Options<'_>,
        scanned: Scanned,
    ) -> Result<Self, StartError> {
        let Some(current) = scanned.segments.last() else {
            return Err(StartError::Damaged("the log has no segment".to_owned()));
        };
        if let Some(number) = scanned.stillborn {
            disk.remove(&format::segment_name(number))?;
        }
        remove_spare(disk.as_ref())?;
        let file = disk.open(&format::segment_name(current.number), false)?;
        if scanned.torn {
            scan::walk(file.as_ref(), scanned.end, |at, chunk| {
                file.write_at(at, &vec![0; chunk.len()])?;
                Ok(true)
            })?;
        }
        let capacity = file.len()?.max(options.segment_bytes);
        file.allocate(capacity)?;
        file.sync_data()?;
        disk.sync_dir()?;
        if scanned.torn {
            tracing::warn!(
                segment = format::segment_name(current.number),
                offset = scanned.end,
                "cut the torn end of the log: a write that never completed"
            );
        }
        Ok(Self {
            disk,
            segment_bytes: options.segment_bytes,
            id: scanned.log,
            sequence: scanned.sequence,
            state: scanned.state,
            segments: scanned.segments,
            file,
            end: scanned.end,
            capacity,
            spare: None,
            buffer: Vec::new(),
            written: 0,
            broken: None,
            run: scanned.sequence,
            initial: Default::default(),
            snapshot: SnapshotSlot::default(),
        })
    }

    /// A new log: the first members write themselves into it, one entry each, already committed.
    fn make(disk: Arc<dyn Disk>, options: &Options<'_>) -> Result<Self, StartError> {
        for number in scan::segment_numbers(disk.as_ref())? {
            disk.remove(&format::segment_name(number))?;
        }
        remove_spare(disk.as_ref())?;
        disk.sync_dir()?;
        let name = format::segment_name(super::FIRST_SEGMENT);
        let mut log = Self {
            file: disk.open(&name, true)?,
            disk,
            segment_bytes: options.segment_bytes,
            id: options.id,
            sequence: FIRST_SEQUENCE,
            state: State::default(),
            segments: Vec::new(),
            end: 0,
            capacity: 0,
            spare: None,
            buffer: Vec::new(),
            written: 0,
            broken: None,
            run: FIRST_SEQUENCE,
            initial: Default::default(),
            snapshot: SnapshotSlot::default(),
        };
        let mut records = vec![Record::Membership(0, Default::default())];
        for (voter, index) in options.voters.iter().zip(1..) {
            records.push(Record::Entry(joining(*voter, index)?));
        }
        log.state.hard = HardState {
            term: FIRST_TERM,
            commit: options.voters.len() as u64,
            ..HardState::default()
        };
        log.append(records)?;
        log.initial = log.state.members_at(options.applied);
        Ok(log)
    }
}

/// It may hold what a power cut left of a frame; and the replay may need the room.
fn remove_spare(disk: &dyn Disk) -> std::io::Result<()> {
    match disk.remove(format::SPARE) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn joining(voter: u64, index: u64) -> Result<Entry, StartError> {
    use protobuf::Message;

    let mut change = ConfChangeSingle::default();
    change.set_change_type(ConfChangeType::AddNode);
    change.node_id = voter;
    let mut changes = ConfChangeV2::default();
    changes.set_changes(vec![change].into());
    let data = changes
        .write_to_bytes()
        .map_err(|error| std::io::Error::other(error.to_string()))?;
    let at = Position {
        index,
        term: FIRST_TERM,
    };
    Ok(Entry {
        entry_type: EntryType::EntryConfChangeV2,
        term: at.term,
        index: at.index,
        data: data.into(),
        ..Entry::default()
    })
}
