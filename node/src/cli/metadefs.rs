//! `glimpse metadefs`: loads metadata definitions from files in the form that the reference ships and
//! exports, and writes them to such files. It asks a node through its API, so that it works from
//! anywhere, with the rights of its caller, beside whatever else the node does.

mod client;
mod export;
mod load;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use client::Client;
use serde::Serialize;

use super::{
    ConfigFile, OutputFormat, USAGE,
    output::{Output, fail, print, print_json},
};

#[derive(Debug, Subcommand)]
pub(super) enum MetadefsCommand {
    /// Load namespaces from files; one that exists is left as it is. Exit code 1 if any fails
    Load {
        /// Files, and directories with files that end in .json
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
        #[command(flatten)]
        existing: Existing,
        #[command(flatten)]
        node: Node,
    },
    /// Write every namespace that the caller may see into a file of its own
    Export {
        /// The directory; it must exist. Files of the same names are replaced
        #[arg(long, value_name = "DIR")]
        path: PathBuf,
        #[command(flatten)]
        node: Node,
    },
}

/// What becomes of a namespace that exists.
#[derive(Debug, Args)]
pub(super) struct Existing {
    /// Add to an existing namespace what it does not have
    #[arg(long, conflicts_with = "overwrite")]
    merge: bool,
    /// With --merge: replace what it has by what the file has
    #[arg(long, alias = "prefer_new", requires = "merge")]
    prefer_new: bool,
    /// Replace an existing namespace by that of the file
    #[arg(long)]
    overwrite: bool,
}

/// Who is asked.
#[derive(Debug, Args)]
pub(super) struct Node {
    /// Base URL of the Image API [default: http:// and `api.listen` of the configuration]. A token is
    /// taken from the environment variable OS_TOKEN
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Certificates to trust, PEM [default: those of the system]
    #[arg(long, value_name = "FILE")]
    cafile: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    output: OutputFormat,
}

/// What became of one file or namespace.
#[derive(Debug, Serialize)]
struct Line {
    file: String,
    /// Empty where the file could not be read.
    namespace: String,
    /// `created`, `skipped`, `merged`, `replaced`, `written` or `failed`.
    result: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    cause: String,
}

pub(super) fn run(command: &MetadefsCommand) -> ExitCode {
    let node = match command {
        MetadefsCommand::Load { node, .. } | MetadefsCommand::Export { node, .. } => node,
    };
    let client = match client(node) {
        Ok(client) => client,
        Err(cause) => return fail(USAGE, &cause),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(cause) => return fail(1, &format!("cannot start: {cause}")),
    };
    let lines = match command {
        MetadefsCommand::Load {
            paths, existing, ..
        } => runtime.block_on(load::run(&client, paths, existing)),
        MetadefsCommand::Export { path, .. } => runtime.block_on(export::run(&client, path)),
    };
    match lines {
        Ok(lines) => report(&lines, node.output.output),
        Err(cause) => fail(1, &cause),
    }
}

fn client(node: &Node) -> Result<Client, String> {
    let endpoint = match &node.endpoint {
        Some(endpoint) => endpoint.clone(),
        None => {
            let config = node.config.load().map_err(|error| error.to_string())?;
            format!("http://{}", config.api.listen)
        }
    };
    let token = std::env::var("OS_TOKEN").ok();
    Client::new(&endpoint, token.as_deref(), node.cafile.as_deref())
}

fn report(lines: &[Line], output: Output) -> ExitCode {
    let failed = lines.iter().any(|line| line.result == "failed");
    let code = u8::from(failed);
    match output {
        Output::Json => print_json(&lines, code),
        Output::Table => {
            let mut text = String::new();
            for line in lines {
                let what = match line.namespace.as_str() {
                    "" => &line.file,
                    name => name,
                };
                let end = match line.cause.as_str() {
                    "" => String::new(),
                    cause => format!(": {cause}"),
                };
                text.push_str(&format!("{:8}  {what}{end}\n", line.result));
            }
            print(text.as_bytes(), code)
        }
    }
}
