use std::path::Path;

use super::*;
use crate::policy::Target;

fn allows(policy: &Policy, rule: &str, roles: &[&str]) -> bool {
    policy.allows(rule, &caller("p", roles), &Target::default())
}

#[test]
fn rules_of_the_file_replace_the_defaults() {
    let policy = policy(
        "# as the sample generator writes it\n\
         ---\n\
         \"get_images\": \"role:auditor\"\n\
         # \"delete_image\": \"!\"\n\
         'add_image': '!'\n\
         copy_image: role:auditor or rule:mine\n\
         \"publicize_image\": \"\"\n\
         \"mine\": \"role:owner\"\n",
    )
    .unwrap();
    assert!(allows(&policy, "get_images", &["auditor"]));
    assert!(!allows(&policy, "get_images", &["admin"]));
    assert!(!allows(&policy, "add_image", &["admin"]));
    assert!(allows(&policy, "delete_image", &["admin"]));
    assert!(allows(&policy, "copy_image", &["auditor"]));
    assert!(allows(&policy, "copy_image", &["owner"]));
    assert!(!allows(&policy, "copy_image", &["admin"]));
    assert!(allows(&policy, "publicize_image", &[]));
    assert!(allows(&policy, "mine", &["owner"]));
}

#[test]
fn a_replaced_rule_is_what_others_refer_to() {
    let policy = policy("context_is_admin: role:boss\n").unwrap();
    assert!(allows(&policy, "copy_image", &["boss"]));
    assert!(!allows(&policy, "copy_image", &["admin"]));
}

#[test]
fn json_and_the_old_list_form_are_read() {
    let policy = policy(
        "{\n\t\"a\": [[\"role:x\", \"role:y\"], [\"role:z\"], []],\n\
         \t\"b\": [], \"c\": [[]], \"d\": [\"role:x\", \"role:y\"],\n\
         \t\"e\": \"role:x\"\n}\n",
    )
    .unwrap();
    for (rule, roles, expected) in [
        ("a", &["x"][..], false),
        ("a", &["x", "y"], true),
        ("a", &["z"], true),
        ("b", &[], true),
        ("c", &["x"], false),
        ("d", &["y"], true),
        ("d", &["z"], false),
        ("e", &["x"], true),
    ] {
        assert_eq!(allows(&policy, rule, roles), expected, "{rule} {roles:?}");
    }
}

#[test]
fn lists_in_block_form_and_folded_text_are_read() {
    let policy =
        policy("a:\n- - role:x\n  - role:y\n- role:z\nb: >-\n  role:x\n  or role:y\n").unwrap();
    assert!(allows(&policy, "a", &["z"]));
    assert!(!allows(&policy, "a", &["x"]));
    assert!(allows(&policy, "b", &["y"]));
}

