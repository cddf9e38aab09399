//! `POST /v2/images` (image-api 1.4, 2.1).

use glimpse_tests::{Node, Persona, Setup};
use serde_json::{Value, json};

#[tokio::test]
async fn an_empty_object_makes_an_image_with_every_default() {
    let node = Node::start().await;
    let answer = node.client().create(json!({})).await.expect(201);
    let image = answer.json();
    let id = answer.field("id");
    for (key, value) in [
        ("name", Value::Null),
        ("status", json!("queued")),
        ("visibility", json!("shared")),
        ("protected", json!(false)),
        ("os_hidden", json!(false)),
        ("owner", json!("default")),
        ("disk_format", Value::Null),
        ("container_format", Value::Null),
        ("min_disk", json!(0)),
        ("min_ram", json!(0)),
        ("size", Value::Null),
        ("virtual_size", Value::Null),
        ("checksum", Value::Null),
        ("os_hash_algo", Value::Null),
        ("os_hash_value", Value::Null),
        ("tags", json!([])),
        ("self", json!(format!("/v2/images/{id}"))),
        ("file", json!(format!("/v2/images/{id}/file"))),
        ("schema", json!("/v2/schemas/image")),
    ] {
        assert_eq!(image.get(key), Some(&value), "{key} of {image}");
    }
    for hidden in ["locations", "direct_url", "deleted", "deleted_at"] {
        assert!(image.get(hidden).is_none(), "{hidden} is shown");
    }
    for key in ["created_at", "updated_at"] {
        let time = answer.field(key);
        assert!(
            time.len() == 20 && time.ends_with('Z') && !time.contains('.'),
            "{time}"
        );
    }
    assert_eq!(image["created_at"], image["updated_at"]);
}

#[tokio::test]
async fn the_answer_says_where_the_image_is_and_which_stores_there_are() {
    let node = Setup::new().more_stores("second").start().await;
    let answer = node.client().create(json!({})).await.expect(201);
    let location = format!("http://{}/v2/images/{}", node.address(), answer.field("id"));
    assert_eq!(answer.header("location"), Some(location.as_str()));
    let mut stores: Vec<&str> = answer
        .header("openstack-image-store-ids")
        .unwrap()
        .split(',')
        .collect();
    stores.sort_unstable();
    assert_eq!(stores, ["local", "second"]);
    assert_eq!(
        answer.header("openstack-image-import-methods"),
        Some("glance-direct,web-download,copy-image")
    );
}

#[tokio::test]
async fn the_location_is_below_the_host_that_was_asked_or_the_public_endpoint() {
    let node = Node::start().await;
    let client = node.client().with("host", "images.example.org:99");
    let answer = client.create(json!({})).await.expect(201);
    let path = format!("/v2/images/{}", answer.field("id"));
    let location = format!("http://images.example.org:99{path}");
    assert_eq!(answer.header("location"), Some(location.as_str()));
    // Links within a body name no host.
    assert_eq!(answer.field("self"), path);
    let node = Setup::new()
        .set("api.public_endpoint", "https://images.example.org/base/")
        .start()
        .await;
    let client = node.client().with("host", "elsewhere.example.org");
    let answer = client.create(json!({})).await.expect(201);
    let path = format!("/v2/images/{}", answer.field("id"));
    let location = format!("https://images.example.org/base{path}");
    assert_eq!(answer.header("location"), Some(location.as_str()));
    assert_eq!(answer.field("file"), format!("{path}/file"));
}

