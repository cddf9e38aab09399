//! The cache as its users see it.

mod misses;

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use proptest::prelude::*;
use tokio::sync::Semaphore;

use crate::{CHUNK_SIZE, Cache, ChunkName, Config, Error, Source, Turn};

const MIB: usize = CHUNK_SIZE as usize;
const PATIENCE: Duration = Duration::from_secs(30);

/// A chunk's worth of bytes that no other number gives.
fn data(number: u64, len: usize) -> Bytes {
    let mut out = vec![0; len];
    blake3::Hasher::new()
        .update(&number.to_le_bytes())
        .finalize_xof()
        .fill(&mut out);
    out.into()
}

fn whole(number: u64) -> (ChunkName, Bytes) {
    let data = data(number, MIB);
    (ChunkName::of([&data]), data)
}

/// A source of one chunk that counts its reads.
struct Held {
    data: Bytes,
    reads: AtomicU32,
    /// Reads that may go ahead.
    gate: Semaphore,
}

impl Held {
    fn new(data: Bytes) -> Arc<Self> {
        Self::gated(data, 1_000)
    }

    fn gated(data: Bytes, reads: usize) -> Arc<Self> {
        Arc::new(Self {
            data,
            reads: AtomicU32::new(0),
            gate: Semaphore::new(reads),
        })
    }

    fn reads(&self) -> u32 {
        self.reads.load(Ordering::SeqCst)
    }
}

impl Source for Held {
    async fn read(&self, _len: u32) -> Result<Vec<Bytes>, String> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        // In pieces, as a network gives them.
        Ok(self
            .data
            .chunks(300_001)
            .map(|piece| self.data.slice_ref(piece))
            .collect())
    }
}

/// A chunk's bytes only.
trait Read {
    async fn read<S: Source>(
        &self,
        name: ChunkName,
        len: u32,
        source: Arc<S>,
    ) -> Result<Bytes, Error>;
}

impl Read for Arc<Cache> {
    async fn read<S: Source>(
        &self,
        name: ChunkName,
        len: u32,
        source: Arc<S>,
    ) -> Result<Bytes, Error> {
        let found = self.chunk(name, len, source, Turn::Due).await?;
        Ok(found.bytes)
    }
}

/// A source that is never asked.
struct Nothing;

impl Source for Nothing {
    async fn read(&self, _len: u32) -> Result<Vec<Bytes>, String> {
        Err("asked the source".into())
    }
}

/// Beside the program: the temporary directory may be memory itself.
pub(crate) fn dir_on_disk() -> tempfile::TempDir {
    let program = std::env::current_exe().unwrap();
    tempfile::tempdir_in(program.parent().unwrap()).unwrap()
}

fn config(dir: &Path, slots: u64) -> Config {
    Config {
        dir: dir.join("pool"),
        size: slots * MIB as u64,
        keep_free: 0,
        sendfile: true,
        max_fills: 4,
        audit_interval: Duration::from_secs(600),
        residency_interval: Duration::from_secs(600),
        unpooled_size: 64 << 20,
        unpooled_wait: Duration::from_millis(1),
    }
}

