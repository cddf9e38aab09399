//! Objects, properties, tags and associations with types of resources, one by one.

use glimpse_tests::Client;
use serde_json::{Value, json};

use super::{Cast, cast, create, names, of, timeless, whole};

async fn with_namespace() -> Cast {
    let cast = cast().await;
    create(&cast.admin, json!({"namespace": "n"}))
        .await
        .expect(201);
    cast
}

async fn post(client: &Client, part: &str, body: Value) -> u16 {
    client.post(&of("n", part), body).await.status
}

#[tokio::test]
async fn objects_are_made_shown_replaced_and_removed() {
    let cast = with_namespace().await;
    let admin = &cast.admin;
    let body = json!({
        "name": "o", "description": "d", "required": ["k"],
        "properties": {"k": {"type": "string", "title": "t"}},
    });
    let made = admin
        .post(&of("n", "/objects"), body.clone())
        .await
        .expect(201)
        .json();
    assert!(made["created_at"].is_string());
    let mut expected = body.clone();
    expected["self"] = json!("/v2/metadefs/namespaces/n/objects/o");
    expected["schema"] = json!("/v2/schemas/metadefs/object");
    assert_eq!(timeless(made.clone()), expected);
    assert_eq!(
        admin.get(&of("n", "/objects/o")).await.expect(200).json(),
        made
    );
    assert_eq!(post(admin, "/objects", body).await, 409);
    assert_eq!(post(admin, "/objects", json!({"name": "p"})).await, 201);
    let list = admin.get(&of("n", "/objects")).await.expect(200);
    assert_eq!(names(&list, "objects", "name"), ["o", "p"]);
    assert_eq!(list.json()["schema"], "v2/schemas/metadefs/objects");

    let renamed = admin
        .put(&of("n", "/objects/o"), json!({"name": "q"}))
        .await
        .expect(200)
        .json();
    let expected = json!({
        "name": "q",
        "self": "/v2/metadefs/namespaces/n/objects/q",
        "schema": "/v2/schemas/metadefs/object",
    });
    assert_eq!(timeless(renamed), expected);
    let shown = admin.get(&of("n", "/objects/q")).await.expect(200).json();
    assert_eq!(shown["required"], json!([]));
    assert_eq!(shown["properties"], json!({}));
    admin.get(&of("n", "/objects/o")).await.expect(404);
    admin
        .put(&of("n", "/objects/q"), json!({"name": "p"}))
        .await
        .expect(409);
    admin
        .put(&of("n", "/objects/o"), json!({"name": "r"}))
        .await
        .expect(404);
    admin
        .put(&of("n", "/objects/q"), json!({"name": "q", "self": "x"}))
        .await
        .expect(403);
    admin.delete(&of("n", "/objects/q")).await.expect(204);
    admin.delete(&of("n", "/objects/q")).await.expect(404);
}

#[tokio::test]
async fn properties_are_made_shown_replaced_and_removed() {
    let cast = with_namespace().await;
    let admin = &cast.admin;
    let body = json!({
        "name": "p", "type": "array", "title": "t", "description": "d", "operators": ["<in>"],
        "default": ["a"], "items": {"type": "string", "enum": ["a", "b"]}, "minItems": 0,
        "maxItems": 2, "uniqueItems": true, "additionalItems": false, "required": ["x"],
    });
    let made = admin
        .post(&of("n", "/properties"), body.clone())
        .await
        .expect(201);
    assert_eq!(made.json(), body);
    assert_eq!(
        admin
            .get(&of("n", "/properties/p"))
            .await
            .expect(200)
            .json(),
        body
    );
    assert_eq!(post(admin, "/properties", body.clone()).await, 409);
    let list = admin.get(&of("n", "/properties")).await.expect(200).json();
    assert_eq!(list, json!({"properties": {"p": body}}));

    let plain = json!({"name": "q", "type": "integer", "title": "t", "minimum": 0.5});
    let put = async |name: &str, body: &Value| {
        let path = of("n", &format!("/properties/{name}"));
        admin.put(&path, body.clone()).await
    };
    assert_eq!(put("p", &plain).await.expect(200).json(), plain);
    admin.get(&of("n", "/properties/p")).await.expect(404);
    assert_eq!(post(admin, "/properties", body.clone()).await, 201);
    put("q", &body).await.expect(409);
    put("none", &plain).await.expect(404);
    put("q", &json!({"name": "q"})).await.expect(400);
    admin.delete(&of("n", "/properties/q")).await.expect(204);
    admin.delete(&of("n", "/properties/q")).await.expect(404);
}

