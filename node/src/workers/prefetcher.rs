//! The prefetcher: fetches the images that wait in the cache's queue (`PUT /v2/cache/{id}`), one after
//! the other, and writes down what is known of the cached ones now and then.
//!
//! Chunks come by the way of every download: from each location of the image until one gives the
//! right bytes, verified, shared with whoever reads them meanwhile. A step fetches a bounded number of
//! them. What fails is tried again behind the others; after `cache.prefetch_attempts` it is given up,
//! and the listing says why.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use glimpse_cache::{CHUNK_SIZE, ChunkName, ChunkRef, Turn};
use glimpse_registry::{
    image::{Image, ImageId},
    status::Status,
};
use tokio::time::Instant;

use super::{Progress, StepError, Worker};
use crate::{
    app::App,
    data::{
        manifests::Known,
        source::{ChunkSource, Locations},
    },
};

/// Chunks that one step fetches at most.
const FETCH_STEP: usize = 16;

/// Chunks that one step passes over at most because they are there or are zeros.
const LOOK_STEP: u32 = 64 << 10;

/// Chunks in flight. Few: downloads share `cache.max_fills` with them.
const AT_ONCE: usize = 2;

/// The worker.
pub struct Prefetcher {
    app: Arc<App>,
    job: Option<Job>,
    /// Of the image that is tried again and again.
    attempts: Vec<(ImageId, u32)>,
    next_save: Instant,
}

/// The image that is being fetched.
struct Job {
    image: Arc<Image>,
    known: Arc<Known>,
    locations: Arc<Locations>,
    /// The next chunk to look at.
    next: u32,
}

impl Prefetcher {
    /// One that has done nothing yet.
    pub fn new(app: Arc<App>) -> Self {
        let next_save = Instant::now() + app.config.cache.accounts_interval;
        Self {
            app,
            job: None,
            attempts: Vec::new(),
            next_save,
        }
    }

    /// Moves the first image of the queue on.
    async fn fetch(&mut self) -> Result<Progress, StepError> {
        let Some(id) = self.app.data.cached.next() else {
            self.job = None;
            self.attempts.clear();
            return Ok(Progress::Idle);
        };
        match self.advance(id).await? {
            Ok(false) => {}
            Ok(true) => {
                self.job = None;
                let now = self.app.registry.clock();
                self.app.data.cached.note_fetched(id, now);
                self.app.metrics.cache_prefetched_images.inc();
                tracing::info!(image.id = %id, "fetched into the cache");
                self.save().await?;
            }
            Err(cause) => {
                self.job = None;
                return self.failed(id, cause).await;
            }
        }
        Ok(Progress::Busy)
    }

    /// Fetches the next chunks of an image. `true`: that was all of it. The inner error is of this
    /// image alone.
    async fn advance(&mut self, id: ImageId) -> Result<Result<bool, Failed>, StepError> {
        // Looked up each time: it may be gone, or its data elsewhere.
        let view = self.app.registry.read().await?;
        let image = view.image(id)?;
        let Some(image) = image.filter(|image| image.status == Status::Active) else {
            return Ok(Err(Failed::Final(
                "the image is not active any more".into(),
            )));
        };
        let mut job = match self.job.take() {
            Some(job) if job.image.version == image.version => job,
            _ => match self.begin(image).await {
                Ok(job) => job,
                Err(failed) => return Ok(Err(failed)),
            },
        };
        let done = job.step(&self.app).await;
        self.job = Some(job);
        Ok(done)
    }

    async fn begin(&self, image: Arc<Image>) -> Result<Job, Failed> {
        let app = &self.app;
        let known = app.data.manifests.of(&image, app).await;
        let known = known.map_err(|error| Failed::ForNow(error.to_string()))?;
        let slots = app.cache.stats().slots;
        if known.manifest.names().len() as u64 > slots {
            let cause = "the image is larger than the cache (cache.size)";
            return Err(Failed::Final(cause.into()));
        }
        let locations = Arc::new(Locations::of(&image, &app.stores, &[]));
        Ok(Job {
            image,
            known,
            locations,
            next: 0,
        })
    }

    /// Gives the image up, or puts it behind the others.
    async fn failed(&mut self, id: ImageId, failed: Failed) -> Result<Progress, StepError> {
        let cached = &self.app.data.cached;
        let at = self.attempts.iter().position(|(image, _)| *image == id);
        let tried = 1 + at.map_or(0, |at| self.attempts.swap_remove(at).1);
        match failed {
            Failed::ForNow(cause) if tried < self.app.config.cache.prefetch_attempts => {
                // Bounded as the queue is: those that left it are swept out.
                let waiting = cached.queue();
                self.attempts.retain(|(image, _)| waiting.contains(image));
                self.attempts.push((id, tried));
                cached.requeue(id);
                Err(StepError::Prefetch { image: id, cause })
            }
            Failed::ForNow(cause) | Failed::Final(cause) => {
                tracing::warn!(image.id = %id, cause, "not fetched into the cache: given up");
                cached.note_failed(id, cause, self.app.registry.clock());
                self.app.metrics.cache_prefetch_failures.inc();
                self.save().await?;
                Ok(Progress::Busy)
            }
        }
    }

    async fn save(&mut self) -> Result<(), StepError> {
        self.next_save = Instant::now() + self.app.config.cache.accounts_interval;
        let app = Arc::clone(&self.app);
        let saved = tokio::task::spawn_blocking(move || app.data.cached.save()).await;
        let saved = saved.unwrap_or_else(|died| Err(died.to_string()));
        saved.map_err(StepError::CachedImages)
    }
}

/// Why an image is not fetched.
enum Failed {
    /// It may go well another time.
    ForNow(String),
    /// It will not.
    Final(String),
}

impl Job {
    async fn step(&mut self, app: &Arc<App>) -> Result<bool, Failed> {
        let manifest = &self.known.manifest;
        let end = manifest
            .chunk_count()
            .min(self.next.saturating_add(LOOK_STEP));
        let mut missing: Vec<(u32, ChunkName)> = Vec::new();
        while self.next < end && missing.len() < FETCH_STEP {
            if let ChunkRef::Data(name) = manifest.chunk(self.next)
                && app.cache.count_held(&[name]) == 0
            {
                missing.push((self.next, name));
            }
            self.next += 1;
        }
        let fetches = missing.into_iter().map(|(index, name)| {
            let offset = u64::from(index) * u64::from(CHUNK_SIZE);
            let source = ChunkSource::new(Arc::clone(app), Arc::clone(&self.locations), offset);
            let len = manifest.chunk_len(index);
            app.cache.chunk(name, len, Arc::new(source), Turn::Ahead)
        });
        let fetched = stream::iter(fetches)
            .buffer_unordered(AT_ONCE)
            .try_for_each(|_| std::future::ready(Ok(())));
        fetched
            .await
            .map_err(|error| Failed::ForNow(error.to_string()))?;
        Ok(self.next == manifest.chunk_count())
    }
}

impl Worker for Prefetcher {
    const NAME: &'static str = "prefetcher";

    async fn step(&mut self) -> Result<Progress, StepError> {
        if Instant::now() >= self.next_save {
            self.save().await?;
        }
        self.fetch().await
    }

    async fn wait(&mut self) {
        drop(tokio::time::timeout_at(self.next_save, self.woken()).await);
    }

    async fn woken(&mut self) {
        self.app.data.cached.wake.notified().await;
    }
}
