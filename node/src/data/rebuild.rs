//! A manifest that is not held is computed from the data: one that was lost or damaged, and the first one
//! of data that came without (a location that was added), which `learn.rs` then records.
//!
//! What a store holds is believed only if all agrees with the record: the length, the MD5, the
//! configured hash, and the name of the manifest that comes out, which by itself already proves
//! every chunk. One pass over the data serves all who wait for the manifest, and goes on when they
//! leave. So many passes run at once, so many wait, and one that failed is not tried again at once
//! (`[cache] manifest_rebuilds`, `manifest_rebuild_queue`, `manifest_rebuild_pause`).

use std::{collections::HashMap, sync::Arc};

use futures_util::StreamExt;
use glimpse_cache::Manifest;
use glimpse_registry::image::{Image, ImageId, ManifestRef};
use glimpse_store::Store;
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

use super::{
    hashes::{Algorithm, Digests, Hashers},
    learn,
    manifests::{Known, ManifestCache, ManifestError},
    source::Locations,
};
use crate::{app::App, config::CacheConfig, outbound::shown};

/// How often a long pass says how far it is.
const SAY_EVERY: std::time::Duration = std::time::Duration::from_secs(5);

type Outcome = Option<Result<Arc<Known>, ManifestError>>;

/// What a pass makes (`None`: it is not known yet), and from whose data: equal images share a manifest,
/// and one of them may have lost its object.
type Key = (Option<[u8; 32]>, ImageId);

/// Passes over data that run, wait, or failed lately.
pub(super) struct Rebuilds {
    permits: Semaphore,
    /// Of passes over data that came without a manifest: most of it is far away and slow.
    learning: Semaphore,
    table: Mutex<HashMap<Key, Rebuild>>,
}

struct Rebuild {
    outcome: watch::Receiver<Outcome>,
    /// When it failed.
    failed: Option<Instant>,
}

impl Rebuilds {
    pub(super) fn new(config: &CacheConfig) -> Self {
        let permits = |count: usize| Semaphore::new(count.min(Semaphore::MAX_PERMITS));
        Self {
            permits: permits(config.manifest_rebuilds),
            learning: permits(config.manifest_learns),
            table: Mutex::default(),
        }
    }

    /// Joins the pass for this manifest, or begins it.
    fn join(
        &self,
        app: &Arc<App>,
        image: &Arc<Image>,
        reference: Option<ManifestRef>,
    ) -> Result<watch::Receiver<Outcome>, ManifestError> {
        let CacheConfig {
            manifest_rebuild_queue: most,
            manifest_rebuild_pause: pause,
            ..
        } = app.config.cache;
        let key = (reference.map(|reference| reference.name), image.id);
        let mut table = self.table.lock();
        let rests = |failed: Instant| failed.elapsed() < pause;
        if let Some(rebuild) = table.get(&key)
            && rebuild.failed.is_none_or(rests)
        {
            return Ok(rebuild.outcome.clone());
        }
        table.retain(|_, rebuild| rebuild.failed.is_none_or(rests));
        if table.len() >= most {
            // Failures are remembered as far as there is room.
            table.retain(|_, rebuild| rebuild.failed.is_none());
            if table.len() >= most {
                return Err(ManifestError::Busy);
            }
        }
        let (sender, outcome) = watch::channel(None);
        let rebuild = Rebuild {
            outcome: outcome.clone(),
            failed: None,
        };
        table.insert(key, rebuild);
        let (app, image) = (Arc::clone(app), Arc::clone(image));
        tokio::spawn(async move {
            // Ended as a failure even if the pass panics.
            let done = Done { app: &app, key };
            let result = rebuild_from_data(&app, &image, reference).await;
            if result.is_ok() {
                done.forget();
            }
            drop(sender.send(Some(result)));
        });
        Ok(outcome)
    }
}

/// Marks a pass as failed when dropped.
struct Done<'a> {
    app: &'a App,
    key: Key,
}

impl Done<'_> {
    fn forget(&self) {
        let rebuilds = &self.app.data.manifests.rebuilds;
        rebuilds.table.lock().remove(&self.key);
    }
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        let rebuilds = &self.app.data.manifests.rebuilds;
        if let Some(rebuild) = rebuilds.table.lock().get_mut(&self.key) {
            rebuild.failed = Some(Instant::now());
        }
    }
}

