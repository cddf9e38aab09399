//! `glimpse status`: asks the admin listener of a running node.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    USAGE,
    output::{Output, fail, print, print_json},
};
use crate::config::{Config, ConfigError};

/// For each step of the question.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of an answer at most.
const ANSWER_BYTES: u64 = 1 << 20;

pub(super) fn run(loaded: Result<Config, ConfigError>, output: Output) -> ExitCode {
    let status = match loaded {
        Ok(config) => look(&config).map_err(|cause| (1, cause)),
        Err(error) => Err((USAGE, error.to_string())),
    };
    match (status, output) {
        (Ok(status), _) => {
            let code = if is_ready(&status) { 0 } else { 1 };
            match output {
                Output::Json => print_json(&status, code),
                Output::Table => print(table(&status).as_bytes(), code),
            }
        }
        (Err((code, cause)), Output::Json) => {
            print_json(&json!({"ready": false, "error": cause}), code)
        }
        (Err((code, cause)), Output::Table) => fail(code, &cause),
    }
}

/// What the node says, with `ready` in front, or why there is no answer.
fn look(config: &Config) -> Result<Value, String> {
    let listen = &config.admin.listen;
    let address = listen
        .parse()
        .map_err(|_| "admin.listen is empty: there is nobody to ask".to_owned())?;
    let mut status =
        ask(address).map_err(|cause| format!("no answer from {listen} (admin.listen): {cause}"))?;
    let ready = status
        .get("not_ready")
        .and_then(Value::as_array)
        .is_some_and(Vec::is_empty);
    if let Some(fields) = status.as_object_mut() {
        fields.insert("ready".to_owned(), ready.into());
    }
    Ok(status)
}

fn is_ready(status: &Value) -> bool {
    status.get("ready") == Some(&Value::Bool(true))
}

/// What `/status` says.
pub(crate) fn ask(address: SocketAddr) -> io::Result<Value> {
    match exchange(address, "GET /status")? {
        (200, status) => Ok(status),
        (other, _) => Err(io::Error::other(format!("it answered {other}"))),
    }
}

/// One request (method and path) in HTTP/1.0, whose answer ends with the connection: no client
/// library is needed. Gives status and JSON.
pub(super) fn exchange(address: SocketAddr, request: &str) -> io::Result<(u16, Value)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{request} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let first = head.lines().next().unwrap_or_default();
    let status = first.split(' ').nth(1).and_then(|text| text.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("it answered {first:?}")))?;
    let value = serde_json::from_str(body);
    Ok((status, value.map_err(io::Error::other)?))
}

/// The answer as lines of `key  value`, nested keys with dots.
pub(super) fn table(status: &Value) -> String {
    let mut rows = Vec::new();
    flatten("", status, &mut rows);
    let width = rows.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    rows.iter()
        .map(|(key, value)| format!("{key:width$}  {value}\n"))
        .collect()
}

fn flatten(prefix: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let name = if prefix.is_empty() {
                    key.clone()
                } else {
                    format!("{prefix}.{key}")
                };
                flatten(&name, value, rows);
            }
        }
        Value::Array(items) => {
            if items.is_empty() {
                rows.push((prefix.to_owned(), "-".to_owned()));
            }
            for item in items {
                // A warning is one line, not two.
                match (item.get("key"), item.get("message")) {
                    (Some(Value::String(key)), Some(Value::String(message))) => {
                        rows.push((prefix.to_owned(), format!("{key}: {message}")));
                    }
                    _ => flatten(prefix, item, rows),
                }
            }
        }
        Value::String(text) => rows.push((prefix.to_owned(), text.clone())),
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            rows.push((prefix.to_owned(), value.to_string()));
        }
    }
}
