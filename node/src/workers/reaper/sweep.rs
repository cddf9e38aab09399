//! The reaper's search for orphans, and what the registry knows of an object.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use glimpse_registry::image::ImageId;
use tokio::time::Instant;

use super::{
    Reaper,
    decide::{self, Object, OrphanFate},
};
use crate::{data::objects, workers::StepError};

impl Reaper {
    /// Searches every store for orphans.
    pub(super) async fn sweep(&mut self) -> Result<(), StepError> {
        let mut suspects = BTreeMap::new();
        for (name, named) in &self.app.stores.by_name {
            if !named.store.capabilities().writable {
                continue;
            }
            let failed = |error| StepError::store(name, error);
            let mut listing = named.store.list().await.map_err(failed)?;
            while let Some(object) = listing.next().await {
                let object = object.map_err(failed)?;
                let place = (name.clone(), object.url);
                let since = self.suspects.get(&place).copied();
                let seen = since.map(|since| since.elapsed());
                let about = self.object(&object.key)?;
                match decide::orphan(&about, seen, self.config.orphan_grace) {
                    OrphanFate::Keep => {}
                    OrphanFate::Suspect if suspects.len() >= self.config.max_suspects => {}
                    OrphanFate::Suspect => {
                        suspects.insert(place, since.unwrap_or_else(Instant::now));
                    }
                    OrphanFate::Remove => {
                        // The second look asks the group, not only this node.
                        drop(self.app.registry.read().await?);
                        let about = self.object(&object.key)?;
                        let fate = decide::orphan(&about, seen, self.config.orphan_grace);
                        if fate != OrphanFate::Remove {
                            continue;
                        }
                        match objects::remove(named.store.as_ref(), &place.1).await {
                            Ok(_) => {
                                self.app.data.counters.orphans_reaped.add(1);
                                tracing::warn!(
                                    image.id = object.key,
                                    store = name,
                                    "removed an orphan"
                                );
                            }
                            Err(error) => {
                                tracing::warn!(image.id = object.key, store = name, %error, "an orphan stays");
                                suspects.extend(since.map(|since| (place, since)));
                            }
                        }
                    }
                }
            }
        }
        self.suspects = suspects;
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
            // Any location: its store may have been renamed or moved since, and then the object is
            // the only copy under an old name.
            Some(image) if !image.locations.is_empty() => Object::OfData,
            Some(_) => Object::Leftover,
            None if view.id_taken(id)? => Object::Leftover,
            None => Object::Unknown,
        })
    }
}