impl ManifestCache {
    /// The manifest of the image: from memory, from its body, or else computed from the data.
    pub async fn of(
        &self,
        image: &Arc<Image>,
        app: &Arc<App>,
    ) -> Result<Arc<Known>, ManifestError> {
        if let Some(reference) = &image.manifest {
            match self.get(reference, &app.manifests).await {
                Err(ManifestError::Missing | ManifestError::Damaged) => {}
                other => return other,
            }
        }
        let mut outcome = self.rebuilds.join(app, image, image.manifest)?;
        let ended = outcome.wait_for(Option::is_some).await;
        match ended.as_deref() {
            Ok(Some(result)) => result.clone(),
            Ok(None) | Err(_) => Err(ManifestError::Task("the pass over the data died".into())),
        }
    }
}

async fn rebuild_from_data(
    app: &App,
    image: &Image,
    reference: Option<ManifestRef>,
) -> Result<Arc<Known>, ManifestError> {
    let manifests = &app.data.manifests;
    let permits = match reference {
        Some(_) => &manifests.rebuilds.permits,
        None => &manifests.rebuilds.learning,
    };
    let permit = permits.acquire().await;
    // An image with equal data may have been first.
    if let Some(known) = reference.and_then(|reference| manifests.in_memory(&reference)) {
        return known;
    }
    let length = reference.map(|reference| reference.length).or(image.size);
    let length = length.ok_or(ManifestError::Lost)?;
    match reference {
        Some(_) => tracing::warn!(
            image.id = %image.id,
            bytes = length,
            "the manifest is lost or damaged; computing it from the data"
        ),
        None => tracing::info!(
            image.id = %image.id,
            bytes = length,
            "the data came without a manifest; computing it"
        ),
    }
    let algorithm = algorithm(image, app.config.api.hashing_algorithm);
    let locations = Locations::of(image, &app.stores, &[]);
    // Whether all that was read whole was not the image's.
    let mut differs = !locations.is_empty();
    for (store_name, store, url) in locations.iter() {
        let read = read_whole(app, store.as_ref(), url, image, length, algorithm).await;
        let failure = match read {
            Ok(digests) if agrees(image, reference, length, &digests, algorithm) => {
                if reference.is_none() {
                    learn::record(app, image, url, &digests, algorithm).await?;
                }
                let (name, _) = digests.manifest.encode();
                let known = manifests.insert(name, digests.manifest);
                drop(permit);
                keep(app, image, &known.manifest).await;
                return Ok(known);
            }
            Ok(_) => "the data is not the image's".to_owned(),
            Err(failure) => {
                differs = false;
                failure
            }
        };
        tracing::error!(
            image.id = %image.id,
            store = store_name,
            location = shown(url),
            failure,
            "no manifest from this location"
        );
    }
    Err(match differs {
        true => ManifestError::Differs,
        false => ManifestError::Lost,
    })
}

/// Hashes an object as an upload is hashed.
async fn read_whole(
    app: &App,
    store: &dyn Store,
    url: &str,
    image: &Image,
    length: u64,
    algorithm: Algorithm,
) -> Result<Digests, String> {
    let size = store.stat(url).await.map_err(|e| e.to_string())?.size;
    if size != length {
        return Err(format!("{size} bytes instead of {length}"));
    }
    let hashers = Hashers::start(algorithm).map_err(|e| e.to_string())?;
    if length > 0 {
        let mut stream = store.get(url, 0..length).await.map_err(|e| e.to_string())?;
        let (mut done, mut said) = (0, Instant::now());
        while let Some(bytes) = stream.next().await {
            let bytes = bytes.map_err(|e| e.to_string())?;
            done += bytes.len() as u64;
            if said.elapsed() >= SAY_EVERY {
                tracing::info!(image.id = %image.id, done, of = length, "computing the manifest");
                if matches!(app.registry.read_local().image(image.id), Ok(None)) {
                    return Err("the image was deleted".to_owned());
                }
                said = Instant::now();
            }
            hashers.update(&bytes).await.map_err(|e| e.to_string())?;
        }
    }
    hashers.finish().await.map_err(|e| e.to_string())
}

/// The hash to compute: the record's, if it is known here; else the one for data of which it will be
/// recorded.
fn algorithm(image: &Image, configured: Algorithm) -> Algorithm {
    let named = image.os_hash_algo.as_deref();
    named.and_then(Algorithm::parse).unwrap_or(configured)
}

