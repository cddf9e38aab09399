//! Namespaces with what is in them.

use glimpse_tests::Setup;
use serde_json::json;

use super::{NAMESPACES, cast, cast_of, create, names, of, timeless, whole};

#[tokio::test]
async fn a_new_namespace_is_private_unprotected_and_its_makers() {
    let cast = cast().await;
    let made = create(&cast.admin, json!({"namespace": "a"}))
        .await
        .expect(201);
    let location = made.header("location").unwrap();
    assert!(location.starts_with("http://"), "{location}");
    assert!(
        location.ends_with("/v2/metadefs/namespaces/a"),
        "{location}"
    );
    let made = made.json();
    assert!(made["created_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(made["created_at"], made["updated_at"]);
    let expected = json!({
        "namespace": "a",
        "visibility": "private",
        "protected": false,
        "owner": "operators",
        "self": "/v2/metadefs/namespaces/a",
        "schema": "/v2/schemas/metadefs/namespace",
    });
    assert_eq!(timeless(made.clone()), expected);
    assert_eq!(cast.admin.get(&of("a", "")).await.expect(200).json(), made);
    create(&cast.admin, json!({"namespace": "a"}))
        .await
        .expect(409);
}

#[tokio::test]
async fn a_namespace_is_made_and_shown_with_everything_in_it() {
    let cast = cast().await;
    let made = create(&cast.admin, whole("n")).await.expect(201).json();
    // As it was sent.
    for part in [
        "objects",
        "properties",
        "tags",
        "resource_type_associations",
    ] {
        assert_eq!(made[part], whole("n")[part], "{part}");
    }
    let shown = cast.other.get(&of("n", "")).await.expect(200).json();
    assert!(shown["objects"][0]["created_at"].is_string());
    assert!(shown["resource_type_associations"][1]["updated_at"].is_string());
    let properties = whole("n")["properties"].clone();
    let object = &whole("n")["objects"][0];
    let expected = json!({
        "namespace": "n",
        "display_name": "Display",
        "description": "What it is",
        "visibility": "public",
        "protected": false,
        "owner": "operators",
        "self": "/v2/metadefs/namespaces/n",
        "schema": "/v2/schemas/metadefs/namespace",
        "resource_type_associations": whole("n")["resource_type_associations"],
        "properties": properties,
        "objects": [
            {
                "name": "o1", "description": "first", "required": ["k"],
                "properties": object["properties"],
                "self": "/v2/metadefs/namespaces/n/objects/o1",
                "schema": "/v2/schemas/metadefs/object",
            },
            {
                "name": "o2", "required": [], "properties": {},
                "self": "/v2/metadefs/namespaces/n/objects/o2",
                "schema": "/v2/schemas/metadefs/object",
            },
        ],
        "tags": [{"name": "t2"}, {"name": "t1"}],
    });
    assert_eq!(timeless(shown), expected);
}

#[tokio::test]
async fn a_resource_type_puts_its_prefix_before_the_names_of_properties() {
    let cast = cast().await;
    create(&cast.admin, whole("n")).await.expect(201);
    let get = async |query: &str| {
        let path = of("n", &format!("?resource_type={query}"));
        cast.other.get(&path).await.expect(200).json()
    };
    let prefixed = get("OS::X").await;
    assert_eq!(prefixed["properties"]["x:p1"]["title"], "One");
    assert_eq!(prefixed["properties"]["p1"], json!(null));
    assert_eq!(prefixed["objects"][0]["required"], json!(["x:k"]));
    assert_eq!(prefixed["objects"][0]["properties"]["x:k"]["title"], "K");
    for other in ["OS::Y", "nothing", ""] {
        let plain = get(other).await;
        assert_eq!(plain["properties"]["p1"]["title"], "One", "{other}");
        assert_eq!(plain["objects"][0]["required"], json!(["k"]), "{other}");
    }
    cast.other.get(&of("n", "?visibility=x")).await.expect(400);
    cast.other.get(&of("n", "?foo=bar")).await.expect(200);
}

#[tokio::test]
async fn what_was_read_of_one_namespace_makes_another() {
    let cast = cast().await;
    create(&cast.admin, whole("n")).await.expect(201);
    let mut copy = cast.admin.get(&of("n", "")).await.expect(200).json();
    for name in ["self", "schema", "created_at", "updated_at"] {
        copy.as_object_mut().unwrap().remove(name);
    }
    copy["namespace"] = json!("m");
    create(&cast.admin, copy).await.expect(201);
    let copy = cast.admin.get(&of("m", "")).await.expect(200).json();
    assert_eq!(copy["objects"].as_array().unwrap().len(), 2);
    assert_eq!(copy["properties"], whole("n")["properties"]);
}

#[tokio::test]
async fn a_namespace_of_which_a_part_is_refused_is_not_made() {
    let cast = cast().await;
    let twice = json!([{"name": "x"}, {"name": "x"}]);
    for part in ["objects", "tags", "resource_type_associations"] {
        let body = json!({"namespace": "n", part: twice, "properties": {"p": {"type": "string", "title": "t"}}});
        create(&cast.admin, body).await.expect(409);
        cast.admin.get(&of("n", "")).await.expect(404);
    }
    let types = cast
        .admin
        .get("/v2/metadefs/resource_types")
        .await
        .expect(200);
    assert_eq!(types.json(), json!({"resource_types": []}));
}

#[tokio::test]
async fn what_does_not_match_the_schema_is_400_and_what_is_read_only_403() {
    let cast = cast().await;
    let property = json!({"type": "string", "title": "t"});
    let long = "x".repeat(81);
    for body in [
        json!([]),
        json!({}),
        json!({"namespace": 5}),
        json!({"namespace": null}),
        json!({"namespace": ""}),
        json!({"namespace": "a/b"}),
        json!({"namespace": long}),
        json!({"namespace": "a\u{1F600}"}),
        json!({"namespace": "n", "bogus": 1}),
        json!({"namespace": "n", "display_name": long}),
        json!({"namespace": "n", "display_name": null}),
        json!({"namespace": "n", "description": "x".repeat(501)}),
        json!({"namespace": "n", "owner": "x".repeat(256)}),
        json!({"namespace": "n", "protected": "yes"}),
        json!({"namespace": "n", "visibility": "shared"}),
        json!({"namespace": "n", "objects": {}}),
        json!({"namespace": "n", "objects": [{}]}),
        json!({"namespace": "n", "objects": ["x"]}),
        json!({"namespace": "n", "objects": [{"name": "o", "bogus": 1}]}),
        json!({"namespace": "n", "objects": [{"name": long}]}),
        json!({"namespace": "n", "objects": [{"name": "o", "required": ["a", "a"]}]}),
        json!({"namespace": "n", "objects": [{"name": "o", "properties": {"k": {"type": "string"}}}]}),
        json!({"namespace": "n", "tags": [{}]}),
        json!({"namespace": "n", "tags": [{"name": long}]}),
        json!({"namespace": "n", "tags": [{"name": ""}]}),
        json!({"namespace": "n", "resource_type_associations": [{}]}),
        json!({"namespace": "n", "resource_type_associations": [{"name": "o", "bogus": 1}]}),
        json!({"namespace": "n", "resource_type_associations": [{"name": long}]}),
        json!({"namespace": "n", "properties": []}),
        json!({"namespace": "n", "properties": {"k": {"type": "string"}}}),
        json!({"namespace": "n", "properties": {"k": {"type": "text", "title": "t"}}}),
        json!({"namespace": "n", "properties": {"k": {"type": "string", "title": "t", "bogus": 1}}}),
        json!({"namespace": "n", "properties": {long.as_str(): property}}),
    ] {
        let answer = create(&cast.admin, body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
    for name in ["self", "schema", "created_at", "updated_at"] {
        let body = json!({"namespace": "n", name: "x"});
        create(&cast.admin, body.clone()).await.expect(403);
        cast.admin.put(&of("n", ""), body).await.expect(403);
    }
    let plain = cast.admin.call("POST", NAMESPACES).body("{").send().await;
    plain.expect(400);
    cast.admin.call("POST", NAMESPACES).send().await.expect(400);
    cast.admin.get(&of("n", "")).await.expect(404);
}

#[tokio::test]
async fn names_of_any_script_are_found_by_their_path() {
    let cast = cast().await;
    let made = create(&cast.admin, json!({"namespace": "sp ace é"}))
        .await
        .expect(201);
    let location = made.header("location").unwrap();
    assert!(location.ends_with("/sp%20ace%20%C3%A9"), "{location}");
    assert_eq!(made.field("self"), "/v2/metadefs/namespaces/sp ace é");
    let shown = cast
        .admin
        .get(&of("sp%20ace%20%C3%A9", ""))
        .await
        .expect(200);
    assert_eq!(shown.field("namespace"), "sp ace é");
}

#[tokio::test]
async fn an_update_replaces_the_attributes_and_leaves_what_is_in_it() {
    let cast = cast().await;
    create(&cast.admin, whole("n")).await.expect(201);
    create(&cast.admin, json!({"namespace": "taken"}))
        .await
        .expect(201);
    let put = async |name: &str, body| cast.admin.put(&of(name, ""), body).await;
    let body = json!({"namespace": "m", "display_name": "M", "tags": [{"name": "ignored"}]});
    let updated = put("n", body).await.expect(200).json();
    let expected = json!({
        "namespace": "m",
        "display_name": "M",
        "visibility": "private",
        "protected": false,
        "owner": "operators",
        "self": "/v2/metadefs/namespaces/m",
        "schema": "/v2/schemas/metadefs/namespace",
    });
    assert_eq!(timeless(updated), expected);
    cast.admin.get(&of("n", "")).await.expect(404);
    let tags = cast.admin.get(&of("m", "/tags")).await.expect(200);
    assert_eq!(names(&tags, "tags", "name"), ["t2", "t1"]);
    let full =
        json!({"namespace": "m", "visibility": "public", "protected": true, "owner": "beta"});
    let updated = put("m", full).await.expect(200).json();
    assert_eq!(updated["owner"], "beta");
    assert_eq!(updated["protected"], true);
    assert_eq!(updated["visibility"], "public");
    put("m", json!({"namespace": "taken"})).await.expect(409);
    put("m", json!({"display_name": "x"})).await.expect(400);
    put("m", json!({"namespace": "m", "visibility": "x"}))
        .await
        .expect(400);
    put("none", json!({"namespace": "m"})).await.expect(404);
}

#[tokio::test]
async fn a_protected_namespace_keeps_everything_until_it_is_not() {
    let cast = cast().await;
    let mut body = whole("n");
    body["protected"] = json!(true);
    create(&cast.admin, body).await.expect(201);
    for part in [
        "",
        "/objects",
        "/properties",
        "/tags",
        "/objects/o1",
        "/properties/p1",
        "/tags/t1",
        "/resource_types/OS::X",
    ] {
        cast.admin.delete(&of("n", part)).await.expect(403);
    }
    for part in [
        "/objects/x",
        "/properties/x",
        "/tags/x",
        "/resource_types/x",
    ] {
        cast.admin.delete(&of("n", part)).await.expect(404);
    }
    cast.admin
        .post(&of("n", "/tags/t3"), json!({}))
        .await
        .expect(201);
    cast.admin
        .put(&of("n", ""), json!({"namespace": "n"}))
        .await
        .expect(200);
    cast.admin.delete(&of("n", "")).await.expect(204);
    cast.admin.delete(&of("n", "")).await.expect(404);
    for part in ["", "/objects", "/properties", "/tags", "/resource_types"] {
        cast.admin.get(&of("n", part)).await.expect(404);
    }
    // The types stay.
    let types = cast
        .other
        .get("/v2/metadefs/resource_types")
        .await
        .expect(200);
    assert_eq!(names(&types, "resource_types", "name"), ["OS::X", "OS::Y"]);
    create(&cast.admin, whole("n")).await.expect(201);
}

#[tokio::test]
async fn namespaces_and_what_is_in_them_are_bounded() {
    let setup = Setup::trusted()
        .set("limits.metadef_namespaces", 2)
        .set("limits.metadef_definitions", 3)
        .set("limits.metadef_resource_types", 1)
        .set("limits.metadef_namespace_size", "1KiB");
    let cast = cast_of(setup).await;
    let tags = |names: &[&str]| -> serde_json::Value {
        names.iter().map(|name| json!({"name": name})).collect()
    };
    let body = json!({"namespace": "n", "tags": tags(&["a", "b", "c", "d"])});
    create(&cast.admin, body).await.expect(413);
    let body = json!({"namespace": "n", "tags": tags(&["a", "b"])});
    create(&cast.admin, body).await.expect(201);
    cast.admin
        .post(&of("n", "/tags/c"), json!({}))
        .await
        .expect(201);
    cast.admin
        .post(&of("n", "/tags/d"), json!({}))
        .await
        .expect(413);
    let replaced = json!({"tags": tags(&["d"])});
    cast.admin
        .post(&of("n", "/tags"), replaced)
        .await
        .expect(201);
    let long = json!({"name": "o", "description": "x".repeat(1024)});
    cast.admin
        .post(&of("n", "/objects"), long)
        .await
        .expect(413);
    let associate = async |name: &str| {
        let path = of("n", "/resource_types");
        cast.admin.post(&path, json!({"name": name})).await
    };
    associate("OS::X").await.expect(201);
    associate("OS::Y").await.expect(413);
    create(&cast.admin, json!({"namespace": "m"}))
        .await
        .expect(201);
    create(&cast.admin, json!({"namespace": "o"}))
        .await
        .expect(413);
    cast.admin.delete(&of("m", "")).await.expect(204);
    create(&cast.admin, json!({"namespace": "o"}))
        .await
        .expect(201);
}

#[tokio::test]
async fn definitions_outlive_a_crash() {
    let mut cast = cast().await;
    create(&cast.admin, whole("n")).await.expect(201);
    cast.admin
        .put(&of("n", "/tags/t1"), json!({"name": "t3"}))
        .await
        .expect(200);
    let before = cast.admin.get(&of("n", "")).await.expect(200).json();
    cast.node.kill();
    cast.node.restart().await;
    let after = cast.admin.get(&of("n", "")).await.expect(200).json();
    assert_eq!(after, before);
}
