//! Every image rule for every persona and visibility, against a table worked out by hand from
//! image-api 4.2 and 4.3.

use std::collections::{BTreeMap, BTreeSet};

use glimpse_registry::{
    image::{Attributes, Image, ImageId, Timestamp, Visibility},
    status::Status,
};

use super::*;
use crate::policy::image::{self, Denied};

const VISIBILITIES: [Visibility; 4] = [
    Visibility::Private,
    Visibility::Shared,
    Visibility::Community,
    Visibility::Public,
];

pub(super) fn image(owner: Option<&str>, visibility: Visibility) -> Image {
    Image {
        id: ImageId([7; 16]),
        row: 0,
        version: 1,
        status: Status::Active,
        attributes: Attributes {
            name: None,
            visibility,
            protected: false,
            os_hidden: false,
            owner: owner.map(Into::into),
            disk_format: None,
            container_format: None,
            min_disk: 0,
            min_ram: 0,
            tags: BTreeSet::new(),
            properties: BTreeMap::new(),
        },
        size: None,
        virtual_size: None,
        checksum: None,
        os_hash_algo: None,
        os_hash_value: None,
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
        locations: Vec::new(),
        manifest: None,
        upload: None,
        import: None,
    }
}

/// Name, context, whether its project is a member.
fn personas() -> [(&'static str, Context, bool); 9] {
    let system = Context {
        foreign_scope: true,
        project_id: None,
        ..caller("none", &["admin", "member", "reader"])
    };
    [
        (
            "admin",
            caller("ops", &["admin", "member", "reader"]),
            false,
        ),
        ("owner member", caller("own", &["member", "reader"]), false),
        ("owner reader", caller("own", &["reader"]), false),
        (
            "sharing member",
            caller("friend", &["member", "reader"]),
            true,
        ),
        (
            "other member",
            caller("other", &["member", "reader"]),
            false,
        ),
        ("other reader", caller("other", &["reader"]), false),
        ("service", caller("services", &["service", "reader"]), false),
        ("nobody", caller("own", &[]), false),
        ("system", system, false),
    ]
}

fn letter(outcome: Result<(), Denied>) -> char {
    match outcome {
        Ok(()) => 'y',
        Err(Denied::Forbidden(_)) => 'f',
        Err(Denied::NotFound) => 'n',
    }
}

/// One word per persona, in the order above; one letter per visibility: private, shared,
/// community, public. y: allowed, f: 403, n: 404.
const TABLE: [(&str, &str); 9] = [
    ("get_image", "yyyy yyyy yyyy nyyy nnyy nnyy nnyy nnnn ffff"),
    (
        "download_image download_from_store",
        "yyyy yyyy ffff nyyy nnyy nnff nnff nnnn ffff",
    ),
    (
        "modify_image delete_image upload_image communitize_image set_image_location add_member \
         delete_member deactivate reactivate add_image",
        "yyyy yyyy ffff nfff nnff nnff nnff nnnn ffff",
    ),
    (
        "get_images get_image_location",
        "yyyy yyyy yyyy nfff nnff nnff nnff nnnn ffff",
    ),
    (
        "get_member get_members",
        "yyyy yyyy yyyy nyff nnff nnff nnff nnnn ffff",
    ),
    (
        "modify_member",
        "yyyy ffff ffff nyff nnff nnff nnff nnnn ffff",
    ),
    (
        "add_image_location",
        "yyyy yyyy ffff nfff nnff nnff nnyy nnnn ffff",
    ),
    (
        "fetch_image_location",
        "yyyy ffff ffff nfff nnff nnff nnyy nnnn ffff",
    ),
    (
        "publicize_image delete_image_location copy_image manage_image_cache list_cached_nodes",
        "yyyy ffff ffff nfff nnff nnff nnff nnnn ffff",
    ),
];

#[test]
fn every_image_rule_for_every_persona_and_visibility() {
    let policy = Policy::defaults();
    let mut rules = 0;
    for (names, expected) in TABLE {
        for rule in names.split_whitespace() {
            rules += 1;
            for ((persona, context, is_member), letters) in
                personas().iter().zip(expected.split_whitespace())
            {
                let outcome: String = VISIBILITIES
                    .iter()
                    .map(|visibility| image(Some("own"), *visibility))
                    .map(|image| letter(image::check(&policy, rule, context, &image, *is_member)))
                    .collect();
                assert_eq!(outcome, letters, "{rule} for {persona}");
            }
        }
    }
    assert_eq!(rules, 25, "the image rules of image-api 4.2");
}

#[test]
fn an_ownerless_image_is_nobodys() {
    let policy = Policy::defaults();
    for (rule, expected) in [
        // By the query all see it, by `get_image` only where its visibility says so.
        ("get_image", "yyyy nyyy nyyy nyyy nyyy nyyy nyyy nnnn ffff"),
        (
            "modify_image",
            "yyyy nfff nfff nfff nfff nfff nfff nnnn ffff",
        ),
    ] {
        for ((persona, context, is_member), letters) in
            personas().iter().zip(expected.split_whitespace())
        {
            let outcome: String = VISIBILITIES
                .iter()
                .map(|visibility| image(None, *visibility))
                .map(|image| letter(image::check(&policy, rule, context, &image, *is_member)))
                .collect();
            assert_eq!(outcome, letters, "{rule} for {persona}");
        }
    }
}

#[test]
fn a_list_shows_what_get_image_allows() {
    let policy = Policy::defaults();
    for (persona, context, is_member) in personas() {
        for visibility in VISIBILITIES {
            let image = image(Some("own"), visibility);
            let shown = image::sees(&policy, &context, &image, is_member);
            let got = image::check(&policy, "get_image", &context, &image, is_member);
            assert_eq!(shown, got.is_ok(), "{persona} {visibility:?}");
        }
    }
}

#[test]
fn creation_asks_for_the_owner_and_the_visibility() {
    let policy = Policy::defaults();
    // Own project; another; none. Letters as above.
    for (persona, expected) in [
        ("admin", "yyyy yyyy yyyy"),
        ("owner member", "yyyf ffff ffff"),
        ("owner reader", "ffff ffff ffff"),
        ("nobody", "ffff ffff ffff"),
        ("system", "ffff ffff ffff"),
    ] {
        let personas = personas();
        let (_, context, _) = personas.iter().find(|(name, ..)| *name == persona).unwrap();
        let own = context.project_id.clone();
        for (owner, letters) in [own.as_deref(), Some("stranger"), None]
            .into_iter()
            .zip(expected.split_whitespace())
        {
            let outcome: String = VISIBILITIES
                .iter()
                .map(|visibility| letter(image::check_create(&policy, context, owner, *visibility)))
                .collect();
            assert_eq!(outcome, letters, "{persona} for {owner:?}");
        }
    }
}

#[test]
fn making_an_image_public_is_the_admins() {
    let policy = Policy::defaults();
    let image = image(Some("own"), Visibility::Private);
    for (persona, context, is_member) in personas() {
        let outcome: String = VISIBILITIES
            .iter()
            .map(|wanted| {
                letter(image::check_visibility(
                    &policy, &context, &image, is_member, *wanted,
                ))
            })
            .collect();
        let expected = match persona {
            "admin" => "yyyy",
            "owner member" => "yyyf",
            "owner reader" => "yyff",
            "system" => "ffff",
            _ => "nnnn",
        };
        assert_eq!(outcome, expected, "{persona}");
    }
}

#[test]
fn members_see_and_answer_for_themselves_only() {
    let policy = Policy::defaults();
    let image = image(Some("own"), Visibility::Shared);
    // The row asked about: friend's own, another member's.
    for (rule, persona, expected) in [
        ("get_member", "admin", "yy"),
        ("get_member", "owner member", "yy"),
        ("get_member", "owner reader", "yy"),
        ("get_member", "sharing member", "yn"),
        ("get_member", "other member", "nn"),
        ("get_member", "nobody", "nn"),
        ("modify_member", "admin", "yy"),
        ("modify_member", "owner member", "ff"),
        ("modify_member", "sharing member", "yn"),
        ("modify_member", "other member", "nn"),
        ("delete_member", "admin", "yy"),
        ("delete_member", "owner member", "yy"),
        ("delete_member", "owner reader", "ff"),
        ("delete_member", "sharing member", "fn"),
        ("delete_member", "other member", "nn"),
        ("delete_member", "system", "ff"),
    ] {
        let personas = personas();
        let (_, context, is_member) = personas.iter().find(|(name, ..)| *name == persona).unwrap();
        let outcome: String = ["friend", "third"]
            .iter()
            .map(|asked| {
                letter(image::check_member(
                    &policy, rule, context, &image, *is_member, asked,
                ))
            })
            .collect();
        assert_eq!(outcome, expected, "{rule} by {persona}");
    }
}

#[test]
fn rules_about_no_image_ask_for_the_callers_project() {
    let policy = Policy::defaults();
    for (rule, expected) in [
        ("get_images", "yyyyyyyff"),
        ("stores_info_detail", "yfffffyff"),
        ("tasks_api_access", "yffffffff"),
        ("cache_list", "yffffffff"),
        ("get_metadef_namespaces", "yyyyyyyff"),
        ("add_metadef_tag", "yffffffff"),
        ("get_task", "yyyyyyyyf"),
    ] {
        let outcome: String = personas()
            .iter()
            .map(|(_, context, _)| letter(image::check_project(&policy, rule, context)))
            .collect();
        assert_eq!(outcome, expected, "{rule}");
    }
}
