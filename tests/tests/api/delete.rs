//! `DELETE /v2/images/{id}` and what becomes of the data.

use glimpse_tests::{Node, Persona, Raw, Setup, eventually, random_bytes};
use serde_json::json;

#[tokio::test]
async fn a_deleted_image_is_gone_for_everyone_at_once() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.active(json!({"tags": ["t"]}), "data").await;
    client.remove(&id).await.expect(204);
    client.show(&id).await.expect(404);
    client.download(&id).await.expect(404);
    client.remove(&id).await.expect(404);
    client.tag(&id, "x").await.expect(404);
    client.replace(&id, "name", json!("x")).await.expect(404);
    client.upload(&id, "data").await.expect(404);
    client
        .get(&format!("/v2/images/{id}/members"))
        .await
        .expect(404);
    assert!(client.list_all("").await.is_empty());
}

#[tokio::test]
async fn the_reaper_removes_the_bytes_from_the_store() {
    let node = Node::start().await;
    let client = node.client();
    let kept = client.active(json!({}), random_bytes(5000, 1)).await;
    let id = client.active(json!({}), random_bytes(5000, 2)).await;
    assert_eq!(node.stored_files().len(), 2);
    client.remove(&id).await.expect(204);
    node.keeps(1).await;
    assert_eq!(
        client.download(&kept).await.expect(200).body,
        random_bytes(5000, 1)
    );
}

#[tokio::test]
async fn data_queued_for_deletion_is_removed_after_a_restart() {
    let mut node = Node::start().await;
    let client = node.client();
    let mut ids = Vec::new();
    for seed in 0..20 {
        ids.push(client.active(json!({}), random_bytes(1000, seed)).await);
    }
    for id in &ids {
        client.remove(id).await.expect(204);
    }
    node.kill();
    node.restart().await;
    node.keeps(0).await;
}

#[tokio::test]
async fn a_file_that_is_already_gone_does_not_hold_up_the_delete() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.active(json!({}), "one").await;
    for file in node.stored_files() {
        std::fs::remove_file(file).unwrap();
    }
    client.remove(&id).await.expect(204);
    let other = client.active(json!({}), "two").await;
    client.remove(&other).await.expect(204);
    node.keeps(0).await;
}

#[tokio::test]
async fn a_protected_image_stays() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.active(json!({"protected": true}), "data").await;
    client.remove(&id).await.expect(403);
    assert_eq!(client.download(&id).await.expect(200).text(), "data");
    client
        .replace(&id, "protected", json!(false))
        .await
        .expect(200);
    client.remove(&id).await.expect(204);
}

#[tokio::test]
async fn only_the_owner_or_an_admin_deletes() {
    let node = Setup::trusted().start().await;
    let owner = node.client_of(&Persona::member("alpha"));
    let other = node.client_of(&Persona::member("beta"));
    let admin = node.client_of(&Persona::admin());
    let private = owner.created(json!({"visibility": "private"})).await;
    let community = owner.created(json!({"visibility": "community"})).await;
    other.remove(&private).await.expect(404);
    other.remove(&community).await.expect(403);
    node.client_of(&Persona::reader("alpha"))
        .remove(&private)
        .await
        .expect(403);
    owner.remove(&private).await.expect(204);
    admin.remove(&community).await.expect(204);
    admin.show(&private).await.expect(404);
}

#[tokio::test]
async fn a_delete_ends_the_upload_that_runs_and_frees_what_it_took() {
    // Nothing but the delete ends it within the patience of this test.
    let node = Setup::new()
        .set("limits.upload_idle_timeout", "1h")
        .set("limits.upload_lease", "1h")
        .set("limits.concurrent_uploads", 1)
        .set("limits.user_storage_quota", "4MiB")
        .start()
        .await;
    let client = node.client();
    for chunked in [false, true] {
        let id = client.created(json!({})).await;
        let mut upload = Raw::connect(&node.address()).await;
        let length = if chunked {
            "transfer-encoding: chunked"
        } else {
            "content-length: 3145728"
        };
        upload
            .send(format!(
                "PUT /v2/images/{id}/file HTTP/1.1\r\nhost: a\r\n\
                 content-type: application/octet-stream\r\n{length}\r\n\r\n"
            ))
            .await;
        if chunked {
            upload.send("100000\r\n").await;
        }
        upload.send(random_bytes(1 << 20, 1)).await;
        // With all of it taken nothing unread resets the connection when the node closes it.
        eventually("the megabyte in the store", async || {
            let files = node.stored_files();
            let length = std::fs::metadata(files.first()?).ok()?.len();
            (length == 1 << 20).then_some(())
        })
        .await;
        client.remove(&id).await.expect(204);
        client.show(&id).await.expect(404);
        node.keeps(0).await;
        // Its place and all of the quota.
        let next = client.created(json!({})).await;
        eventually("room for as much as the quota has", async || {
            let answer = client.upload(&next, random_bytes(4 << 20, 2)).await;
            assert!(
                matches!(answer.status, 204 | 413 | 503),
                "{}",
                answer.text()
            );
            (answer.status == 204).then_some(())
        })
        .await;
        // The client is told, although it sends nothing more.
        let head = upload.head().await.unwrap();
        assert!(head.starts_with("HTTP/1.1 410 "), "{head}");
        assert!(upload.closes().await);
        client.remove(&next).await.expect(204);
        node.keeps(0).await;
    }
}
