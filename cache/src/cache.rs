//! The cache of one node: chunks from the pool, or from their source by way of the pool.

use std::{
    future::Future,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{
    chunk::{CHUNK_SIZE, ChunkName, ZEROS},
    errors::Error,
    fill::{Fill, Fills, Joined},
    pool::{Checks, Pool, Settings, Slot},
};

/// Settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of the pool.
    pub dir: PathBuf,
    /// Bytes of the disk tier; a hard bound (but at least four chunks). Taken from the file system
    /// as they are needed, 256 MiB at a time.
    pub size: u64,
    /// Bytes of the file system that the pool leaves free when it grows; it gives back nothing.
    pub keep_free: u64,
    /// Fills at once at most, and checks of chunks that an earlier process left.
    pub max_fills: usize,
    /// A chunk is verified again when it is read and was not for so long. Zero: at every read.
    pub audit_interval: Duration,
    /// How long the pages of a chunk that were seen in memory are taken to be there still; pages
    /// found missing are verified once they are back. Zero: looked up at every read.
    pub residency_interval: Duration,
}

/// Where a fill reads from.
pub trait Source: Send + Sync + 'static {
    /// Reads exactly the `len` bytes of the chunk. A short answer is an error.
    fn read(&self, len: u32) -> impl Future<Output = Result<Vec<Bytes>, String>> + Send;
}

/// Counters, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Chunks found.
    pub hits: u64,
    /// Chunks filled.
    pub misses: u64,
    /// Readers that waited for another's fill.
    pub shared_fills: u64,
    /// Bytes filled.
    pub fill_bytes: u64,
    /// Chunks served from memory because no slot could be had or written.
    pub unpooled: u64,
    /// Slots whose bytes were compared with their name after they had been filled.
    pub checks: u64,
    /// Slots whose bytes did not match their name; refilled.
    pub corrupt_slots: u64,
    /// The same after a process that did not stop in order, at the first read: its last changes
    /// are not in the index. Damage cannot be told from that.
    pub stale_slots: u64,
    /// Chunks from the source that did not match their name.
    pub corrupt_sources: u64,
    /// Slots reused.
    pub evictions: u64,
    /// Times that the pool could not grow: no room on the disk but what has to stay free.
    pub refused_growth: u64,
    /// Slots in use.
    pub used_slots: u64,
    /// Slots in all.
    pub slots: u64,
}

/// The cache of one node.
pub struct Cache {
    pool: Arc<Pool>,
    fills: Arc<Fills>,
    /// Fills that may read and write at once.
    fill_permits: Semaphore,
    /// Slots that may be verified at once; apart, so that no slow source holds them up.
    check_permits: Semaphore,
    counters: Counters,
    indexer: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    shared_fills: AtomicU64,
    fill_bytes: AtomicU64,
    unpooled: AtomicU64,
    checks: AtomicU64,
    corrupt_slots: AtomicU64,
    stale_slots: AtomicU64,
    corrupt_sources: AtomicU64,
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

impl Cache {
    /// Opens or makes the pool. The index is read; no chunk is. Blocks; call it at start.
    pub fn open(config: Config) -> Result<Arc<Self>, Error> {
        let checks = Checks::new(config.audit_interval, config.residency_interval);
        let pool = Arc::new(Pool::open(Settings {
            dir: config.dir,
            size: config.size,
            keep_free: config.keep_free,
            checks,
        })?);
        let indexed = Arc::clone(&pool);
        let indexer = thread::Builder::new()
            .name("cache-index".into())
            .spawn(move || indexed.keep_index())
            .map_err(|error| Error::disk("index thread", &error))?;
        let permits = config.max_fills.clamp(1, Semaphore::MAX_PERMITS);
        Ok(Arc::new(Self {
            pool,
            fills: Arc::default(),
            fill_permits: Semaphore::new(permits),
            check_permits: Semaphore::new(permits),
            counters: Counters::default(),
            indexer: Some(indexer),
        }))
    }

