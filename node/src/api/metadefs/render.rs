//! Metadata definitions as JSON, as the reference shows them (image-api 1.9): what is not said is
//! left out, links are relative to the server.

use glimpse_registry::{
    image::Timestamp,
    metadef::{Definition, Namespace, ResourceType},
};
use serde_json::{Map, Value, json};

use crate::api::timestamp;

/// A namespace without what is in it.
pub(super) fn namespace(namespace: &Namespace) -> Map<String, Value> {
    let attributes = &namespace.attributes;
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| {
        shown.insert(name.to_owned(), value);
    };
    put("namespace", attributes.name.as_str().into());
    for (name, text) in [
        ("display_name", &attributes.display_name),
        ("description", &attributes.description),
        ("owner", &attributes.owner),
    ] {
        if let Some(text) = text {
            put(name, text.as_str().into());
        }
    }
    put("visibility", attributes.visibility().into());
    put("protected", attributes.protected.into());
    put("created_at", time(namespace.created_at));
    put("updated_at", time(namespace.updated_at));
    put("self", path(namespace).into());
    put("schema", "/v2/schemas/metadefs/namespace".into());
    shown
}

/// The link to a namespace, as the reference writes it: nothing is escaped.
fn path(namespace: &Namespace) -> String {
    format!("/v2/metadefs/namespaces/{}", namespace.attributes.name)
}

/// An object as the answer to a change shows it: without what was not said.
pub(super) fn changed_object(of: &Namespace, definition: &Definition) -> Value {
    whole_object(of, definition, body(definition))
}

/// An object; `prefix` goes before the names of its properties.
pub(super) fn object(of: &Namespace, definition: &Definition, prefix: &str) -> Value {
    let mut shown = body(definition);
    let mut required = shown.remove("required").unwrap_or_else(|| json!([]));
    for name in required.as_array_mut().into_iter().flatten() {
        if let Value::String(name) = name {
            name.insert_str(0, prefix);
        }
    }
    let properties = match shown.remove("properties") {
        Some(Value::Object(properties)) => properties,
        _ => Map::new(),
    };
    let properties = properties
        .into_iter()
        .map(|(name, property)| (format!("{prefix}{name}"), property));
    shown.insert("required".to_owned(), required);
    shown.insert("properties".to_owned(), properties.collect());
    whole_object(of, definition, shown)
}

fn whole_object(of: &Namespace, definition: &Definition, mut shown: Map<String, Value>) -> Value {
    name_and_times(&mut shown, definition);
    let link = format!("{}/objects/{}", path(of), definition.name);
    shown.insert("self".to_owned(), link.into());
    shown.insert("schema".to_owned(), "/v2/schemas/metadefs/object".into());
    Value::Object(shown)
}

/// A property by itself.
pub(super) fn property(definition: &Definition) -> Value {
    let mut shown = body(definition);
    shown.insert("name".to_owned(), definition.name.as_str().into());
    Value::Object(shown)
}

/// Properties by their names, with `prefix` before each.
pub(super) fn properties(definitions: &[Definition], prefix: &str) -> Value {
    let each = definitions.iter();
    each.map(|one| (format!("{prefix}{}", one.name), Value::Object(body(one))))
        .collect()
}

/// A tag by itself.
pub(super) fn tag(definition: &Definition) -> Value {
    let mut shown = Map::new();
    name_and_times(&mut shown, definition);
    Value::Object(shown)
}

/// Tags in a list.
pub(super) fn tags<'n>(names: impl Iterator<Item = &'n str>) -> Value {
    names.map(|name| json!({"name": name})).collect()
}

/// The association with a type of resource.
pub(super) fn association(definition: &Definition) -> Value {
    let mut shown = body(definition);
    name_and_times(&mut shown, definition);
    Value::Object(shown)
}

/// The prefix that an association asks for.
pub(super) fn prefix(association: &Definition) -> Option<String> {
    match body(association).remove("prefix") {
        Some(Value::String(prefix)) => Some(prefix),
        _ => None,
    }
}

/// A type of resource.
pub(super) fn resource_type(resource_type: &ResourceType) -> Value {
    json!({
        "name": resource_type.name,
        "created_at": time(resource_type.created_at),
        "updated_at": time(resource_type.updated_at),
    })
}

fn name_and_times(shown: &mut Map<String, Value>, definition: &Definition) {
    shown.insert("name".to_owned(), definition.name.as_str().into());
    shown.insert("created_at".to_owned(), time(definition.created_at));
    shown.insert("updated_at".to_owned(), time(definition.updated_at));
}

/// What was said of a definition: always an object, since only such are kept.
fn body(definition: &Definition) -> Map<String, Value> {
    serde_json::from_str(&definition.body).unwrap_or_default()
}

fn time(time: Timestamp) -> Value {
    let mut text = Vec::with_capacity(24);
    timestamp::write(&mut text, time);
    String::from_utf8_lossy(&text).into()
}
