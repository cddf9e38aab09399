//! QEMU's qcow2 (<https://www.qemu.org/docs/master/interop/qcow2.html>): a big-endian header.
//!
//! Refused: a backing file or an external data file, which name files of the host, versions but
//! 2 and 3, and every incompatible feature that is not known here to be harmless.

use super::{Format, Found, Violation, capture::bytes, header::Header};

const MAGIC: &[u8] = b"QFI\xfb";
const BACKING_FILE_OFFSET: usize = 8;
const SIZE: usize = 24;
const INCOMPATIBLE_FEATURES: usize = 72;
/// Dirty, corrupt, compression type.
const HARMLESS_FEATURES: u64 = 0b1011;
const DATA_FILE_FEATURE: u64 = 0b0100;

pub(super) fn format() -> Box<dyn Format> {
    Header::boxed("qcow2", 0, 512, MAGIC, parse)
}

fn parse(header: &[u8]) -> Option<Found> {
    let size = u64::from_be_bytes(bytes(header, SIZE)?);
    Some(Found::of_size(size).checked(check(header)?))
}

fn check(header: &[u8]) -> Option<Result<(), Violation>> {
    let version = u32::from_be_bytes(bytes(header, MAGIC.len())?);
    let backing_file = u64::from_be_bytes(bytes(header, BACKING_FILE_OFFSET)?);
    let features = match version {
        // The field came with version 3; other things lie there in version 2.
        2 => 0,
        _ => u64::from_be_bytes(bytes(header, INCOMPATIBLE_FEATURES)?),
    };
    Some(if !matches!(version, 2 | 3) {
        Err(Violation::new(
            "unknown_features",
            "its version is not 2 or 3",
        ))
    } else if backing_file != 0 {
        Err(Violation::new("backing_file", "it has a backing file"))
    } else if features & DATA_FILE_FEATURE != 0 {
        Err(Violation::new("data_file", "it has an external data file"))
    } else if features & !HARMLESS_FEATURES != 0 {
        Err(Violation::new(
            "unknown_features",
            "it has unknown incompatible features",
        ))
    } else {
        Ok(())
    })
}
