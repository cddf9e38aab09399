use std::path::Path;

use super::*;
use crate::policy::{Reread, Sources, Target};

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
            "a: '@'\nb: http:x/\n",
            "policy.yaml:2: rule `b`: `http:x/` is no URL",
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
        let found = policy.warnings();
        found.iter().map(ToString::to_string).collect()
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
    let load = || Policy::load(of_file(&path));
    let missing = load().unwrap_err().to_string();
    assert!(missing.contains("policy.yaml"), "{missing}");
    std::fs::write(&path, "a: role:x\n").unwrap();
    assert!(allows(&load().unwrap(), "a", &["x"]));
    std::fs::write(&path, [b'a', 0xff]).unwrap();
    assert!(load().is_err());
    std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    let large = load().unwrap_err().to_string();
    assert!(large.contains("larger than"), "{large}");
}

fn of_file(path: &Path) -> Sources {
    Sources {
        file: Some(path.to_owned()),
        ..Sources::none()
    }
}

#[test]
fn files_of_directories_go_over_the_file_in_the_order_of_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("policy.yaml", "a: role:file\nb: role:file\nc: role:file\n");
    std::fs::create_dir(dir.path().join("policy.d")).unwrap();
    write("policy.d/20.yaml", "c: role:second\nget_image: rule:c\n");
    write("policy.d/10.yaml", "b: role:first\nc: role:first\n");
    write("policy.d/.hidden", "[");
    write("policy.d/10.yaml~", "[");
    let sources = Sources {
        dirs: vec![dir.path().join("policy.d"), dir.path().join("nowhere")],
        ..of_file(&dir.path().join("policy.yaml"))
    };
    let policy = Policy::load(sources).unwrap();
    for (rule, role) in [("a", "file"), ("b", "first"), ("c", "second")] {
        for other in ["file", "first", "second"] {
            assert_eq!(
                allows(&policy, rule, &[other]),
                role == other,
                "{rule} {other}"
            );
        }
    }
    let rules = policy.rules();
    let place = &rules.named("c").unwrap().place;
    assert!(place.ends_with("policy.d/20.yaml:1"), "{place}");
    // A reference to a rule of another file is no error, one to nowhere is.
    write("policy.d/30.yaml", "d: rule:nowhere\n");
    assert!(matches!(policy.reread(), Reread::Kept(cause) if cause.contains("30.yaml:1")));
    write("policy.d/30.yaml", "d: rule:a\n");
    assert_eq!(policy.reread(), Reread::Replaced);
    assert!(allows(&policy, "d", &["file"]));
    std::fs::remove_file(dir.path().join("policy.d/20.yaml")).unwrap();
    assert_eq!(policy.reread(), Reread::Replaced);
    assert!(allows(&policy, "c", &["first"]));
}

#[test]
fn a_changed_file_is_read_again_and_a_broken_one_leaves_the_rules_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.yaml");
    std::fs::write(&path, "a: role:x\n").unwrap();
    let policy = Policy::load(of_file(&path)).unwrap();
    let held = policy.rules();
    assert_eq!(policy.reread(), Reread::Unchanged);
    std::fs::write(&path, "a: role:y\n").unwrap();
    assert_eq!(policy.reread(), Reread::Replaced);
    assert!(allows(&policy, "a", &["y"]) && !allows(&policy, "a", &["x"]));
    // Who asked before goes on with what it had.
    assert!(held.allows("a", &caller("p", &["x"]), &Target::default(), None));
    assert!(!policy.is_stale());
    for broken in ["a: role:z role:z\n", "a: [\n"] {
        std::fs::write(&path, broken).unwrap();
        assert!(matches!(policy.reread(), Reread::Kept(_)), "{broken}");
        // Told once.
        assert_eq!(policy.reread(), Reread::Unchanged);
        assert!(allows(&policy, "a", &["y"]));
        assert!(policy.is_stale());
        let warning = policy.warnings()[0].to_string();
        assert!(warning.contains("the rules of before hold"), "{warning}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(policy.reread(), Reread::Kept(_)));
    // As editors do: another file in its place.
    let other = dir.path().join("other");
    std::fs::write(&other, "a: role:w\n").unwrap();
    std::fs::rename(&other, &path).unwrap();
    assert_eq!(policy.reread(), Reread::Replaced);
    assert!(allows(&policy, "a", &["w"]));
    assert!(!policy.is_stale() && policy.warnings().len() == 1);
    // Other sources, if they can be used.
    std::fs::write(&other, "a: 1:1:\nb: rule:c\n").unwrap();
    assert!(policy.replace(of_file(&other)).is_err());
    assert!(allows(&policy, "a", &["w"]));
    assert!(policy.replace(Sources::none()).is_ok());
    assert!(!allows(&policy, "a", &["w"]));
}

#[test]
fn an_explanation_shows_every_check_with_its_outcome() {
    let policy = Policy::defaults();
    let target = Target {
        owner: Some("p"),
        ..Target::default()
    };
    let explain =
        |rule: &str, roles: &[&str]| policy.rules().explain(rule, &caller("p", roles), &target);
    let explained = explain("modify_image", &["reader"]).unwrap();
    assert_eq!(
        explained.to_string(),
        "no  modify_image\n\
         no    or\n\
         no      rule:context_is_admin\n\
         no        role:admin\n\
         no      and\n\
         no        role:member\n\
         yes       project_id:%(project_id)s\n"
    );
    assert_eq!(explain("nothing", &[]), None);
}
