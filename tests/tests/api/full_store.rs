//! A store without room: what its users and its operator are told.

use glimpse_tests::{Setup, eventually};
use serde_json::{Value, json};

#[tokio::test]
async fn a_store_that_has_only_room_that_is_kept_free_says_so_to_user_and_operator() {
    let node = Setup::new().set("node.keep_free", "1024TiB").start().await;
    let client = node.client();
    let warnings = || -> Vec<Value> {
        let log = node.log();
        let lines = log.lines().filter(|line| line.contains(r#""WARN""#));
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    };
    // Told at the start, not only with the first upload.
    let full = eventually("a word about the full store", async || {
        let mut full = warnings().into_iter();
        full.find(|line| {
            line["message"]
                .as_str()
                .is_some_and(|text| text.contains("full"))
        })
    })
    .await;
    assert_eq!(full["store"], "local", "{full}");
    assert_eq!(full["path"], node.images().to_str().unwrap(), "{full}");
    assert_eq!(full["node.keep_free"], 1_u64 << 50, "{full}");
    assert!(full["free"].is_u64(), "{full}");

    let id = client.created(json!({})).await;
    let refused = client.upload(&id, "data").await.expect(413);
    assert!(
        refused.text().contains("node.keep_free"),
        "{}",
        refused.text()
    );
    let failed = eventually("the failed upload in the log", async || {
        let mut failed = warnings().into_iter();
        failed.find(|line| line["message"] == "upload failed")
    })
    .await;
    assert_eq!(failed["image.id"], id.as_str(), "{failed}");
    assert_eq!(failed["store"], "local", "{failed}");
}

#[tokio::test]
async fn a_pool_that_is_larger_than_its_disk_is_told_at_the_start() {
    let node = Setup::new().set("cache.size", "1024TiB").start().await;
    eventually("a word about cache.size", async || {
        let log = node.log();
        let told = |line: &str| line.contains(r#""WARN""#) && line.contains("cache.size");
        log.lines().any(told).then_some(())
    })
    .await;
}
