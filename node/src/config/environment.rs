//! The environment over the file: `GLIMPSE_API__LISTEN` is `api.listen`.
//!
//! The type of the key's default says how a text is read: a string as it is, a number or boolean
//! parsed, a list as a TOML list or separated by commas, a table as a TOML inline table.

use std::ffi::OsString;

use serde::Serialize;
use toml::{Table, Value};

use super::{Problem, schema};

/// What all names begin with. A name with this prefix that is no key is refused.
const PREFIX: &str = "GLIMPSE_";

/// A key whose value comes from the environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Override {
    /// The key in dotted form.
    pub key: String,
    /// The variable.
    pub variable: String,
}

/// Lays the variables over `table` and says which keys they set. Reports names that are no keys and
/// values of a wrong type.
pub(super) fn overlay<E>(
    known: &Table,
    table: &mut Table,
    environment: E,
) -> (Vec<Override>, Vec<Problem>)
where
    E: IntoIterator<Item = (OsString, OsString)>,
{
    let (mut overrides, mut problems) = (Vec::new(), Vec::new());
    let mut variables: Vec<(String, OsString)> = environment
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    // So that a whole table comes before one key of it, and reports do not move about.
    variables.sort();
    for (variable, value) in variables {
        let placed = match value.into_string() {
            Ok(text) => place(known, table, &variable, &text),
            Err(_) => Err("not UTF-8".to_owned()),
        };
        match placed {
            Ok(key) => overrides.push(Override { key, variable }),
            Err(message) => problems.push(Problem::new(variable, message)),
        }
    }
    (overrides, problems)
}

/// What to say of a variable that is no key's: the nearest that is one, if one is near.
fn unknown(known: &Table, path: &str) -> String {
    fn collect(known: &Table, prefix: &str, names: &mut Vec<String>) {
        for (key, value) in known {
            let name = format!("{prefix}{key}");
            if let Value::Table(below) = value {
                collect(below, &format!("{name}__"), names);
            }
            names.push(name);
        }
    }
    let mut names = Vec::new();
    collect(known, "", &mut names);
    match schema::nearest(names.iter().map(String::as_str), path) {
        Some(name) => {
            let name = name.to_ascii_uppercase();
            format!("unknown key; did you mean {PREFIX}{name}?")
        }
        None => "unknown key".to_owned(),
    }
}

/// Puts one variable at its place, and gives the key.
fn place(all: &Table, table: &mut Table, name: &str, text: &str) -> Result<String, String> {
    let path = name
        .strip_prefix(PREFIX)
        .unwrap_or(name)
        .to_ascii_lowercase();
    let mut known = all;
    let mut table = table;
    let mut parts = path.split("__").peekable();
    while let Some(part) = parts.next() {
        let Some(default) = known.get(part) else {
            return Err(unknown(all, &path));
        };
        if parts.peek().is_none() {
            let value = typed(default, text)?;
            let unknown = match (default, &value) {
                (Value::Table(known), Value::Table(table)) => schema::unknown_keys(known, table),
                (Value::Array(_), Value::Array(_)) => {
                    let pair = |value: &Value| Table::from_iter([(part.to_owned(), value.clone())]);
                    schema::unknown_keys(&pair(default), &pair(&value))
                }
                _ => Vec::new(),
            };
            if let Some(problem) = unknown.first() {
                return Err(problem.to_string());
            }
            table.insert(part.to_owned(), value);
            return Ok(path.replace("__", "."));
        }
        let Value::Table(inner) = default else {
            return Err(format!("{part:?} has no keys below it"));
        };
        known = inner;
        let below = table
            .entry(part)
            .or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(below) = below else {
            return Err(format!("{part:?} is not a table in the file"));
        };
        table = below;
    }
    Err(unknown(all, &path))
}

/// Reads a text as a value of the type of `default`.
fn typed(default: &Value, text: &str) -> Result<Value, String> {
    match default {
        Value::String(_) => Ok(Value::String(text.to_owned())),
        Value::Integer(_) => text
            .trim()
            .parse()
            .map(Value::Integer)
            .map_err(|_| format!("{text:?} is no whole number")),
        Value::Boolean(_) => text
            .trim()
            .parse()
            .map(Value::Boolean)
            .map_err(|_| format!("{text:?} is neither true nor false")),
        Value::Array(_) if text.trim().is_empty() => Ok(Value::Array(Vec::new())),
        Value::Array(items) if !text.trim_start().starts_with('[') => {
            let like = items
                .first()
                .cloned()
                .unwrap_or(Value::String(String::new()));
            text.split(',')
                .map(|item| typed(&like, item.trim()))
                .collect::<Result<_, _>>()
                .map(Value::Array)
        }
        Value::Array(_) | Value::Table(_) => format!("value = {text}")
            .parse::<Table>()
            .ok()
            .and_then(|mut table| table.remove("value"))
            .ok_or_else(|| "not in TOML form".to_owned()),
        Value::Float(_) | Value::Datetime(_) => Err("no key has this type".to_owned()),
    }
}
