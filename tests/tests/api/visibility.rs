//! Who sees what (image-api 4.3), every cell of the table.

use glimpse_tests::{Client, Node, Persona, Setup};
use serde_json::json;

/// Statuses of show and download for a caller, and whether the default list has the image.
async fn seen(client: &Client, id: &str) -> (u16, u16, bool) {
    let list = client.list_all("").await.contains(&id.to_owned());
    (
        client.show(id).await.status,
        client.download(id).await.status,
        list,
    )
}

async fn lists(client: &Client, id: &str, query: &str) -> bool {
    client.list_all(query).await.contains(&id.to_owned())
}

async fn trusted() -> (Node, Client, Client, Client) {
    let node = Setup::trusted().start().await;
    let owner = node.client_of(&Persona::member("alpha"));
    let other = node.client_of(&Persona::member("beta"));
    let admin = node.client_of(&Persona::admin());
    (node, owner, other, admin)
}

#[tokio::test]
async fn private_is_for_the_owner_and_admins() {
    let (_node, owner, other, admin) = trusted().await;
    let id = owner.active(json!({"visibility": "private"}), "x").await;
    assert_eq!(seen(&owner, &id).await, (200, 200, true));
    assert_eq!(seen(&other, &id).await, (404, 404, false));
    assert_eq!(seen(&admin, &id).await, (200, 200, true));
    assert!(!lists(&other, &id, "visibility=all").await);
    assert!(!lists(&other, &id, "visibility=private").await);
    assert!(lists(&owner, &id, "visibility=private").await);
}

#[tokio::test]
async fn public_is_for_all() {
    let (_node, owner, other, admin) = trusted().await;
    let id = admin.active(json!({"visibility": "public"}), "x").await;
    assert_eq!(seen(&owner, &id).await, (200, 200, true));
    assert_eq!(seen(&other, &id).await, (200, 200, true));
    assert!(lists(&other, &id, "visibility=public").await);
    assert!(!lists(&other, &id, "visibility=shared").await);
}

#[tokio::test]
async fn community_is_for_all_who_ask_for_it() {
    let (_node, owner, other, _admin) = trusted().await;
    let id = owner.active(json!({"visibility": "community"}), "x").await;
    assert_eq!(seen(&owner, &id).await, (200, 200, true));
    assert_eq!(seen(&other, &id).await, (200, 200, false));
    assert!(lists(&other, &id, "visibility=community").await);
    assert!(lists(&other, &id, "visibility=all").await);
}

#[tokio::test]
async fn shared_is_for_its_members_whatever_they_decided() {
    let (_node, owner, other, _admin) = trusted().await;
    let id = owner.active(json!({"visibility": "shared"}), "x").await;
    assert_eq!(seen(&owner, &id).await, (200, 200, true));
    assert_eq!(seen(&other, &id).await, (404, 404, false));
    owner.share(&id, "beta").await.expect(200);
    for (status, listed) in [("pending", false), ("accepted", true), ("rejected", false)] {
        other.decide(&id, "beta", status).await.expect(200);
        assert_eq!(seen(&other, &id).await, (200, 200, listed), "{status}");
        for asked in ["pending", "accepted", "rejected"] {
            let query = format!("member_status={asked}");
            assert_eq!(
                lists(&other, &id, &query).await,
                asked == status,
                "{status} {query}"
            );
        }
        assert!(lists(&other, &id, "member_status=all").await, "{status}");
        assert!(
            lists(&other, &id, "member_status=all&visibility=shared").await,
            "{status}"
        );
    }
    other.list("member_status=maybe").await.expect(400);
}

/// It passes the look-up whatever its visibility (image-api 4.3); then the rule `get_image` asks for
/// a visibility that is for others, since nobody is its owner (4.2).
#[tokio::test]
async fn an_image_without_owner_is_for_all_but_where_it_is_private() {
    let (node, _owner, other, admin) = trusted().await;
    let nobody = node.client_of(&Persona::nobody("beta"));
    for (visibility, wanted) in [
        ("public", (200, 200, true)),
        ("shared", (200, 200, true)),
        ("community", (200, 200, false)),
        ("private", (404, 404, false)),
    ] {
        let id = admin
            .active(json!({"owner": null, "visibility": visibility}), "x")
            .await;
        assert_eq!(seen(&other, &id).await, wanted, "{visibility}");
        assert_eq!(seen(&admin, &id).await.0, 200, "{visibility}");
        nobody.show(&id).await.expect(404);
        let refusal = if wanted.0 == 200 { 403 } else { 404 };
        let renamed = other.replace(&id, "name", json!("mine")).await;
        renamed.expect(refusal);
        other.remove(&id).await.expect(refusal);
        other.share(&id, "beta").await.expect(refusal);
        let members = format!("/v2/images/{id}/members");
        if visibility != "shared" {
            other.get(&members).await.expect(refusal);
        }
    }
}

#[tokio::test]
async fn a_reader_sees_and_may_not_download() {
    let (node, owner, _other, admin) = trusted().await;
    let reader = node.client_of(&Persona::reader("alpha"));
    let id = owner.active(json!({"visibility": "private"}), "x").await;
    assert_eq!(seen(&reader, &id).await, (200, 403, true));
    let public = admin.active(json!({"visibility": "public"}), "x").await;
    assert_eq!(seen(&reader, &public).await, (200, 403, true));
    reader.range(&id, "bytes=0-0").await.expect(403);
    reader.upload(&id, "y").await.expect(403);
}

#[tokio::test]
async fn without_a_role_nothing_is_shown() {
    let (node, owner, _other, admin) = trusted().await;
    let nobody = node.client_of(&Persona::nobody("alpha"));
    let own = owner.active(json!({"visibility": "private"}), "x").await;
    let public = admin.active(json!({"visibility": "public"}), "x").await;
    for id in [own, public] {
        assert!(matches!(nobody.show(&id).await.status, 403 | 404));
        assert!(matches!(nobody.download(&id).await.status, 403 | 404));
    }
}

#[tokio::test]
async fn an_admin_lists_every_project() {
    let (_node, owner, other, admin) = trusted().await;
    let a = owner.created(json!({"visibility": "private"})).await;
    let b = other.created(json!({"visibility": "shared"})).await;
    let mut all = admin.list_all("").await;
    all.sort();
    let mut wanted = vec![a.clone(), b];
    wanted.sort();
    assert_eq!(all, wanted);
    assert_eq!(admin.list_all("owner=alpha").await, [a]);
}

#[tokio::test]
async fn revoking_takes_effect_at_once() {
    let (_node, owner, other, _admin) = trusted().await;
    let id = owner
        .active(json!({"visibility": "shared"}), "secret")
        .await;
    owner.share(&id, "beta").await.expect(200);
    assert_eq!(other.download(&id).await.expect(200).text(), "secret");
    owner
        .delete(&format!("/v2/images/{id}/members/beta"))
        .await
        .expect(204);
    other.download(&id).await.expect(404);
    other.range(&id, "bytes=0-1").await.expect(404);
    owner
        .replace(&id, "visibility", json!("community"))
        .await
        .expect(200);
    assert_eq!(other.download(&id).await.expect(200).text(), "secret");
    owner
        .replace(&id, "visibility", json!("private"))
        .await
        .expect(200);
    other.download(&id).await.expect(404);
}
