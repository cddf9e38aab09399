//! One store is filled: from staging, or from another store of the image.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use glimpse_registry::{
    command::UploadedData,
    image::{Image, ManifestRef},
    task::Staged,
};
use glimpse_store::{Store, StoreError};
use http_body::Frame;
use http_body_util::StreamBody;

use super::{Failure, Job};
use crate::{
    data::{
        objects,
        pipeline::{self, Bounds, Broken, Room},
        source::Locations,
        upload,
    },
    format::Inspector,
};

/// Where the data is read from.
pub(super) enum Origin {
    /// Staging.
    Staged(Arc<Image>, Staged),
    /// The stores that the image has it in.
    Image(Arc<Image>),
}

/// Nothing is reserved here: the task has done so.
pub(super) struct Reserved;

impl Room for Reserved {
    async fn reserve(&self, _total: u64) -> Result<(), Broken> {
        Ok(())
    }
}

/// A place to read from.
type Place = (Arc<dyn Store>, String);

impl Job {
    /// Puts the data into a store, durably, and says what it has now. It is not the image's yet.
    pub(super) async fn fill(&self, store: &str, origin: &Origin) -> Result<UploadedData, Failure> {
        let (places, size, expected) = match origin {
            Origin::Staged(_, staged) => {
                let place = (
                    Arc::clone(&self.app.staging.named.store),
                    staged.location.url.clone(),
                );
                (vec![place], staged.manifest.length, Some(staged.manifest))
            }
            Origin::Image(image) => {
                // The default store's copy first (image-api 3.1).
                let prefer = [self.app.stores.default.clone()];
                let locations = Locations::of(image, &self.app.stores, &prefer);
                let places = locations
                    .iter()
                    .map(|(_, store, url)| (Arc::clone(store), url.to_owned()))
                    .collect();
                (places, image.size.unwrap_or(0), image.manifest)
            }
        };
        let mut failure =
            Failure::Failed("no store that is configured here has the data".to_owned());
        for place in &places {
            let rules = match origin {
                Origin::Staged(image, _) => Inspector::new(upload::rules(image, &self.app.config)),
                // It was judged when it came.
                Origin::Image(_) => Inspector::idle(),
            };
            match self.copy(place, size, expected, store, rules).await {
                Ok(data) => return Ok(data),
                Err(broken) => failure = broken.into(),
            }
            if !matches!(failure, Failure::Failed(_)) {
                break;
            }
        }
        Err(failure)
    }

    async fn copy(
        &self,
        (source, url): &Place,
        size: u64,
        expected: Option<ManifestRef>,
        store: &str,
        inspector: Inspector,
    ) -> Result<UploadedData, Broken> {
        let named =
            self.app.stores.get(store).ok_or_else(|| {
                StoreError::Unavailable(format!("store {store:?} is not configured"))
            })?;
        let key = self.image.to_string();
        // What an attempt that was not recorded may have left.
        objects::remove_key(named, &key).await?;
        let stat = source.stat(url).await?;
        if stat.size != size {
            return Err(Broken::Fault(format!(
                "there are {} bytes where {size} should be",
                stat.size
            )));
        }
        let data = match size {
            0 => futures_util::stream::empty().boxed(),
            _ => source.get(url, 0..size).await?,
        };
        let mut writer = named.store.put(&key, Some(size)).await?;
        let mut body = pin!(StreamBody::new(self.counted(data)));
        let config = &self.app.config;
        let bounds = Bounds {
            declared: Some(size),
            cap: config.limits.image_size_cap.max(size),
            idle: config.limits.upload_idle_timeout,
            min_rate: 0,
            window: config.limits.upload_window,
            algorithm: config.api.hashing_algorithm,
        };
        let received = pipeline::receive(
            &mut body,
            writer.as_mut(),
            inspector,
            bounds,
            &Reserved,
            &self.lost,
        )
        .await;
        let received = received.and_then(|received| {
            let found = received.digests.manifest.encode().0;
            match expected {
                Some(expected) if expected.name != found.0 => {
                    Err(Broken::Fault("the data is not what it was".to_owned()))
                }
                Some(_) | None => Ok(received),
            }
        });
        let received = match received {
            Ok(received) => received,
            Err(broken) => {
                if let Err(error) = writer.abort().await {
                    tracing::warn!(image.id = key, store, %error, "removing unfinished data failed");
                }
                return Err(broken);
            }
        };
        objects::finish(&self.app, store, writer, received)
            .await
            .map(|(data, _)| data)
            .map_err(|unfinished| unfinished.broken)
    }

    /// The frames of a body, counted as they pass.
    fn counted(
        &self,
        data: impl Stream<Item = Result<Bytes, StoreError>>,
    ) -> impl Stream<Item = Result<Frame<Bytes>, StoreError>> {
        data.map(|piece| {
            piece.map(|bytes| {
                self.moved.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                Frame::data(bytes)
            })
        })
    }
}
