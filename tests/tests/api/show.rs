//! `GET /v2/images/{id}` and what an image shows of itself (image-api 2.1).

use glimpse_tests::{Node, Setup, md5_hex, random_bytes, sha512_hex};
use serde_json::{Value, json};

#[tokio::test]
async fn an_active_image_shows_size_hashes_and_its_stores() {
    let node = Node::start().await;
    let data = random_bytes(100_000, 1);
    let id = node.client().active(json!({}), data.clone()).await;
    let image = node.client().show(&id).await.expect(200).json();
    assert_eq!(image["status"], "active");
    assert_eq!(image["size"], 100_000);
    assert_eq!(image["virtual_size"], 100_000);
    assert_eq!(image["checksum"], md5_hex(&data));
    assert_eq!(image["os_hash_algo"], "sha512");
    assert_eq!(image["os_hash_value"], sha512_hex(&data));
    assert_eq!(image["stores"], "local");
    assert!(image.get("locations").is_none() && image.get("direct_url").is_none());
}

#[tokio::test]
async fn locations_and_direct_url_are_shown_only_when_configured() {
    let node = Setup::new()
        .set("api.show_image_direct_url", true)
        .set("api.show_multiple_locations", true)
        .start()
        .await;
    let id = node.client().active(json!({}), "bytes").await;
    let image = node.client().show(&id).await.expect(200).json();
    let url = image["direct_url"].as_str().unwrap();
    assert!(url.starts_with("file:///") && url.ends_with(&id), "{url}");
    let locations = image["locations"].as_array().unwrap();
    assert_eq!(locations.len(), 1);
    assert_eq!(locations[0]["url"], url);
    let queued = node.client().created(json!({})).await;
    let image = node.client().show(&queued).await.expect(200).json();
    assert_eq!(image["locations"], json!([]));
    assert_eq!(image.get("direct_url"), None);
}

#[tokio::test]
async fn another_configured_hash_is_computed_and_named() {
    let node = Setup::new()
        .set("api.hashing_algorithm", "sha256")
        .start()
        .await;
    let id = node.client().active(json!({}), "hello").await;
    let image = node.client().show(&id).await.expect(200).json();
    assert_eq!(image["os_hash_algo"], "sha256");
    assert_eq!(
        image["os_hash_value"],
        "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    );
    assert_eq!(image["checksum"], "5d41402abc4b2a76b9719d911017c592");
}

#[tokio::test]
async fn an_answer_is_json_and_says_so() {
    let node = Node::start().await;
    let id = node
        .client()
        .created(json!({"name": "quo\"te \\ <b>\u{7}"}))
        .await;
    let answer = node.client().show(&id).await.expect(200);
    assert!(
        answer
            .header("content-type")
            .unwrap()
            .starts_with("application/json")
    );
    assert_eq!(answer.field("name"), "quo\"te \\ <b>\u{7}");
    assert_eq!(answer.json()["checksum"], Value::Null);
}
