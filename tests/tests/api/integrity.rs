//! Damage below the service: a byte that changed on disk is never served.

use std::{
    fs::OpenOptions,
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use glimpse_tests::{Client, Node, Raw, Setup, eventually, random_bytes};
use serde_json::json;

const MIB: usize = 1 << 20;

/// Flips one bit of every copy of `needle` in the files below `folder`; returns how many.
pub(crate) fn flip(folder: &Path, needle: &[u8]) -> usize {
    let mut flipped = 0;
    for path in files(folder) {
        let mut content = Vec::new();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        file.read_to_end(&mut content).unwrap();
        let mut from = 0;
        while let Some(at) = find(&content[from..], needle) {
            let at = from + at;
            file.seek(SeekFrom::Start(at as u64)).unwrap();
            file.write_all(&[content[at] ^ 1]).unwrap();
            flipped += 1;
            from = at + 1;
        }
        file.sync_all().unwrap();
    }
    flipped
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = needle[0];
    let mut at = 0;
    while let Some(step) = haystack[at..].iter().position(|byte| *byte == first) {
        at += step;
        if haystack[at..].starts_with(needle) {
            return Some(at);
        }
        at += 1;
    }
    None
}

pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path)
            } else {
                found.push(path)
            }
        }
    }
    found
}

async fn image(node: &Node) -> (Client, String, Bytes) {
    let client = node.client();
    let data = random_bytes(4 * MIB + 1000, 5);
    let id = client.active(json!({}), data.clone()).await;
    assert!(client.download(&id).await.expect(200).body == data);
    (client, id, data)
}

/// Asks for the image until `attempts` transfers ended, each of which must be whole and right, or
/// broken, or an error that says so. Returns how many were whole.
async fn never_wrong(client: &Client, id: &str, data: &Bytes, attempts: usize) -> usize {
    let mut whole = 0;
    for attempt in 0..attempts {
        let call = client.call("GET", &format!("/v2/images/{id}/file"));
        let from = MIB + MIB / 2 - 100;
        let (call, wanted) = if attempt % 2 == 0 {
            (call, data.clone())
        } else {
            let to = from + 2000;
            (
                call.header("range", &format!("bytes={from}-{to}")),
                data.slice(from..=to),
            )
        };
        // A broken transfer is an error of the client library.
        if let Ok(answer) = call.attempt().await {
            if matches!(answer.status, 200 | 206) {
                assert!(answer.body == wanted, "wrong bytes were served as good");
                whole += 1;
            } else {
                assert!(answer.status >= 500, "{}: {}", answer.status, answer.text());
            }
        }
    }
    whole
}

#[tokio::test]
async fn a_byte_flipped_in_the_pool_is_replaced_from_the_store() {
    let mut node = Node::start().await;
    let (client, id, data) = image(&node).await;
    node.stop().await;
    let needle = &data[MIB + MIB / 2..MIB + MIB / 2 + 64];
    assert!(
        flip(&node.data().join("cache"), needle) > 0,
        "the pool does not hold the chunk"
    );
    node.restart().await;
    assert_eq!(never_wrong(&client, &id, &data, 6).await, 6);
    assert!(node.metric("cache_corrupt_slots_total").await >= 1.0);
    node.stop().await;
    node.restart().await;
    assert_eq!(never_wrong(&client, &id, &data, 2).await, 2);
}

#[tokio::test]
async fn a_byte_flipped_in_the_store_is_served_from_the_pool_or_not_at_all() {
    let mut node = Node::start().await;
    let (client, id, data) = image(&node).await;
    node.stop().await;
    assert_eq!(
        flip(&node.images(), &data[MIB + MIB / 2..MIB + MIB / 2 + 64]),
        1
    );
    node.restart().await;
    assert_eq!(never_wrong(&client, &id, &data, 4).await, 4);
    assert!(node.metric("cache_corrupt_sources_total").await < 1.0);
}

#[tokio::test]
async fn a_byte_flipped_in_the_tables_is_never_served_as_a_record() {
    let mut node = Node::start().await;
    let (client, id, _) = image(&node).await;
    let other = client.active(json!({}), random_bytes(1000, 6)).await;
    let hash = client.show(&id).await.json()["os_hash_value"].clone();
    let hash = hash.as_str().unwrap().to_owned();
    node.stop().await;
    // The stop has made a checkpoint: the log does not write the record anew.
    let tables = node.data().join("registry");
    let (log, aside) = (tables.join("log"), node.folder().join("log"));
    std::fs::rename(&log, &aside).unwrap();
    assert!(
        flip(&tables, hash.as_bytes()) > 0,
        "no table holds the hash"
    );
    std::fs::rename(&aside, &log).unwrap();
    node.restart().await;
    client.get(&format!("/v2/images/{id}")).await.expect(500);
    client.get("/v2/images").await.expect(500);
    // What is whole is served.
    assert_eq!(client.show(&other).await.json()["id"], json!(other));
}

