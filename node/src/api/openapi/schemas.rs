//! The schemas that the description refers to: those of `/v2/schemas`, and what has no document there.

use serde_json::{Map, Value, json};

use crate::api::schemas::Schemas;

/// All of them by name; `metadefs/tag` is `metadefs.tag` here.
pub(super) fn components(schemas: &Schemas) -> Value {
    let mut all = Map::new();
    for (name, document) in schemas.iter() {
        let name = name.replace('/', ".");
        // What is defined in a document is referred to from its root.
        let text = String::from_utf8_lossy(document);
        let text = text.replace(
            "\"#/definitions/",
            &format!("\"#/components/schemas/{name}/definitions/"),
        );
        let mut schema: Value = serde_json::from_str(&text).unwrap_or_default();
        if let Some(members) = schema.as_object_mut() {
            members.insert("type".into(), "object".into());
        }
        all.insert(name, schema);
    }
    if let Value::Object(others) = others() {
        all.extend(others);
    }
    all.into()
}

fn others() -> Value {
    let reference = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    let ids = json!({"type": "array", "items": {"type": "string", "format": "uuid"}});
    let list = |item: Value| json!({"type": "array", "items": item});
    json!({
        "any": {},
        "null": {"type": "null"},
        "schema": {"type": "object"},
        "error": {
            "type": "object",
            "required": ["message", "code", "title"],
            "properties": {
                "message": {"type": "string"},
                "code": {"type": "string"},
                "title": {"type": "string"},
            },
        },
        "versions": {
            "type": "object",
            "required": ["versions"],
            "properties": {"versions": list(json!({
                "type": "object",
                "required": ["id", "status", "links"],
                "properties": {
                    "id": {"type": "string"},
                    "status": {"enum": ["CURRENT", "SUPPORTED"]},
                    "links": {"type": "array"},
                },
            }))},
        },
        "patch": list(json!({
            "type": "object",
            "required": ["op", "path"],
            "properties": {
                "op": {"enum": ["add", "remove", "replace"]},
                "path": {"type": "string"},
                "value": {},
            },
        })),
        "import": {
            "type": "object",
            "required": ["method"],
            "properties": {
                "method": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"type": "string"}, "uri": {"type": "string"}},
                },
                "stores": list(json!({"type": "string"})),
                "all_stores": {"type": "boolean"},
                "all_stores_must_succeed": {"type": "boolean"},
            },
        },
        "image_tasks": {
            "type": "object",
            "required": ["tasks"],
            "properties": {"tasks": {"type": "array", "items": {"type": "object"}}},
        },
        "location": {
            "type": "object",
            "required": ["url"],
            "properties": {
                "url": {"type": "string"},
                "validation_data": {
                    "type": "object",
                    "properties": {
                        "os_hash_algo": {"type": "string"},
                        "os_hash_value": {"type": "string"},
                    },
                },
            },
        },
        "locations": list(json!({
            "type": "object",
            "required": ["url", "metadata"],
            "properties": {"url": {"type": "string"}, "metadata": {"type": "object"}},
        })),
        "new_member": {
            "type": "object",
            "required": ["member"],
            "properties": {"member": {"type": "string"}},
        },
        "member_status": {
            "type": "object",
            "required": ["status"],
            "properties": {"status": {"enum": ["accepted", "rejected", "pending"]}},
        },
        "import_methods": {
            "type": "object",
            "required": ["import-methods"],
            "properties": {"import-methods": {"type": "object"}},
        },
        "stores": {
            "type": "object",
            "required": ["stores"],
            "properties": {"stores": list(json!({
                "type": "object",
                "required": ["id"],
                "properties": {
                    "id": {"type": "string"},
                    "description": {"type": "string"},
                    "default": {"const": "true"},
                    "read-only": {"const": "true"},
                    "type": {"type": "string"},
                    "weight": {"type": "integer"},
                    "properties": {"type": "object"},
                },
            }))},
        },
        "usage": {
            "type": "object",
            "required": ["usage"],
            "properties": {"usage": {"type": "object"}},
        },
        "new_task": {
            "type": "object",
            "required": ["type", "input"],
            "properties": {"type": {"type": "string"}, "input": {"type": "object"}},
        },
        "cached_image": {
            "type": "object",
            "required": ["image_id", "hits", "last_accessed", "last_modified", "size"],
            "properties": {
                "image_id": {"type": "string", "format": "uuid"},
                "hits": {"type": "integer"},
                "last_accessed": {"type": "number"},
                "last_modified": {"type": "number"},
                "size": {"type": ["integer", "null"]},
                "checksum": {"type": ["string", "null"]},
                "chunks": {"type": "integer"},
                "chunks_cached": {"type": "integer"},
            },
        },
        "cache": {
            "type": "object",
            "required": ["cached_images", "queued_images"],
            "properties": {
                "cached_images": list(reference("cached_image")),
                "queued_images": ids,
                "partial_images": list(reference("cached_image")),
                "failed_images": {"type": "array", "items": {"type": "object"}},
                "images_left_out": {"type": "integer"},
            },
        },
        "cached_images": {
            "type": "object",
            "required": ["cached_images"],
            "properties": {"cached_images": list(reference("cached_image"))},
        },
        "queued_images": {
            "type": "object",
            "required": ["queued_images"],
            "properties": {"queued_images": ids},
        },
        "nodes": list(json!({"type": "string"})),
        "pruned": {
            "type": "object",
            "required": ["total_files_pruned", "total_bytes_pruned"],
            "properties": {
                "total_files_pruned": {"type": "integer"},
                "total_bytes_pruned": {"type": "integer"},
            },
        },
        "deleted": {
            "type": "object",
            "required": ["num_deleted"],
            "properties": {"num_deleted": {"type": "integer"}},
        },
        "metadef_tags": {
            "type": "object",
            "required": ["tags"],
            "properties": {"tags": list(json!({
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}},
            }))},
        },
    })
}
