//! The repositories that hold image data, behind one trait: put a stream, get a range, stat,
//! delete, list. One folder per driver with the same file names in each, one conformance suite.

pub mod buffer;
mod errors;
pub mod file;
pub mod http;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

pub use errors::{Result, StoreError};

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
    /// It was there before the store took the place: nothing that the store was given to put.
    pub foreign: bool,
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

/// A repository of image data.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The driver: `file`, `swift`, ...
    fn kind(&self) -> &'static str;
    /// What it can do.
    fn capabilities(&self) -> Capabilities;
    /// What an operator must mend before the store can be used; until then calls are
    /// `Unavailable`. The text is not for users: it may hold paths. Blocks as long as the disk does.
    fn problem(&self) -> Option<String> {
        None
    }
    /// The location URL that an object put under `key` has, whether there is one or not;
    /// `BadLocation` for what is no key.
    fn url(&self, key: &str) -> Result<String>;
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
    /// Appends. Data at an aligned address whose length is a multiple of
    /// [`buffer::DIRECT_ALIGNMENT`] may be written from where it lies.
    async fn write(&mut self, data: Bytes) -> Result<()>;
    /// Makes the object durable and visible. After an error other than `Exists`, or when this is
    /// dropped, the object may be visible all the same, whole, or become so: whoever holds the key
    /// removes it.
    async fn finish(self: Box<Self>) -> Result<Stored>;
    /// Removes what was written.
    async fn abort(self: Box<Self>) -> Result<()>;
}
