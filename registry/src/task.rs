//! Tasks: jobs that go on after their request was answered, as records (image-api 1.7 and 3).
//!
//! A task is made together with the lock on its image, in one command. Each step that a process finishes
//! is a command too, so that the next process goes on from there; what was done after the last
//! recorded step is done again. The last command commits, or says that all is undone.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    command::UploadedData,
    image::{ImageId, InvalidImageId, Location, ManifestRef, Timestamp},
};

/// The store that holds staged data: a name of the service, which no configured store may have.
pub const STAGING: &str = "os_glance_staging_store";

/// The id of a task: a UUID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TaskId(pub [u8; 16]);

impl TaskId {
    /// A new random (version 4) id from 16 bytes of randomness.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(ImageId::from_random(bytes).0)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ImageId(self.0).fmt(f)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TaskId {
    type Err = InvalidImageId;

    fn from_str(text: &str) -> Result<Self, InvalidImageId> {
        text.parse::<ImageId>().map(|id| Self(id.0))
    }
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskStatus {
    /// No process has begun with it.
    Pending,
    /// A process has.
    Processing,
    /// Ended well.
    Success,
    /// Ended, and undone.
    Failure,
}

impl TaskStatus {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }

    /// Reads the name on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Pending,
            Self::Processing,
            Self::Success,
            Self::Failure,
        ]
        .into_iter()
        .find(|status| status.as_str() == text)
    }
}

/// What a task is shown as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskKind {
    /// Made by `POST /v2/images/{id}/import`.
    ApiImageImport,
    /// Made by `POST /v2/tasks`.
    Import,
}

impl TaskKind {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiImageImport => "api_image_import",
            Self::Import => "import",
        }
    }
}

/// Where the data of an import comes from (image-api 3.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// `glance-direct`: it is staged.
    Staged,
    /// `copy-image`: a store of the image.
    Store,
    /// `web-download`
    Web {
        /// From there.
        uri: String,
    },
    /// `glance-download`: another region's image.
    Region {
        /// `glance_region`
        region: String,
        /// `glance_image_id`
        image: String,
        /// `glance_service_interface`
        interface: String,
    },
}

/// What a task is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// From where,
    pub source: Source,
    /// to which stores, in this order.
    pub stores: Vec<String>,
    /// `all_stores_must_succeed`
    pub must_succeed: bool,
    /// Whether configured properties are given to the image: not where the caller's role is exempt.
    pub inject: bool,
    /// Microseconds that the record stays after the end.
    pub keep: u64,
}

/// What a new task is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTask {
    /// Shown as.
    pub kind: TaskKind,
    /// Project of the caller.
    pub owner: Option<String>,
    /// The caller.
    pub user: Option<String>,
    /// The request.
    pub request: Option<String>,
    /// What was asked for, JSON.
    pub input: String,
    /// What is to be done.
    pub plan: Plan,
}

/// How far a task is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Raft id of the node at work,
    pub node: u64,
    /// and its process; 0: none yet.
    pub incarnation: u128,
    /// Past this the process is given up.
    pub lease_until: Timestamp,
    /// Somebody asked for its end.
    pub cancelled: bool,
    /// Bytes reserved in the quota,
    pub reserved: u64,
    /// of this owner.
    pub owner: Option<String>,
    /// Plugins that are done.
    pub plugins: u32,
    /// What lies in stores and is not the image's yet: with `must_succeed`, until all of it does.
    pub held: Vec<UploadedData>,
    /// Stores that are done.
    pub done: Vec<String>,
    /// Stores that have failed.
    pub failed: Vec<String>,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Random.
    pub id: TaskId,
    /// Log index of its making: tasks are ordered by it.
    pub sequence: u64,
    /// The image that it works on, deleted or not.
    pub image: ImageId,
    /// What it was made of.
    pub made: NewTask,
    /// Where it stands.
    pub status: TaskStatus,
    /// What it is at, or why it failed.
    pub message: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Moves with every step and every sign of life.
    pub updated_at: Timestamp,
    /// When the record goes; once it has ended.
    pub expires_at: Option<Timestamp>,
    /// How far it is.
    pub run: Run,
}

impl Task {
    /// Whether it has not ended.
    pub const fn is_open(&self) -> bool {
        matches!(self.status, TaskStatus::Pending | TaskStatus::Processing)
    }

    /// The stores that are still to be filled, in order.
    pub fn remaining(&self) -> impl Iterator<Item = &String> {
        let run = &self.run;
        self.made
            .plan
            .stores
            .iter()
            .filter(|store| !run.done.contains(store) && !run.failed.contains(store))
    }
}

/// A command on a task; a value of [`crate::command::Command::Task`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskCommand {
    /// Makes it, takes the lock of the image, reserves, moves the image to importing (not for a copy).
    Begin {
        /// Of this image.
        image: ImageId,
        /// As this.
        task: Box<NewTask>,
        /// The owner's bytes at most; `None`: unlimited.
        quota: Option<u64>,
        /// A task that holds the lock and gave no sign of life for so many microseconds (twice as
        /// many where it is pending) loses it.
        steal_after: u64,
        /// Tasks that are open at once at most.
        most: u64,
    },
    /// A process begins with it, or goes on where another one ended.
    Claim {
        /// The node.
        node: u64,
        /// The process.
        incarnation: u128,
        /// Lease.
        lease_until: Timestamp,
    },
    /// A step is done.
    Step {
        /// By the process that has it.
        incarnation: u128,
        /// Lease.
        lease_until: Timestamp,
        /// Which.
        step: Step,
    },
    /// It ends. A failure says that everything is undone.
    End {
        /// The process that has it.
        incarnation: u128,
        /// Whether it went well.
        success: bool,
        /// What is shown.
        message: String,
    },
    /// Somebody asks for its end. What is in the image already stays.
    Cancel,
    /// Removes the record, if its time is over.
    Expire,
}

/// What a process has done of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// It is alive, and so far.
    Progress {
        /// What is shown.
        message: String,
    },
    /// Data is staged, and durable; and so many plugins are done.
    Staged {
        /// The data; `None`: as it was.
        staged: Option<Staged>,
        /// Plugins done.
        plugins: u32,
        /// What they changed in the image.
        change: ImageChange,
        /// As in `Begin`: checked again, the data for each store that is left.
        quota: Option<u64>,
    },
    /// A store has the data, durably.
    Stored {
        /// What it has.
        data: Box<UploadedData>,
    },
    /// A store does not take it.
    StoreFailed {
        /// Which.
        store: String,
    },
}

/// What plugins and a remote service say of the image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageChange {
    /// Another disk format.
    pub disk_format: Option<String>,
    /// Another container format.
    pub container_format: Option<String>,
    /// Properties to set.
    pub properties: BTreeMap<String, String>,
}

/// Data in staging.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// Raft id of the node that has it.
    pub node: u64,
    /// Where; its store is [`STAGING`].
    pub location: Location,
    /// What it is: every store's copy is compared with this.
    pub manifest: ManifestRef,
}

/// What imports have left on an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// The task that holds the lock (`os_glance_import_task`).
    pub task: Option<TaskId>,
    /// Staged data.
    pub staged: Option<Staged>,
    /// Progress of the last import.
    pub progress: Option<Progress>,
    /// Why the last import failed; `None` after one that did not.
    pub failure: Option<String>,
}

/// Progress of an import (image-api 2.1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// `os_glance_importing_to_stores`
    pub importing: Vec<String>,
    /// `os_glance_failed_import`
    pub failed: Vec<String>,
}
