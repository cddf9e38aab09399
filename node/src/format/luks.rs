//! LUKS: a big-endian header and an encrypted disk behind it. Version 2 is refused: what it
//! points to is not known here, nor to QEMU.

use super::{Format, Found, Violation, capture::bytes, header::Header};

const MAGIC: &[u8] = b"LUKS\xba\xbe";
/// With its eight key slots.
const LENGTH: usize = 592;
const PAYLOAD_OFFSET: usize = 104;

pub(super) fn format() -> Box<dyn Format> {
    Header::boxed("luks", 0, LENGTH, MAGIC, |header| {
        let version = u16::from_be_bytes(bytes(header, MAGIC.len())?);
        let sectors = u32::from_be_bytes(bytes(header, PAYLOAD_OFFSET)?);
        let check = match version {
            1 => Ok(()),
            _ => Err(Violation::new("version", "its version is not 1")),
        };
        Some(Found::of_stream_size(u64::from(sectors) * 512).checked(check))
    })
}
