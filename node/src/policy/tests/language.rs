use proptest::prelude::*;

use super::*;
use crate::policy::{SyntaxError, Target, check::Check, language};

fn parse(text: &str) -> Result<Check, SyntaxError> {
    language::parse(text, &mut |_| 0)
}

/// Outcome of a rule of roles a, b, c for all eight callers; bit 0 of the caller is role a.
fn outcomes(rule: &str) -> [bool; 8] {
    let policy = policy(&format!("rule: \"{rule}\"")).unwrap();
    std::array::from_fn(|caller_bits| {
        let held = |bit: usize| caller_bits >> bit & 1 == 1;
        let roles: Vec<_> = (0..3)
            .filter(|bit| held(*bit))
            .map(|bit| ["a", "b", "c"][bit])
            .collect();
        policy.allows("rule", &caller("p", &roles), &Target::default())
    })
}

type Meaning = fn(bool, bool, bool) -> bool;

fn table(f: Meaning) -> [bool; 8] {
    std::array::from_fn(|n| f(n & 1 == 1, n & 2 == 2, n & 4 == 4))
}

#[test]
fn not_binds_tighter_than_and_and_and_than_or() {
    let cases: [(&str, Meaning); 13] = [
        ("role:a or role:b and role:c", |a, b, c| a || (b && c)),
        ("role:a and role:b or role:c", |a, b, c| (a && b) || c),
        ("(role:a or role:b) and role:c", |a, b, c| (a || b) && c),
        ("role:a and (role:b or role:c)", |a, b, c| a && (b || c)),
        ("not role:a and role:b", |a, b, _| !a && b),
        ("not (role:a and role:b)", |a, b, _| !(a && b)),
        ("not role:a or role:b", |a, b, _| !a || b),
        ("not not role:a", |a, _, _| a),
        ("role:a and not role:b or role:c", |a, b, c| (a && !b) || c),
        ("((role:a))", |a, _, _| a),
        ("role:a OR role:b And role:c", |a, b, c| a || (b && c)),
        ("role:a and role:b and role:c", |a, b, c| a && b && c),
        (
            "role:a or role:b and role:c or not role:a and not role:b or !",
            |a, b, c| a || !b || c,
        ),
    ];
    for (rule, expected) in cases {
        assert_eq!(outcomes(rule), table(expected), "{rule}");
    }
}

#[test]
fn the_constants_and_the_empty_rule() {
    assert_eq!(parse(""), Ok(Check::Always));
    assert_eq!(parse("@"), Ok(Check::Always));
    assert_eq!(parse("!"), Ok(Check::Never));
    assert_eq!(outcomes("not !"), [true; 8]);
    assert_eq!(outcomes("@ and !"), [false; 8]);
}

#[test]
fn a_rule_that_cannot_be_read_is_an_error() {
    for (rule, part) in [
        ("   ", "blank"),
        (
            "role:a role:b",
            "expected `and`, `or` or the end before `role:b`",
        ),
        ("role:a or", "missing at the end"),
        ("and role:a", "missing before `and`"),
        ("role:a or or role:b", "missing before `or`"),
        ("not", "missing at the end"),
        ("(role:a", "parentheses"),
        ("role:a)", "parentheses"),
        ("()", "missing before `)`"),
        ("(role:a role:b)", "before `role:b`"),
        ("admin", "`admin` is not a check"),
        ("'admin'", "not a check"),
        // Parentheses part words at their ends only.
        ("not(role:a)", "no attribute `not(role`"),
        (":x", "not a check"),
        ("rule:", "not a check"),
        ("http:host/%(id)s", "is no URL of a server"),
        ("http://%(id)s/", "is no URL of a server"),
        ("http://host%(id)s/", "is no URL of a server"),
        ("role:a and https:", "is no URL of a server"),
        ("colour:red", "no attribute `colour`"),
        ("project_id:%()s", "a name is missing"),
        ("project_id:%(owner)d", "%(owner)d"),
        ("project_id:%(owner", "`%` must be part"),
        ("project_id:100%", "`%` must be part"),
    ] {
        let error = parse(rule).unwrap_err().to_string();
        assert!(error.contains(part), "{rule}: {error}");
    }
}

