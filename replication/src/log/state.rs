//! What the log holds, in memory: the sum of its records. Writing and replaying run the same
//! [`State::apply`], so that a restart cannot come to another result.
//!
//! Entries are kept here until they are compacted. That is bounded by the checkpoints, which come
//! by bytes of log (`checkpoint_bytes`), plus what is kept below them (`keep_entries`, `keep_bytes`).

use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, HardState};

use super::record::{Position, Record};

/// The sum of a log's records.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) hard: HardState,
    /// The entry before the first one held.
    pub(crate) base: Position,
    /// Without gaps, from `base.index + 1` on.
    pub(crate) entries: VecDeque<Entry>,
    /// Every membership since `base`, and the last one before it, each with the index of its entry.
    pub(crate) members: Vec<(u64, ConfState)>,
    /// A snapshot whose installation began and has not ended.
    pub(crate) installing: Option<(Position, ConfState)>,
    /// Entries up to here were in segments that are gone; a compaction must cover them.
    missing: u64,
    /// The highest compaction point seen.
    compacted: u64,
}

fn offset(from: u64, to: u64) -> Option<usize> {
    usize::try_from(to.checked_sub(from)?).ok()
}

impl State {
    pub(crate) fn last(&self) -> Position {
        match self.entries.back() {
            Some(entry) => Position {
                index: entry.index,
                term: entry.term,
            },
            None => self.base,
        }
    }

    /// The entry at `index`, if it is held.
    pub(crate) fn entry(&self, index: u64) -> Option<&Entry> {
        self.entries
            .get(offset(self.base.index.checked_add(1)?, index)?)
    }

    /// The term at `index`, if it is known.
    pub(crate) fn term(&self, index: u64) -> Option<u64> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        self.entry(index).map(|entry| entry.term)
    }

    /// Where to compact so that of the entries up to `durable` the newest stay: so many at most, and
    /// so many bytes at most.
    pub(crate) fn keeping(&self, durable: u64, entries: u64, bytes: u64) -> u64 {
        let (mut index, mut room) = (durable, bytes);
        while durable - index < entries
            && let Some(entry) = self.entry(index)
            && let Some(rest) = room.checked_sub((entry.data.len() + entry.context.len()) as u64)
        {
            (index, room) = (index - 1, rest);
        }
        index
    }

    /// The membership in force once the entry at `index` is applied.
    pub(crate) fn members_at(&self, index: u64) -> ConfState {
        self.members
            .iter()
            .rev()
            .find(|(since, _)| *since <= index)
            .map(|(_, members)| members.clone())
            .unwrap_or_default()
    }

    /// Adds one record. The error says what is impossible about it.
    pub(crate) fn apply(&mut self, record: Record) -> Result<(), String> {
        match record {
            Record::Entry(entry) => self.append(entry),
            Record::HardState(hard) => {
                self.hard = hard;
                Ok(())
            }
            Record::Membership(index, members) => {
                self.members.retain(|(since, _)| *since < index);
                self.members.push((index, members));
                Ok(())
            }
            Record::Compacted(at) => self.compact(at),
            Record::Snapshot(at, members) => {
                self.entries.clear();
                self.base = at;
                self.compacted = self.compacted.max(at.index);
                self.members = vec![(at.index, members)];
                self.installing = None;
                Ok(())
            }
            Record::Installing(at, members) => {
                self.installing = Some((at, members));
                Ok(())
            }
        }
    }

    fn append(&mut self, entry: Entry) -> Result<(), String> {
        let next = self.last().index.checked_add(1).ok_or("the log is full")?;
        // The first entry of the first segment may be any: those before it were in segments that
        // are gone. So may one that replaces some of those. A later record must say that they
        // were compacted; see `check`.
        let after_missing = entry.index > next && self.entries.is_empty();
        let replaces_missing = entry.index <= self.missing && entry.index > self.compacted;
        if after_missing || replaces_missing {
            self.entries.clear();
            self.base = Position {
                index: entry.index - 1,
                term: 0,
            };
            self.missing = self.base.index;
        } else if entry.index > next {
            return Err(format!("entry {} follows {}", entry.index, next - 1));
        } else if entry.index < next {
            let keep = self
                .base
                .index
                .checked_add(1)
                .and_then(|first| offset(first, entry.index))
                .ok_or_else(|| format!("entry {} was compacted before", entry.index))?;
            self.entries.truncate(keep);
        }
        self.entries.push_back(entry);
        Ok(())
    }

    fn compact(&mut self, at: Position) -> Result<(), String> {
        self.compacted = self.compacted.max(at.index);
        let Some(gone) = offset(self.base.index, at.index) else {
            return Ok(());
        };
        if gone > self.entries.len() && !self.entries.is_empty() {
            return Err(format!(
                "compacted up to {}, beyond the last entry {}",
                at.index,
                self.last().index
            ));
        }
        self.entries.drain(..gone.min(self.entries.len()));
        self.base = at;
        let in_force = self
            .members
            .iter()
            .rposition(|(since, _)| *since <= at.index);
        self.members.drain(..in_force.unwrap_or(0));
        self.installing
            .take_if(|(snapshot, _)| snapshot.index <= at.index);
        Ok(())
    }

    /// Checks what can only be checked at the end of a replay.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.missing > self.compacted {
            return Err(format!(
                "entries up to {} are missing, compacted are only those up to {}",
                self.missing, self.compacted
            ));
        }
        if self.hard.commit > self.last().index {
            return Err(format!(
                "committed up to {}, but the log ends at {}",
                self.hard.commit,
                self.last().index
            ));
        }
        Ok(())
    }

    /// The snapshot that the machine was replaced by without the log learning of it: the machine
    /// stands at its index, and the log has not that entry. (A log that has it came there by
    /// replication, after an installation that was given up.)
    pub(crate) fn unfinished_install(&self, applied: u64) -> Option<(Position, ConfState)> {
        self.installing
            .clone()
            .filter(|(at, _)| at.index == applied && self.term(applied) != Some(at.term))
    }

    /// Everything but the entries, for the head of a segment.
    pub(crate) fn head(&self) -> impl Iterator<Item = Record> + '_ {
        let members = self
            .members
            .iter()
            .map(|(index, members)| Record::Membership(*index, members.clone()));
        let installing = self
            .installing
            .iter()
            .map(|(at, members)| Record::Installing(*at, members.clone()));
        std::iter::once(Record::Compacted(self.base))
            .chain(members)
            .chain(installing)
    }
}
