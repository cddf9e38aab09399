//! The domain types of the registry: image, member, location, upload, and their ids.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::{status::Status, task::Import};

/// The id of an image: a UUID, kept as 16 bytes. Clients may write it in any case; it is shown in
/// lower case with hyphens.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ImageId(pub [u8; 16]);

impl ImageId {
    /// A new random (version 4) id from 16 bytes of randomness.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(*uuid::Builder::from_random_bytes(bytes).as_uuid().as_bytes())
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).hyphenated().fmt(f)
    }
}

impl fmt::Debug for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a UUID in its hyphenated form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID")]
pub struct InvalidImageId;

impl FromStr for ImageId {
    type Err = InvalidImageId;

    fn from_str(text: &str) -> Result<Self, InvalidImageId> {
        if text.len() != 36 {
            return Err(InvalidImageId);
        }
        uuid::Uuid::try_parse(text)
            .map(|id| Self(*id.as_bytes()))
            .map_err(|_| InvalidImageId)
    }
}

/// Microseconds since the Unix epoch. Times in records come from the log and never go backwards.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
pub struct Timestamp(pub u64);

/// The version of a record: the log index of the command that last changed it. Grows with every
/// change and is never reused; it is the strong `ETag` of the image record.
pub type Version = u64;

/// Who sees an image (image-api 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Visibility {
    /// Everyone.
    Public,
    /// Everyone who asks for it by id or by `visibility=community`.
    Community,
    /// The owner and the members.
    Shared,
    /// The owner.
    Private,
}

impl Visibility {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Community => "community",
            Self::Shared => "shared",
            Self::Private => "private",
        }
    }

    /// Reads the name on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Public, Self::Community, Self::Shared, Self::Private]
            .into_iter()
            .find(|v| v.as_str() == text)
    }
}

/// Where data of an image lies.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// URL in the form of the driver (image-api 7.3); may hold secrets, so never logged.
    pub url: String,
    /// Name of the configured store.
    pub store: String,
    /// Metadata shown beside the URL.
    pub metadata: BTreeMap<String, String>,
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Location")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// The name of an image's manifest; the body is a blob beside the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestRef {
    /// BLAKE3 of the body in the manifest context.
    pub name: [u8; 32],
    /// Bytes of the image.
    pub length: u64,
    /// Bytes of a chunk.
    pub chunk_size: u32,
}

/// The id of one upload attempt; random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UploadId(pub u128);

/// An upload in progress. While it stands, the image is `saving` (`uploading` where it goes to staging)
/// and the reservation counts against the owner's quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// This attempt.
    pub id: UploadId,
    /// Raft id of the node that receives the bytes.
    pub node: u64,
    /// Start of that node's process that receives the bytes: after a restart it differs, and the
    /// upload is known to be dead.
    pub incarnation: u128,
    /// Store that receives the bytes; [`crate::task::STAGING`]: they are staged.
    pub store: String,
    /// Bytes reserved so far.
    pub reserved: u64,
    /// The upload is dead once the time in the log passes this.
    pub lease_until: Timestamp,
}

/// The attributes of an image that clients set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// At most 255 characters.
    pub name: Option<String>,
    /// Who sees it.
    pub visibility: Visibility,
    /// Blocks deletion.
    pub protected: bool,
    /// Left out of default lists.
    pub os_hidden: bool,
    /// A project id; `None`: visible to all.
    pub owner: Option<String>,
    /// One of the configured disk formats.
    pub disk_format: Option<String>,
    /// One of the configured container formats.
    pub container_format: Option<String>,
    /// GiB.
    pub min_disk: u32,
    /// MiB.
    pub min_ram: u32,
    /// At most 255 characters each.
    pub tags: BTreeSet<String>,
    /// Custom properties; `None` only for those that the image schema lets be null.
    pub properties: BTreeMap<String, Option<String>>,
}

/// The record of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Never changes, never reused.
    pub id: ImageId,
    /// Position in creation order; the key of the bitmap indexes.
    pub row: u32,
    /// Log index of the last change.
    pub version: Version,
    /// Where it stands in its life (image-api 2.4).
    pub status: Status,
    /// What clients set.
    pub attributes: Attributes,
    /// Bytes of data.
    pub size: Option<u64>,
    /// Bytes of the disk within, from inspection.
    pub virtual_size: Option<u64>,
    /// MD5, hex.
    pub checksum: Option<String>,
    /// Name of the configured hash.
    pub os_hash_algo: Option<String>,
    /// That hash, hex.
    pub os_hash_value: Option<String>,
    /// Strictly grows from image to image, so it orders images as `row` does.
    pub created_at: Timestamp,
    /// Moves on every change.
    pub updated_at: Timestamp,
    /// Where the data lies; empty while queued.
    pub locations: Vec<Location>,
    /// Chunk names of the data; `None` until known.
    pub manifest: Option<ManifestRef>,
    /// The upload in progress, if any.
    pub upload: Option<Upload>,
    /// What imports have left; `None` where there was none.
    pub import: Option<Box<Import>>,
}

impl Image {
    /// About how many bytes the record takes in memory: what bounds a page of a listing.
    pub fn weight(&self) -> usize {
        /// Of what has a bound of its own.
        const REST: usize = 512;
        let attributes = &self.attributes;
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let properties = attributes.properties.iter();
        let tags = attributes.tags.iter();
        REST + length(&attributes.name)
            + tags.map(String::len).sum::<usize>()
            + properties
                .map(|(key, value)| key.len() + length(value))
                .sum::<usize>()
    }
}

/// The answer of a project to a shared image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MemberStatus {
    /// Not yet answered.
    Pending,
    /// Shown in that project's default list.
    Accepted,
    /// Not shown.
    Rejected,
}

impl MemberStatus {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
        }
    }

    /// Reads the name on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Accepted, Self::Rejected]
            .into_iter()
            .find(|s| s.as_str() == text)
    }
}

/// A project that an image is shared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The image.
    pub image_id: ImageId,
    /// The project.
    pub member_id: String,
    /// Its answer.
    pub status: MemberStatus,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Data that no record names any more and that the reaper has to remove from its store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingDelete {
    /// Queue position; the key for [`crate::Registry::data_reaped`].
    pub sequence: u64,
    /// The image it belonged to.
    pub image_id: ImageId,
    /// Where it lies.
    pub location: Location,
    /// When it was queued.
    pub queued_at: Timestamp,
}

/// An upload in progress as the reaper sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRow {
    /// The image it is for.
    pub image_id: ImageId,
    /// The upload.
    pub upload: Upload,
    /// Whether the image is still there; if not, the upload will never finish and its bytes are to be
    /// removed once nobody writes them any more.
    pub image_exists: bool,
}