    /// The verified bytes of a chunk, as a slice of the mapping that pins its slot while it lives.
    /// Readers of one missing chunk share one fill, which survives its first caller.
    pub async fn chunk<S: Source>(
        self: &Arc<Self>,
        name: ChunkName,
        len: u32,
        source: Arc<S>,
    ) -> Result<Bytes, Error> {
        if let Some(bytes) = self.get(name) {
            return right_length(bytes, len);
        }
        if !(1..=CHUNK_SIZE).contains(&len) {
            return Err(Error::Source(format!("no chunk has {len} bytes")));
        }
        let mut shared = 0;
        loop {
            match self.fills.join(name, || self.get(name)) {
                Joined::Held(bytes) => return right_length(bytes, len),
                Joined::Begun(waiting, fill) => {
                    tokio::spawn(Arc::clone(self).work(fill, name, len, source));
                    return right_length(waiting.outcome().await?, len);
                }
                Joined::Shared(waiting) => {
                    count(&self.counters.shared_fills, 1);
                    shared += 1;
                    match waiting.outcome().await {
                        Ok(bytes) => return right_length(bytes, len),
                        // It read another's source; ours may be better.
                        Err(_) if shared == 1 => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }

    /// The chunk if it is held, in memory, and was verified lately: without waiting for anything.
    /// Another may be held and need a look at it, for which [`Cache::chunk`] waits.
    pub fn get(&self, name: ChunkName) -> Option<Bytes> {
        let bytes = self.pool.bytes(&self.pool.find(name)?)?;
        count(&self.counters.hits, 1);
        Some(bytes)
    }

    /// `len` zeros (at most [`CHUNK_SIZE`]) without allocation.
    pub fn zeros(len: usize) -> Bytes {
        Bytes::from_static(ZEROS.get(..len).unwrap_or(&ZEROS))
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (used_slots, slots) = self.pool.usage();
        Stats {
            hits: read(&self.counters.hits),
            misses: read(&self.counters.misses),
            shared_fills: read(&self.counters.shared_fills),
            fill_bytes: read(&self.counters.fill_bytes),
            unpooled: read(&self.counters.unpooled),
            checks: read(&self.counters.checks),
            corrupt_slots: read(&self.counters.corrupt_slots),
            stale_slots: read(&self.counters.stale_slots),
            corrupt_sources: read(&self.counters.corrupt_sources),
            evictions: self.pool.evictions(),
            refused_growth: self.pool.refused_growth(),
            used_slots,
            slots,
        }
    }

    /// Writes the index durably, for an orderly stop. Blocks.
    pub fn checkpoint(&self) -> Result<(), Error> {
        self.pool.checkpoint()
    }

    /// Does the work of a fill; whoever began it may be gone.
    async fn work<S: Source>(
        self: Arc<Self>,
        fill: Fill,
        name: ChunkName,
        len: u32,
        source: Arc<S>,
    ) {
        if let Some(slot) = self.pool.find(name) {
            let permit = tokio::select! {
                permit = self.check_permits.acquire() => permit,
                () = fill.abandoned() => return,
            };
            if let Some(bytes) = self.check(slot).await {
                return fill.end(Ok(bytes));
            }
            drop(permit);
        }
        let permit = tokio::select! {
            permit = self.fill_permits.acquire() => permit,
            () = fill.abandoned() => return,
        };
        let outcome = self.fill(name, len, &*source).await;
        drop(permit);
        fill.end(outcome);
    }

    /// Verifies what a slot is said to hold; what it does not hold is forgotten.
    async fn check(&self, slot: Arc<Slot>) -> Option<Bytes> {
        let pool = Arc::clone(&self.pool);
        let stale = pool.may_be_stale(&slot);
        let checked = spawn_blocking(move || {
            let bytes = pool.verify(&slot);
            if bytes.is_none() {
                pool.remove(&slot);
            }
            bytes
        });
        count(&self.counters.checks, 1);
        let bytes = checked.await.ok().flatten();
        match &bytes {
            Some(_) => count(&self.counters.hits, 1),
            None if stale => {
                count(&self.counters.stale_slots, 1);
                tracing::debug!(
                    "a cached chunk is not what it was before the crash; it is filled again"
                );
            }
            None => {
                count(&self.counters.corrupt_slots, 1);
                tracing::warn!("a cached chunk was damaged on disk; it is filled again");
            }
        }
        bytes
    }

    async fn fill<S: Source>(&self, name: ChunkName, len: u32, source: &S) -> Result<Bytes, Error> {
        count(&self.counters.misses, 1);
        // Wrong bytes may have been damaged on the way: asked for once more.
        for _ in 0..2 {
            let pieces = source.read(len).await.map_err(Error::Source)?;
            let got: usize = pieces.iter().map(Bytes::len).sum();
            if got != len as usize {
                let text = format!("{got} bytes came instead of {len}");
                return Err(Error::Source(text));
            }
            let pool = Arc::clone(&self.pool);
            let stored = spawn_blocking(move || {
                (ChunkName::of(&pieces) == name).then(|| store(&pool, name, pieces))
            });
            let stored = stored
                .await
                .map_err(|_| Error::Disk("a fill did not end".into()))?;
            if let Some((bytes, pooled)) = stored {
                count(&self.counters.fill_bytes, len.into());
                count(&self.counters.unpooled, u64::from(!pooled));
                return Ok(bytes);
            }
            count(&self.counters.corrupt_sources, 1);
            tracing::warn!(chunk = ?name, "a source gave damaged data");
        }
        Err(Error::Damaged)
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.pool.stop_indexing();
        if let Some(indexer) = self.indexer.take() {
            // Its last write; a panic there has been reported already.
            let _ = indexer.join();
        }
    }
}

/// Verified bytes, from the pool if it takes them (`true`).
fn store(pool: &Pool, name: ChunkName, pieces: Vec<Bytes>) -> (Bytes, bool) {
    match pool.store(name, &pieces) {
        Ok(Some(slot)) => {
            if let Some(bytes) = pool.bytes(&slot) {
                return (bytes, true);
            }
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "a chunk could not be written to the cache"),
    }
    match pieces.as_slice() {
        [only] => (only.clone(), false),
        several => (several.concat().into(), false),
    }
}

/// A name that stands for bytes of another length is of no image.
fn right_length(bytes: Bytes, len: u32) -> Result<Bytes, Error> {
    if bytes.len() == len as usize {
        return Ok(bytes);
    }
    Err(Error::Damaged)
}
