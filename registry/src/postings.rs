//! The bitmap indexes: which rows have which value.
//!
//! A posting is a key and a set of rows. The key is a kind, one or two values in an encoding whose
//! byte order is the order of the values, and the chunk: the upper half of the rows in the set
//! (65,536 rows each). One table thus answers filters (sets of one key), walks a sort key (keys of
//! one kind in order) and counts nothing that a page does not need.
//!
//! Numbers compared by size are posted as bit slices: one set per bit that is 1, so that a range
//! is a few set operations whatever it matches.

use std::collections::BTreeMap;

use glimpse_replication::Fault;
use redb::ReadableTable as _;
use roaring::RoaringBitmap;

use crate::{
    encoding::{fault, sealed, unsealed},
    image::{Image, MemberStatus, Visibility},
    query::{NumberColumn, SortKey, TextColumn},
    status::Status,
    tables::Rows,
};

/// What a posting is about. The numbers are on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Every image that lists may show.
    All = 0,
    Owner = 1,
    Visibility = 2,
    Status = 3,
    /// Hidden ones only.
    Hidden = 4,
    /// Protected ones only.
    Protected = 5,
    Name = 6,
    DiskFormat = 7,
    ContainerFormat = 8,
    Checksum = 9,
    OsHashAlgo = 10,
    OsHashValue = 11,
    Tag = 12,
    /// Name, then value.
    Property = 13,
    /// Project, then status. Whatever the visibility.
    Member = 14,
    /// Number, for its order.
    Size = 15,
    /// Microseconds, for its order.
    UpdatedAt = 16,
    /// Bit slices; bit [`PRESENT`] marks those that are not null.
    SizeBits = 17,
    VirtualSizeBits = 18,
    MinDiskBits = 19,
    MinRamBits = 20,
    /// Of whole seconds.
    UpdatedAtBits = 21,
}

/// The slice that marks a number that is not null.
pub(crate) const PRESENT: u8 = 64;

/// Rows per chunk.
pub(crate) const CHUNK_ROWS: u32 = 1 << 16;

/// Longest value kept whole in a posting key. Longer ones are cut and told apart by a hash, which
/// costs their order; so names, the one text that is sorted by and not checked here, stay whole.
const WHOLE_VALUE: usize = 255;

/// A posting key without its chunk, under construction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Posting(Vec<u8>);

impl Posting {
    /// Of a kind without value.
    pub(crate) fn of(kind: Kind) -> Self {
        Self(vec![kind as u8])
    }

    /// Of a text, a number in big-endian, or nothing.
    pub(crate) fn value(kind: Kind, value: &[u8]) -> Self {
        Self::of(kind).part(value)
    }

    /// Of a text that may be null; null comes first.
    pub(crate) fn nullable(kind: Kind, value: Option<&[u8]>) -> Self {
        value.map_or_else(
            || Self::value(kind, &[]),
            |value| {
                let mut marked = Vec::with_capacity(value.len() + 1);
                marked.push(1);
                marked.extend_from_slice(value);
                Self::value(kind, &marked)
            },
        )
    }

    /// Of a custom property.
    pub(crate) fn property(name: &str, value: &str) -> Self {
        Self::of(Kind::Property)
            .bounded(name.as_bytes())
            .bounded(value.as_bytes())
    }

    /// Of a membership.
    pub(crate) fn member(project: &str, status: MemberStatus) -> Self {
        Self::of(Kind::Member)
            .bounded(project.as_bytes())
            .part(status.as_str().as_bytes())
    }

    /// Of a tag.
    pub(crate) fn tag(tag: &str) -> Self {
        Self::of(Kind::Tag).bounded(tag.as_bytes())
    }

    /// Of a bit slice.
    pub(crate) fn bit(kind: Kind, bit: u8) -> Self {
        Self::value(kind, &[bit])
    }

    /// Of a text column.
    pub(crate) fn text(column: TextColumn, value: &str) -> Self {
        Self::nullable(text_kind(column), Some(value.as_bytes()))
    }

    /// Of an owner.
    pub(crate) fn owner(owner: Option<&str>) -> Self {
        Self::nullable(Kind::Owner, owner.map(str::as_bytes))
    }

    /// Of a visibility.
    pub(crate) fn visibility(visibility: Visibility) -> Self {
        Self::value(Kind::Visibility, visibility.as_str().as_bytes())
    }

    /// Of a status. By name: that is what sorting by status sorts.
    pub(crate) fn status(status: Status) -> Self {
        Self::value(Kind::Status, status.as_str().as_bytes())
    }

