//! Stage `lint`: what can be said of the code without running it.

use crate::{
    command,
    stage::{ADVISORIES, Budget, Outcome},
    tools,
    workspace::Workspace,
};

/// Formatting, clippy and documentation with warnings denied, licences and duplicates.
pub(crate) fn run(workspace: &Workspace, _budget: Budget) -> Result<Outcome, String> {
    command::run(workspace.cargo().args(["fmt", "--all", "--check"]))?;
    command::run(workspace.cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ]))?;
    command::run(
        workspace
            .cargo()
            .args([
                "doc",
                "--workspace",
                "--no-deps",
                "--document-private-items",
            ])
            .env("RUSTDOCFLAGS", "--deny warnings"),
    )?;
    deny(workspace)
}

/// `cargo deny`. The advisories need a database fetched by git, which is not within reach
/// everywhere; then, and only then, they are reported as not run. That gap is always allowed.
fn deny(workspace: &Workspace) -> Result<Outcome, String> {
    let deny = tools::cargo_deny(workspace)?;
    let check = |what: &[&str]| {
        let mut command = std::process::Command::new(&deny);
        command
            .current_dir(&workspace.root)
            .args(["--workspace", "check", "--hide-inclusion-graph"])
            .args(what);
        command
    };
    command::run(&mut check(&["licenses", "bans", "sources"]))?;

    let mut fetch = std::process::Command::new(&deny);
    fetch
        .current_dir(&workspace.root)
        .args(["fetch", "db"])
        .env("GIT_TERMINAL_PROMPT", "0");
    if !command::succeeds(&mut fetch) {
        return Ok(Outcome::Gap {
            name: ADVISORIES,
            why: "their database could not be fetched".to_owned(),
        });
    }
    command::run(&mut check(&["--disable-fetch", "advisories"]))?;
    Ok(Outcome::Passed)
}