#[test]
fn checks_compare_the_caller_with_the_target() {
    let context = Context {
        service_roles: vec!["service".into()],
        ..caller("p1", &["member", "cloud_p1"])
    };
    let id: glimpse_registry::image::ImageId =
        "71c675ab-d94f-49cd-a114-e12490b328d9".parse().unwrap();
    let target = Target {
        owner: Some("p1"),
        visibility: Some("shared"),
        member_id: None,
        id: Some(id),
        image: None,
    };
    for (rule, expected) in [
        ("project_id:%(project_id)s", true),
        ("tenant:%(owner)s", true),
        ("project_id:p1", true),
        ("project_id:p", false),
        ("project_id:p12", false),
        ("project_id:%(member_id)s", false),
        ("not project_id:%(member_id)s", true),
        ("user_id:user-of-p1", true),
        ("user_id:user-of-%(owner)s", true),
        ("user:user-of-%(owner)sx", false),
        ("'shared':%(visibility)s", true),
        ("'public':%(visibility)s", false),
        ("None:%(member_id)s", false),
        ("role:MEMBER", true),
        ("role:mem", false),
        ("role:cloud_%(owner)s", true),
        ("roles:member", true),
        ("service_roles:service", true),
        ("role:service", false),
        ("is_admin:False", true),
        ("is_admin:True", false),
        ("True:True", true),
        ("1:1", true),
        ("'71c675ab-d94f-49cd-a114-e12490b328d9':%(id)s", true),
        ("'50%':50%%", true),
        ("project_id:", false),
    ] {
        let policy = policy(&format!("rule: {rule:?}")).unwrap();
        assert_eq!(policy.allows("rule", &context, &target), expected, "{rule}");
    }
}

#[test]
fn checks_look_at_all_attributes_of_an_image_and_at_its_properties() {
    let mut image = super::image::image(Some("p1"), glimpse_registry::image::Visibility::Shared);
    image.attributes.name = Some("jammy".into());
    image.attributes.min_ram = 512;
    image.attributes.os_hidden = true;
    image.size = Some(7);
    let properties = [("os_distro", Some("p1")), ("kernel_id", None)];
    for (name, value) in properties {
        let value = value.map(str::to_owned);
        image.attributes.properties.insert(name.into(), value);
    }
    let target = Target {
        image: Some(&image),
        ..Target::default()
    };
    for (rule, expected) in [
        ("'jammy':%(name)s", true),
        ("'active':%(status)s", true),
        ("512:%(min_ram)s", true),
        ("0:%(min_disk)s", true),
        ("7:%(size)s", true),
        ("True:%(os_hidden)s", true),
        ("True:%(protected)s", false),
        ("project_id:%(os_distro)s", true),
        ("role:%(os_distro)s_admin", true),
        ("'7-jammy':%(size)s-%(name)s", true),
        // What is null or not there matches nothing, `None` included.
        ("None:%(disk_format)s", false),
        ("None:%(kernel_id)s", false),
        ("None:%(colour)s", false),
        ("not 'red':%(colour)s", true),
    ] {
        let policy = policy(&format!("rule: {rule:?}")).unwrap();
        let context = caller("p1", &["p1_admin"]);
        assert_eq!(policy.allows("rule", &context, &target), expected, "{rule}");
        assert!(!policy.allows("rule", &context, &Target::default()) || rule.starts_with("not"));
    }
    let warnings = policy("get_image: project_id:%(projct_id)s and 'x':%(name)s").unwrap();
    let warnings = warnings.warnings();
    let [one] = warnings.as_slice() else {
        panic!("{warnings:?}");
    };
    assert!(
        one.message
            .contains("no image has an attribute `projct_id`"),
        "{one}"
    );
}

