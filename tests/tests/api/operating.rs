//! What an operator meets: start, refusals, the admin listener, logs, stopping.

use std::collections::BTreeSet;

use glimpse_tests::{Node, Persona, Raw, Setup, eventually, random_bytes};
use serde_json::json;

const MIB: usize = 1 << 20;

#[tokio::test]
async fn a_second_start_on_the_same_data_is_refused_with_the_holders_pid() {
    let node = Node::start().await;
    let (code, output) = node.start_second().await;
    assert!(code.is_some_and(|code| code != 0), "{code:?}");
    assert!(output.contains(&node.pid().to_string()), "{output}");
    node.client().created(json!({})).await;
}

#[tokio::test]
async fn a_lock_of_a_killed_node_holds_nobody_up() {
    let mut node = Node::start().await;
    for _ in 0..3 {
        node.kill();
        node.restart().await;
    }
}

#[tokio::test]
async fn an_unknown_key_is_refused_by_name() {
    for (key, value) in [
        ("limits.image_size_capp", 1),
        ("nodes.name", 1),
        ("api.port", 9292),
    ] {
        let refusal = Setup::new().set(key, value).refused().await;
        assert_eq!(refusal.code, Some(2), "{}", refusal.output);
        let name = key.split('.').next_back().unwrap();
        assert!(
            refusal.output.contains(name) || refusal.output.contains("nodes"),
            "{key}: {}",
            refusal.output
        );
        assert!(
            !refusal.node.data().exists(),
            "a refused start left a data directory"
        );
    }
}

#[tokio::test]
async fn a_wrong_value_is_refused_with_its_key() {
    for (key, value) in [
        ("auth.mode", "sometimes"),
        ("cache.size", "much"),
        ("limits.upload_idle_timeout", "soon"),
        ("api.listen", "nowhere"),
        ("api.hashing_algorithm", "crc"),
    ] {
        let refusal = Setup::new().set(key, value).refused().await;
        assert_eq!(refusal.code, Some(2), "{key}: {}", refusal.output);
        let name = key.split('.').next_back().unwrap();
        assert!(refusal.output.contains(name), "{key}: {}", refusal.output);
    }
}

#[tokio::test]
async fn the_environment_overrides_the_file() {
    let node = Setup::new()
        .env("GLIMPSE_LIMITS__LIMIT_PARAM_DEFAULT", "2")
        .start()
        .await;
    for _ in 0..3 {
        node.client().created(json!({})).await;
    }
    assert_eq!(
        node.client().list("").await.expect(200).ids("images").len(),
        2
    );
    let refusal = Setup::new()
        .env("GLIMPSE_LIMITS__NO_SUCH_KEY", "2")
        .refused()
        .await;
    assert_eq!(refusal.code, Some(2), "{}", refusal.output);
    assert!(
        refusal.output.to_lowercase().contains("no_such_key"),
        "{}",
        refusal.output
    );
}

#[tokio::test]
async fn insecure_modes_are_refused_beyond_loopback() {
    for mode in ["none", "trusted-headers"] {
        let setup = Setup::new()
            .set("auth.mode", mode)
            .set("api.listen", "0.0.0.0:0");
        let refusal = setup.refused().await;
        assert_eq!(refusal.code, Some(2), "{mode}: {}", refusal.output);
        assert!(
            refusal.output.contains("allow_insecure"),
            "{mode}: {}",
            refusal.output
        );
    }
}

#[tokio::test]
async fn a_data_directory_of_an_unknown_format_is_refused_untouched() {
    let mut node = Node::start().await;
    node.client().active(json!({}), "data").await;
    node.stop().await;
    let path = node.data().join("FORMAT");
    let text = std::fs::read_to_string(&path).unwrap();
    for name in [
        "version",
        "log",
        "commands",
        "tables",
        "records",
        "pool",
        "manifests",
    ] {
        let changed = |line: &str| match line.split_once(" = ") {
            Some((key, _)) if key == name => format!("{key} = 99\n"),
            _ => format!("{line}\n"),
        };
        let other: String = text.lines().map(changed).collect();
        assert_ne!(text, other, "{name}");
        std::fs::write(&path, &other).unwrap();
        let before = snapshot(&node.data());
        let (code, output) = node.start_second().await;
        assert!(code.is_some_and(|code| code != 0), "{name}: {code:?}");
        let what = if name == "version" { "layout" } else { name };
        let told = format!("format version 99 of {what}");
        assert!(output.contains(&told), "{output}");
        assert_eq!(snapshot(&node.data()), before, "{name}");
    }
    std::fs::write(&path, &text).unwrap();
    node.restart().await;
    assert_eq!(node.client().list_all("").await.len(), 1);
}

