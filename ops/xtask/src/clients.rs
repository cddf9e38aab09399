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
    command::run(
        black_box(workspace)
            .args([
                "--test",
                "clients",
                "--",
                "--include-ignored",
                "--nocapture",
            ])
            .env("GLIMPSE_CLIENTS", programs)
            .env("GLIMPSE_CLIENT_SCRIPTS", workspace.path("tests/clients")),
    )?;
    Ok(Outcome::Passed)
}
