//! The version of a namespace and of a definition as its ETag, and conditions on it.

use glimpse_tests::{Answer, Client};
use serde_json::{Value, json};

use super::{cast, create, of, whole};

async fn call(client: &Client, method: &str, path: &str, tag: &str, body: Option<Value>) -> Answer {
    let call = client.call(method, path).header("if-match", tag);
    let call = match &body {
        Some(body) => call.json(body),
        None => call,
    };
    call.send().await
}

fn tag(answer: &Answer) -> String {
    answer.header("etag").expect("an ETag").to_owned()
}

#[tokio::test]
async fn every_change_in_a_namespace_changes_its_tag() {
    let cast = cast().await;
    let admin = &cast.admin;
    let path = of("n", "");
    let mut last = tag(&create(admin, whole("n")).await.expect(201));
    let shown = admin.get(&path).await.expect(200);
    assert_eq!(tag(&shown), last);
    let unchanged = admin.call("GET", &path).header("if-none-match", &last);
    unchanged.send().await.expect(304);
    for (method, rest, body) in [
        ("PUT", "", Some(json!({"namespace": "n"}))),
        ("POST", "/objects", Some(json!({"name": "x"}))),
        ("PUT", "/objects/x", Some(json!({"name": "y"}))),
        ("DELETE", "/objects/y", None),
        ("DELETE", "/properties", None),
        ("POST", "/tags", Some(json!({"tags": [{"name": "z"}]}))),
        ("DELETE", "/resource_types/OS::X", None),
    ] {
        let call = admin.call(method, &of("n", rest));
        let call = match &body {
            Some(body) => call.json(body),
            None => call,
        };
        let status = call.send().await.status;
        assert!(status < 300, "{method} {rest}: {status}");
        let now = tag(&admin.get(&path).await.expect(200));
        assert_ne!(now, last, "{method} {rest}");
        last = now;
    }
}

#[tokio::test]
async fn a_change_to_what_has_changed_is_412() {
    let cast = cast().await;
    let admin = &cast.admin;
    create(admin, whole("n")).await.expect(201);
    for (rest, body) in [
        ("", json!({"namespace": "n"})),
        ("/objects/o1", json!({"name": "o1"})),
        ("/tags/t1", json!({"name": "t1"})),
        (
            "/properties/p1",
            json!({"name": "p1", "type": "string", "title": "t"}),
        ),
    ] {
        let path = of("n", rest);
        let old = tag(&admin.get(&path).await.expect(200));
        let new = call(admin, "PUT", &path, &old, Some(body.clone()))
            .await
            .expect(200);
        let new = tag(&new);
        assert_ne!(new, old);
        call(admin, "PUT", &path, &old, Some(body))
            .await
            .expect(412);
        call(admin, "DELETE", &path, &old, None).await.expect(412);
        if rest.is_empty() {
            continue;
        }
        call(admin, "DELETE", &path, &new, None).await.expect(204);
        call(admin, "DELETE", &path, "*", None).await.expect(404);
    }
    let path = of("n", "");
    let last = tag(&admin.get(&path).await.expect(200));
    call(admin, "DELETE", &path, &last, None).await.expect(204);
}
