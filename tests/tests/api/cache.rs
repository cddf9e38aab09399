//! The cache API (image-api 1.8), and the deficiencies of the reference's cache, row by row
//! (image-api 5.2).

use bytes::Bytes;
use glimpse_tests::{Client, Node, Persona, Setup, eventually, md5_hex, random_bytes};
use serde_json::{Value, json};

use crate::integrity::{files, flip};

const MIB: usize = 1 << 20;
const UNKNOWN: &str = "11111111-2222-3333-4444-555555555555";

/// What `GET /v2/cache` says.
async fn state(client: &Client) -> Value {
    client.get("/v2/cache").await.expect(200).json()
}

/// The ids of one of its lists.
fn ids(state: &Value, list: &str) -> Vec<String> {
    let rows = state[list].as_array().unwrap().iter();
    rows.map(|row| row["image_id"].as_str().unwrap().to_owned())
        .collect()
}

fn row(state: &Value, list: &str, id: &str) -> Option<Value> {
    let rows = state[list].as_array().unwrap();
    rows.iter().find(|row| row["image_id"] == id).cloned()
}

/// Waits until the image is in that list.
async fn listed(client: &Client, list: &str, id: &str) -> Value {
    eventually(list, async || row(&state(client).await, list, id)).await
}

async fn put(client: &Client, id: &str) -> glimpse_tests::Answer {
    client.call("PUT", &format!("/v2/cache/{id}")).send().await
}

async fn clear(client: &Client, target: &str) -> glimpse_tests::Answer {
    let call = client.call("DELETE", "/v2/cache");
    call.header("x-image-cache-clear-target", target)
        .send()
        .await
}

/// An image of so many whole chunks, uploaded and never read.
async fn image(client: &Client, chunks: usize, seed: u64) -> (String, Bytes) {
    let data = random_bytes(chunks * MIB, seed);
    (client.active(json!({}), data.clone()).await, data)
}

#[tokio::test]
async fn an_image_that_was_read_is_listed_with_hits_times_size_and_checksum() {
    let node = Node::start().await;
    let client = node.client();
    let (id, data) = image(&client, 2, 1).await;
    assert_eq!(
        state(&client).await,
        json!({"cached_images": [], "queued_images": [], "partial_images": [], "failed_images": []})
    );
    for _ in 0..3 {
        client.download(&id).await.expect(200);
    }
    let shown = eventually("two hits", async || {
        row(&state(&client).await, "cached_images", &id).filter(|row| row["hits"] == 2)
    })
    .await;
    assert_eq!(shown["size"], data.len());
    assert_eq!(
        (&shown["chunks"], &shown["chunks_cached"]),
        (&json!(2), &json!(2))
    );
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.unwrap().as_secs_f64();
    for time in ["last_accessed", "last_modified"] {
        let time = shown[time].as_f64().unwrap();
        assert!((now - 600.0..now + 1.0).contains(&time), "{time}");
    }
}

#[tokio::test]
async fn a_queued_image_is_fetched_and_one_that_cannot_be_says_so() {
    let node = Node::start().await;
    let client = node.client();
    let (id, data) = image(&client, 3, 2).await;
    put(&client, &id).await.expect(202);
    listed(&client, "cached_images", &id).await;
    assert_eq!(state(&client).await["queued_images"], json!([]));
    // From now on the store is not needed.
    for file in node.stored_files() {
        std::fs::remove_file(file).unwrap();
    }
    assert!(client.download(&id).await.expect(200).body == data);

    put(&client, UNKNOWN).await.expect(404);
    put(&client, "no-uuid").await.expect(404);
    let queued = client.created(json!({})).await;
    put(&client, &queued).await.expect(400);
}