async fn fill(cache: &Arc<Cache>, number: u64) -> Bytes {
    let (name, data) = whole(number);
    let bytes = cache
        .read(name, CHUNK_SIZE, Held::new(data.clone()))
        .await
        .unwrap();
    assert!(bytes == data);
    bytes
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What kill -9 would leave of a pool that is open.
fn copy_as_if_killed(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("segments")).unwrap();
    for name in ["FORMAT", "index.redb", "segments/00000000"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[tokio::test]
async fn a_chunk_is_filled_once_and_then_found() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(config(dir.path(), 8)).unwrap();
    for len in [1, 4095, 4096, MIB - 1, MIB] {
        let data = data(len as u64, len);
        let name = ChunkName::of([&data]);
        let source = Held::new(data.clone());
        for _ in 0..3 {
            let got = cache
                .read(name, len as u32, Arc::clone(&source))
                .await
                .unwrap();
            assert!(got == data);
        }
        assert_eq!(source.reads(), 1);
        assert!(cache.get(name).unwrap() == data);
    }
    let stats = cache.stats();
    assert_eq!(
        (stats.hits, stats.misses, stats.used_slots, stats.slots),
        (15, 5, 5, 8)
    );
    assert_eq!(stats.fill_bytes, (1 + 4095 + 4096 + MIB - 1 + MIB) as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thirty_two_readers_of_a_missing_chunk_share_one_fill() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(config(dir.path(), 8)).unwrap();
    let (name, data) = whole(1);
    let source = Held::gated(data.clone(), 0);
    let readers: Vec<_> = (0..32)
        .map(|_| {
            let (cache, source) = (Arc::clone(&cache), Arc::clone(&source));
            tokio::spawn(async move { cache.read(name, CHUNK_SIZE, source).await })
        })
        .collect();
    until("all wait", || cache.stats().shared_fills == 31).await;
    source.gate.add_permits(1);
    for reader in readers {
        assert!(reader.await.unwrap().unwrap() == data);
    }
    assert_eq!(source.reads(), 1);
    assert_eq!(cache.stats().misses, 1);
}

#[tokio::test]
async fn a_fill_survives_its_first_caller() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(config(dir.path(), 8)).unwrap();
    let (name, data) = whole(1);
    let source = Held::gated(data.clone(), 0);
    let first = tokio::spawn({
        let (cache, source) = (Arc::clone(&cache), Arc::clone(&source));
        async move { cache.read(name, CHUNK_SIZE, source).await }
    });
    until("the fill began", || source.reads() == 1).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    source.gate.add_permits(1);
    until("the fill ended", || cache.get(name).is_some()).await;
    assert!(cache.get(name).unwrap() == data);
    assert_eq!(source.reads(), 1);
}

#[tokio::test]
async fn a_queued_fill_that_nobody_waits_for_is_not_begun() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        max_fills: 1,
        ..config(dir.path(), 8)
    };
    let cache = Cache::open(config).unwrap();
    let (slow_name, slow_data) = whole(1);
    let slow = Held::gated(slow_data, 0);
    let blocker = tokio::spawn({
        let (cache, slow) = (Arc::clone(&cache), Arc::clone(&slow));
        async move { cache.read(slow_name, CHUNK_SIZE, slow).await }
    });
    until("the slow fill began", || slow.reads() == 1).await;
    let (name, data) = whole(2);
    let queued = Held::new(data);
    let caller = tokio::spawn({
        let (cache, queued) = (Arc::clone(&cache), Arc::clone(&queued));
        async move { cache.read(name, CHUNK_SIZE, queued).await }
    });
    tokio::task::yield_now().await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    slow.gate.add_permits(1);
    blocker.await.unwrap().unwrap();
    // One that comes after it in the queue passes.
    fill(&cache, 3).await;
    assert_eq!(queued.reads(), 0);
    // And the chunk can still be had.
    fill(&cache, 2).await;
}

#[tokio::test]
async fn a_source_that_gives_wrong_bytes_is_asked_twice_and_never_served() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(config(dir.path(), 8)).unwrap();
    let (name, good) = whole(1);
    let mut bad = good.to_vec();
    bad[777_777] ^= 1;
    let bad = Held::new(bad.into());
    let refused = cache.read(name, CHUNK_SIZE, Arc::clone(&bad)).await;
    assert_eq!(refused, Err(Error::Damaged));
    assert_eq!(bad.reads(), 2);
    let stats = cache.stats();
    assert_eq!(
        (stats.corrupt_sources, stats.used_slots, stats.fill_bytes),
        (2, 0, 0)
    );
    assert!(cache.get(name).is_none());
    fill(&cache, 1).await;
}

#[tokio::test]
async fn a_short_or_failing_source_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(config(dir.path(), 8)).unwrap();
    let (name, data) = whole(1);
    for wrong in [
        data.slice(1..),
        Bytes::new(),
        [&data[..], b"x"].concat().into(),
    ] {
        let got = cache.read(name, CHUNK_SIZE, Held::new(wrong)).await;
        assert!(matches!(got, Err(Error::Source(_))), "{got:?}");
    }
    let got = cache.read(name, CHUNK_SIZE, Arc::new(Nothing)).await;
    assert_eq!(got, Err(Error::Source("asked the source".into())));
    for len in [0, CHUNK_SIZE + 1, u32::MAX] {
        let got = cache.read(name, len, Held::new(data.clone())).await;
        assert!(matches!(got, Err(Error::Source(_))), "{got:?}");
    }
}

