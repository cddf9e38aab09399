//! The task of one upload: the steps in order, and the clean-up after each of them.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use glimpse_cache::{Manifest, ManifestName};
use glimpse_registry::{
    Error as RegistryError,
    command::UploadedData,
    image::{Image, UploadId},
    outcome::Rejection,
    task::STAGING,
};
use glimpse_store::StoreError;
use tokio::sync::oneshot;

use super::{
    Job, UploadError,
    cleanup::{RETRY_FIRST, RETRY_MOST},
    lease::Lease,
    settle::{Settled, settled},
};
use crate::{
    app::App,
    config::Config,
    data::{
        objects::{self, Left, Unfinished},
        pipeline::{self, Bounds, Broken, Received},
        slots::Slot,
    },
    format::{Inspector, Rules},
};

/// The client is told that the outcome is unknown after so long; the task goes on. No key: a few
/// times what one attempt may take (`registry.timeout`), short of what clients wait for an answer.
const OUTCOME_PATIENCE: Duration = Duration::from_secs(30);

pub(super) type Answer = oneshot::Sender<Result<(), UploadError>>;

/// What the task owns.
pub(super) struct Task {
    pub(super) app: Arc<App>,
    pub(super) job: Job,
    pub(super) lease: Arc<Lease>,
    answer: Option<Answer>,
    /// Data could not be removed: the upload row has to stay.
    pub(super) stuck: bool,
}

impl Task {
    pub(super) fn new(app: Arc<App>, job: Job, answer: Answer) -> Self {
        let upload = UploadId(rand::random());
        let lease = Lease::new(&app, &job.image, upload, job.declared.unwrap_or(0));
        let live = (lease.id, lease.lost.clone());
        app.data.live.lock().insert(upload, live);
        Self {
            app,
            job,
            lease: Arc::new(lease),
            answer: Some(answer),
            stuck: false,
        }
    }

    /// `slot` is held until the outcome.
    pub(super) async fn run(mut self, slot: Slot) {
        let result = match self.begin().await {
            Ok(()) => {
                let lease = Arc::clone(&self.lease);
                // The lease is kept alive beside the work, which is never dropped half done.
                tokio::select! {
                    result = self.work() => result,
                    never = lease.keep() => match never {},
                }
            }
            Err(error) => Err(error),
        };
        let counters = &self.app.data.counters;
        match &result {
            Ok(()) => counters.uploads_finished.add(1),
            Err(error) => {
                counters.uploads_failed.add(1);
                let (id, store) = (self.lease.id, &self.job.store.name);
                if let UploadError::Broken(Broken::Store(StoreError::Full | StoreError::KeptFree)) =
                    error
                {
                    tracing::warn!(image.id = %id, store, %error, "upload failed");
                } else {
                    tracing::info!(image.id = %id, store, %error, "upload failed");
                }
            }
        }
        self.tell(result);
        drop(slot);
        self.remove_late().await;
    }

    /// The first answer counts.
    fn tell(&mut self, result: Result<(), UploadError>) {
        if let Some(answer) = self.answer.take() {
            // The client may be gone.
            drop(answer.send(result));
        }
    }

    /// Step 1.
    async fn begin(&mut self) -> Result<(), UploadError> {
        let owner = self.job.image.attributes.owner.clone();
        let allowed = match self.app.allowed(owner.as_deref()).await {
            Ok(allowed) => allowed,
            Err(error) => {
                self.refuse_body();
                return Err(UploadError::Quota(error));
            }
        };
        let begun = self
            .app
            .registry
            .within(allowed.bounds)
            .begin_upload(
                self.lease.id,
                self.lease.upload,
                self.job.store.name.clone(),
                self.lease.reserved.load(Ordering::Relaxed),
                allowed.bytes,
            )
            .await;
        match begun {
            // The formats by which the data is judged and the owner whose quota it takes are those
            // that can no longer be changed, not those that the handler read: a PATCH may have come
            // in between.
            Ok(image) => {
                let of_owner = match image.attributes.owner == owner {
                    true => Ok(allowed),
                    false => self.app.allowed(image.attributes.owner.as_deref()).await,
                };
                let quota = of_owner.as_ref().ok().and_then(|allowed| allowed.bytes);
                self.lease = Arc::new(self.lease.on(&image, quota));
                self.job.image = Arc::new(image);
                if let Err(error) = of_owner {
                    self.refuse_body();
                    self.give_up().await;
                    return Err(UploadError::Quota(error));
                }
                Ok(())
            }
            Err(error @ RegistryError::Rejected(_)) => {
                self.refuse_body();
                Err(UploadError::Begin(error))
            }
            // It may still be applied.
            Err(error @ (RegistryError::Unavailable(_) | RegistryError::Fault(_))) => {
                self.refuse_body();
                self.tell(Err(UploadError::Begin(error)));
                self.give_up().await;
                Err(UploadError::Unknown)
            }
        }
    }