#[tokio::test]
async fn a_property_is_found_by_the_prefix_of_a_resource_type() {
    let cast = cast().await;
    create(&cast.admin, whole("n")).await.expect(201);
    let get = async |path: &str| {
        cast.other
            .get(&of("n", &format!("/properties/{path}")))
            .await
    };
    let found = get("x:p1?resource_type=OS::X").await.expect(200).json();
    assert_eq!(
        found,
        json!({"name": "p1", "type": "string", "title": "One"})
    );
    get("p1?resource_type=").await.expect(200);
    get("p1?resource_type=OS::X").await.expect(404);
    get("x:p3?resource_type=OS::X").await.expect(404);
    get("p1?resource_type=OS::Y").await.expect(404);
    get("p1?resource_type=nothing").await.expect(404);
}

#[tokio::test]
async fn malformed_definitions_are_400_and_read_only_keys_403() {
    let cast = with_namespace().await;
    let admin = &cast.admin;
    let long = "x".repeat(81);
    let wide = "\u{1F600}";
    for (part, body) in [
        ("/objects", json!({})),
        ("/objects", json!([])),
        ("/objects", json!({"name": long})),
        ("/objects", json!({"name": ""})),
        ("/objects", json!({"name": "a/b"})),
        ("/objects", json!({"name": wide})),
        ("/objects", json!({"name": "o", "description": wide})),
        ("/objects", json!({"name": "o", "nam": 1})),
        (
            "/objects",
            json!({"name": "o", "properties": {"k": {"type": "string"}}}),
        ),
        (
            "/objects",
            json!({"name": "o", "properties": {"k": {"type": "string", "title": "t", "bogus": 1}}}),
        ),
        ("/properties", json!({"name": "p", "type": "string"})),
        ("/properties", json!({"type": "string", "title": "t"})),
        (
            "/properties",
            json!({"name": "p", "type": null, "title": "t"}),
        ),
        (
            "/properties",
            json!({"name": "p", "type": "text", "title": "t"}),
        ),
        (
            "/properties",
            json!({"name": "p", "type": "string", "title": "t", "bogus": 1}),
        ),
        (
            "/properties",
            json!({"name": "p", "type": "string", "title": "t", "maxLength": -1}),
        ),
        (
            "/properties",
            json!({"name": "p", "type": "string", "title": "t", "minLength": 0.5}),
        ),
        (
            "/properties",
            json!({"name": "p", "type": "string", "title": "t", "operators": [1]}),
        ),
        (
            "/properties",
            json!({"name": "p", "type": "string", "title": "t", "required": []}),
        ),
        ("/tags", json!({})),
        ("/tags", json!({"tag": []})),
        ("/tags", json!({"tags": ["x"]})),
        ("/tags", json!({"tags": [{}]})),
        ("/tags", json!({"tags": [{"name": "x", "y": 1}]})),
        ("/tags", json!({"tags": [{"name": long}]})),
        ("/resource_types", json!({})),
        ("/resource_types", json!({"name": long})),
        ("/resource_types", json!({"name": "x", "prefix": long})),
        (
            "/resource_types",
            json!({"name": "x", "properties_target": long}),
        ),
        ("/resource_types", json!({"name": "x", "self": "x"})),
    ] {
        let answer = admin.post(&of("n", part), body.clone()).await;
        assert_eq!(answer.status, 400, "{part} {body}: {}", answer.text());
    }
    let path = of("n", &format!("/tags/{long}"));
    admin.call("POST", &path).send().await.expect(400);
    for (part, name) in [
        ("/objects", "self"),
        ("/objects", "schema"),
        ("/objects", "created_at"),
        ("/properties", "updated_at"),
        ("/tags", "created_at"),
        ("/resource_types", "updated_at"),
    ] {
        assert_eq!(post(admin, part, json!({name: "x"})).await, 403, "{part}");
    }
    for part in ["/objects", "/properties", "/tags", "/resource_types"] {
        let path = of("n", part);
        admin.call("POST", &path).body("{").send().await.expect(400);
        admin.call("POST", &path).send().await.expect(400);
    }
}

