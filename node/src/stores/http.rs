//! What the `http` driver fetches by: [`Outbound`], so that its URLs pass the same filter as imports.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use glimpse_store::{StoreError, http::Fetcher};

use crate::outbound::{FetchError, Follow, Outbound, shown};

/// See the module.
pub(super) struct Fetched(pub(super) Arc<Outbound>);

#[async_trait]
impl Fetcher for Fetched {
    async fn size(&self, url: &str) -> Result<u64, StoreError> {
        let size = self.0.size(url, Follow::Found).await;
        size.map_err(|error| told(url, error))
    }

    async fn get(
        &self,
        url: &str,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, StoreError>>, StoreError> {
        let fetch = self
            .0
            .get(url, Some(range), Follow::Found, u64::MAX)
            .await
            .map_err(|error| told(url, error))?;
        let url = url.to_owned();
        let pieces = stream::try_unfold((fetch, url), |(mut fetch, url)| async move {
            match fetch.next().await {
                Ok(bytes) => Ok(bytes.map(|bytes| (bytes, (fetch, url)))),
                Err(error) => Err(told(&url, error)),
            }
        });
        Ok(pieces.boxed())
    }
}

/// What a failed fetch means to who reads a store. The cause goes to the log.
fn told(url: &str, error: FetchError) -> StoreError {
    tracing::debug!(url = shown(url), cause = error.cause(), "fetching failed");
    match error {
        FetchError::Status(404 | 410) => StoreError::NotFound,
        FetchError::Status(401 | 403) => StoreError::Denied(error.to_string()),
        FetchError::Refused(_) => StoreError::BadLocation,
        // 416: it ends before the range does.
        FetchError::Status(416) | FetchError::BadAnswer(_) | FetchError::TooLarge(_) => {
            StoreError::Damaged(error.to_string())
        }
        FetchError::Unreachable(_)
        | FetchError::Status(_)
        | FetchError::Redirects
        | FetchError::Cut(_)
        | FetchError::Slow => StoreError::Unavailable(error.to_string()),
    }
}
