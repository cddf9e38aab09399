//! What is done to staged data before it goes to stores, in the order of `import.plugins` (image-api 3.4).
//!
//! A plugin that makes other data puts it beside the old, as a staged file of its own; the step that
//! records it comes between, so that a process that is killed does a plugin again on what it began with.

use std::sync::Arc;

use glimpse_cache::Manifest;
use glimpse_registry::{
    command::UploadedData,
    image::Image,
    task::{ImageChange, STAGING, Staged, Step, Task},
};
use glimpse_store::StoreError;
use http_body::Frame;
use http_body_util::StreamBody;

use super::{
    Failure, Job, convert,
    decompress::{self, Pieces},
    fill::Reserved,
    work::staged_key,
};
use crate::{
    data::{
        objects,
        pipeline::{self, Bounds, Broken},
    },
    format::Inspector,
};

/// What a plugin has made.
#[derive(Default)]
pub(super) struct Made {
    /// Other data.
    pub(super) data: Option<UploadedData>,
    /// What the image is told.
    pub(super) change: ImageChange,
}

impl Job {
    /// Runs the plugins that are left.
    pub(super) async fn plugins(
        &self,
        mut task: Task,
        mut staged: Staged,
    ) -> Result<(Task, Staged), Failure> {
        let plugins = &self.app.config.import.plugins;
        let done = usize::try_from(task.run.plugins).unwrap_or(usize::MAX);
        for (number, plugin) in plugins.iter().enumerate().skip(done) {
            let image = self.image()?;
            let made = match plugin.as_str() {
                "inject_image_metadata" => self.inject(&task),
                "image_decompression" => self.decompress(&image, &staged, number + 1).await?,
                "image_conversion" => self.convert(&image, &staged, number + 1).await?,
                // no_op: the configuration was checked.
                _ => Made::default(),
            };
            let next = made.data.map(|data| Staged {
                node: self.app.registry.node(),
                location: data.location,
                manifest: data.manifest,
            });
            let allowed = self.app.allowed(task.run.owner.as_deref()).await;
            let allowed = allowed.map_err(|cause| Broken::Fault(cause.to_string()))?;
            let step = Step::Staged {
                staged: next.clone(),
                plugins: u32::try_from(number + 1).unwrap_or(u32::MAX),
                change: made.change,
                quota: allowed.bytes,
            };
            task = self.step(step).await?;
            if let Some(next) = next {
                let old = std::mem::replace(&mut staged, next);
                let store = &self.app.staging.named.store;
                if let Err(error) = objects::remove(store.as_ref(), &old.location.url).await {
                    tracing::warn!(image.id = %self.image, %error, "staged data stays for now");
                }
            }
        }
        Ok((task, staged))
    }

    /// The configured properties.
    fn inject(&self, task: &Task) -> Made {
        let mut change = ImageChange::default();
        if task.made.plan.inject {
            change.properties = self.app.config.import.inject.pairs().collect();
        }
        Made { data: None, change }
    }

    async fn decompress(
        &self,
        image: &Image,
        staged: &Staged,
        number: usize,
    ) -> Result<Made, Failure> {
        if image.attributes.container_format.as_deref() == Some("compressed") {
            return Ok(Made::default());
        }
        let config = &self.app.config.import.decompression;
        let file = self.path(staged);
        let Some(pieces) = decompress::open(file, config.max_ratio).await? else {
            return Ok(Made::default());
        };
        let received = self.stage(number, None, pieces, Inspector::idle());
        let Ok(data) = tokio::time::timeout(config.timeout, received).await else {
            return Err(Failure::Failed(
                "The decompression took too long.".to_owned(),
            ));
        };
        Ok(Made {
            data: Some(data?),
            change: ImageChange::default(),
        })
    }

    async fn convert(
        &self,
        image: &Arc<Image>,
        staged: &Staged,
        number: usize,
    ) -> Result<Made, Failure> {
        let config = &self.app.config.import.conversion;
        let target = config.output_format.as_str();
        let Some(source) = self.source_format(image, staged).await? else {
            return Ok(Made::default());
        };
        if source == target {
            return Ok(Made::default());
        }
        let file = self.path(staged);
        let converted = convert::run(
            config,
            &self.app.config.image_format.vmdk_allowed_types,
            &self.app.staging,
            self.app.config.limits.image_size_cap,
            &file,
            &source,
        );
        let converted = tokio::select! {
            converted = converted => converted.map_err(Failure::Failed)?,
            () = self.lost.cancelled() => return Err(Failure::BrokenOff),
        };
        let change = ImageChange {
            disk_format: Some(target.to_owned()),
            container_format: Some("bare".to_owned()),
            ..ImageChange::default()
        };
        // Judged as what it is to be.
        let mut changed = Image::clone(image);
        changed
            .attributes
            .disk_format
            .clone_from(&change.disk_format);
        changed
            .attributes
            .container_format
            .clone_from(&change.container_format);
        let inspector = Inspector::new(crate::data::upload::rules(&changed, &self.app.config));
        let pieces = decompress::plain(converted.file.clone());
        let data = self
            .stage(number, Some(converted.size), pieces, inspector)
            .await;
        drop(converted);
        Ok(Made {
            data: Some(data?),
            change,
        })
    }

