//! The `glimpse` binary: arguments in, exit code out. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    glimpse_node::tls::use_ring();
    glimpse_node::cli::run(&glimpse_node::cli::Cli::parse())
}
