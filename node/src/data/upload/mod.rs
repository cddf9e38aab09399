//! One upload, from the first byte to the outcome.
//!
//! It runs in a task of its own that owns body, writer, lease and clean-up: a client that goes away
//! takes only the answer with it. The order is what makes it safe:
//!
//! 1. `begin_upload` makes the image `saving`; from here on nobody else writes under its key.
//! 2. The bytes; the verdict of the inspector comes before anything is visible in the store.
//! 3. The object is finished and the manifest kept, both durable.
//! 4. `finish_upload` makes the image active: one command, the only commit.
//!
//! Whatever fails before 4 removes the object first and gives the upload up last, so that no moment
//! lets a second upload meet a leftover, and a crash between leaves the upload row for the reaper.
//! When the answer to 4 is lost, the command may still be applied: nothing is removed before the
//! registry has said what became of it.

mod cleanup;
mod lease;
mod settle;
mod task;

pub(crate) use task::rules;

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use glimpse_registry::{Error as RegistryError, image::Image};
use http_body_util::BodyExt;
use tokio::sync::oneshot;

use self::task::Task;
use super::{pipeline::Broken, slots::Slot};
use crate::app::{App, NamedStore};

/// An upload that passed every check that needs no bytes.
pub struct Job {
    /// The queued image, as read by the handler.
    pub image: Arc<Image>,
    /// Where the data goes: a store, or staging.
    pub store: NamedStore,
    /// The size that the client announced.
    pub declared: Option<u64>,
    /// The data.
    pub body: Body,
    /// Whether the client waits for `100 Continue`: then a refused body is not read.
    pub expects_continue: bool,
}

/// Why an upload did not make the image active.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The registry refused to begin: nothing has been read.
    #[error(transparent)]
    Begin(RegistryError),
    /// Nobody can tell what the owner may have.
    #[error(transparent)]
    Quota(crate::keystone::Error),
    /// The data did not arrive whole, or must not be kept.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// The image was deleted meanwhile: 410.
    #[error("the image was deleted during the upload; its data was removed")]
    Gone,
    /// Another node gave the upload up (its lease had run out): 409.
    #[error("the upload was abandoned because it gave no sign of life; upload again")]
    Abandoned,
    /// The registry does not answer: 503. The image may become active, or queued again.
    #[error("the outcome of the upload is not known yet; look at the image's status")]
    Unknown,
}

/// Runs the upload in its own task and waits for the outcome, until which it has the slot.
pub async fn run(app: Arc<App>, job: Job, slot: Slot) -> Result<(), UploadError> {
    let (answer, outcome) = oneshot::channel();
    let task = Task::new(Arc::clone(&app), job, answer);
    app.data.tasks.spawn(task.run(slot));
    // The sender is dropped without a word only when the task panicked or the runtime ends.
    outcome.await.unwrap_or(Err(UploadError::Unknown))
}

/// Reads on for a while after a refusal, in the background, so that a client that writes before it
/// reads gets to see the answer; then the connection is closed.
pub fn drain(app: &App, mut body: Body) {
    let limits = &app.config.limits;
    let (size, time) = (limits.upload_drain_size, limits.upload_drain_timeout);
    let reading = async move {
        let mut left = size;
        while let Some(Ok(frame)) = body.frame().await {
            let len = frame.data_ref().map_or(0, Bytes::len) as u64;
            match left.checked_sub(len) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    app.data.tasks.spawn(async move {
        // What is over time is dropped, which closes the connection.
        drop(tokio::time::timeout(time, reading).await);
    });
}
