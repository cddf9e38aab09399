//! Who may do what (image-api 4.2): admins write; readers of the owner's project read, and everyone
//! what is public.

use glimpse_tests::{Client, Setup};
use serde_json::{Value, json};

use super::{NAMESPACES, cast, cast_of, create, names, of, whole};

/// Every read within a namespace.
const READS: [&str; 8] = [
    "",
    "/objects",
    "/objects/o1",
    "/properties",
    "/properties/p1",
    "/tags",
    "/tags/t1",
    "/resource_types",
];

/// Every write within a namespace, with a body that is taken, in an order in which all succeed.
fn writes(namespace: &str) -> Vec<(&'static str, String, Value)> {
    let property = json!({"name": "new", "type": "string", "title": "t"});
    [
        ("PUT", "", json!({"namespace": namespace})),
        ("POST", "/objects", json!({"name": "new"})),
        ("PUT", "/objects/o1", json!({"name": "o1"})),
        ("DELETE", "/objects/o1", Value::Null),
        ("DELETE", "/objects", Value::Null),
        ("POST", "/properties", property),
        (
            "PUT",
            "/properties/p1",
            json!({"name": "p1", "type": "string", "title": "t"}),
        ),
        ("DELETE", "/properties/p1", Value::Null),
        ("DELETE", "/properties", Value::Null),
        ("POST", "/tags", json!({"tags": [{"name": "t1"}]})),
        ("POST", "/tags/other", Value::Null),
        ("PUT", "/tags/t1", json!({"name": "t1"})),
        ("DELETE", "/tags/t1", Value::Null),
        ("DELETE", "/tags", Value::Null),
        ("POST", "/resource_types", json!({"name": "OS::Z"})),
        ("DELETE", "/resource_types/OS::X", Value::Null),
        ("DELETE", "", Value::Null),
    ]
    .map(|(method, rest, body)| (method, of(namespace, rest), body))
    .into()
}

async fn write(client: &Client, method: &str, path: &str, body: &Value) -> u16 {
    let call = client.call(method, path);
    let call = if body.is_null() {
        call
    } else {
        call.json(body)
    };
    call.send().await.status
}

#[tokio::test]
async fn projects_read_their_own_namespaces_and_public_ones() {
    let cast = cast().await;
    for (name, visibility) in [("open", "public"), ("closed", "private")] {
        let mut body = whole(name);
        body["owner"] = json!("alpha");
        body["visibility"] = json!(visibility);
        create(&cast.admin, body).await.expect(201);
    }
    for (who, client, open, closed) in [
        ("admin", &cast.admin, 200, 200),
        ("member", &cast.member, 200, 200),
        ("reader", &cast.reader, 200, 200),
        ("other", &cast.other, 200, 404),
        ("nobody", &cast.nobody, 404, 404),
    ] {
        for read in READS {
            for (name, status) in [("open", open), ("closed", closed)] {
                let answer = client.get(&of(name, read)).await;
                assert_eq!(answer.status, status, "{who} {name}{read}");
            }
        }
    }
    for (client, seen) in [
        (&cast.admin, vec!["closed", "open"]),
        (&cast.reader, vec!["closed", "open"]),
        (&cast.other, vec!["open"]),
    ] {
        let list = client.get(NAMESPACES).await.expect(200);
        assert_eq!(names(&list, "namespaces", "namespace"), seen);
        client.get("/v2/metadefs/resource_types").await.expect(200);
    }
    cast.nobody.get(NAMESPACES).await.expect(404);
    cast.nobody
        .get("/v2/metadefs/resource_types")
        .await
        .expect(404);
}

