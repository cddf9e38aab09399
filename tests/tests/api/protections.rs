//! Property protections (image-api 4.4; OSSN-0013).

use glimpse_tests::{Client, Node, Persona, Setup, eventually};
use serde_json::{Value, json};

const ROLES: &str = "
[^x_owner_]
create = admin, member
read = admin, member, reader
update = admin, member
delete = admin

[^x_billing]
create = billing
read = billing, admin
update = billing
delete = billing

# Never reached for names that the sections above are found in.
[.*secret.*]
create = @
read = !
update = @
delete = @

[^x_open]
create = @
read = @
update = @
delete = @
";

async fn node(text: &str, format: &str, policy: &str) -> Node {
    let setup = Setup::trusted();
    let (file, rules) = (
        setup.folder().join("protections"),
        setup.folder().join("policy.yaml"),
    );
    std::fs::write(&file, text).unwrap();
    std::fs::write(&rules, policy).unwrap();
    setup
        .set(
            "auth.property_protection_file",
            file.to_string_lossy().into_owned(),
        )
        .set("auth.property_protection_rule_format", format)
        .set("auth.policy_file", rules.to_string_lossy().into_owned())
        .set("auth.reread_interval", "50ms")
        .start()
        .await
}

/// Two callers of one project.
fn people(node: &Node) -> (Client, Client) {
    let billing = Persona::new("alpha", &["member", "reader", "billing"]);
    (
        node.client_of(&Persona::member("alpha")),
        node.client_of(&billing),
    )
}

fn operation(op: &str, name: &str, value: &str) -> Value {
    json!([{"op": op, "path": format!("/{name}"), "value": value}])
}

#[tokio::test]
async fn a_property_is_created_only_by_those_who_may_on_create_as_by_patch() {
    let node = node(ROLES, "roles", "").await;
    let (member, billing) = people(&node);
    for (name, by_member, by_billing) in [
        ("x_owner_a", 201, 201),
        ("x_billing_code", 403, 201),
        // The first section decides: "secret" would let everybody.
        ("x_billing_secret", 403, 201),
        ("x_open", 201, 201),
        // No section is found in it.
        ("plain", 403, 403),
    ] {
        for (client, status) in [(&member, by_member), (&billing, by_billing)] {
            let answer = client.create(json!({name: "v"})).await;
            assert_eq!(answer.status, status, "POST {name}");
            let id = client.created(json!({})).await;
            let patched = client.patch(&id, operation("add", name, "v")).await;
            let wanted = if status == 201 { 200 } else { 403 };
            assert_eq!(patched.status, wanted, "PATCH {name}");
            if wanted == 403 {
                assert!(patched.text().contains("is reserved"), "{}", patched.text());
            }
        }
    }
    // All or nothing.
    let id = member.created(json!({})).await;
    let both = json!([
        {"op": "add", "path": "/x_open", "value": "v"},
        {"op": "add", "path": "/x_billing", "value": "v"},
        {"op": "replace", "path": "/name", "value": "other"},
    ]);
    member.patch(&id, both).await.expect(403);
    let image = member.show(&id).await.expect(200).json();
    assert_eq!(
        (&image["name"], image.get("x_open")),
        (&json!("image"), None)
    );
}