/// Every file below a folder with its length and time of change.
fn snapshot(folder: &std::path::Path) -> Vec<(String, u64, std::time::SystemTime)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let data = entry.metadata().unwrap();
            if data.is_dir() {
                folders.push(entry.path());
            } else {
                let name = entry.path().to_string_lossy().into_owned();
                files.push((name, data.len(), data.modified().unwrap()));
            }
        }
    }
    files.sort();
    files
}

#[tokio::test]
async fn sigterm_lets_running_transfers_end_and_takes_no_new_ones() {
    let mut node = Node::start().await;
    let client = node.client();
    let data = random_bytes(32 * MIB, 1);
    let id = client.active(json!({}), data.clone()).await;
    let mut transfer = Raw::connect(&node.address()).await;
    transfer
        .send(format!(
            "GET /v2/images/{id}/file HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
        ))
        .await;
    assert!(transfer.head().await.unwrap().starts_with("HTTP/1.1 200"));
    node.terminate();
    eventually("no new connections", async || {
        client
            .call("GET", "/v2/images")
            .attempt()
            .await
            .is_err()
            .then_some(())
    })
    .await;
    assert!(node.is_running(), "it ended while a transfer ran");
    assert!(
        transfer.rest().await == data,
        "the transfer did not end well"
    );
    let status = node.wait_for_exit().await;
    assert!(status.success(), "{status}");
    node.restart().await;
    assert!(node.client().download(&id).await.expect(200).body == data);
}

#[tokio::test]
async fn a_transfer_that_outlives_the_drain_is_cut() {
    let mut node = Setup::new().set("limits.drain_timeout", "1s").start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    let _upload = node.standing_upload(&id, MIB).await;
    let status = node.stop().await;
    assert!(status.code().is_some(), "{status}");
    node.restart().await;
    client.reaches(&id, "queued").await;
    client.upload(&id, "data").await.expect(204);
}

#[tokio::test]
async fn everything_is_there_after_a_stop_and_after_a_kill() {
    let mut node = Setup::trusted().start().await;
    let owner = node.client_of(&Persona::member("alpha"));
    let other = node.client_of(&Persona::member("beta"));
    let data = random_bytes(3 * MIB, 1);
    let id = owner
        .active(json!({"color": "red", "tags": ["t"]}), data.clone())
        .await;
    owner.share(&id, "beta").await.expect(200);
    other.decide(&id, "beta", "accepted").await.expect(200);
    let before = owner.show(&id).await.expect(200);
    for kill in [false, true] {
        if kill {
            node.kill();
        } else {
            assert!(node.stop().await.success());
        }
        node.restart().await;
        let after = owner.show(&id).await.expect(200);
        assert_eq!(after.json(), before.json());
        assert_eq!(after.header("etag"), before.header("etag"));
        assert!(owner.download(&id).await.expect(200).body == data);
        for query in ["color=red", "tag=t", "status=active", "size_min=1"] {
            assert_eq!(
                owner.list_all(query).await,
                std::slice::from_ref(&id),
                "{query}"
            );
        }
        assert_eq!(other.list_all("").await, std::slice::from_ref(&id));
    }
}

#[tokio::test]
async fn the_admin_listener_tells_life_readiness_and_metrics() {
    let node = Node::start().await;
    let admin = node.admin();
    admin.get("/live").await.expect(200);
    admin.get("/ready").await.expect(200);
    let answer = admin.get("/metrics").await.expect(200);
    let text = answer.text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    admin.get("/nothing").await.expect(404);
    // The admin listener is no way into the API, nor the API one to it.
    admin.get("/v2/images").await.expect(404);
    let api = node.client().get("/metrics").await;
    assert!(!api.text().contains("# HELP"), "metrics on the API's port");
}

/// The names that `ops/METRICS.md` documents.
fn documented() -> BTreeSet<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../ops/METRICS.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split('`').next().map(str::to_owned))
        .collect()
}

#[tokio::test]
async fn every_metric_that_is_shown_is_documented_and_the_other_way_round() {
    let node = Node::start().await;
    // What has a route as label is shown once it was asked for.
    node.client().created(json!({})).await;
    let text = node.admin().get("/metrics").await.expect(200).text();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let shown: BTreeSet<String> = types
        .filter_map(|line| {
            let (name, kind) = line.split_once(' ')?;
            let suffix = if kind == "counter" { "_total" } else { "" };
            Some(format!("{name}{suffix}"))
        })
        .collect();
    assert_eq!(shown, documented());
}

