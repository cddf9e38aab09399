//! What is not `serve`: check, status, completions, man, help; their output and exit codes.

use glimpse_tests::{Node, Output, Setup, eventually, glimpse, glimpse_into};
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

/// Of those that this machine gives nothing to: a disk may be small, an address taken.
fn warned(report: &Value) -> Vec<&str> {
    let mut found = keys(&report["warnings"]);
    found.retain(|key| !matches!(*key, "cache.size" | "api.listen" | "admin.listen"));
    found
}

#[tokio::test]
async fn check_warns_of_slips_and_of_what_this_machine_does_not_have() {
    let node = Node::start().await;
    let text = format!(
        "[api]\nlisten = \"{}\"\n[node]\ndata_dir = \"absent/data\"\n\
         [cache]\nsize = \"1000000TiB\"\n[limits]\nuser_storage_quota = 10\n\
         [log]\nlevel = \"info,glimpse_nope=debug\"\n\
         [image_format]\ndisk_formats = [\"qcow3\"]\n",
        node.address()
    );
    let (code, report) = check(&text, &[]).await;
    assert_eq!(code, Some(0), "{report}");
    let found = keys(&report["warnings"]);
    for key in [
        "image_format.disk_formats",
        "log.level",
        "limits.user_storage_quota",
        "node.data_dir",
        "cache.size",
        "api.listen",
    ] {
        assert!(found.contains(&key), "{key} is not among {found:?}");
    }
    let output = with_config(&text, &["check", "-c", "glimpse.toml"], &[]).await;
    assert_eq!(output.code, Some(0));
    for words in ["warning  node.data_dir: absent/data", "in use", "qcow3"] {
        assert!(output.stdout.contains(words), "{}", output.stdout);
    }
}

#[tokio::test]
async fn a_policy_rule_that_nothing_asks_for_is_warned_of_by_check_and_by_the_node() {
    let setup = Setup::new();
    let path = setup.folder().join("policy.yaml");
    std::fs::write(&path, "\"delete_imagee\": \"!\"\n").unwrap();
    let path = path.to_string_lossy().into_owned();
    let (code, report) = check(&format!("[auth]\npolicy_file = {path:?}"), &[]).await;
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(warned(&report), ["auth.mode", "auth.policy_file"]);
    let node = setup.set("auth.policy_file", path).start().await;
    let words = ["status", "--config", "glimpse.toml", "-o", "json"];
    let output = glimpse(node.folder(), &words, &[]).await;
    let status: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(keys(&status["warnings"]), ["auth.mode", "auth.policy_file"]);
    assert!(
        output.stdout.contains("did you mean `delete_image`?"),
        "{}",
        output.stdout
    );
}

#[tokio::test]
async fn a_policy_that_cannot_be_read_is_told_once_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.yaml");
    std::fs::write(&path, "get_image: role:x role:y\n").unwrap();
    let text = format!("[auth]\npolicy_file = {:?}", path.to_string_lossy());
    let output = with_config(&text, &["check", "-c", "glimpse.toml"], &[]).await;
    assert_eq!(output.code, Some(2), "{}", output.stdout);
    let line = format!("error    auth.policy_file: {}:1: rule", path.display());
    assert!(output.stdout.contains(&line), "{}", output.stdout);
}

#[tokio::test]
async fn what_the_environment_overrides_is_named() {
    let variables = [("GLIMPSE_API__LISTEN", "127.0.0.1:1234")];
    let (_, report) = check("", &variables).await;
    let expected = serde_json::json!([
        {"key": "api.listen", "variable": "GLIMPSE_API__LISTEN"}
    ]);
    assert_eq!(report["overrides"], expected);
    let output = with_config("", &["check", "-c", "glimpse.toml"], &variables).await;
    let line = "note     api.listen: overridden by GLIMPSE_API__LISTEN\n";
    assert!(output.stdout.contains(line), "{}", output.stdout);
    let node = Setup::new()
        .env("GLIMPSE_LIMITS__LIMIT_PARAM_DEFAULT", "2")
        .start()
        .await;
    // Lines are written beside what they tell of.
    eventually("a line that names the variable", async || {
        let told = node.log().contains("GLIMPSE_LIMITS__LIMIT_PARAM_DEFAULT");
        told.then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_standard_output_that_takes_nothing_is_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    for (words, code) in [
        (&["check", "-o", "json"][..], 0),
        (&["check"], 0),
        (&["completions", "bash"], 0),
        (&["status", "-o", "json"], 1),
    ] {
        // Nobody is there to answer on that port.
        let nobody = [("GLIMPSE_ADMIN__LISTEN", "127.0.0.1:1")];
        let (reader, closed) = std::io::pipe().unwrap();
        drop(reader);
        let output = glimpse_into(closed, folder.path(), words, &nobody).await;
        assert_eq!(output.code, Some(code), "{words:?}: {}", output.stderr);
        assert_eq!(output.stderr, "", "{words:?}");
        let full = std::fs::File::options().write(true).open("/dev/full");
        let output = glimpse_into(full.unwrap(), folder.path(), words, &nobody).await;
        assert_eq!(output.code, Some(1), "{words:?}: {}", output.stderr);
        assert!(
            output.stderr.starts_with("glimpse: stdout: No space left"),
            "{words:?}: {}",
            output.stderr
        );
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
    assert_eq!(warned(&report), ["auth.mode"]);
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
    assert_eq!(status["ready"], true);
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
    let output = glimpse(&folder, &words[..3], &[]).await;
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("admin.listen"), "{}", output.stderr);
    let wrong = [("GLIMPSE_ADMIN__LISTEN", "nowhere")];
    for (environment, code) in [(&[][..], 1), (&wrong, 2)] {
        let output = glimpse(&folder, &words, environment).await;
        assert_eq!(output.code, Some(code));
        let status: Value = serde_json::from_str(&output.stdout).unwrap();
        assert_eq!(status["ready"], false);
        let error = status["error"].as_str().unwrap();
        assert!(error.contains("admin.listen"), "{error}");
        assert_eq!(output.stderr, "");
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
        for words in [".TH", "EXIT STATUS", "ENVIRONMENT", "FILES"] {
            assert!(text.contains(words), "{page} lacks {words}: {text}");
        }
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
