//! Objects of a store by the key they were put under. A key is an image id, and an image has at most
//! one object in a store, so a key names what an upload may have left behind.

use glimpse_store::{Stat, Store, StoreError};

use crate::app::NamedStore;

/// Removes what was put under `key`; says whether there was something. Only for a key that nobody else
/// writes or deletes meanwhile. What the store found there when it took its place, and what is no
/// object at all, was not put and stays.
pub async fn remove_key(named: &NamedStore, key: &str) -> Result<bool, StoreError> {
    let store = named.store.as_ref();
    let url = store.url(key)?;
    match store.stat(&url).await {
        Ok(Stat { foreign: false, .. }) => remove(store, &url).await,
        Ok(Stat { foreign: true, .. }) | Err(StoreError::BadLocation) => {
            tracing::error!(
                store = named.name,
                url,
                "this was not put by an upload and stays, but no image of this id can be uploaded"
            );
            Ok(false)
        }
        Err(StoreError::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes one object; says whether there was one.
pub async fn remove(store: &dyn Store, url: &str) -> Result<bool, StoreError> {
    match store.delete(url).await {
        Ok(()) => Ok(true),
        Err(StoreError::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}
