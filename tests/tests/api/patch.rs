//! `PATCH /v2/images/{id}` (image-api 1.10).

use glimpse_tests::{Node, PATCH_V20, PATCH_V21, Persona, Setup};
use serde_json::{Value, json};

#[tokio::test]
async fn other_media_types_are_415_and_told_the_right_ones() {
    let node = Node::start().await;
    let id = node.client().created(json!({})).await;
    for media_type in [
        "application/json",
        "application/json-patch+json",
        "text/plain",
    ] {
        let answer = node
            .client()
            .patch_as(media_type, &id, json!([]))
            .await
            .expect(415);
        let accepted = answer.header("accept-patch").unwrap();
        assert!(
            accepted.contains(PATCH_V20) && accepted.contains(PATCH_V21),
            "{accepted}"
        );
    }
}

#[tokio::test]
async fn both_forms_add_replace_and_remove() {
    let node = Node::start().await;
    let client = node.client();
    let id = client
        .created(json!({"name": "old", "color": "red", "size_of_box": "xl"}))
        .await;
    let image = client
        .patch(
            &id,
            json!([
                {"op": "replace", "path": "/name", "value": "new"},
                {"op": "add", "path": "/shape", "value": "round"},
                {"op": "add", "path": "/color", "value": "blue"},
                {"op": "remove", "path": "/size_of_box"},
            ]),
        )
        .await
        .expect(200)
        .json();
    assert_eq!(image["name"], "new");
    assert_eq!(image["shape"], "round");
    assert_eq!(image["color"], "blue");
    assert_eq!(image.get("size_of_box"), None);
    assert_eq!(image, client.show(&id).await.expect(200).json());

    let image = client
        .patch_as(
            PATCH_V20,
            &id,
            json!([
                {"replace": "/name", "value": "newer"},
                {"add": "/weight", "value": "heavy"},
                {"remove": "/shape"},
            ]),
        )
        .await
        .expect(200)
        .json();
    assert_eq!(image["name"], "newer");
    assert_eq!(image["weight"], "heavy");
    assert_eq!(image.get("shape"), None);
    // The older form does not overwrite.
    let again = json!([{"add": "/weight", "value": "light"}]);
    client.patch_as(PATCH_V20, &id, again).await.expect(409);
}

#[tokio::test]
async fn an_empty_document_changes_nothing() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    let before = client.show(&id).await.expect(200).json();
    assert_eq!(
        client.patch(&id, json!([])).await.expect(200).json(),
        before
    );
}

#[tokio::test]
async fn malformed_documents_are_400_and_change_nothing() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({"color": "red", "tags": ["t"]})).await;
    let before = client.show(&id).await.expect(200).json();
    for document in [
        json!({"op": "replace", "path": "/name", "value": "x"}),
        json!("text"),
        json!([7]),
        json!([{}]),
        json!([{"op": "replace", "path": "/name"}]),
        json!([{"op": "add", "path": "/color"}]),
        json!([{"op": "replace", "value": "x"}]),
        json!([{"op": "test", "path": "/name", "value": "x"}]),
        json!([{"op": "move", "path": "/name", "from": "/color"}]),
        json!([{"op": "copy", "path": "/name", "from": "/color"}]),
        json!([{"op": "explode", "path": "/name"}]),
        json!([{"op": 7, "path": "/name"}]),
        json!([{"op": "replace", "path": 7, "value": "x"}]),
        json!([{"op": "replace", "path": "name", "value": "x"}]),
        json!([{"op": "replace", "path": "", "value": "x"}]),
        json!([{"op": "replace", "path": "/", "value": "x"}]),
        json!([{"op": "replace", "path": "/name/", "value": "x"}]),
        json!([{"op": "replace", "path": "//name", "value": "x"}]),
        json!([{"op": "replace", "path": "/color/deep", "value": "x"}]),
        json!([{"op": "replace", "path": "/col~2or", "value": "x"}]),
        json!([{"op": "replace", "path": "/color~", "value": "x"}]),
        json!([{"op": "add", "path": "/tags/-", "value": "x"}]),
        json!([{"op": "add", "path": "/tags/0", "value": "x"}]),
        json!([{"op": "replace", "path": "/name", "value": 7}]),
        json!([{"op": "replace", "path": "/name", "value": "x".repeat(256)}]),
        json!([{"op": "replace", "path": "/visibility", "value": "everyone"}]),
        json!([{"op": "replace", "path": "/min_ram", "value": -1}]),
        json!([{"op": "replace", "path": "/min_disk", "value": 2_147_483_648_u64}]),
        json!([{"op": "replace", "path": "/disk_format", "value": "floppy"}]),
        json!([{"op": "replace", "path": "/protected", "value": "yes"}]),
        json!([{"op": "add", "path": "/color", "value": 7}]),
        json!([{"op": "add", "path": "/color", "value": true}]),
        json!([{"op": "add", "path": "/color", "value": null}]),
        json!([{"op": "add", "path": "/color", "value": ["x"]}]),
        json!([{"op": "add", "path": format!("/{}", "x".repeat(256)), "value": "x"}]),
        json!([{"op": "replace", "path": "/tags", "value": "x"}]),
    ] {
        let answer = client.patch(&id, document.clone()).await;
        assert_eq!(answer.status, 400, "{document}: {}", answer.text());
    }
    for document in [
        json!([{"op": "replace", "path": "/name", "value": "x"}]),
        json!([{"replace": "/name", "add": "/color", "value": "x"}]),
        json!([{"test": "/name", "value": "x"}]),
        json!([{"replace": "/name"}]),
    ] {
        let answer = client.patch_as(PATCH_V20, &id, document.clone()).await;
        assert_eq!(answer.status, 400, "{document}: {}", answer.text());
    }
    client
        .call("PATCH", &format!("/v2/images/{id}"))
        .header("content-type", PATCH_V21)
        .body("[{")
        .send()
        .await
        .expect(400);
    assert_eq!(client.show(&id).await.expect(200).json(), before);
}