    /// The posting that a whole key, chunk included, belongs to.
    pub(crate) fn of_key(key: &[u8]) -> Option<Self> {
        key.split_last_chunk::<2>()
            .map(|(posting, _)| Self(posting.to_vec()))
    }

    /// The key of one chunk.
    pub(crate) fn chunk(&self, chunk: u16) -> Vec<u8> {
        [self.0.as_slice(), &chunk.to_be_bytes()].concat()
    }

    /// Appends a value and its end. A zero within is escaped, so that no value is the start of
    /// another and byte order stays the order of the values.
    fn part(mut self, value: &[u8]) -> Self {
        for &byte in value {
            self.0.push(byte);
            if byte == 0 {
                self.0.push(0xff);
            }
        }
        self.0.extend_from_slice(&[0, 0]);
        self
    }

    fn bounded(self, value: &[u8]) -> Self {
        if value.len() <= WHOLE_VALUE {
            return self.part(value);
        }
        let (head, _) = value.split_at(WHOLE_VALUE / 2);
        self.part(&[head, blake3::hash(value).as_bytes().as_slice()].concat())
    }
}

/// Where a text column is posted.
pub(crate) const fn text_kind(column: TextColumn) -> Kind {
    match column {
        TextColumn::Name => Kind::Name,
        TextColumn::Owner => Kind::Owner,
        TextColumn::DiskFormat => Kind::DiskFormat,
        TextColumn::ContainerFormat => Kind::ContainerFormat,
        TextColumn::Checksum => Kind::Checksum,
        TextColumn::OsHashAlgo => Kind::OsHashAlgo,
        TextColumn::OsHashValue => Kind::OsHashValue,
    }
}

/// Where a number column is posted, and whether it can be null.
pub(crate) const fn number_kind(column: NumberColumn) -> (Kind, bool) {
    match column {
        NumberColumn::Size => (Kind::SizeBits, true),
        NumberColumn::VirtualSize => (Kind::VirtualSizeBits, true),
        NumberColumn::MinDisk => (Kind::MinDiskBits, false),
        NumberColumn::MinRam => (Kind::MinRamBits, false),
    }
}

/// The postings in whose order a sort key walks; `None` where another table has that order.
pub(crate) const fn sort_kind(key: SortKey) -> Option<Kind> {
    match key {
        SortKey::Name => Some(Kind::Name),
        SortKey::Status => Some(Kind::Status),
        SortKey::ContainerFormat => Some(Kind::ContainerFormat),
        SortKey::DiskFormat => Some(Kind::DiskFormat),
        SortKey::Size => Some(Kind::Size),
        SortKey::UpdatedAt => Some(Kind::UpdatedAt),
        SortKey::Id | SortKey::CreatedAt => None,
    }
}

/// The posting of an image under a sort key that has one.
pub(crate) fn sort_posting(kind: Kind, image: &Image) -> Posting {
    let a = &image.attributes;
    let text =
        |value: &Option<String>| Posting::nullable(kind, value.as_ref().map(|v| v.as_bytes()));
    if kind == Kind::Name {
        text(&a.name)
    } else if kind == Kind::ContainerFormat {
        text(&a.container_format)
    } else if kind == Kind::DiskFormat {
        text(&a.disk_format)
    } else if kind == Kind::Size {
        let size = image.size.map(u64::to_be_bytes);
        Posting::nullable(kind, size.as_ref().map(<[u8; 8]>::as_slice))
    } else if kind == Kind::UpdatedAt {
        Posting::value(kind, &image.updated_at.0.to_be_bytes())
    } else {
        Posting::status(image.status)
    }
}

/// Every posting of an image, but those of its members; sorted.
pub(crate) fn postings(image: &Image) -> Vec<Posting> {
    let a = &image.attributes;
    let mut all = Vec::with_capacity(48 + a.tags.len() + a.properties.len());
    if image.status != Status::Killed {
        all.push(Posting::of(Kind::All));
    }
    all.push(Posting::owner(a.owner.as_deref()));
    all.push(Posting::visibility(a.visibility));
    if a.os_hidden {
        all.push(Posting::of(Kind::Hidden));
    }
    if a.protected {
        all.push(Posting::of(Kind::Protected));
    }
    for kind in [
        Kind::Status,
        Kind::Name,
        Kind::DiskFormat,
        Kind::ContainerFormat,
        Kind::Size,
        Kind::UpdatedAt,
    ] {
        all.push(sort_posting(kind, image));
    }
    for (column, value) in [
        (TextColumn::Checksum, &image.checksum),
        (TextColumn::OsHashAlgo, &image.os_hash_algo),
        (TextColumn::OsHashValue, &image.os_hash_value),
    ] {
        if let Some(value) = value {
            all.push(Posting::text(column, value));
        }
    }
    all.extend(a.tags.iter().map(|tag| Posting::tag(tag)));
    for (name, value) in &a.properties {
        if let Some(value) = value {
            all.push(Posting::property(name, value));
        }
    }
    for (kind, value) in [
        (Kind::SizeBits, image.size),
        (Kind::VirtualSizeBits, image.virtual_size),
    ] {
        if let Some(value) = value {
            all.push(Posting::bit(kind, PRESENT));
            bits(kind, value, &mut all);
        }
    }
    bits(Kind::MinDiskBits, u64::from(a.min_disk), &mut all);
    bits(Kind::MinRamBits, u64::from(a.min_ram), &mut all);
    bits(Kind::UpdatedAtBits, seconds(image.updated_at), &mut all);
    all.sort_unstable();
    all
}

