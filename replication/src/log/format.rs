//! The format of the log on disk, version 1. It is a contract: a change gets a new number.
//!
//! The log is a row of files, its *segments*, named by a number of 16 hex digits
//! (`0000000000000001.log`). Each is preallocated and reads as zeros where nothing was written.
//! A segment is a row of *frames*, each at a multiple of 512 bytes, so that no later write touches
//! a sector of a frame that is already durable. A frame is one write and one fdatasync, and is
//! written only once the frame before it is durable. All integers are little-endian.
//!
//! | at | bytes | what |
//! | --- | --- | --- |
//! | 0 | 4 | magic `GLOG` |
//! | 4 | 4 | format version |
//! | 8 | 8 | id of this log, chosen when it was made; no command can know it and fake a frame |
//! | 16 | 8 | sequence number: one more than that of the frame before, across segments |
//! | 24 | 4 | bytes of payload |
//! | 28 | 4 | CRC-32 (IEEE) of the payload |
//! | 32 | 4 | zero |
//! | 36 | 4 | CRC-32 of the 36 bytes before |
//! | 40 | | payload: records; then zeros up to the next multiple of 512 |
//!
//! The header keeps its layout in all versions, so that an unknown version can be told from a
//! damaged one. The records are described in [`super::record`].
//!
//! The segment that comes next is preallocated as a file named `spare`, which is renamed when it is
//! begun. Nothing in it counts before.
//!
//! The first frame of each segment repeats everything but the entries (hard state, membership,
//! compaction point), so that the segments before it may be removed once their entries are.
//!
//! At start-up frames are read in order until one is bad. If a header with a *later* sequence
//! number stands anywhere behind it, then the bad frame had been durable: that is damage, and
//! nothing is touched. Otherwise the bad frame is a write that a power cut tore, nobody was ever
//! told of it, and it is cut: overwritten with zeros.

use std::{fs, io, os::unix::fs::FileExt as _, path::Path};

/// Frames begin at multiples of this: the unit that a disk writes whole or not at all.
pub(crate) const SECTOR: usize = 512;
/// Bytes of a frame header.
pub(crate) const HEADER: usize = 40;
/// The version of the log that this program writes, and the only one it reads.
pub const LOG_FORMAT: u32 = 1;
/// What every frame begins with.
pub(crate) const MAGIC: [u8; 4] = *b"GLOG";

/// A frame header whose own checksum is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) log: u64,
    pub(crate) sequence: u64,
    pub(crate) length: u32,
    pub(crate) payload_crc: u32,
}

fn u32_at(bytes: &[u8; HEADER], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}

fn u64_at(bytes: &[u8; HEADER], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(field)
}

impl Header {
    /// Reads the header at the beginning of `bytes`; `None` if there is no valid one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER] = bytes.first_chunk()?;
        if !bytes.starts_with(&MAGIC) || crc32fast::hash(&bytes[..36]) != u32_at(bytes, 36) {
            return None;
        }
        Some(Self {
            version: u32_at(bytes, 4),
            log: u64_at(bytes, 8),
            sequence: u64_at(bytes, 16),
            length: u32_at(bytes, 24),
            payload_crc: u32_at(bytes, 28),
        })
    }

    fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&self.version.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.log.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.length.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..36]);
        bytes[36..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Bytes that the frame takes on disk, padding included.
    pub(crate) fn frame_bytes(&self) -> u64 {
        (HEADER as u64 + u64::from(self.length)).next_multiple_of(SECTOR as u64)
    }
}

/// Empties `buffer` and leaves room for the header; the payload is appended next, then [`seal`].
pub(crate) fn begin(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.resize(HEADER, 0);
}

/// Completes the frame in `buffer`: header and padding. `false` if it is too long for the format.
pub(crate) fn seal(buffer: &mut Vec<u8>, log: u64, sequence: u64) -> bool {
    let payload = buffer.get(HEADER..).unwrap_or_default();
    let Ok(length) = u32::try_from(payload.len()) else {
        return false;
    };
    let header = Header {
        version: LOG_FORMAT,
        log,
        sequence,
        length,
        payload_crc: crc32fast::hash(payload),
    };
    buffer[..HEADER].copy_from_slice(&header.encode());
    buffer.resize(buffer.len().next_multiple_of(SECTOR), 0);
    true
}

/// The name of the segment that is preallocated and has no number yet. Removed at start-up: it gives
/// a full disk the room to start.
pub(crate) const SPARE: &str = "spare";

/// The file name of a segment.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:016x}.log")
}

/// The number in a segment's file name; `None` for other files.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (segment_name(number) == name).then_some(number)
}

/// What the segments in `dir` say of their format: of several the one that is not [`LOG_FORMAT`],
/// `None` if none says anything. Reads their first headers only, and writes nothing.
pub fn found_format(dir: &Path) -> io::Result<Option<u32>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    let mut found = None;
    for entry in entries {
        let entry = entry?;
        if entry
            .file_name()
            .to_str()
            .and_then(segment_number)
            .is_none()
        {
            continue;
        }
        let mut header = [0; HEADER];
        let read = fs::File::open(entry.path()).and_then(|f| f.read_exact_at(&mut header, 0));
        // What cannot be read is for the log to judge.
        if let (Ok(()), Some(header)) = (read, Header::decode(&header))
            && (found.is_none() || header.version != LOG_FORMAT)
        {
            found = Some(header.version);
        }
    }
    Ok(found)
}