#[tokio::test]
async fn tags_are_made_shown_renamed_and_removed_one_by_one() {
    let cast = with_namespace().await;
    let admin = &cast.admin;
    let path = of("n", "/tags/t");
    let made = admin.call("POST", &path).send().await.expect(201).json();
    assert_eq!(timeless(made.clone()), json!({"name": "t"}));
    assert_eq!(made["created_at"], made["updated_at"]);
    assert_eq!(admin.get(&path).await.expect(200).json(), made);
    admin.call("POST", &path).send().await.expect(409);
    // Case counts.
    admin
        .call("POST", &of("n", "/tags/T"))
        .send()
        .await
        .expect(201);
    let put =
        async |name: &str, body: Value| admin.put(&of("n", &format!("/tags/{name}")), body).await;
    assert_eq!(
        put("t", json!({"name": "u"}))
            .await
            .expect(200)
            .field("name"),
        "u"
    );
    put("u", json!({"name": "u"})).await.expect(200);
    put("u", json!({"name": "T"})).await.expect(409);
    put("t", json!({"name": "v"})).await.expect(404);
    put("u", json!({})).await.expect(400);
    admin.get(&path).await.expect(404);
    admin.delete(&of("n", "/tags/u")).await.expect(204);
    admin.delete(&of("n", "/tags/u")).await.expect(404);
}

#[tokio::test]
async fn a_list_of_tags_replaces_all_or_is_appended() {
    let cast = with_namespace().await;
    let tags = |names: &[&str]| -> Value {
        let tags: Value = names.iter().map(|name| json!({"name": name})).collect();
        json!({"tags": tags})
    };
    let path = of("n", "/tags");
    let append = async |client: &Client, value: &str, body: Value| {
        let call = client
            .call("POST", &path)
            .header("x-openstack-append", value);
        call.json(&body).send().await
    };
    let shown = async || {
        let list = cast.admin.get(&path).await.expect(200);
        names(&list, "tags", "name")
    };
    let made = cast.admin.post(&path, tags(&["1", "2"])).await.expect(201);
    assert_eq!(made.json(), tags(&["1", "2"]));
    assert_eq!(shown().await, ["2", "1"]);
    append(&cast.admin, "True", tags(&["3"])).await.expect(201);
    append(&cast.admin, "true", tags(&["4", "3"]))
        .await
        .expect(409);
    assert_eq!(shown().await, ["3", "2", "1"]);
    cast.admin.post(&path, tags(&["5", "5"])).await.expect(409);
    cast.admin.post(&path, tags(&[])).await.expect(201);
    assert_eq!(shown().await, ["3", "2", "1"]);
    append(&cast.admin, "False", tags(&["3", "6"]))
        .await
        .expect(201);
    assert_eq!(shown().await, ["6", "3"]);
}

#[tokio::test]
async fn all_definitions_of_a_kind_are_removed_at_once() {
    let cast = cast().await;
    create(&cast.admin, whole("n")).await.expect(201);
    for part in ["objects", "properties", "tags"] {
        for _ in 0..2 {
            let path = of("n", &format!("/{part}"));
            cast.admin.delete(&path).await.expect(204);
        }
        let shown = cast.admin.get(&of("n", "")).await.expect(200).json();
        assert_eq!(shown[part], Value::Null);
    }
    let shown = cast.admin.get(&of("n", "")).await.expect(200).json();
    assert_eq!(
        shown["resource_type_associations"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    cast.admin
        .delete(&of("n", "/resource_types"))
        .await
        .expect(405);
    cast.admin.delete(&of("none", "/tags")).await.expect(404);
}

#[tokio::test]
async fn a_namespace_is_associated_with_types_of_resources() {
    let cast = with_namespace().await;
    let path = of("n", "/resource_types");
    let body = json!({"name": "OS::X", "prefix": "q", "properties_target": "image"});
    let made = cast
        .admin
        .post(&path, body.clone())
        .await
        .expect(201)
        .json();
    assert!(made["created_at"].is_string());
    assert_eq!(timeless(made.clone()), body);
    cast.admin.post(&path, body).await.expect(409);
    cast.admin
        .post(&path, json!({"name": "OS::W"}))
        .await
        .expect(201);
    let list = cast.admin.get(&path).await.expect(200);
    assert_eq!(list.json()["resource_type_associations"][0], made);
    assert_eq!(
        names(&list, "resource_type_associations", "name"),
        ["OS::X", "OS::W"]
    );
    let item = of("n", "/resource_types/OS::X");
    cast.admin.get(&item).await.expect(405);
    cast.admin.delete(&item).await.expect(204);
    cast.admin.delete(&item).await.expect(404);
    let types = cast
        .admin
        .get("/v2/metadefs/resource_types")
        .await
        .expect(200);
    assert_eq!(names(&types, "resource_types", "name"), ["OS::X", "OS::W"]);
    assert!(types.json()["resource_types"][0]["updated_at"].is_string());
}