#[tokio::test]
async fn a_byte_flipped_below_a_running_node_is_not_served_once_the_audit_is_due() {
    // Nothing but the audit is to find it.
    let node = Setup::new()
        .set("cache.audit_interval", "1s")
        .set("cache.residency_interval", "1h")
        .start()
        .await;
    let (client, id, data) = image(&node).await;
    let needle = &data[MIB + MIB / 2..MIB + MIB / 2 + 64];
    for round in 1..=3 {
        assert!(flip(&node.data().join("cache"), needle) > 0);
        // Until the last check is older than the interval the bytes may go out as they are.
        eventually("the damage found by the audit", async || {
            client.download(&id).await.expect(200);
            let found = node.metric("cache_corrupt_slots_total").await;
            (found >= f64::from(round)).then_some(())
        })
        .await;
        assert_eq!(never_wrong(&client, &id, &data, 6).await, 6, "{round}");
    }
}

#[tokio::test]
async fn with_both_copies_damaged_the_transfer_breaks_and_the_rest_is_served() {
    let mut node = Node::start().await;
    let (client, id, data) = image(&node).await;
    node.stop().await;
    let needle = &data[MIB + MIB / 2..MIB + MIB / 2 + 64];
    assert_eq!(flip(&node.images(), needle), 1);
    std::fs::remove_dir_all(node.data().join("cache")).unwrap();
    node.restart().await;
    assert_eq!(never_wrong(&client, &id, &data, 4).await, 0);
    assert!(node.metric("cache_corrupt_sources_total").await >= 1.0);
    let good = client
        .range(&id, &format!("bytes=0-{}", MIB - 1))
        .await
        .expect(206);
    assert!(good.body == data.slice(..MIB));
    // The operator mends the file: it is served again.
    let file = node.stored_files().remove(0);
    std::fs::write(file, &data).unwrap();
    assert_eq!(never_wrong(&client, &id, &data, 2).await, 2);
}

#[tokio::test]
async fn a_store_file_cut_short_breaks_the_transfer() {
    for left in [0, MIB, 4 * MIB] {
        let mut node = Node::start().await;
        let (client, id, data) = image(&node).await;
        node.stop().await;
        let file = node.stored_files().remove(0);
        OpenOptions::new()
            .write(true)
            .open(file)
            .unwrap()
            .set_len(left as u64)
            .unwrap();
        std::fs::remove_dir_all(node.data().join("cache")).unwrap();
        node.restart().await;
        let call = client.call("GET", &format!("/v2/images/{id}/file"));
        if let Ok(answer) = call.attempt().await {
            assert!(answer.status >= 500, "{left} bytes left: {}", answer.status);
        }
        assert!(node.is_running());
        // Every second one asks for bytes of the second MiB, which may still be there.
        let whole = never_wrong(&client, &id, &data, 4).await;
        assert_eq!(
            whole,
            if left > 2 * MIB { 2 } else { 0 },
            "{left} bytes left"
        );
    }
}

#[tokio::test]
async fn a_lost_store_file_is_an_error_and_not_an_empty_image() {
    let mut node = Node::start().await;
    let (client, id, _) = image(&node).await;
    node.stop().await;
    std::fs::remove_file(node.stored_files().remove(0)).unwrap();
    std::fs::remove_dir_all(node.data().join("cache")).unwrap();
    node.restart().await;
    for range in [None, Some("bytes=0-0"), Some("bytes=-1")] {
        let mut call = client.call("GET", &format!("/v2/images/{id}/file"));
        if let Some(range) = range {
            call = call.header("range", range);
        }
        // A broken transfer is an error of the client library.
        if let Ok(answer) = call.attempt().await {
            assert!(answer.status >= 500, "{range:?}: {}", answer.status);
        }
    }
    assert_eq!(client.show(&id).await.expect(200).field("status"), "active");
    client.remove(&id).await.expect(204);
}

