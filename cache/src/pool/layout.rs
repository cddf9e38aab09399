//! The pool on disk: `FORMAT` (a line of text), `LOCK`, `index.redb`, and `segments/<number>`, each
//! of [`SEGMENT_SLOTS`] slots but for the last.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{chunk::CHUNK_SIZE, errors::Error};

/// The format this program reads and writes.
const FORMAT: u32 = 1;
const FORMAT_LINE: &str = "glimpse cache pool ";
/// Slots of a segment file: 256 MiB are reserved at a time.
pub(super) const SEGMENT_SLOTS: u32 = 256;
/// Slots of the smallest pool: with fewer, two readers could stop each other.
const MIN_SLOTS: u32 = 4;

/// A locked pool directory of a known format.
pub(super) struct Layout {
    dir: PathBuf,
    slots: u32,
    lock: Arc<File>,
}

impl Layout {
    /// Opens or makes the directory of a pool of `size` bytes. One of another format is refused
    /// untouched, one in use (by a process, or by bytes that are still being read) as well.
    pub(super) fn open(dir: PathBuf, size: u64) -> Result<Self, Error> {
        let disk = |error: io::Error| Error::disk("pool", &error);
        let new = match fs::read_to_string(dir.join("FORMAT")) {
            Ok(text) => {
                let found = text.strip_prefix(FORMAT_LINE);
                let found = found.and_then(|number| number.trim_end().parse().ok());
                check_format(found.unwrap_or(0))?;
                false
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if !is_vacant(&dir).map_err(disk)? {
                    check_format(0)?;
                }
                true
            }
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                check_format(0).map(|()| false)?
            }
            Err(error) => return Err(disk(error)),
        };
        fs::create_dir_all(dir.join("segments")).map_err(disk)?;
        let lock = lock(&dir.join("LOCK"))?;
        if new {
            write_format(&dir).map_err(disk)?;
        }
        let slots = u32::try_from(size / u64::from(CHUNK_SIZE)).unwrap_or(u32::MAX);
        Ok(Self {
            dir,
            slots: slots.max(MIN_SLOTS),
            lock: Arc::new(lock),
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

    pub(super) fn lock(&self) -> &Arc<File> {
        &self.lock
    }

    pub(super) fn index(&self) -> PathBuf {
        self.dir.join("index.redb")
    }

    pub(super) fn segment(&self, number: u32) -> PathBuf {
        self.dir.join("segments").join(format!("{number:08}"))
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

fn check_format(found: u32) -> Result<(), Error> {
    let known = FORMAT;
    if found == known {
        return Ok(());
    }
    Err(Error::Format { found, known })
}

/// Whether a pool may be made here: nothing is there, or what a first start that was cut off left.
fn is_vacant(dir: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let ours = match entry.file_name().to_str() {
            Some("LOCK" | "FORMAT.tmp" | "lost+found") => true,
            Some("segments") => fs::read_dir(entry.path())?.next().is_none(),
            _ => false,
        };
        if !ours {
            return Ok(false);
        }
    }
    Ok(true)
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
    writeln!(file, "{FORMAT_LINE}{FORMAT}")?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join("FORMAT"))?;
    File::open(dir)?.sync_all()
}
