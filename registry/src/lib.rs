//! The registry: what Glimpse knows of images, as a pure state machine over a replicated log, with
//! redb tables as its state and every index that listing needs.
//!
//! Writing: a [`Registry`] method makes a [`command::Command`], `replication` makes it durable and
//! ordered, `machine` decides, `store` writes changes and applied index in one transaction, and
//! the [`outcome::Outcome`] comes back. Reading: [`Registry::read`] gives a [`View`] that is at
//! least as new as every write acknowledged before the call.

pub mod command;
pub mod image;
pub mod outcome;
pub mod query;
pub mod status;

use std::sync::Arc;

use glimpse_replication::{Fault, Unavailable};

use crate::{
    command::{Command, UploadedData},
    image::{
        Attributes, Image, ImageId, Member, MemberStatus, PendingDelete, Timestamp, UploadId,
        Version,
    },
    outcome::{Outcome, Rejection},
    query::{ListQuery, Scope},
    status::Status,
};

/// Why a registry call has no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The machine refused the command: the same everywhere, final.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// No answer now; a write may still be applied later (it will be applied once at most).
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The local tables failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Shorthand.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Settings of the registry.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of the log and the tables.
    pub dir: std::path::PathBuf,
    /// The group below.
    pub replication: glimpse_replication::Config,
    /// Command ids remembered for deduplication; the oldest are forgotten first.
    pub dedup_entries: u64,
    /// How long an upload stays alive without a sign of life, in the log's time.
    pub upload_lease: std::time::Duration,
    /// Bytes of redb's page cache.
    pub table_cache_bytes: usize,
    /// This process: random, never used before.
    pub incarnation: u128,
}

/// Why the registry does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The group or its log.
    #[error(transparent)]
    Replication(#[from] glimpse_replication::StartError),
    /// The tables.
    #[error("tables: {0}")]
    Tables(String),
    /// The tables are of a format that this program does not know; untouched.
    #[error("table format version {found} is unknown (this program knows {known})")]
    Format {
        /// On disk.
        found: u32,
        /// Known.
        known: u32,
    },
}

/// A handle on the registry; cheap to clone.
#[derive(Clone)]
pub struct Registry {}

impl Registry {
    /// Opens or makes the registry of a node on real disks, replays what the tables lack, and
    /// starts its group.
    pub fn open(
        config: Config,
        clock: Arc<dyn glimpse_replication::Clock>,
    ) -> Result<Self, OpenError> {
        let _ = (config, clock);
        Ok(Self {})
    }
    /// Ends it in order: pending answers, checkpoint, thread.
    pub async fn stop(&self) -> Result<()> {
        std::future::pending().await
    }
    /// Resolves when the registry has stopped on a fault, with the reason.
    pub async fn faulted(&self) -> String {
        std::future::pending().await
    }
    /// What the group says of itself.
    pub fn status(&self) -> glimpse_replication::Status {
        glimpse_replication::Status::default()
    }
    /// Proposes a command under a fresh id and waits for its outcome.
    pub async fn propose(&self, command: Command) -> Result<Outcome> {
        let _ = command;
        std::future::pending().await
    }
    /// Makes a queued image.
    pub async fn create_image(&self, id: ImageId, attributes: Attributes) -> Result<Image> {
        let _ = (id, attributes);
        std::future::pending().await
    }
    /// Replaces the attributes of an image that is still at `expected`.
    pub async fn update_image(
        &self,
        id: ImageId,
        expected: Version,
        attributes: Attributes,
    ) -> Result<Image> {
        let _ = (id, expected, attributes);
        std::future::pending().await
    }
    /// Deletes an image.
    pub async fn delete_image(&self, id: ImageId, expected: Option<Version>) -> Result<()> {
        let _ = (id, expected);
        std::future::pending().await
    }
    /// Deactivates or reactivates.
    pub async fn set_status(&self, id: ImageId, to: Status) -> Result<Image> {
        let _ = (id, to);
        std::future::pending().await
    }
    /// Adds a tag.
    pub async fn add_tag(&self, id: ImageId, tag: String, quota: Option<u64>) -> Result<()> {
        let _ = (id, tag, quota);
        std::future::pending().await
    }
    /// Removes a tag.
    pub async fn remove_tag(&self, id: ImageId, tag: String) -> Result<()> {
        let _ = (id, tag);
        std::future::pending().await
    }
    /// Adds a member.
    pub async fn add_member(
        &self,
        id: ImageId,
        member: String,
        quota: Option<u64>,
    ) -> Result<Member> {
        let _ = (id, member, quota);
        std::future::pending().await
    }
    /// Answers for a member.
    pub async fn set_member_status(
        &self,
        id: ImageId,
        member: String,
        status: MemberStatus,
    ) -> Result<Member> {
        let _ = (id, member, status);
        std::future::pending().await
    }
    /// Removes a member.
    pub async fn remove_member(&self, id: ImageId, member: String) -> Result<()> {
        let _ = (id, member);
        std::future::pending().await
    }
    /// Starts an upload on this node: queued → saving. The lease is `lease` from the machine's time.
    pub async fn begin_upload(
        &self,
        id: ImageId,
        upload: UploadId,
        store: String,
        reserve: u64,
        quota: Option<u64>,
    ) -> Result<Image> {
        let _ = (id, upload, store, reserve, quota);
        std::future::pending().await
    }
    /// Raises the reservation to `reserve` bytes in all and renews the lease.
    pub async fn extend_upload(
        &self,
        id: ImageId,
        upload: UploadId,
        reserve: u64,
        quota: Option<u64>,
    ) -> Result<()> {
        let _ = (id, upload, reserve, quota);
        std::future::pending().await
    }
    /// Makes the image active.
    pub async fn finish_upload(
        &self,
        id: ImageId,
        upload: UploadId,
        data: UploadedData,
        quota: Option<u64>,
    ) -> Result<Image> {
        let _ = (id, upload, data, quota);
        std::future::pending().await
    }
    /// Gives an upload up: saving → queued.
    pub async fn abort_upload(&self, id: ImageId, upload: UploadId) -> Result<()> {
        let _ = (id, upload);
        std::future::pending().await
    }
    /// Tells that the reaper has removed data.
    pub async fn data_reaped(&self, sequences: Vec<u64>) -> Result<()> {
        let _ = sequences;
        std::future::pending().await
    }
    /// A view at least as new as every write acknowledged before this call (ReadIndex).
    pub async fn read(&self) -> Result<View> {
        std::future::pending().await
    }
    /// A view of what this node has applied, without asking the group: for workers and metrics.
    pub fn read_local(&self) -> Result<View> {
        Err(Unavailable::NoLeader.into())
    }
    /// This process' incarnation, as uploads carry it.
    pub fn incarnation(&self) -> u128 {
        0
    }
}

