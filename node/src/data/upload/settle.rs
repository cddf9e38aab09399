//! What a refused `finish_upload` means, from what the image is now.

use glimpse_registry::{
    command::UploadedData,
    image::{Image, UploadId},
    outcome::Rejection,
};

use super::UploadError;
use crate::data::pipeline::Broken;

/// What became of an upload whose finish was refused.
#[derive(Debug)]
pub(super) enum Settled {
    /// An earlier finish, whose answer was lost, was applied.
    Applied,
    /// It was not, and what lies under the key is ours to remove.
    Ours(UploadError),
    /// Another has given the upload up and may have begun anew: what lies under the key may be its.
    NotOurs(UploadError),
}

/// Reads it off the image as it is now.
pub(super) fn settled(
    rejection: Rejection,
    image: Option<&Image>,
    upload: UploadId,
    data: &UploadedData,
) -> Settled {
    let Some(image) = image else {
        // Its id is never used again, nor is the key.
        return Settled::Ours(UploadError::Gone);
    };
    let staged = image.import.as_ref().and_then(|i| i.staged.as_ref());
    let ours = image.manifest == Some(data.manifest)
        && image
            .locations
            .iter()
            .any(|location| location.url == data.location.url)
        || staged.is_some_and(|s| s.manifest == data.manifest && s.location == data.location);
    if ours {
        Settled::Applied
    } else if rejection != Rejection::UploadLost
        && image.upload.as_ref().is_some_and(|u| u.id == upload)
    {
        Settled::Ours(Broken::Registry(rejection.into()).into())
    } else {
        // Also when the row is still ours but its lease is over: any reaper may be at it.
        Settled::NotOurs(UploadError::Abandoned)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use glimpse_cache::CHUNK_SIZE;
    use glimpse_registry::{
        image::{Attributes, ImageId, Location, ManifestRef, Timestamp, Upload, Visibility},
        status::Status,
    };

    use super::*;

    const OURS: UploadId = UploadId(1);

    fn data() -> UploadedData {
        UploadedData {
            size: 4,
            virtual_size: None,
            checksum: "c".to_owned(),
            os_hash_algo: "sha512".to_owned(),
            os_hash_value: "h".to_owned(),
            manifest: ManifestRef {
                name: [1; 32],
                length: 4,
                chunk_size: CHUNK_SIZE,
            },
            location: Location {
                url: "file:///images/i".to_owned(),
                store: "local".to_owned(),
                metadata: BTreeMap::new(),
            },
        }
    }

    fn image(status: Status, upload: Option<UploadId>, data: Option<&UploadedData>) -> Image {
        Image {
            id: ImageId([1; 16]),
            row: 1,
            version: 1,
            status,
            attributes: Attributes {
                name: None,
                visibility: Visibility::Private,
                protected: false,
                os_hidden: false,
                owner: None,
                disk_format: None,
                container_format: None,
                min_disk: 0,
                min_ram: 0,
                tags: BTreeSet::new(),
                properties: BTreeMap::new(),
            },
            size: None,
            virtual_size: None,
            checksum: None,
            os_hash_algo: None,
            os_hash_value: None,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
            locations: data.map(|data| data.location.clone()).into_iter().collect(),
            manifest: data.map(|data| data.manifest),
            upload: upload.map(|id| Upload {
                id,
                node: 1,
                incarnation: 1,
                store: "local".to_owned(),
                reserved: 0,
                lease_until: Timestamp(0),
            }),
            import: None,
        }
    }

    /// `ours`: the object may be removed; `kept`: it must not be.
    #[test]
    fn a_refused_finish_is_settled_by_what_the_image_is_now() {
        let mine = data();
        let mut other = data();
        other.manifest.name = [2; 32];
        let lost = Rejection::UploadLost;
        let quota = Rejection::StorageQuota {
            used: 1,
            requested: 2,
            limit: 2,
        };
        let table = [
            // An earlier finish was applied; whatever happened to the image since.
            (
                &lost,
                Some(image(Status::Active, None, Some(&mine))),
                "applied",
            ),
            (
                &lost,
                Some(image(Status::Deactivated, None, Some(&mine))),
                "applied",
            ),
            // Deleted, with or without the finish.
            (&lost, None, "ours"),
            (&Rejection::ImageNotFound, None, "ours"),
            // Refused while it is still our upload.
            (
                &quota,
                Some(image(Status::Saving, Some(OURS), None)),
                "ours",
            ),
            // The lease is over: a reaper may be at it, and another upload may follow.
            (&lost, Some(image(Status::Saving, Some(OURS), None)), "kept"),
            (&lost, Some(image(Status::Queued, None, None)), "kept"),
            (
                &lost,
                Some(image(Status::Saving, Some(UploadId(2)), None)),
                "kept",
            ),
            // Another upload of other data was faster, under the same key.
            (
                &lost,
                Some(image(Status::Active, None, Some(&other))),
                "kept",
            ),
        ];
        for (rejection, image, expected) in table {
            let settled = settled(rejection.clone(), image.as_ref(), OURS, &mine);
            let got = match settled {
                Settled::Applied => "applied",
                Settled::Ours(_) => "ours",
                Settled::NotOurs(_) => "kept",
            };
            assert_eq!(got, expected, "{rejection:?} {image:?}");
        }
    }
}
