//! Hashes the data at locations that were added for it (image-api 1.6): images that carry
//! [`HASHING`] with this node's name.
//!
//! The work itself is the first read of data without a manifest (`data/rebuild.rs`), which a download
//! that comes meanwhile joins. What is here is to see it through: so many at once, each tried again so
//! often, and given up when its data is not what it was said to be.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use glimpse_registry::{
    image::{Image, ImageId},
    query::{Direction, Filter, ListQuery, MemberFilter, Scope, SortKey, VisibilityFilter},
};
use tokio::task::JoinSet;

use super::{Progress, StepError, Worker};
use crate::{
    app::App,
    data::{
        learn::{self, HASHING},
        manifests::ManifestError,
    },
};

/// How often it is looked for images that nobody told of: those of before a restart.
const INTERVAL: Duration = Duration::from_secs(60);

/// The worker.
pub struct Hashing {
    app: Arc<App>,
    running: JoinSet<(ImageId, Outcome)>,
    busy: BTreeSet<ImageId>,
    /// Failures of images that are tried again.
    failed: BTreeMap<ImageId, u32>,
}

/// What became of one try.
enum Outcome {
    Done,
    Failed,
}

impl Hashing {
    /// A worker that has done nothing yet.
    pub fn new(app: Arc<App>) -> Self {
        Self {
            app,
            running: JoinSet::new(),
            busy: BTreeSet::new(),
            failed: BTreeMap::new(),
        }
    }

    /// Images that wait, those that are being read included.
    fn waiting(&self) -> Result<Vec<Arc<Image>>, StepError> {
        let name = self.app.config.node.name.clone();
        let limit = self.app.config.locations.concurrency;
        let view = self.app.registry.read_local();
        let mut found = Vec::new();
        for hidden in [false, true] {
            found.extend(view.list(&ListQuery {
                scope: Scope::Admin { project: None },
                visibility: VisibilityFilter::All,
                member: MemberFilter::All,
                hidden,
                filters: vec![Filter::Property(HASHING.to_owned(), name.clone())],
                sort: vec![
                    (SortKey::CreatedAt, Direction::Ascending),
                    (SortKey::Id, Direction::Ascending),
                ],
                marker: None,
                limit,
                weight: usize::MAX,
            })?);
        }
        found.truncate(limit);
        Ok(found)
    }

    fn ended(&mut self, id: ImageId, outcome: &Outcome) {
        self.busy.remove(&id);
        match outcome {
            Outcome::Done => drop(self.failed.remove(&id)),
            Outcome::Failed => *self.failed.entry(id).or_default() += 1,
        }
    }
}

/// One try. A failure is followed by the pause within which no other one is made.
async fn hash(app: Arc<App>, image: Arc<Image>, last: bool) -> Outcome {
    let id = image.id;
    let Err(error) = app.data.manifests.of(&image, &app).await else {
        tracing::info!(image.id = %id, "hashed the data at a location");
        return Outcome::Done;
    };
    if last || matches!(error, ManifestError::Differs) {
        tracing::warn!(image.id = %id, %error, "the data at a location is not hashed");
        match learn::give_up(&app, &image).await {
            Ok(()) | Err(ManifestError::Lost) => return Outcome::Done,
            Err(error) => tracing::warn!(image.id = %id, %error, "giving a location up failed"),
        }
    }
    tokio::time::sleep(app.config.cache.manifest_rebuild_pause).await;
    Outcome::Failed
}

impl Worker for Hashing {
    const NAME: &'static str = "hashing";

    async fn step(&mut self) -> Result<Progress, StepError> {
        while let Some(ended) = self.running.try_join_next() {
            match ended {
                Ok((id, outcome)) => self.ended(id, &outcome),
                // It is found again by its record.
                Err(error) => tracing::error!(%error, "hashing a location died"),
            }
        }
        if self.running.is_empty() {
            self.busy.clear();
        }
        let retries = self.app.config.locations.http_retries;
        for image in self.waiting()? {
            if !self.busy.insert(image.id) {
                continue;
            }
            let failures = self.failed.get(&image.id).copied().unwrap_or_default();
            let (app, id) = (Arc::clone(&self.app), image.id);
            self.running
                .spawn(async move { (id, hash(app, image, failures >= retries).await) });
        }
        Ok(Progress::Idle)
    }

    async fn wait(&mut self) {
        let app = Arc::clone(&self.app);
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = app.data.hashing_wake.notified() => {}
            Some(ended) = self.running.join_next() => {
                if let Ok((id, outcome)) = ended {
                    self.ended(id, &outcome);
                }
            }
        }
    }

    async fn woken(&mut self) {
        self.app.data.hashing_wake.notified().await;
    }
}
