//! What is not `serve`: check, status, completions, man, help; their output and exit codes.

use glimpse_tests::{Node, Output, Setup, glimpse};
use serde_json::Value;

/// Runs a command in an empty folder that holds `glimpse.toml`.
async fn with_config(text: &str, words: &[&str], environment: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("glimpse.toml"), text).unwrap();
    let output = glimpse(folder.path(), words, environment).await;
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 1, "{words:?} left something behind");
    output
}

async fn check(text: &str, environment: &[(&str, &str)]) -> (Option<i32>, Value) {
    let words = ["check", "--config", "glimpse.toml", "-o", "json"];
    let output = with_config(text, &words, environment).await;
    let report = serde_json::from_str(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", output.stdout, output.stderr));
    (output.code, report)
}

fn keys(problems: &Value) -> Vec<&str> {
    let rows = problems.as_array().unwrap().iter();
    rows.map(|row| row["key"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn check_names_every_wrong_key_and_ends_with_2() {
    for (text, wanted) in [
        (
            "[limits]\nimage_size_capp = 1",
            &["limits.image_size_capp"][..],
        ),
        ("[api]\nlisten = \"nowhere\"", &["api.listen"]),
        ("[limits]\njson_timeout = \"0s\"", &["limits.json_timeout"]),
        (
            "[limits]\napi_limit_max = 5\nreserve_step = \"1KiB\"",
            &["limits.reserve_step", "limits.limit_param_default"],
        ),
        (
            "[auth]\npolicy_file = \"absent.yaml\"",
            &["auth.policy_file"],
        ),
        (
            "[[stores]]\nname = \"a\"\n[[stores]]\nname = \"a\"",
            &["stores"],
        ),
    ] {
        let (code, report) = check(text, &[]).await;
        assert_eq!(code, Some(2), "{text}: {report}");
        assert_eq!(report["ok"], false, "{text}");
        assert_eq!(report["config"], Value::Null, "{text}");
        let found = keys(&report["problems"]);
        for key in wanted {
            let named = found.iter().any(|name| name.starts_with(key));
            assert!(named, "{text}: {key} is not among {found:?}");
        }
        let output = with_config(text, &["check", "-c", "glimpse.toml"], &[]).await;
        assert_eq!(output.code, Some(2));
        for key in wanted {
            assert!(output.stdout.contains(key), "{text}: {}", output.stdout);
        }
    }
}

#[tokio::test]
async fn check_names_wrong_variables_and_files() {
    let (code, report) = check("", &[("GLIMPSE_LIMITS__NO_SUCH_KEY", "1")]).await;
    assert_eq!(code, Some(2));
    assert!(
        report["problems"]
            .to_string()
            .to_lowercase()
            .contains("no_such_key"),
        "{report}"
    );
    let (code, report) = check("[limits\n", &[]).await;
    assert_eq!(code, Some(2));
    assert_eq!(keys(&report["problems"]), ["--config"]);
    let words = ["check", "--config", "absent.toml"];
    let output = with_config("", &words, &[]).await;
    assert_eq!(output.code, Some(2));
    assert!(output.stdout.contains("absent.toml"), "{}", output.stdout);
}

#[tokio::test]
async fn check_shows_what_holds_and_warns_of_what_is_insecure() {
    let (code, report) = check(
        "[limits]\nlimit_param_default = 7",
        &[("GLIMPSE_API__LISTEN", "127.0.0.1:1234")],
    )
    .await;
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["ok"], true);
    assert_eq!(report["problems"], Value::Array(Vec::new()));
    assert_eq!(keys(&report["warnings"]), ["auth.mode"]);
    assert_eq!(report["config"]["limits"]["limit_param_default"], 7);
    assert_eq!(report["config"]["api"]["listen"], "127.0.0.1:1234");
    let output = with_config("", &["check", "-c", "glimpse.toml"], &[]).await;
    assert_eq!(output.code, Some(0));
    assert!(
        output.stdout.contains("warning  auth.mode"),
        "{}",
        output.stdout
    );
    assert!(output.stdout.ends_with("ok\n"), "{}", output.stdout);
}

#[tokio::test]
async fn check_shows_no_secret() {
    let secret = "hunter2-and-then-some";
    let text = format!("[auth.keystone]\npassword = \"{secret}\"\n");
    for (more, code) in [("", 0), ("no_such_key = 1", 2), ("[", 2)] {
        let text = format!("{text}{more}");
        for words in [
            &["check", "-c", "glimpse.toml", "-o", "json"][..],
            &["check", "-c", "glimpse.toml"],
        ] {
            let output = with_config(&text, words, &[]).await;
            assert_eq!(output.code, Some(code), "{more}: {}", output.stdout);
            let all = output.stdout + &output.stderr;
            assert!(!all.contains(secret), "{all}");
        }
    }
}

#[tokio::test]
async fn the_documented_configuration_passes_the_check() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../ops/glimpse.example.toml");
    let output = with_config("", &["check", "-o", "json", "-c", path], &[]).await;
    assert_eq!(output.code, Some(0), "{}{}", output.stdout, output.stderr);
}

#[tokio::test]
async fn status_tells_of_a_running_node_and_of_none() {
    let mut node = Node::start().await;
    node.client().active(serde_json::json!({}), "data").await;
    let folder = node.folder().to_owned();
    let words = ["status", "--config", "glimpse.toml", "-o", "json"];
    let output = glimpse(&folder, &words, &[]).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let status: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(status["pid"], node.pid());
    assert_eq!(status["api"], node.address());
    assert_eq!(status["not_ready"], Value::Array(Vec::new()));
    assert_eq!(status["registry"]["images"], 1);
    assert_eq!(keys(&status["warnings"]), ["auth.mode"]);
    let table = glimpse(&folder, &words[..3], &[]).await;
    assert_eq!(table.code, Some(0));
    let rows: Vec<Vec<&str>> = table
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert!(rows.contains(&vec!["registry.images", "1"]), "{rows:?}");
    node.stop().await;
    for words in [&words[..], &words[..3]] {
        let output = glimpse(&folder, words, &[]).await;
        assert_eq!(output.code, Some(1));
        assert!(output.stderr.contains("admin.listen"), "{}", output.stderr);
    }
    let off = [("GLIMPSE_ADMIN__LISTEN", "")];
    assert_eq!(glimpse(&folder, &words, &off).await.code, Some(1));
}

#[tokio::test]
async fn completions_are_written_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = with_config("", &["completions", shell], &[]).await;
        assert_eq!(output.code, Some(0), "{shell}");
        for word in ["glimpse", "check", "status", "--config"] {
            // fish names an option without its dashes.
            let word = word.trim_start_matches('-');
            assert!(output.stdout.contains(word), "{shell} lacks {word}");
        }
    }
    assert_eq!(
        with_config("", &["completions", "tcsh"], &[]).await.code,
        Some(2)
    );
}

