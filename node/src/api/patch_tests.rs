//! Tests of [`super`]: the rows of image-api 1.10.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api::error::ApiError;

fn formats() -> ImageFormatConfig {
    ImageFormatConfig {
        disk_formats: vec!["raw".into(), "qcow2".into()],
        container_formats: vec!["bare".into()],
        ..ImageFormatConfig::default()
    }
}

/// Attributes with the custom properties `there` and `a/b~c`.
fn attributes() -> Attributes {
    let mut attributes = attribute::defaults();
    attributes.name = Some("old".into());
    attributes
        .properties
        .insert("there".into(), Some("1".into()));
    attributes
        .properties
        .insert("a/b~c".into(), Some("1".into()));
    attributes
}

fn run(media: MediaType, status: Status, document: Value) -> Result<Attributes, u16> {
    let code = |bad: BadPatch| ApiError::from(bad).status.as_u16();
    let changes = parse(media, document, &formats()).map_err(code)?;
    let mut attributes = attributes();
    for change in &changes {
        apply(change, &mut attributes, status, &formats()).map_err(code)?;
    }
    Ok(attributes)
}

fn v21(document: Value) -> Result<Attributes, u16> {
    run(MediaType::V21, Status::Queued, document)
}

fn v20(document: Value) -> Result<Attributes, u16> {
    run(MediaType::V20, Status::Queued, document)
}

fn one(op: &str, path: &str, value: Value) -> Result<Attributes, u16> {
    v21(json!([{"op": op, "path": path, "value": value}]))
}

#[test]
fn both_media_types_are_known_and_no_other() {
    let parse = |text| MediaType::parse(Some(text));
    assert_eq!(
        parse("application/openstack-images-v2.1-json-patch"),
        Ok(MediaType::V21)
    );
    assert_eq!(
        parse("Application/OpenStack-images-v2.0-json-patch; charset=utf-8"),
        Ok(MediaType::V20)
    );
    for other in ["application/json", "application/json-patch+json", ""] {
        assert_eq!(parse(other), Err(BadPatch::MediaType), "{other}");
    }
    let error = ApiError::from(MediaType::parse(None).unwrap_err());
    assert_eq!(error.status, 415);
    assert_eq!(error.headers[0].0, "accept-patch");
}

#[test]
fn an_empty_document_changes_nothing() {
    assert_eq!(v21(json!([])), Ok(attributes()));
    assert_eq!(v20(json!([])), Ok(attributes()));
}

#[test]
fn add_creates_and_overwrites_in_v21() {
    assert_eq!(
        one("add", "/name", json!("new")).unwrap().name.as_deref(),
        Some("new")
    );
    assert_eq!(one("add", "/name", json!(null)).unwrap().name, None);
    for key in ["fresh", "there"] {
        let after = one("add", &format!("/{key}"), json!("2")).unwrap();
        assert_eq!(after.properties[key].as_deref(), Some("2"));
    }
}

#[test]
fn add_only_creates_in_v20() {
    let add = |path: &str| v20(json!([{"add": path, "value": "2"}]));
    assert!(add("/fresh").unwrap().properties.contains_key("fresh"));
    assert_eq!(add("/there"), Err(409));
    assert_eq!(add("/name"), Err(409));
}

#[test]
fn replace_needs_what_it_replaces() {
    assert!(one("replace", "/name", json!("new")).is_ok());
    assert!(one("replace", "/there", json!("2")).is_ok());
    assert_eq!(one("replace", "/absent", json!("2")), Err(409));
    assert_eq!(v20(json!([{"replace": "/absent", "value": "2"}])), Err(409));
}

#[test]
fn remove_takes_custom_properties_only() {
    let after = v21(json!([{"op": "remove", "path": "/there"}])).unwrap();
    assert!(!after.properties.contains_key("there"));
    let after = v20(json!([{"remove": "/there"}])).unwrap();
    assert!(!after.properties.contains_key("there"));
    assert_eq!(v21(json!([{"op": "remove", "path": "/absent"}])), Err(409));
    for base in ["name", "tags", "visibility", "owner", "min_ram"] {
        let document = json!([{"op": "remove", "path": format!("/{base}")}]);
        assert_eq!(v21(document), Err(403), "{base}");
    }
}

