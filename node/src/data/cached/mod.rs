//! What this node knows of the images in its cache (image-api 1.8): how often and when each was
//! read, which ones wait to be fetched, which fetches were given up.
//!
//! Kept in memory, within bounds, and in one file of the data directory. A read changes memory only;
//! the file follows now and then and at the stop, so that a crash loses a minute of counting. The
//! queue is written before a request for it is answered. It is no record of the registry because it
//! is about the disk of this node and nobody else's. A file that cannot be read is begun anew: it is
//! no image's data.

mod contents;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use glimpse_registry::image::{ImageId, Timestamp};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, Semaphore};

pub use self::contents::{CachedImage, Survey, forget, survey};
use crate::{config::CacheConfig, data_dir::replace};

/// Its name in the data directory.
const FILE: &str = "CACHED-IMAGES";

/// Fetches that were given up are remembered at most.
const MAX_FAILURES: usize = 64;

/// What is known of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Downloads that took nothing from a store.
    pub hits: u64,
    /// The end of the last download, microseconds since 1970.
    pub accessed: u64,
    /// When chunks of it last came into the cache by a download or a fetch, likewise.
    pub modified: u64,
}

/// A fetch that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Of this image.
    pub image: ImageId,
    /// Why, for who manages the cache.
    pub cause: String,
    /// When.
    pub at: Timestamp,
}

/// The images in the cache, as far as this node was asked for them.
pub struct Cached {
    dir: PathBuf,
    /// Images at most, and entries of the queue.
    bounds: (usize, usize),
    state: Mutex<State>,
    /// One writer of the file at a time.
    writing: Mutex<()>,
    /// One survey at a time: it costs.
    pub(crate) surveys: Arc<Semaphore>,
    /// Wakes the prefetcher.
    pub(crate) wake: Notify,
}

#[derive(Default)]
struct State {
    accounts: HashMap<ImageId, Account>,
    queue: VecDeque<ImageId>,
    failures: VecDeque<Failure>,
    /// The file is behind.
    changed: bool,
}

/// The file.
#[derive(Serialize, Deserialize)]
struct Kept {
    images: BTreeMap<String, Account>,
    queue: Vec<String>,
}

