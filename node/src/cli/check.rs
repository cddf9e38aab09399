//! `glimpse check`: what is wrong with a configuration, and what is worth knowing about it here.

use std::{fmt::Write as _, process::ExitCode};

use serde::Serialize;

use super::{
    USAGE,
    output::{Output, print, print_json},
    surroundings,
};
use crate::{
    config::{Config, ConfigError, Override, Problem},
    policy::{Policy, Sources},
};

/// What `-o json` writes.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    /// Keys that the environment sets.
    overrides: &'a [Override],
    /// What holds, secrets hidden; only without problems.
    config: Option<&'a Config>,
}

pub(super) fn run(loaded: Result<Config, ConfigError>, output: Output) -> ExitCode {
    let (mut problems, config) = match loaded {
        Ok(config) => (Vec::new(), Some(config)),
        Err(ConfigError::Invalid(problems)) => (problems, None),
        Err(error @ (ConfigError::Unreadable { .. } | ConfigError::Syntax { .. })) => {
            (vec![Problem::new("--config", error.to_string())], None)
        }
    };
    let mut warnings = Vec::new();
    if let Some(config) = &config {
        warnings = config.warnings();
        // What only the reader of the policy file can tell.
        match Policy::load(Sources::of(&config.auth)) {
            Ok(policy) => warnings.extend(policy.warnings()),
            Err(error) => problems.push(Problem::new(error.key(), error.to_string())),
        }
        warnings.extend(surroundings::warnings(config));
    }
    let report = Report {
        ok: problems.is_empty(),
        warnings,
        overrides: config
            .as_ref()
            .map(|config| &*config.overrides)
            .unwrap_or_default(),
        config: config.as_ref().filter(|_| problems.is_empty()),
        problems,
    };
    let code = if report.ok { 0 } else { USAGE };
    match output {
        Output::Json => print_json(&report, code),
        Output::Table => print(table(&report).as_bytes(), code),
    }
}

fn table(report: &Report<'_>) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    for Override { key, variable } in report.overrides {
        let _ = writeln!(text, "note     {key}: overridden by {variable}");
    }
    for problem in &report.problems {
        let _ = writeln!(text, "error    {problem}");
    }
    for warning in &report.warnings {
        let _ = writeln!(text, "warning  {warning}");
    }
    if report.ok {
        text.push_str("ok\n");
    }
    text
}
