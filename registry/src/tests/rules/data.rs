//! What an image's data is known to be, changed as one.

use crate::{
    command::{Command, ImageData},
    image::{Image, Location},
    outcome::{Outcome, Rejection},
    status::Status,
    tests::fixture::{Node, attributes, image, image_id, rejection},
};

fn location(url: &str) -> Location {
    Location {
        url: url.to_owned(),
        store: "web".to_owned(),
        metadata: std::collections::BTreeMap::new(),
    }
}

fn set(now: &Image, quota: Option<u64>, change: impl FnOnce(&mut ImageData)) -> Command {
    let mut data = ImageData::of(now);
    change(&mut data);
    Command::SetData {
        id: now.id,
        expected: now.version,
        attributes: now.attributes.clone(),
        data,
        quota,
    }
}

fn active(node: &mut Node, urls: &[&str]) -> Image {
    let made = node.create(1, attributes());
    let command = set(&made, None, |data| {
        data.status = Status::Active;
        data.size = Some(10);
        data.locations = urls.iter().map(|url| location(url)).collect();
    });
    image(node.run(command))
}

#[test]
fn the_last_location_of_an_image_with_data_stays() {
    let mut node = Node::new();
    let before = active(&mut node, &["http://h/a", "http://h/b"]);
    let one = image(node.run(set(&before, None, |data| {
        data.locations.remove(0);
    })));
    assert_eq!(one.locations, [location("http://h/b")]);
    let none = set(&one, None, |data| data.locations.clear());
    assert_eq!(rejection(node.run(none)), Rejection::LastLocation);
    let queued = set(&one, None, |data| {
        data.status = Status::Queued;
        data.locations.clear();
    });
    let refused = Rejection::ForbiddenMove {
        from: Status::Active,
        to: Status::Queued,
    };
    assert_eq!(rejection(node.run(queued)), refused);
}

#[test]
fn what_no_location_names_any_more_is_queued_for_the_reaper() {
    let mut node = Node::new();
    let before = active(&mut node, &["http://h/a", "http://h/b"]);
    node.run(set(&before, None, |data| {
        data.locations = vec![location("http://h/c"), location("http://h/b")];
    }));
    let queue = node.view().pending_deletes(0, 10).unwrap();
    let urls: Vec<_> = queue.iter().map(|row| row.location.url.as_str()).collect();
    assert_eq!(urls, ["http://h/a"]);
}

#[test]
fn each_location_counts_against_the_owners_bytes() {
    let mut node = Node::new();
    let before = active(&mut node, &["http://h/a"]);
    let more = |quota| {
        set(&before, quota, |data| {
            data.locations.push(location("http://h/b"))
        })
    };
    let refused = Rejection::StorageQuota {
        used: 10,
        requested: 10,
        limit: 19,
    };
    assert_eq!(rejection(node.run(more(Some(19)))), refused);
    let two = image(node.run(more(Some(20))));
    // What is over is no reason to refuse what takes nothing.
    let fewer = set(&two, Some(0), |data| drop(data.locations.pop()));
    image(node.run(fewer));
    let deleted = Command::DeleteImage {
        id: image_id(1),
        expected: None,
    };
    assert_eq!(node.run(deleted), Outcome::Done);
}

#[test]
fn a_change_of_another_version_or_without_formats_is_refused() {
    let mut node = Node::new();
    let mut bare = attributes();
    bare.disk_format = None;
    let made = node.create(1, bare);
    let command = |made: &Image| {
        set(made, None, |data| {
            data.status = Status::Importing;
            data.locations.push(location("http://h/a"));
        })
    };
    assert_eq!(rejection(node.run(command(&made))), Rejection::FormatsUnset);
    let mut stale = made.clone();
    stale.version += 7;
    let current = made.version;
    assert_eq!(
        rejection(node.run(command(&stale))),
        Rejection::VersionConflict { current }
    );
}
