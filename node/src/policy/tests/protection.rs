use super::*;
use crate::policy::{
    Reread, Sources,
    protection::{Action, RuleFormat},
};

/// The rules with a file of this text, and a policy with two rules of its own.
fn protected(text: &str, format: RuleFormat) -> (tempfile::TempDir, Result<Policy, PolicyError>) {
    let dir = tempfile::tempdir().unwrap();
    let (file, policy) = (dir.path().join("protections"), dir.path().join("policy"));
    std::fs::write(&file, text).unwrap();
    std::fs::write(&policy, "mine: role:x\nyours: not rule:mine\n").unwrap();
    let loaded = Policy::load(Sources {
        file: Some(policy),
        protection: Some((file, format)),
        ..Sources::none()
    });
    (dir, loaded)
}

fn all(value: &str) -> String {
    let keys = ["create", "read", "update", "delete"];
    keys.map(|key| format!("{key} = {value}\n")).concat()
}

#[test]
fn the_first_section_found_in_the_name_decides_and_no_section_refuses() {
    let text = format!(
        "# as shipped\n[^x_.*]\ncreate = Admin, member\nread: @\nupdate = admin,\n  billing\ndelete =\n\
         [x_secret]\n{}[color|colour]\n{}[os_glance_mine]\n{}",
        all("@"),
        all("service"),
        all("!")
    );
    let (_dir, policy) = protected(&text, RuleFormat::Roles);
    let policy = policy.unwrap();
    let may = |action, name: &str, role: &str| policy.may(action, name, &caller("p", &[role]));
    use Action::{Create, Delete, Read, Update};
    for (action, name, role, expected) in [
        (Create, "x_a", "member", true),
        (Create, "x_a", "admin", true),
        (Create, "x_a", "reader", false),
        (Read, "x_a", "nobody", true),
        (Update, "x_a", "billing", true),
        (Update, "x_a", "member", false),
        (Delete, "x_a", "admin", false),
        // The first one, not the one that fits better.
        (Delete, "x_secret", "admin", false),
        // Searched, not matched from the beginning.
        (Update, "my_colour_x", "service", true),
        (Update, "my_colour_x", "admin", false),
        (Delete, "the_x_secret", "anybody", true),
        (Read, "other", "admin", false),
        (Read, "os_glance_mine", "nobody", true),
        (Read, "os_glance_import_task", "nobody", true),
    ] {
        assert_eq!(
            may(action, name, role),
            expected,
            "{action:?} {name} {role}"
        );
    }
    let service = Context {
        service_roles: vec!["service".into()],
        ..caller("p", &["reader"])
    };
    assert!(policy.may(Update, "colour", &service));
}

#[test]
fn rules_of_the_policy_decide_where_they_are_named() {
    let text = format!(
        "[DEFAULT]\ndelete = !\n[^a]\ncreate = mine\nread = @\nupdate = yours\n[.*]\n{}",
        all("mine")
    );
    let (dir, policy) = protected(&text, RuleFormat::Policies);
    let policy = policy.unwrap();
    let may = |action, name: &str, role: &str| policy.may(action, name, &caller("p", &[role]));
    assert!(may(Action::Create, "a", "x") && !may(Action::Create, "a", "y"));
    assert!(may(Action::Update, "a", "y") && !may(Action::Update, "a", "x"));
    assert!(may(Action::Read, "a", "y") && !may(Action::Delete, "a", "x"));
    assert!(may(Action::Read, "b", "x") && !may(Action::Read, "b", "y"));
    assert_eq!(policy.warnings(), []);
    // Rules and protections are replaced together, or neither is.
    std::fs::write(dir.path().join("policy"), "mine: role:y\n").unwrap();
    assert!(matches!(policy.reread(), Reread::Kept(cause) if cause.contains("yours")));
    assert!(may(Action::Create, "a", "x"));
    std::fs::write(
        dir.path().join("protections"),
        all("@").replace("c", "[.*]\nc"),
    )
    .unwrap();
    assert_eq!(policy.reread(), Reread::Replaced);
    assert!(may(Action::Create, "zzz", "nobody"));
}

#[test]
fn a_wrong_file_is_refused_with_its_line() {
    for (text, format, expected) in [
        (
            "[a]\ncreate = x\nread = x\nupdate = x\n",
            RuleFormat::Roles,
            ":1: [a] has no `delete`",
        ),
        (
            "[a]\nread = @, !\n",
            RuleFormat::Roles,
            ":1: [a] has no `create`",
        ),
        (
            "[a]\ncreate = @, !\nread=\nupdate=\ndelete=\n",
            RuleFormat::Roles,
            ":2: [a] create: `@` and `!`",
        ),
        (
            "[a]\ncreat = x\n",
            RuleFormat::Roles,
            ":2: `creat` is none of create, read",
        ),
        (
            "create = x\n",
            RuleFormat::Roles,
            ":1: `create` stands in no section",
        ),
        (
            "[a]\n[a]\n",
            RuleFormat::Roles,
            ":2: section [a] is there twice",
        ),
        (
            "[a]\nread = x\nread = y\n",
            RuleFormat::Roles,
            ":3: [a] has `read` twice",
        ),
        ("[a]\njunk\n", RuleFormat::Roles, ":2: `junk` is neither"),
        ("[]\n", RuleFormat::Roles, ":1: a section has no name"),
        (
            "[a(]\ncreate=\nread=\nupdate=\ndelete=\n",
            RuleFormat::Roles,
            ":1: [a(] is no pattern",
        ),
        (
            "[a]\ncreate = mine, yours\nread=\nupdate=\ndelete=\n",
            RuleFormat::Policies,
            ":2: [a] create: takes the name of one rule",
        ),
        (
            "[a]\ncreate =\nread = nowhere\nupdate=\ndelete=\n",
            RuleFormat::Policies,
            ":3: rule `a:read` refers to `rule:nowhere`",
        ),
    ] {
        let (_dir, policy) = protected(text, format);
        let error = policy.unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let gone = Policy::load(Sources {
        protection: Some(("/nowhere/protections".into(), RuleFormat::Roles)),
        ..Sources::none()
    });
    let error = gone.unwrap_err();
    assert_eq!(error.key(), "auth.property_protection_file");
}
