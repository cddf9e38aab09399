//! Settings of the `file` driver (image-api 7.2) and their defaults.

use std::{path::PathBuf, time::Duration};

use super::Owner;

/// Settings of the `file` driver.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory.
    pub path: PathBuf,
    /// Whose it must be whenever it is used; `None`: anybody's, and it is made if it is missing.
    pub owner: Option<Owner>,
    /// Where the directory was before, or how else it was spelled: locations below these name the
    /// objects of this store, and are looked up below `path`.
    pub earlier_roots: Vec<PathBuf>,
    /// All-zero blocks of 64 KiB become holes.
    pub thin_provisioning: bool,
    /// Mode of the files, as in 0o640; `None`: as the process's umask says.
    pub file_mode: Option<u32>,
    /// Bytes of the file system that puts leave free; a put that would take them is `KeptFree`.
    pub keep_free: u64,
    /// File system calls at once at most.
    pub threads: usize,
    /// A file system call (with its wait for a thread) that takes longer fails the request with
    /// 503; `None`: wait for ever.
    pub timeout: Option<Duration>,
}

impl Config {
    /// The defaults, for a directory.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            owner: None,
            earlier_roots: Vec::new(),
            thin_provisioning: false,
            file_mode: None,
            keep_free: 0,
            threads: 10,
            timeout: None,
        }
    }
}
