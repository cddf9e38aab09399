//! Decoded manifests in memory, so that a ranged read does not read and prove the manifest of its
//! image again: bounded in bytes (`[cache] manifest_memory`), the least recently used go first.

use std::{collections::HashMap, sync::Arc};

use glimpse_cache::{CHUNK_SIZE, ChunkName, Manifest, ManifestName, Manifests};
use glimpse_registry::image::ManifestRef;
use http::HeaderValue;
use parking_lot::Mutex;

use super::{hashes::hex, rebuild::Rebuilds};
use crate::config::CacheConfig;

/// About what a manifest takes beside the names of its chunks, bytes.
const OVERHEAD: u64 = 512;

/// A manifest, ready for answers.
#[derive(Debug)]
pub struct Known {
    /// The chunk names.
    pub manifest: Manifest,
    /// The strong entity tag of the data: the manifest's name.
    pub etag: HeaderValue,
}

/// Why there is no manifest.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ManifestError {
    /// No body is held under the name.
    #[error("the manifest of the image is not held here")]
    Missing,
    /// The record and the body disagree.
    #[error("the manifest does not describe the image")]
    Mismatch,
    /// Its body is not what its name says, or is nothing that can be read.
    #[error("the manifest of the image is damaged")]
    Damaged,
    /// It cannot be computed from the data again: no store gives data that agrees with the record.
    #[error("the manifest of the image is lost, and no store has the data that it is made from")]
    Lost,
    /// Every store gives data, and none of it is what the record says.
    #[error("the data at the image's locations is not the image's")]
    Differs,
    /// Too many manifests are being computed from the data.
    #[error("the manifest of the image is lost, and others are made anew first")]
    Busy,
    /// It cannot be read.
    #[error(transparent)]
    Cache(glimpse_cache::Error),
    /// The task that read it died.
    #[error("reading the manifest failed: {0}")]
    Task(String),
}

impl From<glimpse_cache::Error> for ManifestError {
    fn from(error: glimpse_cache::Error) -> Self {
        if error == glimpse_cache::Error::BadManifest {
            return Self::Damaged;
        }
        Self::Cache(error)
    }
}

/// The cache.
pub struct ManifestCache {
    inner: Mutex<Inner>,
    pub(super) rebuilds: Rebuilds,
}

struct Inner {
    entries: HashMap<[u8; 32], Entry>,
    /// Bytes, about; one manifest that is larger by itself is held all the same.
    bound: u64,
    bytes: u64,
    clock: u64,
}

struct Entry {
    known: Arc<Known>,
    used: u64,
}

impl ManifestCache {
    /// An empty one.
    pub fn new(config: &CacheConfig) -> Self {
        let inner = Inner {
            entries: HashMap::new(),
            bound: config.manifest_memory,
            bytes: 0,
            clock: 0,
        };
        Self {
            inner: Mutex::new(inner),
            rebuilds: Rebuilds::new(config),
        }
    }

    /// The manifest of the image, from memory or from its body, which is read off the async threads.
    pub async fn get(
        &self,
        reference: &ManifestRef,
        bodies: &Arc<Manifests>,
    ) -> Result<Arc<Known>, ManifestError> {
        if let Some(known) = self.in_memory(reference) {
            return known;
        }
        let name = ManifestName(reference.name);
        let bodies = Arc::clone(bodies);
        let manifest = tokio::task::spawn_blocking(move || bodies.get(name))
            .await
            .map_err(|error| ManifestError::Task(error.to_string()))??
            .ok_or(ManifestError::Missing)?;
        check(self.insert(name, manifest), reference)
    }

    /// The manifest of the image if it is in memory.
    pub(super) fn in_memory(
        &self,
        reference: &ManifestRef,
    ) -> Option<Result<Arc<Known>, ManifestError>> {
        let known = self.inner.lock().get(&reference.name)?;
        Some(check(known, reference))
    }

    /// Keeps a manifest that was just made or read.
    pub fn insert(&self, name: ManifestName, manifest: Manifest) -> Arc<Known> {
        let known = Arc::new(Known {
            etag: etag(name),
            manifest,
        });
        self.inner.lock().insert(name.0, Arc::clone(&known));
        known
    }
}

/// Never trusts one side alone: a body that proves its name but not the record is not served.
fn check(known: Arc<Known>, reference: &ManifestRef) -> Result<Arc<Known>, ManifestError> {
    if known.manifest.length() == reference.length && reference.chunk_size == CHUNK_SIZE {
        Ok(known)
    } else {
        Err(ManifestError::Mismatch)
    }
}

/// The strong entity tag of image data, quotes included.
fn etag(name: ManifestName) -> HeaderValue {
    let mut text = String::with_capacity(66);
    text.push('"');
    text.push_str(&hex(&name.0));
    text.push('"');
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("\"\""))
}

impl Inner {
    fn get(&mut self, name: &[u8; 32]) -> Option<Arc<Known>> {
        let entry = self.entries.get_mut(name)?;
        self.clock += 1;
        entry.used = self.clock;
        Some(Arc::clone(&entry.known))
    }

    fn insert(&mut self, name: [u8; 32], known: Arc<Known>) {
        let bytes = |known: &Known| {
            OVERHEAD + u64::from(known.manifest.chunk_count()) * size_of::<ChunkName>() as u64
        };
        self.clock += 1;
        let entry = Entry {
            used: self.clock,
            known,
        };
        self.bytes += bytes(&entry.known);
        if let Some(old) = self.entries.insert(name, entry) {
            self.bytes -= bytes(&old.known);
        }
        if self.bytes <= self.bound {
            return;
        }
        // Rare and over a bounded map: drop the older half by use, or as much as is needed.
        let mut by_use: Vec<_> = self
            .entries
            .iter()
            .map(|(name, e)| (e.used, *name))
            .collect();
        by_use.sort_unstable();
        let newest = by_use.len().saturating_sub(1);
        for (_, name) in by_use.iter().take(newest) {
            if self.bytes <= self.bound / 2 {
                break;
            }
            if let Some(old) = self.entries.remove(name) {
                self.bytes -= bytes(&old.known);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use glimpse_cache::ManifestBuilder;

    use super::*;

    #[test]
    fn the_memory_for_manifests_is_bounded_and_the_latest_is_always_held() {
        let config = CacheConfig {
            manifest_memory: 4000,
            ..CacheConfig::default()
        };
        let cache = ManifestCache::new(&config);
        let manifest = |chunks: u32| {
            let mut builder = ManifestBuilder::new();
            builder.update(&vec![1; (chunks * CHUNK_SIZE) as usize]);
            builder.finish()
        };
        for number in 0..100 {
            cache.insert(ManifestName([number; 32]), manifest(1));
            let mut inner = cache.inner.lock();
            assert!(inner.bytes <= 4000);
            assert!(inner.get(&[number; 32]).is_some());
        }
        let held = cache.inner.lock().entries.len();
        assert!((3..=7).contains(&held), "{held}");
        // One that is larger than the bound is alone.
        cache.insert(ManifestName([200; 32]), manifest(120));
        let inner = cache.inner.lock();
        let counted = OVERHEAD + 120 * 32;
        assert_eq!((inner.entries.len(), inner.bytes), (1, counted));
    }
}
