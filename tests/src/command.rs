//! The program's other commands, run to their end.

use std::{path::Path, process::Stdio};

use tokio::process::Command;

use crate::node::{binary, clean};

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Output {
    /// Exit code; `None`: by a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs `glimpse` with these words in a folder, with these variables, until it ends by itself.
pub async fn glimpse(folder: &Path, words: &[&str], environment: &[(&str, &str)]) -> Output {
    glimpse_into(Stdio::piped(), folder, words, environment).await
}

/// As [`glimpse`], with standard output into what is given.
pub async fn glimpse_into(
    stdout: impl Into<Stdio>,
    folder: &Path,
    words: &[&str],
    environment: &[(&str, &str)],
) -> Output {
    let mut command = Command::from(clean(std::process::Command::new(binary())));
    let output = command
        .args(words)
        .envs(environment.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts")
        .wait_with_output();
    let output = output.await.expect("the program runs");
    Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
