//! Schemas and discovery (image-api 1.7, 1.9).

use glimpse_tests::{Node, Persona, Setup};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;

async fn schema(node: &Node, name: &str) -> Value {
    let path = format!("/v2/schemas/{name}");
    node.client().get(&path).await.expect(200).json()
}

fn has_properties(schema: &Value, keys: &[&str]) {
    for key in keys {
        assert!(schema["properties"].get(key).is_some(), "{key}");
    }
}

#[tokio::test]
async fn the_image_schema_has_what_clients_read_from_it() {
    let node = Node::start().await;
    let schema = schema(&node, "image").await;
    assert_eq!(schema["name"], "image");
    has_properties(
        &schema,
        &[
            "id",
            "name",
            "status",
            "visibility",
            "protected",
            "os_hidden",
            "owner",
            "disk_format",
            "container_format",
            "min_disk",
            "min_ram",
            "size",
            "virtual_size",
            "checksum",
            "os_hash_algo",
            "os_hash_value",
            "created_at",
            "updated_at",
            "tags",
            "self",
            "file",
            "schema",
        ],
    );
    let properties = schema["properties"].as_object().unwrap();
    for key in [
        "kernel_id",
        "ramdisk_id",
        "architecture",
        "os_distro",
        "os_version",
        "description",
    ] {
        assert_eq!(properties[key]["is_base"], false, "{key}");
    }
    let formats = properties["disk_format"]["enum"].as_array().unwrap();
    for format in [
        "raw", "qcow2", "vmdk", "vdi", "iso", "vhd", "vhdx", "ami", "ari", "aki",
    ] {
        assert!(formats.contains(&json!(format)), "{format}");
    }
    // glanceclient makes options of what is not read-only, and `file` and `size` are taken.
    for key in [
        "file",
        "size",
        "self",
        "schema",
        "status",
        "checksum",
        "created_at",
        "updated_at",
        "virtual_size",
        "os_hash_algo",
        "os_hash_value",
    ] {
        assert_eq!(properties[key]["readOnly"], true, "{key}");
    }
    // glanceclient does not start when an array has no items.
    assert_eq!(properties["tags"]["items"]["type"], "string");
    assert_eq!(schema["additionalProperties"]["type"], "string");
}

#[tokio::test]
async fn the_formats_in_the_schema_are_those_of_the_configuration() {
    let formats = toml::Value::Array(vec!["raw".into(), "luks".into()]);
    let node = Setup::new()
        .set("image_format.disk_formats", formats)
        .start()
        .await;
    let schema = schema(&node, "image").await;
    let shown = schema["properties"]["disk_format"]["enum"]
        .as_array()
        .unwrap();
    assert!(
        shown.contains(&json!("luks")) && !shown.contains(&json!("qcow2")),
        "{shown:?}"
    );
    node.client()
        .create(json!({"disk_format": "luks"}))
        .await
        .expect(201);
    node.client()
        .create(json!({"disk_format": "qcow2"}))
        .await
        .expect(400);
}

#[tokio::test]
async fn collections_have_schemas_of_their_own() {
    let node = Node::start().await;
    let images = schema(&node, "images").await;
    has_properties(&images, &["first", "next", "schema", "images"]);
    assert!(images["links"].is_array());
    let member = schema(&node, "member").await;
    has_properties(
        &member,
        &[
            "member_id",
            "image_id",
            "status",
            "created_at",
            "updated_at",
            "schema",
        ],
    );
    let members = schema(&node, "members").await;
    assert_eq!(members["name"], "members");
    node.client().get("/v2/schemas/nothing").await.expect(404);
}

#[tokio::test]
async fn any_authenticated_caller_may_read_schemas() {
    let node = Setup::trusted().start().await;
    node.client_of(&Persona::nobody("p"))
        .get("/v2/schemas/image")
        .await
        .expect(200);
    node.client().get("/v2/schemas/image").await.expect(401);
}

