//! The records within a frame: a kind byte, then fixed fields, then what has a length.
//!
//! | kind | record | fields |
//! | --- | --- | --- |
//! | 1 | entry | type u8 (0 normal, 1 change of membership v1, 2 v2), term u64, index u64, context (u32 length, bytes), data (u32 length, bytes) |
//! | 2 | hard state | term u64, vote u64, commit u64 |
//! | 3 | membership | index u64 of the entry that made it so, then the five parts below |
//! | 4 | compacted | index u64, term u64: entries up to this one are gone |
//! | 5 | snapshot | index u64, term u64, membership: the log begins anew after a snapshot |
//! | 6 | installing | as 5: the machine is about to be replaced by a snapshot |
//!
//! A membership is four lists of ids (u32 count, u64 each): voters, learners, outgoing voters,
//! next learners; then one byte: whether a joint membership is left by itself.

use bytes::{Buf as _, Bytes};
use raft::eraftpb::{ConfState, Entry, EntryType, HardState};

/// An entry's place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) index: u64,
    pub(crate) term: u64,
}

/// One change of the log's state.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Record {
    /// Replaces everything from its index on.
    Entry(Entry),
    HardState(HardState),
    Membership(u64, ConfState),
    Compacted(Position),
    Snapshot(Position, ConfState),
    Installing(Position, ConfState),
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a frame over 4 GiB is refused when sealed"
)]
fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&(len as u32).to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_position(out: &mut Vec<u8>, at: Position) {
    put_u64(out, at.index);
    put_u64(out, at.term);
}

fn put_membership(out: &mut Vec<u8>, members: &ConfState) {
    let lists = [
        members.get_voters(),
        members.get_learners(),
        members.get_voters_outgoing(),
        members.get_learners_next(),
    ];
    for list in lists {
        put_len(out, list.len());
        for id in list {
            put_u64(out, *id);
        }
    }
    out.push(u8::from(members.auto_leave));
}

impl Record {
    /// Appends the record to a frame's payload.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Entry(entry) => {
                out.push(1);
                out.push(match entry.entry_type {
                    EntryType::EntryNormal => 0,
                    EntryType::EntryConfChange => 1,
                    EntryType::EntryConfChangeV2 => 2,
                });
                put_u64(out, entry.term);
                put_u64(out, entry.index);
                put_bytes(out, &entry.context);
                put_bytes(out, &entry.data);
            }
            Self::HardState(state) => {
                out.push(2);
                put_u64(out, state.term);
                put_u64(out, state.vote);
                put_u64(out, state.commit);
            }
            Self::Membership(index, members) => {
                out.push(3);
                put_u64(out, *index);
                put_membership(out, members);
            }
            Self::Compacted(at) => {
                out.push(4);
                put_position(out, *at);
            }
            Self::Snapshot(at, members) => {
                out.push(5);
                put_position(out, *at);
                put_membership(out, members);
            }
            Self::Installing(at, members) => {
                out.push(6);
                put_position(out, *at);
                put_membership(out, members);
            }
        }
    }
}

/// Reads records from a payload whose checksum is right. What it yields borrows the payload's
/// memory; nothing is allocated on the word of a length field.
pub(crate) struct Records {
    rest: Bytes,
}

/// A payload that no version 1 writer makes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadRecord(pub(crate) &'static str);

impl Records {
    pub(crate) fn new(payload: Bytes) -> Self {
        Self { rest: payload }
    }

    fn take(&mut self, len: usize) -> Result<Bytes, BadRecord> {
        if len > self.rest.len() {
            return Err(BadRecord("a record ends early"));
        }
        Ok(self.rest.split_to(len))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadRecord> {
        // Not by `take`, whose every piece is another reference to be counted.
        let array = self.rest.first_chunk().copied();
        let array = array.ok_or(BadRecord("a record ends early"))?;
        self.rest.advance(N);
        Ok(array)
    }

    fn byte(&mut self) -> Result<u8, BadRecord> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn number(&mut self) -> Result<u64, BadRecord> {
        self.array().map(u64::from_le_bytes)
    }

    fn length(&mut self) -> Result<usize, BadRecord> {
        let length = u32::from_le_bytes(self.array()?);
        usize::try_from(length).map_err(|_| BadRecord("a length is too large"))
    }

    fn bytes(&mut self) -> Result<Bytes, BadRecord> {
        let length = self.length()?;
        self.take(length)
    }

    fn position(&mut self) -> Result<Position, BadRecord> {
        Ok(Position {
            index: self.number()?,
            term: self.number()?,
        })
    }

    fn ids(&mut self) -> Result<Vec<u64>, BadRecord> {
        let count = self.length()?;
        if count > self.rest.len() / 8 {
            return Err(BadRecord("a list of members ends early"));
        }
        (0..count).map(|_| self.number()).collect()
    }

    fn membership(&mut self) -> Result<ConfState, BadRecord> {
        let mut members = ConfState {
            voters: self.ids()?,
            learners: self.ids()?,
            voters_outgoing: self.ids()?,
            learners_next: self.ids()?,
            ..ConfState::default()
        };
        members.auto_leave = match self.byte()? {
            0 => false,
            1 => true,
            _ => return Err(BadRecord("a flag is neither 0 nor 1")),
        };
        Ok(members)
    }

    fn record(&mut self) -> Result<Record, BadRecord> {
        Ok(match self.byte()? {
            1 => {
                let entry_type = match self.byte()? {
                    0 => EntryType::EntryNormal,
                    1 => EntryType::EntryConfChange,
                    2 => EntryType::EntryConfChangeV2,
                    _ => return Err(BadRecord("unknown type of entry")),
                };
                Record::Entry(Entry {
                    entry_type,
                    term: self.number()?,
                    index: self.number()?,
                    context: self.bytes()?,
                    data: self.bytes()?,
                    ..Entry::default()
                })
            }
            2 => Record::HardState(HardState {
                term: self.number()?,
                vote: self.number()?,
                commit: self.number()?,
                ..HardState::default()
            }),
            3 => Record::Membership(self.number()?, self.membership()?),
            4 => Record::Compacted(self.position()?),
            5 => Record::Snapshot(self.position()?, self.membership()?),
            6 => Record::Installing(self.position()?, self.membership()?),
            _ => return Err(BadRecord("unknown kind of record")),
        })
    }
}

impl Iterator for Records {
    type Item = Result<Record, BadRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = self.record();
        if record.is_err() {
            self.rest.clear();
        }
        Some(record)
    }
}
