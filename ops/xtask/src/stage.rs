//! The stages: their list, running them, the table at the end.

use std::time::{Duration, Instant};

use crate::{
    clients, differential, lint, openapi, rust_tests, servers, tempest, workspace::Workspace,
};

/// How much a stage may spend.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Budget {
    /// What fits into CI.
    Usual,
    /// `--full`.
    Full,
}

/// What came of a stage in which nothing failed.
pub(crate) enum Outcome {
    /// Everything ran and held.
    Passed,
    /// What ran held; this did not run, which fails the stage unless the gap is allowed.
    Gap {
        /// For `--allow-gap`.
        name: &'static str,
        /// Why it did not run.
        why: String,
    },
}

/// The advisories' database is fetched by git from one place, which is not within reach everywhere,
/// and says nothing of a change that leaves the dependencies alone.
pub(crate) const ADVISORIES: &str = "advisories";

/// One stage.
struct Stage {
    name: &'static str,
    /// For `--list` and the table.
    what: &'static str,
    /// Run by `--servers` and not without.
    servers: bool,
    /// Longest time it should take with an empty target directory; passing it is reported.
    minutes: u64,
    run: fn(&Workspace, Budget) -> Result<Outcome, String>,
}

/// In the order of running: what fails soonest and cheapest first.
const STAGES: &[Stage] = &[
    Stage {
        name: "lint",
        what: "rustfmt, clippy, documentation, cargo-deny",
        servers: false,
        minutes: 6,
        run: lint::run,
    },
    Stage {
        name: "unit",
        what: "tests inside the crates",
        servers: false,
        minutes: 6,
        run: rust_tests::unit,
    },
    Stage {
        name: "api",
        what: "the release binary over HTTP",
        servers: false,
        minutes: 5,
        run: rust_tests::api,
    },
    Stage {
        name: "crash",
        what: "kill -9 under load; power cuts at random points",
        servers: false,
        minutes: 5,
        run: rust_tests::crash,
    },
    Stage {
        name: "fuzz",
        what: "random and hostile input",
        servers: false,
        minutes: 4,
        run: rust_tests::fuzz,
    },
    Stage {
        name: "clients",
        what: "openstack, glance, openstacksdk, qemu-img",
        servers: false,
        minutes: 5,
        run: clients::run,
    },
    Stage {
        name: "openapi",
        what: "openapi-spec-validator; schemathesis against the node",
        servers: false,
        minutes: 6,
        run: openapi::run,
    },
    Stage {
        name: "differential",
        what: "the same requests to the reference service, answers compared",
        servers: false,
        minutes: 4,
        run: differential::run,
    },
    Stage {
        name: "full-disk",
        what: "stores and log on a disk that fills up",
        servers: true,
        minutes: 2,
        run: servers::full_disk,
    },
    Stage {
        name: "keystone",
        what: "tokens of a real Keystone: valid, expired, revoked; Keystone slow and down",
        servers: true,
        minutes: 4,
        run: servers::keystone,
    },
    Stage {
        name: "tempest",
        what: "Tempest's image tests, behind a real Keystone",
        servers: true,
        minutes: 15,
        run: tempest::run,
    },
];

/// Prints every stage.
pub(crate) fn print_list() {
    for stage in STAGES {
        let kind = if stage.servers { "--servers" } else { "" };
        println!("{:<12} {:<10} {}", stage.name, kind, stage.what);
    }
}

/// Runs the named stages, or all of one kind; true when none failed.
pub(crate) fn run(
    workspace: &Workspace,
    names: &[String],
    servers: bool,
    full: bool,
    allowed: &[String],
) -> Result<bool, String> {
    let budget = if full { Budget::Full } else { Budget::Usual };
    if let Some(unknown) = names
        .iter()
        .find(|name| STAGES.iter().all(|stage| stage.name != **name))
    {
        let known: Vec<&str> = STAGES.iter().map(|stage| stage.name).collect();
        return Err(format!(
            "there is no stage {unknown}; there are {}",
            known.join(", ")
        ));
    }
    let chosen = STAGES.iter().filter(|stage| {
        if names.is_empty() {
            stage.servers == servers
        } else {
            names.iter().any(|name| name == stage.name)
        }
    });

    let mut rows = Vec::new();
    for stage in chosen {
        println!("\n=== {}: {}", stage.name, stage.what);
        let start = Instant::now();
        let outcome = (stage.run)(workspace, budget);
        let took = start.elapsed();
        let row = Row::new(stage, took, outcome, budget, allowed);
        println!("=== {}: {} in {}", row.name, row.result, seconds(took));
        rows.push(row);
    }

    println!("\nstage        time     result");
    for row in &rows {
        println!("{:<12} {:<8} {}", row.name, seconds(row.took), row.result);
    }
    Ok(rows.iter().all(|row| !row.failed))
}

struct Row {
    name: &'static str,
    took: Duration,
    result: String,
    failed: bool,
}

impl Row {
    fn new(
        stage: &Stage,
        took: Duration,
        outcome: Result<Outcome, String>,
        budget: Budget,
        allowed: &[String],
    ) -> Self {
        let (failed, mut result) = match outcome {
            Ok(Outcome::Passed) => (false, "passed".to_owned()),
            Ok(Outcome::Gap { name, why })
                if name == ADVISORIES || allowed.iter().any(|gap| gap == name) =>
            {
                (false, format!("passed, but NOT RUN: {name} ({why})"))
            }
            Ok(Outcome::Gap { name, why }) => (
                true,
                format!("FAILED: {name} did not run ({why}); --allow-gap {name} lets that pass"),
            ),
            Err(error) => (true, format!("FAILED: {error}")),
        };
        if budget == Budget::Usual && took > Duration::from_secs(stage.minutes * 60) {
            result.push_str(&format!(" (over its budget of {} min)", stage.minutes));
        }
        Self {
            name: stage.name,
            took,
            result,
            failed,
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(outcome: Result<Outcome, String>, allowed: &[&str]) -> bool {
        let allowed: Vec<String> = allowed.iter().map(|gap| (*gap).to_owned()).collect();
        Row::new(&STAGES[0], Duration::ZERO, outcome, Budget::Usual, &allowed).failed
    }

    fn gap(name: &'static str) -> Result<Outcome, String> {
        let why = "there is none".to_owned();
        Ok(Outcome::Gap { name, why })
    }

    #[test]
    fn what_did_not_run_fails_unless_its_gap_is_allowed() {
        assert!(!failed(Ok(Outcome::Passed), &[]));
        assert!(failed(Err("no".to_owned()), &["lint"]));
        assert!(failed(gap("qemu"), &[]));
        assert!(failed(gap("qemu"), &["root"]));
        assert!(!failed(gap("qemu"), &["root", "qemu"]));
        assert!(!failed(gap(ADVISORIES), &[]));
    }
}
