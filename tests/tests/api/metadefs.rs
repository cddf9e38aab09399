//! Metadata definitions (image-api 1.9): every route to the status, filter and link.

mod access;
mod conditions;
mod definitions;
mod files;
mod lists;
mod namespaces;

use glimpse_tests::{Answer, Client, Node, Persona, Setup};
use serde_json::{Value, json};

const NAMESPACES: &str = "/v2/metadefs/namespaces";

/// Who asks.
struct Cast {
    node: Node,
    /// Of project `operators`.
    admin: Client,
    /// Of project `alpha`.
    member: Client,
    /// Of project `alpha`.
    reader: Client,
    /// Of project `beta`.
    other: Client,
    /// Of project `alpha`, without a role that counts.
    nobody: Client,
}

async fn cast() -> Cast {
    cast_of(Setup::trusted()).await
}

async fn cast_of(setup: Setup) -> Cast {
    let node = setup.start().await;
    Cast {
        admin: node.client_of(&Persona::admin()),
        member: node.client_of(&Persona::member("alpha")),
        reader: node.client_of(&Persona::reader("alpha")),
        other: node.client_of(&Persona::member("beta")),
        nobody: node.client_of(&Persona::nobody("alpha")),
        node,
    }
}

/// The path of something in a namespace.
fn of(namespace: &str, rest: &str) -> String {
    format!("{NAMESPACES}/{namespace}{rest}")
}

async fn create(client: &Client, body: Value) -> Answer {
    client.post(NAMESPACES, body).await
}

/// One of everything.
fn whole(name: &str) -> Value {
    json!({
        "namespace": name,
        "display_name": "Display",
        "description": "What it is",
        "visibility": "public",
        "resource_type_associations": [
            {"name": "OS::X", "prefix": "x:"},
            {"name": "OS::Y", "properties_target": "image"},
        ],
        "properties": {
            "p1": {"type": "string", "title": "One"},
            "p2": {
                "type": "integer", "title": "Two", "description": "d", "operators": ["<or>"],
                "default": 5, "minimum": 1, "maximum": 9, "enum": [1, 5], "readonly": false,
                "confidential": true,
            },
        },
        "objects": [
            {
                "name": "o1", "description": "first", "required": ["k"],
                "properties": {"k": {"type": "array", "title": "K", "items": {"type": "string"}}},
            },
            {"name": "o2"},
        ],
        "tags": [{"name": "t1"}, {"name": "t2"}],
    })
}

/// The same without times, which differ.
fn timeless(mut value: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.remove("created_at");
                members.remove("updated_at");
                members.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut value);
    value
}

/// The names under `key` of each item of a list.
fn names(answer: &Answer, list: &str, key: &str) -> Vec<String> {
    let json = answer.json();
    let items = json[list].as_array().expect("a list").iter();
    let names = items.map(|item| item[key].as_str().expect("a name").to_owned());
    names.collect()
}
