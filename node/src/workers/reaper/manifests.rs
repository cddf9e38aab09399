//! The reaper's search for manifest bodies that no image names any more.
//!
//! Images with the same data share one body, so none can go with its image. A sweep looks at a page
//! of the bodies, `max_suspects` of them, the next sweep at the next page. A body stays while an
//! image names it or it was put within the grace: an upload puts its manifest, anew if it is there
//! already, before the image names it. Should one go in error, it is made anew from the data.

use std::{collections::BTreeSet, sync::Arc};

use glimpse_cache::{ManifestName, Manifests};
use tokio::time::Instant;

use super::Reaper;
use crate::workers::StepError;

impl Reaper {
    /// Removes bodies that nothing names.
    pub(super) async fn sweep_manifests(&mut self) -> Result<(), StepError> {
        if self.next_manifests > Instant::now() {
            return Ok(());
        }
        self.next_manifests = Instant::now() + self.config.sweep_interval;
        let (after, most) = (self.manifests_after, self.config.max_suspects);
        let page = self
            .on_bodies(move |bodies| bodies.list(after, most))
            .await?;
        // Behind the last page is the first.
        let last = page.last().map(|(name, _)| *name);
        self.manifests_after = last.filter(|_| page.len() == most);
        let grace = self.config.orphan_grace;
        let mut unnamed: BTreeSet<ManifestName> = page
            .into_iter()
            .filter(|(_, age)| *age >= grace)
            .map(|(name, _)| name)
            .collect();
        // Asked after the listing: what it shows as old was named by then, if ever.
        let view = self.app.registry.read().await?;
        let mut row = Some(0);
        while let Some(from) = row
            && !unnamed.is_empty()
        {
            let (named, next) = view.manifests_from(from, self.config.batch)?;
            for manifest in named {
                unnamed.remove(&ManifestName(manifest.name));
            }
            row = next;
            tokio::task::yield_now().await;
        }
        drop(view);
        for name in unnamed {
            let removed = self
                .on_bodies(move |bodies| bodies.remove_older(name, grace))
                .await?;
            if removed {
                self.app.data.counters.manifests_reaped.add(1);
                tracing::info!(manifest = ?name, "removed a manifest that no image names");
            }
        }
        Ok(())
    }

    /// Does what blocks on the bodies.
    async fn on_bodies<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Manifests) -> Result<T, glimpse_cache::Error> + Send + 'static,
    ) -> Result<T, StepError> {
        let bodies = Arc::clone(&self.app.manifests);
        tokio::task::spawn_blocking(move || work(&bodies))
            .await
            .map_err(|error| StepError::Manifests(error.to_string()))?
            .map_err(|error| StepError::Manifests(error.to_string()))
    }
}
