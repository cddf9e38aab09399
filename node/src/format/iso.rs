//! ISO 9660 and UDF: the first volume descriptor, behind 32 KiB for boot loaders. An ISO that
//! boots as a disk also has a partition table, and so is [`super::gpt`] as well.

use super::{Format, Found, capture::bytes, header::Header};

/// Where the first volume descriptor starts.
const DESCRIPTOR: u64 = 32 * 1024;
const PRIMARY: u8 = 1;
const VOLUME_BLOCKS: usize = 80;
const BLOCK_SIZE: usize = 128;

pub(super) fn format() -> Box<dyn Format> {
    Header::boxed("iso", DESCRIPTOR, 2048, b"", |descriptor| {
        let [kind, signature @ ..] = bytes::<6>(descriptor, 0)?;
        if !matches!(&signature, b"CD001" | b"NSR02" | b"NSR03") {
            return None;
        }
        if kind != PRIMARY {
            return Some(Found::of_unknown_size());
        }
        // Both are there in either byte order; the little-endian half comes first.
        let blocks = u64::from(u32::from_le_bytes(bytes(descriptor, VOLUME_BLOCKS)?));
        let block_size = u64::from(u16::from_le_bytes(bytes(descriptor, BLOCK_SIZE)?));
        Some(Found::of_size(blocks * block_size))
    })
}
