//! Stages that are `cargo test` with another choice of tests and another budget.

use std::process::Command;

use crate::{
    command,
    stage::{Budget, Outcome},
    workspace::Workspace,
};

/// The harnesses, which are checked by being used. All other crates have their own tests run.
const HARNESSES: &[&str] = &["glimpse-tests", "glimpse-bench"];

/// Modules whose tests throw random input at a parser or a format, by parts of their paths.
const PROPERTIES: &[&str] = &[
    "conditional",
    "config::tests",
    "damage",
    "digest::tests",
    "format::tests::random",
    "image_view",
    "list_query",
    "location",
    "manifest::",
    "manifests::",
    "new_image",
    "patch",
    "policy::tests::language",
    "range",
    "timestamp",
    "where_the_data_is_cut",
];

/// Tests on storage that loses what was not synced, by parts of their paths.
const POWER_CUTS: &[&str] = &[
    "data::tests::power_cut",
    "power_cut",
    "crash",
    "a_cut_at_any",
    "cuts_again",
];

/// Tests inside the crates, documentation examples included.
pub(crate) fn unit(workspace: &Workspace, _budget: Budget) -> Result<Outcome, String> {
    command::run_tests(&mut crates(workspace), 500, &[])?;
    Ok(Outcome::Passed)
}

/// Every black-box test that is not a stage of its own.
pub(crate) fn api(workspace: &Workspace, budget: Budget) -> Result<Outcome, String> {
    workspace.build_release()?;
    let rounds = if budget == Budget::Full { "200" } else { "12" };
    // Many of these wait for a time limit to pass, so more of them than cores may run.
    let mut api = black_box(workspace);
    api.args(["--lib", "--test", "api", "--", "--test-threads", "8"]);
    command::run_tests(&mut api, 245, &[])?;
    let mut model = black_box(workspace);
    model
        .args(["--test", "model", "--", "--nocapture"])
        .env("GLIMPSE_MODEL_ROUNDS", rounds);
    command::run_tests(&mut model, 1, &[])?;
    Ok(Outcome::Passed)
}

/// kill -9 of the real node, and power cuts inside the crates.
pub(crate) fn crash(workspace: &Workspace, budget: Budget) -> Result<Outcome, String> {
    workspace.build_release()?;
    let (rounds, points) = if budget == Budget::Full {
        ("2000", "20000")
    } else {
        ("200", "1000")
    };
    let mut kills = black_box(workspace);
    kills
        .args(["--test", "crash", "--", "--nocapture"])
        .env("GLIMPSE_KILL_ROUNDS", rounds);
    command::run_tests(&mut kills, 1, &[])?;
    let mut cuts = crates(workspace);
    cuts.args(["--lib", "--tests", "--"])
        .args(POWER_CUTS)
        .env("GLIMPSE_CRASH_POINTS", points);
    command::run_tests(&mut cuts, 8, POWER_CUTS)?;
    Ok(Outcome::Passed)
}

/// Random input: the property tests of the crates with more cases, hostile requests to the node.
pub(crate) fn fuzz(workspace: &Workspace, budget: Budget) -> Result<Outcome, String> {
    workspace.build_release()?;
    let (cases, seconds) = if budget == Budget::Full {
        ("100000", "600")
    } else {
        ("2048", "20")
    };
    let mut properties = crates(workspace);
    properties
        .args(["--lib", "--tests", "--"])
        .args(PROPERTIES)
        .env("PROPTEST_CASES", cases);
    command::run_tests(&mut properties, 100, PROPERTIES)?;
    let mut requests = black_box(workspace);
    requests
        .args(["--test", "fuzz", "--", "--nocapture"])
        .env("GLIMPSE_FUZZ_SECONDS", seconds);
    command::run_tests(&mut requests, 5, &[])?;
    Ok(Outcome::Passed)
}

/// `cargo test` over all crates but the harnesses.
pub(crate) fn crates(workspace: &Workspace) -> Command {
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--workspace"]);
    for name in HARNESSES {
        cargo.args(["--exclude", name]);
    }
    cargo
}

/// `cargo test` over the black-box tests, told which binary they test.
pub(crate) fn black_box(workspace: &Workspace) -> Command {
    let mut cargo = workspace.cargo();
    cargo
        .args(["test", "--package", "glimpse-tests"])
        .env("GLIMPSE_BIN", workspace.binary());
    cargo
}
