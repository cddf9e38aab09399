//! Microsoft's VHD (QEMU's vpc), dynamic form: a copy of the big-endian footer comes first. The
//! fixed form has its footer only at the end and is raw to a reader of streams.

use super::{Format, Found, capture::bytes, header::Header};

/// What a reader sees as the disk; eight bytes before it stands what it was when it was made, which
/// the reference reports (Virtual Hard Disk Image Format Specification, "Hard Disk Footer Format").
const CURRENT_SIZE: usize = 48;

pub(super) fn format() -> Box<dyn Format> {
    Header::boxed("vhd", 0, 512, b"conectix", |header| {
        let size = u64::from_be_bytes(bytes(header, CURRENT_SIZE)?);
        Some(Found::of_size(size))
    })
}
