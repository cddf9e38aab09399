//! Reads a log back from its segments, and tells a torn tail from damage. Writes nothing.

use std::io;

use bytes::Bytes;

use super::{
    format::{HEADER, Header, SECTOR, VERSION, segment_name, segment_number},
    record::{Record, Records},
    state::State,
};
use crate::{
    StartError,
    disk::{Disk, File},
};

/// Read at a time when looking for what stands behind a bad frame.
const CHUNK: usize = 1 << 20;

/// The sequence number of a log's first frame.
pub(crate) const FIRST_SEQUENCE: u64 = 1;
/// The number of a log's first segment.
pub(crate) const FIRST_SEGMENT: u64 = 1;

/// A segment as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    /// Highest index of an entry in it; 0 without entries.
    pub(crate) last_index: u64,
}

/// What is on disk.
pub(crate) struct Scanned {
    pub(crate) state: State,
    /// The id in every frame.
    pub(crate) log: u64,
    /// Of the next frame.
    pub(crate) sequence: u64,
    /// In order; the last one is written on.
    pub(crate) segments: Vec<Segment>,
    /// Where the last one's next frame belongs.
    pub(crate) end: u64,
    /// A segment that was being begun when the power went; holds nothing.
    pub(crate) stillborn: Option<u64>,
}