#[tokio::test]
async fn a_failing_operation_takes_those_before_it_back() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({"name": "old"})).await;
    let before = client.show(&id).await.expect(200);
    client
        .patch(
            &id,
            json!([
                {"op": "replace", "path": "/name", "value": "new"},
                {"op": "add", "path": "/color", "value": "red"},
                {"op": "remove", "path": "/not_there"},
            ]),
        )
        .await
        .expect(409);
    let after = client.show(&id).await.expect(200);
    assert_eq!(after.json(), before.json());
    assert_eq!(after.header("etag"), before.header("etag"));
}

#[tokio::test]
async fn operations_see_what_those_before_them_did() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    let image = client
        .patch(
            &id,
            json!([
                {"op": "add", "path": "/color", "value": "red"},
                {"op": "replace", "path": "/color", "value": "blue"},
                {"op": "add", "path": "/gone", "value": "x"},
                {"op": "remove", "path": "/gone"},
            ]),
        )
        .await
        .expect(200)
        .json();
    assert_eq!(image["color"], "blue");
    assert_eq!(image.get("gone"), None);
}

#[tokio::test]
async fn absent_properties_are_conflicts() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    client
        .patch(&id, json!([{"op": "remove", "path": "/color"}]))
        .await
        .expect(409);
    client.replace(&id, "color", json!("red")).await.expect(409);
}

#[tokio::test]
async fn pointers_are_unescaped() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    let document = json!([{"op": "add", "path": "/a~1b~0c", "value": "x"}]);
    let image = client.patch(&id, document).await.expect(200).json();
    assert_eq!(image["a/b~c"], "x");
}

#[tokio::test]
async fn what_belongs_to_the_service_is_403_and_stays() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    let before = client.show(&id).await.expect(200).json();
    for (key, value) in [
        ("created_at", json!("2020-01-01T00:00:00Z")),
        ("updated_at", json!("2020-01-01T00:00:00Z")),
        ("status", json!("active")),
        ("checksum", json!("0123456789abcdef0123456789abcdef")),
        ("size", json!(5)),
        ("virtual_size", json!(5)),
        ("direct_url", json!("file:///x")),
        ("self", json!("/x")),
        ("file", json!("/x")),
        ("schema", json!("/x")),
        ("id", json!("9a1b2c3d-0000-4000-8000-00000000abcd")),
        ("os_hash_algo", json!("sha256")),
        ("os_hash_value", json!("00")),
        ("location", json!("file:///etc/passwd")),
        ("deleted", json!("true")),
        ("deleted_at", json!("2020-01-01T00:00:00Z")),
        ("os_glance_import_task", json!("x")),
        ("os_glancefoo", json!("x")),
        ("stores", json!("elsewhere")),
    ] {
        for op in ["add", "replace"] {
            let document = json!([{"op": op, "path": format!("/{key}"), "value": value}]);
            let answer = client.patch(&id, document).await;
            assert_eq!(answer.status, 403, "{op} {key}: {}", answer.text());
        }
        let document = json!([{"op": "remove", "path": format!("/{key}")}]);
        let answer = client.patch(&id, document).await;
        assert_eq!(answer.status, 403, "remove {key}: {}", answer.text());
    }
    assert_eq!(client.show(&id).await.expect(200).json(), before);
}

#[tokio::test]
async fn base_attributes_cannot_be_removed() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    for key in [
        "name",
        "visibility",
        "protected",
        "tags",
        "min_ram",
        "disk_format",
        "owner",
    ] {
        let document = json!([{"op": "remove", "path": format!("/{key}")}]);
        client.patch(&id, document).await.expect(403);
    }
}

#[tokio::test]
async fn attributes_take_null_where_they_may_be_unset() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({"name": "x"})).await;
    let image = client
        .replace(&id, "name", Value::Null)
        .await
        .expect(200)
        .json();
    assert_eq!(image["name"], Value::Null);
}