#[tokio::test]
async fn a_damaged_pool_as_a_whole_costs_misses_only() {
    let mut node = Node::start().await;
    let (client, id, data) = image(&node).await;
    node.stop().await;
    for file in files(&node.data().join("cache")) {
        let length = file.metadata().unwrap().len().min(1 << 20);
        let mut open = OpenOptions::new().write(true).open(&file).unwrap();
        open.write_all(&random_bytes(usize::try_from(length).unwrap(), 3))
            .unwrap();
    }
    node.restart().await;
    assert_eq!(never_wrong(&client, &id, &data, 4).await, 4);
}

#[tokio::test]
async fn a_lost_or_damaged_manifest_is_made_again_from_the_store() {
    for damage in ["lost", "cut", "flipped"] {
        let mut node = Node::start().await;
        let (client, id, data) = image(&node).await;
        node.stop().await;
        let manifests = files(&node.data().join("manifests"));
        assert!(!manifests.is_empty(), "no manifest is on disk");
        for path in manifests {
            let mut content = std::fs::read(&path).unwrap();
            match damage {
                "lost" => std::fs::remove_file(&path).unwrap(),
                "cut" => std::fs::write(&path, &content[..content.len() / 2]).unwrap(),
                _ => {
                    let at = content.len() - 1;
                    content[at] ^= 1;
                    std::fs::write(&path, content).unwrap();
                }
            }
        }
        node.restart().await;
        assert_eq!(never_wrong(&client, &id, &data, 4).await, 4, "{damage}");
        // It is on disk again: the next start needs no data for it.
        node.stop().await;
        assert!(
            !files(&node.data().join("manifests")).is_empty(),
            "{damage}"
        );
        std::fs::remove_file(node.stored_files().remove(0)).unwrap();
        node.restart().await;
        assert_eq!(never_wrong(&client, &id, &data, 2).await, 2, "{damage}");
    }
}

#[tokio::test]
async fn a_manifest_is_not_made_of_data_that_is_not_the_images() {
    for damage in ["lost", "flipped", "cut"] {
        let mut node = Node::start().await;
        let (client, id, data) = image(&node).await;
        node.stop().await;
        for path in files(&node.data().join("manifests")) {
            std::fs::remove_file(path).unwrap();
        }
        let file = node.stored_files().remove(0);
        match damage {
            "lost" => std::fs::remove_file(file).unwrap(),
            "flipped" => assert_eq!(flip(&node.images(), &data[MIB..MIB + 64]), 1),
            _ => std::fs::write(file, &data[..MIB]).unwrap(),
        }
        node.restart().await;
        for _ in 0..2 {
            client.download(&id).await.expect(503);
            client.range(&id, "bytes=0-0").await.expect(503);
        }
        assert_eq!(client.show(&id).await.expect(200).field("status"), "active");
    }
}

#[tokio::test]
async fn bytes_on_their_way_to_a_client_stay_as_they_are_whatever_the_cache_needs_their_slots_for()
{
    const RANGE: usize = 64 << 10;
    // Four slots, which the second image needs as soon as they are free.
    let node = Setup::on_disk().set("cache.size", "4MiB").start().await;
    let client = node.client();
    let data = random_bytes(4 * MIB, 1);
    let id = client.active(json!({}), data.clone()).await;
    let others = random_bytes(16 * MIB, 2);
    let other = client.active(json!({}), others.clone()).await;
    assert!(client.download(&id).await.expect(200).body == data);
    let before = node.metric("http_sent_bytes_total").await;
    let mut standing = Vec::new();
    for chunk in 0..4 {
        let from = chunk * MIB + 1000;
        let mut connection = Raw::connect(&node.address()).await;
        let request = format!(
            "GET /v2/images/{id}/file HTTP/1.1\r\nhost: a\r\nconnection: close\r\nrange: bytes={from}-{}\r\n\r\n",
            from + RANGE - 1
        );
        assert!(connection.send(request).await);
        standing.push((from, connection));
    }
    // All of it is the kernel's now, and none of it the clients'.
    eventually("the ranges in the sockets", async || {
        let sent = node.metric("http_sent_bytes_total").await - before;
        (sent >= (standing.len() * RANGE) as f64).then_some(())
    })
    .await;
    assert!(client.download(&other).await.expect(200).body == others);
    assert!(node.metric("cache_busy_slots_total").await >= 4.0);
    for (from, mut connection) in standing {
        let head = connection.head().await.expect("an answer");
        assert!(head.starts_with("HTTP/1.1 206"), "{head}");
        assert!(connection.rest().await == data[from..from + RANGE]);
    }
    assert!(client.download(&other).await.expect(200).body == others);
    assert_eq!(node.metric("cache_used_slots").await, 4.0);
}
