//! The stages: their list, running them, the table at the end.

use std::time::{Duration, Instant};

use crate::{clients, lint, rust_tests, servers, workspace::Workspace};

/// How much a stage may spend.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Budget {
    /// What fits into CI.
    Usual,
    /// `--full`.
    Full,
}

/// What came of a stage that did not fail.
pub(crate) enum Outcome {
    /// Everything ran and held.
    Passed,
    /// What ran held; this part did not run.
    PassedBut(String),
    /// Nothing ran, and why.
    NotRun(String),
}

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
        name: "full-disk",
        what: "stores and log on a disk that fills up",
        servers: true,
        minutes: 2,
        run: servers::full_disk,
    },
];

/// Prints every stage.
pub(crate) fn print_list() {
    for stage in STAGES {
        let kind = if stage.servers { "--servers" } else { "" };
        println!("{:<10} {:<10} {}", stage.name, kind, stage.what);
    }
}

/// Runs the named stages, or all of one kind; true when none failed.
pub(crate) fn run(
    workspace: &Workspace,
    names: &[String],
    servers: bool,
    full: bool,
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
        let row = Row::new(stage, took, outcome, budget);
        println!("=== {}: {} in {}", row.name, row.result, seconds(took));
        rows.push(row);
    }

    println!("\nstage      time     result");
    for row in &rows {
        println!("{:<10} {:<8} {}", row.name, seconds(row.took), row.result);
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
    ) -> Self {
        let failed = outcome.is_err();
        let mut result = match outcome {
            Ok(Outcome::Passed) => "passed".to_owned(),
            Ok(Outcome::PassedBut(gap)) => format!("passed, but not run: {gap}"),
            Ok(Outcome::NotRun(why)) => format!("NOT RUN: {why}"),
            Err(error) => format!("FAILED: {error}"),
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