#[tokio::test]
async fn tags_are_replaced_as_a_whole() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({"tags": ["a", "b"]})).await;
    let image = client
        .replace(&id, "tags", json!(["c", "c"]))
        .await
        .expect(200)
        .json();
    assert_eq!(image["tags"], json!(["c"]));
    let image = client
        .replace(&id, "tags", json!([]))
        .await
        .expect(200)
        .json();
    assert_eq!(image["tags"], json!([]));
}

#[tokio::test]
async fn formats_change_only_before_data_arrives() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    client
        .replace(&id, "disk_format", json!("iso"))
        .await
        .expect(200);
    client
        .replace(&id, "disk_format", json!("raw"))
        .await
        .expect(200);
    client.upload(&id, "data").await.expect(204);
    client
        .replace(&id, "disk_format", json!("qcow2"))
        .await
        .expect(403);
    client
        .replace(&id, "container_format", json!("ovf"))
        .await
        .expect(403);
    client
        .replace(&id, "name", json!("still fine"))
        .await
        .expect(200);
}

#[tokio::test]
async fn the_property_quota_is_checked_when_keys_are_added() {
    let node = Setup::new()
        .set("limits.image_property_quota", 2)
        .start()
        .await;
    let client = node.client();
    let id = client.created(json!({"a": "1", "b": "2"})).await;
    let add = |key: &str| json!([{"op": "add", "path": format!("/{key}"), "value": "x"}]);
    client.patch(&id, add("c")).await.expect(413);
    client.patch(&id, add("b")).await.expect(200);
    client
        .patch(
            &id,
            json!([{"op": "remove", "path": "/a"}, {"op": "add", "path": "/c", "value": "3"}]),
        )
        .await
        .expect(200);
}

#[tokio::test]
async fn locations_are_hidden_from_patch_unless_configured() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    for document in [
        json!([{"op": "add", "path": "/locations/-",
                "value": {"url": "http://example.org/x", "metadata": {}}}]),
        json!([{"op": "replace", "path": "/locations", "value": []}]),
        json!([{"op": "remove", "path": "/locations/0"}]),
    ] {
        client.patch(&id, document).await.expect(403);
    }
}

#[tokio::test]
async fn ownership_and_visibility_follow_the_policies() {
    let node = Setup::trusted().start().await;
    let owner = node.client_of(&Persona::member("alpha"));
    let other = node.client_of(&Persona::member("beta"));
    let admin = node.client_of(&Persona::admin());
    let id = owner.created(json!({})).await;
    owner.replace(&id, "owner", json!("beta")).await.expect(403);
    owner
        .replace(&id, "visibility", json!("public"))
        .await
        .expect(403);
    for visibility in ["community", "private", "shared"] {
        owner
            .replace(&id, "visibility", json!(visibility))
            .await
            .expect(200);
    }
    node.client_of(&Persona::reader("alpha"))
        .replace(&id, "name", json!("x"))
        .await
        .expect(403);
    other.replace(&id, "name", json!("x")).await.expect(404);
    admin
        .replace(&id, "visibility", json!("public"))
        .await
        .expect(200);
    other.replace(&id, "name", json!("x")).await.expect(403);
    let image = admin
        .replace(&id, "owner", json!("beta"))
        .await
        .expect(200)
        .json();
    assert_eq!(image["owner"], "beta");
    other.replace(&id, "name", json!("x")).await.expect(200);
    owner.replace(&id, "name", json!("x")).await.expect(403);
}

#[tokio::test]
async fn updated_at_moves_and_created_at_stays() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    let before = client.show(&id).await.expect(200);
    let after = client.replace(&id, "name", json!("x")).await.expect(200);
    assert_eq!(after.field("created_at"), before.field("created_at"));
    assert!(after.field("updated_at") >= before.field("updated_at"));
}

#[tokio::test]
async fn locations_are_shown_where_configured_and_none_are_taken_without_a_store_for_them() {
    let node = Setup::new()
        .set("api.show_multiple_locations", true)
        .start()
        .await;
    let client = node.client();
    let id = client.active(json!({}), "bytes").await;
    let shown = client.show(&id).await.expect(200).json()["locations"].clone();
    assert_eq!(shown.as_array().map(Vec::len), Some(1));
    for (document, status) in [
        // The same again is no change.
        (
            json!([{"op": "replace", "path": "/locations", "value": shown}]),
            200,
        ),
        (
            json!([{"op": "add", "path": "/locations/-", "value": shown[0]}]),
            400,
        ),
        (
            json!([{"op": "add", "path": "/locations/-",
                 "value": {"url": "http://example.org/x", "metadata": {}}}]),
            400,
        ),
        (json!([{"op": "remove", "path": "/locations/0"}]), 403),
    ] {
        client.patch(&id, document).await.expect(status);
    }
    assert_eq!(client.show(&id).await.json()["locations"], shown);
    assert_eq!(client.download(&id).await.expect(200).text(), "bytes");
}
