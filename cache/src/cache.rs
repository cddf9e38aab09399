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
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

use crate::{
    chunk::{CHUNK_SIZE, ChunkName, ZEROS},
    errors::Error,
    fill::{Fill, Fills, Joined},
    pool::{Checks, Mappings, Pool, Settings, Slot},
};

/// Chunks that are looked up under one lock.
const LOOKUPS_AT_ONCE: usize = 4096;

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
    /// Keep the disk tier so that its bytes can be sent from its files ([`Cache::mappings`]), where
    /// the file system is found fit for that.
    pub sendfile: bool,
    /// Fills at once at most, and checks of chunks that an earlier process left.
    pub max_fills: usize,
    /// A chunk is verified again when it is read and was not for so long. Zero: at every read.
    pub audit_interval: Duration,
    /// How long the pages of a chunk that were seen in memory are taken to be there still; pages
    /// found missing are verified once they are back. Zero: looked up at every read.
    pub residency_interval: Duration,
    /// Bytes of chunks that are served from memory because no slot could be had (at least a chunk);
    /// beside them there are those of the fills under way.
    pub unpooled_size: u64,
    /// How long a fill waits for room among them; then there is [`Error::NoRoom`].
    pub unpooled_wait: Duration,
}

/// A chunk's verified bytes, and how they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// A slice of the mapping that pins its slot while it lives, or memory.
    pub bytes: Bytes,
    /// Why it was not at hand.
    pub cause: Cause,
    /// Whether it lies in the pool.
    pub pooled: bool,
}

/// When the one who asks for a chunk needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Now.
    Due,
    /// Later: it is fetched only as far as the pool has a slot for it. Else there is
    /// [`Error::NoRoom`], without any wait, and it is asked for again when it is due.
    Ahead,
}

/// Why a chunk was not at hand; the later in this list, the worse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// It was.
    #[default]
    Hit,
    /// It was held and had to be verified first: after a start, because its pages had left memory,
    /// or because its last check was too old.
    Check,
    /// Another reader's fill was under way.
    Shared,
    /// It was never held, or so long ago that nobody remembers.
    Absent,
    /// It had to leave, not long ago.
    Evicted,
    /// Its slot held something else after a process that did not stop in order.
    Stale,
    /// Its slot was damaged.
    Damaged,
}

/// Bytes that did not match their name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// In the pool; they are filled again.
    Slot {
        /// The number of the segment file.
        segment: u32,
        /// Which slot of it; each has [`CHUNK_SIZE`] bytes.
        slot: u32,
    },
    /// What the source gave.
    Source,
}