/// Of the properties in the operator's schema some may be null and some are ids; others are text.
#[tokio::test]
async fn properties_of_the_schema_follow_it() {
    let node = Node::start().await;
    let client = node.client();
    let kernel = "11111111-2222-3333-4444-555555555555";
    let image = client
        .create(json!({"kernel_id": null, "ramdisk_id": kernel, "os_distro": "debian"}))
        .await
        .expect(201)
        .json();
    assert_eq!(image["kernel_id"], Value::Null);
    assert_eq!(image["ramdisk_id"], kernel);
    let id = image["id"].as_str().unwrap();
    let replaced = client.replace(id, "kernel_id", json!(kernel)).await;
    assert_eq!(replaced.expect(200).field("kernel_id"), kernel);
    for body in [
        json!({"kernel_id": "vmlinuz"}),
        json!({"kernel_id": 7}),
        json!({"os_distro": null}),
        json!({"architecture": 64}),
    ] {
        let answer = client.create(body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
}

#[tokio::test]
async fn what_the_client_sets_is_kept_and_shown() {
    let node = Node::start().await;
    let body = json!({
        "id": "9a1b2c3d-0000-4000-8000-00000000abcd",
        "name": "everything",
        "visibility": "private",
        "protected": true,
        "os_hidden": true,
        "owner": "someone",
        "disk_format": "qcow2",
        "container_format": "bare",
        "min_disk": 2_147_483_647,
        "min_ram": 512,
        "tags": ["one", "two"],
        "hw_disk_bus": "scsi",
        "empty": "",
        "kernel_id": null,
    });
    let created = node.client().create(body.clone()).await.expect(201);
    let shown = node.client().show(&created.field("id")).await.expect(200);
    assert_eq!(created.json(), shown.json());
    for (key, value) in body.as_object().unwrap() {
        if key == "tags" {
            let mut tags: Vec<String> =
                serde_json::from_value(shown.json()["tags"].clone()).unwrap();
            tags.sort();
            assert_eq!(tags, ["one", "two"]);
        } else if !value.is_null() {
            assert_eq!(shown.json().get(key), Some(value), "{key}");
        }
    }
}

#[tokio::test]
async fn an_id_is_taken_in_any_case_and_shown_in_lower_case() {
    let node = Node::start().await;
    let upper = "9A1B2C3D-0000-4000-8000-00000000ABCD";
    let answer = node.client().create(json!({"id": upper})).await.expect(201);
    assert_eq!(answer.field("id"), upper.to_lowercase());
    node.client().show(upper).await.expect(200);
    node.client().show(&upper.to_lowercase()).await.expect(200);
    node.client()
        .create(json!({"id": upper.to_lowercase()}))
        .await
        .expect(409);
}

#[tokio::test]
async fn an_id_stays_taken_after_its_image_was_deleted() {
    let mut node = Node::start().await;
    let id = node.client().created(json!({})).await;
    node.client().create(json!({"id": id})).await.expect(409);
    node.client().remove(&id).await.expect(204);
    node.client().create(json!({"id": id})).await.expect(409);
    node.kill();
    node.restart().await;
    node.client().create(json!({"id": id})).await.expect(409);
    node.client().show(&id).await.expect(404);
}

#[tokio::test]
async fn what_the_schema_forbids_is_400() {
    let node = Node::start().await;
    let long = "x".repeat(256);
    for body in [
        json!({"id": "not-a-uuid"}),
        json!({"id": ""}),
        json!({"id": null}),
        json!({"id": 7}),
        json!({"name": 7}),
        json!({"name": long}),
        json!({"visibility": "everyone"}),
        json!({"visibility": null}),
        json!({"protected": "yes"}),
        json!({"os_hidden": "true"}),
        json!({"owner": long}),
        json!({"disk_format": "floppy"}),
        json!({"container_format": "box"}),
        json!({"min_disk": -1}),
        json!({"min_ram": -1}),
        json!({"min_disk": 2_147_483_648_u64}),
        json!({"min_ram": 2_147_483_648_u64}),
        json!({"min_ram": 1.5}),
        json!({"min_ram": "512"}),
        json!({"tags": "one"}),
        json!({"tags": [1]}),
        json!({"tags": [long]}),
        json!({"some_property": 7}),
        json!({"some_property": true}),
        json!({"some_property": null}),
        json!({"some_property": {"nested": "x"}}),
        json!({"some_property": ["x"]}),
        json!({ long.as_str(): "key too long" }),
    ] {
        let answer = node.client().create(body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
    let fits = "x".repeat(255);
    node.client()
        .create(json!({"name": fits, "owner": fits, "tags": [fits], fits.as_str(): "v"}))
        .await
        .expect(201);
    assert_eq!(
        node.client().list_all("").await.len(),
        1,
        "a refused create left an image"
    );
}

#[tokio::test]
async fn what_belongs_to_the_service_is_403() {
    let node = Node::start().await;
    for body in [
        json!({"status": "active"}),
        json!({"checksum": "0123456789abcdef0123456789abcdef"}),
        json!({"size": 5}),
        json!({"virtual_size": 5}),
        json!({"created_at": "2020-01-01T00:00:00Z"}),
        json!({"updated_at": "2020-01-01T00:00:00Z"}),
        json!({"direct_url": "file:///x"}),
        json!({"self": "/v2/images/x"}),
        json!({"file": "/v2/images/x/file"}),
        json!({"schema": "/v2/schemas/image"}),
        json!({"os_hash_algo": "sha512"}),
        json!({"os_hash_value": "00"}),
        json!({"location": "file:///etc/passwd"}),
        json!({"deleted": "false"}),
        json!({"deleted_at": "2020-01-01T00:00:00Z"}),
        json!({"os_glance_import_task": "x"}),
        json!({"os_glancefoo": "x"}),
        json!({"stores": "local"}),
    ] {
        let answer = node.client().create(body.clone()).await;
        assert_eq!(answer.status, 403, "{body}: {}", answer.text());
    }
}

#[tokio::test]
async fn tags_given_twice_are_one_tag() {
    let node = Node::start().await;
    let answer = node
        .client()
        .create(json!({"tags": ["a", "a", "b"]}))
        .await
        .expect(201);
    assert_eq!(answer.json()["tags"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn properties_and_tags_are_counted() {
    let node = Setup::new()
        .set("limits.image_property_quota", 2)
        .set("limits.image_tag_quota", 2)
        .start()
        .await;
    let client = node.client();
    client
        .create(json!({"a": "1", "b": "2", "tags": ["a", "b"]}))
        .await
        .expect(201);
    client
        .create(json!({"a": "1", "b": "2", "c": "3"}))
        .await
        .expect(413);
    client
        .create(json!({"tags": ["a", "b", "c"]}))
        .await
        .expect(413);
}

#[tokio::test]
async fn only_an_admin_names_an_owner_or_publishes() {
    let node = Setup::trusted().start().await;
    let member = node.client_of(&Persona::member("alpha"));
    let admin = node.client_of(&Persona::admin());
    assert_eq!(
        member.create(json!({})).await.expect(201).field("owner"),
        "alpha"
    );
    member.create(json!({"owner": "alpha"})).await.expect(201);
    member.create(json!({"owner": "beta"})).await.expect(403);
    member.create(json!({"owner": null})).await.expect(403);
    member
        .create(json!({"visibility": "public"}))
        .await
        .expect(403);
    member
        .create(json!({"visibility": "community"}))
        .await
        .expect(201);
    admin
        .create(json!({"owner": "beta", "visibility": "public"}))
        .await
        .expect(201);
    let ownerless = admin.create(json!({"owner": null})).await.expect(201);
    assert_eq!(ownerless.json()["owner"], Value::Null);
    node.client_of(&Persona::reader("alpha"))
        .create(json!({}))
        .await
        .expect(403);
    node.client_of(&Persona::nobody("alpha"))
        .create(json!({}))
        .await
        .expect(403);
}
