//! Every rule of the policy is enforced by a route: for each a call that it refuses and, by a caller
//! with one thing more, lets pass; once by what the rules say by default, once by their names alone.

use std::collections::BTreeSet;

use glimpse_tests::{Client, PATCH_V21, Persona, Setup, glimpse};
use serde_json::{Value, json};

/// Rule, image that is needed, call, body, who is refused and who is not (by default).
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const ROWS: &[Row] = &[
    ("add_image", "", "POST /v2/images", "{}", "reader", "member"),
    (
        "delete_image",
        "queued",
        "DELETE {i}",
        "",
        "reader",
        "member",
    ),
    ("get_image", "queued", "GET {i}", "", "nobody", "reader"),
    ("get_images", "", "GET /v2/images", "", "nobody", "reader"),
    (
        "modify_image",
        "queued",
        "PATCH {i}",
        r#"[{"op":"add","path":"/name","value":"n"}]"#,
        "reader",
        "member",
    ),
    (
        "publicize_image",
        "queued",
        "PATCH {i}",
        r#"[{"op":"add","path":"/visibility","value":"public"}]"#,
        "member",
        "admin",
    ),
    (
        "communitize_image",
        "queued",
        "PATCH {i}",
        r#"[{"op":"add","path":"/visibility","value":"community"}]"#,
        "reader",
        "member",
    ),
    (
        "download_image",
        "active",
        "GET {i}/file",
        "",
        "reader",
        "member",
    ),
    (
        "download_from_store",
        "active",
        "GET {i}/file?{prefer}",
        "",
        "reader",
        "member",
    ),
    (
        "upload_image",
        "queued",
        "PUT {i}/file",
        "data",
        "reader",
        "member",
    ),
    (
        "get_image_location",
        "queued",
        "DELETE /v2/stores/other/{id}",
        "",
        "member",
        "admin",
    ),
    (
        "delete_image_location",
        "queued",
        "DELETE /v2/stores/other/{id}",
        "",
        "member",
        "admin",
    ),
    (
        "add_image_location",
        "queued",
        "POST {i}/locations",
        r#"{"url":"http://x/"}"#,
        "reader",
        "helper",
    ),
    (
        "fetch_image_location",
        "active",
        "GET {i}/locations",
        "",
        "member",
        "admin",
    ),
    (
        "add_member",
        "queued",
        "POST {i}/members",
        r#"{"member":"gamma"}"#,
        "reader",
        "member",
    ),
    (
        "delete_member",
        "queued",
        "DELETE {i}/members/beta",
        "",
        "reader",
        "member",
    ),
    (
        "get_member",
        "queued",
        "GET {i}/members/beta",
        "",
        "nobody",
        "reader",
    ),
    (
        "get_members",
        "queued",
        "GET {i}/members",
        "",
        "nobody",
        "reader",
    ),
    (
        "modify_member",
        "queued",
        "PUT {i}/members/beta",
        r#"{"status":"accepted"}"#,
        "member",
        "other",
    ),
    (
        "deactivate",
        "active",
        "POST {i}/actions/deactivate",
        "",
        "reader",
        "member",
    ),
    (
        "reactivate",
        "active",
        "POST {i}/actions/reactivate",
        "",
        "reader",
        "member",
    ),
    (
        "copy_image",
        "active",
        "POST {i}/import",
        r#"{"method":{"name":"copy-image"},"stores":["other"]}"#,
        "member",
        "admin",
    ),
    (
        "tasks_api_access",
        "",
        "GET /v2/tasks",
        "",
        "member",
        "admin",
    ),
    (
        "stores_info_detail",
        "",
        "GET /v2/info/stores/detail",
        "",
        "member",
        "service",
    ),
    (
        "list_cached_nodes",
        "active",
        "GET /v2/cache/nodes/{id}",
        "",
        "member",
        "admin",
    ),
    (
        "cache_image",
        "active",
        "PUT /v2/cache/{id}",
        "",
        "member",
        "admin",
    ),
    ("cache_list", "", "GET /v2/cache", "", "member", "admin"),
    (
        "cache_delete",
        "",
        "DELETE /v2/cache",
        "",
        "member",
        "admin",
    ),
    (
        "cache_clean",
        "",
        "POST /v2/cache/clean",
        "",
        "member",
        "admin",
    ),
    (
        "cache_prune",
        "",
        "POST /v2/cache/prune",
        "",
        "member",
        "admin",
    ),
    (
        "get_metadef_namespace",
        "ns",
        "GET {n}",
        "",
        "nobody",
        "reader",
    ),
    (
        "get_metadef_namespaces",
        "",
        "GET /v2/metadefs/namespaces",
        "",
        "nobody",
        "reader",
    ),
    (
        "modify_metadef_namespace",
        "ns",
        "PUT {n}",
        r#"{"namespace":"{ns}"}"#,
        "member",
        "admin",
    ),
    (
        "add_metadef_namespace",
        "",
        "POST /v2/metadefs/namespaces",
        r#"{"namespace":"new"}"#,
        "member",
        "admin",
    ),
    (
        "delete_metadef_namespace",
        "ns",
        "DELETE {n}",
        "",
        "member",
        "admin",
    ),
    (
        "get_metadef_object",
        "ns",
        "GET {n}/objects/o",
        "",
        "nobody",
        "reader",
    ),
    (
        "get_metadef_objects",
        "ns",
        "GET {n}/objects",
        "",
        "nobody",
        "reader",
    ),
    (
        "modify_metadef_object",
        "ns",
        "PUT {n}/objects/o",
        r#"{"name":"o"}"#,
        "member",
        "admin",
    ),
    (
        "add_metadef_object",
        "ns",
        "POST {n}/objects",
        r#"{"name":"new"}"#,
        "member",
        "admin",
    ),
    (
        "delete_metadef_object",
        "ns",
        "DELETE {n}/objects/o",
        "",
        "member",
        "admin",
    ),
    (
        "list_metadef_resource_types",
        "",
        "GET /v2/metadefs/resource_types",
        "",
        "nobody",
        "reader",
    ),
    (
        "get_metadef_resource_type",
        "ns",
        "GET {n}/resource_types",
        "",
        "nobody",
        "reader",
    ),
    (
        "add_metadef_resource_type_association",
        "ns",
        "POST {n}/resource_types",
        r#"{"name":"OS::New"}"#,
        "member",
        "admin",
    ),
    (
        "remove_metadef_resource_type_association",
        "ns",
        "DELETE {n}/resource_types/OS::X",
        "",
        "member",
        "admin",
    ),
    (
        "get_metadef_property",
        "ns",
        "GET {n}/properties/p",
        "",
        "nobody",
        "reader",
    ),
    (
        "get_metadef_properties",
        "ns",
        "GET {n}/properties",
        "",
        "nobody",
        "reader",
    ),
    (
        "modify_metadef_property",
        "ns",
        "PUT {n}/properties/p",
        r#"{"name":"p","type":"string","title":"t"}"#,
        "member",
        "admin",
    ),
    (
        "add_metadef_property",
        "ns",
        "POST {n}/properties",
        r#"{"name":"q","type":"string","title":"t"}"#,
        "member",
        "admin",
    ),
    (
        "remove_metadef_property",
        "ns",
        "DELETE {n}/properties/p",
        "",
        "member",
        "admin",
    ),
    (
        "get_metadef_tag",
        "ns",
        "GET {n}/tags/t",
        "",
        "nobody",
        "reader",
    ),
    (
        "get_metadef_tags",
        "ns",
        "GET {n}/tags",
        "",
        "nobody",
        "reader",
    ),
    (
        "modify_metadef_tag",
        "ns",
        "PUT {n}/tags/t",
        r#"{"name":"t"}"#,
        "member",
        "admin",
    ),
    (
        "add_metadef_tag",
        "ns",
        "POST {n}/tags/new",
        "",
        "member",
        "admin",
    ),
    (
        "add_metadef_tags",
        "ns",
        "POST {n}/tags",
        r#"{"tags":[{"name":"a"}]}"#,
        "member",
        "admin",
    ),
    (
        "delete_metadef_tag",
        "ns",
        "DELETE {n}/tags/t",
        "",
        "member",
        "admin",
    ),
    (
        "delete_metadef_tags",
        "ns",
        "DELETE {n}/tags",
        "",
        "member",
        "admin",
    ),
];