#[tokio::test]
async fn a_fetch_that_always_fails_is_given_up_and_told() {
    let node = Setup::new().set("cache.prefetch_attempts", 2).start().await;
    let client = node.client();
    let (id, _) = image(&client, 1, 3).await;
    let (large, _) = image(&client, 1, 4).await;
    for file in node.stored_files() {
        std::fs::remove_file(file).unwrap();
    }
    put(&client, &id).await.expect(202);
    put(&client, &large).await.expect(202);
    let failed = listed(&client, "failed_images", &id).await;
    assert!(!failed["message"].as_str().unwrap().is_empty());
    assert!(failed["failed_at"].is_f64());
    listed(&client, "failed_images", &large).await;
    assert!(node.metric("cache_prefetch_failures_total").await >= 2.0);
    assert_eq!(state(&client).await["queued_images"], json!([]));
    // Clean forgets those of images that are gone.
    client.remove(&id).await.expect(204);
    client
        .call("POST", "/v2/cache/clean")
        .send()
        .await
        .expect(200);
    assert_eq!(ids(&state(&client).await, "failed_images"), [large]);
}

#[tokio::test]
async fn an_image_larger_than_the_cache_is_not_fetched() {
    let node = Setup::new().set("cache.size", "4MiB").start().await;
    let client = node.client();
    let (id, _) = image(&client, 5, 5).await;
    put(&client, &id).await.expect(202);
    let failed = listed(&client, "failed_images", &id).await;
    assert!(
        failed["message"].as_str().unwrap().contains("larger"),
        "{failed}"
    );
}

#[tokio::test]
async fn the_queue_is_bounded_and_survives_a_restart() {
    let mut node = Setup::new()
        .set("cache.queue", 2)
        .set("cache.prefetch_attempts", 1_000_000)
        .start()
        .await;
    let client = node.client();
    let mut images = Vec::new();
    for seed in 0..3 {
        images.push(image(&client, 1, 10 + seed).await.0);
    }
    let away = node.folder().join("away");
    std::fs::rename(node.images(), &away).unwrap();
    put(&client, &images[0]).await.expect(202);
    put(&client, &images[1]).await.expect(202);
    put(&client, &images[0]).await.expect(202);
    let refused = put(&client, &images[2]).await.expect(503);
    assert!(refused.header("retry-after").is_some());
    node.kill();
    node.restart_until(503).await;
    let mut queued: Vec<String> =
        serde_json::from_value(state(&client).await["queued_images"].clone()).unwrap();
    queued.sort();
    let mut wanted = images[..2].to_vec();
    wanted.sort();
    assert_eq!(queued, wanted);
    node.kill();
    drop(std::fs::remove_dir_all(node.images()));
    std::fs::rename(away, node.images()).unwrap();
    node.restart().await;
    listed(&client, "cached_images", &images[0]).await;
    listed(&client, "cached_images", &images[1]).await;
}

#[tokio::test]
async fn delete_clears_cache_or_queue_or_both() {
    let node = Setup::new()
        .set("cache.prefetch_attempts", 1_000_000)
        .start()
        .await;
    let client = node.client();
    let (id, data) = image(&client, 2, 20).await;
    let (waits, _) = image(&client, 1, 21).await;
    client.download(&id).await.expect(200);
    listed(&client, "cached_images", &id).await;
    // It can never be fetched, so it waits.
    let lost = node.stored_files();
    let lost = lost.iter().find(|file| file.ends_with(&waits)).unwrap();
    std::fs::remove_file(lost).unwrap();
    put(&client, &waits).await.expect(202);
    clear(&client, "everything").await.expect(400);
    clear(&client, "cache").await.expect(204);
    let found = state(&client).await;
    assert_eq!(
        (ids(&found, "cached_images").len(), &found["queued_images"]),
        (0, &json!([waits]))
    );
    assert_eq!(node.metric("cache_used_slots").await, 0.0);
    assert!(client.download(&id).await.expect(200).body == data);
    listed(&client, "cached_images", &id).await;
    clear(&client, "QUEUE").await.expect(204);
    let found = state(&client).await;
    assert_eq!(
        (ids(&found, "cached_images").len(), &found["queued_images"]),
        (1, &json!([]))
    );
    put(&client, &waits).await.expect(202);
    client.delete("/v2/cache").await.expect(204);
    let found = state(&client).await;
    assert_eq!(
        (ids(&found, "cached_images").len(), &found["queued_images"]),
        (0, &json!([]))
    );
}