impl Cached {
    /// What the directory's file says, within the bounds. Blocks.
    pub fn open(dir: &Path, config: &CacheConfig) -> Self {
        let path = dir.join(FILE);
        let kept = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::other),
            Err(error) => Err(error),
        };
        let Kept { images, queue } = kept.unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "hits and the queue of the cache begin anew");
            }
            Kept {
                images: BTreeMap::new(),
                queue: Vec::new(),
            }
        });
        let ids = queue.iter().filter_map(|id| id.parse().ok());
        let accounts = images.iter();
        let accounts = accounts.filter_map(|(id, account)| Some((id.parse().ok()?, *account)));
        let state = State {
            accounts: accounts.take(config.accounts).collect(),
            queue: ids.take(config.queue).collect(),
            ..State::default()
        };
        Self {
            dir: dir.to_owned(),
            bounds: (config.accounts, config.queue),
            state: Mutex::new(state),
            writing: Mutex::default(),
            surveys: Arc::new(Semaphore::new(1)),
            wake: Notify::new(),
        }
    }

    /// A download of the image has ended; `hit`: nothing of it came from a store.
    pub fn note_read(&self, image: ImageId, hit: bool, now: Timestamp) {
        let mut state = self.state.lock();
        let account = state.account(image, self.bounds.0, now);
        account.accessed = now.0;
        match hit {
            true => account.hits = account.hits.saturating_add(1),
            false => account.modified = now.0,
        }
        state.changed = true;
    }

    /// The image was fetched: it leaves the queue.
    pub fn note_fetched(&self, image: ImageId, now: Timestamp) {
        let mut state = self.state.lock();
        state.account(image, self.bounds.0, now).modified = now.0;
        state.dequeue(image);
        state.changed = true;
    }

    /// The fetch is given up: the image leaves the queue, and the reason is shown.
    pub fn note_failed(&self, image: ImageId, cause: String, at: Timestamp) {
        let mut state = self.state.lock();
        state.dequeue(image);
        state.failures.retain(|failure| failure.image != image);
        if state.failures.len() == MAX_FAILURES {
            state.failures.pop_front();
        }
        state.failures.push_back(Failure { image, cause, at });
        state.changed = true;
    }

    /// The images, the one read last first.
    pub fn accounts(&self) -> Vec<(ImageId, Account)> {
        let state = self.state.lock();
        let mut all: Vec<_> = state.accounts.iter().map(|(id, a)| (*id, *a)).collect();
        drop(state);
        all.sort_unstable_by_key(|(id, account)| (std::cmp::Reverse(account.accessed), *id));
        all
    }

    /// Whether anything is known of the image, or waits for it.
    pub fn knows(&self, image: ImageId) -> bool {
        let state = self.state.lock();
        state.accounts.contains_key(&image) || state.queue.contains(&image)
    }

    /// Those that wait, in order.
    pub fn queue(&self) -> Vec<ImageId> {
        self.state.lock().queue.iter().copied().collect()
    }

    /// The first that waits.
    pub fn next(&self) -> Option<ImageId> {
        self.state.lock().queue.front().copied()
    }

    /// The fetches that were given up, oldest first; as long as the process runs.
    pub fn failures(&self) -> Vec<Failure> {
        self.state.lock().failures.iter().cloned().collect()
    }

    /// Puts an image at the end of the queue unless it waits already. `false`: the queue is full.
    pub fn enqueue(&self, image: ImageId) -> bool {
        let mut state = self.state.lock();
        if !state.queue.contains(&image) {
            if state.queue.len() >= self.bounds.1 {
                return false;
            }
            state.queue.push_back(image);
            state.changed = true;
        }
        state.failures.retain(|failure| failure.image != image);
        drop(state);
        self.wake.notify_one();
        true
    }

    /// The first becomes the last, after its fetch failed.
    pub fn requeue(&self, image: ImageId) {
        let mut state = self.state.lock();
        if state.dequeue(image) {
            state.queue.push_back(image);
        }
    }

    /// Takes an image out of the queue; whether it waited.
    pub fn dequeue(&self, image: ImageId) -> bool {
        self.state.lock().dequeue(image)
    }

    /// Empties the queue; how many waited.
    pub fn clear_queue(&self) -> usize {
        let mut state = self.state.lock();
        state.changed = true;
        let count = state.queue.len();
        state.queue.clear();
        count
    }

    /// Forgets hits and times of an image.
    pub fn forget(&self, image: ImageId) {
        let mut state = self.state.lock();
        state.changed |= state.accounts.remove(&image).is_some();
        state.failures.retain(|failure| failure.image != image);
    }

    /// Forgets those of all.
    pub fn clear(&self) {
        let mut state = self.state.lock();
        state.changed = true;
        state.accounts.clear();
        state.failures.clear();
    }

    /// Writes the file durably if it is behind. Blocks.
    pub fn save(&self) -> Result<(), String> {
        let _one = self.writing.lock();
        let kept = {
            let mut state = self.state.lock();
            if !std::mem::take(&mut state.changed) {
                return Ok(());
            }
            let accounts = state.accounts.iter();
            Kept {
                images: accounts.map(|(id, a)| (id.to_string(), *a)).collect(),
                queue: state.queue.iter().map(ImageId::to_string).collect(),
            }
        };
        let written = serde_json::to_string(&kept)
            .map_err(|error| error.to_string())
            .and_then(|text| replace(&self.dir, FILE, &text).map_err(|error| error.to_string()));
        written.inspect_err(|_| self.state.lock().changed = true)
    }
}

