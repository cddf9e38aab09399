//! The reaper: removes data that no record names any more, so that nothing is left behind.
//!
//! Five things come to it, and one worker does all, so that nobody else removes what it looks at:
//!
//! - **Deleted data**: the registry's queue. A location that cannot be removed now is tried again
//!   with a growing pause; the queue is in the registry, so restarts lose nothing.
//! - **Dead uploads**: rows whose process is gone, or whose lease is over and whose task does not run
//!   in this process. A live owner could still renew its lease, so first the upload is condemned
//!   (from then on the registry neither renews nor finishes it), then the object that it may have
//!   left is removed, then the row; a crash between leaves the row, and the image is not free for a
//!   second upload before all is done.
//! - **Orphans**: objects under the id of an image that was deleted or has no data. They are removed
//!   only when seen twice with the grace between. What the registry never knew (another service's
//!   images, an operator's file) is not its to remove; nor is what a store found in its directory
//!   when it took it; nor is anything under the id of an image with data, whatever its locations
//!   say: stores are renamed and moved.
//! - **Leftovers** that an upload met under its key: orphans of an image that has no data, removed at
//!   once, since they keep every upload to it out.
//! - **Manifests** that no image names any more and that are older than the grace.
//!
//! Each of them, and each object and store, fails for itself: what cannot be done now keeps nothing
//! else waiting. Only a registry that gives no answer ends a part early.

mod decide;
mod manifests;
mod sweep;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use glimpse_registry::image::{ImageId, PendingDelete, Timestamp, UploadId};
use glimpse_store::StoreError;
use tokio::time::Instant;

use self::decide::{Fate, Removal, Upload};
use super::{Progress, StepError, Worker, backoff};
use crate::{app::App, config::ReaperConfig, data::objects, outbound::shown};

/// The worker.
pub struct Reaper {
    app: Arc<App>,
    config: ReaperConfig,
    /// Removals that failed, by queue position.
    failed: BTreeMap<u64, Failed>,
    /// Where the next pass through the queue begins: behind the last failure that is not remembered.
    resume: u64,
    /// Objects that look like orphans, by store and key, since when.
    suspects: BTreeMap<(String, String), Instant>,
    /// Where the next look at the manifests begins.
    manifests_after: Option<glimpse_cache::ManifestName>,
    /// When each store is to be searched again; those that are not in it: now.
    next_sweep: BTreeMap<String, Instant>,
    next_manifests: Instant,
}

/// An upload that will never finish.
struct DeadUpload {
    image_id: ImageId,
    upload: UploadId,
    /// As it was when it was found dead.
    lease_until: Timestamp,
    store: String,
    removal: Removal,
}

struct Failed {
    failures: u32,
    not_before: Instant,
}

impl Reaper {
    /// A reaper that has done nothing yet.
    pub fn new(app: Arc<App>, config: ReaperConfig) -> Self {
        Self {
            app,
            config,
            failed: BTreeMap::new(),
            resume: 0,
            suspects: BTreeMap::new(),
            manifests_after: None,
            next_sweep: BTreeMap::new(),
            next_manifests: Instant::now(),
        }
    }

    /// Resolves dead uploads.
    ///
    /// A lease ends by the time in the log, which only commands move: where nothing else happens, a
    /// command without effect lets the next step see that a lease is over.
    async fn uploads(&mut self) -> Result<(), StepError> {
        let (dead, overdue) = self.dead_uploads().await?;
        if overdue {
            self.app.registry.data_reaped(Vec::new()).await?;
        }
        let mut outcome = Ok(());
        for dead in dead {
            match self.resolve(&dead).await {
                Err(error @ StepError::Registry(_)) => return Err(error),
                result => outcome = outcome.and(result),
            }
        }
        outcome
    }

