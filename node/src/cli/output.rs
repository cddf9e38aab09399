//! Standard output and standard error. Either may be closed, or a disk that is full: that ends a
//! command, but must not look like a fault of the program.

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
};

use serde::Serialize;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

/// Writes to standard output and gives the exit code: `code`, or 1 where it cannot be written.
pub(super) fn print(text: &[u8], code: u8) -> ExitCode {
    finish(write(&mut io::stdout().lock(), text), code)
}

/// As [`print()`], as JSON.
pub(super) fn print_json(value: &impl Serialize, code: u8) -> ExitCode {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(format!("{text}\n").as_bytes(), code),
        Err(cause) => fail(1, &cause),
    }
}

fn write(out: &mut impl Write, text: &[u8]) -> io::Result<()> {
    out.write_all(text)?;
    out.flush()
}

fn finish(written: io::Result<()>, code: u8) -> ExitCode {
    match written {
        Ok(()) => ExitCode::from(code),
        // Who reads has enough of it.
        Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(code),
        Err(cause) => fail(1, &format!("stdout: {cause}")),
    }
}

/// Says why on standard error and gives the exit code.
pub(super) fn fail(code: u8, error: &dyn Display) -> ExitCode {
    say(&error.to_string());
    ExitCode::from(code)
}

/// Says something on standard error.
pub(super) fn say(lines: &str) {
    let mut text = String::new();
    for line in lines.lines() {
        text.push_str(&format!("glimpse: {line}\n"));
    }
    // Without a standard error there is nobody to tell.
    let _ = write(&mut io::stderr().lock(), text.as_bytes());
}
