//! The description of the API before real tools: a validator, and a fuzzer that makes requests of it.
//! Stage `openapi` installs them and sets `GLIMPSE_OPENAPI_TOOLS` (the programs' folder),
//! `GLIMPSE_FUZZ_SECONDS` and, but for `--full`, `GLIMPSE_FUZZ_SEED`.

use std::{path::PathBuf, process::Command};

use glimpse_tests::Setup;
use serde_json::json;

/// Methods that no resource has are 501, as the reference answers them: the fuzzer would call it a
/// failure.
const CONFIG: &str = r#"
hooks = "hooks.py"

[phases.coverage]
unexpected-methods = ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"]
"#;

const HOOKS: &str = r#"
import schemathesis

schemathesis.serializer.alias(
    "application/openstack-images-v2.1-json-patch", "application/json"
)
"#;

/// Runs a program of the tools to its end; fails the test with what it printed.
async fn run(name: &str, arguments: &[&str], folder: PathBuf) {
    let Some(tools) = std::env::var_os("GLIMPSE_OPENAPI_TOOLS") else {
        panic!("GLIMPSE_OPENAPI_TOOLS is not set: run `cargo xtask test --stage openapi`");
    };
    let mut command = Command::new("timeout");
    command
        .arg("1200")
        .arg(PathBuf::from(tools).join(name))
        .args(arguments)
        .current_dir(folder);
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap().unwrap();
    let (out, errors) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(
        output.status.success(),
        "{name}: {}\n{out}{errors}",
        output.status
    );
    println!("{out}");
}

#[tokio::test]
#[ignore = "needs openapi-spec-validator: cargo xtask test --stage openapi"]
async fn the_description_is_valid_openapi_3_1() {
    let node = Setup::new().set("cache.legacy_api", true).start().await;
    let document = node.client().get("/openapi.json").await.expect(200);
    let folder = node.folder().to_owned();
    std::fs::write(folder.join("openapi.json"), &document.body).unwrap();
    let arguments = ["--schema", "3.1", "openapi.json"];
    run("openapi-spec-validator", &arguments, folder).await;
}

#[tokio::test]
#[ignore = "needs schemathesis: cargo xtask test --stage openapi"]
async fn no_request_that_is_made_of_the_description_is_a_failure_of_the_node() {
    let node = Setup::new()
        .set("cache.legacy_api", true)
        .set("cache.prefetch_attempts", 1)
        .start()
        .await;
    let client = node.client();
    // Something to find, and to do harm to.
    let id = client.active(json!({}), "data").await;
    client.share(&id, "someone").await.expect(200);
    let folder = node.folder().to_owned();
    std::fs::write(folder.join("schemathesis.toml"), CONFIG).unwrap();
    std::fs::write(folder.join("hooks.py"), HOOKS).unwrap();
    let url = format!("http://{}/openapi.json", node.address());
    let seconds = std::env::var("GLIMPSE_FUZZ_SECONDS").unwrap_or("120".to_owned());
    let seed = std::env::var("GLIMPSE_FUZZ_SEED").ok();
    let mut arguments = vec![
        "run",
        &url,
        "--checks",
        "not_a_server_error,response_schema_conformance,content_type_conformance,status_code_conformance",
        "--max-time",
        &seconds,
        "--generation-database",
        "none",
        "--warnings",
        "off",
    ];
    if let Some(seed) = &seed {
        arguments.extend(["--seed", seed]);
    }
    run("schemathesis", &arguments, folder).await;
    client.show(&id).await;
    assert_eq!(node.metric("http_panics_total").await, 0.0);
}
