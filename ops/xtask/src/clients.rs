//! Stage `clients`: the clients people use, against the release binary.

use crate::{
    command,
    rust_tests::black_box,
    stage::{Budget, Outcome},
    tools,
    workspace::Workspace,
};

/// The Python clients from an environment of their own, and QEMU's tools.
pub(crate) fn run(workspace: &Workspace, _budget: Budget) -> Result<Outcome, String> {
    workspace.build_release()?;
    let programs = tools::clients(workspace)?;
    let mut walks = black_box(workspace);
    walks
        .args(["--test", "clients", "--", "--include-ignored"])
        .args(["--nocapture", "--skip", "qemu_"])
        .env("GLIMPSE_CLIENTS", programs)
        .env("GLIMPSE_CLIENT_SCRIPTS", workspace.path("tests/clients"));
    command::run_tests(&mut walks, 3, &[])?;

    let path = match tools::qemu(workspace) {
        Ok(path) => path,
        Err(why) => return Ok(Outcome::Gap { name: "qemu", why }),
    };
    let mut reads = black_box(workspace);
    reads
        .args(["--test", "clients", "qemu_", "--", "--include-ignored"])
        .env("PATH", &path);
    command::run_tests(&mut reads, 1, &[])?;
    // The format inspector on what QEMU really writes.
    let mut formats = workspace.cargo();
    formats
        .args(["test", "--package", "glimpse-node", "--lib"])
        .args(["format::tests::qemu", "--", "--include-ignored"])
        .env("PATH", &path);
    command::run_tests(&mut formats, 1, &[])?;
    Ok(Outcome::Passed)
}
