//! One test per rule of the machine.

use std::collections::BTreeMap;

use glimpse_replication::{Committed, StateMachine as _};
use redb::backends::InMemoryBackend;

use super::fixture::{
    Node, SECOND, assert_same_state, attributes, begin, entry, finish, image, image_id, member,
    query, rejection,
};
use crate::{
    command::Command,
    image::{Attributes, MemberStatus, Timestamp, UploadId, Visibility},
    outcome::{CountedThing, Outcome, Rejection},
    query::{MemberFilter, Scope, VisibilityFilter},
    status::Status,
};

fn delete(id: u128) -> Command {
    Command::DeleteImage {
        id: image_id(id),
        expected: None,
    }
}

fn abort(id: u128, upload: u128) -> Command {
    Command::AbortUpload {
        id: image_id(id),
        upload: UploadId(upload),
    }
}

fn extend(node: &Node, id: u128, upload: u128, reserve: u64, quota: Option<u64>) -> Command {
    Command::ExtendUpload {
        id: image_id(id),
        upload: UploadId(upload),
        reserve,
        quota,
        lease_until: Timestamp(node.clock + 60 * SECOND),
    }
}

fn add_member(id: u128, member: &str) -> Command {
    Command::AddMember {
        id: image_id(id),
        member: member.to_owned(),
        quota: Some(2),
    }
}

fn update(node: &Node, id: u128, change: impl FnOnce(&mut Attributes)) -> Command {
    let image = node.image(id);
    let mut attributes = image.attributes;
    change(&mut attributes);
    Command::UpdateImage {
        id: image_id(id),
        expected: image.version,
        attributes,
    }
}

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
fn the_same_command_id_applies_once_and_answers_the_same() {
    let mut node = Node::new();
    let command = Command::CreateImage {
        id: image_id(1),
        attributes: attributes(),
    };
    let entries = [
        entry(1, 9, 5, command.clone()),
        entry(2, 9, 6, command.clone()),
    ];
    let outcomes = node.store.apply(&entries).unwrap();
    assert_eq!(outcomes[0], outcomes[1]);
    let before = node.view().image(image_id(1)).unwrap();
    let later = node.store.apply(&[entry(3, 9, 7, delete(1))]).unwrap();
    assert_eq!(later[0], outcomes[0]);
    assert_eq!(node.view().image(image_id(1)).unwrap(), before);
    assert_eq!(node.store.applied_index(), 3);
}

#[test]
fn a_refusal_is_remembered_too() {
    let mut node = Node::new();
    let first = node.store.apply(&[entry(1, 9, 5, delete(1))]).unwrap();
    node.index = 1;
    node.create(1, attributes());
    let again = node.store.apply(&[entry(3, 9, 5, delete(1))]).unwrap();
    assert_eq!(first, again);
    assert!(node.view().image(image_id(1)).unwrap().is_some());
}

#[test]
fn the_oldest_command_is_forgotten_first() {
    let mut node = Node::on(InMemoryBackend::new(), 2);
    for id in 1..=3 {
        node.create(id, attributes());
    }
    // The first is forgotten, so it runs again and is refused; the third is remembered.
    let again = |id: u64| Command::CreateImage {
        id: image_id(id.into()),
        attributes: attributes(),
    };
    let outcomes = node
        .store
        .apply(&[entry(4, 3, 1, again(3)), entry(5, 1, 1, again(1))])
        .unwrap();
    assert_eq!(image(outcomes[0].clone()).row, 2);
    assert_eq!(rejection(outcomes[1].clone()), Rejection::IdTaken);
}

#[test]
fn what_the_machine_does_not_know_is_a_fault_and_changes_nothing() {
    let mut node = Node::new();
    let good = entry(1, 1, 1, delete(1));
    for bytes in [&[2_u8, 0][..], &[1, 0xff], &[1]] {
        let bad = Committed {
            index: 2,
            command: bytes::Bytes::copy_from_slice(bytes),
        };
        node.store.apply(&[good.clone(), bad]).unwrap_err();
        assert_eq!(node.store.applied_index(), 0);
    }
    let mut longer = good.command.to_vec();
    longer.push(0);
    let bad = Committed {
        index: 1,
        command: longer.into(),
    };
    node.store.apply(&[bad]).unwrap_err();
    assert_eq!(node.store.apply(&[good]).unwrap().len(), 1);
}

#[test]
fn an_entry_is_never_applied_twice() {
    let mut node = Node::new();
    let one = entry(1, 1, 1, delete(1));
    node.store.apply(std::slice::from_ref(&one)).unwrap();
    node.store.apply(&[one]).unwrap_err();
}