/// The registry at one moment.
pub struct View {}

impl View {
    /// One image by id, deleted ones never.
    pub fn image(&self, id: ImageId) -> Result<Option<Arc<Image>>> {
        let _ = id;
        Ok(None)
    }
    /// Whether the id is in use or was.
    pub fn id_taken(&self, id: ImageId) -> Result<bool> {
        let _ = id;
        Ok(false)
    }
    /// Whether the image exists for the caller (image-api 4.3): the rules of GET by id.
    pub fn visible(&self, image: &Image, scope: &Scope) -> Result<bool> {
        let _ = (image, scope);
        Ok(false)
    }
    /// One member.
    pub fn member(&self, id: ImageId, member: &str) -> Result<Option<Member>> {
        let _ = (id, member);
        Ok(None)
    }
    /// All members of an image, by member id.
    pub fn members(&self, id: ImageId) -> Result<Vec<Member>> {
        let _ = id;
        Ok(Vec::new())
    }
    /// One page. `Err(Rejected(ImageNotFound))` when the marker is unknown or not visible.
    pub fn list(&self, query: &ListQuery) -> Result<Vec<Arc<Image>>> {
        let _ = query;
        Ok(Vec::new())
    }
    /// Bytes that the owner's images hold, and bytes reserved by uploads.
    pub fn usage(&self, owner: &str) -> Result<(u64, u64)> {
        let _ = owner;
        Ok((0, 0))
    }
    /// The head of the reaper's queue, from `after` on.
    pub fn pending_deletes(&self, after: u64, limit: usize) -> Result<Vec<PendingDelete>> {
        let _ = (after, limit);
        Ok(Vec::new())
    }
    /// Images with an upload in progress.
    pub fn uploads(&self, after: Option<ImageId>, limit: usize) -> Result<Vec<Arc<Image>>> {
        let _ = (after, limit);
        Ok(Vec::new())
    }
    /// Images of any status in creation order, for workers.
    pub fn images_from(&self, row: u32, limit: usize) -> Result<Vec<Arc<Image>>> {
        let _ = (row, limit);
        Ok(Vec::new())
    }
    /// The machine's time: the largest time in the log.
    pub fn time(&self) -> Result<Timestamp> {
        Ok(Timestamp(0))
    }
    /// Images in the registry.
    pub fn image_count(&self) -> Result<u64> {
        Ok(0)
    }
}
