//! Where a missing chunk of an image comes from: its locations, the preferred stores first, then by
//! weight. One that fails, or whose bytes were refused, is followed by the next.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use futures_util::StreamExt;
use glimpse_cache::{Damage, Source};
use glimpse_registry::image::{Image, ImageId};
use glimpse_store::{Store, StoreError};

use crate::{
    app::{App, Stores},
    outbound::shown,
};

/// The locations of one image in the order in which they are asked.
pub struct Locations {
    image: ImageId,
    list: Vec<(String, Arc<dyn Store>, String)>,
}

impl Locations {
    /// Orders them; locations in stores that are not configured here are left out.
    pub fn of(image: &Image, stores: &Stores, prefer: &[String]) -> Self {
        let mut list: Vec<_> = image
            .locations
            .iter()
            .filter_map(|location| Some((location, stores.get(&location.store)?)))
            .collect();
        // Stable: equal ones stay in the order of the record.
        list.sort_by_key(|(location, store)| {
            let preferred = prefer.iter().position(|name| *name == location.store);
            (
                preferred.unwrap_or(usize::MAX),
                std::cmp::Reverse(store.weight),
            )
        });
        let list = list
            .into_iter()
            .map(|(location, named)| {
                (
                    named.name.clone(),
                    Arc::clone(&named.store),
                    location.url.clone(),
                )
            })
            .collect();
        Self {
            image: image.id,
            list,
        }
    }

    /// The image.
    pub fn image(&self) -> ImageId {
        self.image
    }

    /// Each one: the store's name, the store, the URL.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<dyn Store>, &str)> {
        self.list
            .iter()
            .map(|(name, store, url)| (name.as_str(), store, url.as_str()))
    }

    /// Whether no store that is configured here has the data.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// One chunk at its offset.
pub struct ChunkSource {
    app: Arc<App>,
    locations: Arc<Locations>,
    offset: u64,
    /// Where the next read begins: past the one that answered last, since a second read of the same
    /// chunk means that its bytes were refused.
    next: AtomicUsize,
}

impl ChunkSource {
    /// The chunk that begins at `offset`.
    pub fn new(app: Arc<App>, locations: Arc<Locations>, offset: u64) -> Self {
        Self {
            app,
            locations,
            offset,
            next: AtomicUsize::new(0),
        }
    }

    fn to_say(&self, what: &'static str) -> bool {
        self.app.data.said.first(self.locations.image, what)
    }
}

impl Source for ChunkSource {
    async fn read(&self, len: u32) -> Result<Vec<Bytes>, String> {
        let list = &self.locations.list;
        let first = self.next.load(Ordering::Relaxed);
        let mut failure = "no configured store holds the image".to_owned();
        for step in 0..list.len() {
            let index = first.wrapping_add(step);
            let Some((name, store, url)) = list.get(index % list.len()) else {
                break;
            };
            match read(store.as_ref(), url, self.offset, len).await {
                Ok(bytes) => {
                    self.next.store(index.wrapping_add(1), Ordering::Relaxed);
                    return Ok(bytes);
                }
                Err(error) => {
                    if self.to_say("reading failed") {
                        tracing::warn!(
                            image.id = %self.locations.image,
                            offset = self.offset,
                            store = name,
                            location = shown(url),
                            %error,
                            "reading a chunk failed"
                        );
                    }
                    failure = format!("store {name}: {error}");
                }
            }
        }
        Err(failure)
    }

    fn damaged(&self, damage: Damage) {
        let image = self.locations.image;
        match damage {
            Damage::Slot { segment, slot } if self.to_say("damaged slot") => tracing::warn!(
                image.id = %image,
                offset = self.offset,
                segment,
                slot,
                "a cached chunk was damaged on disk; it is filled again"
            ),
            Damage::Source if self.to_say("damaged source") => {
                let list = &self.locations.list;
                let last = self.next.load(Ordering::Relaxed).wrapping_sub(1);
                let from = list.get(last.checked_rem(list.len()).unwrap_or(0));
                tracing::error!(
                    image.id = %image,
                    offset = self.offset,
                    store = from.map(|(name, _, _)| name),
                    location = from.map(|(_, _, url)| shown(url)),
                    "a store gave damaged data"
                );
            }
            Damage::Slot { .. } | Damage::Source => {}
        }
    }
}

async fn read(
    store: &dyn Store,
    url: &str,
    offset: u64,
    len: u32,
) -> Result<Vec<Bytes>, StoreError> {
    let mut stream = store.get(url, offset..offset + u64::from(len)).await?;
    let mut parts = Vec::new();
    let mut total = 0u64;
    while let Some(part) = stream.next().await {
        let part = part?;
        total += part.len() as u64;
        if total > u64::from(len) {
            break;
        }
        parts.push(part);
    }
    if total == u64::from(len) {
        Ok(parts)
    } else {
        Err(StoreError::Damaged(format!(
            "{total} bytes instead of {len} at offset {offset}"
        )))
    }
}
