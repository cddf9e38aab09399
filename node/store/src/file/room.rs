//! The room on a store's disk: what a write leaves of it, and a word to the operator when there is none.

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::io::Errno;

use super::{Config, disk::Disk};
use crate::{StoreError, errors::KeptFree};

/// The same word is said so often at most.
const SELDOM: Duration = Duration::from_secs(60);

/// The room on the disk of one store.
pub(super) struct Room {
    disk: Arc<dyn Disk>,
    keep_free: u64,
    store: String,
    path: PathBuf,
    full: Seldom,
}

impl Room {
    pub(super) fn new(config: &Config, disk: Arc<dyn Disk>) -> Self {
        let owner = config.owner.as_ref();
        Self {
            disk,
            keep_free: config.keep_free,
            store: owner.map(|owner| owner.store.clone()).unwrap_or_default(),
            path: config.path.clone(),
            full: Seldom::default(),
        }
    }

    /// Whether some of it is to stay free.
    pub(super) fn is_kept(&self) -> bool {
        self.keep_free > 0
    }

    /// Fails if so many bytes more do not fit, or would leave too little.
    pub(super) fn check(&self, more: u64) -> io::Result<()> {
        let free = self.disk.free()?;
        if free >= self.keep_free.saturating_add(more) {
            return Ok(());
        }
        match free < more || !self.is_kept() {
            true => Err(Errno::NOSPC.into()),
            false => Err(io::Error::other(KeptFree)),
        }
    }

    /// Tells the operator if a write failed for want of room.
    pub(super) fn note<T>(&self, written: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &written
            && matches!(
                StoreError::from_io(error),
                StoreError::Full | StoreError::KeptFree
            )
            && self.full.is_due()
        {
            tracing::warn!(
                store = self.store,
                path = %self.path.display(),
                free = self.disk.free().ok(),
                node.keep_free = self.keep_free,
                "the store is full: uploads are refused"
            );
        }
        written
    }
}

/// Keeps a word that many calls have from being said by each of them.
#[derive(Default)]
pub(super) struct Seldom(std::sync::Mutex<Option<Instant>>);

impl Seldom {
    /// Whether it was not said lately; then it counts as said now.
    pub(super) fn is_due(&self) -> bool {
        let mut said = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let due = said.is_none_or(|said| said.elapsed() >= SELDOM);
        if due {
            *said = Some(Instant::now());
        }
        due
    }
}
