//! What a command came to: data, the same on every node. A disk that fails is not here; that is a
//! fault and stops the node.

use serde::{Deserialize, Serialize};

use crate::{
    image::{Image, ImageId, Member, Version},
    metadef::{Definition, Kind, Namespace, NamespaceId},
    status::Status,
    task::{Task, TaskId},
};

/// The answer to one command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The image as it is now: to a repeated command, as it is at the repetition.
    Image(Box<Image>),
    /// The member as it is now.
    Member(Member),
    /// Done, nothing to show. Also the answer to a repeated command whose image or member is gone by
    /// now: it was done the first time.
    Done,
    /// Refused.
    Rejected(Rejection),
    /// The namespace as it is now.
    Namespace(Box<Namespace>),
    /// The definition as it is now, of that kind in that namespace.
    Definition(NamespaceId, Kind, Box<Definition>),
    /// The task as it is now.
    Task(Box<Task>),
}

/// What is remembered of an outcome, so that the same command proposed again is answered and not
/// applied again. Small, whatever the outcome was: of an image only which one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Remembered {
    /// [`Outcome::Image`]
    Image(ImageId),
    /// [`Outcome::Member`]
    Member(ImageId, String),
    /// [`Outcome::Done`]
    Done,
    /// [`Outcome::Rejected`]
    Rejected(Rejection),
    /// [`Outcome::Namespace`]
    Namespace(NamespaceId),
    /// [`Outcome::Definition`]
    Definition(NamespaceId, Kind, String),
    /// [`Outcome::Task`]
    Task(TaskId),
}

impl Remembered {
    /// What to remember of an outcome.
    pub fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Image(image) => Self::Image(image.id),
            Outcome::Member(member) => Self::Member(member.image_id, member.member_id.clone()),
            Outcome::Namespace(namespace) => Self::Namespace(namespace.id),
            Outcome::Definition(id, kind, definition) => {
                Self::Definition(*id, *kind, definition.name.clone())
            }
            Outcome::Done => Self::Done,
            Outcome::Rejected(rejection) => Self::Rejected(rejection.clone()),
            Outcome::Task(task) => Self::Task(task.id),
        }
    }
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// No such image (or deleted).
    #[error("image not found")]
    ImageNotFound,
    /// The id is in use, or was.
    #[error("image id is already taken")]
    IdTaken,
    /// Somebody else changed the record first.
    #[error("the record has changed (it is at version {current})")]
    VersionConflict {
        /// Where it is now.
        current: Version,
    },
    /// The table of image-api 2.4 has no such move.
    #[error("image status may not change from {} to {}", from.as_str(), to.as_str())]
    ForbiddenMove {
        /// Where it is.
        from: Status,
        /// Where it was to go.
        to: Status,
    },
    /// The image is protected from deletion.
    #[error("image is protected and cannot be deleted")]
    Protected,
    /// Formats must be set before data arrives.
    #[error("disk_format and container_format must be set before data is uploaded")]
    FormatsUnset,
    /// Formats of an image with data do not change.
    #[error("disk_format and container_format can only be changed while the image is queued")]
    FormatsFrozen,
    /// The owner's storage quota.
    #[error("storage quota exceeded: {used} bytes in use, {requested} requested, {limit} allowed")]
    StorageQuota {
        /// In use and reserved, without this.
        used: u64,
        /// Asked for.
        requested: u64,
        /// Allowed.
        limit: u64,
    },
    /// A count quota.
    #[error("{what} limit exceeded: {attempted} attempted, {limit} allowed")]
    CountQuota {
        /// What is counted.
        what: CountedThing,
        /// Would be.
        attempted: u64,
        /// Allowed.
        limit: u64,
    },
    /// Only shared images have members.
    #[error("only shared images have members")]
    NotShared,
    /// Shared with that project already.
    #[error("the image is already shared with this project")]
    MemberExists,
    /// Not shared with that project.
    #[error("member not found")]
    MemberNotFound,
    /// No such tag.
    #[error("tag not found")]
    TagNotFound,
    /// The upload is no longer the image's own (deleted, aborted, condemned), or it was to finish
    /// with its lease over.
    #[error("the upload was abandoned")]
    UploadLost,
    /// The upload that was to be condemned has renewed its lease.
    #[error("the upload is alive")]
    UploadAlive,
    /// No such namespace of metadata definitions.
    #[error("namespace not found")]
    NamespaceNotFound,
    /// Another namespace has that name.
    #[error("a namespace of this name exists")]
    NamespaceExists,
    /// Nothing is removed from a protected namespace, nor the namespace.
    #[error("the namespace is protected")]
    NamespaceProtected,
    /// No such definition in the namespace.
    #[error("definition not found")]
    DefinitionNotFound,
    /// The namespace has one of that kind and name, or the command has two.
    #[error("there is a definition named {name} already")]
    DefinitionExists {
        /// That name.
        name: String,
    },
    /// Another task holds the image.
    #[error("Image has active task")]
    ImportLocked,
    /// The image has data in this store already.
    #[error("Image is already present at store '{0}'")]
    StoreHolds(String),
    /// No such task.
    #[error("task not found")]
    TaskNotFound,
    /// It has ended, so nothing can be changed.
    #[error("the task has ended")]
    TaskEnded,
    /// It is not this process' any more.
    #[error("the task was taken over or has ended")]
    TaskLost,
    /// Somebody asked for its end.
    #[error("the task was cancelled")]
    TaskCancelled,
    /// As many tasks are open as may be.
    #[error("too many tasks are waiting")]
    TooManyTasks,
    /// An image with data keeps a location.
    #[error("the last location of an image cannot be removed")]
    LastLocation,
}

/// What a [`Rejection::CountQuota`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CountedThing {
    /// Tags of an image.
    Tag,
    /// Members of an image.
    Member,
    /// Namespaces of metadata definitions.
    Namespace,
    /// Types of resources that namespaces apply to.
    ResourceType,
    /// Definitions in a namespace.
    Definition,
    /// Bytes of the definitions in a namespace.
    DefinitionByte,
    /// Images of an owner.
    Image,
    /// Images of an owner that take data in.
    Transfer,
}

impl std::fmt::Display for CountedThing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tag => "image_tag_quota",
            Self::Member => "image_member_quota",
            Self::Namespace => "metadef_namespaces",
            Self::ResourceType => "metadef_resource_types",
            Self::Definition => "metadef_definitions",
            Self::DefinitionByte => "metadef_namespace_size",
            Self::Image => "image_count_total",
            Self::Transfer => "image_count_uploading",
        })
    }
}
