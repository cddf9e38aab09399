//! Members (image-api 1.5).

use glimpse_tests::{Client, Node, Persona, Setup};
use serde_json::{Value, json};

struct Cast {
    node: Node,
    owner: Client,
    member: Client,
    other: Client,
    admin: Client,
}

async fn cast() -> Cast {
    let node = Setup::trusted().start().await;
    Cast {
        owner: node.client_of(&Persona::member("alpha")),
        member: node.client_of(&Persona::member("beta")),
        other: node.client_of(&Persona::member("gamma")),
        admin: node.client_of(&Persona::admin()),
        node,
    }
}

#[tokio::test]
async fn a_new_member_is_pending_and_answered_with_200() {
    let cast = cast().await;
    let id = cast.owner.created(json!({"visibility": "shared"})).await;
    let member = cast.owner.share(&id, "beta").await.expect(200).json();
    assert_eq!(member["member_id"], "beta");
    assert_eq!(member["image_id"], id);
    assert_eq!(member["status"], "pending");
    assert_eq!(member["schema"], "/v2/schemas/member");
    assert!(member["created_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(member["created_at"], member["updated_at"]);
    let path = format!("/v2/images/{id}/members/beta");
    assert_eq!(cast.owner.get(&path).await.expect(200).json(), member);
    assert_eq!(cast.member.get(&path).await.expect(200).json(), member);
}

#[tokio::test]
async fn a_malformed_member_is_400_and_a_second_one_409() {
    let cast = cast().await;
    let id = cast.owner.created(json!({"visibility": "shared"})).await;
    let path = format!("/v2/images/{id}/members");
    for body in [
        json!({}),
        json!({"member": ""}),
        json!({"member": 7}),
        json!([]),
        json!("beta"),
        json!({"member": ["beta"]}),
        json!({"member": "x".repeat(256)}),
    ] {
        let answer = cast.owner.post(&path, body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
    cast.owner.share(&id, "beta").await.expect(200);
    cast.owner.share(&id, "beta").await.expect(409);
}

#[tokio::test]
async fn the_member_decides_and_the_owner_may_not() {
    let cast = cast().await;
    let id = cast.owner.created(json!({"visibility": "shared"})).await;
    cast.owner.share(&id, "beta").await.expect(200);
    cast.owner.decide(&id, "beta", "accepted").await.expect(403);
    for status in ["accepted", "rejected", "pending"] {
        let member = cast.member.decide(&id, "beta", status).await.expect(200);
        assert_eq!(member.field("status"), status);
    }
    cast.admin.decide(&id, "beta", "accepted").await.expect(200);
    cast.other.decide(&id, "beta", "accepted").await.expect(404);
    cast.member
        .decide(&id, "gamma", "accepted")
        .await
        .expect(404);
    let path = format!("/v2/images/{id}/members/beta");
    for body in [
        json!({}),
        json!({"status": "maybe"}),
        json!({"status": 7}),
        json!([]),
    ] {
        let answer = cast.member.put(&path, body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_member_sees_only_its_own_row() {
    let cast = cast().await;
    let id = cast.owner.created(json!({"visibility": "shared"})).await;
    cast.owner.share(&id, "beta").await.expect(200);
    cast.owner.share(&id, "gamma").await.expect(200);
    let rows = async |client: &Client| {
        let list = client
            .get(&format!("/v2/images/{id}/members"))
            .await
            .expect(200)
            .json();
        assert_eq!(list["schema"], "/v2/schemas/members");
        let mut rows: Vec<String> = list["members"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["member_id"].as_str().unwrap().to_owned())
            .collect();
        rows.sort();
        rows
    };
    assert_eq!(rows(&cast.owner).await, ["beta", "gamma"]);
    assert_eq!(rows(&cast.admin).await, ["beta", "gamma"]);
    assert_eq!(rows(&cast.member).await, ["beta"]);
    cast.member
        .get(&format!("/v2/images/{id}/members/gamma"))
        .await
        .expect(404);
    let stranger = cast.node.client_of(&Persona::member("delta"));
    stranger
        .get(&format!("/v2/images/{id}/members"))
        .await
        .expect(404);
}

#[tokio::test]
async fn only_the_owner_adds_and_removes_members() {
    let cast = cast().await;
    let id = cast.owner.created(json!({"visibility": "shared"})).await;
    cast.owner.share(&id, "beta").await.expect(200);
    cast.member.share(&id, "gamma").await.expect(403);
    cast.other.share(&id, "gamma").await.expect(404);
    let path = format!("/v2/images/{id}/members/beta");
    cast.member.delete(&path).await.expect(403);
    cast.other.delete(&path).await.expect(404);
    cast.owner.delete(&path).await.expect(204);
    cast.owner.delete(&path).await.expect(404);
    cast.member.show(&id).await.expect(404);
}

#[tokio::test]
async fn only_shared_images_have_members_but_rows_outlive_a_change() {
    let cast = cast().await;
    let id = cast
        .owner
        .active(json!({"visibility": "shared"}), "data")
        .await;
    cast.owner.share(&id, "beta").await.expect(200);
    cast.member
        .decide(&id, "beta", "accepted")
        .await
        .expect(200);
    let members = format!("/v2/images/{id}/members");
    for visibility in ["private", "community"] {
        cast.owner
            .replace(&id, "visibility", json!(visibility))
            .await
            .expect(200);
        cast.owner.get(&members).await.expect(403);
        cast.owner.share(&id, "gamma").await.expect(403);
    }
    cast.owner
        .replace(&id, "visibility", json!("private"))
        .await
        .expect(200);
    cast.member.show(&id).await.expect(404);
    cast.owner
        .replace(&id, "visibility", json!("shared"))
        .await
        .expect(200);
    cast.member.show(&id).await.expect(200);
    assert_eq!(cast.member.list("").await.expect(200).ids("images"), [id]);
}

#[tokio::test]
async fn the_quota_counts_members() {
    let node = Setup::new()
        .set("limits.image_member_quota", 2)
        .start()
        .await;
    let client = node.client();
    let id = client.created(json!({})).await;
    client.share(&id, "a").await.expect(200);
    client.share(&id, "b").await.expect(200);
    client.share(&id, "c").await.expect(413);
    client
        .delete(&format!("/v2/images/{id}/members/a"))
        .await
        .expect(204);
    client.share(&id, "c").await.expect(200);
}

#[tokio::test]
async fn members_of_a_deleted_image_are_gone() {
    let cast = cast().await;
    let id = cast.owner.created(json!({"visibility": "shared"})).await;
    cast.owner.share(&id, "beta").await.expect(200);
    cast.owner.remove(&id).await.expect(204);
    cast.member
        .get(&format!("/v2/images/{id}/members/beta"))
        .await
        .expect(404);
    let list = cast
        .member
        .list("member_status=all")
        .await
        .expect(200)
        .json();
    assert_eq!(list["images"], Value::Array(Vec::new()));
}
