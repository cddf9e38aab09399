//! Objects of a store by the key they were put under. A key is an image id, and an image has at most
//! one object in a store, so a key names what an upload may have left behind.

use glimpse_store::{Store, StoreError};

/// Removes the object put under `key`; says whether there was one. Only for a key that nobody else
/// writes or deletes meanwhile.
pub async fn remove_key(store: &dyn Store, key: &str) -> Result<bool, StoreError> {
    let url = store.url(key)?;
    remove(store, &url).await
}

/// Removes one object; says whether there was one.
pub async fn remove(store: &dyn Store, url: &str) -> Result<bool, StoreError> {
    match store.delete(url).await {
        Ok(()) => Ok(true),
        Err(StoreError::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}
