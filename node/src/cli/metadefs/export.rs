//! Namespaces into files that `load` takes, here and in the reference.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Map, Value};

use super::{
    Line,
    client::{Client, path},
};

/// Writes every namespace that the caller sees.
pub(super) async fn run(client: &Client, directory: &Path) -> Result<Vec<Line>, String> {
    if !directory.is_dir() {
        return Err(format!("{}: no such directory", directory.display()));
    }
    let mut lines = Vec::new();
    let mut taken = BTreeSet::new();
    for name in names(client).await? {
        let file = directory.join(file_name(&name, &mut taken));
        let written = match client.get(&path(&name, &[])).await? {
            Some(Value::Object(namespace)) => write(&file, namespace),
            Some(_) => Err("the node answered no JSON object".to_owned()),
            // Removed meanwhile.
            None => continue,
        };
        let (result, cause) = match written {
            Ok(()) => ("written", String::new()),
            Err(cause) => ("failed", cause),
        };
        lines.push(Line {
            file: file.display().to_string(),
            namespace: name,
            result,
            cause,
        });
    }
    Ok(lines)
}

/// The names of all namespaces, page by page.
async fn names(client: &Client) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    let mut next = Some("/v2/metadefs/namespaces?sort_key=namespace&sort_dir=asc".to_owned());
    while let Some(link) = next.take() {
        let page = client.get(&link).await?;
        let page = page.ok_or("the node has no metadata definitions")?;
        let before = names.len();
        for namespace in page
            .get("namespaces")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let name = namespace.get("namespace").and_then(Value::as_str);
            names.extend(name.map(str::to_owned));
        }
        // A page without anything new would not be the last of such pages.
        if names.len() > before {
            next = page.get("next").and_then(Value::as_str).map(str::to_owned);
        }
    }
    Ok(names)
}

/// A name of its own for the file of a namespace.
fn file_name(namespace: &str, taken: &mut BTreeSet<String>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let stem: String = namespace
        .trim_start_matches('.')
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .collect();
    let mut name = format!("{stem}.json");
    let mut number = 2;
    // Some file systems take no notice of case.
    while !taken.insert(name.to_ascii_lowercase()) {
        name = format!("{stem}-{number}.json");
        number += 1;
    }
    name
}

/// Writes a file as a whole or not at all.
fn write(file: &Path, mut namespace: Map<String, Value>) -> Result<(), String> {
    const COMPUTED: [&str; 4] = ["self", "schema", "created_at", "updated_at"];
    namespace.retain(|name, _| !COMPUTED.contains(&name.as_str()));
    for part in ["objects", "resource_type_associations"] {
        let items = namespace.get_mut(part).and_then(Value::as_array_mut);
        for item in items.into_iter().flatten().filter_map(Value::as_object_mut) {
            item.retain(|name, _| !COMPUTED.contains(&name.as_str()));
        }
    }
    // The newest comes first when they are shown, and last when they are made.
    if let Some(tags) = namespace.get_mut("tags").and_then(Value::as_array_mut) {
        tags.reverse();
    }
    let text = serde_json::to_string_pretty(&namespace).map_err(|cause| cause.to_string())?;
    let new = file.with_extension("json.new");
    fs::write(&new, format!("{text}\n"))
        .and_then(|()| fs::rename(&new, file))
        .map_err(|cause| cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_plain_names_of_their_own() {
        let mut taken = BTreeSet::new();
        for (namespace, file) in [
            ("OS::Compute::Quota", "OS__Compute__Quota.json"),
            ("os::compute::quota", "os__compute__quota-2.json"),
            ("OS//Compute::Quota", "OS__Compute__Quota-3.json"),
            ("../é", "__.json"),
        ] {
            assert_eq!(file_name(namespace, &mut taken), file);
        }
    }
}
