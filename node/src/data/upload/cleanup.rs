//! What a failed upload undoes: its object, its row, its body.

use std::time::Duration;

use glimpse_registry::Error as RegistryError;
use glimpse_store::StoreError;

use super::{drain, task::Task};
use crate::data::objects;

// No keys: what these leave undone is the reaper's, whose pace has keys.

/// Pauses between attempts to reach the registry or the store again: from this,
pub(super) const RETRY_FIRST: Duration = Duration::from_millis(100);
/// doubled up to this.
pub(super) const RETRY_MOST: Duration = Duration::from_secs(5);
/// Attempts to remove an object before the client has its answer.
const REMOVE_ATTEMPTS: u32 = 5;
/// Attempts to give an upload up before it is left to the reaper.
const ABORT_ATTEMPTS: u32 = 20;

impl Task {
    /// Removes what we finished, by its URL or, where that is not known, by the key.
    pub(super) async fn remove(&mut self, url: Option<&str>) {
        let mut pause = RETRY_FIRST;
        for _ in 0..REMOVE_ATTEMPTS {
            let named = &self.job.store;
            let removed = match url {
                Some(url) => objects::remove(named.store.as_ref(), url).await.map(drop),
                None => self.remove_key().await,
            };
            match removed {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(image.id = %self.lease.id, %error, "removing uploaded data failed");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MOST);
        }
        self.stuck = true;
    }

    async fn remove_key(&mut self) -> Result<(), StoreError> {
        let key = self.lease.id.to_string();
        objects::remove_key(&self.job.store, &key).await.map(drop)
    }

    /// Where the store was away when data was to be removed: goes on until it is back, so that the
    /// image is not `saving` for longer than that. The lease is ours before each attempt, so nobody
    /// else has begun anew under the key. Ends when the node does; the rest is the reaper's.
    pub(super) async fn remove_late(&mut self) {
        while self.stuck && !self.app.data.tasks.is_closed() {
            tokio::time::sleep(RETRY_MOST).await;
            if !self.lease.renew().await {
                return;
            }
            match self.remove_key().await {
                Ok(()) => {
                    self.stuck = false;
                    tracing::info!(image.id = %self.lease.id, "uploaded data was removed late");
                    self.give_up().await;
                }
                Err(StoreError::Unavailable(_)) => {}
                Err(error) => {
                    tracing::warn!(image.id = %self.lease.id, %error, "uploaded data is left to the reaper");
                    return;
                }
            }
        }
    }

    /// The image is queued again, the reservation gone. A refusal says that this is so already.
    pub(super) async fn give_up(&mut self) {
        if self.stuck {
            return;
        }
        let mut pause = RETRY_FIRST;
        for _ in 0..ABORT_ATTEMPTS {
            let (id, upload) = (self.lease.id, self.lease.upload);
            match self.app.registry.abort_upload(id, upload).await {
                Ok(()) | Err(RegistryError::Rejected(_)) => return,
                Err(RegistryError::Fault(_)) => break,
                Err(RegistryError::Unavailable(_)) => {}
            }
            if self.app.registry.status().stopped.is_some() {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MOST);
        }
        tracing::warn!(image.id = %self.lease.id, "giving an upload up failed; the reaper will");
    }

    /// Lets go of what is left of the body.
    pub(super) fn refuse_body(&mut self) {
        let body = std::mem::take(&mut self.job.body);
        if !self.job.expects_continue {
            drain(&self.app, body);
        }
    }
}
