//! Arguments, and what the commands print.

use clap::{CommandFactory as _, Parser as _};
use serde_json::json;

use super::{Cli, Command, man, output::Output, status};

#[test]
fn the_definition_of_the_arguments_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn without_a_command_it_serves_with_the_defaults() {
    assert!(Cli::try_parse_from(["glimpse"]).unwrap().command.is_none());
}

#[test]
fn arguments_are_read_as_documented() {
    let cli = Cli::try_parse_from(["glimpse", "check", "--config", "a.toml", "-o", "json"]);
    let Some(Command::Check { config, output }) = cli.unwrap().command else {
        panic!("another command");
    };
    assert_eq!(config.config.unwrap().to_str(), Some("a.toml"));
    assert_eq!(output.output, Output::Json);
    for wrong in [
        &["glimpse", "sreve"][..],
        &["glimpse", "check", "-o", "xml"],
    ] {
        let error = Cli::try_parse_from(wrong).unwrap_err();
        assert_eq!(error.exit_code(), i32::from(super::USAGE), "{wrong:?}");
    }
}

#[test]
fn manual_pages_are_written_for_every_command() {
    let dir = tempfile::tempdir().unwrap();
    man::write(dir.path()).unwrap();
    for page in [
        "glimpse.1",
        "glimpse-serve.1",
        "glimpse-check.1",
        "glimpse-status.1",
        "glimpse-reload.1",
        "glimpse-policy.1",
        "glimpse-policy-list.1",
        "glimpse-policy-check.1",
        "glimpse-policy-explain.1",
        "glimpse-completions.1",
        "glimpse-man.1",
    ] {
        let text = std::fs::read_to_string(dir.path().join(page)).unwrap();
        assert!(text.contains(".TH"), "{page}");
        assert!(text.contains(".SH \"EXIT STATUS\""), "{page}: {text}");
        let mut wanted = Vec::new();
        if matches!(
            page,
            "glimpse-serve.1" | "glimpse-check.1" | "glimpse-status.1"
        ) {
            wanted.extend([".SH ENVIRONMENT", ".SH FILES", "[\\-c|\\-\\-config FILE]"]);
        }
        if matches!(page, "glimpse.1" | "glimpse-serve.1") {
            wanted.extend([".SH SIGNALS", "SIGTERM"]);
        }
        for wanted in wanted {
            assert!(text.contains(wanted), "{page} lacks {wanted}: {text}");
        }
    }
}

#[test]
fn a_status_is_shown_as_one_line_per_value() {
    let status = json!({
        "name": "node-1",
        "registry": {"applied": 7},
        "not_ready": [],
        "warnings": [{"key": "auth.mode", "message": "open"}],
    });
    let rows = [
        "name              node-1",
        "not_ready         -",
        "registry.applied  7",
        "warnings          auth.mode: open",
    ];
    assert_eq!(status::table(&status), rows.join("\n") + "\n");
}
