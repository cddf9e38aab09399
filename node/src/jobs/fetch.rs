//! Data from outside comes into staging.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use glimpse_registry::{
    outcome::Rejection,
    task::{ImageChange, STAGING, Staged, Step, Task, TaskId},
};
use glimpse_store::StoreError;
use http_body::Frame;
use http_body_util::StreamBody;

use super::{Failure, Job, work::staged_key};
use crate::{
    data::{
        objects,
        pipeline::{self, Bounds, Broken, Room},
    },
    format::Inspector,
    outbound::{Fetch, FetchError, Follow},
};

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// What is fetched must fit into what the owner has left, for each store. Only looked at while it comes;
/// it is reserved once its size is known.
struct Fits<'a> {
    job: &'a Job,
    owner: Option<String>,
    quota: Option<u64>,
    stores: u64,
}

impl Room for Fits<'_> {
    async fn reserve(&self, total: u64) -> Result<(), Broken> {
        let (Some(limit), Some(owner)) = (self.quota, &self.owner) else {
            return Ok(());
        };
        let (live, reserved) = self.job.app.registry.read_local().usage(owner)?;
        let used = live.saturating_add(reserved);
        let requested = total.saturating_mul(self.stores);
        match used.saturating_add(requested) > limit {
            true => Err(Broken::Registry(
                Rejection::StorageQuota {
                    used,
                    requested,
                    limit,
                }
                .into(),
            )),
            false => Ok(()),
        }
    }
}

impl Job {
    /// `web-download`: fetches into staging, and records what is there. A fetch that was cut is resumed; one
    /// of a process that was killed begins anew.
    pub(super) async fn download(&self, task: &Task, uri: &str) -> Result<(Task, Staged), Failure> {
        let cap = self.app.config.limits.image_size_cap;
        let fetch = self.app.outbound.get(uri, None, Follow::All, cap).await.inspect_err(
            |error| {
                tracing::info!(task.id = %self.id, image.id = %self.image, cause = error.cause(), "a fetch failed");
            },
        )?;
        self.receive(task, fetch, ImageChange::default()).await
    }

    /// Puts what is fetched into staging.
    async fn receive(
        &self,
        task: &Task,
        fetch: Fetch,
        change: ImageChange,
    ) -> Result<(Task, Staged), Failure> {
        let staging = &self.app.staging.named;
        let key = staged_key(self.image, 0);
        // What an attempt that was not recorded may have left.
        objects::remove_key(staging, &key)
            .await
            .map_err(Broken::from)?;
        let config = &self.app.config;
        let size = fetch.head().size;
        let mut writer = staging.store.put(&key, size).await.map_err(Broken::from)?;
        let bounds = Bounds {
            declared: size,
            cap: config.limits.image_size_cap,
            // The fetch has bounds of its own.
            idle: config.outbound.timeout,
            min_rate: 0,
            window: config.limits.upload_window,
            algorithm: config.api.hashing_algorithm,
        };
        let allowed = self.app.allowed(task.run.owner.as_deref()).await;
        let allowed = allowed.map_err(|cause| Broken::Fault(cause.to_string()))?;
        let room = Fits {
            job: self,
            owner: task.run.owner.clone(),
            quota: allowed.bytes,
            stores: task.remaining().count() as u64,
        };
        let mut body = pin!(StreamBody::new(frames(
            fetch,
            Arc::clone(&self.moved),
            self.id
        )));
        let received = pipeline::receive(
            &mut body,
            writer.as_mut(),
            Inspector::idle(),
            bounds,
            &room,
            &self.lost,
        )
        .await;
        let received = match received {
            Ok(received) => received,
            Err(broken) => {
                if let Err(error) = writer.abort().await {
                    tracing::warn!(image.id = key, %error, "removing unfinished data failed");
                }
                // The fetch says it better.
                if let Broken::Cut { cause, .. } = broken {
                    return Err(Failure::Failed(cause));
                }
                if let Broken::Store(StoreError::Full) = broken {
                    return Err(Failure::Failed("The staging area is full.".to_owned()));
                }
                return Err(broken.into());
            }
        };
        let finished = objects::finish(&self.app, STAGING, writer, received).await;
        let (data, _) = finished.map_err(|unfinished| unfinished.broken)?;
        let staged = Staged {
            node: self.app.registry.node(),
            location: data.location,
            manifest: data.manifest,
        };
        let step = Step::Staged {
            staged: Some(staged.clone()),
            plugins: 0,
            change,
            quota: allowed.bytes,
        };
        Ok((self.step(step).await?, staged))
    }
}

/// What is fetched as the frames of a body, counted as they pass.
fn frames(
    fetch: Fetch,
    moved: Arc<AtomicU64>,
    task: TaskId,
) -> impl Stream<Item = Result<Frame<Bytes>, FetchError>> {
    stream::try_unfold((fetch, moved), move |(mut fetch, moved)| async move {
        let next = fetch.next().await.inspect_err(|error| {
            tracing::info!(task.id = %task, cause = error.cause(), "a fetch failed");
        })?;
        Ok(next.map(|bytes| {
            moved.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            (Frame::data(bytes), (fetch, moved))
        }))
    })
}
