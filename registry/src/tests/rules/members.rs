//! Sharing, and who sees what.

use super::{add_member, update};
use crate::{
    command::Command,
    image::{Attributes, MemberStatus, Visibility},
    outcome::{CountedThing, Outcome, Rejection},
    query::{MemberFilter, Scope, VisibilityFilter},
    tests::fixture::{Node, attributes, image, image_id, member, query, rejection},
};

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