/// Where a fill reads from.
pub trait Source: Send + Sync + 'static {
    /// Reads exactly the `len` bytes of the chunk. A short answer is an error.
    fn read(&self, len: u32) -> impl Future<Output = Result<Vec<Bytes>, String>> + Send;

    /// Is told of damage, for the log: only the source knows what the chunk is a part of.
    fn damaged(&self, _damage: Damage) {}
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
    /// Times that a source gave nothing, or not all: what it reads from is lost, cut or out of reach.
    pub failed_sources: u64,
    /// Fills that ended because there was no room for the chunk, in the pool or in memory.
    pub refused_unpooled: u64,
    /// Slots reused.
    pub evictions: u64,
    /// Times that the pool could not grow: no room on the disk but what has to stay free.
    pub refused_growth: u64,
    /// Slots passed over for a fill because the kernel still sent what they held.
    pub busy_slots: u64,
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
    /// Bytes that chunks outside the pool may still take.
    unpooled: Arc<Semaphore>,
    unpooled_wait: Duration,
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
    failed_sources: AtomicU64,
    refused_unpooled: AtomicU64,
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
            sendfile: config.sendfile,
            checks,
        })?);
        let indexed = Arc::clone(&pool);
        let indexer = thread::Builder::new()
            .name("cache-index".into())
            .spawn(move || indexed.keep_index())
            .map_err(|error| Error::disk("index thread", &error))?;
        let unpooled = usize::try_from(config.unpooled_size.max(CHUNK_SIZE.into()));
        let unpooled = unpooled.unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let permits = config.max_fills.clamp(1, Semaphore::MAX_PERMITS);
        Ok(Arc::new(Self {
            pool,
            fills: Arc::default(),
            fill_permits: Semaphore::new(permits),
            check_permits: Semaphore::new(permits),
            unpooled: Arc::new(Semaphore::new(unpooled)),
            unpooled_wait: config.unpooled_wait,
            counters: Counters::default(),
            indexer: Some(indexer),
        }))
    }

    /// The verified bytes of a chunk, and why they were not at hand. Readers of one missing chunk share
    /// one fill, which survives its first caller.
    pub async fn chunk<S: Source>(
        self: &Arc<Self>,
        name: ChunkName,
        len: u32,
        source: Arc<S>,
        turn: Turn,
    ) -> Result<Found, Error> {
        let hit = |bytes| {
            let found = Found {
                bytes,
                cause: Cause::Hit,
                pooled: true,
            };
            fitting(found, len, turn)
        };
        if let Some(bytes) = self.get(name) {
            return hit(bytes);
        }
        if !(1..=CHUNK_SIZE).contains(&len) {
            return Err(Error::Source(format!("no chunk has {len} bytes")));
        }
        let mut shared = 0;
        loop {
            match self.fills.join(name, turn, || self.get(name)) {
                Joined::Held(bytes) => return hit(bytes),
                Joined::Begun(waiting, fill) => {
                    tokio::spawn(Arc::clone(self).work(fill, name, len, source));
                    return fitting(waiting.outcome().await?, len, turn);
                }
                Joined::Shared(waiting) => {
                    count(&self.counters.shared_fills, 1);
                    shared += 1;
                    match waiting.outcome().await {
                        Ok(found) => {
                            let cause = Cause::Shared;
                            return fitting(Found { cause, ..found }, len, turn);
                        }
                        Err(Error::NoRoom) if turn == Turn::Ahead => return Err(Error::NoRoom),
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

    /// The files that its bytes are mapped from and may be sent from; none where the file system is
    /// not fit for it or [`Config::sendfile`] is off.
    pub fn mappings(&self) -> &Mappings {
        self.pool.mappings()
    }

    /// How many of these chunks are in the pool, repeated ones as often as they stand there. Not
    /// verified, and no read: it changes nothing about who leaves next.
    pub fn count_held(&self, names: &[ChunkName]) -> usize {
        // In pieces, so that nobody waits long for the lock.
        let pieces = names.chunks(LOOKUPS_AT_ONCE);
        pieces.map(|piece| self.pool.count_held(piece)).sum()
    }

    /// Drops these chunks from the pool; those that are being sent stay readable until they are.
    /// The bytes dropped.
    pub fn forget(&self, names: impl IntoIterator<Item = ChunkName>) -> u64 {
        names
            .into_iter()
            .filter_map(|name| self.pool.forget(name))
            .map(u64::from)
            .sum()
    }

    /// Drops every chunk that is in the pool now. The bytes dropped.
    pub fn clear(&self) -> u64 {
        self.forget(self.pool.names())
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
            failed_sources: read(&self.counters.failed_sources),
            refused_unpooled: read(&self.counters.refused_unpooled),
            evictions: self.pool.evictions(),
            refused_growth: self.pool.refused_growth(),
            busy_slots: self.pool.busy_slots(),
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
        let mut cause = match self.pool.was_evicted(name) {
            true => Cause::Evicted,
            false => Cause::Absent,
        };
        if let Some(slot) = self.pool.find(name) {
            let permit = tokio::select! {
                permit = self.check_permits.acquire() => permit,
                () = fill.abandoned() => return,
            };
            match self.check(slot, &*source).await {
                Ok(bytes) => {
                    return fill.end(Ok(Found {
                        bytes,
                        cause: Cause::Check,
                        pooled: true,
                    }));
                }
                Err(found) => cause = found,
            }
            drop(permit);
        }
        count(&self.counters.misses, 1);
        let mut room = None;
        let mut waited = false;
        let filled = loop {
            let permit = tokio::select! {
                permit = self.fill_permits.acquire() => permit,
                () = fill.abandoned() => return,
            };
            let filled = self.fill(name, len, &*source, room, &fill).await;
            drop(permit);
            if waited || !matches!(filled, Err(Error::NoRoom)) || fill.is_ahead() {
                break filled;
            }
            // Meanwhile neither the bytes nor the place of a fill are held.
            waited = true;
            let unpooled = Arc::clone(&self.unpooled).acquire_many_owned(len);
            room = tokio::select! {
                got = tokio::time::timeout(self.unpooled_wait, unpooled) => {
                    got.ok().and_then(Result::ok)
                }
                () = fill.abandoned() => return,
            };
        };
        if matches!(filled, Err(Error::NoRoom)) && !fill.is_ahead() {
            count(&self.counters.refused_unpooled, 1);
        }
        fill.end(filled.map(|(bytes, pooled)| Found {
            bytes,
            cause,
            pooled,
        }));
    }

    /// Verifies what a slot is said to hold; what it does not hold is forgotten.
    async fn check<S: Source>(&self, slot: Arc<Slot>, source: &S) -> Result<Bytes, Cause> {
        let pool = Arc::clone(&self.pool);
        let stale = pool.may_be_stale(&slot);
        let (segment, number) = Pool::place_of(&slot);
        let checked = spawn_blocking(move || {
            let bytes = pool.verify(&slot);
            if bytes.is_none() {
                pool.remove(&slot);
            }
            bytes
        });
        count(&self.counters.checks, 1);
        match checked.await.ok().flatten() {
            Some(bytes) => {
                count(&self.counters.hits, 1);
                Ok(bytes)
            }
            None if stale => {
                count(&self.counters.stale_slots, 1);
                tracing::debug!(
                    segment,
                    slot = number,
                    "a cached chunk is not what it was before the crash; it is filled again"
                );
                Err(Cause::Stale)
            }
            None => {
                count(&self.counters.corrupt_slots, 1);
                source.damaged(Damage::Slot {
                    segment,
                    slot: number,
                });
                Err(Cause::Damaged)
            }
        }
    }

    /// Reads, verifies and stores; `true`: in the pool. Outside of it bytes need `room`, or what is
    /// left of it.
    async fn fill<S: Source>(
        &self,
        name: ChunkName,
        len: u32,
        source: &S,
        room: Option<OwnedSemaphorePermit>,
        fill: &Fill,
    ) -> Result<(Bytes, bool), Error> {
        // Wrong bytes may have been damaged on the way: asked for once more.
        for _ in 0..2 {
            let failed = |text| {
                count(&self.counters.failed_sources, 1);
                Error::Source(text)
            };
            let pieces = source.read(len).await.map_err(failed)?;
            let got: usize = pieces.iter().map(Bytes::len).sum();
            if got != len as usize {
                return Err(failed(format!("{got} bytes came instead of {len}")));
            }
            let pool = Arc::clone(&self.pool);
            let stored = spawn_blocking(move || {
                (ChunkName::of(&pieces) == name).then(|| store(&pool, name, pieces))
            });
            let stored = stored
                .await
                .map_err(|_| Error::Disk("a fill did not end".into()))?;
            let Some(stored) = stored else {
                count(&self.counters.corrupt_sources, 1);
                source.damaged(Damage::Source);
                continue;
            };
            let filled = match stored {
                Ok(bytes) => (bytes, true),
                Err(_) if fill.is_ahead() => return Err(Error::NoRoom),
                Err(pieces) => (self.outside(pieces, len, room)?, false),
            };
            count(&self.counters.fill_bytes, len.into());
            return Ok(filled);
        }
        Err(Error::Damaged)
    }

    /// Bytes that the pool does not take, within their bound.
    fn outside(
        &self,
        pieces: Vec<Bytes>,
        len: u32,
        room: Option<OwnedSemaphorePermit>,
    ) -> Result<Bytes, Error> {
        let room = match room {
            Some(room) => room,
            None => Arc::clone(&self.unpooled)
                .try_acquire_many_owned(len)
                .map_err(|_| Error::NoRoom)?,
        };
        count(&self.counters.unpooled, 1);
        let bytes = match pieces.as_slice() {
            [only] => only.clone(),
            several => several.concat().into(),
        };
        Ok(Bytes::from_owner(Unpooled { bytes, _room: room }))
    }
}

/// Bytes outside the pool with their share of the room for such.
struct Unpooled {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Unpooled {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
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

/// Verified bytes from the pool, or given back if it does not take them.
fn store(pool: &Arc<Pool>, name: ChunkName, pieces: Vec<Bytes>) -> Result<Bytes, Vec<Bytes>> {
    match pool.store(name, &pieces) {
        Ok(Some(slot)) => {
            if let Some(bytes) = pool.bytes(&slot) {
                return Ok(bytes);
            }
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "a chunk could not be written to the cache"),
    }
    Err(pieces)
}

/// A name that stands for bytes of another length is of no image. And who is ahead of its turn gets
/// no bytes outside the pool, not even those of a fill that others needed.
fn fitting(found: Found, len: u32, turn: Turn) -> Result<Found, Error> {
    if turn == Turn::Ahead && !found.pooled {
        return Err(Error::NoRoom);
    }
    if found.bytes.len() == len as usize {
        return Ok(found);
    }
    Err(Error::Damaged)
}