#[test]
fn an_empty_entry_only_moves_the_index() {
    let mut node = Node::new();
    let empty = Committed {
        index: 1,
        command: bytes::Bytes::new(),
    };
    assert_eq!(node.store.apply(&[empty]).unwrap(), [Outcome::Done]);
    assert_eq!(node.store.applied_index(), 1);
    assert_eq!(node.view().time().unwrap(), Timestamp(0));
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
fn an_upload_goes_from_queued_over_saving_to_active() {
    let mut node = Node::new();
    node.create(1, attributes());
    let saving = image(node.begin(1, 5, 40));
    assert_eq!(saving.status, Status::Saving);
    assert_eq!(saving, node.image(1));
    assert_eq!(saving.upload.unwrap().reserved, 40);
    assert_eq!(node.view().usage("p").unwrap(), (0, 40));
    assert_eq!(
        rejection(node.begin(1, 6, 0)),
        Rejection::ForbiddenMove {
            from: Status::Saving,
            to: Status::Saving,
        }
    );
    assert_eq!(
        rejection(node.run(finish(1, 6, 9, None))),
        Rejection::UploadLost
    );
    let active = image(node.run(finish(1, 5, 9, None)));
    assert_eq!((active.status, active.size), (Status::Active, Some(9)));
    assert_eq!(active, node.image(1));
    assert_eq!(node.view().usage("p").unwrap(), (9, 0));
    assert_eq!(node.view().uploads(None, 10).unwrap(), []);
    assert_eq!(
        rejection(node.begin(1, 6, 0)),
        Rejection::ForbiddenMove {
            from: Status::Active,
            to: Status::Saving,
        }
    );
}

#[test]
fn an_upload_needs_both_formats() {
    let mut node = Node::new();
    let formless = Attributes {
        container_format: None,
        ..attributes()
    };
    node.create(1, formless);
    assert_eq!(rejection(node.begin(1, 1, 0)), Rejection::FormatsUnset);
}

#[test]
fn an_aborted_upload_leaves_the_image_as_before_and_a_second_one_works() {
    let mut node = Node::new();
    node.create(1, attributes());
    node.begin(1, 5, 40);
    assert_eq!(rejection(node.run(abort(1, 6))), Rejection::UploadLost);
    assert_eq!(node.run(abort(1, 5)), Outcome::Done);
    assert_eq!(rejection(node.run(abort(1, 5))), Rejection::UploadLost);
    let queued = node.image(1);
    assert_eq!((queued.status, queued.size), (Status::Queued, None));
    assert_eq!(node.view().usage("p").unwrap(), (0, 0));
    node.begin(1, 6, 0);
    image(node.run(finish(1, 6, 9, None)));
}

#[test]
fn a_quota_holds_at_begin_extend_and_finish() {
    let mut node = Node::new();
    node.create_active(1, attributes(), 50);
    node.create(2, attributes());
    let lease = Timestamp(node.clock + SECOND);
    let over = |used, requested| Rejection::StorageQuota {
        used,
        requested,
        limit: 100,
    };
    assert_eq!(
        rejection(node.run(begin(2, 2, 51, Some(100), lease))),
        over(50, 51)
    );
    assert_eq!(node.image(2).status, Status::Queued);
    image(node.run(begin(2, 2, 10, Some(100), lease)));
    assert_eq!(
        rejection(node.run(extend(&node, 2, 2, 51, Some(100)))),
        over(50, 51)
    );
    assert_eq!(node.run(extend(&node, 2, 2, 50, Some(100))), Outcome::Done);
    assert_eq!(node.view().usage("p").unwrap(), (50, 50));
    // A second upload sees the reservation of the first.
    node.create(3, attributes());
    assert_eq!(
        rejection(node.run(begin(3, 3, 1, Some(100), lease))),
        over(100, 1)
    );
    assert_eq!(
        rejection(node.run(finish(2, 2, 60, Some(100)))),
        over(50, 60)
    );
    assert_eq!(node.image(2).status, Status::Saving);
    image(node.run(finish(2, 2, 20, Some(100))));
    assert_eq!(node.view().usage("p").unwrap(), (70, 0));
}

#[test]
fn an_extension_is_no_change_that_a_client_sees() {
    let mut node = Node::new();
    node.create(1, attributes());
    let before = image(node.begin(1, 1, 0));
    node.clock += SECOND;
    node.run(extend(&node, 1, 1, 7, None));
    let after = node.image(1);
    assert_eq!(
        (after.version, after.updated_at),
        (before.version, before.updated_at)
    );
    assert_eq!(after.upload.unwrap().reserved, 7);
}

#[test]
fn after_its_lease_an_upload_can_only_be_aborted() {
    let mut node = Node::new();
    node.create(1, attributes());
    node.begin(1, 1, 7);
    node.clock += 61 * SECOND;
    let late = extend(&node, 1, 1, 0, None);
    assert_eq!(rejection(node.run(late)), Rejection::UploadLost);
    assert_eq!(
        rejection(node.run(finish(1, 1, 7, None))),
        Rejection::UploadLost
    );
    // No clock brings it back.
    node.clock -= 61 * SECOND;
    assert_eq!(
        rejection(node.run(finish(1, 1, 7, None))),
        Rejection::UploadLost
    );
    assert_eq!(node.run(abort(1, 1)), Outcome::Done);
    assert_eq!(node.view().usage("p").unwrap(), (0, 0));
}

#[test]
fn the_upload_of_a_deleted_image_is_found_until_it_is_aborted() {
    let mut node = Node::new();
    node.create(1, attributes());
    node.begin(1, 5, 40);
    assert_eq!(node.run(delete(1)), Outcome::Done);
    assert_eq!(
        rejection(node.run(finish(1, 5, 9, None))),
        Rejection::UploadLost
    );
    let late = extend(&node, 1, 5, 50, None);
    assert_eq!(rejection(node.run(late)), Rejection::UploadLost);
    let rows = node.view().uploads(None, 10).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].upload.id, rows[0].image_exists),
        (UploadId(5), false)
    );
    // Its bytes may still be in the store.
    assert_eq!(node.view().usage("p").unwrap(), (0, 40));
    assert_eq!(node.run(abort(1, 5)), Outcome::Done);
    assert_eq!(node.view().uploads(None, 10).unwrap(), []);
    assert_eq!(node.view().usage("p").unwrap(), (0, 0));
    assert_eq!(node.view().image(image_id(1)).unwrap(), None);
}

