//! Microsoft's VHD (QEMU's vpc), dynamic form: a copy of the big-endian footer comes first. The
//! fixed form has its footer only at the end and is raw to a reader of streams.
//!
//! Refused: every type but fixed and dynamic, such as a differencing disk, which names a parent file
//! of the host. Some readers believe the copy at the start, others the footer at the end, so both
//! are looked at.

use super::{
    Format, Found, Step, Violation,
    capture::{Region, Tail, bytes},
};

const MAGIC: &[u8] = b"conectix";
const FOOTER: usize = 512;
/// What a reader sees as the disk; eight bytes before it stands what it was when it was made, which
/// the reference reports (Virtual Hard Disk Image Format Specification, "Hard Disk Footer Format").
const CURRENT_SIZE: usize = 48;
const DISK_TYPE: usize = 60;
const FIXED: u32 = 2;
const DYNAMIC: u32 = 3;
const DIFFERENCING: u32 = 4;

struct Vhd {
    copy: Region,
    footer: Tail,
}

pub(super) fn format() -> Box<dyn Format> {
    Box::new(Vhd {
        copy: Region::new(0, FOOTER),
        footer: Tail::new(FOOTER),
    })
}

impl Format for Vhd {
    fn name(&self) -> &'static str {
        "vhd"
    }

    fn update(&mut self, at: u64, piece: &[u8]) -> Step {
        let had = self.copy.is_complete();
        self.copy.take(at, piece);
        let copy = self.copy.data();
        let seen = MAGIC.len().min(copy.len());
        if copy.get(..seen) != MAGIC.get(..seen) {
            return Step::NotThis;
        }
        self.footer.take(piece);
        // Unsafe at once; safe only at the end.
        match !had && self.copy.is_complete() {
            true => match check(copy) {
                Ok(()) => Step::More,
                refused => Step::This(found(copy).checked(refused)),
            },
            false => Step::More,
        }
    }

    fn finish(&mut self) -> Option<Found> {
        let copy = self.copy.data();
        if !copy.starts_with(MAGIC) {
            return None;
        }
        if !self.copy.is_complete() {
            return Some(Found::cut_short());
        }
        let footer = self.footer.data().unwrap_or_default();
        Some(found(copy).checked(match footer.starts_with(MAGIC) {
            true => check(footer),
            // No reader takes it for one.
            false => Ok(()),
        }))
    }

    fn held(&self) -> usize {
        self.copy.data().len() + self.footer.held()
    }
}

fn found(copy: &[u8]) -> Found {
    bytes(copy, CURRENT_SIZE).map_or(Found::of_unknown_size(), |size| {
        Found::of_size(u64::from_be_bytes(size))
    })
}

fn check(footer: &[u8]) -> Result<(), Violation> {
    match bytes(footer, DISK_TYPE).map(u32::from_be_bytes) {
        Some(FIXED | DYNAMIC) => Ok(()),
        Some(DIFFERENCING) => Err(Violation::new("backing_file", "it has a parent disk")),
        _ => Err(Violation::new(
            "disk_type",
            "its type is neither fixed nor dynamic",
        )),
    }
}
