//! The command line. Exit codes: 2 for a wrong configuration or usage, 1 for what fails at run
//! time, 3 where a conversion lost something, 0 otherwise.

mod check;
mod from_glance;
mod man;
mod metadefs;
mod output;
mod policy;
mod reload;
pub(crate) mod status;
pub(crate) mod surroundings;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use output::{Output, fail, print};

use crate::{
    config::{Config, ConfigError},
    node::{self, StartError},
    telemetry,
};

/// What is wrong with the configuration or the command.
const USAGE: u8 = 2;

/// Glimpse: an OpenStack Image API v2 node.
///
/// Without a command it serves with the defaults: at 127.0.0.1:9292, without authentication, with
/// its data under ./glimpse-data. Every key of the configuration can be overridden by an
/// environment variable: api.listen by GLIMPSE_API__LISTEN.
#[derive(Debug, Parser)]
#[command(name = "glimpse", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the node until it is told to stop (SIGTERM or SIGINT; a second one ends it at once)
    Serve(ConfigFile),
    /// Say what is wrong with a configuration, by the names of the keys; exit code 2 if anything is
    Check {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        output: OutputFormat,
    },
    /// Ask a running node, through its admin listener, how it is; exit code 1 if it is not ready
    Status {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        output: OutputFormat,
    },
    /// Have a running node read its configuration again, and say which changed keys hold now and which
    /// need a restart; exit code 2 if the configuration is wrong, and nothing has changed then
    Reload {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        output: OutputFormat,
    },
    /// List the policy's rules, check a policy, or explain what a rule decides and why
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Load metadata definitions from files into a running node, or write them to files
    #[command(subcommand)]
    Metadefs(metadefs::MetadefsCommand),
    /// Make a configuration of others'
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Write the completions of a shell to standard output
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a directory
    Man {
        /// The directory; it must exist
        directory: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Write the configuration that the files of Glance come to, to standard output
    ///
    /// Standard error says what is not in it and why: "lost" changes what the node does (exit code
    /// 3), "dropped" does not, "note" is worth knowing. No value is said there. Variables
    /// `OS_<GROUP>__<NAME>` of the environment stand in place of options, as for Glance.
    FromGlance {
        /// glance-api.conf, which has the last word, glance-image-import.conf, and the files of Swift
        /// references and property protections that they name
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration file (TOML); without one the defaults hold
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    fn load(&self) -> Result<Config, ConfigError> {
        Config::load(self.config.as_deref(), std::env::vars_os())
    }
}

#[derive(Debug, Args)]
struct OutputFormat {
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Runs what the arguments ask for.
pub fn run(cli: &Cli) -> ExitCode {
    let default = Command::Serve(ConfigFile { config: None });
    match cli.command.as_ref().unwrap_or(&default) {
        Command::Serve(file) => match file.load() {
            Ok(config) => serve(config),
            Err(error) => fail(USAGE, &error),
        },
        Command::Check { config, output } => check::run(config.load(), output.output),
        Command::Status { config, output } => status::run(config.load(), output.output),
        Command::Reload { config, output } => reload::run(config.load(), output.output),
        Command::Policy(command) => policy::run(command),
        Command::Metadefs(command) => metadefs::run(command),
        Command::Config(ConfigCommand::FromGlance { files }) => from_glance::run(files),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "glimpse", &mut text);
            print(&text, 0)
        }
        Command::Man { directory } => match man::write(directory) {
            Ok(()) => ExitCode::SUCCESS,
            Err(cause) => fail(1, &format!("{}: {cause}", directory.display())),
        },
    }
}

fn serve(config: Config) -> ExitCode {
    let log = match telemetry::start(&config.log) {
        Ok(guard) => Arc::new(guard),
        Err(cause) => return fail(USAGE, &format!("log.level: {cause}")),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .thread_name("serve")
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(cause) => return fail(1, &format!("cannot start threads: {cause}")),
    };
    let result = runtime.block_on(node::serve(config, Arc::clone(&log)));
    // What still runs on the blocking threads (a worker's store call) is not waited for.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // After the log, so that the reason is the last line.
            log.flush(std::time::Duration::from_secs(1));
            let code = match error.downcast_ref() {
                Some(StartError::Policy(_) | StartError::Remote(_)) => USAGE,
                _ => 1,
            };
            fail(code, &error)
        }
    }
}
