//! Stages that need root, Debian and what they start or mount. The servers that later features
//! talk to (an identity service, object stores, databases) get their stages here with them.

use crate::{
    command,
    rust_tests::black_box,
    stage::{Budget, Outcome},
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
