//! Running other programs: what was run is printed, a failure is an error that names it.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

/// Runs to the end with the terminal as output; an exit other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    println!("+ {}", line(command));
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("cannot start {}: {error}", name(command)))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{} ended with {status}", line(command)))
    }
}

/// Runs `cargo test`; an error also when fewer tests passed than `at_least`, or when one of the
/// `parts` is in the name of none: a choice of tests by name that matches none would else pass for
/// ever.
pub(crate) fn run_tests(
    command: &mut Command,
    at_least: usize,
    parts: &[&str],
) -> Result<(), String> {
    println!("+ {}", line(command));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", name(command)))?;
    let mut passed = 0;
    let mut unseen = parts.to_vec();
    if let Some(stdout) = child.stdout.take() {
        for text in BufReader::new(stdout).lines().map_while(Result::ok) {
            println!("{text}");
            passed += passed_in(&text);
            if text.starts_with("test ") {
                unseen.retain(|part| !text.contains(part));
            }
        }
    }
    let status = child
        .wait()
        .map_err(|error| format!("{}: {error}", name(command)))?;
    if !status.success() {
        return Err(format!("{} ended with {status}", line(command)));
    }
    if passed < at_least {
        return Err(format!(
            "{passed} tests ran where at least {at_least} should"
        ));
    }
    if !unseen.is_empty() {
        return Err(format!("no test is named after {}", unseen.join(", ")));
    }
    Ok(())
}

/// The count in a line such as `test result: ok. 5 passed; 0 failed; ...`.
fn passed_in(text: &str) -> usize {
    let Some((before, _)) = text.split_once(" passed;") else {
        return 0;
    };
    if !text.starts_with("test result:") {
        return 0;
    }
    before
        .rsplit(' ')
        .next()
        .and_then(|count| count.parse().ok())
        .unwrap_or(0)
}

/// Runs to the end and returns what it printed; an exit other than 0 is an error with its last words.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot start {}: {error}", name(command)))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{} ended with {}: {}",
        line(command),
        output.status,
        words.trim()
    ))
}

/// Whether the program starts and exits with 0.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn line(command: &Command) -> String {
    let mut line = name(command);
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::passed_in;

    #[test]
    fn the_count_of_passed_tests_is_read_from_the_closing_line() {
        assert_eq!(
            passed_in("test result: ok. 57 passed; 0 failed; 2 ignored; 0 measured"),
            57
        );
        assert_eq!(passed_in("test result: FAILED. 3 passed; 1 failed;"), 3);
        assert_eq!(passed_in("test a_test ... ok"), 0);
        assert_eq!(passed_in("7 passed; somewhere else"), 0);
    }
}
