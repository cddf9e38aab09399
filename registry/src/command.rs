//! Every change as a value: the envelope that travels in the log, and the commands within.

use serde::{Deserialize, Serialize};

use crate::image::{
    Attributes, Image, ImageId, Location, ManifestRef, MemberStatus, Timestamp, UploadId, Version,
};
use crate::{
    metadef::MetadefCommand,
    status::Status,
    task::{TaskCommand, TaskId},
};

/// The version of the encoding of [`Envelope`]; a node refuses to apply what it does not know.
pub const COMMAND_FORMAT: u8 = 1;

/// A command's unique id. Proposing the same id again applies nothing and answers the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CommandId {
    /// The proposing process (its incarnation).
    pub client: u128,
    /// Grows by one per command of that process.
    pub sequence: u64,
}

/// What travels in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Unique.
    pub id: CommandId,
    /// Raft id of the proposer.
    pub proposer: u64,
    /// The proposer's wall clock. The machine's time is the largest it has seen.
    pub time: Timestamp,
    /// What to do.
    pub command: Command,
    /// What owners may have at most, if it makes more of it.
    pub bounds: Bounds,
}

/// What an owner may have at most after a command that makes more of it; `None`: as much as it likes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Images.
    pub images: Option<u64>,
    /// Images that take data in.
    pub transfers: Option<u64>,
}

/// One change. Variants are only ever appended: their order is the encoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Makes a queued image.
    CreateImage {
        /// Chosen by the client or the proposer.
        id: ImageId,
        /// As validated by the proposer.
        attributes: Attributes,
    },
    /// Replaces all attributes of an image, if it is still at `expected`.
    UpdateImage {
        /// Which.
        id: ImageId,
        /// The version that the proposer read.
        expected: Version,
        /// The whole new set.
        attributes: Attributes,
    },
    /// Removes the record, queues its data for the reaper, keeps the id taken.
    DeleteImage {
        /// Which.
        id: ImageId,
        /// `Some`: only if it is still at this version.
        expected: Option<Version>,
    },
    /// Moves between active and deactivated; a move to where it is already is no error.
    SetStatus {
        /// Which.
        id: ImageId,
        /// `Active` or `Deactivated`.
        to: Status,
    },
    /// Adds a tag; present already is no error.
    AddTag {
        /// Which.
        id: ImageId,
        /// The tag.
        tag: String,
        /// Tags at most; `None`: unlimited.
        quota: Option<u64>,
    },
    /// Removes a tag.
    RemoveTag {
        /// Which.
        id: ImageId,
        /// The tag.
        tag: String,
    },
    /// Shares a shared image with a project (pending).
    AddMember {
        /// Which.
        id: ImageId,
        /// The project.
        member: String,
        /// Members at most; `None`: unlimited.
        quota: Option<u64>,
    },
    /// Answers for a project.
    SetMemberStatus {
        /// Which.
        id: ImageId,
        /// The project.
        member: String,
        /// Its answer.
        status: MemberStatus,
    },
    /// Ends the sharing with a project.
    RemoveMember {
        /// Which.
        id: ImageId,
        /// The project.
        member: String,
    },
    /// queued → saving, with a reservation.
    BeginUpload {
        /// Which.
        id: ImageId,
        /// This attempt.
        upload: UploadId,
        /// The receiving node.
        node: u64,
        /// Its process.
        incarnation: u128,
        /// The receiving store.
        store: String,
        /// Bytes to reserve: the declared size, or 0.
        reserve: u64,
        /// The owner's bytes at most, this reservation included; `None`: unlimited.
        quota: Option<u64>,
        /// Lease.
        lease_until: Timestamp,
    },
    /// Raises the reservation and renews the lease, also one that is over, unless it is condemned.
    ExtendUpload {
        /// Which.
        id: ImageId,
        /// This attempt.
        upload: UploadId,
        /// Bytes reserved in all.
        reserve: u64,
        /// As in `BeginUpload`.
        quota: Option<u64>,
        /// Lease.
        lease_until: Timestamp,
    },
    /// saving → active, once the data is durable in the store.
    FinishUpload {
        /// Which.
        id: ImageId,
        /// This attempt.
        upload: UploadId,
        /// What was stored.
        data: UploadedData,
        /// The owner's bytes at most; checked against the true size.
        quota: Option<u64>,
    },
    /// saving → queued; the proposer has removed the data.
    AbortUpload {
        /// Which.
        id: ImageId,
        /// This attempt.
        upload: UploadId,
    },
    /// The reaper removed this data from its store.
    DataReaped {
        /// [`crate::image::PendingDelete::sequence`]
        sequences: Vec<u64>,
    },
    /// From now on the upload can only be aborted, unless its lease was renewed meanwhile.
    CondemnUpload {
        /// Which.
        id: ImageId,
        /// This attempt.
        upload: UploadId,
        /// The end of its lease as the proposer saw it.
        lease_seen: Timestamp,
    },
    /// Changes metadata definitions.
    Metadef(MetadefCommand),
    /// Something about a task.
    Task {
        /// Which.
        id: TaskId,
        /// What.
        command: TaskCommand,
    },
    /// Replaces all attributes of an image and what is known of its data, if it is still at `expected`.
    /// What locations no longer name is removed by the reaper.
    SetData {
        /// Which.
        id: ImageId,
        /// The version that the proposer read.
        expected: Version,
        /// The whole new set.
        attributes: Attributes,
        /// Likewise.
        data: ImageData,
        /// The owner's bytes at most, each location's counted; `None`: unlimited.
        quota: Option<u64>,
    },
}

