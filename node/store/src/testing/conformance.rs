//! What every driver must do, checked against a fresh, empty store each time.

use std::{future::Future, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use tokio::time::Instant;

use crate::{Listed, Result, Store, StoreError, Stored};

const MIB: usize = 1 << 20;
/// Until when something that happens by itself must have happened.
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes `data` in pieces of `piece` bytes.
pub async fn put(
    store: &dyn Store,
    key: &str,
    declared: Option<u64>,
    data: &Bytes,
    piece: usize,
) -> Result<Stored> {
    let mut write = store.put(key, declared).await?;
    let mut rest = data.clone();
    while !rest.is_empty() {
        let next = rest.split_to(piece.clamp(1, rest.len()));
        if let Err(error) = write.write(next).await {
            write.abort().await?;
            return Err(error);
        }
    }
    write.finish().await
}

/// Reads a range whole.
pub async fn collect(store: &dyn Store, url: &str, range: Range<u64>) -> Result<Vec<u8>> {
    let pieces = store.get(url, range).await?;
    pieces
        .try_fold(Vec::new(), |mut all, piece| {
            all.extend_from_slice(&piece);
            std::future::ready(Ok(all))
        })
        .await
}

/// Everything in the store, in order of key.
async fn list(store: &dyn Store) -> Vec<Listed> {
    let mut all: Vec<Listed> = store.list().await.unwrap().try_collect().await.unwrap();
    all.sort_by(|a, b| a.key.cmp(&b.key));
    all
}

/// Bytes in which a shifted or swapped piece shows.
fn sample(len: usize, salt: u64) -> Bytes {
    let words =
        (0..len.div_ceil(8) as u64).map(|at| (at ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut data: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    data.truncate(len);
    data.into()
}

/// Runs the suite. `make` gives a store that holds nothing.
pub async fn conformance<F, S>(make: F)
where
    F: Fn() -> S,
    S: Future<Output = Arc<dyn Store>>,
{
    what_is_put_is_got(&*make().await).await;
    zeros_come_back_as_zeros(&*make().await).await;
    a_range_is_exact(&*make().await).await;
    what_is_missing_is_not_found(&*make().await).await;
    a_key_is_taken_once(&*make().await).await;
    of_writers_of_one_key_one_wins(make().await).await;
    nothing_is_visible_before_finish(&*make().await).await;
    a_write_that_ends_early_leaves_nothing(&*make().await).await;
    a_size_that_was_not_declared_is_refused(&*make().await).await;
    a_short_object_breaks_the_stream(&*make().await).await;
    a_foreign_url_is_refused(&*make().await).await;
    a_bad_key_is_refused(&*make().await).await;
}

/// What a driver that cannot write has to pass. `url` names an object with this data, `missing` none.
pub async fn read_only(store: &dyn Store, url: &str, missing: &str, data: &Bytes) {
    let len = data.len() as u64;
    assert!(!store.capabilities().writable);
    assert_eq!(store.stat(url).await.unwrap().size, len);
    for range in [0..0, 0..len, 1..2, len / 3..len / 2, len - 1..len] {
        let from = usize::try_from(range.start).unwrap();
        let to = usize::try_from(range.end).unwrap();
        let got = collect(store, url, range.clone()).await.unwrap();
        assert!(got == data[from..to], "{range:?}");
    }
    for range in [0..len + 1, len..len + 1, len + 5..len + 6] {
        let got = collect(store, url, range.clone()).await;
        assert!(matches!(got, Err(StoreError::Damaged(_))), "{range:?}");
    }
    assert!(matches!(
        store.stat(missing).await,
        Err(StoreError::NotFound)
    ));
    let got = collect(store, missing, 0..1).await;
    assert!(matches!(got, Err(StoreError::NotFound)), "{got:?}");
    let put = store.put("key", None).await.map(drop);
    assert!(matches!(put, Err(StoreError::Unsupported(_))), "{put:?}");
    let deleted = store.delete(url).await;
    assert!(matches!(deleted, Err(StoreError::Unsupported(_))));
    assert_eq!(list(store).await, []);
    assert_eq!(store.remove_unfinished().await.unwrap(), 0);
    for url in ["", "nothing", "unknown://a/b", "file:///etc/passwd"] {
        let stat = store.stat(url).await;
        assert!(matches!(stat, Err(StoreError::BadLocation)), "{url}");
        let deleted = store.delete(url).await;
        assert!(matches!(deleted, Err(StoreError::BadLocation)), "{url}");
        let got = collect(store, url, 0..1).await;
        assert!(matches!(got, Err(StoreError::BadLocation)), "{url}");
    }
}

async fn what_is_put_is_got(store: &dyn Store) {
    let sizes = [
        0,
        1,
        4095,
        4096,
        4097,
        MIB - 1,
        MIB,
        MIB + 1,
        5 * MIB + 12_345,
    ];
    let mut expected = Vec::new();
    for (number, size) in sizes.into_iter().enumerate() {
        for (declared, piece) in [(None, MIB), (Some(size as u64), 65_537)] {
            let key = format!("object-{number}-{}", u8::from(declared.is_some()));
            let data = sample(size, number as u64);
            let stored = put(store, &key, declared, &data, piece).await.unwrap();
            assert_eq!(stored.size, size as u64);
            assert_eq!(stored.url, store.url(&key).unwrap());
            let got = collect(store, &stored.url, 0..stored.size).await.unwrap();
            assert!(got == data, "{size} bytes, declared {declared:?}");
            let stat = store.stat(&stored.url).await.unwrap();
            assert_eq!(stat.size, stored.size);
            let (url, size) = (stored.url, stored.size);
            expected.push(Listed { key, url, size });
        }
    }
    expected.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(list(store).await, expected);
    for listed in &expected {
        store.delete(&listed.url).await.unwrap();
    }
    assert_eq!(list(store).await, []);
}

async fn zeros_come_back_as_zeros(store: &dyn Store) {
    let mut data = vec![0; 6 * MIB + 77];
    for at in [0, 3 * MIB - 1, 3 * MIB + 200_000] {
        data[at] = 1;
    }
    let data = Bytes::from(data);
    let stored = put(store, "sparse", None, &data, 100_000).await.unwrap();
    assert_eq!(stored.size, data.len() as u64);
    let got = collect(store, &stored.url, 0..stored.size).await.unwrap();
    assert!(got == data);
}

async fn a_range_is_exact(store: &dyn Store) {
    if !store.capabilities().random_access {
        return;
    }
    let data = sample(3 * MIB + 17, 9);
    let len = data.len() as u64;
    let url = put(store, "ranged", None, &data, MIB).await.unwrap().url;
    let mib = MIB as u64;
    for range in [
        0..0,
        5..5,
        0..1,
        1..2,
        mib - 1..mib + 1,
        7..2 * mib + 9,
        len - 1..len,
        0..len,
    ] {
        let got = collect(store, &url, range.clone()).await.unwrap();
        let from = usize::try_from(range.start).unwrap();
        let to = usize::try_from(range.end).unwrap();
        assert!(got == data[from..to], "{range:?}");
    }
}

async fn what_is_missing_is_not_found(store: &dyn Store) {
    let data = sample(10, 0);
    let url = put(store, "gone", Some(10), &data, 10).await.unwrap().url;
    store.delete(&url).await.unwrap();
    assert!(matches!(
        store.delete(&url).await,
        Err(StoreError::NotFound)
    ));
    assert!(matches!(store.stat(&url).await, Err(StoreError::NotFound)));
    let got = collect(store, &url, 0..1).await;
    assert!(matches!(got, Err(StoreError::NotFound)));
    // The key is free again.
    put(store, "gone", Some(10), &data, 10).await.unwrap();
}

async fn a_key_is_taken_once(store: &dyn Store) {
    let data = sample(MIB, 1);
    let url = put(store, "taken", None, &data, MIB).await.unwrap().url;
    let again = put(store, "taken", None, &sample(5, 2), MIB).await;
    assert!(matches!(again, Err(StoreError::Exists)), "{again:?}");
    assert!(collect(store, &url, 0..data.len() as u64).await.unwrap() == data);
    assert_eq!(list(store).await.len(), 1);
}

async fn of_writers_of_one_key_one_wins(store: Arc<dyn Store>) {
    let mut begun = Vec::new();
    for salt in 0..8 {
        let mut write = store.put("contended", None).await.unwrap();
        let data = sample(MIB + 100, salt);
        write.write(data.clone()).await.unwrap();
        begun.push((data, write));
    }
    let writers: Vec<_> = begun
        .into_iter()
        .map(|(data, write)| tokio::spawn(async move { (data, write.finish().await) }))
        .collect();
    let mut winner = None;
    for writer in writers {
        match writer.await.unwrap() {
            (data, Ok(stored)) => {
                assert!(winner.replace((data, stored)).is_none(), "two won");
            }
            (_, Err(error)) => assert!(matches!(error, StoreError::Exists), "{error}"),
        }
    }
    let (data, stored) = winner.expect("one wins");
    let got = collect(&*store, &stored.url, 0..stored.size).await.unwrap();
    assert!(got == data);
    until_holds(&*store, &["contended"]).await;
}

async fn nothing_is_visible_before_finish(store: &dyn Store) {
    let mut write = store.put("hidden", None).await.unwrap();
    for salt in 0..3 {
        write.write(sample(MIB, salt)).await.unwrap();
    }
    let visible = list(store).await;
    assert!(
        visible.iter().all(|listed| listed.key.is_empty()),
        "{visible:?}"
    );
    // A store that is cleaned meanwhile does not lose it.
    store.remove_unfinished().await.unwrap();
    let stored = write.finish().await.unwrap();
    assert_eq!(store.stat(&stored.url).await.unwrap().size, 3 * MIB as u64);
}

async fn a_write_that_ends_early_leaves_nothing(store: &dyn Store) {
    for blocks in [0, 1, 3] {
        let mut write = store.put("early", None).await.unwrap();
        for salt in 0..blocks {
            write.write(sample(MIB, salt)).await.unwrap();
        }
        write.abort().await.unwrap();
        assert_eq!(list(store).await, []);

        let mut write = store.put("early", None).await.unwrap();
        for salt in 0..blocks {
            write.write(sample(MIB, salt)).await.unwrap();
        }
        drop(write);
        until_holds(store, &[]).await;
    }
    put(store, "early", None, &sample(3, 0), 3).await.unwrap();
}

async fn a_size_that_was_not_declared_is_refused(store: &dyn Store) {
    let data = sample(2 * MIB, 4);
    for declared in [0, 1, data.len() as u64 - 1, data.len() as u64 + 1] {
        let refused = put(store, "odd", Some(declared), &data, 100_000).await;
        assert!(
            matches!(refused, Err(StoreError::Damaged(_))),
            "{refused:?}"
        );
        until_holds(store, &[]).await;
    }
}

async fn a_short_object_breaks_the_stream(store: &dyn Store) {
    let data = sample(2 * MIB + 5, 5);
    let len = data.len() as u64;
    let url = put(store, "short", None, &data, MIB).await.unwrap().url;
    for range in [
        0..len + 1,
        len - 1..len + 1,
        len..len + 1,
        len + 5..len + 6,
        0..2 * len,
    ] {
        let got = collect(store, &url, range.clone()).await;
        assert!(matches!(got, Err(StoreError::Damaged(_))), "{range:?}");
    }
}

async fn a_foreign_url_is_refused(store: &dyn Store) {
    let url = put(store, "mine", None, &sample(5, 6), 5)
        .await
        .unwrap()
        .url;
    let (parent, _) = url.rsplit_once('/').unwrap();
    for url in [
        "",
        "nothing",
        "unknown://a/b",
        &format!("{parent}/../mine"),
        &format!("{parent}/%2e%2e/mine"),
        &format!("{parent}/mine/"),
    ] {
        let stat = store.stat(url).await;
        assert!(
            matches!(stat, Err(StoreError::BadLocation)),
            "{url}: {stat:?}"
        );
        let deleted = store.delete(url).await;
        assert!(
            matches!(deleted, Err(StoreError::BadLocation)),
            "{url}: {deleted:?}"
        );
        let got = collect(store, url, 0..1).await;
        assert!(matches!(got, Err(StoreError::BadLocation)), "{url}");
    }
    assert_eq!(list(store).await.len(), 1);
}

async fn a_bad_key_is_refused(store: &dyn Store) {
    for key in [
        "",
        ".",
        "..",
        "a/b",
        "../a",
        ".upload-a",
        "a\0b",
        "a b",
        "é",
        &"k".repeat(300),
    ] {
        let url = store.url(key);
        assert!(
            matches!(url, Err(StoreError::BadLocation)),
            "{key:?}: {url:?}"
        );
        let refused = store.put(key, None).await.map(drop);
        assert!(
            matches!(refused, Err(StoreError::BadLocation)),
            "{key:?}: {refused:?}"
        );
    }
    assert_eq!(list(store).await, []);
}

/// Waits until the store holds these keys and nothing else.
async fn until_holds(store: &dyn Store, keys: &[&str]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let held = list(store).await;
        if held
            .iter()
            .map(|listed| listed.key.as_str())
            .eq(keys.iter().copied())
        {
            return;
        }
        assert!(Instant::now() < deadline, "left behind: {held:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
