//! Disks with a partition table: the boot sector that MBR and GPT share. FAT file systems begin
//! with a sector of the same signature and are not meant.

use super::{Format, Found, Violation, capture::bytes, header::Header};

const SIGNATURE: usize = 510;
const FAT_COUNT: usize = 0x10;
const FAT_MEDIA: usize = 0x15;
const FIXED_DISK: u8 = 0xf8;
const PARTITIONS: usize = 446;
const GPT_PROTECTIVE: u8 = 0xee;

/// Name of the one check, for `gpt_safety_checks_nonfatal`.
pub(super) const MBR: &str = "mbr";

pub(super) fn format() -> Box<dyn Format> {
    Header::boxed("gpt", 0, 512, b"", |sector| {
        let [fats] = bytes(sector, FAT_COUNT)?;
        let [media] = bytes(sector, FAT_MEDIA)?;
        let fat = fats == 2 && media == FIXED_DISK;
        if bytes(sector, SIGNATURE)? != [0x55, 0xaa] || fat {
            return None;
        }
        Some(Found::of_stream_size(0).checked(check(sector)?))
    })
}

fn check(sector: &[u8]) -> Option<Result<(), Violation>> {
    let violation = |reason| Some(Err(Violation::new(MBR, reason)));
    let mut used = [false; 4];
    let mut protective = false;
    for (index, used) in used.iter_mut().enumerate() {
        let entry: [u8; 16] = bytes(sector, PARTITIONS + 16 * index)?;
        let [boot, head, sector, track, kind, ..] = entry;
        let start = u32::from_le_bytes(bytes(&entry, 8)?);
        if !matches!(boot, 0x00 | 0x80) {
            return violation("a partition has an invalid boot flag");
        }
        *used = kind != 0;
        if kind == GPT_PROTECTIVE {
            protective = true;
            if [head, sector, track] != [0, 2, 0] {
                return violation("the protective partition has an invalid start CHS");
            }
            if start != 1 {
                return violation("the protective partition has an invalid start LBA");
            }
        }
    }
    if protective && used != [true, false, false, false] {
        return violation("there are other partitions beside the protective one");
    }
    if used == [false; 4] {
        return violation("no partition is defined");
    }
    Some(Ok(()))
}
