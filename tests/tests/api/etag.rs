//! The record's version as its strong ETag, and preconditions on it.

use glimpse_tests::{Client, Node, PATCH_V21, eventually};
use serde_json::json;

async fn tag_of(client: &Client, id: &str) -> String {
    client
        .show(id)
        .await
        .expect(200)
        .header("etag")
        .unwrap()
        .to_owned()
}

async fn patch_if(client: &Client, id: &str, header: &str, tag: &str, name: &str) -> u16 {
    let document = json!([{"op": "replace", "path": "/name", "value": name}]);
    client
        .call("PATCH", &format!("/v2/images/{id}"))
        .header("content-type", PATCH_V21)
        .header(header, tag)
        .body(document.to_string())
        .send()
        .await
        .status
}

#[tokio::test]
async fn every_change_of_the_record_changes_its_tag() {
    let node = Node::start().await;
    let client = node.client();
    let created = client
        .create(json!({"disk_format": "raw", "container_format": "bare"}))
        .await;
    let id = created.expect(201).field("id");
    let mut seen = vec![tag_of(&client, &id).await];
    assert!(
        seen[0].starts_with('"') && seen[0].ends_with('"'),
        "{}",
        seen[0]
    );
    assert_eq!(tag_of(&client, &id).await, seen[0], "a read changed it");
    let patched = client.replace(&id, "name", json!("x")).await.expect(200);
    seen.push(patched.header("etag").unwrap().to_owned());
    assert_eq!(tag_of(&client, &id).await, seen[1]);
    client.tag(&id, "t").await.expect(204);
    seen.push(tag_of(&client, &id).await);
    client.upload(&id, "data").await.expect(204);
    seen.push(tag_of(&client, &id).await);
    client.act(&id, "deactivate").await.expect(204);
    seen.push(tag_of(&client, &id).await);
    let mut distinct = seen.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), seen.len(), "{seen:?}");
}

#[tokio::test]
async fn the_tag_survives_a_restart() {
    let mut node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    let tag = tag_of(&client, &id).await;
    node.kill();
    node.restart().await;
    assert_eq!(tag_of(&client, &id).await, tag);
}

#[tokio::test]
async fn show_answers_304_to_the_present_tag() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    let tag = tag_of(&client, &id).await;
    let ask = async |header: &str, value: &str| {
        client
            .call("GET", &format!("/v2/images/{id}"))
            .header(header, value)
            .send()
            .await
            .status
    };
    assert_eq!(ask("if-none-match", &tag).await, 304);
    assert_eq!(ask("if-none-match", "*").await, 304);
    assert_eq!(ask("if-none-match", "\"x\"").await, 200);
    assert_eq!(ask("if-match", &tag).await, 200);
    assert_eq!(ask("if-match", "\"x\"").await, 412);
    assert_eq!(ask("if-match", "*").await, 200);
    client.replace(&id, "name", json!("x")).await.expect(200);
    assert_eq!(ask("if-none-match", &tag).await, 200);
}

#[tokio::test]
async fn patch_and_delete_refuse_a_stale_tag() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    let old = tag_of(&client, &id).await;
    assert_eq!(patch_if(&client, &id, "if-match", &old, "one").await, 200);
    assert_eq!(patch_if(&client, &id, "if-match", &old, "two").await, 412);
    assert_eq!(patch_if(&client, &id, "if-match", "*", "three").await, 200);
    let now = tag_of(&client, &id).await;
    assert_eq!(
        patch_if(&client, &id, "if-none-match", &now, "four").await,
        412
    );
    assert_eq!(
        patch_if(&client, &id, "if-none-match", "*", "four").await,
        412
    );
    assert_eq!(client.show(&id).await.expect(200).field("name"), "three");
    // A weak tag never matches where a strong one is asked for (RFC 9110 13.1.1).
    assert_eq!(
        patch_if(&client, &id, "if-match", &format!("W/{now}"), "five").await,
        412
    );
    let delete = async |tag: &str| {
        let call = client.call("DELETE", &format!("/v2/images/{id}"));
        call.header("if-match", tag).send().await.status
    };
    assert_eq!(delete(&old).await, 412);
    client.show(&id).await.expect(200);
    assert_eq!(delete(&now).await, 204);
    assert_eq!(delete(&now).await, 404);
}

#[tokio::test]
async fn malformed_preconditions_are_refused_and_change_nothing() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({"name": "old"})).await;
    for tag in ["unquoted", "\"open", ""] {
        let status = patch_if(&client, &id, "if-match", tag, "new").await;
        assert!(matches!(status, 400 | 412), "{tag}: {status}");
    }
    assert_eq!(client.show(&id).await.expect(200).field("name"), "old");
}

#[tokio::test]
async fn with_if_match_no_update_is_lost() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({"name": "0"})).await;
    let mut writers = Vec::new();
    for _ in 0..8 {
        let (client, id) = (client.clone(), id.clone());
        writers.push(tokio::spawn(async move {
            for _ in 0..10 {
                eventually("an increment", async || {
                    let image = client.show(&id).await.expect(200);
                    let tag = image.header("etag").unwrap().to_owned();
                    let next = image.field("name").parse::<u64>().unwrap() + 1;
                    let status = patch_if(&client, &id, "if-match", &tag, &next.to_string()).await;
                    assert!(matches!(status, 200 | 412), "{status}");
                    (status == 200).then_some(())
                })
                .await;
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(client.show(&id).await.expect(200).field("name"), "80");
}
