//! Policy files of a running node.

use glimpse_tests::{Node, Persona, Setup, eventually};
use serde_json::json;

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
