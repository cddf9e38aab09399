//! Compressed data, expanded piece by piece (image-api 3.4): gzip, and zip archives of exactly one file, told
//! by their first bytes. How far something expands is bounded by a ratio here, by the image cap and the
//! room in staging where it goes.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::PathBuf,
};

use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder};
use tokio::sync::mpsc;

use super::Failure;

/// Bytes of a piece, and pieces that wait. No keys: a few MiB of each of few jobs.
const PIECE: usize = 1 << 20;
const WAITING: usize = 2;
/// A ratio is only looked at past so many bytes: anything small may be mostly zeros.
const FREE: u64 = 64 << 20;
/// Bytes at a zip archive's end that may hold the record of its directory: its own and a comment.
const TAIL: u64 = 22 + 65_535;

/// Pieces of data, or why there are no more.
pub(super) type Pieces = mpsc::Receiver<Result<Bytes, String>>;

/// The expanded data of a file; `None`: it is not compressed. More than `ratio` bytes for each of the
/// file's are refused (0: no such bound).
pub(super) async fn open(path: PathBuf, ratio: u64) -> Result<Option<Pieces>, Failure> {
    let opened = tokio::task::spawn_blocking(move || reader(path)).await;
    let opened = opened.map_err(|error| Failure::Failed(error.to_string()))?;
    let failed = |error: io::Error| Failure::Failed(said(&error));
    let Some((reader, size)) = opened.map_err(failed)? else {
        return Ok(None);
    };
    let most = match ratio {
        0 => u64::MAX,
        ratio => size.saturating_mul(ratio).max(FREE),
    };
    Ok(Some(spawn(reader, most)))
}

/// A file as it is.
pub(super) fn plain(path: PathBuf) -> Pieces {
    struct Lazy(PathBuf, Option<File>);
    impl Read for Lazy {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            match &mut self.1 {
                Some(file) => file.read(into),
                None => self.1.insert(File::open(&self.0)?).read(into),
            }
        }
    }
    spawn(Box::new(Lazy(path, None)), u64::MAX)
}

/// Reads in a thread of its own, until the end or until nobody takes it any more.
fn spawn(mut reader: Box<dyn Read + Send>, most: u64) -> Pieces {
    let (sender, pieces) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || {
        let mut total = 0u64;
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            let read = reader.by_ref().take(PIECE as u64).read_to_end(&mut piece);
            total = total.saturating_add(piece.len() as u64);
            let piece = match read {
                Ok(0) => return,
                Ok(_) if total > most => Err("The compressed data expands too far.".to_owned()),
                Ok(_) => Ok(Bytes::from(piece)),
                Err(error) => Err(said(&error)),
            };
            let last = piece.is_err();
            let sent = sender.blocking_send(piece);
            if last || sent.is_err() {
                return;
            }
        }
    });
    pieces
}

/// What is said of it: no path is in it.
fn said(error: &io::Error) -> String {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    match matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof) {
        true => format!("The compressed data is damaged: {error}."),
        false => error.kind().to_string(),
    }
}

fn reader(path: PathBuf) -> io::Result<Option<(Box<dyn Read + Send>, u64)>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut magic = Vec::new();
    file.by_ref().take(4).read_to_end(&mut magic)?;
    file.rewind()?;
    Ok(match magic.as_slice() {
        [0x1f, 0x8b, 8, ..] => Some((
            Box::new(MultiGzDecoder::new(io::BufReader::new(file))),
            size,
        )),
        [b'P', b'K', 3, 4] => Some((zip(file, size)?, size)),
        _ => None,
    })
}

/// The one file of a zip archive.
fn zip(mut file: File, size: u64) -> io::Result<Box<dyn Read + Send>> {
    let member = Member::find(&mut file, size)?;
    file.seek(SeekFrom::Start(member.local))?;
    let local: [u8; 30] = array(&mut file)?;
    if !local.starts_with(b"PK\x03\x04") {
        return Err(bad("there is no file where the archive says"));
    }
    let skip = i64::from(number16(&local, 26)) + i64::from(number16(&local, 28));
    file.seek_relative(skip)?;
    let data = io::BufReader::new(file.take(member.compressed));
    let reader: Box<dyn Read + Send> = match member.method {
        0 => Box::new(data),
        8 => Box::new(DeflateDecoder::new(data)),
        _ => return Err(bad("the archive's method of compression is not known")),
    };
    Ok(Box::new(Checked {
        reader,
        sum: crc32fast::Hasher::new(),
        expected: member.sum,
    }))
}