#[tokio::test]
async fn a_source_that_panics_fails_its_readers_and_no_others() {
    struct Panics;
    impl Source for Panics {
        async fn read(&self, _len: u32) -> Result<Vec<Bytes>, String> {
            panic!("as told");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(config(dir.path(), 8)).unwrap();
    let (name, _) = whole(1);
    let got = cache.read(name, CHUNK_SIZE, Arc::new(Panics)).await;
    assert!(matches!(got, Err(Error::Source(_))), "{got:?}");
    fill(&cache, 1).await;
}

#[tokio::test]
async fn a_reader_whose_shared_fill_failed_tries_its_own_source() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(config(dir.path(), 8)).unwrap();
    let (name, data) = whole(1);
    let bad = Held::gated(Bytes::from_static(b"short"), 0);
    let first = tokio::spawn({
        let (cache, bad) = (Arc::clone(&cache), Arc::clone(&bad));
        async move { cache.read(name, CHUNK_SIZE, bad).await }
    });
    until("the fill began", || bad.reads() == 1).await;
    let second = tokio::spawn({
        let (cache, good) = (Arc::clone(&cache), Held::new(data.clone()));
        async move { cache.read(name, CHUNK_SIZE, good).await }
    });
    until("the second waits", || cache.stats().shared_fills == 1).await;
    bad.gate.add_permits(1);
    assert!(first.await.unwrap().is_err());
    assert!(second.await.unwrap().unwrap() == data);
}

#[tokio::test]
async fn what_was_filled_is_found_after_a_restart_and_verified_then() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(config(dir.path(), 300)).unwrap();
    for number in 0..5 {
        fill(&cache, number).await;
    }
    drop(cache);
    let cache = Cache::open(config(dir.path(), 300)).unwrap();
    assert_eq!(cache.stats().used_slots, 5);
    for number in 0..5 {
        let (name, data) = whole(number);
        assert!(cache.get(name).is_none(), "served before it was verified");
        let got = cache
            .read(name, CHUNK_SIZE, Arc::new(Nothing))
            .await
            .unwrap();
        assert!(got == data);
        assert!(cache.get(name).unwrap() == data);
    }
    assert_eq!(cache.stats().misses, 0);
}

#[tokio::test]
async fn a_byte_flipped_on_disk_is_never_served() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(config(dir.path(), 8)).unwrap();
    let (name, data) = whole(1);
    fill(&cache, 1).await;
    drop(cache);
    let segment = dir.path().join("pool/segments/00000000");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes
        .windows(64)
        .position(|window| *window == data[..64])
        .unwrap();
    bytes[at + MIB - 1] ^= 0x80;
    fs::write(&segment, bytes).unwrap();
    let cache = Cache::open(config(dir.path(), 8)).unwrap();
    let got = cache.read(name, CHUNK_SIZE, Arc::new(Nothing)).await;
    assert!(
        matches!(got, Err(Error::Source(_))),
        "served, or not asked for again"
    );
    let stats = cache.stats();
    assert_eq!((stats.corrupt_slots, stats.used_slots), (1, 0));
    fill(&cache, 1).await;
    assert_eq!(cache.stats().used_slots, 1);
}

