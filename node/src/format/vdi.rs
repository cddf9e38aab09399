//! VirtualBox's VDI: a little-endian header behind 64 bytes of text.

use super::{Format, Found, capture::bytes, header::Header};

const SIGNATURE: usize = 0x40;
const DISK_SIZE: usize = 0x170;

pub(super) fn format() -> Box<dyn Format> {
    Header::boxed("vdi", 0, 512, b"", |header| {
        if u32::from_le_bytes(bytes(header, SIGNATURE)?) != 0xbeda_107f {
            return None;
        }
        let size = u64::from_le_bytes(bytes(header, DISK_SIZE)?);
        Some(Found::of_size(size))
    })
}
