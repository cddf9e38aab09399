//! The seam to the file system under the `file` driver: one directory of flat files. The real one
//! is below; the tests' one forgets unsynced writes and runs out of room when told to.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use rustix::{
    fs::{AtFlags, CWD, FallocateFlags, OFlags, RenameFlags},
    io::Errno,
};

use crate::buffer::DIRECT_ALIGNMENT;

/// One directory of flat files.
pub trait Disk: Send + Sync + 'static {
    /// Makes a file that must not exist, locked against [`File::try_lock`] where the file system
    /// has locks; `EAGAIN`: somebody locked it first, and may remove it. `direct` asks that its writes
    /// bypass the page cache where the file system can do that.
    fn create(&self, name: &str, direct: bool) -> io::Result<Arc<dyn File>>;
    /// Opens a regular file for reading; a symbolic link is `ELOOP`. `direct` as for `create`.
    fn open(&self, name: &str, direct: bool) -> io::Result<Arc<dyn File>>;
    /// Gives a file another name, which must be free (`EEXIST`); durable after [`Disk::sync`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file; durable after [`Disk::sync`].
    fn remove(&self, name: &str) -> io::Result<()>;
    /// All regular files.
    fn list(&self) -> io::Result<Entries>;
    /// Makes renames and removals durable.
    fn sync(&self) -> io::Result<()>;
    /// Bytes of the file system that can still be written.
    fn free(&self) -> io::Result<u64>;
}

/// A listing under way.
pub type Entries = Box<dyn Iterator<Item = io::Result<Entry>> + Send>;

/// One file of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
}

/// An open file.
pub trait File: Send + Sync + 'static {
    /// Bytes.
    fn size(&self) -> io::Result<u64>;
    /// Reads `len` bytes at `offset`, fewer only at the end of the file.
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes>;
    /// Writes at `offset`.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Reserves room for `len` bytes at `offset` without changing the size.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Cuts or extends to `len` bytes; what is added reads as zeros.
    fn set_size(&self, len: u64) -> io::Result<()>;
    /// Sets the permission bits.
    fn set_mode(&self, mode: u32) -> io::Result<()>;
    /// Takes the lock that [`Disk::create`] takes, until the file is dropped.
    fn try_lock(&self) -> io::Result<Lock>;
    /// Makes data and size durable.
    fn sync(&self) -> io::Result<()>;
}

/// What became of an attempt to lock a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// It is ours.
    Taken,
    /// A living writer has it.
    Held,
    /// There are no locks here, so nobody can tell whether a writer lives.
    Unsupported,
}

/// A directory of the operating system.
pub(super) struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    /// A name that leads elsewhere is resolved once, here; a directory that is not there yet is one
    /// by its name.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let root = path.canonicalize();
        let root = root.or_else(|_| std::path::absolute(path))?;
        Ok(Self { root })
    }

    /// The directory's real path.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }
}

/// Makes a directory durably, if it is missing. Not those above it: where one of them is missing, a
/// disk is that was to be mounted there. `mode` is subject to the umask.
pub fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    make_level(path, mode, &mut |folder| fs::File::open(folder)?.sync_all())
}

fn make_level(
    path: &Path,
    mode: u32,
    sync: &mut dyn FnMut(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        // The root of the file system.
        None => return Ok(()),
    };
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {
            sync(path)?;
            // Its entry is in the directory above.
            sync(parent)
        }
        // Made before, perhaps by a start that was cut before this. Who may not read the directory
        // above did not make this one.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {
            match sync(parent) {
                Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
                other => other,
            }
        }
        Err(error) => Err(error),
    }
}

impl Disk for RealDisk {
    fn free(&self) -> io::Result<u64> {
        let found = rustix::fs::statvfs(&self.root)?;
        // Some file systems do not know.
        if found.f_blocks == 0 {
            return Ok(u64::MAX);
        }
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn create(&self, name: &str, direct: bool) -> io::Result<Arc<dyn File>> {
        let path = self.root.join(name);
        let open = |flags: OFlags| {
            fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .custom_flags(flags.bits().cast_signed())
                .open(&path)
        };
        let file = open_direct(direct, open, || match fs::remove_file(&path) {
            // Some file systems notice only after they made the file.
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })?;
        match file.try_lock()? {
            // It may also have been locked, removed and unlocked before.
            Lock::Taken if file.file.metadata()?.nlink() == 0 => Err(Errno::AGAIN.into()),
            Lock::Held => Err(Errno::AGAIN.into()),
            Lock::Taken | Lock::Unsupported => Ok(Arc::new(file)),
        }
    }

    fn open(&self, name: &str, direct: bool) -> io::Result<Arc<dyn File>> {
        let path = self.root.join(name);
        let open = |flags: OFlags| {
            // NONBLOCK: a fifo must not hang the call.
            let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            fs::OpenOptions::new()
                .read(true)
                .custom_flags(flags.bits().cast_signed())
                .open(&path)
        };
        let file = open_direct(direct, open, || Ok(()))?;
        if !file.file.metadata()?.is_file() {
            return Err(Errno::LOOP.into());
        }
        Ok(Arc::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.root.join(from), self.root.join(to));
        match rustix::fs::renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE) {
            // Not every file system can; a hard link never replaces either.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                rustix::fs::linkat(CWD, &from, CWD, &to, AtFlags::empty())?;
                fs::remove_file(from)
            }
            other => Ok(other?),
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.root.join(name))
    }

    fn list(&self) -> io::Result<Entries> {
        let entries = fs::read_dir(&self.root)?.filter_map(|entry| {
            let read = entry.and_then(|entry| {
                let metadata = entry.metadata()?;
                Ok((entry.file_name(), metadata))
            });
            match read {
                Ok((name, metadata)) => Some(Ok(Entry {
                    // A name that is no text is nobody's object.
                    name: name.into_string().ok().filter(|_| metadata.is_file())?,
                    size: metadata.len(),
                })),
                // Removed while the listing ran.
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => Some(Err(error)),
            }
        });
        Ok(Box::new(entries))
    }

    fn sync(&self) -> io::Result<()> {
        fs::File::open(&self.root)?.sync_all()
    }
}