#[test]
fn operations_apply_in_order() {
    let after = v21(json!([
        {"op": "add", "path": "/x", "value": "1"},
        {"op": "replace", "path": "/x", "value": "2"},
        {"op": "remove", "path": "/x"},
        {"op": "add", "path": "/x", "value": "3"},
    ]))
    .unwrap();
    assert_eq!(after.properties["x"].as_deref(), Some("3"));
}

#[test]
fn names_of_the_service_are_403_in_every_operation() {
    for name in [
        "created_at",
        "updated_at",
        "status",
        "checksum",
        "size",
        "virtual_size",
        "direct_url",
        "self",
        "file",
        "schema",
        "stores",
        "id",
        "os_hash_algo",
        "os_hash_value",
        "location",
        "deleted",
        "deleted_at",
        "os_glance_x",
        "os_glancex",
    ] {
        for op in ["add", "replace", "remove"] {
            assert_eq!(
                one(op, &format!("/{name}"), json!("x")),
                Err(403),
                "{op} {name}"
            );
        }
    }
}

#[test]
fn pointers_are_checked() {
    for path in [
        "name",
        "",
        "/",
        "//",
        "/name/",
        "/a//b",
        "/a/ /b",
        "/a~",
        "/a~2",
        "/a/b",
        "/tags/-",
        "/tags/0",
        "/locations/-/x",
        "/name/x",
    ] {
        assert_eq!(one("add", path, json!("x")), Err(400), "{path:?}");
    }
    assert_eq!(one("replace", "/locations/0", json!("x")), Err(400));
    assert_eq!(one("add", "/locations", json!([])), Err(400));
    let after = v21(json!([{"op": "remove", "path": "/a~1b~0c"}])).unwrap();
    assert!(!after.properties.contains_key("a/b~c"));
}

#[test]
fn an_escaped_tilde_does_not_begin_another_escape() {
    let after = one("add", "/~01", json!("x")).unwrap();
    assert!(after.properties.contains_key("~1"));
}

#[test]
fn malformed_operations_are_400() {
    for document in [
        json!({}),
        json!([1]),
        json!([[]]),
        json!([{}]),
        json!([{"op": "add"}]),
        json!([{"path": "/x", "value": "x"}]),
        json!([{"op": "add", "path": "/x"}]),
        json!([{"op": "replace", "path": "/there"}]),
        json!([{"op": 1, "path": "/x", "value": "x"}]),
        json!([{"op": "add", "path": 1, "value": "x"}]),
        json!([{"op": "test", "path": "/there", "value": "1"}]),
        json!([{"op": "move", "path": "/x", "from": "/there"}]),
        json!([{"op": "copy", "path": "/x", "from": "/there"}]),
        json!([{"op": "ADD", "path": "/x", "value": "x"}]),
    ] {
        assert_eq!(v21(document.clone()), Err(400), "{document}");
    }
    for document in [
        json!([{}]),
        json!([{"op": "add", "path": "/x", "value": "x"}]),
        json!([{"add": "/x", "remove": "/there", "value": "x"}]),
        json!([{"add": "/x"}]),
        json!([{"add": 1, "value": "x"}]),
    ] {
        assert_eq!(v20(document.clone()), Err(400), "{document}");
    }
}

#[test]
fn values_follow_the_schema() {
    for (path, value) in [
        ("/name", json!(1)),
        ("/visibility", json!("secret")),
        ("/protected", json!("true")),
        ("/min_ram", json!(-1)),
        ("/disk_format", json!("floppy")),
        ("/tags", json!("x")),
        ("/tags", json!([1])),
        ("/x", json!(1)),
        ("/x", json!(null)),
        ("/x", json!(["a"])),
        ("/x", json!("\u{1F600}")),
        ("/kernel_id", json!("x")),
    ] {
        assert_eq!(one("add", path, value.clone()), Err(400), "{path} {value}");
    }
    assert!(one("add", "/kernel_id", json!(null)).is_ok());
}

