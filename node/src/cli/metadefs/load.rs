//! Files into namespaces.

use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{
    Existing, Line,
    client::{Client, path},
};

/// Bytes of a file at most.
const FILE_BYTES: u64 = 16 << 20;

/// Loads all files, each by itself; what cannot be loaded keeps no other waiting.
pub(super) async fn run(
    client: &Client,
    paths: &[PathBuf],
    existing: &Existing,
) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for file in files(paths)? {
        let (namespace, result) = match read(&file) {
            Ok(body) => {
                let name = text(&body, "namespace");
                (name.clone(), load(client, &name, body, existing).await)
            }
            Err(cause) => (String::new(), Err(cause)),
        };
        let (result, cause) = match result {
            Ok(result) => (result, String::new()),
            Err(cause) => ("failed", cause),
        };
        lines.push(Line {
            file: file.display().to_string(),
            namespace,
            result,
            cause,
        });
    }
    Ok(lines)
}

/// The files that the paths name, those of a directory by their names.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for path in paths {
        let failed = |cause| format!("{}: {cause}", path.display());
        if !std::fs::metadata(path).map_err(failed)?.is_dir() {
            found.push(path.clone());
            continue;
        }
        let mut within = Vec::new();
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            if file
                .extension()
                .is_some_and(|extension| extension == "json")
                && file.is_file()
            {
                within.push(file);
            }
        }
        if within.is_empty() {
            return Err(format!("{}: no file in it ends in .json", path.display()));
        }
        within.sort();
        found.extend(within);
    }
    Ok(found)
}

fn read(file: &Path) -> Result<Map<String, Value>, String> {
    let size = std::fs::metadata(file).map_err(|cause| cause.to_string())?;
    if size.len() > FILE_BYTES {
        return Err(format!("larger than {FILE_BYTES} bytes"));
    }
    let bytes = std::fs::read(file).map_err(|cause| cause.to_string())?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|cause| cause.to_string())?;
    let Value::Object(mut members) = value else {
        return Err("not a JSON object".to_owned());
    };
    if text(&members, "namespace").is_empty() {
        return Err("it names no namespace".to_owned());
    }
    // What another service's answer or export has besides: nulls say nothing.
    members.retain(|name, value| !value.is_null() && !READ_ONLY.contains(&name.as_str()));
    for part in ["objects", "resource_type_associations"] {
        for item in items_mut(&mut members, part) {
            item.retain(|_, value| !value.is_null());
        }
    }
    Ok(members)
}

const READ_ONLY: [&str; 4] = ["self", "schema", "created_at", "updated_at"];

async fn load(
    client: &Client,
    name: &str,
    body: Map<String, Value>,
    existing: &Existing,
) -> Result<&'static str, String> {
    let Some(known) = client.get(&path(name, &[])).await? else {
        create(client, body).await?;
        return Ok("created");
    };
    let Value::Object(known) = known else {
        return Err("the node answered no JSON object".to_owned());
    };
    if existing.overwrite {
        overwrite(client, name, &known, body).await?;
        return Ok("replaced");
    }
    if existing.merge {
        merge(client, name, &known, &body, existing.prefer_new).await?;
        return Ok("merged");
    }
    Ok("skipped")
}

async fn create(client: &Client, body: Map<String, Value>) -> Result<(), String> {
    let body = Value::Object(body);
    let path = "/v2/metadefs/namespaces";
    client.change(Method::POST, path, Some(&body)).await
}

/// Makes the new one beside the old one first, so that nothing is lost where it is refused.
async fn overwrite(
    client: &Client,
    name: &str,
    known: &Map<String, Value>,
    mut body: Map<String, Value>,
) -> Result<(), String> {
    let aside = format!("glimpse-load-{:016x}", rand::random::<u64>());
    let mut attributes = attributes_of(&body);
    attributes.entry("owner").or_insert_with(|| owner(known));
    body.insert("namespace".to_owned(), aside.as_str().into());
    create(client, body).await?;
    unprotect(client, name, known).await?;
    let removed = client.change(Method::DELETE, &path(name, &[]), None).await;
    let attributes = Value::Object(attributes);
    let renamed = match removed {
        Ok(()) => {
            let path = path(&aside, &[]);
            client.change(Method::PUT, &path, Some(&attributes)).await
        }
        failed => failed,
    };
    renamed.map_err(|cause| format!("{cause} (what was loaded is in the namespace {aside})"))
}

