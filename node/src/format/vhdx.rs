//! Microsoft's VHDX: a region table at 192 KiB names the metadata region, whose table names the
//! item that holds the size of the disk. A file whose tables make no sense has no known size.

use super::{
    Format, Found, Step,
    capture::{Region, bytes},
};

const MAGIC: &[u8] = b"vhdxfile";
const REGION_TABLE: u64 = 192 * 1024;
/// Each of the two tables.
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

/// The tables are followed one by one.
enum Vhdx {
    Magic(Region),
    RegionTable(Region),
    Metadata { start: u64, table: Region },
    DiskSize(Region),
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
            let region = self.region();
            region.take(at, piece);
            if !region.is_complete() {
                return Step::More;
            }
            let next = match self {
                Self::Magic(magic) if magic.data() != MAGIC => return Step::NotThis,
                Self::Magic(_) => Some(Self::RegionTable(Region::new(REGION_TABLE, TABLE_LENGTH))),
                Self::RegionTable(table) => metadata_region(table.data()),
                Self::Metadata { start, table } => disk_size(*start, table.data()),
                Self::DiskSize(size) => {
                    return Step::This(match bytes(size.data(), 0) {
                        Some(size) => Found::of_size(u64::from_le_bytes(size)),
                        None => Found::of_unknown_size(),
                    });
                }
            };
            match next {
                Some(next) => *self = next,
                None => return Step::This(Found::of_unknown_size()),
            }
        }
    }

    fn finish(&mut self) -> Option<Found> {
        match self {
            Self::Magic(_) => None,
            Self::RegionTable(_) | Self::Metadata { .. } | Self::DiskSize(_) => {
                Some(Found::cut_short())
            }
        }
    }

    fn held(&self) -> usize {
        let (Self::Magic(region)
        | Self::RegionTable(region)
        | Self::Metadata { table: region, .. }
        | Self::DiskSize(region)) = self;
        region.data().len()
    }
}

impl Vhdx {
    fn region(&mut self) -> &mut Region {
        match self {
            Self::Magic(region)
            | Self::RegionTable(region)
            | Self::Metadata { table: region, .. }
            | Self::DiskSize(region) => region,
        }
    }
}

/// `None` where there is no sound one.
fn metadata_region(table: &[u8]) -> Option<Vhdx> {
    if !table.starts_with(b"regi") {
        return None;
    }
    let count = u32::from_le_bytes(bytes(table, 8)?);
    let entry = entry(
        table,
        REGION_ENTRIES,
        usize::try_from(count).ok()?,
        METADATA_REGION,
    )?;
    let start = u64::from_le_bytes(bytes(entry, 16)?);
    // What has passed cannot be read again.
    (start >= REGION_TABLE + TABLE_LENGTH as u64).then(|| Vhdx::Metadata {
        start,
        table: Region::new(start, TABLE_LENGTH),
    })
}

/// `None` where there is no sound one.
fn disk_size(start: u64, table: &[u8]) -> Option<Vhdx> {
    if !table.starts_with(b"metadata") {
        return None;
    }
    let count = u16::from_le_bytes(bytes(table, 10)?);
    let entry = entry(table, METADATA_ENTRIES, count.into(), VIRTUAL_DISK_SIZE)?;
    let offset = u32::from_le_bytes(bytes(entry, 16)?);
    // Items lie behind the table.
    let start = start
        .checked_add(offset.into())
        .filter(|_| offset as usize >= TABLE_LENGTH)?;
    Some(Vhdx::DiskSize(Region::new(start, 8)))
}

fn entry(table: &[u8], first: usize, count: usize, guid: [u8; 16]) -> Option<&[u8]> {
    if count > MAX_ENTRIES {
        return None;
    }
    let entries = table.get(first..)?.chunks_exact(ENTRY).take(count);
    entries.into_iter().find(|entry| entry.starts_with(&guid))
}