#[tokio::test]
async fn dropping_an_image_leaves_the_chunks_that_another_cached_image_has() {
    let node = Node::start().await;
    let client = node.client();
    let shared = random_bytes(2 * MIB, 30);
    let one = [&shared[..], &random_bytes(MIB, 31)].concat();
    let two = [&shared[..], &random_bytes(MIB, 32)].concat();
    let one = client.active(json!({}), one).await;
    let two = client.active(json!({}), two).await;
    for id in [&one, &two] {
        client.download(id).await.expect(200);
        listed(&client, "cached_images", id).await;
    }
    assert_eq!(node.metric("cache_used_slots").await, 4.0);
    let drop_image = async |id: &str| client.delete(&format!("/v2/cache/{id}")).await;
    drop_image(&one).await.expect(204);
    assert_eq!(node.metric("cache_used_slots").await, 3.0);
    assert_eq!(
        ids(&state(&client).await, "cached_images"),
        std::slice::from_ref(&two)
    );
    drop_image(&two).await.expect(204);
    assert_eq!(node.metric("cache_used_slots").await, 0.0);
    // What is not cached need not be dropped, but it has to be something.
    drop_image(&one).await.expect(204);
    drop_image(UNKNOWN).await.expect(404);
    drop_image("no-uuid").await.expect(404);
}

#[tokio::test]
async fn the_nodes_that_have_an_image_are_this_one_or_none() {
    let node = Node::start().await;
    let client = node.client();
    let (id, _) = image(&client, 1, 40).await;
    let path = format!("/v2/cache/nodes/{id}");
    assert_eq!(client.get(&path).await.expect(200).json(), json!([]));
    client.download(&id).await.expect(200);
    listed(&client, "cached_images", &id).await;
    let here = format!("http://{}", node.address());
    assert_eq!(client.get(&path).await.expect(200).json(), json!([here]));
    client
        .get(&format!("/v2/cache/nodes/{UNKNOWN}"))
        .await
        .expect(404);
}

/// OSSN-0048 and image-api 4.2.
#[tokio::test]
async fn nobody_but_an_admin_manages_the_cache_by_any_method() {
    let node = Setup::trusted().set("cache.legacy_api", true).start().await;
    let owner = node.client_of(&Persona::member("alpha"));
    let other = node.client_of(&Persona::member("beta"));
    let id = owner.active(json!({"visibility": "private"}), "data").await;
    let paths = [
        "/v2/cache".to_owned(),
        format!("/v2/cache/{id}"),
        format!("/v2/cache/nodes/{id}"),
        "/v2/cache/clean".to_owned(),
        "/v2/cache/prune".to_owned(),
        "/v2/cached_images".to_owned(),
        format!("/v2/cached_images/{id}"),
        "/v2/queued_images".to_owned(),
        format!("/v2/queued_images/{id}"),
    ];
    for path in &paths {
        for method in ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"] {
            for (client, allowed) in [(&owner, [403, 405]), (&other, [403, 405])] {
                let status = client.call(method, path).send().await.status;
                // Another project's private image does not exist for it.
                let hidden = status == 404 && std::ptr::eq(client, &other);
                let options = status == 200 && method == "OPTIONS";
                assert!(
                    allowed.contains(&status) || hidden || options,
                    "{method} {path}: {status}"
                );
            }
            let anonymous = node.client().call(method, path).send().await.status;
            assert!(
                anonymous == 401 || method == "OPTIONS",
                "{method} {path}: {anonymous}"
            );
        }
    }
    let admin = node.client_of(&Persona::admin());
    assert_eq!(state(&admin).await["cached_images"], json!([]));
    put(&admin, &id).await.expect(202);
    listed(&admin, "cached_images", &id).await;
}