/// What the directory of an archive says of its one file.
struct Member {
    method: u16,
    sum: u32,
    compressed: u64,
    local: u64,
}

impl Member {
    fn find(file: &mut File, size: u64) -> io::Result<Self> {
        let from = size.saturating_sub(TAIL);
        file.seek(SeekFrom::Start(from))?;
        let mut tail = Vec::new();
        file.by_ref().take(TAIL).read_to_end(&mut tail)?;
        let at = tail
            .windows(22)
            .rposition(|end| end.starts_with(b"PK\x05\x06"));
        let at = at.ok_or_else(|| bad("the archive has no directory"))?;
        let end = tail.get(at..).unwrap_or_default();
        let mut count = u64::from(number16(end, 10));
        let mut directory = u64::from(number32(end, 16));
        if count == 0xffff || directory == 0xffff_ffff {
            let locator = at
                .checked_sub(20)
                .and_then(|at| tail.get(at..))
                .unwrap_or_default();
            if !locator.starts_with(b"PK\x06\x07") {
                return Err(bad("the archive has no directory"));
            }
            file.seek(SeekFrom::Start(number64(locator, 8)))?;
            let wide: [u8; 56] = array(file)?;
            if !wide.starts_with(b"PK\x06\x06") {
                return Err(bad("the archive has no directory"));
            }
            (count, directory) = (number64(&wide, 32), number64(&wide, 48));
        }
        if count != 1 {
            return Err(bad("the archive must hold exactly one file"));
        }
        file.seek(SeekFrom::Start(directory))?;
        let header: [u8; 46] = array(file)?;
        if !header.starts_with(b"PK\x01\x02") {
            return Err(bad("the archive's directory is damaged"));
        }
        if number16(&header, 8) & 1 != 0 {
            return Err(bad("the archive is encrypted"));
        }
        file.seek_relative(i64::from(number16(&header, 28)))?;
        let mut extra = Vec::new();
        file.by_ref()
            .take(number16(&header, 30).into())
            .read_to_end(&mut extra)?;
        let mut wide = wide_numbers(&extra);
        let mut number = |at| match number32(&header, at) {
            0xffff_ffff => wide
                .next()
                .ok_or_else(|| bad("the archive's directory is damaged")),
            narrow => Ok(u64::from(narrow)),
        };
        // In the order in which the wide ones stand.
        let _expanded = number(24)?;
        let compressed = number(20)?;
        let local = number(42)?;
        Ok(Self {
            method: number16(&header, 10),
            sum: number32(&header, 16),
            compressed,
            local,
        })
    }
}

/// The numbers of the field for archives beyond 4 GiB.
fn wide_numbers(mut extra: &[u8]) -> impl Iterator<Item = u64> + use<> {
    let mut numbers = Vec::new();
    while extra.len() >= 4 {
        let length = usize::from(number16(extra, 2)) + 4;
        let field = extra.get(4..length).unwrap_or_default();
        if number16(extra, 0) == 1 {
            numbers = field
                .chunks_exact(8)
                .map(|field| number64(field, 0))
                .collect();
        }
        extra = extra.get(length..).unwrap_or_default();
    }
    numbers.into_iter()
}

/// Data whose sum is known.
struct Checked {
    reader: Box<dyn Read + Send>,
    sum: crc32fast::Hasher,
    expected: u32,
}

impl Read for Checked {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(into)?;
        self.sum.update(into.get(..count).unwrap_or_default());
        if count == 0 && !into.is_empty() && self.sum.clone().finalize() != self.expected {
            return Err(bad("its checksum is another"));
        }
        Ok(count)
    }
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn array<const N: usize>(file: &mut File) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The little-endian number at a place; 0 where there is none.
fn number16(bytes: &[u8], at: usize) -> u16 {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

fn number32(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn number64(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