impl State {
    fn account(&mut self, image: ImageId, most: usize, now: Timestamp) -> &mut Account {
        if self.accounts.len() >= most && !self.accounts.contains_key(&image) {
            self.make_room(most);
        }
        self.accounts.entry(image).or_insert(Account {
            hits: 0,
            accessed: now.0,
            modified: now.0,
        })
    }

    /// Drops those that were not asked for the longest: an eighth at once, since each time looks at
    /// all of them.
    fn make_room(&mut self, most: usize) {
        let mut times: Vec<_> = self.accounts.values().map(|a| a.accessed).collect();
        let count = (most / 8).max(1).min(times.len());
        let (_, last, _) = times.select_nth_unstable(count - 1);
        let last = *last;
        let mut left = count;
        self.accounts.retain(|_, account| {
            let goes = left > 0 && account.accessed <= last;
            left -= usize::from(goes);
            !goes
        });
    }

    fn dequeue(&mut self, image: ImageId) -> bool {
        let before = self.queue.len();
        self.queue.retain(|waiting| *waiting != image);
        let waited = self.queue.len() < before;
        self.changed |= waited;
        waited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> ImageId {
        ImageId([number; 16])
    }

    fn opened(dir: &Path) -> Cached {
        let config = CacheConfig {
            accounts: 16,
            queue: 2,
            ..CacheConfig::default()
        };
        Cached::open(dir, &config)
    }

    #[test]
    fn accounts_are_bounded_and_the_latest_stay() {
        let dir = tempfile::tempdir().unwrap();
        let cached = opened(dir.path());
        for number in 0..200 {
            cached.note_read(id(number), true, Timestamp(number.into()));
            let accounts = cached.accounts();
            assert!(accounts.len() <= 16);
            assert_eq!(accounts[0].0, id(number));
        }
        assert!(cached.accounts().len() >= 14);
    }

    #[test]
    fn equal_times_do_not_empty_the_accounts() {
        let dir = tempfile::tempdir().unwrap();
        let cached = opened(dir.path());
        for number in 0..200 {
            cached.note_read(id(number), false, Timestamp(7));
        }
        assert!(cached.accounts().len() >= 14);
    }

    #[test]
    fn what_is_kept_survives_and_is_written_only_when_it_changed() {
        let dir = tempfile::tempdir().unwrap();
        let cached = opened(dir.path());
        cached.save().unwrap();
        let file = dir.path().join(FILE);
        assert!(!file.exists());
        cached.note_read(id(1), false, Timestamp(5));
        cached.note_read(id(1), true, Timestamp(6));
        assert!(cached.enqueue(id(2)) && cached.enqueue(id(3)) && cached.enqueue(id(2)));
        assert!(!cached.enqueue(id(4)));
        cached.save().unwrap();
        fs::remove_file(&file).unwrap();
        cached.save().unwrap();
        assert!(!file.exists());
        cached.requeue(id(2));
        cached.save().unwrap();
        let cached = opened(dir.path());
        let account = Account {
            hits: 1,
            accessed: 6,
            modified: 5,
        };
        assert_eq!(cached.accounts(), [(id(1), account)]);
        assert_eq!(cached.queue(), [id(3), id(2)]);
        fs::write(&file, "{").unwrap();
        assert!(opened(dir.path()).queue().is_empty());
    }

    #[test]
    fn a_fetch_that_was_given_up_is_remembered_until_it_is_asked_for_again() {
        let dir = tempfile::tempdir().unwrap();
        let cached = opened(dir.path());
        for number in 0..100 {
            cached.note_failed(id(number), "because".into(), Timestamp(1));
        }
        assert_eq!(cached.failures().len(), MAX_FAILURES);
        assert!(cached.enqueue(id(99)));
        assert_eq!(cached.failures().len(), MAX_FAILURES - 1);
        cached.note_fetched(id(99), Timestamp(2));
        assert_eq!((cached.next(), cached.knows(id(99))), (None, true));
    }
}
