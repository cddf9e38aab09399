use std::{collections::HashSet, fmt::Write as _};

use super::{super::defaults::RULES, *};
use crate::policy::{Sources, Target};

#[test]
fn the_defaults_load_and_their_names_differ() {
    let policy = Policy::defaults();
    let names: HashSet<_> = RULES.iter().map(|rule| rule.name).collect();
    assert_eq!(names.len(), 67);
    // Each is defined, so a rule that an admin passes answers yes by its name.
    let admin = caller("p", &["admin"]);
    for name in names {
        assert!(policy.allows(name, &admin, &Target::default()), "{name}");
    }
}

/// Written out by hand from image-api 4.2, to catch a slip in the constants of the table.
#[test]
fn the_rule_strings_are_those_of_the_inventory() {
    let a = "rule:context_is_admin";
    let p = "project_id:%(project_id)s";
    let m = "project_id:%(member_id)s";
    let v = "'community':%(visibility)s or 'public':%(visibility)s or 'shared':%(visibility)s";
    let groups = [
        (String::new(), "default metadef_default"),
        ("role:admin".into(), "context_is_admin"),
        ("role:service or role:admin".into(), "service_api"),
        (
            format!("{a} or (role:member and {p} and project_id:%(owner)s)"),
            "add_image",
        ),
        (
            format!("{a} or (role:member and {p})"),
            "delete_image modify_image upload_image communitize_image set_image_location \
             add_member delete_member deactivate reactivate",
        ),
        (
            format!("{a} or (role:reader and ({p} or {m} or {v}))"),
            "get_image",
        ),
        (
            format!("{a} or (role:member and ({p} or {m} or {v}))"),
            "download_image download_from_store",
        ),
        (
            format!("{a} or (role:reader and {p})"),
            "get_images get_image_location get_metadef_namespaces",
        ),
        (
            format!("{a} or role:reader and ({p} or {m})"),
            "get_member get_members",
        ),
        (format!("{a} or (role:member and {m})"), "modify_member"),
        (
            format!("rule:service_api or (role:member and {p} and project_id:%(owner)s)"),
            "add_image_location",
        ),
        ("rule:service_api".into(), "fetch_image_location"),
        (format!("{a} or rule:service_api"), "stores_info_detail"),
        (
            a.into(),
            "publicize_image delete_image_location copy_image manage_image_cache \
             list_cached_nodes tasks_api_access cache_image cache_list cache_delete cache_clean \
             cache_prune metadef_admin",
        ),
        (
            "rule:default".into(),
            "get_task get_tasks add_task modify_task",
        ),
        (
            format!("{a} or (role:reader and ({p} or 'public':%(visibility)s))"),
            "get_metadef_namespace get_metadef_object get_metadef_objects get_metadef_property \
             get_metadef_properties get_metadef_tag get_metadef_tags list_metadef_resource_types \
             get_metadef_resource_type",
        ),
        (
            "rule:metadef_admin".into(),
            "modify_metadef_namespace add_metadef_namespace delete_metadef_namespace \
             modify_metadef_object add_metadef_object delete_metadef_object \
             add_metadef_resource_type_association remove_metadef_resource_type_association \
             modify_metadef_property add_metadef_property remove_metadef_property \
             modify_metadef_tag add_metadef_tag add_metadef_tags delete_metadef_tag \
             delete_metadef_tags",
        ),
    ];
    let mut seen = 0;
    for (check, names) in &groups {
        for name in names.split_whitespace() {
            let rule = RULES.iter().find(|rule| rule.name == name);
            assert_eq!(rule.map(|rule| rule.check), Some(check.as_str()), "{name}");
            seen += 1;
        }
    }
    assert_eq!(seen, RULES.len());
}

#[test]
fn a_token_of_foreign_scope_passes_no_scoped_rule() {
    let policy = Policy::defaults();
    let context = Context {
        foreign_scope: true,
        ..caller("p", &["admin", "member", "reader", "service"])
    };
    let unscoped: HashSet<_> = [
        "default",
        "context_is_admin",
        "service_api",
        "metadef_default",
        "metadef_admin",
    ]
    .into();
    for rule in RULES {
        let allowed = policy.allows(rule.name, &context, &Target::default());
        assert_eq!(allowed, unscoped.contains(rule.name), "{}", rule.name);
    }
}

#[test]
fn a_rule_that_does_not_exist_allows_nothing() {
    let policy = Policy::defaults();
    let admin = caller("p", &["admin"]);
    for name in ["", "get_imgae", "GET_IMAGE", "rule:get_image"] {
        assert!(!policy.allows(name, &admin, &Target::default()), "{name}");
    }
}

/// What `ops/POLICY.md` has to be.
fn document() -> String {
    let mut text = "# Policy rules\n\n\
        Every rule of this service, its default, what it said before (which holds beside it where\n\
        `auth.enforce_new_defaults` is off), and the calls that it guards. This file is the table in\n\
        `node/src/policy/defaults.rs`, and a test keeps it so.\n\n\
        | rule | default | before | calls |\n| --- | --- | --- | --- |\n"
        .to_owned();
    let code = |text: &str| format!("`{text:?}`");
    for rule in RULES {
        let operations = rule.operations.iter().map(|call| format!("`{call}`"));
        let row = [
            format!("`{}`", rule.name),
            code(rule.check),
            rule.deprecated.map(code).unwrap_or_default(),
            operations.collect::<Vec<_>>().join(", "),
        ];
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

#[test]
fn the_written_table_has_every_rule_as_it_is_in_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../ops/POLICY.md");
    if std::env::var_os("UPDATE_POLICY_MD").is_some() {
        std::fs::write(path, document()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap();
    assert_eq!(written, document(), "run the test with UPDATE_POLICY_MD=1");
    let rows = written.lines().filter(|line| line.starts_with("| `"));
    assert_eq!(rows.count(), 67);
}

#[test]
fn old_defaults_hold_beside_the_new_ones_only_where_that_is_asked_for() {
    let old = Policy::load(Sources {
        enforce_new_defaults: false,
        ..Sources::none()
    })
    .unwrap();
    let new = Policy::defaults();
    let nobody = caller("p", &["guest"]);
    let allowed = |policy: &Policy, rule: &str| policy.allows(rule, &nobody, &Target::default());
    for rule in RULES {
        // `rule:default` and `rule:metadef_default` are empty.
        let opened = matches!(
            rule.deprecated,
            Some("rule:default" | "rule:metadef_default")
        );
        let wide = allowed(&new, rule.name);
        assert_eq!(allowed(&old, rule.name), wide || opened, "{}", rule.name);
    }
    // Rules of a scope ask for it all the same.
    let system = Context {
        foreign_scope: true,
        ..nobody.clone()
    };
    assert!(!old.allows("get_images", &system, &Target::default()));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("policy.yaml");
    std::fs::write(
        &file,
        "default: '!'\nget_images: role:x\nmanage_image_cache: role:guest\n",
    )
    .unwrap();
    let overridden = Policy::load(Sources {
        file: Some(file),
        enforce_new_defaults: false,
        ..Sources::none()
    })
    .unwrap();
    // What an old default refers to is the operator's; a rule of the file has no old default.
    assert!(!allowed(&overridden, "get_image"));
    assert!(!allowed(&overridden, "get_images"));
    assert!(allowed(&overridden, "cache_list"));
    assert!(!allowed(&overridden, "cache_clean"));
}