#[test]
fn a_server_that_is_not_asked_decides_nothing_and_what_does_not_need_it_is_decided() {
    for (rule, expected) in [
        ("http://host/", None),
        ("not http://host/", None),
        ("role:a or http://host/", Some(true)),
        ("http://host/ or role:a", Some(true)),
        ("http://host/%(id)s and role:b", Some(false)),
        ("role:a and https://host:8443/a/%(owner)s?x=%(id)s", None),
        ("not (http://host/ and role:b)", Some(true)),
        ("(http://host/ or role:b) and not role:a", Some(false)),
        ("http://host/ or not http://host/", None),
    ] {
        let policy = policy(&format!("rule: \"{rule}\"")).unwrap();
        let (caller, target) = (caller("p", &["a"]), Target::default());
        let rules = policy.rules();
        let explained = rules.explain("rule", &caller, &target).unwrap();
        assert_eq!(explained.holds, expected, "{rule}");
        assert_eq!(
            policy.allows("rule", &caller, &target),
            expected == Some(true),
            "{rule}"
        );
    }
}

#[test]
fn a_caller_without_a_project_matches_no_ownerless_image() {
    let policy = policy("rule: project_id:%(project_id)s").unwrap();
    assert!(!policy.allows("rule", &Context::default(), &Target::default()));
    let named_none = caller("None", &[]);
    assert!(!policy.allows("rule", &named_none, &Target::default()));
}

#[test]
fn nesting_is_bounded() {
    let deep = |n: usize| format!("{}role:a{}", "(".repeat(n), ")".repeat(n));
    assert!(parse(&deep(language::MAX_DEPTH - 1)).is_ok());
    assert_eq!(parse(&deep(language::MAX_DEPTH)), Err(SyntaxError::TooDeep));
    assert_eq!(parse(&deep(1_000_000)), Err(SyntaxError::TooDeep));
    assert_eq!(parse(&"not ".repeat(1_000_000)), Err(SyntaxError::TooDeep));
}

/// A random rule with what it means for each of the eight callers.
fn rules() -> impl Strategy<Value = (String, [bool; 8])> {
    let leaf = prop_oneof![
        (0..3usize).prop_map(|bit| {
            let name = ["role:a", "role:b", "role:c"][bit];
            (name.to_owned(), std::array::from_fn(|n| n >> bit & 1 == 1))
        }),
        Just(("@".to_owned(), [true; 8])),
        Just(("!".to_owned(), [false; 8])),
    ];
    leaf.prop_recursive(6, 40, 4, |inner| {
        prop_oneof![
            inner
                .clone()
                .prop_map(|(text, means)| (format!("not ({text})"), means.map(|m| !m))),
            (prop::collection::vec(inner, 2..4), any::<bool>()).prop_map(|(parts, and)| {
                let word = if and { " and " } else { " or " };
                let text: Vec<_> = parts.iter().map(|(text, _)| format!("({text})")).collect();
                let means = std::array::from_fn(|n| match and {
                    true => parts.iter().all(|(_, means)| means[n]),
                    false => parts.iter().any(|(_, means)| means[n]),
                });
                (text.join(word), means)
            }),
        ]
    })
}

proptest! {
    #[test]
    fn random_rules_mean_what_they_say((text, means) in rules()) {
        prop_assert_eq!(outcomes(&text), means, "{}", text);
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = parse(&text);
        let _ = policy(&text);
        let _ = policy(&format!("a: {text:?}"));
    }

    #[test]
    fn no_text_of_the_languages_own_letters_panics(
        text in "[()@! %:'\"a-c\\[\\]{},#&*\n-]{0,40}|((not|and|or|role:a|\\(|\\)|@|!|rule:b|%\\(owner\\)s|\\s){1,2}){0,12}"
    ) {
        let _ = parse(&text);
        let _ = policy(&text);
    }
}
