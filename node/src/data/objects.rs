//! Objects of a store by the key they were put under. A key is an image id, and an image has at most
//! one object in a store, so a key names what an upload may have left behind.

use std::sync::Arc;

use glimpse_cache::{CHUNK_SIZE, Manifest};
use glimpse_registry::{
    command::UploadedData,
    image::{Location, ManifestRef},
};
use glimpse_store::{Stat, Store, StoreError, Stored, Write};

use super::pipeline::{Broken, Received};
use crate::app::{App, NamedStore};

/// Data could not be finished.
pub struct Unfinished {
    /// Why.
    pub broken: Broken,
    /// What may be in the store.
    pub left: Left,
}

/// What a failed finish leaves in the store.
pub enum Left {
    /// Nothing of ours.
    Nothing,
    /// Perhaps an object under the key.
    Perhaps,
    /// This object.
    Object(String),
}

/// Makes the object and its manifest durable, side by side; from then on the object is visible in its
/// store.
pub async fn finish(
    app: &App,
    store: &str,
    writer: Box<dyn Write>,
    received: Received,
) -> Result<(UploadedData, Manifest), Unfinished> {
    let Received {
        size,
        verdict,
        digests,
    } = received;
    let manifests = Arc::clone(&app.manifests);
    let manifest = digests.manifest;
    let keep = tokio::task::spawn_blocking(move || {
        let name = manifests.put(&manifest)?;
        Ok::<_, glimpse_cache::Error>((name, manifest))
    });
    let (stored, kept) = tokio::join!(writer.finish(), keep);
    let kept = match kept {
        Ok(Ok(kept)) => Ok(kept),
        Ok(Err(error)) => Err(not_kept(error)),
        Err(error) => Err(Broken::Fault(format!("keeping the manifest: {error}"))),
    };
    let Stored { url, size: written } = stored.map_err(|error| Unfinished {
        // Another's object; or one that may have become visible all the same.
        left: match matches!(error, StoreError::Exists) {
            true => Left::Nothing,
            false => Left::Perhaps,
        },
        broken: error.into(),
    })?;
    let kept = kept.and_then(|kept| match written == size {
        true => Ok(kept),
        false => Err(Broken::Fault(format!(
            "the store kept {written} bytes of {size}"
        ))),
    });
    let (name, manifest) = match kept {
        Ok(kept) => kept,
        Err(broken) => {
            let left = Left::Object(url);
            return Err(Unfinished { broken, left });
        }
    };
    let data = UploadedData {
        size,
        // Of empty data it stays null, as in the reference.
        virtual_size: verdict.virtual_size.filter(|bytes| *bytes > 0),
        checksum: digests.md5,
        os_hash_algo: app.config.api.hashing_algorithm.as_str().to_owned(),
        os_hash_value: digests.hash,
        manifest: ManifestRef {
            name: name.0,
            length: size,
            chunk_size: CHUNK_SIZE,
        },
        location: Location {
            url,
            store: store.to_owned(),
            metadata: [("store".to_owned(), store.to_owned())].into(),
        },
    };
    Ok((data, manifest))
}

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

/// What a disk that refuses the manifest means to the client: the same as if it refused the data.
fn not_kept(error: glimpse_cache::Error) -> Broken {
    use glimpse_cache::Error;
    tracing::error!(%error, "a manifest could not be kept");
    let what = || "its manifests cannot be written".to_owned();
    Broken::Store(match error {
        Error::Full(_) => StoreError::Full,
        Error::Denied(_) => StoreError::Denied(what()),
        Error::Source(_)
        | Error::Damaged
        | Error::Disk(_)
        | Error::NoRoom
        | Error::BadManifest
        | Error::Format { .. } => StoreError::Unavailable(what()),
    })
}

#[cfg(test)]
mod tests {
    use glimpse_cache::Error;

    use super::*;
    use crate::api::error::ApiError;

    #[test]
    fn a_manifest_that_is_not_kept_has_the_status_of_data_that_is_not_and_says_nothing_of_paths() {
        let text = || "manifest: /data".to_owned();
        for (error, status) in [
            (Error::Full(text()), 413),
            (Error::Denied(text()), 503),
            (Error::Disk(text()), 503),
        ] {
            let answer = ApiError::from(not_kept(error));
            assert_eq!(answer.status.as_u16(), status);
            assert!(!answer.message.contains("/data"), "{}", answer.message);
        }
    }
}
