//! What a miss costs and tells: memory beside the pool, causes, damage, a lost segment.

use std::{fs, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{Held, MIB, Nothing, PATIENCE, config, fill, flip, until, whole};
use crate::{CHUNK_SIZE, Cache, Cause, Config, Damage, Error, Source, Turn};

#[tokio::test]
async fn chunks_beside_the_pool_are_bounded_and_one_more_waits_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let bounded = |unpooled_wait| Config {
        unpooled_size: 3 * MIB as u64,
        unpooled_wait,
        ..config(dir.path(), 4)
    };
    let cache = Cache::open(bounded(Duration::from_millis(1))).unwrap();
    let mut held = Vec::new();
    for number in 0..7 {
        held.push(fill(&cache, number).await);
    }
    let (name, data) = whole(7);
    for _ in 0..3 {
        let refused = cache
            .chunk(name, CHUNK_SIZE, Held::new(data.clone()), Turn::Due)
            .await;
        assert_eq!(refused, Err(Error::NoRoom));
    }
    let stats = cache.stats();
    assert_eq!((stats.unpooled, stats.refused_unpooled), (3, 3));
    // What is let go, in memory or in the pool, is free for the next one.
    for freed in [6, 0] {
        held.remove(freed);
        held.push(fill(&cache, 10 + freed as u64).await);
    }
    drop((held, cache));
    let cache = Cache::open(bounded(PATIENCE)).unwrap();
    let mut held = Vec::new();
    for number in 20..27 {
        held.push(fill(&cache, number).await);
    }
    let source = Held::new(data.clone());
    let waiting = tokio::spawn({
        let (cache, source) = (Arc::clone(&cache), Arc::clone(&source));
        async move { cache.chunk(name, CHUNK_SIZE, source, Turn::Due).await }
    });
    until("it has found no room", || source.reads() == 1).await;
    held.pop();
    let found = waiting.await.unwrap().unwrap();
    assert!(found.bytes == data);
    assert!(!found.pooled);
    drop((held, found));
    fill(&cache, 7).await;
    assert!(cache.get(name).is_some(), "memory where a slot was free");
}

#[tokio::test]
async fn what_is_fetched_ahead_takes_no_memory_beside_the_pool_unless_another_needs_it_now() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(Config {
        unpooled_size: MIB as u64,
        unpooled_wait: PATIENCE,
        ..config(dir.path(), 4)
    });
    let cache = cache.unwrap();
    let mut held = Vec::new();
    for number in 0..4 {
        held.push(fill(&cache, number).await);
    }
    let (name, data) = whole(7);
    let source = Held::new(data.clone());
    let ahead = cache.chunk(name, CHUNK_SIZE, Arc::clone(&source), Turn::Ahead);
    assert_eq!(ahead.await, Err(Error::NoRoom));
    assert_eq!(source.reads(), 1, "it waited for room");
    let stats = cache.stats();
    assert_eq!((stats.unpooled, stats.refused_unpooled), (0, 0));
    // One who needs it now joins the fill of one who does not.
    let source = Held::gated(data.clone(), 0);
    let ahead = tokio::spawn({
        let (cache, source) = (Arc::clone(&cache), Arc::clone(&source));
        async move { cache.chunk(name, CHUNK_SIZE, source, Turn::Ahead).await }
    });
    until("the fill has begun", || source.reads() == 1).await;
    let due = tokio::spawn({
        let cache = Arc::clone(&cache);
        async move {
            let nothing = Arc::new(Nothing);
            cache.chunk(name, CHUNK_SIZE, nothing, Turn::Due).await
        }
    });
    until("it is shared", || cache.stats().shared_fills == 1).await;
    source.gate.add_permits(1);
    assert!(due.await.unwrap().unwrap().bytes == data);
    assert_eq!(ahead.await.unwrap(), Err(Error::NoRoom));
    // Nor does it wait while another has that memory, which is free again by now.
    let beside = fill(&cache, 8).await;
    let source = Held::new(data);
    let refused = cache.chunk(name, CHUNK_SIZE, source, Turn::Ahead).await;
    assert_eq!(refused, Err(Error::NoRoom));
    drop((beside, held));
}

