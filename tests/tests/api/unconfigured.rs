//! What later features bring: answered as the reference does where they are not configured
//! (image-api 1.4 to 1.9). Nothing is made, and who may not ask is told so first.

use glimpse_tests::{Client, Node, Persona, Setup};
use serde_json::{Value, json};

async fn cast() -> (Node, Client, Client, Client) {
    let node = Setup::trusted().start().await;
    let owner = node.client_of(&Persona::member("alpha"));
    let other = node.client_of(&Persona::member("beta"));
    let admin = node.client_of(&Persona::admin());
    (node, owner, other, admin)
}

#[tokio::test]
async fn without_import_methods_none_can_be_named_and_nothing_staged() {
    let setup = Setup::trusted().set("import.methods", Vec::<String>::new());
    let node = setup.start().await;
    let owner = node.client_of(&Persona::member("alpha"));
    let id = owner.created(json!({})).await;
    let path = format!("/v2/images/{id}/import");
    for body in [
        json!({}),
        json!([]),
        json!({"method": {}}),
        json!({"method": {"name": "web-download", "uri": "http://127.0.0.1/x"}}),
        json!({"method": {"name": "glance-direct"}}),
        json!({"method": {"name": "copy-image"}, "all_stores": true}),
    ] {
        let answer = owner.post(&path, body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
    let staged = owner.call("PUT", &format!("/v2/images/{id}/stage"));
    let staged = staged.header("content-type", "application/octet-stream");
    staged.body("x").send().await.expect(404);
    let image = owner.show(&id).await.expect(200).json();
    assert_eq!(
        (&image["status"], &image["size"]),
        (&json!("queued"), &Value::Null)
    );
}

#[tokio::test]
async fn an_image_has_no_tasks_and_only_who_sees_it_is_told() {
    let (node, owner, other, _admin) = cast().await;
    let id = owner.created(json!({"visibility": "private"})).await;
    let path = format!("/v2/images/{id}/tasks");
    let reader = node.client_of(&Persona::reader("alpha"));
    for client in [&owner, &reader] {
        assert_eq!(
            client.get(&path).await.expect(200).json(),
            json!({"tasks": []})
        );
    }
    other.get(&path).await.expect(404);
}

#[tokio::test]
async fn tasks_are_for_admins_and_there_are_none() {
    let (_node, owner, _other, admin) = cast().await;
    let one = "/v2/tasks/11111111-2222-3333-4444-555555555555";
    let list = admin.get("/v2/tasks").await.expect(200).json();
    assert_eq!(list["tasks"], json!([]));
    assert_eq!(
        (&list["first"], &list["schema"]),
        (&json!("/v2/tasks"), &json!("/v2/schemas/tasks"))
    );
    for query in ["status=done", "type=export", "limit=x", "sort_dir=up"] {
        admin.get(&format!("/v2/tasks?{query}")).await.expect(400);
    }
    admin.get(one).await.expect(404);
    let refused = admin.delete(one).await.expect(405);
    assert_eq!(refused.header("allow"), Some("GET"));
    for body in [
        json!({}),
        json!({"type": "import"}),
        json!({"type": "import", "input": {}}),
    ] {
        admin.post("/v2/tasks", body).await.expect(400);
    }
    owner.get("/v2/tasks").await.expect(403);
    owner.get(one).await.expect(403);
    owner.delete(one).await.expect(403);
    owner
        .post("/v2/tasks", json!({"type": "import", "input": {}}))
        .await
        .expect(403);
}

#[tokio::test]
async fn where_the_cache_has_no_api_only_admins_are_told() {
    let node = Setup::trusted().set("cache.api", false).start().await;
    let owner = node.client_of(&Persona::member("alpha"));
    let admin = node.client_of(&Persona::admin());
    let id = owner.active(json!({}), "data").await;
    for (method, path) in [
        ("GET", "/v2/cache".to_owned()),
        ("DELETE", "/v2/cache".to_owned()),
        ("PUT", format!("/v2/cache/{id}")),
        ("DELETE", format!("/v2/cache/{id}")),
        ("GET", format!("/v2/cache/nodes/{id}")),
        ("POST", "/v2/cache/clean".to_owned()),
        ("POST", "/v2/cache/prune".to_owned()),
    ] {
        admin.call(method, &path).send().await.expect(404);
        owner.call(method, &path).send().await.expect(403);
    }
}

#[tokio::test]
async fn locations_are_for_services_and_nothing_is_added() {
    let (node, owner, _other, admin) = cast().await;
    let service = node.client_of(&Persona::new(
        "operators",
        &["admin", "service", "member", "reader"],
    ));
    let queued = owner.created(json!({})).await;
    let active = owner.active(json!({}), "data").await;
    let path = |id: &str| format!("/v2/images/{id}/locations");
    assert_eq!(
        admin.get(&path(&queued)).await.expect(200).json(),
        json!([])
    );
    let shown = admin.get(&path(&active)).await.expect(200).json();
    assert!(
        shown[0]["url"].as_str().unwrap().ends_with(&active),
        "{shown}"
    );
    assert!(
        shown[0].get("id").is_none() && shown[0].get("status").is_none(),
        "{shown}"
    );
    owner.get(&path(&active)).await.expect(403);
    node.client_of(&Persona::member("gamma"))
        .get(&path(&active))
        .await
        .expect(404);

    let location = json!({"url": "http://example.org/image"});
    owner
        .post(&path(&queued), location.clone())
        .await
        .expect(403);
    service
        .post(&path(&active), location.clone())
        .await
        .expect(409);
    let md5 = "d41d8cd98f00b204e9800998ecf8427e";
    for body in [
        json!({}),
        json!([]),
        json!({"url": 7}),
        json!({"url": "http://x/y", "validation_data": {"os_hash_algo": "md5"}}),
        json!({"url": "http://x/y", "validation_data": {"os_hash_algo": "sha1", "os_hash_value": md5}}),
        json!({"url": "http://x/y", "validation_data": {"os_hash_algo": "crc", "os_hash_value": md5}}),
        json!({"url": "http://x/y", "validation_data": {"os_hash_algo": "md5", "os_hash_value": "zz"}}),
    ] {
        let answer = service.post(&path(&queued), body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
    assert_eq!(
        service.show(&queued).await.expect(200).field("status"),
        "queued"
    );
    service.download(&queued).await.expect(204);
}

#[tokio::test]
async fn the_only_copy_is_not_removed_from_its_store() {
    let (_node, owner, other, admin) = cast().await;
    let id = owner
        .active(json!({"visibility": "community"}), "data")
        .await;
    let queued = owner.created(json!({})).await;
    let path = |store: &str, id: &str| format!("/v2/stores/{store}/{id}");
    admin.delete(&path("nowhere", &id)).await.expect(409);
    admin.delete(&path("local", &queued)).await.expect(409);
    admin
        .delete(&path("local", "11111111-2222-3333-4444-555555555555"))
        .await
        .expect(404);
    for client in [&admin, &owner, &other] {
        client.delete(&path("local", &id)).await.expect(403);
    }
    assert_eq!(other.download(&id).await.expect(200).text(), "data");
}

#[tokio::test]
async fn usage_is_empty_and_has_no_list_of_methods() {
    let node = Node::start().await;
    let usage = node.client().get("/v2/info/usage").await.expect(200);
    assert_eq!(usage.json(), json!({"usage": {}}));
    for method in ["POST", "PUT", "DELETE", "HEAD"] {
        let answer = node.client().call(method, "/v2/info/usage").send().await;
        answer.expect(404);
    }
}
