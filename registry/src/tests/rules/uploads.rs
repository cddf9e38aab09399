//! Uploads and the storage quota.

use super::{abort, delete, extend, update};
use crate::{
    command::{Bounds, Command},
    image::{Attributes, Timestamp, UploadId},
    outcome::{CountedThing, Outcome, Rejection},
    status::Status,
    tests::fixture::{Node, SECOND, attributes, begin, finish, image, image_id, rejection},
};

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
fn a_lease_is_renewed_also_when_the_quota_is_exceeded_by_now() {
    let mut node = Node::new();
    node.create(1, attributes());
    node.begin(1, 1, 100);
    let lease = |node: &Node| node.image(1).upload.unwrap().lease_until;
    let before = lease(&node);
    node.clock += SECOND;
    assert_eq!(node.run(extend(&node, 1, 1, 0, Some(50))), Outcome::Done);
    assert_eq!(node.run(extend(&node, 1, 1, 100, Some(50))), Outcome::Done);
    assert_eq!(lease(&node).0, before.0 + SECOND);
    assert_eq!(
        rejection(node.run(extend(&node, 1, 1, 101, Some(50)))),
        Rejection::StorageQuota {
            used: 0,
            requested: 101,
            limit: 50,
        }
    );
    assert_eq!(node.view().usage("p").unwrap(), (0, 100));
}

#[test]
fn after_its_lease_an_upload_cannot_finish_before_it_is_renewed() {
    let mut node = Node::new();
    node.create(1, attributes());
    node.begin(1, 1, 7);
    // As a machine that was suspended.
    node.clock += 3600 * SECOND;
    assert_eq!(
        rejection(node.run(finish(1, 1, 7, None))),
        Rejection::UploadLost
    );
    // No clock brings it back.
    node.clock -= 3600 * SECOND;
    assert_eq!(
        rejection(node.run(finish(1, 1, 7, None))),
        Rejection::UploadLost
    );
    node.clock += 3600 * SECOND;
    assert_eq!(node.run(extend(&node, 1, 1, 0, None)), Outcome::Done);
    assert_eq!(image(node.run(finish(1, 1, 7, None))).size, Some(7));
}

#[test]
fn a_condemned_upload_can_only_be_aborted() {
    let mut node = Node::new();
    node.create(1, attributes());
    let seen = image(node.begin(1, 1, 7)).upload.unwrap().lease_until;
    let condemn = |lease_seen| Command::CondemnUpload {
        id: image_id(1),
        upload: UploadId(1),
        lease_seen,
    };
    // It was renewed meanwhile.
    node.clock += 3600 * SECOND;
    assert_eq!(node.run(extend(&node, 1, 1, 0, None)), Outcome::Done);
    assert_eq!(rejection(node.run(condemn(seen))), Rejection::UploadAlive);
    let seen = node.image(1).upload.unwrap().lease_until;
    assert_eq!(node.run(condemn(seen)), Outcome::Done);
    assert_eq!(node.run(condemn(seen)), Outcome::Done);
    for late in [extend(&node, 1, 1, 0, None), finish(1, 1, 7, None)] {
        assert_eq!(rejection(node.run(late)), Rejection::UploadLost);
    }
    assert_eq!(node.run(abort(1, 1)), Outcome::Done);
    assert_eq!(rejection(node.run(condemn(seen))), Rejection::UploadLost);
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
fn an_owner_has_no_more_images_and_transfers_than_its_bounds() {
    let mut node = Node::new();
    let bounds = |images, transfers| Bounds { images, transfers };
    let create = |id| Command::CreateImage {
        id: image_id(id),
        attributes: attributes(),
    };
    for id in 1..=2 {
        image(node.run_within(create(id), bounds(Some(2), None)));
    }
    let refused = Rejection::CountQuota {
        what: CountedThing::Image,
        attempted: 3,
        limit: 2,
    };
    assert_eq!(
        rejection(node.run_within(create(3), bounds(Some(2), None))),
        refused
    );
    assert_eq!(node.view().counts("p").unwrap(), (2, 0));

    let lease_until = Timestamp(node.clock + 60 * SECOND);
    let begin = |id| begin(id, id, 0, None, lease_until);
    image(node.run_within(begin(1), bounds(Some(0), Some(1))));
    assert_eq!(node.view().counts("p").unwrap(), (2, 1));
    assert_eq!(
        rejection(node.run_within(begin(2), bounds(None, Some(1)))),
        Rejection::CountQuota {
            what: CountedThing::Transfer,
            attempted: 2,
            limit: 1,
        }
    );
    // Neither what makes no more of it nor what ends it is refused, however low the bounds are.
    let none = bounds(Some(0), Some(0));
    let more = extend(&node, 1, 1, 5, None);
    assert_eq!(node.run_within(more, none), Outcome::Done);
    assert_eq!(node.view().usage("p").unwrap(), (0, 5));
    image(node.run_within(finish(1, 1, 5, None), none));
    assert_eq!(node.view().counts("p").unwrap(), (2, 0));
    assert_eq!(node.run_within(delete(1), none), Outcome::Done);
    assert_eq!(node.view().counts("p").unwrap(), (1, 0));
    // Who takes an image over counts it, and who has no owner counts against nobody.
    let give = update(&node, 2, |new| new.owner = Some("q".to_owned()));
    assert!(matches!(
        rejection(node.run_within(give, none)),
        Rejection::CountQuota { attempted: 1, .. }
    ));
    let give = update(&node, 2, |new| new.owner = Some("q".to_owned()));
    image(node.run_within(give, bounds(Some(1), None)));
    assert_eq!(node.view().counts("p").unwrap(), (0, 0));
    assert_eq!(node.view().counts("q").unwrap(), (1, 0));
    let free = update(&node, 2, |new| new.owner = None);
    image(node.run_within(free, none));
}