/// Tells what it was told of damage.
struct Told {
    source: Arc<Held>,
    damage: parking_lot::Mutex<Vec<Damage>>,
}

impl Source for Told {
    async fn read(&self, len: u32) -> Result<Vec<Bytes>, String> {
        Source::read(&*self.source, len).await
    }
    fn damaged(&self, damage: Damage) {
        self.damage.lock().push(damage);
    }
}

#[tokio::test]
async fn a_chunk_comes_with_the_cause_of_its_miss_and_damage_is_told_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(config(dir.path(), 4)).unwrap();
    let told = |data: &Bytes| {
        Arc::new(Told {
            source: Held::new(data.clone()),
            damage: parking_lot::Mutex::default(),
        })
    };
    let cause = async |cache: &Arc<Cache>, number| {
        let (name, data) = whole(number);
        let source = told(&data);
        let found = cache
            .chunk(name, CHUNK_SIZE, Arc::clone(&source), Turn::Due)
            .await;
        let found = found.unwrap();
        assert!(found.bytes == data);
        (found.cause, std::mem::take(&mut *source.damage.lock()))
    };
    assert_eq!(cause(&cache, 0).await, (Cause::Absent, vec![]));
    assert_eq!(cause(&cache, 0).await, (Cause::Hit, vec![]));
    for number in 1..5 {
        assert_eq!(cause(&cache, number).await.0, Cause::Absent);
    }
    assert_eq!(cause(&cache, 0).await.0, Cause::Evicted);
    cache.checkpoint().unwrap();
    drop(cache);
    flip(dir.path(), &whole(0).1);
    let cache = Cache::open(config(dir.path(), 4)).unwrap();
    assert_eq!(cause(&cache, 4).await, (Cause::Check, vec![]));
    let (found, damage) = cause(&cache, 0).await;
    assert_eq!(found, Cause::Damaged);
    let [Damage::Slot { segment: 0, slot }] = damage.as_slice() else {
        panic!("{damage:?}");
    };
    assert!(*slot < 4);
    let (name, _) = whole(9);
    let wrong = told(&whole(8).1);
    let refused = cache
        .chunk(name, CHUNK_SIZE, Arc::clone(&wrong), Turn::Due)
        .await;
    assert_eq!(refused, Err(Error::Damaged));
    assert_eq!(*wrong.damage.lock(), [Damage::Source; 2]);
    let failed = cache
        .chunk(name, CHUNK_SIZE, Arc::new(Nothing), Turn::Due)
        .await;
    assert!(matches!(failed, Err(Error::Source(_))));
    assert_eq!(cache.stats().failed_sources, 1);
}

#[tokio::test]
async fn a_segment_that_cannot_be_opened_is_set_aside_and_costs_misses_only() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(config(dir.path(), 4)).unwrap();
    fill(&cache, 1).await;
    drop(cache);
    let segment = dir.path().join("pool/segments/00000000");
    fs::remove_file(&segment).unwrap();
    fs::create_dir(&segment).unwrap();
    fs::write(segment.join("note"), "why").unwrap();
    let cache = Cache::open(config(dir.path(), 4)).unwrap();
    assert_eq!(cache.stats().used_slots, 0);
    fill(&cache, 1).await;
    assert_eq!(cache.stats().corrupt_slots, 0);
    assert!(segment.is_file());
    assert!(dir.path().join("pool/lost-00000000/note").exists());
    // It is no reason to take the pool for something else.
    drop(cache);
    fs::write(dir.path().join("pool/FORMAT"), "?").unwrap();
    fill(&Cache::open(config(dir.path(), 4)).unwrap(), 1).await;
}
