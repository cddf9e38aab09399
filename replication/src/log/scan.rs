//! Reads a log back from its segments, and tells a torn tail from damage. Writes nothing.

use std::io;

use bytes::Bytes;

use super::{
    format::{HEADER, Header, LOG_FORMAT, SECTOR, segment_name, segment_number},
    record::{Record, Records},
    state::State,
};
use crate::{
    StartError,
    disk::{Disk, File},
};

/// Read at a time.
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
    /// Whether anything but zeros stands there.
    pub(crate) torn: bool,
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

/// A segment as it is read from its beginning to its end: a piece at a time, since most frames are
/// small.
struct Pieces<'a> {
    file: &'a dyn File,
    len: u64,
    /// Where the piece stands.
    at: u64,
    piece: Vec<u8>,
}

impl<'a> Pieces<'a> {
    fn of(file: &'a dyn File) -> io::Result<Self> {
        Ok(Self {
            file,
            len: file.len()?,
            at: 0,
            piece: Vec::new(),
        })
    }

    /// Bytes from `at` to the file's end.
    fn left(&self, at: u64) -> u64 {
        self.len.saturating_sub(at)
    }

    /// `size` bytes from `at` on; fewer only at the file's end.
    fn bytes(&mut self, at: u64, size: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(self.left(at)).unwrap_or(usize::MAX);
        let size = size.min(left);
        let held = at
            .checked_sub(self.at)
            .and_then(|from| usize::try_from(from).ok())
            .filter(|from| from.saturating_add(size) <= self.piece.len());
        let from = match held {
            Some(from) => from,
            None => {
                self.piece.resize(size.max(CHUNK.min(left)), 0);
                self.at = at;
                self.file.read_at(at, &mut self.piece)?;
                0
            }
        };
        Ok(&self.piece[from..from + size])
    }
}

fn read_frame(pieces: &mut Pieces<'_>, at: u64) -> io::Result<Found> {
    let Some(header) = Header::decode(pieces.bytes(at, HEADER)?) else {
        return Ok(Found::Bad);
    };
    if header.version != LOG_FORMAT {
        return Ok(Found::Unknown(header.version));
    }
    let at = at + HEADER as u64;
    let Ok(length) = usize::try_from(header.length) else {
        return Ok(Found::Bad);
    };
    if length as u64 > pieces.left(at) {
        return Ok(Found::Bad);
    }
    let payload = pieces.bytes(at, length)?;
    if crc32fast::hash(payload) != header.payload_crc {
        return Ok(Found::Bad);
    }
    // A copy, so that what is kept of a frame does not keep a whole piece.
    Ok(Found::Frame(header, Bytes::copy_from_slice(payload)))
}

/// Calls `visit` with pieces of the file from `from` on that are not all zeros, each a multiple of a
/// sector long (but for the file's end), until it says stop.
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
        // Most of a segment is. Without a way out the loop looks at many bytes at once.
        let is_zero = chunk.iter().fold(0, |any, byte| any | byte) == 0;
        if !is_zero && !visit(at, &chunk)? {
            break;
        }
        at += size as u64;
    }
    Ok(())
}

/// What stands behind the last good frame of a segment.
#[derive(PartialEq, Eq)]
enum Behind {
    /// Zeros.
    Nothing,
    /// Something, but no frame that came later: a write that never completed.
    Torn,
    /// A header with a sequence number after that of the frame that belongs there.
    LaterFrame,
}

/// Looks what stands at or behind `from`, where frame `bad` belongs.
fn look_behind(file: &dyn File, from: u64, log: Option<u64>, bad: u64) -> io::Result<Behind> {
    let mut behind = Behind::Nothing;
    walk(file, from, |_, chunk| {
        let later = chunk
            .chunks(SECTOR)
            .filter_map(Header::decode)
            .any(|header| log.is_none_or(|log| log == header.log) && header.sequence > bad);
        behind = match later {
            true => Behind::LaterFrame,
            false => Behind::Torn,
        };
        Ok(!later)
    })?;
    Ok(behind)
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
    let mut torn = false;
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
        let mut pieces = Pieces::of(file.as_ref())?;
        let mut segment = Segment {
            number,
            last_index: 0,
        };
        let mut at = 0;
        loop {
            let (header, payload) = match read_frame(&mut pieces, at)? {
                Found::Frame(header, payload) => (header, payload),
                Found::Unknown(found) => {
                    return Err(StartError::Format {
                        found,
                        known: LOG_FORMAT,
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
        let behind = look_behind(file.as_ref(), at, log, sequence)?;
        if behind == Behind::LaterFrame {
            return Err(damaged(format!(
                "{name}: frame {sequence} at {at} is bad, but a later one follows"
            )));
        }
        if at == 0 {
            stillborn = Some(number);
        } else {
            segments.push(segment);
            end = at;
            torn = behind == Behind::Torn;
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
        torn,
        stillborn,
    }))
}