/// Whether the data is the image's in every respect.
fn agrees(
    image: &Image,
    reference: Option<ManifestRef>,
    length: u64,
    digests: &Digests,
    algorithm: Algorithm,
) -> bool {
    let same = |recorded: &Option<String>, found: &str| {
        recorded
            .as_deref()
            .is_none_or(|recorded| recorded.eq_ignore_ascii_case(found))
    };
    let hash_known = image.os_hash_algo.as_deref() == Some(algorithm.as_str());
    let named = reference.is_none_or(|reference| {
        let (name, _) = digests.manifest.encode();
        name.0 == reference.name
    });
    named
        && digests.manifest.length() == length
        && same(&image.checksum, &digests.md5)
        && (!hash_known || same(&image.os_hash_value, &digests.hash))
}

/// Keeps the body for the next start; one that cannot be kept serves from memory.
async fn keep(app: &App, image: &Image, manifest: &Manifest) {
    let (bodies, manifest) = (Arc::clone(&app.manifests), manifest.clone());
    let kept = tokio::task::spawn_blocking(move || bodies.put(&manifest)).await;
    let failure = match kept {
        Ok(Ok(_)) => {
            tracing::info!(image.id = %image.id, "the manifest is there again");
            return;
        }
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    tracing::error!(image.id = %image.id, failure, "the manifest could not be kept");
}

#[cfg(test)]
mod tests {
    use glimpse_cache::{CHUNK_SIZE, ManifestBuilder};
    use glimpse_registry::{
        image::{Attributes, ImageId, Timestamp, Version, Visibility},
        status::Status,
    };

    use super::*;

    fn digests() -> Digests {
        let mut builder = ManifestBuilder::new();
        builder.update(b"data");
        Digests {
            md5: "8d777f385d3dfec8815d20f7496026dc".to_owned(),
            hash: "hash".to_owned(),
            manifest: builder.finish(),
        }
    }

    fn record() -> (Image, ManifestRef) {
        let Digests {
            md5,
            hash,
            manifest,
        } = digests();
        let reference = ManifestRef {
            name: manifest.encode().0.0,
            length: 4,
            chunk_size: CHUNK_SIZE,
        };
        let image = Image {
            id: ImageId([1; 16]),
            row: 0,
            version: Version::default(),
            status: Status::Active,
            attributes: Attributes {
                name: None,
                visibility: Visibility::Shared,
                protected: false,
                os_hidden: false,
                owner: None,
                disk_format: None,
                container_format: None,
                min_disk: 0,
                min_ram: 0,
                tags: std::collections::BTreeSet::new(),
                properties: std::collections::BTreeMap::new(),
            },
            size: Some(4),
            virtual_size: None,
            checksum: Some(md5),
            os_hash_algo: Some("sha512".to_owned()),
            os_hash_value: Some(hash),
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
            locations: Vec::new(),
            manifest: Some(reference),
            upload: None,
            import: None,
        };
        (image, reference)
    }

    #[test]
    fn data_is_believed_only_if_all_that_the_record_says_agrees() {
        let (image, reference) = record();
        assert_eq!(algorithm(&image, Algorithm::Md5), Algorithm::Sha512);
        let agrees = |image: &Image, reference: ManifestRef| {
            let algorithm = algorithm(image, Algorithm::Md5);
            agrees(
                image,
                Some(reference),
                reference.length,
                &digests(),
                algorithm,
            )
        };
        assert!(agrees(&image, reference));
        let other = |change: &dyn Fn(&mut Image, &mut ManifestRef)| {
            let (mut image, mut reference) = record();
            change(&mut image, &mut reference);
            agrees(&image, reference)
        };
        assert!(!other(&|_, reference| reference.name[31] ^= 1));
        assert!(!other(&|_, reference| reference.length = 5));
        assert!(!other(&|image, _| image.checksum = Some("0".repeat(32))));
        assert!(!other(
            &|image, _| image.os_hash_value = Some("other".to_owned())
        ));
        // A hash that this program does not know proves nothing, and the rest is proof enough.
        assert!(other(&|image, _| {
            image.os_hash_algo = Some("blake9".to_owned());
            image.os_hash_value = Some("other".to_owned());
        }));
        assert!(other(&|image, _| {
            image.checksum = None;
            image.os_hash_algo = None;
            image.os_hash_value = None;
        }));
    }
}
