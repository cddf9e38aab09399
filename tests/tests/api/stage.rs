//! `PUT /v2/images/{id}/stage` (image-api 1.4, 2.4, 3.5).

use glimpse_tests::{Node, Persona, Setup, eventually, random_bytes};
use serde_json::{Value, json};

const MIB: usize = 1 << 20;

/// Waits until staging holds so many files.
async fn stages(node: &Node, files: usize) {
    eventually(&format!("{files} staged files"), async || {
        (node.staged_files().len() == files).then_some(())
    })
    .await;
}

#[tokio::test]
async fn staged_data_makes_the_image_uploading_with_its_size_and_nothing_else() {
    let node = Node::start().await;
    let client = node.client();
    // Formats may come later.
    let id = client
        .create(json!({"name": "x"}))
        .await
        .expect(201)
        .field("id");
    client.stage(&id, random_bytes(MIB, 1)).await.expect(204);
    let image = client.show(&id).await.expect(200).json();
    assert_eq!(
        (&image["status"], &image["size"], &image["checksum"]),
        (&json!("uploading"), &json!(MIB), &Value::Null)
    );
    assert!(image.get("os_glance_importing_to_stores").is_none());
    let staged = node.staged_files();
    assert_eq!(staged[0].file_name().unwrap().to_str(), Some(id.as_str()));
    assert_eq!(std::fs::read(&staged[0]).unwrap(), random_bytes(MIB, 1));
    assert_eq!(node.stored_files(), Vec::<std::path::PathBuf>::new());
    client.download(&id).await.expect(204);
    client.stage(&id, "again").await.expect(409);
    client.upload(&id, "again").await.expect(409);
}

#[tokio::test]
async fn a_deleted_image_leaves_nothing_in_staging_and_no_usage() {
    let node = Setup::trusted()
        .set("limits.user_storage_quota", "3MiB")
        .start()
        .await;
    let client = node.client_of(&Persona::member("alpha"));
    for round in 0..3 {
        let id = client.created(json!({})).await;
        client
            .stage(&id, random_bytes(2 * MIB, round))
            .await
            .expect(204);
        // What is staged counts.
        let other = client.created(json!({})).await;
        client
            .stage(&other, random_bytes(2 * MIB, 9))
            .await
            .expect(413);
        client.remove(&id).await.expect(204);
        stages(&node, 0).await;
    }
}

#[tokio::test]
async fn staging_is_bounded_and_its_bytes_come_back() {
    let node = Setup::new()
        .set("import.staging_size", "4MiB")
        .set("limits.reserve_step", "1MiB")
        .start()
        .await;
    let client = node.client();
    let first = client.created(json!({})).await;
    client
        .stage(&first, random_bytes(3 * MIB, 1))
        .await
        .expect(204);
    let second = client.created(json!({})).await;
    client
        .stage(&second, random_bytes(2 * MIB, 2))
        .await
        .expect(413);
    let pieces = (0..32).map(|_| random_bytes(MIB / 16, 3));
    let chunked = client
        .call("PUT", &format!("/v2/images/{second}/stage"))
        .header("content-type", "application/octet-stream")
        .stream(futures_util::stream::iter(pieces.collect::<Vec<_>>()));
    chunked.send().await.expect(413);
    client.reaches(&second, "queued").await;
    client.remove(&first).await.expect(204);
    stages(&node, 0).await;
    client
        .stage(&second, random_bytes(4 * MIB, 2))
        .await
        .expect(204);
}

#[tokio::test]
async fn who_may_not_change_the_image_stages_nothing_and_bad_requests_are_told() {
    let node = Setup::trusted()
        .set("limits.image_size_cap", "1MiB")
        .start()
        .await;
    let owner = node.client_of(&Persona::member("alpha"));
    let id = owner.created(json!({"visibility": "shared"})).await;
    owner.share(&id, "beta").await.expect(200);
    let member = node.client_of(&Persona::member("beta"));
    member.stage(&id, "x").await.expect(403);
    let stranger = node.client_of(&Persona::member("gamma"));
    stranger.stage(&id, "x").await.expect(404);
    let typeless = owner.call("PUT", &format!("/v2/images/{id}/stage"));
    typeless.body("x").send().await.expect(415);
    owner.stage(&id, random_bytes(MIB + 1, 1)).await.expect(413);
    owner.reaches(&id, "queued").await;
    owner.stage(&id, "x").await.expect(204);
}

#[tokio::test]
async fn a_killed_node_leaves_no_half_staged_data_and_keeps_what_was_staged() {
    let mut node = Node::start().await;
    let client = node.client();
    let whole = client.created(json!({})).await;
    client.stage(&whole, random_bytes(MIB, 1)).await.expect(204);
    let half = client.created(json!({})).await;
    let mut connection = glimpse_tests::Raw::connect(&node.address()).await;
    connection
        .send(format!(
            "PUT /v2/images/{half}/stage HTTP/1.1\r\nhost: a\r\n\
             content-type: application/octet-stream\r\ncontent-length: 1000\r\n\r\nabc"
        ))
        .await;
    client.reaches(&half, "uploading").await;
    node.kill();
    let orphan = node
        .data()
        .join("staging/11111111-2222-3333-4444-555555555555");
    std::fs::write(orphan, "nobody's").unwrap();
    node.restart().await;
    let client = node.client();
    client.reaches(&half, "queued").await;
    stages(&node, 1).await;
    let image = client.show(&whole).await.expect(200).json();
    assert_eq!(image["status"], "uploading");
    let body = json!({"method": {"name": "glance-direct"}});
    client.import(&whole, body).await.expect(202);
    client.reaches(&whole, "active").await;
    let data = client.download(&whole).await.expect(200);
    assert_eq!(data.body, random_bytes(MIB, 1));
    client.stage(&half, "anew").await.expect(204);
}