#[tokio::test]
async fn metrics_move_with_what_happens() {
    let node = Node::start().await;
    let id = node
        .client()
        .active(json!({}), random_bytes(100_000, 1))
        .await;
    let before = node.metric("http_requests_total").await;
    for _ in 0..5 {
        node.client().download(&id).await.expect(200);
    }
    eventually("five more requests", async || {
        (node.metric("http_requests_total").await >= before + 5.0).then_some(())
    })
    .await;
}

/// The one line of the log that says this of a request with this id.
async fn line_of(node: &Node, id: &str) -> serde_json::Value {
    let of_id = || -> Vec<serde_json::Value> {
        let log = node.log();
        let lines = log.lines().filter(|line| line.contains(id));
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
            .collect()
    };
    eventually(id, async || (!of_id().is_empty()).then_some(())).await;
    let lines = of_id();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = lines[0].clone();
    assert_eq!(line["request.id"], id);
    line
}

#[tokio::test]
async fn each_request_is_one_line_of_json_that_says_what_was_asked_and_answered() {
    let mut node = Node::start().await;
    let client = node.client();
    let data = random_bytes(2 * MIB + 5, 1);
    let id = client.active(json!({}), data).await;
    node.stop().await;
    std::fs::remove_dir_all(node.data().join("cache")).unwrap();
    node.restart().await;
    let file = format!("/v2/images/{id}/file");
    let image = format!("/v2/images/{id}");
    let whole = 2 * MIB + 5;
    let cases = [
        ("GET", "/v2/images", "/v2/images", 200, None, None),
        ("GET", &image, "/v2/images/{id}", 200, None, None),
        ("DELETE", "/v2/images/x", "/v2/images/{id}", 404, None, None),
        (
            "GET",
            &file,
            "/v2/images/{id}/file",
            200,
            Some(whole),
            Some(("absent", 3)),
        ),
        (
            "GET",
            &file,
            "/v2/images/{id}/file",
            200,
            Some(whole),
            Some(("hit", 0)),
        ),
    ];
    for (number, (method, path, route, status, bytes, cache)) in cases.into_iter().enumerate() {
        let name = format!("req-find-me-{number}-in-the-log");
        let call = client
            .call(method, path)
            .header("x-openstack-request-id", &name);
        let answer = call.send().await.expect(status);
        assert_eq!(answer.header("x-openstack-request-id"), Some(&*name));
        let line = line_of(&node, &name).await;
        assert_eq!(line["message"], "request", "{line}");
        assert_eq!(line["http.method"], method, "{line}");
        assert_eq!(line["http.route"], route, "{line}");
        assert_eq!(line["http.status"], status, "{line}");
        let bytes = bytes.unwrap_or(answer.body.len());
        assert_eq!(line["http.bytes"], bytes, "{line}");
        assert!(line["duration_us"].is_u64(), "{line}");
        assert_eq!(line["outcome"], "complete", "{line}");
        match cache {
            Some((from, missed)) => {
                assert_eq!(line["cache"], from, "{line}");
                assert_eq!(line["cache.missed"], missed, "{line}");
            }
            None => assert!(line.get("cache").is_none(), "{line}"),
        }
    }
}

#[tokio::test]
async fn the_log_says_why_a_transfer_did_not_come_to_its_end() {
    let mut node = Setup::new()
        .set("limits.slow_client_timeout", "1s")
        .set("limits.drain_timeout", "3s")
        .start()
        .await;
    let client = node.client();
    let id = client.active(json!({}), random_bytes(32 * MIB, 1)).await;
    let begin = async |name: &str| {
        let mut download = Raw::connect(&node.address()).await;
        download
            .send(format!(
                "GET /v2/images/{id}/file HTTP/1.1\r\nhost: a\r\n\
                 x-openstack-request-id: req-{name}\r\n\r\n"
            ))
            .await;
        assert!(download.head().await.unwrap().starts_with("HTTP/1.1 200"));
        download
    };
    let told = async |name: &str, outcome: &str| {
        let line = line_of(&node, &format!("req-{name}")).await;
        assert_eq!(line["outcome"], outcome, "{line}");
        assert_eq!(line["image.id"], *id, "{line}");
        assert_eq!(line["project.id"], "default", "{line}");
        assert_eq!(line["client.address"], "127.0.0.1", "{line}");
        assert!(line["http.bytes"].as_u64().unwrap() < 32 << 20, "{line}");
    };
    drop(begin("gone").await);
    told("gone", "left").await;
    // It is there and takes nothing.
    let stalled = begin("stalled").await;
    told("stalled", "slow").await;
    drop(stalled);
    let mut dripping = begin("dripping").await;
    node.terminate();
    // A little now and then, so that only the end of the drain ends it.
    let drip = tokio::spawn(async move { while dripping.some().await {} });
    told("dripping", "drained").await;
    drip.await.unwrap();
    assert!(node.wait_for_exit().await.code().is_some());
}

