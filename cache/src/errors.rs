//! Why the cache has no answer.

use std::io;

use rustix::io::Errno;

/// Why the cache has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The source failed; the text is its error.
    #[error("fill failed: {0}")]
    Source(String),
    /// The source gave bytes that are not the chunk, every time it was asked.
    #[error("the source holds damaged data")]
    Damaged,
    /// The local disk failed.
    #[error("cache disk: {0}")]
    Disk(String),
    /// The local disk has no room.
    #[error("cache disk: {0}")]
    Full(String),
    /// The local disk may not be written, or not be read.
    #[error("cache disk: {0}")]
    Denied(String),
    /// Every slot is being read, and so is all the memory beside the pool; try again later.
    #[error("the cache is full of data that is being sent")]
    NoRoom,
    /// Bytes on disk or from outside that are no manifest of this name, or a file that gives none.
    #[error("not the manifest of this name")]
    BadManifest,
    /// The pool is of a format that this program does not know.
    #[error("cache format version {found} is unknown (this program knows {known})")]
    Format {
        /// On disk; 0: a directory of something else.
        found: u32,
        /// Known.
        known: u32,
    },
}

impl Error {
    /// A failure of the local disk while it did `what`.
    pub(crate) fn disk(what: &str, error: &io::Error) -> Self {
        let text = format!("{what}: {error}");
        match Errno::from_io_error(error) {
            Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => Self::Full(text),
            Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Self::Denied(text),
            _ => Self::Disk(text),
        }
    }
}

/// Whether it is the process or the disk that lacks something for the moment: it says nothing about
/// the file.
pub(crate) fn passes(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::MFILE
                | Errno::NFILE
                | Errno::NOMEM
                | Errno::NOSPC
                | Errno::DQUOT
                | Errno::INTR
                | Errno::AGAIN
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_and_a_denied_disk_are_told_from_a_broken_one() {
        let of = |errno: Errno| Error::disk("manifest", &errno.into());
        for full in [Errno::NOSPC, Errno::DQUOT, Errno::FBIG] {
            assert!(matches!(of(full), Error::Full(_)));
        }
        for denied in [Errno::ACCESS, Errno::PERM, Errno::ROFS] {
            assert!(matches!(of(denied), Error::Denied(_)));
        }
        for broken in [Errno::IO, Errno::NOENT, Errno::NOTDIR] {
            assert!(matches!(of(broken), Error::Disk(_)));
        }
    }
}
