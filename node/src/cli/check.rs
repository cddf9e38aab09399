//! `glimpse check`: what is wrong with a configuration.

use std::process::ExitCode;

use serde::Serialize;

use super::{Output, USAGE};
use crate::config::{Config, ConfigError, Problem};

/// What `-o json` writes.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    /// What holds, secrets hidden; only without problems.
    config: Option<&'a Config>,
}

pub(super) fn run(loaded: Result<Config, ConfigError>, output: Output) -> ExitCode {
    let (problems, config) = match loaded {
        Ok(config) => (problems_of_policy(&config), Some(config)),
        Err(ConfigError::Invalid(problems)) => (problems, None),
        Err(error @ (ConfigError::Unreadable { .. } | ConfigError::Syntax { .. })) => {
            let message = error.to_string();
            let key = "--config".to_owned();
            (vec![Problem { key, message }], None)
        }
    };
    let report = Report {
        ok: problems.is_empty(),
        warnings: config.as_ref().map(Config::warnings).unwrap_or_default(),
        config: config.as_ref().filter(|_| problems.is_empty()),
        problems,
    };
    match output {
        Output::Json => match serde_json::to_string_pretty(&report) {
            Ok(text) => println!("{text}"),
            Err(cause) => eprintln!("glimpse: {cause}"),
        },
        Output::Table => {
            for problem in &report.problems {
                println!("error    {problem}");
            }
            for warning in &report.warnings {
                println!("warning  {warning}");
            }
            if report.ok {
                println!("ok");
            }
        }
    }
    if report.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(USAGE)
    }
}

/// What only the reader of the policy file can tell.
fn problems_of_policy(config: &Config) -> Vec<Problem> {
    match crate::node::build_policy(config) {
        Ok(_) => Vec::new(),
        Err(error) => vec![Problem {
            key: "auth.policy_file".to_owned(),
            message: error.to_string(),
        }],
    }
}