    /// What staged data is, if it can be converted: what was declared, which it must be. `None`: an ISO,
    /// which stays.
    async fn source_format(
        &self,
        image: &Image,
        staged: &Staged,
    ) -> Result<Option<String>, Failure> {
        let declared = image.attributes.disk_format.clone().unwrap_or_default();
        if declared == "iso" {
            return Ok(None);
        }
        let mut rules = crate::data::upload::rules(image, &self.app.config);
        "bare".clone_into(&mut rules.container_format);
        rules.require_match = true;
        let mut inspector = Inspector::new(rules);
        let refused = |error: crate::format::Refused| Failure::Failed(error.to_string());
        let mut pieces = decompress::plain(self.path(staged));
        while let Some(piece) = pieces.recv().await {
            let piece = piece.map_err(Failure::Failed)?;
            inspector.update(&piece).map_err(refused)?;
        }
        let found = inspector.finish().map_err(refused)?.format;
        match (declared.as_str(), found) {
            ("raw", "raw" | "gpt") => Ok(Some("raw".to_owned())),
            (declared, found) if declared == found => Ok(Some(declared.to_owned())),
            (declared, found) => Err(Failure::Failed(format!(
                "The image is {found}, not {declared} as declared, and is not converted."
            ))),
        }
    }

    /// Puts pieces into staging, under the name of the data past so many plugins.
    async fn stage(
        &self,
        plugins: usize,
        size: Option<u64>,
        mut pieces: Pieces,
        inspector: Inspector,
    ) -> Result<UploadedData, Failure> {
        let staging = &self.app.staging.named;
        let key = staged_key(self.image, plugins);
        objects::remove_key(staging, &key)
            .await
            .map_err(Broken::from)?;
        let config = &self.app.config;
        let mut writer = staging.store.put(&key, size).await.map_err(full)?;
        let bounds = Bounds {
            declared: size,
            cap: config.limits.image_size_cap,
            idle: config.limits.upload_idle_timeout,
            min_rate: 0,
            window: config.limits.upload_window,
            algorithm: config.api.hashing_algorithm,
        };
        let frames = futures_util::stream::poll_fn(move |context| {
            pieces
                .poll_recv(context)
                .map(|piece| piece.map(|piece| piece.map(Frame::data)))
        });
        let mut body = StreamBody::new(frames);
        let received = pipeline::receive(
            &mut body,
            writer.as_mut(),
            inspector,
            bounds,
            &Reserved,
            &self.lost,
        )
        .await;
        let received = match received {
            Ok(received) => received,
            Err(broken) => {
                if let Err(error) = writer.abort().await {
                    tracing::warn!(image.id = key, %error, "removing unfinished data failed");
                }
                return Err(match broken {
                    Broken::Cut { cause, .. } => Failure::Failed(cause),
                    Broken::Store(error) => full(error),
                    Broken::WrongSize { .. }
                    | Broken::TooLarge { .. }
                    | Broken::Refused(_)
                    | Broken::Idle(_)
                    | Broken::Registry(_)
                    | Broken::Lost
                    | Broken::Fault(_) => broken.into(),
                });
            }
        };
        let finished = objects::finish(&self.app, STAGING, writer, received).await;
        let (data, _): (UploadedData, Manifest) =
            finished.map_err(|unfinished| Failure::from(unfinished.broken))?;
        Ok(data)
    }

    /// Where staged data lies.
    fn path(&self, staged: &Staged) -> std::path::PathBuf {
        let url = &staged.location.url;
        let key = url.rsplit_once('/').map_or(url.as_str(), |(_, key)| key);
        self.app.staging.root.join(key)
    }
}

/// What a full staging is called.
fn full(error: StoreError) -> Failure {
    match matches!(error, StoreError::Full) {
        true => Failure::Failed("The staging area is full.".to_owned()),
        false => Broken::from(error).into(),
    }
}
