//! The pool on disk: `FORMAT` (a line of text), `LOCK`, `index.redb`, and `segments/<number>`, each
//! of [`SEGMENT_SLOTS`] slots but for the last.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    map::{Shared, lets_go},
    mappings::Mappings,
};
use crate::{chunk::CHUNK_SIZE, errors::Error};

/// The format of the pool that this program writes, and the only one it reads.
pub const POOL_FORMAT: u32 = 1;
const FORMAT_LINE: &str = "glimpse cache pool ";
/// What segments that could not be opened are named until the next start, for whoever wants to know
/// why. What is no file stays: it takes no room that was the pool's.
const SET_ASIDE: &str = "lost-";
/// What the file system is tried with, for a moment.
const PROBE: &str = "probe";
/// Slots of a segment file: 256 MiB are reserved at a time.
pub(super) const SEGMENT_SLOTS: u32 = 256;
/// Bytes of a segment file but for the last; each is an open file.
pub const SEGMENT_SIZE: u64 = SEGMENT_SLOTS as u64 * CHUNK_SIZE as u64;
/// Slots of the smallest pool: with fewer, two readers could stop each other.
const MIN_SLOTS: u32 = 4;

/// A locked pool directory of a known format.
pub(super) struct Layout {
    dir: PathBuf,
    slots: u32,
    /// Bytes of the file system that growth must leave free.
    keep_free: u64,
    shared: Shared,
}

impl Layout {
    /// Opens or makes the directory of a pool of `size` bytes. Refused untouched: a pool of another
    /// format, a directory of something else, and a pool in use (by a process, or by bytes that are
    /// still being read). A pool whose format cannot be told is made anew: it is worth only misses.
    pub(super) fn open(
        dir: PathBuf,
        size: u64,
        keep_free: u64,
        sendfile: bool,
    ) -> Result<Self, Error> {
        let disk = |error: io::Error| Error::disk("pool", &error);
        let known = match known_format(&dir)? {
            Found::Damaged => {
                tracing::warn!(pool = %dir.display(), "the cache's FORMAT is damaged; starting with an empty pool");
                false
            }
            Found::Version(_) => true,
            Found::Nothing | Found::SomethingElse => false,
        };
        fs::create_dir_all(dir.join("segments")).map_err(disk)?;
        let lock = lock(&dir.join("LOCK"))?;
        if !known {
            clear(&dir).map_err(disk)?;
            write_format(&dir).map_err(disk)?;
        }
        if let Err(error) = remove_set_aside(&dir) {
            tracing::warn!(%error, "segments that were set aside cannot be removed");
        }
        let slots = u32::try_from(size / u64::from(CHUNK_SIZE)).unwrap_or(u32::MAX);
        let mut shared = Shared {
            _lock: Arc::new(lock),
            sendfile,
            mappings: Mappings::default(),
        };
        if sendfile {
            shared.sendfile = can_send_from(&dir.join("segments"), &shared);
        }
        Ok(Self {
            dir,
            slots: slots.max(MIN_SLOTS),
            keep_free,
            shared,
        })
    }

    /// Slots of the whole pool: the bound.
    pub(super) fn slots(&self) -> u32 {
        self.slots
    }

    /// Slots of the segment with this number; none past the end.
    pub(super) fn slots_of(&self, segment: u32) -> u32 {
        let before = segment.saturating_mul(SEGMENT_SLOTS);
        self.slots.saturating_sub(before).min(SEGMENT_SLOTS)
    }