#[test]
fn tags_are_replaced_as_a_whole() {
    let after = one("replace", "/tags", json!(["b", "a", "b"])).unwrap();
    assert_eq!(Vec::from_iter(after.tags), ["a", "b"]);
}

#[test]
fn formats_change_only_before_data_arrives() {
    let document = json!([{"op": "replace", "path": "/disk_format", "value": "raw"}]);
    for status in Status::ALL {
        let expected = matches!(status, Status::Queued | Status::Importing);
        let result = run(MediaType::V21, status, document.clone());
        assert_eq!(result.is_ok(), expected, "{status:?}");
        if !expected {
            assert_eq!(result, Err(403));
        }
    }
}

#[test]
fn locations_are_read_with_their_form() {
    let parsed = |document: Value| {
        let formats = ImageFormatConfig::default();
        parse(MediaType::V21, document, &formats).map_err(|bad| ApiError::from(bad).status.as_u16())
    };
    let good = json!({"url": "http://h/x", "metadata": {"a": "b"}});
    for at in ["-", "0", "12"] {
        let path = format!("/locations/{at}");
        assert!(parsed(json!([{"op": "add", "path": path, "value": good}])).is_ok());
        assert!(parsed(json!([{"op": "remove", "path": path}])).is_ok());
    }
    assert!(parsed(json!([{"op": "replace", "path": "/locations", "value": [good]}])).is_ok());
    let empty = json!([{"op": "replace", "path": "/locations", "value": []}]);
    assert_eq!(parsed(empty).map(drop), Err(403));
    let long = format!("http://h/{}", "x".repeat(255));
    let hash = json!({"os_hash_algo": "sha512"});
    for bad in [
        json!("http://h/x"),
        json!({"url": "http://h/x"}),
        json!({"metadata": {}}),
        json!({"url": 1, "metadata": {}}),
        json!({"url": long, "metadata": {}}),
        json!({"url": "http://h/x", "metadata": []}),
        json!({"url": "http://h/x", "metadata": {"a": 1}}),
        json!({"url": "http://h/\u{1F600}", "metadata": {}}),
        json!({"url": "http://h/x", "metadata": {}, "validation_data": hash}),
        json!({"url": "http://h/x", "metadata": {}, "validation_data": {"x": "y"}}),
    ] {
        let add = json!([{"op": "add", "path": "/locations/-", "value": bad}]);
        assert_eq!(parsed(add).map(drop), Err(400), "{bad}");
        let replace = json!([{"op": "replace", "path": "/locations", "value": [bad]}]);
        assert_eq!(parsed(replace).map(drop), Err(400), "{bad}");
    }
    let add = json!([{"op": "add", "path": "/locations/x", "value": good}]);
    assert_eq!(parsed(add).map(drop), Err(400));
}

#[test]
fn a_bad_operation_is_found_before_any_is_applied() {
    let document = json!([
        {"op": "replace", "path": "/absent", "value": "409 if applied"},
        {"op": "add", "path": "/status", "value": "403 if only parsed"},
    ]);
    assert_eq!(v21(document), Err(403));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "(add|replace|remove|/[a-z~/01 -]{0,6}|\\PC{0,6})".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(
                "(op|path|value|add|remove|replace|\\PC{0,4})",
                inner,
                0..4
            )
            .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_document_makes_it_panic(document in any_json(), active in any::<bool>()) {
        let status = if active { Status::Active } else { Status::Queued };
        let _ = run(MediaType::V21, status, document.clone());
        let _ = run(MediaType::V20, status, document);
    }

    #[test]
    fn no_list_of_operations_makes_it_panic(
        operations in proptest::collection::vec(
            ("(add|replace|remove|test)", "(/name|/tags|/min_disk|/[a-z~/]{0,5})", any_json()),
            0..5,
        ),
    ) {
        let document = operations
            .into_iter()
            .map(|(op, path, value)| json!({"op": op, "path": path, "value": value}))
            .collect();
        let _ = v21(document);
    }
}