#[tokio::test]
async fn the_stores_are_told_with_flags_as_strings() {
    let node = Setup::new()
        .store("description", "the local disk")
        .more_stores("second")
        .start()
        .await;
    let stores = node
        .client()
        .get("/v2/info/stores")
        .await
        .expect(200)
        .json();
    let rows = stores["stores"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    let local = rows.iter().find(|row| row["id"] == "local").unwrap();
    assert_eq!(local["default"], "true");
    assert_eq!(local["description"], "the local disk");
    let second = rows.iter().find(|row| row["id"] == "second").unwrap();
    assert_eq!(second.get("default"), None);
}

#[tokio::test]
async fn store_details_are_for_operators_and_services() {
    let node = Setup::trusted()
        .store("thin_provisioning", true)
        .store("weight", 7)
        .more_stores("second")
        .start()
        .await;
    for caller in [Persona::admin(), Persona::new("services", &["service"])] {
        let client = node.client_of(&caller);
        let detail = client
            .get("/v2/info/stores/detail")
            .await
            .expect(200)
            .json();
        let rows = detail["stores"].as_array().unwrap();
        assert_eq!(rows.len(), 2, "{detail}");
        let local = rows.iter().find(|row| row["id"] == "local").unwrap();
        assert_eq!(local["type"], "file");
        assert_eq!(local["default"], "true");
        assert_eq!(local["weight"], 7);
        let properties = local["properties"].as_object().unwrap();
        assert_eq!(properties.len(), 3, "{local}");
        assert!(properties["data_dir"].is_string(), "{local}");
        assert_eq!(properties["chunk_size"], MIB);
        assert_eq!(properties["thin_provisioning"], true);
        let second = rows.iter().find(|row| row["id"] == "second").unwrap();
        assert_eq!(second["properties"]["thin_provisioning"], false);
        // These two can be written; of a store that can the flag is left out.
        assert!(rows.iter().all(|row| row.get("read-only").is_none()));
    }
    for caller in [Persona::member("p"), Persona::nobody("p")] {
        node.client_of(&caller)
            .get("/v2/info/stores/detail")
            .await
            .expect(403);
    }
}

#[tokio::test]
async fn each_name_of_the_api_answers_with_its_schema() {
    const NAMES: [&str; 16] = [
        "image",
        "images",
        "member",
        "members",
        "task",
        "tasks",
        "metadefs/namespace",
        "metadefs/namespaces",
        "metadefs/resource_type",
        "metadefs/resource_types",
        "metadefs/property",
        "metadefs/properties",
        "metadefs/object",
        "metadefs/objects",
        "metadefs/tag",
        "metadefs/tags",
    ];
    let node = Node::start().await;
    for name in NAMES {
        let schema = schema(&node, name).await;
        assert!(schema["name"].is_string(), "{name}");
        assert!(
            !schema["properties"].as_object().unwrap().is_empty(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn the_import_methods_of_the_configuration_are_offered() {
    let info = async |node: &Node| {
        node.client()
            .get("/v2/info/import")
            .await
            .expect(200)
            .json()
    };
    let usual = info(&Node::start().await).await;
    assert_eq!(
        usual["import-methods"]["value"],
        json!(["glance-direct", "web-download", "copy-image"])
    );
    let none = Setup::new().set("import.methods", Vec::<String>::new());
    let none = info(&none.start().await).await;
    assert_eq!(none["import-methods"]["value"], json!([]));
}

#[tokio::test]
async fn the_properties_of_the_operator_are_shown_and_enforced() {
    let setup = Setup::new();
    let path = setup.folder().join("schema-image.json");
    let file = json!({
        "properties": {"team": {
            "type": ["string", "null"],
            "description": "who to ask",
            "pattern": "^[a-z]+$",
        }},
        "required": ["team"],
    });
    std::fs::write(&path, file.to_string()).unwrap();
    let node = setup
        .set("image_format.schema_file", path.to_str().unwrap())
        .start()
        .await;
    let client = node.client();
    let image = schema(&node, "image").await;
    assert_eq!(image["properties"]["team"]["description"], "who to ask");
    assert_eq!(image["properties"]["team"]["is_base"], false);
    assert_eq!(image["required"], json!(["team"]));
    let images = schema(&node, "images").await;
    assert_eq!(images["properties"]["images"]["items"], image);
    let missing = client.create(json!({"name": "n"})).await.expect(400);
    assert!(missing.text().contains("team"), "{}", missing.text());
    client.create(json!({"team": "A1"})).await.expect(400);
    let id = client
        .create(json!({"team": "a"}))
        .await
        .expect(201)
        .field("id");
    client.replace(&id, "team", json!("A1")).await.expect(400);
    client.replace(&id, "team", json!("b")).await.expect(200);
    // Mandatory when an image is created, and then only.
    client.replace(&id, "name", json!("n")).await.expect(200);
    client.replace(&id, "team", json!(null)).await.expect(200);
    let shown = client.show(&id).await.expect(200).json();
    assert_eq!(shown["team"], Value::Null);
    client
        .patch(&id, json!([{"op": "remove", "path": "/team"}]))
        .await
        .expect(200);
}

#[tokio::test]
async fn a_broken_file_of_properties_is_refused_at_start() {
    let setup = Setup::new();
    let path = setup.folder().join("schema-image.json");
    std::fs::write(&path, r#"{"team": {"type": "integer"}}"#).unwrap();
    let refusal = setup
        .set("image_format.schema_file", path.to_str().unwrap())
        .refused()
        .await;
    for said in ["image_format.schema_file", "schema-image.json", "team"] {
        assert!(refusal.output.contains(said), "{}", refusal.output);
    }
}
