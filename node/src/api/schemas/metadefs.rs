//! The schemas of metadata definitions (image-api 1.9).

use serde_json::{Value, json};

use super::collection;

/// All documents by their names below `/v2/schemas/`.
pub(super) fn documents() -> [(&'static str, Value); 10] {
    let namespace = closed("namespace", &["namespace"], namespace());
    let object = closed("object", &["name"], object());
    let property = closed("property", &["type", "title", "name"], property());
    let unnamed = closed("property", &["type", "title"], self::property());
    let tag = closed("tag", &["name"], tag());
    let resource_type = closed("resource_type_association", &["name"], resource_type());
    let mut properties = collection("properties", Value::Null);
    properties["properties"]["properties"] =
        json!({"type": "object", "additionalProperties": unnamed});
    [
        (
            "metadefs/namespaces",
            defined(
                collection("namespaces", namespace.clone()),
                object_definitions(),
            ),
        ),
        (
            "metadefs/namespace",
            defined(namespace, object_definitions()),
        ),
        (
            "metadefs/objects",
            defined(collection("objects", object.clone()), object_definitions()),
        ),
        ("metadefs/object", defined(object, object_definitions())),
        (
            "metadefs/properties",
            defined(properties, property_definitions()),
        ),
        (
            "metadefs/property",
            defined(property, property_definitions()),
        ),
        ("metadefs/tags", collection("tags", tag.clone())),
        ("metadefs/tag", tag),
        (
            "metadefs/resource_types",
            collection("resource_type_associations", resource_type.clone()),
        ),
        ("metadefs/resource_type", resource_type),
    ]
}

/// What bodies of requests must match: the documents, and what they leave open of what is nested is
/// closed, since nothing could be made of it.
pub(crate) struct MetadefBodies {
    /// A namespace with everything in it.
    pub(crate) namespace: Value,
    /// An object.
    pub(crate) object: Value,
    /// A property with its name.
    pub(crate) property: Value,
    /// A tag.
    pub(crate) tag: Value,
    /// A list of tags.
    pub(crate) tags: Value,
    /// An association with a type of resource.
    pub(crate) resource_type: Value,
}

/// Makes them.
pub(crate) fn bodies() -> MetadefBodies {
    let item = |required: &str, properties: Value| {
        json!({
            "type": "object",
            "properties": properties,
            "additionalProperties": false,
            "required": [required],
        })
    };
    let mut definition = property();
    definition["confidential"] = json!({"type": "boolean"});
    definition["items"]["additionalProperties"] = json!(false);
    let mut definitions = object_definitions();
    let properties = &mut definitions["property"]["additionalProperties"];
    properties["properties"] = definition.clone();
    properties["additionalProperties"] = json!(false);
    let mut whole = namespace();
    for (part, properties) in [
        ("objects", object()),
        ("tags", tag()),
        ("resource_type_associations", resource_type()),
    ] {
        whole[part]["items"] = item("name", properties);
    }
    let tags = item("name", json!({"name": {"type": "string", "maxLength": 80}}));
    MetadefBodies {
        namespace: defined(
            closed("namespace", &["namespace"], whole),
            definitions.clone(),
        ),
        object: defined(closed("object", &["name"], object()), definitions),
        property: defined(
            closed("property", &["type", "title", "name"], definition),
            property_definitions(),
        ),
        tag: closed("tag", &["name"], tag()),
        tags: closed(
            "tags",
            &["tags"],
            json!({"tags": {"type": "array", "items": tags}}),
        ),
        resource_type: closed("resource_type_association", &["name"], resource_type()),
    }
}

/// A schema of exactly these properties.
fn closed(name: &str, required: &[&str], properties: Value) -> Value {
    json!({
        "name": name,
        "properties": properties,
        "additionalProperties": false,
        "required": required,
    })
}

fn defined(mut schema: Value, definitions: Value) -> Value {
    schema["definitions"] = definitions;
    schema
}

fn time(description: &str) -> Value {
    json!({
        "type": "string",
        "readOnly": true,
        "description": description,
        "format": "date-time",
    })
}

fn types() -> Value {
    json!([
        "array", "boolean", "integer", "number", "object", "string", null
    ])
}

fn namespace() -> Value {
    json!({
        "namespace": {
            "type": "string",
            "description": "The unique namespace text.",
            "maxLength": 80,
        },
        "display_name": {
            "type": "string",
            "description": "The user friendly name for the namespace. Used by UI if available.",
            "maxLength": 80,
        },
        "description": {
            "type": "string",
            "description": "Provides a user friendly description of the namespace.",
            "maxLength": 500,
        },
        "visibility": {
            "type": "string",
            "description": "Scope of namespace accessibility.",
            "enum": ["public", "private"],
        },
        "protected": {
            "type": "boolean",
            "description": "If true, namespace will not be deletable.",
        },
        "owner": {"type": "string", "description": "Owner of the namespace.", "maxLength": 255},
        "created_at": time("Date and time of namespace creation"),
        "updated_at": time("Date and time of the last namespace modification"),
        "schema": {"readOnly": true, "type": "string"},
        "self": {"readOnly": true, "type": "string"},
        "resource_type_associations": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "prefix": {"type": "string"},
                    "properties_target": {"type": "string"},
                },
            },
        },
        "properties": {"$ref": "#/definitions/property"},
        "objects": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "description": {"type": "string"},
                    "required": {"$ref": "#/definitions/stringArray"},
                    "properties": {"$ref": "#/definitions/property"},
                },
            },
        },
        "tags": {
            "type": "array",
            "items": {"type": "object", "properties": {"name": {"type": "string"}}},
        },
    })
}