#[tokio::test]
async fn the_cause_of_a_refusal_is_in_the_log_when_it_is_asked_for() {
    let node = Setup::trusted()
        .set("log.level", "info,glimpse_node::api=debug")
        .start()
        .await;
    let owner = node.client_of(&Persona::member("alpha"));
    let id = owner.created(json!({"visibility": "community"})).await;
    let other = node.client_of(&Persona::member("beta"));
    for (client, name, status, words) in [
        (node.client(), "req-nobody", 401, ["not confirmed", ""]),
        (other, "req-other", 403, ["beta", "delete_image"]),
    ] {
        let call = client
            .call("DELETE", &format!("/v2/images/{id}"))
            .header("x-openstack-request-id", name);
        call.send().await.expect(status);
        eventually("the cause", async || {
            let log = node.log();
            let mut lines = log.lines().filter(|line| line.contains("DEBUG"));
            lines
                .any(|line| line.contains(name) && words.iter().all(|word| line.contains(word)))
                .then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_wrong_policy_ends_the_start_as_a_wrong_configuration_does() {
    let setup = Setup::new();
    let path = setup.folder().join("policy.yaml");
    std::fs::write(&path, "[").unwrap();
    let path = path.to_string_lossy().into_owned();
    let refusal = setup.set("auth.policy_file", path).refused().await;
    assert_eq!(refusal.code, Some(2), "{}", refusal.output);
}

#[tokio::test]
async fn what_keeps_a_node_from_starting_is_also_a_line_of_its_log() {
    let mut node = Setup::new().set("log.format", "json").start().await;
    node.stop().await;
    let log = node.data().join("registry/log");
    std::fs::remove_dir_all(&log).unwrap();
    node.spawn();
    assert_eq!(node.wait_for_exit().await.code(), Some(1));
    let text = node.log();
    let line = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|line| line["level"] == "ERROR")
        .unwrap();
    let cause = line["cause"].as_str().unwrap();
    assert!(cause.contains(&*node.data().to_string_lossy()), "{cause}");
    assert!(cause.contains("Back up and restore"), "{cause}");
}

#[tokio::test]
async fn start_up_says_where_it_listens_where_data_lives_and_what_is_insecure() {
    let node = Node::start().await;
    // The log is written by a thread of its own, which may be behind.
    let line = async |words: &[&str]| {
        eventually(&words.join(", "), async || {
            let log = node.log();
            let mut lines = log.lines();
            lines
                .any(|line| words.iter().all(|word| line.contains(word)))
                .then_some(())
        })
        .await;
    };
    let data = node.data().to_string_lossy().into_owned();
    line(&["serving", &node.address(), &data]).await;
    line(&["WARN", "auth.mode", "admin", "without a password"]).await;
}

#[tokio::test]
async fn a_folder_of_someone_else_is_not_taken_as_data_directory() {
    let setup = Setup::new();
    let data = setup.folder().join("data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("thesis.txt"), "years of work").unwrap();
    let refusal = setup.refused().await;
    assert!(refusal.code.is_some_and(|code| code != 0));
    assert!(refusal.output.contains("thesis.txt"), "{}", refusal.output);
    let left: Vec<_> = std::fs::read_dir(&data)
        .unwrap()
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert_eq!(left, ["thesis.txt"]);
}

#[tokio::test]
async fn cached_bytes_are_sent_from_the_files_by_the_kernel_unless_that_is_switched_off() {
    for sendfile in [true, false] {
        let node = Setup::on_disk()
            .set("cache.sendfile", sendfile)
            .start()
            .await;
        let client = node.client();
        let data = random_bytes(4 * MIB, 3);
        let id = client.active(json!({}), data.clone()).await;
        assert!(client.download(&id).await.expect(200).body == data);
        // What the process read: sendfile(2) from files counts, mapped bytes and sockets do not.
        let read = || {
            let io = std::fs::read_to_string(format!("/proc/{}/io", node.pid())).unwrap();
            let count = io.lines().find_map(|line| line.strip_prefix("rchar: "));
            count.unwrap().parse::<u64>().unwrap()
        };
        let before = read();
        assert!(client.download(&id).await.expect(200).body == data);
        let read = read() - before;
        // Not all of it: where the socket takes a piece in part, a short rest of it is copied.
        let by_the_kernel = read >= data.len() as u64 / 2;
        assert_eq!(by_the_kernel, sendfile, "{read} bytes read");
    }
}
