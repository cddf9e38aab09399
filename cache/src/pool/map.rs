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
    num::NonZeroU64,
    os::{fd::AsRawFd, unix::fs::FileExt},
    path::Path,
    ptr, slice,
    sync::Arc,
};

use bytes::Bytes;
use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::{
    fs::{Advice as FileAdvice, FallocateFlags, fadvise},
    io::Errno,
    param::page_size,
};

use super::mappings::Mappings;
use crate::chunk::CHUNK_SIZE;

/// Bytes of one slot.
const SLOT: usize = CHUNK_SIZE as usize;

/// Bytes of a page on a machine with the smallest ones.
const SMALLEST_PAGE: usize = 4 << 10;

/// One mapped file of slots. While it lives the file is not truncated: nobody here does, and the
/// pool's lock, which it holds, keeps others away.
struct Segment {
    map: MmapRaw,
    file: Arc<File>,
    shared: Shared,
}

/// What all segments of a pool share.
#[derive(Clone)]
pub(super) struct Shared {
    /// Keeps other processes of this program away.
    pub(super) _lock: Arc<File>,
    /// Their bytes may be sent from the files.
    pub(super) sendfile: bool,
    /// Those of the segments, if they may.
    pub(super) mappings: Mappings,
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
    shared: &Shared,
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
            file: Arc::new(file),
            shared: shared.clone(),
        });
        if shared.sendfile {
            let file = Arc::clone(&segment.file);
            shared.mappings.insert(segment.memory(), file);
        }
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

/// Whether slots of files in this directory can be let go of, tried with the file `path`, which is
/// made and removed. Not where memory is all there is, for one.
pub(super) fn lets_go(path: &Path, shared: &Shared) -> io::Result<bool> {
    let opened = open_segment(path, true, 0, 1, shared);
    fs::remove_file(path)?;
    let Some(mut place) = opened?.pop() else {
        return Ok(false);
    };
    place.write(&[Bytes::from_static(&[1; SMALLEST_PAGE])])?;
    place.let_go()
}

impl Segment {
    /// All of the mapping.
    fn memory(&self) -> *const [u8] {
        ptr::slice_from_raw_parts(self.map.as_ptr(), self.map.len())
    }

    /// Takes the pages of a range, which lies in the mapping and begins at a slot, out of memory but
    /// for those that are in use.
    fn drop_pages(&self, offset: usize, len: usize) -> io::Result<()> {
        let of_kernel = |number: usize| i64::try_from(number).map_err(|_| Errno::OVERFLOW);
        let (start, bytes) = (of_kernel(offset)?, of_kernel(len)?);
        let all = libc::SYNC_FILE_RANGE_WAIT_BEFORE
            | libc::SYNC_FILE_RANGE_WRITE
            | libc::SYNC_FILE_RANGE_WAIT_AFTER;
        // Pages that are not on the disk yet would stay.
        // SAFETY: a system call on a descriptor that is open, with no memory of ours.
        let synced = unsafe { libc::sync_file_range(self.file.as_raw_fd(), start, bytes, all) };
        if synced != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the range lies in this live mapping, at a multiple of the page size. Of a shared
        // mapping of a file only the page tables change: who reads next finds the same bytes.
        let unmapped = unsafe {
            let address = self.map.as_mut_ptr().add(offset);
            libc::madvise(address.cast(), len, libc::MADV_DONTNEED)
        };
        if unmapped != 0 {
            return Err(io::Error::last_os_error());
        }
        let (start, bytes) = (offset as u64, NonZeroU64::new(len as u64));
        fadvise(&*self.file, start, bytes, FileAdvice::DontNeed)?;
        Ok(())
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // Before the mapping goes, with the fields.
        self.shared.mappings.remove(self.memory());
    }
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
        let advise = |advice| self.segment.map.advise_range(advice, self.offset(), len);
        // All of it is read at once; by itself the other reads window by window.
        let _ = advise(Advice::WillNeed);
        match advise(Advice::PopulateRead) {
            // A kernel before 5.14.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => Ok(()),
            other => other,
        }
    }

    /// Whether all of the first `len` bytes are in memory now; what cannot be told counts as no.
    pub(super) fn is_resident(&self, len: u32) -> bool {
        let len = (len as usize).min(SLOT);
        self.resident_pages(len) == Some(len.div_ceil(page_size()))
    }

    /// How many pages of the first `len` bytes are in memory now; `None`: it cannot be told.
    fn resident_pages(&self, len: usize) -> Option<usize> {
        let mut pages = [0_u8; SLOT / SMALLEST_PAGE];
        // SAFETY: as in `bytes` the range lies in one live mapping, at a multiple of the page size;
        // the kernel writes one byte for each page of it, for which there is room even if pages
        // are as small as they get. It touches nothing else.
        let result = unsafe {
            let address = self.segment.map.as_mut_ptr().add(self.offset());
            // Named in ops/glimpse.service, whose filter would end the node here.
            libc::mincore(address.cast(), len, pages.as_mut_ptr())
        };
        // Only the lowest bit means anything.
        (result == 0).then(|| pages.iter().filter(|page| **page & 1 == 1).count())
    }

    /// Lets go of what the slot holds, so that it can be written. `false`: it cannot now, because
    /// the kernel still sends from it.
    ///
    /// What sendfile(2) hands to a socket is no copy but the pages of the file themselves, and the
    /// peer may take them much later. A write would change those very pages, were they still those of
    /// the file. So they have to leave the page cache first, which those in use do not.
    pub(super) fn let_go(&self) -> io::Result<bool> {
        if !self.segment.shared.sendfile {
            return Ok(true);
        }
        let slot = self.offset();
        // The kernel drops only what lies in the range as a whole, and where others read or write the
        // file it may have folios as large as its huge pages, which are those of two slots.
        let pair = slot - slot % (2 * SLOT);
        let end = self.segment.map.len().min(pair + 2 * SLOT);
        for (offset, len) in [(slot, SLOT), (pair, end - pair)] {
            self.segment.drop_pages(offset, len)?;
            if self.resident_pages(SLOT) == Some(0) {
                return Ok(true);
            }
        }
        Ok(false)
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

    /// Writes the slot, which was let go of, from its beginning; what is longer than a slot is an
    /// error.
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
