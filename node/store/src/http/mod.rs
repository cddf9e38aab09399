//! The `http` driver: objects of other servers, by their URLs; read only (image-api 7.2, 7.3).
//!
//! How an object is fetched (which addresses may be reached, redirects, certificates, resumption) is the
//! caller's, through [`Fetcher`]: this crate knows no HTTP. What is left is what every driver owes: which
//! URLs are its own, and which calls it cannot do.

mod location;
#[cfg(test)]
mod tests;

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};

use crate::{Capabilities, Listed, Result, Stat, Store, StoreError, Write};

pub use location::is_location;

/// Fetches by URL.
#[async_trait]
pub trait Fetcher: Send + Sync + 'static {
    /// Bytes of the object; `NotFound`, or `BadLocation` for a URL that may not be fetched.
    async fn size(&self, url: &str) -> Result<u64>;
    /// Streams a range, which is not empty; errors in the stream when the object is shorter.
    async fn get(&self, url: &str, range: Range<u64>) -> Result<BoxStream<'static, Result<Bytes>>>;
}

/// Objects of other servers.
pub struct HttpStore(Arc<dyn Fetcher>);

impl HttpStore {
    /// Over a way to fetch.
    pub fn new(fetcher: Arc<dyn Fetcher>) -> Self {
        Self(fetcher)
    }
}

const READ_ONLY: StoreError = StoreError::Unsupported("it is read-only");

#[async_trait]
impl Store for HttpStore {
    fn kind(&self) -> &'static str {
        "http"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            writable: false,
            random_access: true,
            thin: false,
        }
    }

    fn url(&self, _: &str) -> Result<String> {
        Err(READ_ONLY)
    }

    async fn put(&self, _: &str, _: Option<u64>) -> Result<Box<dyn Write>> {
        Err(READ_ONLY)
    }

    async fn get(&self, url: &str, range: Range<u64>) -> Result<BoxStream<'static, Result<Bytes>>> {
        location::check(url)?;
        if range.is_empty() {
            return Ok(stream::empty().boxed());
        }
        self.0.get(url, range).await
    }

    async fn stat(&self, url: &str) -> Result<Stat> {
        location::check(url)?;
        let size = self.0.size(url).await?;
        // Nothing here was put by us.
        Ok(Stat {
            size,
            foreign: true,
        })
    }

    async fn delete(&self, url: &str) -> Result<()> {
        location::check(url)?;
        Err(READ_ONLY)
    }

    /// Nothing is ours to list.
    async fn list(&self) -> Result<BoxStream<'static, Result<Listed>>> {
        Ok(stream::empty().boxed())
    }

    async fn remove_unfinished(&self) -> Result<u64> {
        Ok(0)
    }
}
