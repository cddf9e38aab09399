//! `/v2/schemas/...`: the JSON schemas that clients read formats from and validate against
//! (image-api 1.9). Made once, from the configured formats and properties.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::config::ImageFormatConfig;

mod metadefs;

pub(super) use metadefs::{MetadefBodies, bodies as metadef_bodies};

pub(super) const UUID_PATTERN: &str = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-\
                            ([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$";

/// The documents by name: `image`, `metadefs/tags`.
pub(super) struct Schemas(Vec<(&'static str, Bytes)>);

impl Schemas {
    /// Makes them all.
    pub(super) fn new(formats: &ImageFormatConfig) -> Self {
        let image = image(formats);
        let member = schema("member", member_properties());
        let task = schema("task", task_properties());
        let mut stub = task_properties();
        stub.retain(|name, _| !matches!(name.as_str(), "input" | "result" | "message"));
        let mut documents = vec![
            ("images", collection("images", image.clone())),
            ("image", image),
            ("members", short_collection("members", member.clone())),
            ("member", member),
            ("tasks", short_collection("tasks", schema("task", stub))),
            ("task", task),
        ];
        documents.extend(metadefs::documents());
        Self(
            documents
                .into_iter()
                .map(|(name, document)| (name, Bytes::from(document.to_string())))
                .collect(),
        )
    }

    /// All documents with their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &Bytes)> {
        self.0.iter().map(|(name, document)| (*name, document))
    }

    /// The document of that name.
    pub(super) fn get(&self, name: &str) -> Option<Bytes> {
        self.0
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, document)| document.clone())
    }
}

/// A schema in its short form.
fn schema(name: &str, properties: Map<String, Value>) -> Value {
    json!({"name": name, "properties": properties})
}

/// A page of items with links to others.
fn collection(name: &str, item: Value) -> Value {
    json!({
        "name": name,
        "properties": {
            name: {"type": "array", "items": item},
            "first": {"type": "string"},
            "next": {"type": "string"},
            "schema": {"type": "string"},
        },
        "links": [
            {"rel": "first", "href": "{first}"},
            {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    })
}

/// All items at once.
fn short_collection(name: &str, item: Value) -> Value {
    json!({
        "name": name,
        "properties": {
            name: {"type": "array", "items": item},
            "schema": {"type": "string"},
        },
        "links": [{"rel": "describedby", "href": "{schema}"}],
    })
}

/// The members of a JSON object literal.
fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}

fn image(formats: &ImageFormatConfig) -> Value {
    let mut properties = object(image_properties());
    for (name, list, description) in [
        (
            "container_format",
            &formats.container_formats,
            "Format of the container",
        ),
        ("disk_format", &formats.disk_formats, "Format of the disk"),
    ] {
        let values: Vec<Value> = std::iter::once(Value::Null)
            .chain(list.iter().map(|format| format.as_str().into()))
            .collect();
        properties.insert(
            name.to_owned(),
            json!({"type": ["null", "string"], "description": description, "enum": values}),
        );
    }
    properties.extend(formats.properties.definitions().clone());
    let mut image = json!({
        "name": "image",
        "properties": properties,
        "additionalProperties": {"type": "string"},
        "links": [
            {"rel": "self", "href": "{self}"},
            {"rel": "enclosure", "href": "{file}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    });
    let required = formats.properties.required();
    if let (false, Some(members)) = (required.is_empty(), image.as_object_mut()) {
        members.insert("required".to_owned(), required.into());
    }
    image
}

fn image_properties() -> Value {
    json!({
        "id": {
            "type": "string",
            "description": "An identifier for the image",
            "pattern": UUID_PATTERN,
        },
        "name": {
            "type": ["null", "string"],
            "description": "Descriptive name for the image",
            "maxLength": 255,
        },
        "status": {
            "type": "string",
            "readOnly": true,
            "description": "Status of the image",
            "enum": [
                "queued", "saving", "active", "killed", "deleted", "uploading", "importing",
                "pending_delete", "deactivated",
            ],
        },
        "visibility": {
            "type": "string",
            "description": "Scope of image accessibility",
            "enum": ["community", "public", "private", "shared"],
        },
        "protected": {
            "type": "boolean",
            "description": "If true, image will not be deletable.",
        },
        "os_hidden": {
            "type": "boolean",
            "description": "If true, image will not appear in default image list response.",
        },
        "checksum": {
            "type": ["null", "string"],
            "readOnly": true,
            "description": "md5 hash of image contents.",
            "maxLength": 32,
        },
        "os_hash_algo": {
            "type": ["null", "string"],
            "readOnly": true,
            "description": "Algorithm to calculate the os_hash_value",
            "maxLength": 64,
        },
        "os_hash_value": {
            "type": ["null", "string"],
            "readOnly": true,
            "description": "Hexdigest of the image contents using the algorithm specified by the \
                            os_hash_algo",
            "maxLength": 128,
        },
        "owner": {
            "type": ["null", "string"],
            "description": "Owner of the image",
            "maxLength": 255,
        },
        "size": {
            "type": ["null", "integer"],
            "readOnly": true,
            "description": "Size of image file in bytes",
        },
        "virtual_size": {
            "type": ["null", "integer"],
            "readOnly": true,
            "description": "Virtual size of image in bytes",
        },
        "created_at": {
            "type": "string",
            "readOnly": true,
            "description": "Date and time of image registration",
        },
        "updated_at": {
            "type": "string",
            "readOnly": true,
            "description": "Date and time of the last image modification",
        },
        "tags": {
            "type": "array",
            "description": "List of strings related to the image",
            "items": {"type": "string", "maxLength": 255},
        },
        "direct_url": {
            "type": "string",
            "readOnly": true,
            "description": "URL to access the image file kept in external store",
        },
        "min_ram": {
            "type": "integer",
            "description": "Amount of ram (in MB) required to boot image.",
        },
        "min_disk": {
            "type": "integer",
            "description": "Amount of disk space (in GB) required to boot image.",
        },
        "self": {"type": "string", "readOnly": true, "description": "An image self url"},
        "file": {"type": "string", "readOnly": true, "description": "An image file url"},
        "stores": {
            "type": "string",
            "readOnly": true,
            "description": "Store in which image data resides.  Only present when the operator \
                            has enabled multiple stores.  May be a comma-separated list of store \
                            identifiers.",
        },
        "schema": {"type": "string", "readOnly": true, "description": "An image schema url"},
        "locations": locations(),
    })
}

fn locations() -> Value {
    json!({
        "type": "array",
        "description": "A set of URLs to access the image file kept in external store",
        "items": {
            "type": "object",
            "properties": {
                "url": {"type": "string", "maxLength": 255},
                "metadata": {"type": "object"},
                "validation_data": {
                    "description": "Values to be used to populate the corresponding image \
                                    properties. If the image status is not 'queued', values must \
                                    exactly match those already contained in the image properties.",
                    "type": "object",
                    "writeOnly": true,
                    "additionalProperties": false,
                    "properties": {
                        "checksum": {"type": "string", "minLength": 32, "maxLength": 32},
                        "os_hash_algo": {"type": "string", "maxLength": 64},
                        "os_hash_value": {"type": "string", "maxLength": 128},
                    },
                    "required": ["os_hash_algo", "os_hash_value"],
                },
            },
            "required": ["url", "metadata"],
        },
    })
}

fn member_properties() -> Map<String, Value> {
    object(json!({
        "member_id": {
            "type": "string",
            "description": "An identifier for the image member (tenantId)",
        },
        "image_id": {
            "type": "string",
            "description": "An identifier for the image",
            "pattern": UUID_PATTERN,
        },
        "created_at": {
            "type": "string",
            "description": "Date and time of image member creation",
        },
        "updated_at": {
            "type": "string",
            "description": "Date and time of last modification of image member",
        },
        "status": {
            "type": "string",
            "description": "The status of this image member",
            "enum": ["pending", "accepted", "rejected"],
        },
        "schema": {"readOnly": true, "type": "string"},
    }))
}

fn task_properties() -> Map<String, Value> {
    object(json!({
        "id": {
            "description": "An identifier for the task",
            "pattern": UUID_PATTERN,
            "type": "string",
        },
        "type": {
            "description": "The type of task represented by this content",
            "enum": ["import", "api_image_import", "location_import"],
            "type": "string",
        },
        "status": {
            "description": "The current status of this task",
            "enum": ["pending", "processing", "success", "failure"],
            "type": "string",
        },
        "input": {
            "description": "The parameters required by task, JSON blob",
            "type": ["null", "object"],
        },
        "result": {
            "description": "The result of current task, JSON blob",
            "type": ["null", "object"],
        },
        "owner": {"description": "An identifier for the owner of this task", "type": "string"},
        "message": {
            "description": "Human-readable informative message only included when appropriate \
                            (usually on failure)",
            "type": "string",
        },
        "image_id": {"description": "Image associated with the task", "type": "string"},
        "request_id": {"description": "Human-readable informative request-id", "type": "string"},
        "user_id": {"description": "User associated with the task", "type": "string"},
        "expires_at": {
            "description": "Datetime when this resource would be subject to removal",
            "type": ["null", "string"],
        },
        "created_at": {
            "description": "Datetime when this resource was created",
            "type": "string",
        },
        "updated_at": {
            "description": "Datetime when this resource was updated",
            "type": "string",
        },
        "self": {"readOnly": true, "type": "string"},
        "schema": {"readOnly": true, "type": "string"},
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::properties::Properties;

    fn read(name: &str) -> Value {
        let formats = ImageFormatConfig {
            disk_formats: vec!["raw".into()],
            container_formats: vec!["bare".into()],
            ..ImageFormatConfig::default()
        };
        serde_json::from_slice(&Schemas::new(&formats).get(name).unwrap()).unwrap()
    }

    #[test]
    fn the_image_schema_lists_the_configured_formats() {
        let schema = read("image");
        assert_eq!(
            schema["properties"]["disk_format"]["enum"],
            json!([null, "raw"])
        );
        assert_eq!(schema["additionalProperties"], json!({"type": "string"}));
        assert_eq!(schema["properties"]["kernel_id"]["is_base"], false);
        assert_eq!(schema["properties"].as_object().unwrap().len(), 34);
        assert!(schema.get("required").is_none());
        assert_eq!(
            read("images")["properties"]["images"]["items"],
            schema,
            "the collection holds the item"
        );
    }

    #[test]
    fn what_the_operator_defines_stands_in_both_image_schemas() {
        let defined = json!({"properties": {"team": {}}, "required": ["team"]});
        let formats = ImageFormatConfig {
            properties: Properties::parse(defined).unwrap(),
            ..ImageFormatConfig::default()
        };
        let schemas = Schemas::new(&formats);
        let read = |name| serde_json::from_slice::<Value>(&schemas.get(name).unwrap()).unwrap();
        let image = read("image");
        assert_eq!(image["properties"]["team"], json!({"is_base": false}));
        assert_eq!(image["required"], json!(["team"]));
        assert!(image["properties"].get("kernel_id").is_none());
        assert_eq!(read("images")["properties"]["images"]["items"], image);
    }

    #[test]
    fn tasks_of_a_list_are_stubs() {
        let items = &read("tasks")["properties"]["tasks"]["items"]["properties"];
        assert!(items.get("input").is_none() && items.get("id").is_some());
        assert!(read("task")["properties"].get("input").is_some());
    }

    #[test]
    fn every_schema_of_the_api_is_there() {
        for name in ["image", "images", "member", "members", "task", "tasks"] {
            assert!(read(name)["name"].is_string(), "{name}");
        }
        for name in [
            "namespace",
            "namespaces",
            "resource_type",
            "resource_types",
            "property",
            "properties",
            "object",
            "objects",
            "tag",
            "tags",
        ] {
            assert!(read(&format!("metadefs/{name}"))["name"].is_string());
        }
    }
}
