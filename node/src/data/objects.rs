//! Objects of a store by the key they were put under. A key is an image id, and an image has at most
//! one object in a store, so a key names what an upload may have left behind.

use std::collections::BTreeSet;

use futures_util::StreamExt;
use glimpse_store::{Store, StoreError};

/// Removes every object put under one of `keys` and gives their number. One listing serves all keys.
/// Only for keys that nobody else writes or deletes meanwhile.
pub async fn remove_keys(store: &dyn Store, keys: &BTreeSet<String>) -> Result<u64, StoreError> {
    let mut found = Vec::new();
    let mut listing = store.list().await?;
    while let Some(object) = listing.next().await {
        let object = object?;
        if keys.contains(&object.key) {
            found.push(object.url);
        }
    }
    let mut removed = 0;
    for url in found {
        if remove(store, &url).await? {
            removed += 1;
        }
    }
    Ok(removed)
}

/// Removes one object; says whether there was one.
pub async fn remove(store: &dyn Store, url: &str) -> Result<bool, StoreError> {
    match store.delete(url).await {
        Ok(()) => Ok(true),
        Err(StoreError::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}
