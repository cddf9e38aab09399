//! The reaper's search for orphans, and what the registry knows of an object.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::StreamExt;
use glimpse_registry::image::ImageId;
use tokio::time::Instant;

use super::{
    Reaper,
    decide::{self, Object, OrphanFate},
};
use crate::{app::NamedStore, data::objects, workers::StepError};

impl Reaper {
    /// Searches the stores whose turn it is, each for itself.
    pub(super) async fn sweep(&mut self) -> Result<(), StepError> {
        let mut outcome = Ok(());
        let app = Arc::clone(&self.app);
        for (name, named) in &app.stores.by_name {
            let due = self.next_sweep.get(name);
            if !named.store.capabilities().writable || due.is_some_and(|due| *due > Instant::now())
            {
                continue;
            }
            let result = self.sweep_store(named).await;
            let pause = match result {
                Ok(()) => self.config.sweep_interval,
                Err(_) => self.config.sweep_interval.min(self.config.max_backoff),
            };
            self.next_sweep.insert(name.clone(), Instant::now() + pause);
            outcome = outcome.and(result);
        }
        outcome
    }

    /// Removes what unfinished puts left in one store, those of earlier processes and those that
    /// failed to clean up after themselves; then its orphans.
    async fn sweep_store(&mut self, named: &NamedStore) -> Result<(), StepError> {
        let name = &named.name;
        let failed = |error| StepError::store(name, error);
        let removed = named.store.remove_unfinished().await.map_err(failed)?;
        if removed > 0 {
            tracing::info!(store = name, removed, "removed unfinished uploads");
        }
        let mut listing = named.store.list().await.map_err(failed)?;
        // What it knew before is forgotten only when the whole store has been seen.
        let others = self.suspects.keys().filter(|(store, _)| store != name);
        let room = self.config.max_suspects.saturating_sub(others.count());
        let mut suspects = BTreeMap::new();
        while let Some(object) = listing.next().await {
            let key = object.map_err(failed)?.key;
            let place = (name.clone(), key);
            let since = self.suspects.get(&place).copied();
            let seen = since.map(|since| since.elapsed());
            let about = self.object(&place.1)?;
            match decide::orphan(&about, seen, self.config.orphan_grace) {
                OrphanFate::Keep => {}
                OrphanFate::Suspect if suspects.len() >= room => {}
                OrphanFate::Suspect => {
                    suspects.insert(place, since.unwrap_or_else(Instant::now));
                }
                OrphanFate::Remove => {
                    // The second look asks the group, not only this node.
                    drop(self.app.registry.read().await?);
                    let about = self.object(&place.1)?;
                    let fate = decide::orphan(&about, seen, self.config.orphan_grace);
                    if fate != OrphanFate::Remove {
                        continue;
                    }
                    match objects::remove_key(named, &place.1).await {
                        Ok(true) => {
                            self.app.data.counters.orphans_reaped.add(1);
                            tracing::warn!(image.id = place.1, store = name, "removed an orphan");
                        }
                        Ok(false) => {}
                        Err(error) => {
                            tracing::warn!(image.id = place.1, store = name, %error, "an orphan stays");
                            suspects.extend(since.map(|since| (place, since)));
                        }
                    }
                }
            }
        }
        self.suspects.retain(|(store, _), _| store != name);
        self.suspects.extend(suspects);
        Ok(())
    }

    /// What the registry knows of an object.
    fn object(&self, key: &str) -> Result<Object, StepError> {
        let Ok(id) = key.parse::<ImageId>() else {
            return Ok(Object::Unknown);
        };
        let view = self.app.registry.read_local();
        let uploading = || {
            let before = ImageId((u128::from_be_bytes(id.0).wrapping_sub(1)).to_be_bytes());
            let after = (id.0 != [0; 16]).then_some(before);
            view.uploads(after, 1)
                .map(|rows| rows.first().is_some_and(|row| row.image_id == id))
        };
        Ok(match view.image(id)? {
            _ if uploading()? => Object::Uploading,
            // What it has put is not the image's yet.
            Some(image) if image.import.as_ref().is_some_and(|i| i.task.is_some()) => {
                Object::Uploading
            }
            // Any location: its store may have been renamed or moved since, and then the object is
            // the only copy under an old name.
            Some(image) if !image.locations.is_empty() => Object::OfData,
            Some(_) => Object::Leftover,
            None if view.id_taken(id)? => Object::Leftover,
            None => Object::Unknown,
        })
    }
}