#[tokio::test]
async fn the_older_routes_are_there_when_they_are_asked_for() {
    let node = Node::start().await;
    for path in ["/v2/cached_images", "/v2/queued_images"] {
        node.client().get(path).await.expect(404);
    }
    let node = Setup::new()
        .set("cache.legacy_api", true)
        .set("cache.api", false)
        .start()
        .await;
    let client = node.client();
    let (id, data) = image(&client, 1, 50).await;
    let queued = format!("/v2/queued_images/{id}");
    let cached = format!("/v2/cached_images/{id}");
    let call = async |method: &str, path: &str| {
        let answer = client.call(method, path).send().await;
        answer.expect(200).json()
    };
    assert_eq!(call("PUT", &queued).await, Value::Null);
    let shown = eventually("the image in the cache", async || {
        let list = call("GET", "/v2/cached_images").await;
        list["cached_images"].get(0).cloned()
    })
    .await;
    assert_eq!(
        (&shown["image_id"], &shown["size"]),
        (&json!(id), &json!(data.len()))
    );
    assert_eq!(
        call("GET", "/v2/queued_images").await,
        json!({"queued_images": []})
    );
    assert_eq!(call("DELETE", &queued).await, Value::Null);
    assert_eq!(call("DELETE", &cached).await, Value::Null);
    assert_eq!(
        call("GET", "/v2/cached_images").await,
        json!({"cached_images": []})
    );
    client.download(&id).await.expect(200);
    eventually("the image is counted", async || {
        let list = call("GET", "/v2/cached_images").await;
        (list["cached_images"].as_array()?.len() == 1).then_some(())
    })
    .await;
    assert_eq!(
        call("DELETE", "/v2/cached_images").await,
        json!({"num_deleted": 1})
    );
    assert_eq!(
        call("DELETE", "/v2/queued_images").await,
        json!({"num_deleted": 0})
    );
    client.get("/v2/cache").await.expect(404);
}

#[tokio::test]
async fn row_1_ranges_are_served_from_the_cache_and_fill_it() {
    let node = Node::start().await;
    let client = node.client();
    let (id, data) = image(&client, 2, 60).await;
    client.range(&id, "bytes=0-99").await.expect(206);
    let partial = listed(&client, "partial_images", &id).await;
    assert_eq!(
        (&partial["chunks"], &partial["chunks_cached"]),
        (&json!(2), &json!(1))
    );
    client.range(&id, "bytes=-1").await.expect(206);
    listed(&client, "cached_images", &id).await;
    let filled = node.metric("cache_fill_bytes_total").await;
    let part = client.range(&id, "bytes=1048000-1049000").await.expect(206);
    assert!(part.body == data[1_048_000..=1_049_000]);
    assert_eq!(node.metric("cache_fill_bytes_total").await, filled);
}

#[tokio::test]
async fn row_2_many_first_downloads_read_the_store_once() {
    let node = Node::start().await;
    let client = node.client();
    let (id, data) = image(&client, 8, 61).await;
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let (client, id) = (client.clone(), id.clone());
        readers.spawn(async move { client.download(&id).await.expect(200).body });
    }
    while let Some(body) = readers.join_next().await {
        assert!(body.unwrap() == data);
    }
    assert_eq!(
        node.metric("cache_fill_bytes_total").await,
        data.len() as f64
    );
}

