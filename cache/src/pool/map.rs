//! Segment files, mapped: the only module with `unsafe` code, and the ownership that makes it sound.
//!
//! A segment is a file of slots, mapped read-only, and written with pwrite. A [`Place`] is the
//! right to one slot: it is made once, cannot be cloned, reads through `&self` and writes through
//! `&mut self`. So the borrow checker itself sees to it that no slot is written while a slice of it
//! lives, as if the place owned its bytes.
#![expect(
    unsafe_code,
    reason = "slices of a mapping that others must not change; the ownership above is the proof"
)]

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
    slice,
    sync::Arc,
};

use bytes::Bytes;
use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::{fs::FallocateFlags, io::Errno};

use crate::chunk::CHUNK_SIZE;

/// Bytes of one slot.
const SLOT: usize = CHUNK_SIZE as usize;

/// Bytes of a page on a machine with the smallest ones.
const SMALLEST_PAGE: usize = 4 << 10;

/// One mapped file of slots. While it lives the file is not truncated: nobody here does, and the
/// pool's lock, which it holds, keeps other processes of this program away.
struct Segment {
    map: MmapRaw,
    file: File,
    _lock: Arc<File>,
}

/// The right to one slot of a segment.
pub(super) struct Place {
    segment: Arc<Segment>,
    /// Below the number of slots in the segment.
    at: u32,
    /// In the whole pool.
    number: u32,
}

/// Opens a segment file, made or resized to `slots` slots with all its room reserved, and gives out
/// its places, numbered from `first`. A `new` file that does not fit is removed again.
pub(super) fn open_segment(
    path: &Path,
    new: bool,
    first: u32,
    slots: u32,
    lock: &Arc<File>,
) -> io::Result<Vec<Place>> {
    let open = || {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let len = u64::from(slots) * u64::from(CHUNK_SIZE);
        let found = file.metadata()?.len();
        if found < len {
            reserve(&file, len)?;
        } else if found > len {
            // Nothing has it mapped: the lock is ours.
            file.set_len(len)?;
        }
        let map = MmapOptions::new()
            .len(slots as usize * SLOT)
            .map_raw_read_only(&file)?;
        let segment = Arc::new(Segment {
            map,
            file,
            _lock: Arc::clone(lock),
        });
        let place = |at: u32| Place {
            segment: Arc::clone(&segment),
            at,
            number: first + at,
        };
        Ok((0..slots).map(place).collect())
    };
    open().inspect_err(|_| {
        if new {
            let _ = fs::remove_file(path);
        }
    })
}

fn reserve(file: &File, len: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len) {
        // The file system cannot reserve: a full disk shows at the first write instead.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(len),
        other => Ok(other?),
    }
}

impl Place {
    /// Where the slot begins in its segment.
    fn offset(&self) -> usize {
        self.at as usize * SLOT
    }

    /// The slot's number in the pool.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// The first `len` bytes (at most a slot).
    pub(super) fn bytes(&self, len: u32) -> &[u8] {
        let len = (len as usize).min(SLOT);
        // SAFETY: `at` is below the number of slots that the mapping was made for, so that the
        // range lies in one live mapping, which `segment` keeps. The file has all of it and is not
        // truncated while mapped. No one changes these bytes while the slice lives: only the one
        // `Place` of this slot writes them, by `&mut self`, while the slice borrows it.
        unsafe { slice::from_raw_parts(self.segment.map.as_ptr().add(self.offset()), len) }
    }

    /// Brings the first `len` bytes into memory, so that reading them neither waits for the disk
    /// nor, when the disk fails, kills the process.
    pub(super) fn populate(&self, len: u32) -> io::Result<()> {
        let len = (len as usize).min(SLOT);
        let populated = self
            .segment
            .map
            .advise_range(Advice::PopulateRead, self.offset(), len);
        match populated {
            // A kernel before 5.14.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => Ok(()),
            other => other,
        }
    }

    /// Whether all of the first `len` bytes are in memory now; what cannot be told counts as no.
    pub(super) fn is_resident(&self, len: u32) -> bool {
        let len = (len as usize).min(SLOT);
        // One byte a page, of which only the lowest bit means anything. Larger pages need fewer.
        let mut pages = [1_u8; SLOT / SMALLEST_PAGE];
        // SAFETY: as in `bytes` the range lies in one live mapping, at a multiple of the page size;
        // the kernel writes one byte for each page of it, for which there is room even if pages
        // are as small as they get. It touches nothing else.
        let result = unsafe {
            let address = self.segment.map.as_mut_ptr().add(self.offset());
            // Named in ops/glimpse.service, whose filter would end the node here.
            libc::mincore(address.cast(), len, pages.as_mut_ptr())
        };
        result == 0 && pages.iter().all(|page| page & 1 == 1)
    }

    /// Makes the pages leave memory, as far as the kernel pleases.
    #[cfg(test)]
    pub(super) fn page_out(&self) {
        self.segment.file.sync_all().unwrap();
        // SAFETY: the range lies in one live mapping, whose content this does not change.
        let advised = unsafe {
            let address = self.segment.map.as_mut_ptr().add(self.offset());
            libc::madvise(address.cast(), SLOT, libc::MADV_PAGEOUT)
        };
        assert_eq!(advised, 0, "{}", io::Error::last_os_error());
    }

    /// Writes the slot from its beginning; what is longer than a slot is an error.
    pub(super) fn write(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        let mut at = 0;
        for piece in pieces {
            if at + piece.len() > SLOT {
                return Err(Errno::FBIG.into());
            }
            let offset = (self.offset() + at) as u64;
            self.segment.file.write_all_at(piece, offset)?;
            at += piece.len();
        }
        Ok(())
    }
}
