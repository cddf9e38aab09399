//! Where a missing chunk of an image comes from: its locations, the preferred stores first, then by
//! weight. One that fails, or whose bytes were refused, is followed by the next.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use futures_util::StreamExt;
use glimpse_cache::Source;
use glimpse_registry::image::Image;
use glimpse_store::{Store, StoreError};

use super::download::ChunkUse;
use crate::app::Stores;

/// The locations of one image in the order in which they are asked.
pub struct Locations {
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
        Self { list }
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
    locations: Arc<Locations>,
    offset: u64,
    chunks: Arc<ChunkUse>,
    /// Where the next read begins: past the one that answered last, since a second read of the same
    /// chunk means that its bytes were refused.
    next: AtomicUsize,
}

impl ChunkSource {
    /// The chunk that begins at `offset`.
    pub fn new(locations: Arc<Locations>, offset: u64, chunks: Arc<ChunkUse>) -> Self {
        Self {
            locations,
            offset,
            chunks,
            next: AtomicUsize::new(0),
        }
    }
}

impl Source for ChunkSource {
    async fn read(&self, len: u32) -> Result<Vec<Bytes>, String> {
        self.chunks.fill();
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
                    tracing::warn!(store = name, offset = self.offset, %error, "reading a chunk failed");
                    failure = format!("store {name}: {error}");
                }
            }
        }
        Err(failure)
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
