//! The manual pages: what the definition of the arguments says, and what it cannot say.

use std::{fs::File, io, path::Path};

use clap::{Arg, Command, CommandFactory as _};
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use super::Cli;

/// A section: its name, and terms with their meaning.
type Section = (&'static str, &'static [(&'static str, &'static str)]);

const EXIT_STATUS: Section = (
    "EXIT STATUS",
    &[
        (
            "0",
            "All is well; for serve: it was told to stop, and did in order.",
        ),
        (
            "1",
            "It failed at run time: it could not start or stop in order; for status: the node is \
             not ready or does not answer.",
        ),
        ("2", "The configuration or the command is wrong."),
        (
            "3",
            "config from-glance: something is not carried that changes what the node does.",
        ),
    ],
);

const ENVIRONMENT: Section = (
    "ENVIRONMENT",
    &[(
        "GLIMPSE_SECTION__KEY",
        "Stands in place of a key of the configuration: GLIMPSE_API__LISTEN in place of listen \
             in [api]. A list is written \"a,b\" or as a TOML list, a table as a TOML inline table. \
             A variable of this prefix that is no key's is refused. check and serve say which keys \
             are overridden.",
    )],
);

const FILES: Section = (
    "FILES",
    &[
        (
            "FILE",
            "The configuration, in TOML. No file is read unless it is named. Every key with its \
             default and its meaning is in glimpse.example.toml, which comes with the program.",
        ),
        (
            "./glimpse-data",
            "Registry, cache and the images of the default store, unless node.data_dir or \
             stores.path say otherwise. One process at a time has it.",
        ),
    ],
);

const SIGNALS: Section = (
    "SIGNALS",
    &[
        (
            "SIGTERM, SIGINT",
            "Stop: no new connections, and running transfers may end within limits.drain_timeout. \
             Told again, it ends at once, with exit status 1; what was acknowledged is kept.",
        ),
        (
            "SIGHUP",
            "Read the configuration again: what can change does, and the log names what needs a \
             restart. A wrong one changes nothing. `glimpse reload` does the same and says so.",
        ),
        (
            "SIGKILL",
            "Loses nothing that was acknowledged; what was not is cleaned up after the next start.",
        ),
    ],
);

/// Writes a page for every command into a directory.
pub(super) fn write(directory: &Path) -> io::Result<()> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut all: Vec<&Command> = vec![&command];
    let mut at = 0;
    while let Some(command) = all.get(at).copied() {
        all.extend(command.get_subcommands());
        at += 1;
    }
    for command in all {
        let name = command.get_display_name().unwrap_or(command.get_name());
        let mut file = File::create(directory.join(format!("{name}.1")))?;
        page(command, &mut file)?;
    }
    Ok(())
}

fn page(command: &Command, out: &mut impl io::Write) -> io::Result<()> {
    let usage = synopsis(command);
    Man::new(command.clone().override_usage(usage))
        .source(concat!("glimpse ", env!("CARGO_PKG_VERSION")))
        .manual("Glimpse")
        .render(out)?;
    let sections: &[Section] = match command.get_name() {
        "glimpse" | "serve" => &[EXIT_STATUS, ENVIRONMENT, FILES, SIGNALS],
        "check" | "status" | "reload" | "list" | "explain" => &[EXIT_STATUS, ENVIRONMENT, FILES],
        _ => &[EXIT_STATUS],
    };
    let mut text = Roff::new();
    for (name, entries) in sections {
        text.control("SH", [*name]);
        for (term, meaning) in *entries {
            text.control("TP", []);
            text.text([bold(*term)]);
            text.text([roman(*meaning)]);
        }
    }
    text.to_writer(out)
}

/// The command with its options, their values by name.
fn synopsis(command: &Command) -> String {
    let mut usage = command
        .get_bin_name()
        .unwrap_or(command.get_name())
        .to_owned();
    for argument in command.get_arguments() {
        let value = value_of(argument);
        usage.push_str(&match (argument.get_short(), argument.get_long()) {
            (Some(short), Some(long)) => format!(" [-{short}|--{long}{value}]"),
            (Some(short), None) => format!(" [-{short}{value}]"),
            (None, Some(long)) => format!(" [--{long}{value}]"),
            (None, None) => value,
        });
    }
    if command.has_subcommands() {
        usage.push_str(" [COMMAND]");
    }
    usage
}

/// ` FILE` of an option that takes one.
fn value_of(argument: &Arg) -> String {
    match argument.get_action().takes_values() {
        true => argument
            .get_value_names()
            .unwrap_or_default()
            .iter()
            .map(|name| format!(" {name}"))
            .collect(),
        false => String::new(),
    }
}