/// Whole seconds, as times are shown and compared.
pub(crate) const fn seconds(time: crate::image::Timestamp) -> u64 {
    time.0 / 1_000_000
}

fn bits(kind: Kind, value: u64, into: &mut Vec<Posting>) {
    into.extend(
        (0..64)
            .filter(|bit| value >> bit & 1 == 1)
            .map(|bit| Posting::bit(kind, bit)),
    );
}

/// The chunk of a row.
pub(crate) const fn chunk_of(row: u32) -> u16 {
    (row / CHUNK_ROWS) as u16
}

/// Reads one chunk of a posting; no rows if there is none.
pub(crate) fn load(
    table: &impl Rows,
    posting: &Posting,
    chunk: u16,
) -> Result<RoaringBitmap, Fault> {
    let value = table
        .get(posting.chunk(chunk).as_slice())
        .map_err(fault("reading an index"))?;
    value.map_or_else(
        || Ok(RoaringBitmap::new()),
        |value| decode_rows(value.value()),
    )
}

/// Decodes the set of a posting.
pub(crate) fn decode_rows(bytes: &[u8]) -> Result<RoaringBitmap, Fault> {
    const WHAT: &str = "decoding an index";
    RoaringBitmap::deserialize_from(unsealed(WHAT, bytes)?).map_err(fault(WHAT))
}

/// Changes to postings within one transaction, written once at its end: however many rows of a
/// group of commands touch a chunk, it is read once and written once.
#[derive(Debug, Default)]
pub(crate) struct Pending(BTreeMap<Vec<u8>, (RoaringBitmap, RoaringBitmap)>);

impl Pending {
    /// Posts a row.
    pub(crate) fn add(&mut self, posting: &Posting, row: u32) {
        let (added, removed) = self.0.entry(posting.chunk(chunk_of(row))).or_default();
        added.insert(row);
        removed.remove(row);
    }

    /// Takes a row out.
    pub(crate) fn remove(&mut self, posting: &Posting, row: u32) {
        let (added, removed) = self.0.entry(posting.chunk(chunk_of(row))).or_default();
        added.remove(row);
        removed.insert(row);
    }

    /// Moves an image from its old postings to its new ones.
    pub(crate) fn replace(&mut self, before: Option<&Image>, after: Option<&Image>) {
        let old = before.map(postings).unwrap_or_default();
        let new = after.map(postings).unwrap_or_default();
        if let Some(image) = before {
            for posting in old.iter().filter(|p| new.binary_search(p).is_err()) {
                self.remove(posting, image.row);
            }
        }
        if let Some(image) = after {
            for posting in new.iter().filter(|p| old.binary_search(p).is_err()) {
                self.add(posting, image.row);
            }
        }
    }

    /// Writes all.
    pub(crate) fn flush(
        self,
        table: &mut redb::Table<'_, &'static [u8], &'static [u8]>,
    ) -> Result<(), Fault> {
        for (key, (added, removed)) in self.0 {
            let mut rows = {
                let value = table
                    .get(key.as_slice())
                    .map_err(fault("reading an index"))?;
                value.map_or_else(|| Ok(RoaringBitmap::new()), |v| decode_rows(v.value()))?
            };
            rows -= &removed;
            rows |= &added;
            if rows.is_empty() {
                table
                    .remove(key.as_slice())
                    .map_err(fault("writing an index"))?;
                continue;
            }
            // First as if never run-coded, so that a set has one encoding, whatever its past.
            rows.remove_run_compression();
            rows.optimize();
            let mut encoded = Vec::with_capacity(rows.serialized_size() + 4);
            rows.serialize_into(&mut encoded)
                .map_err(fault("encoding an index"))?;
            table
                .insert(key.as_slice(), sealed(encoded).as_slice())
                .map_err(fault("writing an index"))?;
        }
        Ok(())
    }
}