#[test]
fn an_empty_file_changes_nothing() {
    for text in [
        "",
        "\n",
        "# nothing\n",
        "---\n",
        "{}",
        "---\n...\n",
        "\u{feff}# bom\n",
    ] {
        let policy = policy(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert!(allows(&policy, "copy_image", &["admin"]));
        assert!(!allows(&policy, "copy_image", &["member"]));
    }
}

#[test]
fn errors_name_the_file_the_line_and_the_rule() {
    for (text, expected) in [
        (
            "a: '@'\nb: role:x role:y\n",
            "policy.yaml:2: rule `b`: expected",
        ),
        (
            "a: '@'\n\n# c\nb: rule:nowhere\n",
            "policy.yaml:4: rule `b` refers to `rule:nowhere`",
        ),
        (
            "a: '@'\na: '!'\n",
            "policy.yaml:2: rule `a` is given twice, first in line 1",
        ),
        (
            "a: '@'\nb: http://x/\n",
            "policy.yaml:2: rule `b`: `http://x/` asks a remote server",
        ),
        ("a:\n", "rule `a` has no value"),
        ("a: ~\n", "policy.yaml:1: rule `a` has no value"),
        ("a: !\n", "rule `a` has no value"),
        (
            "a: {b: c}\n",
            "policy.yaml:1: rule `a` must be text or a list",
        ),
        ("a: [[{b: c}]]\n", "policy.yaml:1: a check must be text"),
        ("a: &x '@'\nb: *x\n", "policy.yaml:2: rule `b` is an alias"),
        ("- a\n- b\n", "policy.yaml:1: expected a mapping"),
        ("just text\n", "policy.yaml:1: expected a mapping"),
        ("a: '@'\n---\nb: '@'\n", "a second document"),
        ("'': '@'\n", "policy.yaml:1: a rule name is empty"),
        ("a: [\n", "policy.yaml:"),
        ("a: \"unclosed\n", "policy.yaml:"),
        ("a: @\n", "policy.yaml:1:"),
        (
            "a: rule:a\n",
            "policy.yaml:1: rule `a` refers to itself: a -> a",
        ),
        (
            "a: rule:b\nb: not rule:c\nc: role:x and rule:a\n",
            "refers to itself: a -> b -> c -> a",
        ),
        ("default: rule:get_task\n", "refers to itself"),
    ] {
        let error = error(text);
        assert!(error.contains(expected), "{text:?}: {error}");
    }
}

#[test]
fn a_rule_that_nothing_asks_for_is_warned_of() {
    let warnings = |text: &str| -> Vec<String> {
        let policy = policy(text).unwrap();
        policy.warnings().map(|found| found.to_string()).collect()
    };
    assert_eq!(warnings(""), [""; 0]);
    let used = "get_image: rule:mine\nmine: role:x or rule:deeper\ndeeper: role:y\n";
    assert_eq!(warnings(used), [""; 0]);
    let found = warnings("nope: '!'\ndelete_imagee: rule:own\nown: role:x\n");
    let [nope, misspelt] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert!(
        nope.starts_with("auth.policy_file: policy.yaml:1: rule `nope` has no effect"),
        "{nope}"
    );
    assert!(!nope.contains("did you mean"), "{nope}");
    assert!(
        misspelt.contains("policy.yaml:2: rule `delete_imagee`"),
        "{misspelt}"
    );
    assert!(
        misspelt.ends_with("did you mean `delete_image`?"),
        "{misspelt}"
    );
}

#[test]
fn chains_of_references_are_bounded() {
    let chain = |n: usize| -> String {
        (0..n)
            .map(|i| format!("r{i}: rule:r{}\n", i + 1))
            .collect::<String>()
            + &format!("r{n}: '@'\n")
    };
    assert!(policy(&chain(30)).is_ok());
    assert!(error(&chain(40)).contains("more than 32"));
    assert!(error(&chain(20_000)).contains("more than 32"));
    // The same in the other order, where the bottom is known first.
    let reversed: Vec<_> = chain(40).lines().rev().map(String::from).collect();
    assert!(error(&reversed.join("\n")).contains("more than 32"));
}

#[test]
fn files_are_loaded_and_unusable_ones_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.yaml");
    let missing = Policy::load(Some(&path)).unwrap_err().to_string();
    assert!(missing.contains("policy.yaml"), "{missing}");
    std::fs::write(&path, "a: role:x\n").unwrap();
    assert!(allows(&Policy::load(Some(&path)).unwrap(), "a", &["x"]));
    std::fs::write(&path, [b'a', 0xff]).unwrap();
    assert!(Policy::load(Some(&path)).is_err());
    std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    let large = Policy::load(Some(&path)).unwrap_err().to_string();
    assert!(large.contains("larger than"), "{large}");
    assert!(Policy::load(None::<&Path>).is_ok());
}

#[test]
fn an_explanation_shows_every_check_with_its_outcome() {
    let policy = Policy::defaults();
    let target = Target {
        owner: Some("p"),
        ..Target::default()
    };
    let text = policy.explain("modify_image", &caller("p", &["reader"]), &target);
    assert_eq!(
        text,
        "no  modify_image\n\
         no    or\n\
         no      rule:context_is_admin\n\
         no        role:admin\n\
         no      and\n\
         no        role:member\n\
         yes       project_id:%(project_id)s\n"
    );
    assert!(
        policy
            .explain("nothing", &caller("p", &[]), &target)
            .contains("no such rule")
    );
}
