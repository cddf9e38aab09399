//! The steps of an import in their order.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use glimpse_registry::{
    Error as RegistryError,
    image::Image,
    outcome::Rejection,
    task::{STAGING, Source, Staged, Step, Task},
};
use glimpse_store::StoreError;

use super::{Failure, Job, RETRY_FIRST, fill::Origin};

impl Job {
    /// Goes on where the record says, to the end.
    pub(super) async fn work(&self, task: Task) -> Result<(), Failure> {
        if task.run.cancelled {
            return Err(Rejection::TaskCancelled.into());
        }
        // The process before was undoing it.
        if task.made.plan.must_succeed
            && let Some(store) = task.run.failed.first()
        {
            return Err(Failure::Failed(format!("Store {store} took no data.")));
        }
        let done = task.remaining().next().is_none();
        let task = match done {
            true => task,
            false => {
                let (task, origin) = self.origin(task).await?;
                self.distribute(task, &origin).await?
            }
        };
        if task.run.done.is_empty() {
            return Err(Failure::Failed(format!(
                "No store took the data: {}",
                task.run.failed.join(", ")
            )));
        }
        self.unstage().await;
        self.finish(&task).await
    }

    /// The image as it is now.
    pub(super) fn image(&self) -> Result<Arc<Image>, Failure> {
        match self.app.registry.read_local().image(self.image) {
            Ok(Some(image)) => Ok(image),
            Ok(None) => Err(Rejection::ImageNotFound.into()),
            Err(_) => Err(Failure::NotOurs),
        }
    }

    /// Where the stores' data is read from; what is to be fetched first is in staging then.
    async fn origin(&self, task: Task) -> Result<(Task, Origin), Failure> {
        let image = self.image()?;
        let staged = image.import.as_ref().and_then(|i| i.staged.clone());
        let here = |staged: &Staged| staged.node == self.app.registry.node();
        match (&task.made.plan.source, staged) {
            (Source::Store, _) => Ok((task, Origin::Image(image))),
            (_, Some(staged)) if here(&staged) => self.prepared(task, staged).await,
            (Source::Web { uri }, None) => {
                let (task, staged) = self.download(&task, uri).await?;
                self.prepared(task, staged).await
            }
            (Source::Staged | Source::Web { .. } | Source::Region { .. }, _) => Err(
                Failure::Failed("The staged data of the image is not on this node.".to_owned()),
            ),
        }
    }

    /// Staged data past its plugins.
    async fn prepared(&self, task: Task, staged: Staged) -> Result<(Task, Origin), Failure> {
        let (task, staged) = self.plugins(task, staged).await?;
        Ok((task, Origin::Staged(self.image()?, staged)))
    }

    /// Fills the stores that are left: one after the other, or some at once.
    async fn distribute(&self, mut task: Task, origin: &Origin) -> Result<Task, Failure> {
        let at_once = match origin {
            Origin::Image(_) => 1,
            Origin::Staged(..) => self.app.config.import.max_parallel_stores,
        };
        let stores: Vec<String> = task.remaining().cloned().collect();
        let mut filled = stream::iter(stores)
            .map(|store| async move {
                let filled = self.fill(&store, origin).await;
                (store, filled)
            })
            .buffer_unordered(at_once);
        while let Some((store, filled)) = filled.next().await {
            task = match filled {
                Ok(data) => {
                    let data = Box::new(data);
                    self.step(Step::Stored { data }).await?
                }
                Err(Failure::Failed(message)) => {
                    tracing::warn!(task.id = %self.id, image.id = %self.image, store, message, "a store took no data");
                    let failed = store.clone();
                    let task = self.step(Step::StoreFailed { store: failed }).await?;
                    if task.made.plan.must_succeed {
                        return Err(Failure::Failed(format!("Store {store}: {message}")));
                    }
                    task
                }
                Err(failure) => return Err(failure),
            };
        }
        Ok(task)
    }

    /// Removes the staged data, before the image may be staged anew. What cannot be removed now is
    /// swept up.
    async fn unstage(&self) {
        let Ok(image) = self.image() else { return };
        let Some(Staged { location, .. }) = image.import.as_ref().and_then(|i| i.staged.clone())
        else {
            return;
        };
        let Some(named) = self.app.place(STAGING) else {
            return;
        };
        match named.store.delete(&location.url).await {
            Ok(()) | Err(StoreError::NotFound) => {}
            Err(error) => {
                tracing::warn!(image.id = %self.image, %error, "staged data stays for now");
            }
        }
    }

    /// The commit.
    async fn finish(&self, task: &Task) -> Result<(), Failure> {
        let mut pause = RETRY_FIRST;
        loop {
            let message = format!("{} to {}", self.progress(), task.run.done.join(", "));
            match self.app.registry.end_task(self.id, true, message).await {
                Ok(_) => break,
                Err(RegistryError::Rejected(rejection)) => {
                    // An earlier attempt, whose answer was lost, may have been applied.
                    return match rejection == Rejection::TaskLost {
                        true => Ok(()),
                        false => Err(rejection.into()),
                    };
                }
                Err(RegistryError::Fault(_)) => return Err(Failure::NotOurs),
                Err(RegistryError::Unavailable(_)) => self.pause(&mut pause).await?,
            }
        }
        tracing::info!(task.id = %self.id, image.id = %self.image, "an import is done");
        Ok(())
    }
}

/// The name of a staged file: the image's id, and behind it the number of plugins that it is past.
pub(super) fn staged_key(image: glimpse_registry::image::ImageId, plugins: usize) -> String {
    match plugins {
        0 => image.to_string(),
        number => format!("{image}-{number}"),
    }
}
