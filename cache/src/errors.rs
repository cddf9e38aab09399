//! Why the cache has no answer.

use std::io;

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
    /// Bytes on disk or from outside that are no manifest of this name.
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
        Self::Disk(format!("{what}: {error}"))
    }
}