#[tokio::test]
async fn only_admins_write_and_what_is_not_seen_is_not_found() {
    let cast = cast().await;
    for name in ["open", "closed"] {
        let mut body = whole(name);
        body["owner"] = json!("alpha");
        body["visibility"] = json!(if name == "open" { "public" } else { "private" });
        create(&cast.admin, body).await.expect(201);
    }
    for client in [&cast.member, &cast.reader, &cast.other, &cast.nobody] {
        let refused = create(client, json!({"namespace": "mine"})).await;
        let nobody = std::ptr::eq(client, &raw const cast.nobody);
        assert_eq!(refused.status, if nobody { 404 } else { 403 });
        for (name, blind) in [("open", false), ("closed", true)] {
            for (method, path, body) in writes(name) {
                let hidden = std::ptr::eq(client, &raw const cast.nobody)
                    || (blind && std::ptr::eq(client, &raw const cast.other));
                let expected = if hidden { 404 } else { 403 };
                let status = write(client, method, &path, &body).await;
                assert_eq!(status, expected, "{method} {path}");
            }
        }
    }
    // Nothing of it was done, and all of it can be.
    let shown = cast.admin.get(&of("open", "")).await.expect(200).json();
    assert_eq!(shown["tags"].as_array().unwrap().len(), 2);
    for (method, path, body) in writes("open") {
        let status = write(&cast.admin, method, &path, &body).await;
        assert!(status < 300, "{method} {path}: {status}");
    }
    cast.admin.get(&of("open", "")).await.expect(404);
}

#[tokio::test]
async fn every_route_is_404_in_a_namespace_that_does_not_exist() {
    let cast = cast().await;
    for read in READS {
        cast.admin.get(&of("none", read)).await.expect(404);
    }
    for (method, path, body) in writes("none") {
        let status = write(&cast.admin, method, &path, &body).await;
        assert_eq!(status, 404, "{method} {path}");
    }
}

#[tokio::test]
async fn a_policy_file_decides_rule_by_rule() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.yaml");
    let rules = [
        "\"add_metadef_namespace\": \"role:member\"",
        "\"modify_metadef_namespace\": \"role:member and project_id:%(project_id)s\"",
        "\"add_metadef_tag\": \"role:member and project_id:%(project_id)s\"",
        "\"delete_metadef_namespace\": \"role:member\"",
        "\"delete_metadef_tags\": \"!\"",
        "\"get_metadef_object\": \"!\"",
        "\"get_metadef_resource_type\": \"!\"",
    ];
    std::fs::write(&file, rules.join("\n")).unwrap();
    let setup = Setup::trusted().set("auth.policy_file", file.to_str().unwrap());
    let cast = cast_of(setup).await;
    let body = json!({"namespace": "n", "visibility": "public", "tags": [{"name": "t"}]});
    create(&cast.member, body).await.expect(201);
    // What is in it has rules of its own.
    let body = json!({"namespace": "m", "objects": [{"name": "o"}]});
    create(&cast.member, body).await.expect(403);
    cast.member.get(&of("m", "")).await.expect(404);
    let tag = of("n", "/tags/u");
    cast.other.call("POST", &tag).send().await.expect(403);
    cast.member.call("POST", &tag).send().await.expect(201);
    cast.other
        .put(&of("n", ""), json!({"namespace": "x"}))
        .await
        .expect(403);
    cast.admin
        .post(&of("n", "/objects"), json!({"name": "o"}))
        .await
        .expect(201);
    let types = of("n", "/resource_types");
    cast.admin
        .post(&types, json!({"name": "X"}))
        .await
        .expect(201);
    // Lists leave out what may not be looked at one by one.
    let list = cast
        .member
        .get(&of("n", "/objects"))
        .await
        .expect(200)
        .json();
    assert_eq!(list["objects"], json!([]));
    let list = cast.member.get(&types).await.expect(200).json();
    assert_eq!(list["resource_type_associations"], json!([]));
    cast.member.get(&of("n", "/objects/o")).await.expect(403);
    // Removing all tags asks for both rules.
    cast.member.delete(&of("n", "/tags")).await.expect(403);
    cast.member.delete(&of("n", "/objects")).await.expect(204);
    cast.member.delete(&of("n", "")).await.expect(204);
}