/// Adds what is not there; with `prefer_new` replaces what is.
async fn merge(
    client: &Client,
    name: &str,
    known: &Map<String, Value>,
    new: &Map<String, Value>,
    prefer_new: bool,
) -> Result<(), String> {
    let differs = |old: &Map<String, Value>, new: &Map<String, Value>| {
        ["prefix", "properties_target"]
            .iter()
            .any(|key| old.get(*key) != new.get(*key))
    };
    let mut unprotected = false;
    for new in items(new, "resource_type_associations") {
        let item = text(new, "name");
        match named(known, "resource_type_associations", &item) {
            Some(old) if prefer_new && differs(old, new) => {
                // An association cannot be changed but by making it anew.
                if !unprotected {
                    unprotect(client, name, known).await?;
                    unprotected = true;
                }
                let path = path(name, &["resource_types", &item]);
                client.change(Method::DELETE, &path, None).await?;
                add(client, name, "resource_types", new).await?;
            }
            Some(_) => {}
            None => add(client, name, "resource_types", new).await?,
        }
    }
    for new in items(new, "objects") {
        let item = text(new, "name");
        match named(known, "objects", &item) {
            Some(_) if prefer_new => put(client, name, ["objects", &item], new).await?,
            Some(_) => {}
            None => add(client, name, "objects", new).await?,
        }
    }
    for (item, definition) in members(new, "properties") {
        let mut new = definition.as_object().cloned().unwrap_or_default();
        new.insert("name".to_owned(), item.as_str().into());
        match members(known, "properties").find(|(known, _)| *known == item) {
            Some(_) if prefer_new => put(client, name, ["properties", item], &new).await?,
            Some(_) => {}
            None => add(client, name, "properties", &new).await?,
        }
    }
    let missing: Value = items(new, "tags")
        .map(|tag| text(tag, "name"))
        .filter(|tag| named(known, "tags", tag).is_none())
        .map(|tag| json!({"name": tag}))
        .collect();
    let tags = path(name, &["tags"]);
    client.append(&tags, &json!({"tags": missing})).await?;
    if prefer_new {
        let mut attributes = attributes_of(new);
        attributes.entry("owner").or_insert_with(|| owner(known));
        let attributes = Value::Object(attributes);
        client
            .change(Method::PUT, &path(name, &[]), Some(&attributes))
            .await?;
    }
    Ok(())
}

async fn add(
    client: &Client,
    name: &str,
    part: &str,
    new: &Map<String, Value>,
) -> Result<(), String> {
    let body = Value::Object(new.clone());
    let path = path(name, &[part]);
    client.change(Method::POST, &path, Some(&body)).await
}

async fn put(
    client: &Client,
    name: &str,
    rest: [&str; 2],
    new: &Map<String, Value>,
) -> Result<(), String> {
    let body = Value::Object(new.clone());
    let path = path(name, &rest);
    client.change(Method::PUT, &path, Some(&body)).await
}

/// Lets something be removed from a namespace.
async fn unprotect(client: &Client, name: &str, known: &Map<String, Value>) -> Result<(), String> {
    if known.get("protected") != Some(&Value::Bool(true)) {
        return Ok(());
    }
    let mut attributes = attributes_of(known);
    attributes.insert("protected".to_owned(), false.into());
    let attributes = Value::Object(attributes);
    let path = path(name, &[]);
    client.change(Method::PUT, &path, Some(&attributes)).await
}

/// A namespace without what is in it.
fn attributes_of(namespace: &Map<String, Value>) -> Map<String, Value> {
    const ATTRIBUTES: [&str; 6] = [
        "namespace",
        "display_name",
        "description",
        "visibility",
        "protected",
        "owner",
    ];
    let of = namespace.iter();
    of.filter(|(name, _)| ATTRIBUTES.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn owner(known: &Map<String, Value>) -> Value {
    known.get("owner").cloned().unwrap_or_default()
}

fn text(members: &Map<String, Value>, name: &str) -> String {
    let text = members.get(name).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

fn items<'m>(
    members: &'m Map<String, Value>,
    list: &str,
) -> impl Iterator<Item = &'m Map<String, Value>> {
    let items = members.get(list).and_then(Value::as_array);
    items.into_iter().flatten().filter_map(Value::as_object)
}

fn items_mut<'m>(
    members: &'m mut Map<String, Value>,
    list: &str,
) -> impl Iterator<Item = &'m mut Map<String, Value>> {
    let items = members.get_mut(list).and_then(Value::as_array_mut);
    let items = items.into_iter().flatten();
    items.filter_map(Value::as_object_mut)
}

fn named<'m>(
    members: &'m Map<String, Value>,
    list: &str,
    name: &str,
) -> Option<&'m Map<String, Value>> {
    items(members, list).find(|item| text(item, "name") == name)
}

fn members<'m>(
    of: &'m Map<String, Value>,
    name: &str,
) -> impl Iterator<Item = (&'m String, &'m Value)> {
    of.get(name)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}
