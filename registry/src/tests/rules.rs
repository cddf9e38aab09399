//! One test per rule of the machine, by the family of commands.

mod applying;
mod data;
mod images;
mod members;
mod metadefs;
mod tasks;
mod uploads;

use super::fixture::{Node, SECOND, image_id};
use crate::{
    command::Command,
    image::{Attributes, Timestamp, UploadId},
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
