//! Tags (image-api 1.5).

use glimpse_tests::{Node, Persona, Setup};
use serde_json::json;

async fn tags(client: &glimpse_tests::Client, id: &str) -> Vec<String> {
    let image = client.show(id).await.expect(200).json();
    let mut tags: Vec<String> = serde_json::from_value(image["tags"].clone()).unwrap();
    tags.sort();
    tags
}

#[tokio::test]
async fn a_tag_is_added_once_however_often_it_is_put() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({"tags": ["old"]})).await;
    client.tag(&id, "new").await.expect(204);
    client.tag(&id, "new").await.expect(204);
    assert_eq!(tags(&client, &id).await, ["new", "old"]);
    client
        .delete(&format!("/v2/images/{id}/tags/new"))
        .await
        .expect(204);
    client
        .delete(&format!("/v2/images/{id}/tags/new"))
        .await
        .expect(404);
    assert_eq!(tags(&client, &id).await, ["old"]);
}

#[tokio::test]
async fn a_tag_is_what_the_path_says_once_decoded() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    client.tag(&id, "with%20space").await.expect(204);
    client.tag(&id, "%C3%BC").await.expect(204);
    assert_eq!(tags(&client, &id).await, ["with space", "ü"]);
    client.tag(&id, "a%2Fb").await.expect(404);
    client.tag(&id, &"x".repeat(255)).await.expect(204);
    client.tag(&id, &"x".repeat(256)).await.expect(400);
}

#[tokio::test]
async fn the_quota_counts_tags() {
    let node = Setup::new().set("limits.image_tag_quota", 2).start().await;
    let client = node.client();
    let id = client.created(json!({"tags": ["a"]})).await;
    client.tag(&id, "b").await.expect(204);
    client.tag(&id, "c").await.expect(413);
    client.tag(&id, "b").await.expect(204);
    client
        .replace(&id, "tags", json!(["x", "y", "z"]))
        .await
        .expect(413);
    client
        .replace(&id, "tags", json!(["x", "y"]))
        .await
        .expect(200);
    assert_eq!(tags(&client, &id).await, ["x", "y"]);
}

#[tokio::test]
async fn only_those_who_may_modify_may_tag() {
    let node = Setup::trusted().start().await;
    let owner = node.client_of(&Persona::member("alpha"));
    let other = node.client_of(&Persona::member("beta"));
    let id = owner.created(json!({"visibility": "community"})).await;
    let private = owner.created(json!({"visibility": "private"})).await;
    other.tag(&id, "x").await.expect(403);
    other.tag(&private, "x").await.expect(404);
    node.client_of(&Persona::reader("alpha"))
        .tag(&id, "x")
        .await
        .expect(403);
    owner.tag(&id, "x").await.expect(204);
    other
        .delete(&format!("/v2/images/{id}/tags/x"))
        .await
        .expect(403);
}

#[tokio::test]
async fn tagging_moves_updated_at_and_the_version() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    let before = client.show(&id).await.expect(200);
    client.tag(&id, "x").await.expect(204);
    let after = client.show(&id).await.expect(200);
    assert_ne!(before.header("etag"), after.header("etag"));
    assert!(after.field("updated_at") >= before.field("updated_at"));
}
