//! Downloads that find no slot in the cache, or nothing in the store.

use std::{fs, sync::Arc, time::Duration};

use axum::response::Response;
use bytes::Bytes;
use glimpse_cache::{CHUNK_SIZE, ChunkName, Source, Turn};
use http_body_util::BodyExt as _;

use super::rig::{MIB, Rig, bytes, random, refused};

struct Given(Bytes);

impl Source for Given {
    async fn read(&self, _len: u32) -> Result<Vec<Bytes>, String> {
        Ok(vec![self.0.clone()])
    }
}

/// Reads a body and keeps none of its chunks.
async fn in_pieces(answer: Response) -> Vec<u8> {
    let mut body = answer.into_body();
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        read.extend_from_slice(&frame.unwrap().into_data().unwrap());
    }
    read
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn downloads_that_find_no_slot_share_a_bounded_memory_and_the_rest_are_503() {
    let rig = Rig::with(|config| {
        config.cache.unpooled_memory = MIB as u64;
        config.cache.unpooled_wait = Duration::from_secs(3);
    });
    let id = rig.image().await;
    let data = random(1, 5 * MIB + 7);
    rig.put(id, data.clone()).await.unwrap();
    let mut pins = Vec::new();
    let slots = rig.app.cache.stats().slots;
    for seed in 0..slots {
        let data = random(1000 + seed, MIB);
        let name = ChunkName::of([&data]);
        let found = rig
            .app
            .cache
            .chunk(name, CHUNK_SIZE, Arc::new(Given(data)), Turn::Due);
        let found = found.await.unwrap();
        assert!(found.pooled);
        pins.push(found);
    }
    let first = rig.get(id, &[]).await.unwrap();
    // It has all the memory that there is, until it is read.
    let (status, text) = refused(rig.get(id, &[("range", "bytes=2097152-")]).await);
    assert_eq!(status, 503, "{text}");
    let refusals = rig.app.metrics.encode();
    let told = "download_refused_total{reason=\"cache\"} 1";
    assert!(refusals.contains(told), "{refusals}");
    assert!(in_pieces(first).await == data);
    // With slots the memory is not needed.
    let outside = rig.app.cache.stats().unpooled;
    drop(pins);
    assert!(bytes(rig.get(id, &[]).await.unwrap()).await == data);
    assert_eq!(rig.app.cache.stats().unpooled, outside);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn downloads_that_nobody_reads_keep_no_memory_for_what_was_fetched_ahead() {
    let rig = Rig::with(|config| {
        config.cache.unpooled_memory = 3 * MIB as u64;
        config.cache.unpooled_wait = Duration::from_secs(5);
    });
    let data: Vec<_> = (0..3).map(|seed| random(10 + seed, 5 * MIB)).collect();
    let mut images = Vec::new();
    for data in &data {
        let id = rig.image().await;
        rig.put(id, data.clone()).await.unwrap();
        images.push(id);
    }
    let mut pins = Vec::new();
    for seed in 0..rig.app.cache.stats().slots {
        let data = random(1000 + seed, MIB);
        let name = ChunkName::of([&data]);
        let source = Arc::new(Given(data));
        let found = rig.app.cache.chunk(name, CHUNK_SIZE, source, Turn::Due);
        pins.push(found.await.unwrap());
    }
    let first = rig.get(images[0], &[]).await.unwrap();
    let second = rig.get(images[1], &[]).await.unwrap();
    let third = rig.get(images[2], &[]).await.unwrap();
    for (answer, data) in [third, first, second]
        .into_iter()
        .zip([&data[2], &data[0], &data[1]])
    {
        assert!(in_pieces(answer).await == *data);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_is_lost_or_cut_short_is_counted_and_503() {
    for left in [None, Some(MIB as u64)] {
        let rig = Rig::new();
        let id = rig.image().await;
        rig.put(id, random(2, 2 * MIB)).await.unwrap();
        let object = rig.files().pop().unwrap();
        match left {
            None => fs::remove_file(&object).unwrap(),
            Some(left) => fs::File::options()
                .write(true)
                .open(&object)
                .unwrap()
                .set_len(left)
                .unwrap(),
        }
        let (status, text) = refused(rig.get(id, &[("range", "bytes=1048576-")]).await);
        assert_eq!(status, 503, "{text}");
        let stats = rig.app.cache.stats();
        assert_eq!((stats.failed_sources, stats.corrupt_sources), (1, 0));
        assert_eq!(rig.app.data.counters.downloads_broken.get(), 0);
        let text = rig.app.metrics.encode();
        assert!(
            text.contains("download_refused_total{reason=\"unreadable\"} 1"),
            "{text}"
        );
    }
}