    async fn work(&mut self) -> Result<(), UploadError> {
        match self.store_data().await {
            Ok((data, manifest)) => self.commit(data, manifest).await,
            Err(broken) => {
                self.refuse_body();
                self.give_up().await;
                if let Broken::Store(StoreError::Exists) = broken {
                    let store = self.job.store.name.clone();
                    self.app.data.report_leftover(store, self.lease.id);
                }
                Err(broken.into())
            }
        }
    }

    /// Steps 2 and 3. After an error nothing is left in the store, or we are `stuck`.
    async fn store_data(&mut self) -> Result<(UploadedData, Manifest), Broken> {
        let key = self.job.image.id.to_string();
        let config = &self.app.config;
        let bounds = Bounds {
            declared: self.job.declared,
            cap: config.limits.image_size_cap,
            idle: config.limits.upload_idle_timeout,
            min_rate: config.limits.upload_min_rate,
            window: config.limits.upload_window,
            algorithm: config.api.hashing_algorithm,
        };
        let inspector = match self.job.store.name == STAGING {
            // It is judged when it is imported.
            true => Inspector::idle(),
            false => Inspector::new(rules(&self.job.image, config)),
        };
        let mut writer = self.job.store.store.put(&key, self.job.declared).await?;
        let received = pipeline::receive(
            &mut self.job.body,
            writer.as_mut(),
            inspector,
            bounds,
            self.lease.as_ref(),
            &self.lease.lost,
        )
        .await;
        let received = match received {
            Ok(received) => received,
            Err(broken) => {
                if let Err(error) = writer.abort().await {
                    tracing::warn!(image.id = key, %error, "removing a cut upload's data failed");
                }
                return Err(broken);
            }
        };
        self.app.data.counters.upload_bytes.add(received.size);
        self.finish_data(writer, received).await
    }

    /// Step 3.
    async fn finish_data(
        &mut self,
        writer: Box<dyn glimpse_store::Write>,
        received: Received,
    ) -> Result<(UploadedData, Manifest), Broken> {
        let store = &self.job.store.name;
        let finished = objects::finish(&self.app, store, writer, received).await;
        match finished {
            Ok(finished) => Ok(finished),
            Err(Unfinished { broken, left }) => {
                match left {
                    Left::Nothing => {}
                    Left::Perhaps => self.remove(None).await,
                    Left::Object(url) => self.remove(Some(&url)).await,
                }
                Err(broken)
            }
        }
    }

    /// Step 4, until the registry has said what became of it.
    async fn commit(&mut self, data: UploadedData, manifest: Manifest) -> Result<(), UploadError> {
        let (id, upload) = (self.lease.id, self.lease.upload);
        let since = tokio::time::Instant::now();
        let mut pause = RETRY_FIRST;
        let mut renewed = false;
        loop {
            let finished = self
                .app
                .registry
                .finish_upload(id, upload, data.clone(), self.lease.quota)
                .await;
            let rejection = match finished {
                Ok(_) => break,
                Err(RegistryError::Rejected(Rejection::UploadLost)) if !renewed => {
                    renewed = true;
                    if self.lease.renew().await {
                        continue;
                    }
                    Some(Rejection::UploadLost)
                }
                Err(RegistryError::Rejected(rejection)) => Some(rejection),
                Err(RegistryError::Unavailable(error)) => {
                    tracing::warn!(image.id = %id, %error, "the outcome of an upload is not known");
                    None
                }
                // The node stops; the next process finds the upload row or the active image.
                Err(RegistryError::Fault(_)) => return Err(UploadError::Unknown),
            };
            if let Some(rejection) = rejection
                && let Some(settled) = self.settle(rejection, &data).await
            {
                match settled {
                    Settled::Applied => break,
                    Settled::Ours(error) => {
                        self.remove(Some(&data.location.url)).await;
                        self.give_up().await;
                        return Err(error);
                    }
                    Settled::NotOurs(error) => return Err(error),
                }
            }
            if self.app.registry.status().stopped.is_some() {
                return Err(UploadError::Unknown);
            }
            if since.elapsed() > OUTCOME_PATIENCE {
                self.tell(Err(UploadError::Unknown));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MOST);
        }
        let name = ManifestName(data.manifest.name);
        self.app.data.manifests.insert(name, manifest);
        Ok(())
    }

    /// What a refusal of step 4 means; `None`: the registry could not be asked, so try again.
    async fn settle(&mut self, rejection: Rejection, data: &UploadedData) -> Option<Settled> {
        let view = self.app.registry.read().await.ok()?;
        let image = view.image(self.lease.id).ok()?;
        Some(settled(
            rejection,
            image.as_deref(),
            self.lease.upload,
            data,
        ))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.app.data.live.lock().remove(&self.lease.upload);
    }
}

/// How the data is judged.
pub(crate) fn rules(image: &Image, config: &Config) -> Rules {
    let format = &config.image_format;
    Rules {
        disk_format: image.attributes.disk_format.clone().unwrap_or_default(),
        container_format: image
            .attributes
            .container_format
            .clone()
            .unwrap_or_default(),
        vmdk_allowed_types: format.vmdk_allowed_types.clone(),
        require_match: format.require_image_format_match,
        gpt_nonfatal: format.gpt_safety_checks_nonfatal.clone(),
    }
}