fn object() -> Value {
    json!({
        "name": {"type": "string", "maxLength": 80},
        "description": {"type": "string"},
        "required": {"$ref": "#/definitions/stringArray"},
        "properties": {"$ref": "#/definitions/property"},
        "schema": {"readOnly": true, "type": "string"},
        "self": {"readOnly": true, "type": "string"},
        "created_at": time("Date and time of object creation"),
        "updated_at": time("Date and time of the last object modification"),
    })
}

fn property() -> Value {
    json!({
        "name": {"type": "string", "maxLength": 80},
        "title": {"type": "string"},
        "description": {"type": "string"},
        "operators": {"type": "array", "items": {"type": "string"}},
        "type": {"type": "string", "enum": types()},
        "required": {"$ref": "#/definitions/stringArray"},
        "minimum": {"type": "number"},
        "maximum": {"type": "number"},
        "maxLength": {"$ref": "#/definitions/positiveInteger"},
        "minLength": {"$ref": "#/definitions/positiveIntegerDefault0"},
        "pattern": {"type": "string", "format": "regex"},
        "enum": {"type": "array"},
        "readonly": {"type": "boolean"},
        "default": {},
        "items": {
            "type": "object",
            "properties": {
                "type": {"type": "string", "enum": types()},
                "enum": {"type": "array"},
            },
        },
        "maxItems": {"$ref": "#/definitions/positiveInteger"},
        "minItems": {"$ref": "#/definitions/positiveIntegerDefault0"},
        "uniqueItems": {"type": "boolean", "default": false},
        "additionalItems": {"type": "boolean"},
    })
}

fn tag() -> Value {
    json!({
        "name": {"type": "string", "maxLength": 80},
        "created_at": time("Date and time of tag creation"),
        "updated_at": time("Date and time of the last tag modification"),
    })
}

fn resource_type() -> Value {
    json!({
        "name": {
            "type": "string",
            "description": "Resource type names should be aligned with Heat resource types \
                            whenever possible: https://docs.openstack.org/heat/latest/\
                            template_guide/openstack.html",
            "maxLength": 80,
        },
        "prefix": {
            "type": "string",
            "description": "Specifies the prefix to use for the given resource type. Any \
                            properties in the namespace should be prefixed with this prefix when \
                            being applied to the specified resource type. Must include prefix \
                            separator (e.g. a colon :).",
            "maxLength": 80,
        },
        "properties_target": {
            "type": "string",
            "description": "Some resource types allow more than one key / value pair per \
                            instance.  For example, Cinder allows user and image metadata on \
                            volumes. Only the image properties metadata is evaluated by Nova \
                            (scheduling or drivers). This property allows a namespace target to \
                            remove the ambiguity.",
            "maxLength": 80,
        },
        "created_at": time("Date and time of resource type association"),
        "updated_at": time("Date and time of the last resource type association modification"),
    })
}

/// Definitions of a schema whose properties hold property definitions.
fn object_definitions() -> Value {
    let mut definitions = numbers();
    definitions["stringArray"] =
        json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true});
    definitions["property"] = json!({
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "required": ["title", "type"],
            "properties": property(),
        },
    });
    definitions
}

/// Definitions of the schema of one property definition.
fn property_definitions() -> Value {
    let mut definitions = numbers();
    definitions["stringArray"] = json!({
        "type": "array",
        "items": {"type": "string"},
        "minItems": 1,
        "uniqueItems": true,
    });
    definitions
}

fn numbers() -> Value {
    json!({
        "positiveInteger": {"type": "integer", "minimum": 0},
        "positiveIntegerDefault0": {
            "allOf": [{"$ref": "#/definitions/positiveInteger"}, {"default": 0}],
        },
    })
}
