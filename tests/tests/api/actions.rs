//! Deactivation (image-api 1.4, 2.4).

use glimpse_tests::{Node, Persona, Setup};
use serde_json::json;

#[tokio::test]
async fn a_deactivated_image_keeps_its_data_from_all_but_admins() {
    let node = Setup::trusted().start().await;
    let owner = node.client_of(&Persona::member("alpha"));
    let admin = node.client_of(&Persona::admin());
    let id = owner.active(json!({}), "data").await;
    owner.act(&id, "deactivate").await.expect(204);
    owner.act(&id, "deactivate").await.expect(204);
    assert_eq!(
        owner.show(&id).await.expect(200).field("status"),
        "deactivated"
    );
    owner.download(&id).await.expect(403);
    owner.range(&id, "bytes=0-1").await.expect(403);
    assert_eq!(admin.download(&id).await.expect(200).text(), "data");
    owner.act(&id, "reactivate").await.expect(204);
    owner.act(&id, "reactivate").await.expect(204);
    assert_eq!(owner.download(&id).await.expect(200).text(), "data");
    owner.act(&id, "deactivate").await.expect(204);
    owner.remove(&id).await.expect(204);
}

#[tokio::test]
async fn only_an_image_with_data_can_be_deactivated() {
    let node = Node::start().await;
    let id = node.client().created(json!({})).await;
    node.client().act(&id, "deactivate").await.expect(403);
    node.client().act(&id, "reactivate").await.expect(403);
    node.client()
        .act("11111111-2222-3333-4444-555555555555", "deactivate")
        .await
        .expect(404);
    node.client().act(&id, "explode").await.expect(404);
}

#[tokio::test]
async fn only_those_who_may_modify_may_act() {
    let node = Setup::trusted().start().await;
    let owner = node.client_of(&Persona::member("alpha"));
    let other = node.client_of(&Persona::member("beta"));
    let public = owner
        .active(json!({"visibility": "community"}), "data")
        .await;
    let private = owner.active(json!({"visibility": "private"}), "data").await;
    other.act(&public, "deactivate").await.expect(403);
    other.act(&private, "deactivate").await.expect(404);
    node.client_of(&Persona::reader("alpha"))
        .act(&public, "deactivate")
        .await
        .expect(403);
    assert_eq!(other.download(&public).await.expect(200).text(), "data");
}

#[tokio::test]
async fn deactivated_data_cannot_be_replaced() {
    let node = Node::start().await;
    let id = node.client().active(json!({}), "data").await;
    node.client().act(&id, "deactivate").await.expect(204);
    node.client().upload(&id, "other").await.expect(409);
    node.client().act(&id, "reactivate").await.expect(204);
    assert_eq!(node.client().download(&id).await.expect(200).text(), "data");
}