/// Rules that no route asks for: others refer to them, or the reference asks for them nowhere either;
/// and `set_image_location`, since a PATCH of `/locations` is refused to all.
const UNASKED: [&str; 11] = [
    "default",
    "context_is_admin",
    "service_api",
    "manage_image_cache",
    "metadef_default",
    "metadef_admin",
    "get_task",
    "get_tasks",
    "add_task",
    "modify_task",
    "set_image_location",
];

#[tokio::test]
async fn every_rule_of_the_code_has_a_row_here_or_a_reason_to_have_none() {
    let dir = tempfile::tempdir().unwrap();
    let output = glimpse(dir.path(), &["policy", "list", "-o", "json"], &[]).await;
    let rules: Vec<Value> = serde_json::from_str(&output.stdout).unwrap();
    let rules: BTreeSet<&str> = rules
        .iter()
        .map(|rule| rule["name"].as_str().unwrap())
        .collect();
    assert_eq!(rules.len(), 67);
    let rows = ROWS.iter().map(|(rule, ..)| *rule).chain(UNASKED);
    assert_eq!(rules, rows.collect());
    assert_eq!(ROWS.len() + UNASKED.len(), 67, "a rule has two rows");
}

/// A node with two stores.
fn setup() -> Setup {
    Setup::trusted().more_stores("other")
}

