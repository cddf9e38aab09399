//! Everything that a task has done is taken back; then it ends as failed. The record stays open until
//! nothing is left, so that whatever ends the process, somebody goes on.

use glimpse_registry::{Error as RegistryError, task::Task};
use glimpse_store::StoreError;

use super::{Job, RETRY_FIRST};
use crate::data::objects;

impl Job {
    /// Removes what the task put and the image does not have, and ends the task.
    pub(super) async fn undo(&self, message: &str) {
        let mut pause = RETRY_FIRST;
        while let Err(error) = self.remove().await {
            tracing::warn!(task.id = %self.id, image.id = %self.image, %error, "undoing an import failed and will be tried again");
            if self.pause(&mut pause).await.is_err() {
                return;
            }
        }
        loop {
            let ended = self
                .app
                .registry
                .end_task(self.id, false, message.to_owned());
            match ended.await {
                Ok(_) | Err(RegistryError::Rejected(_) | RegistryError::Fault(_)) => return,
                Err(RegistryError::Unavailable(_)) => {}
            }
            if self.pause(&mut pause).await.is_err() {
                return;
            }
        }
    }

    async fn remove(&self) -> Result<(), StoreError> {
        let away = |error: RegistryError| StoreError::Unavailable(error.to_string());
        let view = self.app.registry.read_local();
        let task: Option<Task> = view.task(self.id).map_err(away)?;
        let image = view.image(self.image).map_err(away)?;
        drop(view);
        // Another may have the image by now, and its data lies under the same key.
        let incarnation = self.app.registry.incarnation();
        let ours = |task: &Task| task.is_open() && task.run.incarnation == incarnation;
        let Some(task) = task.filter(ours) else {
            return Ok(());
        };
        let key = self.image.to_string();
        for store in &task.made.plan.stores {
            let has = |image: &_| holds(image, store);
            if image.as_deref().is_some_and(has) {
                continue;
            }
            // A store that is gone has taken its data with it.
            if let Some(named) = self.app.stores.get(store) {
                objects::remove_key(named, &key).await?;
            }
        }
        let staging = &self.app.staging.named;
        for number in 0..=self.app.config.import.plugins.len() {
            let url = staging
                .store
                .url(&super::work::staged_key(self.image, number))?;
            objects::remove(staging.store.as_ref(), &url).await?;
        }
        Ok(())
    }
}

fn holds(image: &glimpse_registry::image::Image, store: &str) -> bool {
    image
        .locations
        .iter()
        .any(|location| location.store == store)
}
