//! Why a store call failed: one enum for all drivers, shaped by what the caller will do.

use std::io;

use rustix::io::Errno;

/// Why a store call failed, shaped by what the caller will do. Messages hold no secret and no path.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such object: 404 or 204.
    #[error("the store has no such object")]
    NotFound,
    /// An object with this key exists: 409.
    #[error("the store already holds an object with this key")]
    Exists,
    /// No room: 413.
    #[error("the store is full")]
    Full,
    /// What room there is stays free for the node's own needs: 413.
    #[error(
        "the store is full: the room left on its disk is kept free for the node (node.keep_free)"
    )]
    KeptFree,
    /// Writing is denied: 503.
    #[error("the store denies access: {0}")]
    Denied(String),
    /// Cannot be reached or does not answer: 503, may be retried.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The driver cannot do this (write to http, read at an offset): 410 or 400.
    #[error("the store cannot do this: {0}")]
    Unsupported(&'static str),
    /// In use by others (clones): 409.
    #[error("the data is in use")]
    InUse,
    /// The location URL is not of this driver's form, or leaves its root: 400.
    #[error("not a location of this store")]
    BadLocation,
    /// The object ended before the range did, or is not what the record says: never served.
    #[error("the stored object is damaged: {0}")]
    Damaged(String),
}

/// What an I/O error carries when there is room that must not be taken.
#[derive(Debug, thiserror::Error)]
#[error("kept free")]
pub(crate) struct KeptFree;

/// Shorthand.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

impl StoreError {
    /// What an error of the operating system means to the caller (image-api 7.3, file).
    pub(crate) fn from_io(error: &io::Error) -> Self {
        if error.get_ref().is_some_and(|cause| cause.is::<KeptFree>()) {
            return Self::KeptFree;
        }
        // The error's own text could name a path; the system's text of the number cannot.
        let text = || match error.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number).to_string(),
            None => error.kind().to_string(),
        };
        match Errno::from_io_error(error) {
            Some(Errno::NOENT) => Self::NotFound,
            Some(Errno::EXIST) => Self::Exists,
            Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => Self::Full,
            Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Self::Denied(text()),
            // O_NOFOLLOW met a symbolic link, or something else that is no file lies there.
            Some(Errno::LOOP | Errno::ISDIR) => Self::BadLocation,
            _ => Self::Unavailable(text()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_become_what_the_caller_will_do() {
        let of = |errno: Errno| StoreError::from_io(&io::Error::from(errno));
        for full in [Errno::NOSPC, Errno::DQUOT, Errno::FBIG] {
            assert!(matches!(of(full), StoreError::Full));
        }
        for denied in [Errno::ACCESS, Errno::PERM, Errno::ROFS] {
            assert!(matches!(of(denied), StoreError::Denied(_)));
        }
        assert!(matches!(of(Errno::NOENT), StoreError::NotFound));
        assert!(matches!(of(Errno::EXIST), StoreError::Exists));
        for no_file in [Errno::LOOP, Errno::ISDIR] {
            assert!(matches!(of(no_file), StoreError::BadLocation));
        }
        let kept = StoreError::from_io(&io::Error::other(KeptFree));
        assert!(matches!(kept, StoreError::KeptFree));
        assert!(matches!(of(Errno::IO), StoreError::Unavailable(_)));
    }
}
