//! Stages that need root, Debian and what they start or mount. The servers that later features
//! talk to (object stores, databases) get their stages here with them.

use std::process::Command;

use crate::{
    command,
    rust_tests::black_box,
    stage::{Budget, Outcome},
    tools,
    workspace::Workspace,
};

/// The store and the data directory on a small file system of their own that fills up.
pub(crate) fn full_disk(workspace: &Workspace, _budget: Budget) -> Result<Outcome, String> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Outcome::Gap {
            name: "full-disk",
            why: "mounting a small file system needs root".to_owned(),
        });
    }
    workspace.build_release()?;
    let mut full = black_box(workspace);
    full.args([
        "--test",
        "full_disk",
        "--",
        "--include-ignored",
        "--nocapture",
    ]);
    command::run_tests(&mut full, 2, &[])?;
    Ok(Outcome::Passed)
}

/// The real identity service. The tests start it themselves, each a copy of a folder made here, on ports
/// that are free, and it ends with them.
pub(crate) fn keystone(workspace: &Workspace, _budget: Budget) -> Result<Outcome, String> {
    workspace.build_release()?;
    let python = tools::keystone(workspace)?;
    let folder = workspace.target.join("keystone-folder");
    // Left by an earlier run.
    std::fs::remove_dir_all(&folder).ok();
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut prepare = Command::new(&python);
    prepare
        .arg(workspace.path("tests/keystone/serve_keystone.py"))
        .arg("prepare")
        .arg(&folder)
        .env("PYTHONWARNINGS", "ignore");
    command::run(&mut prepare)?;
    let mut tests = black_box(workspace);
    // One at a time: they share a Keystone on SQLite, which takes one writer.
    tests
        .args(["--test", "keystone", "--", "--include-ignored"])
        .args(["--test-threads", "1"])
        .env("GLIMPSE_KEYSTONE", python)
        .env("GLIMPSE_KEYSTONE_FOLDER", &folder);
    command::run_tests(&mut tests, 9, &[])?;
    Ok(Outcome::Passed)
}