#[tokio::test]
async fn row_3_what_a_client_that_leaves_has_read_stays() {
    let node = Node::start().await;
    let client = node.client();
    let (id, data) = image(&client, 40, 62).await;
    let connection = node.standing_download(&id).await;
    drop(connection);
    let kept = listed(&client, "partial_images", &id).await;
    let kept = kept["chunks_cached"].as_u64().unwrap();
    assert!(kept >= 1);
    let before = node.metric("cache_fill_bytes_total").await;
    assert!(client.download(&id).await.expect(200).body == data);
    let filled = node.metric("cache_fill_bytes_total").await - before;
    assert!(filled <= ((40 - kept) * MIB as u64) as f64, "{filled}");
}

#[tokio::test]
async fn row_4_a_corrupted_cached_image_is_never_served() {
    let mut node = Node::start().await;
    let client = node.client();
    let (id, data) = image(&client, 2, 63).await;
    client.download(&id).await.expect(200);
    node.stop().await;
    assert!(flip(&node.data().join("cache"), &data[MIB + 5..MIB + 69]) > 0);
    node.restart().await;
    let answer = client.download(&id).await.expect(200);
    assert!(answer.body == data);
    assert_eq!(answer.header("content-md5").unwrap(), md5_hex(&data));
}

#[tokio::test]
async fn row_5_a_truncated_cache_is_never_served_short() {
    let mut node = Node::start().await;
    let client = node.client();
    let (id, data) = image(&client, 2, 64).await;
    client.download(&id).await.expect(200);
    node.stop().await;
    for file in files(&node.data().join("cache")) {
        let length = std::fs::metadata(&file).unwrap().len();
        if length >= MIB as u64 {
            let file = std::fs::File::options().write(true).open(file).unwrap();
            file.set_len(MIB as u64 + 4096).unwrap();
        }
    }
    node.restart().await;
    assert!(client.download(&id).await.expect(200).body == data);
}

#[tokio::test]
async fn row_6_nothing_enters_the_cache_unproved() {
    let node = Setup::new().set("cache.prefetch_attempts", 1).start().await;
    let client = node.client();
    let (id, data) = image(&client, 2, 65).await;
    assert_eq!(flip(&node.images(), &data[5..69]), 1);
    put(&client, &id).await.expect(202);
    listed(&client, "failed_images", &id).await;
    let found = state(&client).await;
    assert_eq!(ids(&found, "cached_images").len(), 0, "{found}");
    client.download(&id).await.expect(503);
}

#[tokio::test]
async fn row_8_a_deleted_image_is_in_no_list_and_never_served() {
    let node = Node::start().await;
    let client = node.client();
    let (id, _) = image(&client, 1, 66).await;
    client.download(&id).await.expect(200);
    listed(&client, "cached_images", &id).await;
    client.remove(&id).await.expect(204);
    let found = state(&client).await;
    assert_eq!(ids(&found, "cached_images").len(), 0, "{found}");
    client.download(&id).await.expect(404);
    // It is still known here, until it is dropped.
    client.delete(&format!("/v2/cache/{id}")).await.expect(204);
    client.delete(&format!("/v2/cache/{id}")).await.expect(404);
}

#[tokio::test]
async fn row_9_the_size_is_a_hard_limit() {
    let node = Setup::new().set("cache.size", "4MiB").start().await;
    let client = node.client();
    let (id, data) = image(&client, 12, 67).await;
    assert!(client.download(&id).await.expect(200).body == data);
    assert!(node.metric("cache_used_slots").await <= 4.0);
    let size: u64 = files(&node.data().join("cache"))
        .iter()
        .map(|file| std::fs::metadata(file).unwrap().len())
        .sum();
    assert!(size < 5 * MIB as u64, "{size}");
    let partial = listed(&client, "partial_images", &id).await;
    assert!(partial["chunks_cached"].as_u64().unwrap() <= 4);
}

