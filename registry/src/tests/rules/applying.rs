//! Applying: a command once, in order, known or not at all; snapshots and views.

use glimpse_replication::{Committed, StateMachine as _};
use redb::backends::InMemoryBackend;

use super::{add_member, delete, update};
use crate::{
    command::Command,
    image::{MemberStatus, Timestamp},
    outcome::{Outcome, Rejection},
    query::Scope,
    store::Remember,
    tests::fixture::{
        Node, REMEMBER, assert_same_state, attributes, begin, entry, finish, image, image_id,
        member, query, rejection, remember,
    },
};

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
    let mut node = Node::on(InMemoryBackend::new(), remember(2));
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
    assert_eq!(node.view().time(), Timestamp(0));
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
    drop(crate::store::Store::open(&path, 1 << 20, REMEMBER).unwrap());
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
    let error = crate::store::Store::open(&path, 1 << 20, REMEMBER)
        .err()
        .unwrap();
    assert!(matches!(
        error,
        crate::OpenError::Format { found: 9, known: 1 }
    ));
}

#[test]
fn a_repeated_command_is_answered_with_what_it_made_as_it_is_now() {
    let mut node = Node::new();
    let create = Command::CreateImage {
        id: image_id(1),
        attributes: attributes(),
    };
    let share = add_member(1, "q");
    let begin = begin(1, 1, 5, None, Timestamp(u64::MAX));
    node.store
        .apply(&[
            entry(1, 101, 5, create.clone()),
            entry(2, 102, 5, share.clone()),
            entry(3, 103, 5, begin.clone()),
        ])
        .unwrap();
    node.index = 3;
    node.run(update(&node, 1, |a| a.min_ram = 7));
    node.run(Command::SetMemberStatus {
        id: image_id(1),
        member: "q".to_owned(),
        status: MemberStatus::Accepted,
    });
    let now = node.image(1);
    assert!(now.upload.is_some());
    let mut again = |id, command: &Command| {
        let entry = node.entry(id, command.clone());
        node.store.apply(&[entry]).unwrap().remove(0)
    };
    assert_eq!(image(again(101, &create)), now);
    assert_eq!(image(again(103, &begin)), now);
    let shared = member(again(102, &share));
    assert_eq!(shared.status, MemberStatus::Accepted);
    // Gone since: done all the same.
    again(200, &delete(1));
    assert_eq!(again(101, &create), Outcome::Done);
    assert_eq!(again(102, &share), Outcome::Done);
    assert_eq!(node.view().image_count(), 0);
}

#[test]
fn what_is_remembered_is_bounded_by_bytes_and_small_whatever_the_outcome() {
    let mut node = Node::on(
        InMemoryBackend::new(),
        Remember {
            entries: 1000,
            bytes: 2000,
        },
    );
    node.create(1, attributes());
    let before = node.store.snapshot().unwrap().len();
    let big = "x".repeat(100_000);
    for round in 0..100 {
        let value = Some(format!("{round}{big}"));
        image(node.run(update(&node, 1, |a| {
            a.properties.insert("big".to_owned(), value);
        })));
    }
    // The record itself, and as much again for everything else.
    let after = node.store.snapshot().unwrap().len();
    assert!(after < before + 2 * big.len(), "{after} bytes");
    for name in 0..100 {
        let name = format!("{name}{}", "m".repeat(200));
        node.run(Command::AddMember {
            id: image_id(1),
            member: name.clone(),
            quota: None,
        });
        let id = image_id(1);
        node.run(Command::RemoveMember { id, member: name });
    }
    let bytes = node.store.snapshot().unwrap().len();
    assert!(bytes < after + 3000, "{bytes} bytes after {after}");
    // The newest is still known.
    let last = Command::RemoveMember {
        id: image_id(1),
        member: "never".to_owned(),
    };
    let entry = node.entry(node.index, last);
    assert_eq!(node.store.apply(&[entry]).unwrap(), [Outcome::Done]);
}
