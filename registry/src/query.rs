//! What a listing asks for: the typed form of the parameters of image-api 1.11.

use std::sync::Arc;

use crate::{
    image::{Image, ImageId, MemberStatus, Timestamp, Visibility},
    status::Status,
};

/// Whose eyes look: decides which images exist for the caller (image-api 4.3), before any policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Sees every project's images.
    Admin {
        /// The admin's own project, to which `member_status` and `visibility=shared` relate.
        project: Option<String>,
    },
    /// Sees what the project owns, what is public, what is shared with it, what has no owner, and
    /// what is community where asked for.
    Project(String),
    /// Sees what is public or without owner (and community where asked for).
    Anonymous,
}

/// `visibility=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VisibilityFilter {
    /// Not given: everything but the community images of others.
    Default,
    /// `all`: everything the scope can see, community included.
    All,
    /// Only this one.
    Only(Visibility),
}

/// `member_status=`: which shared images (of others) count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberFilter {
    /// `all`.
    All,
    /// Only those in this state; accepted when not given.
    Only(MemberStatus),
}

/// Text columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TextColumn {
    /// `name`
    Name,
    /// `owner`
    Owner,
    /// `disk_format`
    DiskFormat,
    /// `container_format`
    ContainerFormat,
    /// `checksum`
    Checksum,
    /// `os_hash_algo`
    OsHashAlgo,
    /// `os_hash_value`
    OsHashValue,
}

/// Number columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NumberColumn {
    /// `size`
    Size,
    /// `virtual_size`
    VirtualSize,
    /// `min_disk`
    MinDisk,
    /// `min_ram`
    MinRam,
}

/// Time columns. A comparison works on whole seconds, as they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TimeColumn {
    /// `created_at`
    CreatedAt,
    /// `updated_at`
    UpdatedAt,
}

/// `gt:` and its kin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `gt:`
    Gt,
    /// `gte:`
    Gte,
    /// `lt:`
    Lt,
    /// `lte:`
    Lte,
    /// `eq:` or none
    Eq,
    /// `neq:`
    Neq,
}

/// One condition; all of a query's must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// The column equals one of these. `name=` and `in:`.
    Text(TextColumn, Vec<String>),
    /// The number lies within the bounds, both included. Null never does.
    Number(NumberColumn, u64, u64),
    /// The time (whole seconds) compares so.
    Time(TimeColumn, Comparison, Timestamp),
    /// One of these ids.
    Id(Vec<ImageId>),
    /// One of these statuses.
    Status(Vec<Status>),
    /// `protected=`
    Protected(bool),
    /// Carries the tag.
    Tag(String),
    /// The custom property has the value.
    Property(String, String),
    /// Matches nothing (an id that is no UUID, say).
    Nothing,
}

/// `sort_key=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SortKey {
    /// `name`
    Name,
    /// `status`
    Status,
    /// `container_format`
    ContainerFormat,
    /// `disk_format`
    DiskFormat,
    /// `size`
    Size,
    /// `id`
    Id,
    /// `created_at`
    CreatedAt,
    /// `updated_at`
    UpdatedAt,
}

/// `sort_dir=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// `asc`: smallest first, null before all.
    Ascending,
    /// `desc`
    Descending,
}

/// One page of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListQuery {
    /// Whose eyes look.
    pub scope: Scope,
    /// `visibility=`
    pub visibility: VisibilityFilter,
    /// `member_status=`
    pub member: MemberFilter,
    /// `os_hidden=`
    pub hidden: bool,
    /// All must hold.
    pub filters: Vec<Filter>,
    /// In order of weight; `created_at` and `id` are appended by the parser (image-api 1.11), so
    /// this is never empty.
    pub sort: Vec<(SortKey, Direction)>,
    /// Starts after this image.
    pub marker: Option<ImageId>,
    /// Images on the page at most; 0 gives an empty page.
    pub limit: usize,
    /// [`Image::weight`] after which the page ends, with at least one image on it.
    pub weight: usize,
}

impl ListQuery {
    /// Whether the page ended at one of its bounds, so that more may follow.
    pub fn is_full(&self, page: &[Arc<Image>]) -> bool {
        !page.is_empty()
            && (page.len() >= self.limit
                || page.iter().map(|image| image.weight()).sum::<usize>() >= self.weight)
    }
}