/// Numbers of the segments in `disk`, in order.
pub(crate) fn segment_numbers(disk: &dyn Disk) -> io::Result<Vec<u64>> {
    let mut numbers: Vec<u64> = disk
        .list()?
        .iter()
        .filter_map(|name| segment_number(name))
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn damaged(what: impl Into<String>) -> StartError {
    StartError::Damaged(what.into())
}

/// What stands at a frame's place.
enum Found {
    Frame(Header, Bytes),
    /// A frame of a format that this program does not know.
    Unknown(u32),
    /// Nothing, or something that is no whole frame.
    Bad,
}

fn read_frame(file: &dyn File, len: u64, at: u64) -> io::Result<Found> {
    let left = len.saturating_sub(at);
    if left < HEADER as u64 {
        return Ok(Found::Bad);
    }
    // Most frames are small: the header and, at a venture, the first sectors in one read.
    let mut head = [0; SECTOR];
    let head_len = usize::try_from(left).unwrap_or(SECTOR).min(SECTOR);
    let head = &mut head[..head_len];
    file.read_at(at, head)?;
    let Some(header) = Header::decode(head) else {
        return Ok(Found::Bad);
    };
    if header.version != VERSION {
        return Ok(Found::Unknown(header.version));
    }
    let Ok(length) = usize::try_from(header.length) else {
        return Ok(Found::Bad);
    };
    if length as u64 > left - HEADER as u64 {
        return Ok(Found::Bad);
    }
    let mut payload = vec![0; length];
    let first = length.min(head.len() - HEADER);
    payload[..first].copy_from_slice(&head[HEADER..HEADER + first]);
    if length > first {
        file.read_at(at + (HEADER + first) as u64, &mut payload[first..])?;
    }
    if crc32fast::hash(&payload) != header.payload_crc {
        return Ok(Found::Bad);
    }
    Ok(Found::Frame(header, Bytes::from(payload)))
}

/// Calls `visit` with pieces of the file from `from` on, each a multiple of a sector long (but for
/// the file's end), until it says stop.
pub(crate) fn walk(
    file: &dyn File,
    from: u64,
    mut visit: impl FnMut(u64, &[u8]) -> io::Result<bool>,
) -> io::Result<()> {
    let len = file.len()?;
    let mut at = from;
    let mut chunk = Vec::new();
    while at < len {
        let size = usize::try_from(len - at).unwrap_or(CHUNK).min(CHUNK);
        chunk.resize(size, 0);
        file.read_at(at, &mut chunk)?;
        if !visit(at, &chunk)? {
            break;
        }
        at += size as u64;
    }
    Ok(())
}

/// Whether a header with a sequence number after `bad`'s stands at or behind `from`.
fn has_later_frame(file: &dyn File, from: u64, log: Option<u64>, bad: u64) -> io::Result<bool> {
    let mut found = false;
    walk(file, from, |_, chunk| {
        found = chunk
            .chunks(SECTOR)
            .filter_map(Header::decode)
            .any(|header| log.is_none_or(|log| log == header.log) && header.sequence > bad);
        Ok(!found)
    })?;
    Ok(found)
}

/// Reads the log. `None` if there is none, or only the first beginning of one.
pub(crate) fn scan(disk: &dyn Disk) -> Result<Option<Scanned>, StartError> {
    let numbers = segment_numbers(disk)?;
    let Some(&first) = numbers.first() else {
        return Ok(None);
    };
    for pair in numbers.windows(2) {
        if let [before, after] = pair
            && before.checked_add(1) != Some(*after)
        {
            return Err(damaged(format!(
                "segments between {} and {} are missing",
                segment_name(*before),
                segment_name(*after)
            )));
        }
    }
    let mut log = None;
    let mut sequence = FIRST_SEQUENCE;
    let mut state = State::default();
    let mut segments: Vec<Segment> = Vec::new();
    let mut end = 0;
    let mut stillborn = None;
    for &number in &numbers {
        let name = segment_name(number);
        if let Some(dead) = stillborn {
            return Err(damaged(format!(
                "{} holds no frame, yet {name} was begun after it",
                segment_name(dead)
            )));
        }
        let file = disk.open(&name, false)?;
        let len = file.len()?;
        let mut segment = Segment {
            number,
            last_index: 0,
        };
        let mut at = 0;
        loop {
            let (header, payload) = match read_frame(file.as_ref(), len, at)? {
                Found::Frame(header, payload) => (header, payload),
                Found::Unknown(found) => {
                    return Err(StartError::Format {
                        found,
                        known: VERSION,
                    });
                }
                Found::Bad => break,
            };
            if *log.get_or_insert(header.log) != header.log {
                return Err(damaged(format!("{name} belongs to another log")));
            }
            if segments.is_empty() && at == 0 {
                sequence = header.sequence;
            }
            if header.sequence != sequence {
                return Err(damaged(format!(
                    "{name} at {at}: frame {} where {sequence} belongs",
                    header.sequence
                )));
            }
            for record in Records::new(payload) {
                let record = record
                    .map_err(|bad| damaged(format!("{name}: frame {sequence}: {}", bad.0)))?;
                if let Record::Entry(entry) = &record {
                    segment.last_index = segment.last_index.max(entry.index);
                }
                state
                    .apply(record)
                    .map_err(|what| damaged(format!("{name}: frame {sequence}: {what}")))?;
            }
            sequence = sequence
                .checked_add(1)
                .ok_or_else(|| damaged("the sequence numbers are used up"))?;
            at += header.frame_bytes();
        }
        // Nothing of this log may stand where the next frame belongs or behind it, unless the row
        // goes on in the next segment (whose first frame then has the next number).
        if has_later_frame(file.as_ref(), at, log, sequence)? {
            return Err(damaged(format!(
                "{name}: frame {sequence} at {at} is bad, but a later one follows"
            )));
        }
        if at == 0 {
            stillborn = Some(number);
        } else {
            segments.push(segment);
            end = at;
        }
    }
    let Some(log) = log else {
        // A first segment without any frame is a log whose making was cut short. A later one is not.
        return if first == FIRST_SEGMENT {
            Ok(None)
        } else {
            Err(damaged(format!(
                "{} holds no frame, and those before it are gone",
                segment_name(first)
            )))
        };
    };
    state.check().map_err(damaged)?;
    Ok(Some(Scanned {
        state,
        log,
        sequence,
        segments,
        end,
        stillborn,
    }))
}
