//! The repositories that hold image data, behind one trait: put a stream, get a range, stat,
//! delete, list. One folder per driver with the same file names in each, one conformance suite.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

/// What a driver can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Takes uploads.
    pub writable: bool,
    /// Reads at an offset.
    pub random_access: bool,
    /// Leaves holes for runs of zeros.
    pub thin: bool,
}

/// What is known of a stored object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Bytes.
    pub size: u64,
}

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The key it was put under; empty for the driver's own temporary objects.
    pub key: String,
    /// Its location URL.
    pub url: String,
    /// Bytes.
    pub size: u64,
}

/// What a finished write left in the store; durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The location URL (image-api 7.3).
    pub url: String,
    /// Bytes.
    pub size: u64,
}

/// Why a store call failed, shaped by what the caller will do. Messages hold no secret.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such object: 404 or 204.
    #[error("the store has no such object")]
    NotFound,
    /// An object with this key exists: 409.
    #[error("the store already holds an object with this key")]
    Exists,
    /// No room: 413.
    #[error("the store is full")]
    Full,
    /// Writing is denied: 503.
    #[error("the store denies access: {0}")]
    Denied(String),
    /// Cannot be reached or does not answer: 503, may be retried.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The driver cannot do this (write to http, read at an offset): 410 or 400.
    #[error("the store cannot do this: {0}")]
    Unsupported(&'static str),
    /// In use by others (clones): 409.
    #[error("the data is in use")]
    InUse,
    /// The location URL is not of this driver's form, or leaves its root: 400.
    #[error("not a location of this store")]
    BadLocation,
    /// The object ended before the range did, or is not what the record says: never served.
    #[error("the stored object is damaged: {0}")]
    Damaged(String),
}

/// Shorthand.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// A repository of image data.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The driver: `file`, `swift`, ...
    fn kind(&self) -> &'static str;
    /// What it can do.
    fn capabilities(&self) -> Capabilities;
    /// Starts writing an object under `key` (an image id). `size` is the declared size, if known.
    /// Nothing is visible under the key before [`Write::finish`].
    async fn put(&self, key: &str, size: Option<u64>) -> Result<Box<dyn Write>>;
    /// Streams `range` of the object; errors in the stream when the object is shorter.
    async fn get(&self, url: &str, range: Range<u64>) -> Result<BoxStream<'static, Result<Bytes>>>;
    /// What is known of the object.
    async fn stat(&self, url: &str) -> Result<Stat>;
    /// Removes the object; a missing one is `NotFound`.
    async fn delete(&self, url: &str) -> Result<()>;
    /// Everything in the store, temporary objects included: for auditor and reaper.
    async fn list(&self) -> Result<BoxStream<'static, Result<Listed>>>;
    /// Removes what an unfinished [`Store::put`] of an earlier process left behind.
    async fn remove_unfinished(&self) -> Result<u64>;
}

/// An object being written. Dropping it without `finish` removes what was written.
#[async_trait]
pub trait Write: Send {
    /// Appends.
    async fn write(&mut self, data: Bytes) -> Result<()>;
    /// Makes the object durable and visible.
    async fn finish(self: Box<Self>) -> Result<Stored>;
    /// Removes what was written.
    async fn abort(self: Box<Self>) -> Result<()>;
}