    /// Removes what a dead upload left, then its row.
    async fn resolve(&self, dead: &DeadUpload) -> Result<(), StepError> {
        let (id, upload, store) = (dead.image_id, dead.upload, &dead.store);
        let (registry, counters) = (&self.app.registry, &self.app.data.counters);
        match registry.condemn_upload(id, upload, dead.lease_until).await {
            Ok(()) => {}
            // It was renewed, or has ended by itself, since it was looked at.
            Err(glimpse_registry::Error::Rejected(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        match (dead.removal, self.app.place(store)) {
            (Removal::Row, _) => {}
            // Its bytes are out of reach; the image need not wait for them.
            (Removal::Object, None) => {
                tracing::warn!(image.id = %id, store, "a dead upload went to a store that is gone");
            }
            (Removal::Object, Some(named)) => {
                let removed = objects::remove_key(named, &id.to_string()).await;
                let removed = removed.map_err(|error| {
                    tracing::warn!(image.id = %id, store, %error, "a dead upload's data stays, and so does the upload");
                    StepError::store(store, error)
                })?;
                counters.objects_reaped.add(u64::from(removed));
            }
        }
        match registry.abort_upload(id, upload).await {
            Ok(()) | Err(glimpse_registry::Error::Rejected(_)) => {
                counters.uploads_reaped.add(1);
                tracing::info!(image.id = %id, store, "resolved a dead upload");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Which uploads are dead, and whether others are only for want of a command to move the time.
    async fn dead_uploads(&self) -> Result<(Vec<DeadUpload>, bool), StepError> {
        let local = self.app.registry.read_local();
        if local.uploads(None, 1)?.is_empty() {
            return Ok((Vec::new(), false));
        }
        drop(local);
        let me = self.node();
        let view = self.app.registry.read().await?;
        let (now, clock) = (view.time(), self.app.registry.clock());
        let mut overdue = false;
        let mut dead = Vec::new();
        let mut after = None;
        loop {
            let rows = view.uploads(after, self.config.batch)?;
            let Some(last) = rows.last() else {
                return Ok((dead, overdue));
            };
            after = Some(last.image_id);
            for row in rows {
                let image = match row.image_exists {
                    true => view.image(row.image_id)?,
                    false => None,
                };
                let upload = &row.upload;
                let live = self.app.data.is_live(upload.id);
                let fate = decide::upload(&Upload {
                    of_this_node: me == Some(upload.node),
                    of_this_process: upload.incarnation == self.app.registry.incarnation(),
                    live,
                    lease_over: now > upload.lease_until,
                    image_has_data: image.is_some_and(|image| !image.locations.is_empty()),
                });
                match fate {
                    Fate::Alive => overdue |= !live && clock > upload.lease_until,
                    Fate::Dead(removal) => dead.push(DeadUpload {
                        image_id: row.image_id,
                        upload: upload.id,
                        lease_until: upload.lease_until,
                        store: upload.store.clone(),
                        removal,
                    }),
                }
            }
        }
    }

    /// This node's raft id, where it leads; a follower leaves dead uploads to their leases.
    fn node(&self) -> Option<u64> {
        let status = self.app.registry.status();
        status.leads.then_some(status.leader)
    }

    /// Removes what uploads met under their keys. An upload of the reaper's own keeps everybody else
    /// from the key meanwhile, and is refused where the image has data or another upload.
    async fn leftovers(&mut self) -> Result<(), StepError> {
        let mut outcome = Ok(());
        let mut left = self.app.data.take_leftovers();
        while let Some((name, id)) = left.pop_first() {
            match self.leftover(&name, id).await {
                Err(error @ StepError::Registry(_)) => {
                    left.insert((name, id));
                    self.app.data.return_leftovers(left);
                    return Err(error);
                }
                result => outcome = outcome.and(result),
            }
        }
        outcome
    }

    async fn leftover(&self, name: &str, id: ImageId) -> Result<(), StepError> {
        let Some(named) = self.app.stores.get(name) else {
            return Ok(());
        };
        let upload = UploadId(rand::random());
        let registry = &self.app.registry;
        let begun = registry.begin_upload(id, upload, name.to_owned(), 0, None);
        match begun.await {
            Ok(_) => {}
            Err(glimpse_registry::Error::Rejected(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        // After an error the removal may still happen: then the upload stays until its lease is
        // over, and is resolved as any dead one.
        let removed = objects::remove_key(named, &id.to_string())
            .await
            .map_err(|error| StepError::store(name, error))?;
        if removed {
            self.app.data.counters.orphans_reaped.add(1);
            tracing::warn!(image.id = %id, store = name, "removed what kept an upload out");
        }
        match registry.abort_upload(id, upload).await {
            Ok(()) | Err(glimpse_registry::Error::Rejected(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Goes through the queue of deleted data once. Failures past what can be remembered have no
    /// pause of their own: after a batch of them the pass ends, and the next one begins behind
    /// them, so that what can be removed has its turn whatever cannot.
    async fn deletes(&mut self) -> Result<(), StepError> {
        let mut after = std::mem::take(&mut self.resume);
        let mut unremembered = 0;
        let mut done = Vec::new();
        // A store that cannot be reached is left alone for the rest of the pass.
        let mut down = BTreeSet::new();
        loop {
            let view = self.app.registry.read_local();
            let queue = view.pending_deletes(after, self.config.batch)?;
            drop(view);
            let Some(last) = queue.last() else {
                return self.reaped(&mut done).await;
            };
            after = last.sequence;
            for pending in &queue {
                let waiting = self
                    .failed
                    .get(&pending.sequence)
                    .is_some_and(|failed| failed.not_before > Instant::now());
                if waiting || down.contains(&pending.location.store) {
                    continue;
                }
                match self.remove(pending).await {
                    Ok(()) => done.push(pending.sequence),
                    Err(error) => {
                        if matches!(error, StoreError::Unavailable(_) | StoreError::Denied(_)) {
                            down.insert(pending.location.store.clone());
                        }
                        if self.put_off(pending, &error) {
                            continue;
                        }
                        self.resume = pending.sequence;
                        unremembered += 1;
                        if unremembered >= self.config.batch {
                            return self.reaped(&mut done).await;
                        }
                    }
                }
            }
            self.reaped(&mut done).await?;
        }
    }

    async fn remove(&self, pending: &PendingDelete) -> Result<(), StoreError> {
        let location = &pending.location;
        let named = self.app.place(&location.store).ok_or_else(|| {
            StoreError::Unavailable(format!("store {:?} is not configured", location.store))
        })?;
        match objects::remove(named.store.as_ref(), &location.url).await {
            Ok(removed) => {
                self.app
                    .data
                    .counters
                    .objects_reaped
                    .add(u64::from(removed));
                Ok(())
            }
            // A store that cannot remove (http): the data is not ours (image-api 7.3).
            Err(StoreError::Unsupported(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Remembers a failure, so that it is not tried again before a pause. `false`: there is no
    /// room for another.
    fn put_off(&mut self, pending: &PendingDelete, error: &StoreError) -> bool {
        let config = &self.config;
        let room = self.failed.len() < config.max_failures;
        if !room && !self.failed.contains_key(&pending.sequence) {
            tracing::debug!(image.id = %pending.image_id, %error, "deleted data could not be removed");
            return false;
        }
        let failed = self.failed.entry(pending.sequence).or_insert(Failed {
            failures: 0,
            not_before: Instant::now(),
        });
        let pause = backoff(failed.failures, config.first_backoff, config.max_backoff);
        failed.failures = failed.failures.saturating_add(1);
        failed.not_before = Instant::now() + pause;
        tracing::warn!(
            image.id = %pending.image_id,
            store = pending.location.store,
            url = shown(&pending.location.url),
            %error,
            again_in = ?pause,
            "deleted data could not be removed"
        );
        true
    }

    /// Tells the registry what is gone.
    async fn reaped(&mut self, done: &mut Vec<u64>) -> Result<(), StepError> {
        if done.is_empty() {
            return Ok(());
        }
        let sequences = std::mem::take(done);
        self.app.registry.data_reaped(sequences.clone()).await?;
        for sequence in sequences {
            self.failed.remove(&sequence);
        }
        Ok(())
    }
}

impl Worker for Reaper {
    const NAME: &'static str = "reaper";

    async fn step(&mut self) -> Result<Progress, StepError> {
        // Each part has its turn, whatever became of the one before.
        let results = [
            self.uploads().await,
            self.leftovers().await,
            self.deletes().await,
            self.sweep().await,
            self.sweep_manifests().await,
        ];
        results.into_iter().collect::<Result<(), _>>()?;
        Ok(Progress::Idle)
    }

    async fn wait(&mut self) {
        tokio::select! {
            () = tokio::time::sleep(self.config.interval) => {}
            () = self.woken() => {}
        }
    }

    async fn woken(&mut self) {
        self.app.data.reaper_wake.notified().await;
    }
}