#[test]
fn usage_follows_the_owner() {
    let mut node = Node::new();
    node.create_active(1, attributes(), 10);
    node.create(2, attributes());
    node.begin(2, 2, 5);
    for id in [1, 2] {
        image(node.run(update(&node, id, |a| a.owner = Some("q".to_owned()))));
    }
    assert_eq!(node.view().usage("p").unwrap(), (0, 0));
    assert_eq!(node.view().usage("q").unwrap(), (10, 5));
    image(node.run(finish(2, 2, 5, None)));
    assert_eq!(node.view().usage("q").unwrap(), (15, 0));
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
fn members_belong_to_shared_images_and_leave_the_record_alone() {
    let mut node = Node::new();
    let before = node.create(1, attributes());
    let added = member(node.run(add_member(1, "q")));
    assert_eq!(added.status, MemberStatus::Pending);
    assert_eq!(
        rejection(node.run(add_member(1, "q"))),
        Rejection::MemberExists
    );
    member(node.run(add_member(1, "r")));
    assert_eq!(
        rejection(node.run(add_member(1, "s"))),
        Rejection::CountQuota {
            what: CountedThing::Member,
            attempted: 3,
            limit: 2,
        }
    );
    let accept = |project: &str| Command::SetMemberStatus {
        id: image_id(1),
        member: project.to_owned(),
        status: MemberStatus::Accepted,
    };
    let accepted = member(node.run(accept("q")));
    assert_eq!(accepted.status, MemberStatus::Accepted);
    assert!(accepted.updated_at > accepted.created_at);
    assert_eq!(rejection(node.run(accept("s"))), Rejection::MemberNotFound);
    assert_eq!(node.image(1), before);
    // The rows stay when the visibility changes.
    image(node.run(update(&node, 1, |a| a.visibility = Visibility::Private)));
    assert_eq!(node.view().members(image_id(1)).unwrap().len(), 2);
    assert_eq!(
        rejection(node.run(add_member(1, "s"))),
        Rejection::NotShared
    );
    let remove = Command::RemoveMember {
        id: image_id(1),
        member: "q".to_owned(),
    };
    assert_eq!(node.run(remove.clone()), Outcome::Done);
    assert_eq!(rejection(node.run(remove)), Rejection::MemberNotFound);
    assert_eq!(node.view().member(image_id(1), "q").unwrap(), None);
    assert!(node.view().member(image_id(1), "r").unwrap().is_some());
}

/// Rows of the table of image-api 4.3: GET by id, and the lists of another project.
#[test]
fn who_sees_what_follows_the_visibility_table() {
    let mut node = Node::new();
    let visibilities = [
        Visibility::Private,
        Visibility::Shared,
        Visibility::Community,
        Visibility::Public,
    ];
    for (id, visibility) in (1..).zip(visibilities) {
        node.create(
            id,
            Attributes {
                visibility,
                ..attributes()
            },
        );
    }
    let other = Scope::Project("q".to_owned());
    let seen = |node: &Node| -> Vec<u128> {
        (1..=4)
            .filter(|id| node.view().visible(&node.image(*id), &other).unwrap())
            .collect()
    };
    let listed = |node: &Node, visibility, member| -> Vec<u128> {
        let query = crate::query::ListQuery {
            visibility,
            member,
            ..query(other.clone())
        };
        let page = node.view().list(&query).unwrap();
        page.iter()
            .map(|image| u128::from_be_bytes(image.id.0))
            .collect()
    };
    let default = |node: &Node| {
        listed(
            node,
            VisibilityFilter::Default,
            MemberFilter::Only(MemberStatus::Accepted),
        )
    };
    assert_eq!(seen(&node), [3, 4]);
    assert_eq!(default(&node), [4]);
    assert_eq!(
        listed(&node, VisibilityFilter::All, MemberFilter::All),
        [4, 3]
    );
    let community = VisibilityFilter::Only(Visibility::Community);
    assert_eq!(listed(&node, community, MemberFilter::All), [3]);
    node.run(add_member(2, "q"));
    assert_eq!(seen(&node), [2, 3, 4]);
    assert_eq!(default(&node), [4]);
    let pending = MemberFilter::Only(MemberStatus::Pending);
    assert_eq!(listed(&node, VisibilityFilter::Default, pending), [4, 2]);
    node.run(Command::SetMemberStatus {
        id: image_id(2),
        member: "q".to_owned(),
        status: MemberStatus::Accepted,
    });
    assert_eq!(default(&node), [4, 2]);
    let shared = VisibilityFilter::Only(Visibility::Shared);
    assert_eq!(listed(&node, shared, MemberFilter::All), [2]);
    // The owner lists all; a member's right ends with the sharing.
    let own = node
        .view()
        .list(&query(Scope::Project("p".to_owned())))
        .unwrap();
    assert_eq!(own.len(), 4);
    image(node.run(update(&node, 2, |a| a.visibility = Visibility::Private)));
    assert_eq!(seen(&node), [3, 4]);
    assert_eq!(default(&node), [4]);
    // Without an owner it is everyone's.
    image(node.run(update(&node, 1, |a| a.owner = None)));
    assert_eq!(seen(&node), [1, 3, 4]);
    assert_eq!(default(&node), [4, 1]);
}

#[test]
fn a_snapshot_carries_everything_and_a_damaged_one_changes_nothing() {
    let mut node = Node::new();
    node.create_active(1, attributes(), 10);
    node.run(add_member(1, "q"));
    node.create(2, attributes());
    node.begin(2, 2, 5);
    node.create_active(3, attributes(), 4);
    node.run(delete(3));
    let snapshot = node.store.snapshot().unwrap();

    let mut other = Node::new();
    let stranger = other.create(9, attributes());
    for bad in [&snapshot[..snapshot.len() - 1], b"glimpseS", &[]] {
        other.store.restore(node.index, bad).unwrap_err();
        assert_eq!(other.image(9), stranger);
    }
    other.store.restore(node.index - 1, &snapshot).unwrap_err();

    other.store.restore(node.index, &snapshot).unwrap();
    assert_eq!(other.store.applied_index(), node.index);
    assert_eq!(other.store.durable_index(), node.index);
    assert_same_state(&other.store.snapshot().unwrap(), &snapshot);
    assert_eq!(other.view().image(image_id(9)).unwrap(), None);
    // Both go on alike.
    other.index = node.index;
    for node in [&mut node, &mut other] {
        image(node.run(finish(2, 2, 5, None)));
    }
    assert_same_state(
        &node.store.snapshot().unwrap(),
        &other.store.snapshot().unwrap(),
    );
}

#[test]
fn a_view_stays_as_it_was() {
    let mut node = Node::new();
    node.create(1, attributes());
    let view = node.view();
    node.run(delete(1));
    node.create(2, attributes());
    node.store.checkpoint().unwrap();
    assert!(view.image(image_id(1)).unwrap().is_some());
    assert_eq!(view.list(&query(Scope::Anonymous)).unwrap().len(), 0);
    let admin = Scope::Admin { project: None };
    assert_eq!(view.list(&query(admin)).unwrap().len(), 1);
    assert_eq!(view.applied_index(), 1);
}

#[test]
fn tables_of_an_unknown_format_are_refused_untouched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tables.redb");
    drop(crate::store::Store::open(&path, 1 << 20, 10).unwrap());
    {
        let database = redb::Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction
            .open_table(crate::tables::META)
            .unwrap()
            .insert(crate::tables::FORMAT_KEY, 9_u32.to_be_bytes().as_slice())
            .unwrap();
        transaction.commit().unwrap();
    }
    let error = crate::store::Store::open(&path, 1 << 20, 10).err().unwrap();
    assert!(matches!(
        error,
        crate::OpenError::Format { found: 9, known: 1 }
    ));
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