#[tokio::test]
async fn row_10_prune_and_clean_end_whatever_lies_in_the_cache() {
    let node = Node::start().await;
    let client = node.client();
    let (id, _) = image(&client, 1, 68).await;
    client.download(&id).await.expect(200);
    let stray = node.data().join("cache").join("stray");
    std::fs::write(stray, vec![1; 2 * MIB]).unwrap();
    let pruned = client.call("POST", "/v2/cache/prune").send().await;
    assert_eq!(
        pruned.expect(200).json(),
        json!({"total_files_pruned": 0, "total_bytes_pruned": 0})
    );
    let cleaned = client.call("POST", "/v2/cache/clean").send().await;
    assert_eq!(cleaned.expect(200).text(), "");
    listed(&client, "cached_images", &id).await;
}

#[tokio::test]
async fn row_11_prefer_counts_on_a_hit_too() {
    let node = Node::start().await;
    let client = node.client();
    let (id, _) = image(&client, 1, 69).await;
    client.download(&id).await.expect(200);
    listed(&client, "cached_images", &id).await;
    let path = |store: &str| format!("/v2/images/{id}/file?prefer={store}");
    client.get(&path("local")).await.expect(200);
    client.get(&path("nowhere")).await.expect(400);
}

#[tokio::test]
async fn row_12_hits_cost_no_write_and_survive_a_restart() {
    let mut node = Node::start().await;
    let client = node.client();
    let (id, _) = image(&client, 1, 70).await;
    let log = node.metric("registry_applied_index").await;
    for _ in 0..30 {
        client.download(&id).await.expect(200);
    }
    let before = eventually("29 hits", async || {
        row(&state(&client).await, "cached_images", &id).filter(|row| row["hits"] == 29)
    })
    .await;
    assert_eq!(node.metric("registry_applied_index").await, log);
    let file = node.data().join("CACHED-IMAGES");
    assert!(!file.exists(), "written before its time");
    node.stop().await;
    node.restart().await;
    assert_eq!(listed(&client, "cached_images", &id).await, before);
}

#[tokio::test]
async fn row_13_equal_chunks_are_kept_and_fetched_once() {
    let node = Node::start().await;
    let client = node.client();
    let (one, data) = image(&client, 3, 71).await;
    client.download(&one).await.expect(200);
    let two = client.active(json!({}), data.clone()).await;
    let zeros = client.active(json!({}), vec![0; 3 * MIB]).await;
    assert!(client.download(&two).await.expect(200).body == data);
    client.download(&zeros).await.expect(200);
    assert_eq!(
        node.metric("cache_fill_bytes_total").await,
        data.len() as f64
    );
    assert_eq!(node.metric("cache_used_slots").await, 3.0);
    for (id, hits) in [(&one, 0), (&two, 1), (&zeros, 1)] {
        assert_eq!(listed(&client, "cached_images", id).await["hits"], hits);
    }
}

/// As far as one node goes: there is no database beside it, and its store may be away.
#[tokio::test]
async fn row_14_what_is_cached_is_served_without_its_store() {
    let node = Node::start().await;
    let client = node.client();
    let (id, data) = image(&client, 2, 72).await;
    put(&client, &id).await.expect(202);
    listed(&client, "cached_images", &id).await;
    std::fs::rename(node.images(), node.folder().join("away")).unwrap();
    assert!(client.download(&id).await.expect(200).body == data);
}

#[tokio::test]
async fn row_15_the_checksum_is_listed() {
    let node = Node::start().await;
    let client = node.client();
    let (id, data) = image(&client, 1, 73).await;
    client.download(&id).await.expect(200);
    let shown = listed(&client, "cached_images", &id).await;
    assert_eq!(shown["checksum"], md5_hex(&data));
}

/// One process serves and fetches, so that no worker is left asleep.
#[tokio::test]
async fn row_16_every_queued_image_is_fetched_at_once() {
    let node = Node::start().await;
    let client = node.client();
    for seed in 80..85 {
        let (id, _) = image(&client, 1, seed).await;
        put(&client, &id).await.expect(202);
        listed(&client, "cached_images", &id).await;
    }
    assert_eq!(node.metric("cache_prefetched_images_total").await, 5.0);
}
