//! `cargo xtask`: what someone who works on Glimpse runs. Here and not in shell scripts, so that a
//! Rust toolchain is all that the two commands of the README ask for.

mod clients;
mod command;
mod differential;
mod lint;
mod openapi;
mod rust_tests;
mod servers;
mod stage;
mod tempest;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use workspace::Workspace;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Test and measure Glimpse",
    disable_version_flag = true
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run test stages; without options those that need no servers
    Test {
        /// Run only this stage (may be given again)
        #[arg(long, value_name = "NAME")]
        stage: Vec<String>,
        /// Run the stages that need root, Debian and real servers
        #[arg(long)]
        servers: bool,
        /// Lift the budgets: many more kill rounds, power-cut points, seeds and fuzz cases
        #[arg(long)]
        full: bool,
        /// Let this part of a stage be left out where it cannot run: qemu, full-disk (may be given
        /// again)
        #[arg(long, value_name = "NAME")]
        allow_gap: Vec<String>,
        /// Print the stages and stop
        #[arg(long)]
        list: bool,
    },
    /// Run one table of measurements beside its peers
    Bench {
        /// The table: node
        name: String,
        /// A shorter run, whose figures only tell that the bench works
        #[arg(long)]
        quick: bool,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Test { list: true, .. } => {
            stage::print_list();
            Ok(true)
        }
        Task::Test {
            stage,
            servers,
            full,
            allow_gap,
            list: false,
        } => Workspace::find()
            .and_then(|workspace| stage::run(&workspace, &stage, servers, full, &allow_gap)),
        Task::Bench { name, quick } => bench(&name, quick),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the bench crate in release; it builds the node, installs its peers and prints its table.
fn bench(name: &str, quick: bool) -> Result<bool, String> {
    let workspace = Workspace::find()?;
    workspace.build_release()?;
    let mut command = workspace.cargo();
    command.args(["run", "--release", "--package", "glimpse-bench", "--", name]);
    command.arg("--glimpse").arg(workspace.binary());
    if quick {
        command.arg("--quick");
    }
    let status = command
        .status()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    Ok(status.success())
}