    /// Bytes of a segment's file, if there is one.
    pub(super) fn bytes_of(&self, segment: u32) -> io::Result<Option<u64>> {
        match fs::metadata(self.segment(segment)) {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Slots that the segment can have now: all of its own, or, if the room that they need has to
    /// stay free, those that its file has already, of so many bytes.
    pub(super) fn slots_that_fit(&self, segment: u32, found: Option<u64>) -> io::Result<u32> {
        let slots = self.slots_of(segment);
        let found = found.unwrap_or(0);
        let more = (u64::from(slots) * u64::from(CHUNK_SIZE)).saturating_sub(found);
        if more == 0 {
            return Ok(slots);
        }
        let disk = rustix::fs::statvfs(&self.dir)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free >= self.keep_free.saturating_add(more) {
            return Ok(slots);
        }
        let has = u32::try_from(found / u64::from(CHUNK_SIZE)).unwrap_or(u32::MAX);
        Ok(has.min(slots))
    }

    /// What a segment needs to be opened.
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn index(&self) -> PathBuf {
        self.dir.join("index.redb")
    }

    pub(super) fn segment(&self, number: u32) -> PathBuf {
        self.dir.join("segments").join(format!("{number:08}"))
    }

    /// Takes what lies in a segment's place out of the way.
    pub(super) fn set_aside(&self, segment: u32) -> io::Result<()> {
        fs::rename(self.segment(segment), self.aside(segment))
    }

    /// Undoes [`Layout::set_aside`], as far as that goes.
    pub(super) fn put_back(&self, segment: u32) {
        let _ = fs::rename(self.aside(segment), self.segment(segment));
    }

    fn aside(&self, segment: u32) -> PathBuf {
        self.dir.join(format!("{SET_ASIDE}{segment:08}"))
    }

    /// Removes segment files from `first` on: those of a pool that was larger, or behind a gap.
    pub(super) fn remove_segments_from(&self, first: u32) -> io::Result<()> {
        for entry in fs::read_dir(self.dir.join("segments"))? {
            let entry = entry?;
            let number = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok());
            if number.is_some_and(|number| number >= first) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// Refuses what [`crate::Cache::open`] would refuse as a pool of another format or a directory of
/// something else, for those who have more to open. Nothing is touched.
pub fn check_pool(dir: &Path) -> Result<(), Error> {
    known_format(dir).map(drop)
}

/// What lies where the pool should be, if it may become one.
fn known_format(dir: &Path) -> Result<Found, Error> {
    let known = POOL_FORMAT;
    match found_format(dir).map_err(|error| Error::disk("pool", &error))? {
        Found::Version(found) if found != known => Err(Error::Format { found, known }),
        Found::SomethingElse => Err(Error::Format { found: 0, known }),
        fine @ (Found::Version(_) | Found::Damaged | Found::Nothing) => Ok(fine),
    }
}

/// What lies where the pool should be.
enum Found {
    /// A pool that names its format.
    Version(u32),
    /// A pool by its files, whose FORMAT is no such name.
    Damaged,
    /// Nothing, or what a first start that was cut off left.
    Nothing,
    /// Files that are none of a pool's.
    SomethingElse,
}

fn found_format(dir: &Path) -> io::Result<Found> {
    let named = match fs::read(dir.join("FORMAT")) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let version = named
        .as_deref()
        .and_then(|bytes| std::str::from_utf8(bytes).ok()?.strip_prefix(FORMAT_LINE))
        .and_then(|number| number.trim_end().parse().ok());
    if let Some(version) = version {
        return Ok(Found::Version(version));
    }
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
    // Without a FORMAT, more than a first start leaves is not taken for a pool.
    let damaged = named.is_some();
    for entry in entries {
        let entry = entry?;
        let ours = match entry.file_name().to_str() {
            Some("LOCK" | "FORMAT.tmp" | "lost+found") => true,
            Some("FORMAT" | "index.redb") => damaged,
            Some("segments") => only_segments(&entry.path(), damaged)?,
            Some(name) if damaged => name.starts_with(SET_ASIDE),
            _ => false,
        };
        if !ours {
            return Ok(Found::SomethingElse);
        }
    }
    Ok(if damaged {
        Found::Damaged
    } else {
        Found::Nothing
    })
}

/// Whether a directory holds nothing but files named as [`Layout::segment`] names them, if `any`
/// are allowed.
fn only_segments(dir: &Path, any: bool) -> io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let name = name.as_encoded_bytes();
        let segment = name.len() == 8 && name.iter().all(u8::is_ascii_digit);
        if !(any && segment || name == PROBE.as_bytes()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes what the pool held. The format is written after it, so that one that was cut off is
/// taken up again.
fn clear(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir.join("segments"))? {
        fs::remove_file(entry?.path())?;
    }
    match fs::remove_file(dir.join("index.redb")) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes the files that an earlier start set aside: they take room outside of the bound.
fn remove_set_aside(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let aside = entry.file_name().to_string_lossy().starts_with(SET_ASIDE);
        if aside && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Whether the files of this directory can be sent from.
fn can_send_from(segments: &Path, shared: &Shared) -> bool {
    let cause = match lets_go(&segments.join(PROBE), shared) {
        Ok(true) => return true,
        Ok(false) => None,
        Err(error) => Some(error),
    };
    tracing::warn!(
        segments = %segments.display(),
        cause = cause.map(tracing::field::display),
        "cached bytes are copied into the sockets, not sent from their files \
         (cache.sendfile): this file system does not let go of pages"
    );
    false
}

fn lock(path: &Path) -> Result<File, Error> {
    let open = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path);
    let file = open.map_err(|error| Error::disk("pool lock", &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Disk("the pool is in use".into())),
        Err(TryLockError::Error(error)) => Err(Error::disk("pool lock", &error)),
    }
}

fn write_format(dir: &Path) -> io::Result<()> {
    let temporary = dir.join("FORMAT.tmp");
    let mut file = File::create(&temporary)?;
    writeln!(file, "{FORMAT_LINE}{POOL_FORMAT}")?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join("FORMAT"))?;
    File::open(dir)?.sync_all()
}