/// Makes what the row needs, as who may do everything, and gives the image and the namespace.
async fn prepare(root: &Client, needed: &str, number: usize) -> (String, String) {
    let namespace = format!("ns{number}");
    if needed == "ns" {
        let body = json!({
            "namespace": namespace, "visibility": "public", "owner": "alpha",
            "objects": [{"name": "o"}], "tags": [{"name": "t"}],
            "properties": {"p": {"type": "string", "title": "t"}},
            "resource_type_associations": [{"name": "OS::X"}],
        });
        root.post("/v2/metadefs/namespaces", body).await.expect(201);
        return (String::new(), namespace);
    }
    if needed.is_empty() {
        return (String::new(), namespace);
    }
    let id = root
        .created(json!({"owner": "alpha", "visibility": "shared"}))
        .await;
    root.share(&id, "beta").await.expect(200);
    if needed != "queued" {
        root.upload(&id, "data").await.expect(204);
    }
    (id, namespace)
}

/// The status of a row's call. What a rule hides one by one leaves an empty list, which counts as 404.
async fn call(client: &Client, row: &Row, image: &str, namespace: &str) -> u16 {
    let fill = |text: &str| {
        text.replace("{i}", &format!("/v2/images/{image}"))
            .replace("{id}", image)
            .replace("{n}", &format!("/v2/metadefs/namespaces/{namespace}"))
            .replace("{ns}", namespace)
            .replace("{prefer}", "prefer=local")
    };
    let (method, path) = row.2.split_once(' ').unwrap();
    let kind = match (method, path.ends_with("/file")) {
        ("PATCH", _) => PATCH_V21,
        (_, true) => "application/octet-stream",
        _ => "application/json",
    };
    let mut call = client.call(method, &fill(path));
    if !row.3.is_empty() {
        call = call.header("content-type", kind).body(fill(row.3));
    }
    let answer = call.send().await;
    let list = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
    match list["resource_type_associations"].as_array() {
        Some(list) if list.is_empty() => 404,
        Some(_) | None => answer.status,
    }
}

fn is_refused(status: u16) -> bool {
    matches!(status, 403 | 404)
}

#[tokio::test]
async fn by_default_each_rule_refuses_one_persona_and_lets_another_pass() {
    let node = setup().start().await;
    let root = node.client_of(&Persona::admin());
    let of = |name: &str| {
        node.client_of(&match name {
            "admin" => Persona::admin(),
            "member" => Persona::member("alpha"),
            "reader" => Persona::reader("alpha"),
            "nobody" => Persona::nobody("alpha"),
            "other" => Persona::member("beta"),
            "helper" => Persona::new("alpha", &["member", "reader", "service"]),
            "service" => Persona::new("services", &["service"]),
            other => panic!("{other}"),
        })
    };
    let mut wrong = Vec::new();
    for (number, row) in ROWS.iter().enumerate() {
        let (image, namespace) = prepare(&root, row.1, number).await;
        let refused = call(&of(row.4), row, &image, &namespace).await;
        let passed = call(&of(row.5), row, &image, &namespace).await;
        if !is_refused(refused) || is_refused(passed) || passed >= 500 {
            wrong.push((row.0, refused, passed));
        }
    }
    assert_eq!(wrong, []);
}

#[tokio::test]
async fn each_rule_is_asked_for_by_its_own_name() {
    let setup = setup();
    let path = setup.folder().join("policy.yaml");
    let rules = ROWS
        .iter()
        .map(|(rule, ..)| format!("{rule}: role:{rule}\n"));
    std::fs::write(&path, rules.collect::<String>()).unwrap();
    let setup = setup.set("auth.policy_file", path.to_string_lossy().into_owned());
    let node = setup.start().await;
    // An admin, so that all is visible, with every right but one.
    let without = |rule: &str| {
        let roles = ROWS.iter().map(|row| row.0).filter(|name| *name != rule);
        let roles: Vec<&str> = roles.chain(["admin", "service"]).collect();
        node.client_of(&Persona::new("alpha", &roles))
    };
    let root = without("");
    let mut wrong = Vec::new();
    for (number, row) in ROWS.iter().enumerate() {
        let (image, namespace) = prepare(&root, row.1, number).await;
        let refused = call(&without(row.0), row, &image, &namespace).await;
        let passed = call(&root, row, &image, &namespace).await;
        if !is_refused(refused) || is_refused(passed) || passed >= 500 {
            wrong.push((row.0, refused, passed));
        }
    }
    assert_eq!(wrong, []);
}
