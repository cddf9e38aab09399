//! Decoded manifests in memory, so that a ranged read does not read and prove the manifest of its
//! image again: bounded by the chunks they list, the least recently used go first.

use std::{collections::HashMap, sync::Arc};

use glimpse_cache::{CHUNK_SIZE, Manifest, ManifestName, Manifests};
use glimpse_registry::image::ManifestRef;
use http::HeaderValue;
use parking_lot::Mutex;

use super::hashes::hex;

/// Chunks listed by all manifests in the cache at most: about 64 MiB of names, 2 TiB of images.
const MAX_CHUNKS: u64 = 2 << 20;

/// Manifests in the cache at most, however short.
const MAX_MANIFESTS: usize = 64 << 10;

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
    /// It cannot be read or proved.
    #[error(transparent)]
    Cache(#[from] glimpse_cache::Error),
    /// The task that read it died.
    #[error("reading the manifest failed: {0}")]
    Task(String),
}

/// The cache.
#[derive(Default)]
pub struct ManifestCache {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<[u8; 32], Entry>,
    chunks: u64,
    clock: u64,
}

struct Entry {
    known: Arc<Known>,
    used: u64,
}

impl ManifestCache {
    /// The manifest of the image, from memory or from its body, which is read off the async threads.
    pub async fn get(
        &self,
        reference: &ManifestRef,
        bodies: &Arc<Manifests>,
    ) -> Result<Arc<Known>, ManifestError> {
        if let Some(known) = self.inner.lock().get(&reference.name) {
            return check(known, reference);
        }
        let name = ManifestName(reference.name);
        let bodies = Arc::clone(bodies);
        let manifest = tokio::task::spawn_blocking(move || bodies.get(name))
            .await
            .map_err(|error| ManifestError::Task(error.to_string()))??
            .ok_or(ManifestError::Missing)?;
        check(self.insert(name, manifest), reference)
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
        let chunks = |known: &Known| u64::from(known.manifest.chunk_count());
        self.clock += 1;
        let entry = Entry {
            used: self.clock,
            known,
        };
        self.chunks += chunks(&entry.known);
        if let Some(old) = self.entries.insert(name, entry) {
            self.chunks -= chunks(&old.known);
        }
        if self.chunks <= MAX_CHUNKS && self.entries.len() <= MAX_MANIFESTS {
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
            if self.chunks <= MAX_CHUNKS / 2 && self.entries.len() <= MAX_MANIFESTS / 2 {
                break;
            }
            if let Some(old) = self.entries.remove(name) {
                self.chunks -= chunks(&old.known);
            }
        }
    }
}
