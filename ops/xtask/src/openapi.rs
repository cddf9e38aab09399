//! Stage `openapi`: the description of the API against a validator, and the release binary against a
//! fuzzer that makes its requests of that description.

use crate::{
    command,
    rust_tests::black_box,
    stage::{Budget, Outcome},
    tools,
    workspace::Workspace,
};

/// Seconds of fuzzing, and with `--full`.
const SECONDS: (u32, u32) = (120, 900);

/// Installs both tools below the target directory and runs them.
pub(crate) fn run(workspace: &Workspace, budget: Budget) -> Result<Outcome, String> {
    workspace.build_release()?;
    let mut tests = black_box(workspace);
    let seconds = match budget {
        Budget::Usual => {
            // The same requests each time: what fails here is the change's doing.
            tests.env("GLIMPSE_FUZZ_SEED", "1");
            SECONDS.0
        }
        Budget::Full => SECONDS.1,
    };
    tests
        .args(["--test", "openapi", "--", "--include-ignored"])
        .arg("--nocapture")
        .env("GLIMPSE_OPENAPI_TOOLS", tools::openapi(workspace)?)
        .env("GLIMPSE_FUZZ_SECONDS", seconds.to_string());
    command::run_tests(&mut tests, 2, &[])?;
    Ok(Outcome::Passed)
}