/// Opens directly if asked to and possible, or else through the page cache, after `undo`.
fn open_direct(
    direct: bool,
    open: impl Fn(OFlags) -> io::Result<fs::File>,
    undo: impl Fn() -> io::Result<()>,
) -> io::Result<RealFile> {
    if direct {
        match open(OFlags::DIRECT) {
            Ok(file) => return Ok(RealFile::new(file, true)),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => undo()?,
            Err(error) => return Err(error),
        }
    }
    Ok(RealFile::new(open(OFlags::empty())?, false))
}

/// A file of the operating system.
struct RealFile {
    file: fs::File,
    direct: AtomicBool,
}

impl RealFile {
    fn new(file: fs::File, direct: bool) -> Self {
        let direct = AtomicBool::new(direct);
        Self { file, direct }
    }

    fn is_direct(&self) -> bool {
        self.direct.load(Ordering::Relaxed)
    }

    /// Reads into an aligned part of a longer buffer.
    fn read_direct(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let rounded = len.next_multiple_of(DIRECT_ALIGNMENT);
        let mut data = vec![0; rounded + DIRECT_ALIGNMENT];
        let start = data.as_ptr().align_offset(DIRECT_ALIGNMENT);
        let room = data.get_mut(start..start.saturating_add(rounded));
        let room = room.ok_or(Errno::INVAL)?;
        let mut read = 0;
        while let Some(rest) = room.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            // Direct reads end off the alignment only where the file does.
            if !read.is_multiple_of(DIRECT_ALIGNMENT) {
                break;
            }
        }
        Ok(Bytes::from(data).slice(start..start + read.min(len)))
    }

    /// Goes on through the page cache.
    fn leave_direct(&self) -> io::Result<()> {
        let flags = rustix::fs::fcntl_getfl(&self.file)?;
        rustix::fs::fcntl_setfl(&self.file, flags - OFlags::DIRECT)?;
        self.direct.store(false, Ordering::Relaxed);
        Ok(())
    }
}

impl File for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        if self.is_direct() && offset.is_multiple_of(DIRECT_ALIGNMENT as u64) {
            match self.read_direct(offset, len) {
                // A device with stricter rules than ours.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {
                    self.leave_direct()?;
                }
                other => return other,
            }
        } else if self.is_direct() {
            self.leave_direct()?;
        }
        let mut at = offset;
        let mut data = Vec::with_capacity(len);
        while data.len() < len {
            let room = rustix::buffer::spare_capacity(&mut data);
            match rustix::io::pread(&self.file, room, at) {
                Ok(0) => break,
                Ok(read) => at += read as u64,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // The allocator may have given more room than was asked for.
        data.truncate(len);
        Ok(data.into())
    }

    fn write_at(&self, mut offset: u64, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let aligned = data.as_ptr().addr().is_multiple_of(DIRECT_ALIGNMENT)
                && data.len().is_multiple_of(DIRECT_ALIGNMENT)
                && offset.is_multiple_of(DIRECT_ALIGNMENT as u64);
            if self.is_direct() && !aligned {
                self.leave_direct()?;
            }
            match self.file.write_at(data, offset) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    data = data.get(written..).unwrap_or_default();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A device with stricter rules than ours.
                Err(error)
                    if self.is_direct() && Errno::from_io_error(&error) == Some(Errno::INVAL) =>
                {
                    self.leave_direct()?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, offset, len) {
            // Only a saving: the file grows as it is written.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            other => Ok(other?),
        }
    }

    fn set_size(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.file.set_permissions(fs::Permissions::from_mode(mode))
    }

    fn try_lock(&self) -> io::Result<Lock> {
        match self.file.try_lock() {
            Ok(()) => Ok(Lock::Taken),
            Err(fs::TryLockError::WouldBlock) => Ok(Lock::Held),
            Err(fs::TryLockError::Error(error)) => match Errno::from_io_error(&error) {
                Some(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(Lock::Unsupported),
                _ => Err(error),
            },
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_is_made_is_durable_in_the_level_above_which_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let (top, path) = (dir.path().to_owned(), dir.path().join("a"));
        let missing = make_folder(&path.join("b"), 0o700).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert!(!path.exists());
        let mut synced = Vec::new();
        make_level(&path, 0o700, &mut |folder| {
            synced.push(folder.to_owned());
            Ok(())
        })
        .unwrap();
        assert_eq!(synced, [path.clone(), top]);
        make_folder(&path, 0o700).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(make_folder(&dir.path().join("file"), 0o700).is_err());
        assert!(make_folder(&dir.path().join("file/below"), 0o700).is_err());
        make_folder(Path::new("/"), 0o700).unwrap();
    }
}
