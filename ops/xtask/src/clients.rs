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
    tools::qemu()?;
    let mut walks = black_box(workspace);
    walks
        .args([
            "--test",
            "clients",
            "--",
            "--include-ignored",
            "--nocapture",
        ])
        .env("GLIMPSE_CLIENTS", programs)
        .env("GLIMPSE_CLIENT_SCRIPTS", workspace.path("tests/clients"));
    command::run_tests(&mut walks, 4)?;
    // The format inspector on what QEMU really writes.
    let mut formats = workspace.cargo();
    formats.args([
        "test",
        "--package",
        "glimpse-node",
        "--lib",
        "format::tests::qemu",
    ]);
    command::run_tests(formats.env("GLIMPSE_TEST_QEMU", "1"), 1)?;
    Ok(Outcome::Passed)
}
