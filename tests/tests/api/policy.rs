//! Policy files of a running node.

use glimpse_tests::{Node, Persona, Setup, eventually, glimpse};
use serde_json::{Value, json};

/// A node whose policy file and directory have these texts.
async fn node_with(file: &str) -> Node {
    let setup = Setup::trusted();
    let path = setup.folder().join("policy.yaml");
    let dir = setup.folder().join("policy.d");
    std::fs::write(&path, file).unwrap();
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    setup
        .set("auth.policy_file", text(&path))
        .set("auth.policy_dirs", vec![text(&dir)])
        .set("auth.reread_interval", "50ms")
        .start()
        .await
}

#[tokio::test]
async fn a_changed_policy_holds_without_a_restart_and_a_broken_one_changes_nothing() {
    let node = node_with("get_images: role:auditor\n").await;
    let member = node.client_of(&Persona::member("alpha"));
    let lists = async |status: u16| {
        eventually(&format!("lists are {status}"), async || {
            (member.list("").await.status == status).then_some(())
        })
        .await;
    };
    lists(403).await;
    let write = |name: &str, text: &str| std::fs::write(node.folder().join(name), text).unwrap();
    write("policy.yaml", "get_images: role:member\n");
    lists(200).await;
    let reloads = node.metric("policy_reloads_total").await;
    assert!(reloads >= 1.0, "{reloads}");
    // A directory that was not there when the node began.
    std::fs::create_dir(node.folder().join("policy.d")).unwrap();
    write("policy.d/10.yaml", "get_images: '!'\n");
    lists(403).await;
    write("policy.d/20.yaml", "get_images: rule:nowhere\n");
    eventually("the log says so", async || {
        let log = node.log();
        (log.contains("20.yaml:1") && log.contains("the rules of before hold")).then_some(())
    })
    .await;
    eventually("a gauge that says so", async || {
        (node.metric("policy_stale").await == 1.0).then_some(())
    })
    .await;
    assert_eq!(node.metric("policy_reload_failures_total").await, 1.0);
    let status = node.admin().get("/status").await.expect(200).text();
    assert!(status.contains("20.yaml:1"), "{status}");
    // Nodes that all read one wrong file go on serving.
    node.admin().get("/ready").await.expect(200);
    member.list("").await.expect(403);
    write("policy.d/20.yaml", "get_images: role:member\n");
    lists(200).await;
    eventually("the gauge is back", async || {
        (node.metric("policy_stale").await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn old_defaults_ask_for_no_role_where_they_are_to_hold() {
    for (enforced, status) in [(true, 403), (false, 200)] {
        let node = Setup::trusted()
            .set("auth.enforce_new_defaults", enforced)
            .start()
            .await;
        let nobody = node.client_of(&Persona::nobody("alpha"));
        nobody.list("").await.expect(status);
        let created = nobody.create(json!({})).await;
        assert_eq!(created.status, if enforced { 403 } else { 201 });
        // Rules without an old default ask as before.
        let public = nobody.create(json!({"visibility": "public"})).await;
        public.expect(403);
    }
}

#[tokio::test]
async fn rules_may_look_at_any_attribute_and_property_of_an_image() {
    let node = node_with(
        "delete_image: \"role:member and 'yes':%(disposable)s\"\n\
         download_image: \"not 'secret':%(name)s\"\n",
    )
    .await;
    let owner = node.client_of(&Persona::member("alpha"));
    let kept = owner.active(json!({"name": "secret"}), "data").await;
    let other = owner.active(json!({"disposable": "yes"}), "data").await;
    owner.download(&kept).await.expect(403);
    owner.download(&other).await.expect(200);
    owner.remove(&kept).await.expect(403);
    owner.remove(&other).await.expect(204);
}

/// Runs `glimpse policy ...` in a folder with this policy file; exit code and standard output.
async fn command(file: &str, words: &[&str]) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("policy.yaml"), file).unwrap();
    let config = "[auth]\npolicy_file = \"policy.yaml\"\n";
    std::fs::write(dir.path().join("glimpse.toml"), config).unwrap();
    let words = [&["policy"], words].concat();
    let output = glimpse(dir.path(), &words, &[]).await;
    (output.code, output.stdout + &output.stderr)
}

#[tokio::test]
async fn policy_list_shows_every_rule_with_its_text_and_where_it_comes_from() {
    let words = ["list", "-c", "glimpse.toml", "-o", "json"];
    let (code, text) = command("get_images: role:mine\nown: role:x\n", &words).await;
    assert_eq!(code, Some(0), "{text}");
    let rules: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(rules.len(), 68);
    let of = |name: &str| rules.iter().find(|rule| rule["name"] == name).unwrap();
    assert_eq!(of("get_images")["rule"], "role:mine");
    assert_eq!(of("get_images")["from"], "policy.yaml:1");
    assert_eq!(of("fetch_image_location")["rule"], "rule:service_api");
    assert_eq!(of("fetch_image_location")["from"], "the default rules");
    let (_, text) = command("", &["list", "-c", "glimpse.toml"]).await;
    assert!(
        text.contains("copy_image: \"rule:context_is_admin\""),
        "{text}"
    );
}

#[tokio::test]
async fn policy_check_says_what_is_wrong_with_a_file_and_how_bad_that_is() {
    for (file, code, told) in [
        ("get_images: role:x\n", 0, "ok"),
        ("get_imagess: role:x\n", 1, "did you mean `get_images`?"),
        (
            "get_images: project_id:%(ownr)s\n",
            1,
            "no image has an attribute `ownr`",
        ),
        (
            "get_images: role:x role:y\n",
            2,
            "policy.yaml:1: rule `get_images`: expected",
        ),
        ("get_images: rule:nowhere\n", 2, "refers to `rule:nowhere`"),
        ("a: rule:b\nb: rule:a\n", 2, "refers to itself: a -> b -> a"),
        ("[", 2, "policy.yaml:"),
    ] {
        for words in [
            &["check", "-c", "glimpse.toml"][..],
            &["check", "policy.yaml"],
        ] {
            let (found, text) = command(file, words).await;
            assert_eq!(found, Some(code), "{file}: {text}");
            assert!(text.contains(told), "{file}: {text}");
            let words = [words, &["-o", "json"]].concat();
            let (found, text) = command(file, &words).await;
            assert_eq!(found, Some(code), "{file}: {text}");
            let report: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(report["ok"], code == 0, "{file}");
        }
    }
}

#[tokio::test]
async fn policy_explain_shows_the_decision_and_what_decided() {
    let explain = async |words: &str, file: &str| {
        let words = format!("explain -c glimpse.toml {words}");
        let words: Vec<&str> = words.split(' ').collect();
        command(file, &words).await
    };
    let (code, text) = explain("modify_image --roles member,reader --project p", "").await;
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.starts_with("allowed, by the default rules\nyes modify_image\n"),
        "{text}"
    );
    assert!(text.contains("no      rule:context_is_admin"), "{text}");
    assert!(text.contains("yes       role:member"), "{text}");
    for (words, code) in [
        ("modify_image --roles member --project p --image-owner q", 1),
        ("modify_image --roles admin --project p --image-owner q", 0),
        ("modify_image --roles admin --project p --system", 1),
        ("download_image --roles reader --project p", 1),
        (
            "download_image --roles member --project p --image-owner q --visibility public",
            0,
        ),
        (
            "modify_member --roles member --project p --image-owner q --visibility shared --member p",
            0,
        ),
        (
            "modify_member --roles member --project p --image-owner q --visibility shared --member r",
            1,
        ),
        ("fetch_image_location --roles service", 0),
        ("modify_imag --roles admin", 2),
    ] {
        let (found, text) = explain(words, "").await;
        assert_eq!(found, Some(code), "{words}: {text}");
    }
    let (_, text) = explain("copy_image --roles mine -o json", "copy_image: role:mine\n").await;
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(told["allowed"], true);
    assert_eq!(told["from"], "policy.yaml:1");
    assert_eq!(told["checks"]["below"][0]["check"], "role:mine");
}