/// Turns one bit of the chunk in the segment file, past the cache.
fn flip(dir: &Path, data: &[u8]) {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(dir.join("pool/segments/00000000"))
        .unwrap();
    let slots = file.metadata().unwrap().len() / MIB as u64;
    let mut head = [0; 64];
    let begins = (0..slots).map(|slot| slot * MIB as u64).find(|at| {
        file.read_exact_at(&mut head, *at).unwrap();
        head[..] == data[..64]
    });
    let at = begins.expect("the chunk is in no slot") + data.len() as u64 - 1;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

#[tokio::test]
async fn a_byte_flipped_while_the_cache_runs_is_not_served_past_the_audit_interval() {
    let dir = tempfile::tempdir().unwrap();
    let audited = Config {
        audit_interval: Duration::from_millis(1),
        ..config(dir.path(), 8)
    };
    let cache = Cache::open(audited).unwrap();
    let (name, data) = whole(1);
    let source = Held::new(data.clone());
    let chunk = || cache.read(name, CHUNK_SIZE, Arc::clone(&source));
    drop(chunk().await.unwrap());
    flip(dir.path(), &data);
    until("the check is due", || cache.get(name).is_none()).await;
    assert!(chunk().await.unwrap() == data);
    let stats = cache.stats();
    assert_eq!((stats.corrupt_slots, stats.used_slots), (1, 1));
    assert_eq!(source.reads(), 2);
    // A good one is found good, without its source.
    until("the check is due", || cache.get(name).is_none()).await;
    let checks = cache.stats().checks;
    assert!(chunk().await.unwrap() == data);
    assert_eq!((cache.stats().checks, source.reads()), (checks + 1, 2));
}

#[tokio::test]
async fn an_audit_interval_of_zero_verifies_every_read() {
    let dir = tempfile::tempdir().unwrap();
    let audited = Config {
        audit_interval: Duration::ZERO,
        ..config(dir.path(), 8)
    };
    let cache = Cache::open(audited).unwrap();
    let (name, data) = whole(1);
    let source = Held::new(data.clone());
    for _ in 0..4 {
        let bytes = cache.read(name, CHUNK_SIZE, Arc::clone(&source)).await;
        assert!(bytes.unwrap() == data);
        assert!(cache.get(name).is_none());
    }
    assert_eq!((cache.stats().checks, source.reads()), (3, 1));
}

#[tokio::test]
async fn a_killed_cache_finds_what_its_index_had_gathered() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(config(dir.path(), 4)).unwrap();
    for number in 0..4 {
        fill(&cache, number).await;
    }
    cache.checkpoint().unwrap();
    // After the last write of the index: this costs a miss, and a stale entry for the slot of 0.
    fill(&cache, 9).await;
    assert!(cache.get(whole(0).0).is_none());
    let killed = dir.path().join("killed");
    copy_as_if_killed(&dir.path().join("pool"), &killed.join("pool"));
    let after = Cache::open(config(&killed, 4)).unwrap();
    for number in [1, 2, 3] {
        let (name, data) = whole(number);
        let got = after
            .read(name, CHUNK_SIZE, Arc::new(Nothing))
            .await
            .unwrap();
        assert!(got == data);
    }
    for number in [0, 9] {
        fill(&after, number).await;
    }
    let stats = after.stats();
    assert_eq!(stats.used_slots, 4);
    // No damage, and not taken for any.
    assert_eq!((stats.stale_slots, stats.corrupt_slots), (1, 0));
    // After that a slot that does not match is damaged.
    drop(after);
    let (name, data) = whole(3);
    flip(&killed, &data);
    let after = Cache::open(config(&killed, 4)).unwrap();
    assert!(fill(&after, 3).await == data);
    let stats = after.stats();
    assert_eq!((stats.stale_slots, stats.corrupt_slots), (0, 1));
    assert!(after.get(name).is_some());
}

#[tokio::test]
async fn the_pool_leaves_room_on_the_disk_and_serves_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let modest = |slots| Config {
        keep_free: u64::MAX,
        ..config(dir.path(), slots)
    };
    let segments = dir.path().join("pool/segments");
    let cache = Cache::open(modest(8)).unwrap();
    for number in 0..3 {
        fill(&cache, number).await;
    }
    let stats = cache.stats();
    assert_eq!((stats.refused_growth, stats.unpooled), (1, 3));
    assert_eq!((stats.used_slots, stats.slots), (0, 8));
    assert_eq!(fs::read_dir(&segments).unwrap().count(), 0);
    drop(cache);
    // What it has it keeps and uses, and takes no more.
    let cache = Cache::open(config(dir.path(), 5)).unwrap();
    for number in 0..5 {
        fill(&cache, number).await;
    }
    drop(cache);
    let cache = Cache::open(modest(8)).unwrap();
    assert_eq!(cache.stats().used_slots, 5);
    for number in 0..10 {
        fill(&cache, number).await;
    }
    let stats = cache.stats();
    assert_eq!((stats.used_slots, stats.unpooled), (5, 0));
    let taken = fs::metadata(segments.join("00000000")).unwrap().len();
    assert_eq!(taken, 5 * MIB as u64);
}

/// `cargo test --release -p glimpse-cache -- --ignored --nocapture hit`
#[tokio::test]
#[ignore = "a measurement"]
async fn what_a_hit_costs() {
    for residency_interval in [
        Duration::from_secs(600),
        Duration::from_millis(100),
        Duration::ZERO,
    ] {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(Config {
            residency_interval,
            ..config(dir.path(), 64)
        });
        let cache = cache.unwrap();
        for number in 0..64 {
            fill(&cache, number).await;
        }
        let names: Vec<_> = (0..64).map(|number| whole(number).0).collect();
        let rounds = 20_000;
        let begun = Instant::now();
        for _ in 0..rounds {
            for name in &names {
                assert!(cache.get(*name).is_some());
            }
        }
        let each = begun.elapsed() / (rounds * 64);
        println!("pages looked up every {residency_interval:?}: {each:?} a hit");
    }
}

