//! The seam to the disk that the log lives on; the real one is a directory, the tests' one forgets
//! unsynced writes.

use std::io;

/// A directory of flat files.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file for reading and writing, making it if `create`.
    fn open(&self, name: &str, create: bool) -> io::Result<Box<dyn File>>;
    /// Names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Removes a file; durable after [`Disk::sync_dir`].
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Renames a file over another; durable after [`Disk::sync_dir`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes creations, removals and renames durable.
    fn sync_dir(&self) -> io::Result<()>;
}

/// An open file.
pub trait File: Send {
    /// Bytes.
    fn len(&self) -> io::Result<u64>;
    /// Reads exactly `buffer.len()` bytes at `offset`.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes at `offset`.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Reserves room up to `len` bytes; reads as zeros.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Cuts or extends to `len` bytes.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// fdatasync.
    fn sync_data(&self) -> io::Result<()>;
}
