//! What the first whole read of data that came without a manifest (an `http` location) tells, recorded:
//! its manifest, which from then on proves every chunk, so that an origin whose data changes later is
//! found out (OSSN-0065, OSSN-0090).
//!
//! An image whose location was added for hashing carries [`HASHING`] until then: its hashes are
//! recorded as well, and it becomes active if it waited for them. The mark is in the record, so that
//! a restart forgets no such image.

use glimpse_cache::CHUNK_SIZE;
use glimpse_registry::{
    Error as RegistryError,
    command::ImageData,
    image::{Attributes, Image, ManifestRef},
    outcome::Rejection,
    status::Status,
};

use super::{
    hashes::{Algorithm, Digests},
    manifests::ManifestError,
};
use crate::app::App;

/// The property that names the node which hashes the image's data (image-api 2.1). Hidden from clients.
pub const HASHING: &str = "os_glance_hash_op_host";

/// How often a change starts over because the image was changed by others.
const ATTEMPTS: usize = 16;

/// Records what the data at `url` was found to be, if the image is still the one that was read.
pub(super) async fn record(
    app: &App,
    read: &Image,
    url: &str,
    digests: &Digests,
    algorithm: Algorithm,
) -> Result<(), ManifestError> {
    let (name, _) = digests.manifest.encode();
    let reference = ManifestRef {
        name: name.0,
        length: digests.manifest.length(),
        chunk_size: CHUNK_SIZE,
    };
    change(app, read, |now| {
        if let Some(manifest) = now.manifest {
            return match manifest == reference {
                true => Ok(None),
                false => Err(ManifestError::Differs),
            };
        }
        let of = |image: &Image| {
            let hash = (image.os_hash_algo.clone(), image.os_hash_value.clone());
            (image.size, image.checksum.clone(), hash)
        };
        if of(now) != of(read) || !now.locations.iter().any(|location| location.url == url) {
            return Err(ManifestError::Lost);
        }
        let mut data = ImageData::of(now);
        data.manifest = Some(reference);
        let mut attributes = now.attributes.clone();
        if attributes.properties.remove(HASHING).is_some() {
            data.checksum = Some(digests.md5.clone());
            data.os_hash_algo = Some(algorithm.as_str().to_owned());
            data.os_hash_value = Some(digests.hash.clone());
            if data.status == Status::Importing {
                data.status = Status::Active;
            }
        }
        Ok(Some((attributes, data)))
    })
    .await
}

/// Ends the hashing of an image whose data is not what it was said to be, or cannot be read: one that
/// waited for it is queued again, without the location; one that is active stays so, without hashes.
pub async fn give_up(app: &App, read: &Image) -> Result<(), ManifestError> {
    change(app, read, |now| {
        let mut attributes = now.attributes.clone();
        if attributes.properties.remove(HASHING).is_none() {
            return Ok(None);
        }
        let mut data = ImageData::of(now);
        if data.status == Status::Importing {
            data = ImageData {
                status: Status::Queued,
                size: None,
                checksum: None,
                os_hash_algo: None,
                os_hash_value: None,
                locations: Vec::new(),
                manifest: None,
            };
        }
        Ok(Some((attributes, data)))
    })
    .await
}

/// Changes the record as it is now; `None`: there is nothing to change.
async fn change(
    app: &App,
    read: &Image,
    decide: impl Fn(&Image) -> Result<Option<(Attributes, ImageData)>, ManifestError>,
) -> Result<(), ManifestError> {
    let failed = |error: RegistryError| ManifestError::Task(format!("recording it: {error}"));
    for _ in 0..ATTEMPTS {
        let view = app.registry.read().await.map_err(failed)?;
        let image = view.image(read.id).map_err(failed)?;
        let now = image.ok_or(ManifestError::Lost)?;
        let Some((attributes, data)) = decide(&now)? else {
            return Ok(());
        };
        let set = app
            .registry
            .set_data(now.id, now.version, attributes, data, None);
        match set.await {
            Ok(_) => {
                app.data.reaper_wake.notify_one();
                return Ok(());
            }
            Err(RegistryError::Rejected(Rejection::VersionConflict { .. })) => {}
            Err(RegistryError::Rejected(Rejection::ImageNotFound)) => {
                return Err(ManifestError::Lost);
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Err(ManifestError::Busy)
}