#[tokio::test]
async fn the_index_is_written_in_the_background() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(config(dir.path(), 8)).unwrap();
    fill(&cache, 1).await;
    let round = AtomicU64::new(0);
    until("a killed cache finds the chunk", || {
        let number = round.fetch_add(1, Ordering::Relaxed);
        let killed = dir.path().join(format!("killed-{number}"));
        copy_as_if_killed(&dir.path().join("pool"), &killed.join("pool"));
        let after = Cache::open(config(&killed, 8)).unwrap();
        let found = after.stats().used_slots == 1;
        drop(after);
        fs::remove_dir_all(&killed).unwrap();
        found
    })
    .await;
}

#[tokio::test]
async fn a_damaged_index_costs_misses_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let index = dir.path().join("pool/index.redb");
    let cache = Cache::open(config(dir.path(), 8)).unwrap();
    fill(&cache, 1).await;
    drop(cache);
    let good = fs::read(&index).unwrap();
    let mut damages: Vec<Vec<u8>> = vec![vec![], good[..good.len() / 2].to_vec(), vec![7; 5000]];
    for at in (0..good.len()).step_by(good.len() / 40) {
        let mut flipped = good.clone();
        flipped[at] ^= 0x55;
        damages.push(flipped);
    }
    for (number, damaged) in damages.into_iter().enumerate() {
        fs::write(&index, damaged).unwrap();
        let cache = Cache::open(config(dir.path(), 8)).unwrap_or_else(|e| panic!("{number}: {e}"));
        fill(&cache, 1).await;
        fill(&cache, 2).await;
    }
}

#[tokio::test]
async fn the_bound_holds_while_readers_pin_every_slot() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(config(dir.path(), 6)).unwrap();
    let mut pinned = Vec::new();
    for number in 0..6 {
        pinned.push(fill(&cache, number).await);
    }
    // Served, but kept by nobody.
    for number in 10..14 {
        pinned.push(fill(&cache, number).await);
        assert!(cache.get(whole(number).0).is_none());
    }
    let stats = cache.stats();
    assert_eq!(
        (stats.used_slots, stats.unpooled, stats.evictions),
        (6, 4, 0)
    );
    for (number, bytes) in (0..6).chain(10..14).zip(&pinned) {
        assert!(
            *bytes == whole(number).1,
            "a slot was written while it was read"
        );
    }
    let on_disk: u64 = fs::read_dir(dir.path().join("pool/segments"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert_eq!(on_disk, 6 * MIB as u64);
    // One reader ends: its slot, and no other, is reused.
    pinned.remove(3);
    fill(&cache, 20).await;
    assert!(cache.get(whole(20).0).is_some());
    assert!(cache.get(whole(3).0).is_none());
    assert_eq!(cache.stats().evictions, 1);
}

#[tokio::test]
async fn bytes_outlive_the_cache_and_keep_the_pool_locked() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(config(dir.path(), 4)).unwrap();
    let again = Cache::open(config(dir.path(), 4)).map(drop);
    assert!(matches!(again, Err(Error::Disk(_))));
    let bytes = fill(&cache, 1).await;
    drop(cache);
    let again = Cache::open(config(dir.path(), 4)).map(drop);
    assert!(matches!(again, Err(Error::Disk(_))));
    assert!(bytes == whole(1).1);
    drop(bytes);
    Cache::open(config(dir.path(), 4)).unwrap();
}

#[tokio::test]
async fn a_pool_can_be_made_smaller_and_larger() {
    let dir = tempfile::tempdir().unwrap();
    let segments = || {
        let dir = fs::read_dir(dir.path().join("pool/segments")).unwrap();
        dir.map(|entry| entry.unwrap().metadata().unwrap().len() / MIB as u64)
            .sum::<u64>()
    };
    let cache = Cache::open(config(dir.path(), 10)).unwrap();
    for number in 0..10 {
        fill(&cache, number).await;
    }
    drop(cache);
    let cache = Cache::open(config(dir.path(), 5)).unwrap();
    assert_eq!(
        (cache.stats().slots, cache.stats().used_slots, segments()),
        (5, 5, 5)
    );
    for number in 0..10 {
        fill(&cache, number).await;
    }
    drop(cache);
    let cache = Cache::open(config(dir.path(), 8)).unwrap();
    assert_eq!((cache.stats().slots, cache.stats().used_slots), (8, 5));
    for number in 0..10 {
        fill(&cache, number).await;
    }
    assert_eq!((cache.stats().used_slots, segments()), (8, 8));
}

