//! `SIGHUP` and `glimpse reload`.

use glimpse_tests::{Node, Output, Persona, Setup, Signal, eventually, glimpse};
use serde_json::{Value, json};

async fn reload(node: &Node) -> Output {
    node.rewrite();
    let words = ["reload", "--config", "glimpse.toml", "-o", "json"];
    glimpse(node.folder(), &words, &[]).await
}

/// The keys that an answer lists.
fn keys(answer: &Value, list: &str) -> Vec<String> {
    let list = answer[list]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"));
    list.iter()
        .map(|key| key.as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn what_can_change_does_and_what_cannot_is_named_by_the_command_and_the_log() {
    let mut node = Setup::new()
        .set("limits.limit_param_default", 5)
        .start()
        .await;
    let client = node.client();
    for _ in 0..3 {
        client.created(json!({})).await;
    }
    node.configure("limits.limit_param_default", 2);
    node.configure("limits.image_tag_quota", 1);
    node.configure("limits.connections", 17);
    node.configure("cache.size", "32MiB");
    let output = reload(&node).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let answer: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(
        keys(&answer, "applied"),
        ["limits.image_tag_quota", "limits.limit_param_default"]
    );
    let restart = ["cache.size", "limits.connections"];
    assert_eq!(keys(&answer, "restart"), restart);
    assert_eq!(client.list("").await.expect(200).ids("images").len(), 2);
    client.create(json!({"tags": ["a", "b"]})).await.expect(413);
    eventually("the log names them", async || {
        let log = node.log();
        restart
            .iter()
            .all(|key| {
                log.lines()
                    .any(|line| line.contains(key) && line.contains("needs a restart"))
            })
            .then_some(())
    })
    .await;
    // Named again, for they still wait; and nothing else has changed.
    let output = glimpse(node.folder(), &["reload", "-c", "glimpse.toml"], &[]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains("restart  cache.size"), "{output:?}");
    assert!(!output.stdout.contains("applied"), "{output:?}");
    let again = reload(&node).await;
    let answer: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(keys(&answer, "applied"), [""; 0]);
}

#[tokio::test]
async fn a_broken_configuration_changes_nothing_and_says_why() {
    let mut node = Setup::trusted().start().await;
    let policy = node.folder().join("policy.yaml");
    std::fs::write(&policy, "get_images: rule:nowhere\n").unwrap();
    node.configure("auth.policy_file", policy.to_string_lossy().into_owned());
    node.configure("limits.limit_param_default", 1);
    let member = node.client_of(&Persona::member("alpha"));
    for _ in 0..2 {
        member.created(json!({})).await;
    }
    // The rules are wrong: the limit, which is not, waits with them.
    let output = reload(&node).await;
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stdout.contains("rule:nowhere"), "{output:?}");
    assert_eq!(member.list("").await.expect(200).ids("images").len(), 2);
    std::fs::write(&policy, "get_images: '!'\n").unwrap();
    let path = node.folder().join("glimpse.toml");
    for text in ["[limits]\nlimit_param_defualt = 1\n", "[limits\n"] {
        let good = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text).unwrap();
        // By both ways: the command reads the file itself, the signal has the node read it.
        let output = glimpse(node.folder(), &["reload", "-c", "glimpse.toml"], &[]).await;
        assert_eq!(output.code, Some(2), "{output:?}");
        let answer = node
            .admin()
            .call("POST", "/reload")
            .send()
            .await
            .expect(400);
        assert!(
            answer.json()["error"].as_str().unwrap().contains("lim"),
            "{}",
            answer.text()
        );
        node.signal(Signal::HUP);
        eventually("the log says so", async || {
            let log = node.log();
            let told = log.matches("the configuration is not reloaded").count();
            (told >= 2).then_some(())
        })
        .await;
        member.list("").await.expect(200);
        std::fs::write(&path, good).unwrap();
    }
    let output = reload(&node).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    member.list("").await.expect(403);
    node.admin().get("/reload").await.expect(405);
    assert!(node.stop().await.success());
    let output = glimpse(node.folder(), &["reload", "-c", "glimpse.toml"], &[]).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("no answer"), "{output:?}");
}

#[tokio::test]
async fn a_hangup_reloads_policy_and_log_level_and_the_node_goes_on() {
    let mut node = Setup::trusted().set("log.level", "warn").start().await;
    let member = node.client_of(&Persona::member("alpha"));
    let call = member
        .call("GET", "/v2/images")
        .header("x-openstack-request-id", "req-quiet");
    call.send().await.expect(200);
    let policy = node.folder().join("policy.yaml");
    std::fs::write(&policy, "get_images: role:auditor\n").unwrap();
    node.configure("auth.policy_file", policy.to_string_lossy().into_owned());
    node.configure("log.level", "info");
    node.rewrite();
    node.signal(Signal::HUP);
    eventually("the rules hold", async || {
        (member.list("").await.status == 403).then_some(())
    })
    .await;
    eventually("requests are logged", async || {
        let call = member
            .call("GET", "/v2/images")
            .header("x-openstack-request-id", "req-loud");
        call.send().await.expect(403);
        node.log().contains("req-loud").then_some(())
    })
    .await;
    assert!(!node.log().contains("req-quiet"), "{}", node.log());
    assert!(node.is_running() && node.stop().await.success());
}
