//! The side-by-side runs: Glimpse beside its peers on the same machine, interleaved, medians.
//!
//! `glimpse-bench node` installs and starts the reference service and nginx itself, runs the rows
//! of the table, prints it and writes `target/bench/node.json` (`node-rows.json` for some of them);
//! `api` likewise, with a Keystone. A row whose peer did not run does not hold (`holds` is null), and
//! the exit code is 1.

mod api;
mod glimpse;
mod keystone;
mod load;
mod nginx;
mod process;
mod reference;
mod row;
mod rows;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measures Glimpse beside its peers.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    table: Table,
}

#[derive(Subcommand)]
enum Table {
    /// One node: API, upload, download, ranges, restart, memory.
    Node(Options),
    /// The whole API: tokens, policy, import, the listing of one project among many.
    Api(Options),
    /// Part of `node`: dies of kill -9 over a copy of the tables.
    #[command(hide = true)]
    CrashTables {
        /// The copy.
        file: PathBuf,
    },
}

/// What a run is told.
#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// Smaller and shorter: for a look, not for a claim.
    #[arg(long)]
    quick: bool,
    /// Only this row (repeatable).
    #[arg(long)]
    row: Vec<String>,
    /// Rounds of each interleaved measurement.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where peers are installed and state is kept.
    #[arg(long, default_value = "target/bench")]
    dir: PathBuf,
    /// The server binary.
    #[arg(long, default_value = "target/release/glimpse")]
    glimpse: PathBuf,
}

impl Options {
    /// Seconds of one measurement.
    fn seconds(&self) -> f64 {
        if self.quick { 1.0 } else { 3.0 }
    }

    /// Images in the large registry.
    fn many(&self) -> usize {
        if self.quick { 100_000 } else { 1_000_000 }
    }

    /// Bytes of the large object.
    fn object_bytes(&self) -> u64 {
        if self.quick { 256 << 20 } else { 1 << 30 }
    }

    fn wants(&self, row: &str) -> bool {
        self.row.is_empty() || self.row.iter().any(|r| r == row)
    }
}

fn main() -> ExitCode {
    let result = match Arguments::parse().table {
        Table::Node(options) => run("node", rows::node, options),
        Table::Api(options) => run("api", rows::api, options),
        Table::CrashTables { file } => rows::crash_tables(&file).map(|()| true),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn run(
    table: &str,
    rows: fn(&Options) -> Result<Vec<row::Row>>,
    mut options: Options,
) -> Result<bool> {
    std::fs::create_dir_all(&options.dir)?;
    options.dir = options.dir.canonicalize()?;
    options.glimpse = options.glimpse.canonicalize()?;
    let results = rows(&options)?;
    // A part of the table does not take the whole one's place.
    let file = match options.row.is_empty() {
        true => format!("{table}.json"),
        false => format!("{table}-rows.json"),
    };
    row::report(&results, &options.dir.join(file))
}
