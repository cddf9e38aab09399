//! Stage `differential`: the same generated requests to the reference service and to the node, answers
//! compared; `tests/differential` has the generator and the list of differences that are meant.

use std::process::Command;

use crate::{
    command,
    stage::{Budget, Outcome},
    tools,
    workspace::Workspace,
};

/// Further seeds that `--full` runs. The first, that of the script, is the one whose every line of
/// `differences.toml` must be met.
const MORE_SEEDS: std::ops::RangeInclusive<u32> = 2..=10;

/// Installs the reference below the target directory and runs the comparison.
pub(crate) fn run(workspace: &Workspace, budget: Budget) -> Result<Outcome, String> {
    workspace.build_release()?;
    let venv = tools::reference(workspace)?;
    let work = workspace.folder("differential")?;
    let compare = |seed: Option<u32>| {
        let mut script = Command::new("python3");
        script
            .arg(workspace.path("tests/differential/run.py"))
            .arg("--node")
            .arg(workspace.binary())
            .arg("--venv")
            .arg(&venv)
            .arg("--work")
            .arg(&work);
        if let Some(seed) = seed {
            script.args(["--seed", &seed.to_string()]);
        }
        command::run(&mut script)
    };
    compare(None)?;
    if budget == Budget::Full {
        for seed in MORE_SEEDS {
            compare(Some(seed))?;
        }
    }
    Ok(Outcome::Passed)
}