#[tokio::test]
async fn a_pool_of_an_unknown_format_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let pool = dir.path().join("pool");
    drop(Cache::open(config(dir.path(), 4)).unwrap());
    let entries = || {
        let mut names: Vec<PathBuf> = fs::read_dir(&pool)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        names.sort();
        names
    };
    for text in ["glimpse cache pool 2\n", "glimpse cache pool 2"] {
        fs::remove_dir_all(&pool).unwrap();
        fs::create_dir(&pool).unwrap();
        fs::write(pool.join("FORMAT"), text).unwrap();
        let before = entries();
        let refused = Cache::open(config(dir.path(), 4)).map(drop);
        assert_eq!(refused, Err(Error::Format { found: 2, known: 1 }));
        assert_eq!(entries(), before);
    }
    // Nor is a directory of something else taken, whatever a file FORMAT in it says.
    fs::write(pool.join("thesis.txt"), "dear").unwrap();
    for text in [None, Some("ISO 216"), Some("")] {
        fs::remove_file(pool.join("FORMAT")).unwrap();
        if let Some(text) = text {
            fs::write(pool.join("FORMAT"), text).unwrap();
        }
        let before = entries();
        let refused = Cache::open(config(dir.path(), 4)).map(drop);
        assert_eq!(refused, Err(Error::Format { found: 0, known: 1 }));
        assert_eq!(entries(), before);
        fs::write(pool.join("FORMAT"), "").unwrap();
    }
}

#[tokio::test]
async fn a_pool_whose_format_is_damaged_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let pool = dir.path().join("pool");
    for text in [&b""[..], b"\xff\x00noise", b"glimpse cache p"] {
        let cache = Cache::open(config(dir.path(), 4)).unwrap();
        fill(&cache, 1).await;
        drop(cache);
        fs::write(pool.join("FORMAT"), text).unwrap();
        let cache = Cache::open(config(dir.path(), 4)).unwrap();
        assert_eq!(cache.stats().used_slots, 0);
        fill(&cache, 1).await;
        assert_eq!(cache.stats().used_slots, 1);
        drop(cache);
        assert!(
            fs::read_to_string(pool.join("FORMAT"))
                .unwrap()
                .ends_with(" 1\n")
        );
    }
}

#[test]
fn zeros_are_zeros() {
    for len in [0, 1, MIB] {
        assert!(Cache::zeros(len) == vec![0; len]);
    }
}

/// Readers on many threads keep slices of a small pool whose slots change hands all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_many_readers_every_byte_stays_what_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(config(dir.path(), 6)).unwrap();
    let chunks: Arc<Vec<_>> = Arc::new((0..24).map(whole).collect());
    let readers: Vec<_> = (0..8_usize)
        .map(|reader| {
            let (cache, chunks) = (Arc::clone(&cache), Arc::clone(&chunks));
            tokio::spawn(async move {
                let mut before: Option<(usize, Bytes)> = None;
                for step in 0..150_usize {
                    let number = (step * (2 * reader + 1) + step * step / 7) % chunks.len();
                    let (name, data) = &chunks[number];
                    let source = Held::new(data.clone());
                    let bytes = cache.read(*name, CHUNK_SIZE, source).await.unwrap();
                    // The one before has been held while other readers filled slots.
                    if let Some((number, bytes)) = before.replace((number, bytes)) {
                        assert!(bytes == chunks[number].1);
                    }
                }
            })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
    let stats = cache.stats();
    assert!(stats.evictions > 0 && stats.used_slots <= 6, "{stats:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Any mix of readers, some of which keep what they read: every byte is right, to the end.
    #[test]
    fn readers_never_see_another_chunk(
        reads in prop::collection::vec((0..12_u64, 0..4_usize, any::<bool>()), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        runtime.block_on(async {
            let cache = Cache::open(config(dir.path(), 5)).unwrap();
            let mut kept: Vec<Option<(u64, Bytes)>> = vec![None; 4];
            for (number, place, keep) in reads {
                let (name, data) = whole(number);
                let bytes = cache.read(name, CHUNK_SIZE, Held::new(data)).await.unwrap();
                kept[place] = keep.then_some((number, bytes));
                for (number, bytes) in kept.iter().flatten() {
                    assert_eq!(ChunkName::of([bytes]), whole(*number).0);
                }
                assert!(cache.stats().used_slots <= 5);
            }
        });
    }
}
