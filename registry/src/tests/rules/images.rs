//! Commands on an image itself.

use std::collections::BTreeMap;

use super::{delete, update};
use crate::{
    command::Command,
    image::Attributes,
    outcome::{CountedThing, Outcome, Rejection},
    query::Scope,
    status::Status,
    tests::fixture::{Node, SECOND, attributes, finish, image, image_id, query, rejection},
};

#[test]
fn an_id_stays_taken_after_its_image_is_deleted() {
    let mut node = Node::new();
    node.create(1, attributes());
    let again = Command::CreateImage {
        id: image_id(1),
        attributes: attributes(),
    };
    assert_eq!(rejection(node.run(again.clone())), Rejection::IdTaken);
    assert_eq!(node.run(delete(1)), Outcome::Done);
    assert_eq!(rejection(node.run(again)), Rejection::IdTaken);
    assert!(node.view().id_taken(image_id(1)).unwrap());
    assert_eq!(node.view().image(image_id(1)).unwrap(), None);
    assert_eq!(rejection(node.run(delete(1))), Rejection::ImageNotFound);
}

#[test]
fn created_at_grows_strictly_even_when_the_clock_goes_back() {
    let mut node = Node::new();
    let first = node.create(1, attributes());
    node.clock -= 500 * SECOND;
    let second = node.create(2, attributes());
    assert_eq!(second.created_at.0, first.created_at.0 + 1);
    assert_eq!((first.row, second.row), (0, 1));
}

#[test]
fn a_version_is_the_index_of_the_last_change_and_guards_an_update() {
    let mut node = Node::new();
    let made = node.create(1, attributes());
    assert_eq!(made.version, 1);
    let stale = update(&node, 1, |a| a.min_ram = 5);
    let changed = image(node.run(stale.clone()));
    assert_eq!((changed.version, changed.attributes.min_ram), (2, 5));
    assert_eq!(
        rejection(node.run(stale)),
        Rejection::VersionConflict { current: 2 }
    );
    assert_eq!(
        rejection(node.run(Command::DeleteImage {
            id: image_id(1),
            expected: Some(1),
        })),
        Rejection::VersionConflict { current: 2 }
    );
}

#[test]
fn formats_change_only_without_data() {
    let mut node = Node::new();
    node.create(1, attributes());
    let vmdk = |a: &mut Attributes| a.disk_format = Some("vmdk".to_owned());
    image(node.run(update(&node, 1, vmdk)));
    node.begin(1, 1, 0);
    let raw = |a: &mut Attributes| a.disk_format = Some("raw".to_owned());
    assert_eq!(
        rejection(node.run(update(&node, 1, raw))),
        Rejection::FormatsFrozen
    );
    image(node.run(finish(1, 1, 1, None)));
    assert_eq!(
        rejection(node.run(update(&node, 1, raw))),
        Rejection::FormatsFrozen
    );
    image(node.run(update(&node, 1, |a| a.name = None)));
}

#[test]
fn a_protected_image_is_not_deleted() {
    let mut node = Node::new();
    let protected = Attributes {
        protected: true,
        ..attributes()
    };
    node.create(1, protected);
    assert_eq!(rejection(node.run(delete(1))), Rejection::Protected);
}

#[test]
fn a_delete_queues_the_data_and_releases_the_quota() {
    let mut node = Node::new();
    let active = node.create_active(1, attributes(), 100);
    assert_eq!(node.view().usage("p").unwrap(), (100, 0));
    node.run(delete(1));
    let view = node.view();
    assert_eq!(view.usage("p").unwrap(), (0, 0));
    let pending = view.pending_deletes(0, 10).unwrap();
    assert_eq!(pending.len(), 1);
    assert_eq!(pending[0].location, active.locations[0]);
    assert_eq!(view.pending_deletes(pending[0].sequence, 10).unwrap(), []);
    let sequences = vec![pending[0].sequence, 77];
    node.run(Command::DataReaped { sequences });
    assert_eq!(node.view().pending_deletes(0, 10).unwrap(), []);
}

#[test]
fn only_active_and_deactivated_toggle() {
    let mut node = Node::new();
    node.create(1, attributes());
    let set = |to| Command::SetStatus {
        id: image_id(1),
        to,
    };
    assert_eq!(
        rejection(node.run(set(Status::Active))),
        Rejection::ForbiddenMove {
            from: Status::Queued,
            to: Status::Active,
        }
    );
    node.begin(1, 1, 0);
    let active = image(node.run(finish(1, 1, 1, None)));
    assert_eq!(image(node.run(set(Status::Active))), active);
    let off = image(node.run(set(Status::Deactivated)));
    assert_eq!(off.status, Status::Deactivated);
    assert!(off.version > active.version);
    assert_eq!(
        rejection(node.run(set(Status::Queued))),
        Rejection::ForbiddenMove {
            from: Status::Deactivated,
            to: Status::Queued,
        }
    );
    assert_eq!(image(node.run(set(Status::Active))).status, Status::Active);
}

#[test]
fn tags_are_idempotent_bounded_and_change_the_version() {
    let mut node = Node::new();
    node.create(1, attributes());
    let add = |tag: &str| Command::AddTag {
        id: image_id(1),
        tag: tag.to_owned(),
        quota: Some(1),
    };
    let remove = Command::RemoveTag {
        id: image_id(1),
        tag: "a".to_owned(),
    };
    assert_eq!(node.run(add("a")), Outcome::Done);
    let tagged = node.image(1);
    assert_eq!(tagged.version, 2);
    assert_eq!(node.run(add("a")), Outcome::Done);
    assert_eq!(node.image(1), tagged);
    assert_eq!(
        rejection(node.run(add("b"))),
        Rejection::CountQuota {
            what: CountedThing::Tag,
            attempted: 2,
            limit: 1,
        }
    );
    assert_eq!(node.run(remove.clone()), Outcome::Done);
    assert_eq!(rejection(node.run(remove)), Rejection::TagNotFound);
}

#[test]
fn properties_that_are_null_match_no_filter() {
    let mut node = Node::new();
    let mut properties = BTreeMap::new();
    properties.insert("a".to_owned(), None);
    properties.insert("b".to_owned(), Some(String::new()));
    node.create(
        1,
        Attributes {
            properties,
            ..attributes()
        },
    );
    let matches = |name: &str| {
        let filter = crate::query::Filter::Property(name.to_owned(), String::new());
        let query = crate::query::ListQuery {
            filters: vec![filter],
            ..query(Scope::Admin { project: None })
        };
        node.view().list(&query).unwrap().len()
    };
    assert_eq!((matches("a"), matches("b")), (0, 1));
}
