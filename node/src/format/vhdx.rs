//! Microsoft's VHDX: a region table at 192 KiB names the metadata region, whose table names the
//! items that say how large the disk is and whether it has a parent.
//!
//! Refused: a parent, which is a file of the host; and tables that make no sense, since they hide
//! whether there is one. A second copy of the region table follows the first, and a reader may
//! prefer it: it must name the same metadata, unless it is no table at all.

use super::{
    Format, Found, Step, Violation,
    capture::{Region, bytes},
};

const MAGIC: &[u8] = b"vhdxfile";
const REGION_MAGIC: &[u8] = b"regi";
const REGION_TABLE: u64 = 192 * 1024;
/// The other copy.
const REGION_TABLE_2: u64 = 256 * 1024;
/// Each of the tables.
const TABLE_LENGTH: usize = 64 * 1024;
const REGION_ENTRIES: usize = 16;
const METADATA_ENTRIES: usize = 32;
const ENTRY: usize = 32;
const MAX_ENTRIES: usize = 2047;
/// 8B7CA206-4790-4B9A-B8FE-575F050F886E
const METADATA_REGION: [u8; 16] = [
    0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e,
];
/// 2FA54224-CD1B-4876-B211-5DBED83BF4B8
const VIRTUAL_DISK_SIZE: [u8; 16] = [
    0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8,
];
/// CAA16737-FA36-4D43-B3B6-33F0AA44E76B
const FILE_PARAMETERS: [u8; 16] = [
    0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b,
];
/// A8D35F2D-B30B-454D-ABF7-D3D84834AB0C
const PARENT_LOCATOR: [u8; 16] = [
    0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c,
];
/// In the second word of the file parameters.
const HAS_PARENT: u32 = 0b10;

/// The tables are followed one by one.
enum Vhdx {
    Magic(Region),
    RegionTable(Region),
    SecondTable { start: u64, table: Region },
    Metadata { start: u64, table: Region },
    Items { parameters: Region, size: Region },
}

pub(super) fn format() -> Box<dyn Format> {
    Box::new(Vhdx::Magic(Region::new(0, MAGIC.len())))
}

impl Format for Vhdx {
    fn name(&self) -> &'static str {
        "vhdx"
    }

    fn update(&mut self, at: u64, piece: &[u8]) -> Step {
        loop {
            if !self.take(at, piece) {
                return Step::More;
            }
            let next = match self {
                Self::Magic(magic) if magic.data() != MAGIC => return Step::NotThis,
                Self::Magic(_) => Ok(Self::RegionTable(Region::new(REGION_TABLE, TABLE_LENGTH))),
                Self::RegionTable(table) => second_table(table.data()),
                Self::SecondTable { start, table } => metadata(*start, table.data()),
                Self::Metadata { start, table } => items(*start, table.data()),
                Self::Items { parameters, size } => Err(verdict(parameters.data(), size.data())),
            };
            match next {
                Ok(next) => *self = next,
                Err(found) => return Step::This(found),
            }
        }
    }

    fn finish(&mut self) -> Option<Found> {
        match self {
            Self::Magic(_) => None,
            Self::RegionTable(_)
            | Self::SecondTable { .. }
            | Self::Metadata { .. }
            | Self::Items { .. } => Some(Found::cut_short()),
        }
    }

    fn held(&self) -> usize {
        match self {
            Self::Magic(region)
            | Self::RegionTable(region)
            | Self::SecondTable { table: region, .. }
            | Self::Metadata { table: region, .. } => region.data().len(),
            Self::Items { parameters, size } => parameters.data().len() + size.data().len(),
        }
    }
}

impl Vhdx {
    /// Whether all is there that the state waits for.
    fn take(&mut self, at: u64, piece: &[u8]) -> bool {
        match self {
            Self::Magic(region)
            | Self::RegionTable(region)
            | Self::SecondTable { table: region, .. }
            | Self::Metadata { table: region, .. } => {
                region.take(at, piece);
                region.is_complete()
            }
            Self::Items { parameters, size } => {
                parameters.take(at, piece);
                size.take(at, piece);
                parameters.is_complete() && size.is_complete()
            }
        }
    }
}

