//! `GET /openapi.json`: the API in OpenAPI 3.1, made once from the router's own table of paths, from what
//! `operations` says of each method, and from the documents of `/v2/schemas`.
//!
//! It needs no token, as the version documents do not: it says what this program can be asked, nothing
//! of what is in it, and tools fetch it before they have one.

mod operation;
mod operations;
mod schemas;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};

use self::operation::{Body, Operation, Parameter};
use crate::{
    api::{
        router::{PATHS, Resource},
        schemas::Schemas,
    },
    config::Config,
};

/// Where it is.
pub(super) const PATH: &str = "/openapi.json";

/// Statuses that every operation may have: no identity; more requests than a bound of the node
/// allows, or something that it needs is not there.
const ALWAYS: [u16; 2] = [401, 503];

/// Makes the document for a node of this configuration.
pub(super) fn document(config: &Config, schemas: &Schemas) -> Bytes {
    let mut paths = Map::new();
    for path in PATHS {
        let legacy = Resource::find(path).is_some_and(Resource::is_legacy_cache);
        if legacy && !config.cache.legacy_api {
            continue;
        }
        let described = operations::all().filter(|op| op.path == *path);
        let mut item: Map<String, Value> = described
            .map(|op| (op.method.to_ascii_lowercase(), operation(op)))
            .collect();
        item.insert("parameters".into(), path_parameters(path));
        paths.insert(format!("/v2/{path}"), item.into());
    }
    unversioned(&mut paths);
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "OpenStack Image API",
            "version": "2",
            "description": "As Glimpse serves it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {
            "schemas": schemas::components(schemas),
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"},
            },
        },
    });
    document.to_string().into()
}

fn operation(op: &Operation) -> Value {
    let mut answers = Map::new();
    for (status, body) in op.answers.iter().filter(|(status, _)| *status != 0) {
        let mut answer = json!({"description": title(*status)});
        if let Some(content) = content(*body) {
            answer["content"] = content;
        }
        answers.insert(status.to_string(), answer);
    }
    for status in op.failures.iter().chain(&ALWAYS) {
        answers.insert(status.to_string(), failure(*status));
    }
    let parameters: Vec<Value> = op.parameters.iter().map(parameter).collect();
    let mut shown = json!({
        "operationId": format!("{} {}", op.method.to_ascii_lowercase(), op.path),
        "summary": op.summary,
        "responses": answers,
    });
    if !op.rule.is_empty() {
        shown["x-policy-rule"] = op.rule.into();
    }
    if !parameters.is_empty() {
        shown["parameters"] = parameters.into();
    }
    if let Some(content) = content(op.body) {
        shown["requestBody"] = json!({"required": true, "content": content});
    }
    shown
}

fn content(body: Body) -> Option<Value> {
    let (media, schema) = match body {
        Body::Nothing => return None,
        Body::Json(name) => ("application/json", reference(name)),
        Body::Patch => (
            "application/openstack-images-v2.1-json-patch",
            reference("patch"),
        ),
        Body::Data => ("application/octet-stream", json!({})),
    };
    Some(json!({ media: {"schema": schema} }))
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// An error comes in the form that `Accept` asks for.
fn failure(status: u16) -> Value {
    json!({
        "description": title(status),
        "content": {
            "application/json": {"schema": reference("error")},
            "text/plain": {"schema": {"type": "string"}},
            "text/html": {"schema": {"type": "string"}},
        },
    })
}

fn title(status: u16) -> &'static str {
    let known = StatusCode::from_u16(status).ok();
    known
        .and_then(|status| status.canonical_reason())
        .unwrap_or("")
}

fn parameter(parameter: &Parameter) -> Value {
    let (place, name, description, schema) = match parameter {
        Parameter::Query(name, text) => ("query", name, text, json!({"type": "string"})),
        Parameter::Integer(name, text) => {
            let schema = json!({"type": "integer", "minimum": 0});
            ("query", name, text, schema)
        }
        Parameter::Header(name, text) => ("header", name, text, json!({"type": "string"})),
    };
    json!({"in": place, "name": name, "description": description, "schema": schema})
}

/// Those in braces.
fn path_parameters(path: &str) -> Value {
    let names = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let shown = names.map(|name| {
        let schema = match name {
            "id" => json!({"type": "string", "format": "uuid"}),
            _ => json!({"type": "string", "minLength": 1}),
        };
        json!({"in": "path", "name": name, "required": true, "schema": schema})
    });
    shown.collect()
}

/// What lies beside `/v2/` and needs no identity.
fn unversioned(paths: &mut Map<String, Value>) {
    let versions = |status: u16| {
        json!({"get": {
            "summary": "List the versions of the API",
            "security": [],
            "responses": {
                status.to_string(): {
                    "description": title(status),
                    "content": {"application/json": {"schema": reference("versions")}},
                },
            },
        }})
    };
    paths.insert("/".into(), versions(300));
    paths.insert("/versions".into(), versions(200));
    paths.insert(
        "/healthcheck".into(),
        json!({"get": {
            "summary": "Ask whether the node should get requests",
            "security": [],
            "responses": {"200": failure(200), "503": failure(503)},
        }}),
    );
    paths.insert(
        PATH.into(),
        json!({"get": {
            "summary": "This document",
            "security": [],
            "responses": {
                "200": {
                    "description": "OK",
                    "content": {"application/json": {"schema": {"type": "object"}}},
                },
            },
        }}),
    );
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::ImageFormatConfig;

    #[test]
    fn every_method_of_every_route_is_described_and_nothing_else_is() {
        let routed: BTreeSet<(String, &str)> = PATHS
            .iter()
            .flat_map(|path| {
                let methods = Resource::find(path).unwrap().allow().split(", ");
                methods.map(|method| (method.to_owned(), *path))
            })
            .collect();
        let described: BTreeSet<(String, &str)> = operations::all()
            .map(|op| (op.method.to_owned(), op.path))
            .collect();
        assert_eq!(described, routed);
        assert_eq!(
            operations::all().count(),
            routed.len(),
            "one is described twice"
        );
    }

    #[test]
    fn every_rule_is_one_of_the_policy_and_every_reference_leads_somewhere() {
        for op in operations::all().filter(|op| !op.rule.is_empty()) {
            let mut rules = crate::policy::defaults::RULES.iter();
            assert!(rules.any(|rule| rule.name == op.rule), "{}", op.rule);
        }
        let schemas = Schemas::new(&ImageFormatConfig::default());
        let document = document(&Config::default(), &schemas);
        let document: Value = serde_json::from_slice(&document).unwrap();
        let mut pending = vec![&document];
        while let Some(value) = pending.pop() {
            match value {
                Value::Object(members) => {
                    if let Some(Value::String(reference)) = members.get("$ref") {
                        let pointer = reference.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                    }
                    pending.extend(members.values());
                }
                Value::Array(items) => pending.extend(items),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        assert!(document["paths"].get("/v2/cached_images").is_none());
    }
}
