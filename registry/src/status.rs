//! The image status and the one table of its lawful moves (image-api 2.4).

use serde::{Deserialize, Serialize};

/// Where an image stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Status {
    /// A record without data.
    Queued,
    /// Data is being uploaded to a store.
    Saving,
    /// Data is being uploaded to staging.
    Uploading,
    /// Staged data is being imported.
    Importing,
    /// Data can be downloaded.
    Active,
    /// Data is withheld from all but admins.
    Deactivated,
    /// Deleted, data kept for a while.
    PendingDelete,
    /// Deleted. Such records are kept only as taken ids.
    Deleted,
    /// A failed upload, in old databases only.
    Killed,
}

impl Status {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Saving => "saving",
            Self::Uploading => "uploading",
            Self::Importing => "importing",
            Self::Active => "active",
            Self::Deactivated => "deactivated",
            Self::PendingDelete => "pending_delete",
            Self::Deleted => "deleted",
            Self::Killed => "killed",
        }
    }

    /// All statuses, in the order of their declaration.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Saving,
        Self::Uploading,
        Self::Importing,
        Self::Active,
        Self::Deactivated,
        Self::PendingDelete,
        Self::Deleted,
        Self::Killed,
    ];

    /// Whether an image of this status takes data in (image-api 2.3, `image_count_uploading`).
    pub const fn transfers(self) -> bool {
        matches!(self, Self::Saving | Self::Uploading | Self::Importing)
    }

    /// Reads the name on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// Whether the table of image-api 2.4 has a move from `self` to `to`.
    pub const fn may_become(self, to: Self) -> bool {
        use Status::{
            Active, Deactivated, Deleted, Importing, Killed, PendingDelete, Queued, Saving,
            Uploading,
        };
        matches!(
            (self, to),
            (Queued, Saving | Uploading | Importing | Active | Deleted)
                | (Saving, Active | Queued | Killed | Deleted)
                | (Uploading, Importing | Queued | Deleted)
                | (Importing, Active | Queued | Deleted)
                | (Active, Deactivated | PendingDelete | Deleted)
                | (Deactivated, Active | Deleted)
                | (PendingDelete, Deleted | Active)
                | (Killed, Deleted)
        )
    }
}