fn unreadable() -> Found {
    Found::of_unknown_size().checked(Err(Violation::new("metadata", "its tables make no sense")))
}

fn has_parent() -> Found {
    Found::of_unknown_size().checked(Err(Violation::new("backing_file", "it has a parent disk")))
}

/// `Err`: there is nothing to look for.
fn second_table(first: &[u8]) -> Result<Vhdx, Found> {
    let start = metadata_region(first).ok_or_else(unreadable)?;
    Ok(Vhdx::SecondTable {
        start,
        table: Region::new(REGION_TABLE_2, TABLE_LENGTH),
    })
}

fn metadata(start: u64, second: &[u8]) -> Result<Vhdx, Found> {
    if second.starts_with(REGION_MAGIC) && metadata_region(second) != Some(start) {
        return Err(unreadable());
    }
    Ok(Vhdx::Metadata {
        start,
        table: Region::new(start, TABLE_LENGTH),
    })
}

/// Where the metadata region is; `None` where the table is not sound.
fn metadata_region(table: &[u8]) -> Option<u64> {
    if !table.starts_with(REGION_MAGIC) {
        return None;
    }
    let count = u32::from_le_bytes(bytes(table, 8)?);
    let entry = entry(
        table,
        REGION_ENTRIES,
        usize::try_from(count).ok()?,
        METADATA_REGION,
    )?;
    let start = u64::from_le_bytes(bytes(entry?, 16)?);
    // What has passed cannot be read again.
    (start >= REGION_TABLE_2 + TABLE_LENGTH as u64).then_some(start)
}

fn items(start: u64, table: &[u8]) -> Result<Vhdx, Found> {
    let item = |guid| item(start, table, guid).ok_or_else(unreadable);
    if item(PARENT_LOCATOR)?.is_some() {
        return Err(has_parent());
    }
    match (item(FILE_PARAMETERS)?, item(VIRTUAL_DISK_SIZE)?) {
        (Some(parameters), Some(size)) => Ok(Vhdx::Items { parameters, size }),
        _ => Err(unreadable()),
    }
}

/// Eight bytes of an item; `None` where the table is not sound, `Some(None)` where it has none.
fn item(start: u64, table: &[u8], guid: [u8; 16]) -> Option<Option<Region>> {
    if !table.starts_with(b"metadata") {
        return None;
    }
    let count = u16::from_le_bytes(bytes(table, 10)?);
    let Some(entry) = entry(table, METADATA_ENTRIES, count.into(), guid)? else {
        return Some(None);
    };
    let offset = u32::from_le_bytes(bytes(entry, 16)?);
    // Items lie behind the table.
    let start = start
        .checked_add(offset.into())
        .filter(|_| offset as usize >= TABLE_LENGTH)?;
    Some(Some(Region::new(start, 8)))
}

fn verdict(parameters: &[u8], size: &[u8]) -> Found {
    let flags = bytes(parameters, 4).map(u32::from_le_bytes);
    match (flags, bytes(size, 0)) {
        (Some(flags), _) if flags & HAS_PARENT != 0 => has_parent(),
        (Some(_), Some(size)) => Found::of_size(u64::from_le_bytes(size)),
        _ => unreadable(),
    }
}

/// The first entry of that name, `Some(None)` where there is none; `None` where there are two, of
/// which a reader may take either, or more entries than a table has.
fn entry(table: &[u8], first: usize, count: usize, guid: [u8; 16]) -> Option<Option<&[u8]>> {
    if count > MAX_ENTRIES {
        return None;
    }
    let entries = table.get(first..)?.chunks_exact(ENTRY).take(count);
    let mut named = entries.filter(|entry| entry.starts_with(&guid));
    let found = named.next();
    named.next().is_none().then_some(found)
}