#[tokio::test]
async fn manual_pages_are_written_and_only_into_a_directory_that_exists() {
    let folder = tempfile::tempdir().unwrap();
    let output = glimpse(folder.path(), &["man", "."], &[]).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    for page in [
        "glimpse",
        "glimpse-serve",
        "glimpse-check",
        "glimpse-status",
    ] {
        let text = std::fs::read_to_string(folder.path().join(format!("{page}.1"))).unwrap();
        assert!(text.contains(".TH"), "{page}: {text}");
    }
    let output = glimpse(folder.path(), &["man", "absent"], &[]).await;
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("absent"), "{}", output.stderr);
}

#[tokio::test]
async fn help_and_version_are_told_and_wrong_usage_ends_with_2() {
    let help = with_config("", &["--help"], &[]).await;
    assert_eq!(help.code, Some(0));
    for command in ["serve", "check", "status", "completions", "man"] {
        assert!(help.stdout.contains(command), "{}", help.stdout);
    }
    let version = with_config("", &["--version"], &[]).await;
    assert_eq!(version.code, Some(0));
    assert!(version.stdout.starts_with("glimpse "), "{}", version.stdout);
    for words in [
        &["sreve"][..],
        &["serve", "--cofnig", "x"],
        &["check", "-o", "xml"],
    ] {
        let output = with_config("", words, &[]).await;
        assert_eq!(output.code, Some(2), "{words:?}");
        assert!(!output.stderr.is_empty(), "{words:?}");
    }
}

/// What `check` lets pass starts, and what it refuses does not, with the same words.
#[tokio::test]
async fn serve_refuses_what_check_refuses() {
    let text = "[limits]\nreserve_step = \"1KiB\"";
    let checked = with_config(text, &["check", "-c", "glimpse.toml"], &[]).await;
    let refusal = Setup::new()
        .set("limits.reserve_step", "1KiB")
        .refused()
        .await;
    assert_eq!((checked.code, refusal.code), (Some(2), Some(2)));
    let (_, words) = checked
        .stdout
        .trim()
        .split_once("limits.reserve_step")
        .unwrap();
    let words = words.lines().next().unwrap();
    assert!(
        refusal.output.contains(words),
        "{words}: {}",
        refusal.output
    );
}