impl Command {
    /// Whether it takes room that no later step gives back: such commands are refused where the disk
    /// is full, so that images can still be deleted and running uploads ended.
    pub const fn grows(&self) -> bool {
        match self {
            Self::Metadef(command) => command.grows(),
            Self::CreateImage { .. }
            | Self::UpdateImage { .. }
            | Self::AddTag { .. }
            | Self::AddMember { .. }
            | Self::BeginUpload { .. }
            | Self::SetData { .. } => true,
            Self::DeleteImage { .. }
            | Self::SetStatus { .. }
            | Self::RemoveTag { .. }
            | Self::SetMemberStatus { .. }
            | Self::RemoveMember { .. }
            | Self::ExtendUpload { .. }
            | Self::FinishUpload { .. }
            | Self::AbortUpload { .. }
            | Self::DataReaped { .. }
            | Self::CondemnUpload { .. } => false,
            Self::Task { command, .. } => matches!(command, TaskCommand::Begin { .. }),
        }
    }
}

/// What is known of an image's data. `virtual_size` stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageData {
    /// With data or without.
    pub status: Status,
    /// Bytes.
    pub size: Option<u64>,
    /// MD5, hex.
    pub checksum: Option<String>,
    /// Name of the other hash.
    pub os_hash_algo: Option<String>,
    /// That hash, hex.
    pub os_hash_value: Option<String>,
    /// Where it lies.
    pub locations: Vec<Location>,
    /// Chunk names.
    pub manifest: Option<ManifestRef>,
}

impl ImageData {
    /// As the record has it.
    pub fn of(image: &Image) -> Self {
        Self {
            status: image.status,
            size: image.size,
            checksum: image.checksum.clone(),
            os_hash_algo: image.os_hash_algo.clone(),
            os_hash_value: image.os_hash_value.clone(),
            locations: image.locations.clone(),
            manifest: image.manifest,
        }
    }
}

/// What an upload put in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadedData {
    /// Bytes.
    pub size: u64,
    /// From inspection.
    pub virtual_size: Option<u64>,
    /// MD5, hex.
    pub checksum: String,
    /// Name of the configured hash.
    pub os_hash_algo: String,
    /// That hash, hex.
    pub os_hash_value: String,
    /// Chunk names.
    pub manifest: ManifestRef,
    /// Where it lies.
    pub location: Location,
}
