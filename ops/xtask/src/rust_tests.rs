//! Stages that are `cargo test` with another choice of tests and another budget.

use std::process::Command;

use crate::{
    command,
    stage::{Budget, Outcome},
    workspace::Workspace,
};

/// The crates that hold the product; the harnesses are checked by being used.
const CRATES: &[&str] = &[
    "glimpse-node",
    "glimpse-store",
    "glimpse-cache",
    "glimpse-registry",
    "glimpse-replication",
];

/// Tests inside the crates, documentation examples included.
pub(crate) fn unit(workspace: &Workspace, _budget: Budget) -> Result<Outcome, String> {
    command::run(&mut crates(workspace))?;
    Ok(Outcome::Passed)
}

/// Every black-box test that is not a stage of its own.
pub(crate) fn api(workspace: &Workspace, budget: Budget) -> Result<Outcome, String> {
    workspace.build_release()?;
    let rounds = if budget == Budget::Full { "200" } else { "12" };
    let mut test = black_box(workspace);
    test.args(["--test", "api", "--test", "model"]);
    test.env("GLIMPSE_MODEL_ROUNDS", rounds);
    command::run(&mut test)?;
    Ok(Outcome::Passed)
}

/// kill -9 of the real node, and the power-cut layer of the crates.
pub(crate) fn crash(workspace: &Workspace, budget: Budget) -> Result<Outcome, String> {
    workspace.build_release()?;
    let (rounds, points) = if budget == Budget::Full {
        ("2000", "20000")
    } else {
        ("200", "1000")
    };
    command::run(
        black_box(workspace)
            .args(["--test", "crash", "--", "--nocapture"])
            .env("GLIMPSE_KILL_ROUNDS", rounds),
    )?;
    command::run(
        crates(workspace)
            .args(["--lib", "--tests", "power_cut"])
            .env("GLIMPSE_POWER_CUT_POINTS", points),
    )?;
    Ok(Outcome::Passed)
}

/// Random input: the property tests of the crates with more cases, hostile requests to the node.
pub(crate) fn fuzz(workspace: &Workspace, budget: Budget) -> Result<Outcome, String> {
    workspace.build_release()?;
    let (cases, seconds) = if budget == Budget::Full {
        ("100000", "600")
    } else {
        ("4096", "45")
    };
    command::run(
        crates(workspace)
            .args(["--lib", "--tests", "fuzz"])
            .env("PROPTEST_CASES", cases),
    )?;
    command::run(
        black_box(workspace)
            .args(["--test", "fuzz", "--", "--nocapture"])
            .env("GLIMPSE_FUZZ_SECONDS", seconds),
    )?;
    Ok(Outcome::Passed)
}

/// `cargo test` over the product's crates.
fn crates(workspace: &Workspace) -> Command {
    let mut cargo = workspace.cargo();
    cargo.arg("test");
    for name in CRATES {
        cargo.args(["--package", name]);
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
