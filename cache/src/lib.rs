//! The cache: verified chunks of image data in memory-mapped slots under a hard bound.
//!
//! It knows bytes, names and digests; no image metadata, no HTTP, no Raft. A chunk is 1 MiB of
//! image data named by its BLAKE3; a manifest lists an image's chunks and is named by a BLAKE3 of
//! its own context, so that no chunk can pass for a manifest. Every chunk proves itself: it is
//! verified when it is filled and at the first read after a start.

use std::{future::Future, path::PathBuf, sync::Arc};

use bytes::Bytes;

/// Bytes of image data in one chunk (the last of an image may be shorter).
pub const CHUNK_SIZE: u32 = 1 << 20;

/// The name of a chunk: BLAKE3 of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ChunkName(pub [u8; 32]);

/// The name of a manifest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ManifestName(pub [u8; 32]);

/// What an image says of one of its chunks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChunkRef {
    /// All zeros: never stored.
    Zero,
    /// Anything else.
    Data(ChunkName),
}

/// The chunk names of one image, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {}

impl Manifest {
    /// Bytes of the image.
    pub fn length(&self) -> u64 {
        0
    }
    /// Chunks.
    pub fn chunk_count(&self) -> u32 {
        0
    }
    /// The chunk at `index`.
    pub fn chunk(&self, index: u32) -> ChunkRef {
        let _ = index;
        ChunkRef::Zero
    }
    /// Bytes of the chunk at `index`.
    pub fn chunk_len(&self, index: u32) -> u32 {
        let _ = index;
        0
    }
    /// The body, to be kept as a blob, and its name.
    pub fn encode(&self) -> (ManifestName, Vec<u8>) {
        (ManifestName([0; 32]), Vec::new())
    }
    /// Reads a body; refuses one that does not have the name or is not well formed.
    pub fn decode(name: ManifestName, body: &[u8]) -> Result<Self, Error> {
        let _ = (name, body);
        Ok(Self {})
    }
}

/// Computes a manifest from image data that arrives in pieces of any size.
#[derive(Default)]
pub struct ManifestBuilder {}

impl ManifestBuilder {
    /// Starts an empty image.
    pub fn new() -> Self {
        Self {}
    }
    /// Takes the next bytes.
    pub fn update(&mut self, data: &[u8]) {
        let _ = data;
    }
    /// Ends the image.
    pub fn finish(self) -> Manifest {
        Manifest {}
    }
}

/// Why the cache has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The source failed; the text is its error.
    #[error("fill failed: {0}")]
    Source(String),
    /// The source gave bytes that are not the chunk, every time it was asked.
    #[error("the source holds damaged data")]
    Damaged,
    /// The local disk failed.
    #[error("cache disk: {0}")]
    Disk(String),
    /// Bytes on disk or from outside that are no manifest of this name.
    #[error("not the manifest of this name")]
    BadManifest,
    /// Every slot is pinned by readers.
    #[error("every slot of the cache is in use")]
    Exhausted,
    /// The pool is of a format that this program does not know.
    #[error("cache format version {found} is unknown (this program knows {known})")]
    Format {
        /// On disk.
        found: u32,
        /// Known.
        known: u32,
    },
}

/// Settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of the pool.
    pub dir: PathBuf,
    /// Bytes of the disk tier; a hard bound.
    pub size: u64,
    /// Fills at once at most.
    pub max_fills: usize,
}

/// Where a fill reads from.
pub trait Source: Send + Sync + 'static {
    /// Reads exactly the `len` bytes of the chunk. A short answer is an error.
    fn read(&self, len: u32) -> impl Future<Output = Result<Vec<Bytes>, String>> + Send;
}

/// Counters, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Chunks found.
    pub hits: u64,
    /// Chunks filled.
    pub misses: u64,
    /// Readers that waited for another's fill.
    pub shared_fills: u64,
    /// Bytes filled.
    pub fill_bytes: u64,
    /// Slots whose bytes did not match their name; refilled.
    pub corrupt_slots: u64,
    /// Chunks from the source that did not match their name.
    pub corrupt_sources: u64,
    /// Slots reused.
    pub evictions: u64,
    /// Slots in use.
    pub used_slots: u64,
    /// Slots in all.
    pub slots: u64,
}

/// The cache of one node.
pub struct Cache {}

impl Cache {
    /// Opens or makes the pool. The index is read; no chunk is.
    pub fn open(config: Config) -> Result<Arc<Self>, Error> {
        let _ = config;
        Ok(Arc::new(Self {}))
    }
    /// The verified bytes of a chunk, as a slice of the mapping that pins its slot while it lives.
    /// Readers of one missing chunk share one fill, which survives its first caller.
    pub async fn chunk<S: Source>(
        self: &Arc<Self>,
        name: ChunkName,
        len: u32,
        source: Arc<S>,
    ) -> Result<Bytes, Error> {
        let _ = (name, len, source);
        std::future::pending().await
    }
    /// `len` zeros (at most [`CHUNK_SIZE`]) without allocation.
    pub fn zeros(len: usize) -> Bytes {
        let _ = len;
        Bytes::new()
    }
    /// Forgets a chunk (its slot is freed when the last reader is gone).
    pub fn forget(&self, name: ChunkName) {
        let _ = name;
    }
    /// Counters.
    pub fn stats(&self) -> Stats {
        Stats::default()
    }
    /// Writes the index durably, for an orderly stop.
    pub fn checkpoint(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Manifest bodies by name: durable files in a directory.
pub struct Manifests {}

impl Manifests {
    /// Opens or makes the directory.
    pub fn open(dir: PathBuf) -> Result<Self, Error> {
        let _ = dir;
        Ok(Self {})
    }
    /// Keeps a body; durable on return. Keeping it again is no error.
    pub fn put(&self, manifest: &Manifest) -> Result<ManifestName, Error> {
        let _ = manifest;
        Ok(ManifestName([0; 32]))
    }
    /// Reads a body and proves it; `None` when it is not held.
    pub fn get(&self, name: ManifestName) -> Result<Option<Manifest>, Error> {
        let _ = name;
        Ok(None)
    }
    /// Removes a body; a missing one is no error.
    pub fn remove(&self, name: ManifestName) -> Result<(), Error> {
        let _ = name;
        Ok(())
    }
}