#[tokio::test]
async fn what_a_caller_may_not_read_is_neither_shown_nor_found_nor_touched() {
    let node = node(ROLES, "roles", "").await;
    let (member, billing) = people(&node);
    let id = billing
        .created(json!({"x_billing_code": "4711", "x_owner_a": "o", "a_secret": "s"}))
        .await;
    let seen = async |client: &Client| {
        let image = client.show(&id).await.expect(200).json();
        let list = client.list("").await.expect(200).json();
        let names = ["x_billing_code", "x_owner_a", "a_secret"];
        let of = |image: &Value| names.map(|name| image.get(name).is_some());
        assert_eq!(of(&image), of(&list["images"][0]), "show and list differ");
        of(&image)
    };
    assert_eq!(seen(&billing).await, [true, true, false]);
    assert_eq!(seen(&member).await, [false, true, false]);
    // No probing of the value by filters.
    for value in ["4711", "1"] {
        let query = format!("x_billing_code={value}");
        assert_eq!(member.list_all(&query).await.len(), 0, "{query}");
    }
    assert_eq!(billing.list_all("x_billing_code=4711").await.len(), 1);
    assert_eq!(member.list_all("x_owner_a=o").await.len(), 1);
    // To who may not read it, it is not there.
    member
        .replace(&id, "x_billing_code", json!("1"))
        .await
        .expect(409);
    let removal = json!([{"op": "remove", "path": "/x_billing_code"}]);
    member.patch(&id, removal.clone()).await.expect(409);
    member
        .patch(&id, operation("add", "x_billing_code", "1"))
        .await
        .expect(403);
    // What a PATCH of something else leaves alone stays.
    member.replace(&id, "name", json!("n")).await.expect(200);
    let image = billing.show(&id).await.expect(200).json();
    assert_eq!(image["x_billing_code"], "4711");
    billing
        .replace(&id, "x_billing_code", json!("1"))
        .await
        .expect(200);
    billing.patch(&id, removal).await.expect(200);
    let removal = json!([{"op": "remove", "path": "/x_owner_a"}]);
    member.patch(&id, removal.clone()).await.expect(403);
    node.client_of(&Persona::admin())
        .patch(&id, removal)
        .await
        .expect(200);
}

#[tokio::test]
async fn rules_of_the_policy_decide_in_the_other_format_and_changes_hold_at_once() {
    let text = "[^x_]\ncreate = makers\nread = @\nupdate = makers\ndelete = !\n";
    let node = node(text, "policies", "makers: role:billing\n").await;
    let (member, billing) = people(&node);
    let id = billing.created(json!({"x_a": "1"})).await;
    assert_eq!(member.show(&id).await.expect(200).json()["x_a"], "1");
    member.replace(&id, "x_a", json!("2")).await.expect(403);
    billing.replace(&id, "x_a", json!("2")).await.expect(200);
    let removal = json!([{"op": "remove", "path": "/x_a"}]);
    billing.patch(&id, removal).await.expect(403);
    std::fs::write(node.folder().join("policy.yaml"), "makers: role:member\n").unwrap();
    eventually("the member may", async || {
        let answer = member.replace(&id, "x_a", json!("3")).await;
        (answer.status == 200).then_some(())
    })
    .await;
    // A file that names a rule which is gone changes nothing.
    std::fs::write(node.folder().join("policy.yaml"), "").unwrap();
    eventually("the gauge says so", async || {
        (node.metric("policy_stale").await == 1.0).then_some(())
    })
    .await;
    member.replace(&id, "x_a", json!("4")).await.expect(200);
}

#[tokio::test]
async fn a_wrong_file_of_protections_keeps_the_node_from_starting() {
    for (text, format) in [
        (Some("[a]\ncreate = x\n"), "roles"),
        (
            Some("[a]\ncreate = @,!\nread = @\nupdate = @\ndelete = @\n"),
            "roles",
        ),
        (
            Some("[a]\ncreate = a,b\nread = @\nupdate = @\ndelete = @\n"),
            "policies",
        ),
        (
            Some("[a]\ncreate = nowhere\nread = @\nupdate = @\ndelete = @\n"),
            "policies",
        ),
        (
            Some("[(]\ncreate = @\nread = @\nupdate = @\ndelete = @\n"),
            "roles",
        ),
        (None, "roles"),
    ] {
        let setup = Setup::new();
        let file = setup.folder().join("protections");
        if let Some(text) = text {
            std::fs::write(&file, text).unwrap();
        }
        let refusal = setup
            .set(
                "auth.property_protection_file",
                file.to_string_lossy().into_owned(),
            )
            .set("auth.property_protection_rule_format", format)
            .refused()
            .await;
        assert_eq!(refusal.code, Some(2), "{text:?}: {}", refusal.output);
        assert!(refusal.output.contains("protections"), "{}", refusal.output);
    }
}
