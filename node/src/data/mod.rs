//! Image data in and out: the upload pipeline and the download stream.
//!
//! `upload` runs one upload from the first byte to the outcome and owns its clean-up; `pipeline`
//! moves the bytes past inspector, hashes and store within a bounded window; `hashes` computes.
//! `download` turns a manifest and a range into a body; `source` is where missing chunks come from;
//! `slots` bounds both; `staging` is where data waits for its import;
//! `cached` knows which images the cache holds and which it is to fetch; `manifests` keeps decoded
//! manifests in memory; `rebuild` makes one from the data; `learn` records what was so learned of data
//! that came without;
//! `said` keeps the log of damage short.

pub mod cached;
pub mod download;
pub mod hashes;
pub mod learn;
pub mod manifests;
pub mod objects;
pub mod pipeline;
mod rebuild;
pub mod said;
pub mod slots;
pub mod source;
pub mod staging;
pub mod upload;

#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use glimpse_registry::image::{ImageId, UploadId};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::config::CacheConfig;

/// Leftovers that wait for the reaper at most.
const MAX_LEFTOVERS: usize = 1024;

/// What image data in motion shares in one node.
pub struct DataState {
    /// Decoded manifests.
    pub manifests: manifests::ManifestCache,
    /// The images in the cache.
    pub cached: cached::Cached,
    /// Counters, for metrics.
    pub counters: Counters,
    /// What the log said of damaged data lately.
    pub said: said::Said,
    /// Wakes the reaper: something was deleted.
    pub reaper_wake: Notify,
    /// Tasks that run here.
    pub jobs: crate::jobs::Jobs,
    /// Wakes the hashing of locations: one was added.
    pub hashing_wake: Notify,
    /// By store, the keys under which uploads met an object that should not be there.
    leftovers: Mutex<BTreeSet<(String, ImageId)>>,
    /// Uploads that a task of this process owns, to which image, and what tells the task that the
    /// image is gone; the reaper leaves them alone.
    live: Mutex<HashMap<UploadId, (ImageId, CancellationToken)>>,
    /// The tasks of uploads: they finish their clean-up even when the client is gone.
    tasks: TaskTracker,
}

impl DataState {
    /// Nothing in motion yet; `dir` is the data directory. Blocks.
    pub fn new(config: &CacheConfig, dir: &std::path::Path) -> Self {
        Self {
            manifests: manifests::ManifestCache::new(config),
            cached: cached::Cached::open(dir, config),
            counters: Counters::default(),
            said: said::Said::default(),
            reaper_wake: Notify::default(),
            jobs: crate::jobs::Jobs::default(),
            hashing_wake: Notify::default(),
            leftovers: Mutex::default(),
            live: Mutex::default(),
            tasks: TaskTracker::default(),
        }
    }

    /// Tells the reaper of an object that kept an upload out. Past `MAX_LEFTOVERS` they wait for
    /// the next upload, or for the sweep.
    pub fn report_leftover(&self, store: String, id: ImageId) {
        let mut leftovers = self.leftovers.lock();
        if leftovers.len() < MAX_LEFTOVERS {
            leftovers.insert((store, id));
            self.reaper_wake.notify_one();
        }
    }

    /// What was reported since the last call.
    pub fn take_leftovers(&self) -> BTreeSet<(String, ImageId)> {
        std::mem::take(&mut self.leftovers.lock())
    }

    /// Puts back what could not be looked at, for the next try.
    pub fn return_leftovers(&self, left: BTreeSet<(String, ImageId)>) {
        self.leftovers.lock().extend(left);
    }

    /// Whether a task of this process still owns the upload.
    pub fn is_live(&self, upload: UploadId) -> bool {
        self.live.lock().contains_key(&upload)
    }

    /// Ends the uploads and imports to an image that was deleted, which might wait for their clients
    /// else.
    pub fn end_uploads(&self, id: ImageId) {
        self.jobs.end_image(id);
        for (image, lost) in self.live.lock().values() {
            if *image == id {
                lost.cancel();
            }
        }
    }

    /// Waits until every upload has come to its outcome or the deadline passes, for an orderly
    /// stop (the server has closed the connections before). Says whether all are done.
    pub async fn settle(&self, deadline: Duration) -> bool {
        self.tasks.close();
        tokio::time::timeout(deadline, self.tasks.wait())
            .await
            .is_ok()
    }
}

/// Running totals. Relaxed: they are only ever shown.
#[derive(Debug, Default)]
pub struct Counters {
    /// Uploads that made an image active.
    pub uploads_finished: Counter,
    /// Uploads whose head was in order and that failed all the same.
    pub uploads_failed: Counter,
    /// Bytes of image data received whole.
    pub upload_bytes: Counter,
    /// Downloads begun (answers with a body).
    pub downloads: Counter,
    /// Bytes of image data handed to connections.
    pub download_bytes: Counter,
    /// Downloads broken off by this node: a chunk could not be had or proved.
    pub downloads_broken: Counter,
    /// Downloads that the client left early.
    pub downloads_left: Counter,
    /// Objects that the reaper removed from stores.
    pub objects_reaped: Counter,
    /// Uploads of dead processes that the reaper resolved.
    pub uploads_reaped: Counter,
    /// Orphans that the reaper removed from stores.
    pub orphans_reaped: Counter,
    /// Manifests without an image that the reaper removed.
    pub manifests_reaped: Counter,
}

/// One running total.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
    /// The total.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
