//! Stage `tempest`: Tempest's image tests against the node behind a real Keystone, with the settings of
//! the reference's own runs; `tests/tempest` has the scripts and the lists of tests that must pass.

use std::process::Command;

use crate::{
    command,
    stage::{Budget, Outcome},
    tools,
    workspace::Workspace,
};

/// Installs Tempest and Keystone below the target directory and runs the three suites.
pub(crate) fn run(workspace: &Workspace, _budget: Budget) -> Result<Outcome, String> {
    workspace.build_release()?;
    let path = match tools::qemu(workspace) {
        Ok(path) => path,
        Err(why) => return Ok(Outcome::Gap { name: "qemu", why }),
    };
    let tempest = tools::tempest(workspace)?;
    let keystone = tools::keystone(workspace)?;
    let mut script = Command::new(tempest);
    script
        .arg(workspace.path("tests/tempest/run.py"))
        .arg("--node")
        .arg(workspace.binary())
        .arg("--keystone")
        .arg(keystone)
        .arg("--work")
        .arg(workspace.folder("tempest")?)
        .env("PATH", path);
    command::run(&mut script)?;
    Ok(Outcome::Passed)
}
