//! Settings of the `file` driver (image-api 7.2) and their defaults.

use std::{path::PathBuf, time::Duration};

/// Settings of the `file` driver.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory; made at start.
    pub path: PathBuf,
    /// All-zero blocks of 64 KiB become holes.
    pub thin_provisioning: bool,
    /// Mode of the files, as in 0o640; `None`: as the process's umask says.
    pub file_mode: Option<u32>,
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
            thin_provisioning: false,
            file_mode: None,
            threads: 10,
            timeout: None,
        }
    }
}
