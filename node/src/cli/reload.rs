//! `glimpse reload`: has a running node read its configuration again, through its admin listener,
//! which can answer what was applied; a signal could not.

use std::{fmt::Write as _, process::ExitCode};

use serde_json::{Value, json};

use super::{
    USAGE,
    output::{Output, fail, print, print_json},
    status,
};
use crate::config::{Config, ConfigError};

pub(super) fn run(loaded: Result<Config, ConfigError>, output: Output) -> ExitCode {
    let (code, answer) = match loaded {
        Ok(config) => ask(&config),
        Err(error) => (USAGE, json!({"error": error.to_string()})),
    };
    match (output, answer.get("error").and_then(Value::as_str)) {
        (Output::Json, _) => print_json(&answer, code),
        (Output::Table, Some(cause)) => fail(code, &cause),
        (Output::Table, None) => print(table(&answer).as_bytes(), code),
    }
}

/// The exit code and the node's answer, or `error` with what kept it from one.
fn ask(config: &Config) -> (u8, Value) {
    let listen = &config.admin.listen;
    let Ok(address) = listen.parse() else {
        let error = "admin.listen is empty: there is nobody to ask (send SIGHUP instead)";
        return (1, json!({"error": error}));
    };
    match status::exchange(address, "POST /reload") {
        Ok((200, answer)) => (0, answer),
        // The node reads the file by itself: it may be another one, or have changed.
        Ok((400, answer)) => (USAGE, answer),
        Ok((status, _)) => (1, json!({"error": format!("{listen} answered {status}")})),
        Err(cause) => {
            let error = format!("no answer from {listen} (admin.listen): {cause}");
            (1, json!({"error": error}))
        }
    }
}

fn table(answer: &Value) -> String {
    let mut text = String::new();
    let words = |key: &str| {
        let list = answer.get(key).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str)
    };
    // Writing to a String cannot fail.
    for key in words("applied") {
        let _ = writeln!(text, "applied  {key}");
    }
    for key in words("restart") {
        let _ = writeln!(text, "restart  {key}: has changed and needs a restart");
    }
    text.push_str("reloaded\n");
    text
}
