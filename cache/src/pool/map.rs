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
    os::unix::fs::FileExt,
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

use super::{direct, mappings::Mappings};
use crate::{chunk::CHUNK_SIZE, errors::passes};

/// Bytes of one slot.
const SLOT: usize = CHUNK_SIZE as usize;

/// Bytes of a page on a machine with the smallest ones.
const SMALLEST_PAGE: usize = 4 << 10;

/// One mapped file of slots. While it lives the file is not truncated: nobody here does, and the
/// pool's lock, which it holds, keeps others away.
struct Segment {
    map: MmapRaw,
    file: Arc<File>,
    /// The same file for direct writes (`direct` tells what for). With it the bytes may be sent from
    /// the file, without it they may not.
    direct: Option<File>,
    shared: Shared,
}

/// What all segments of a pool share.
#[derive(Clone)]
pub(super) struct Shared {
    /// Keeps other processes of this program away.
    pub(super) _lock: Arc<File>,
    /// The segments can be written directly.
    pub(super) direct: bool,
    /// Those of the segments that are.
    pub(super) mappings: Mappings,
}

/// Where bytes went that were written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Written {
    /// The page cache: they are read as they were written.
    ToMemory,
    /// The disk, from where they must be read again.
    ToDisk,
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
        let direct = match shared.direct.then(|| direct::open(path)) {
            None => None,
            Some(Ok(file)) => Some(file),
            Some(Err(error)) if passes(&error) => return Err(error),
            Some(Err(error)) => {
                let segment = path.display();
                tracing::warn!(%segment, %error, "cached bytes are copied into the sockets: no direct writes");
                None
            }
        };
        let segment = Arc::new(Segment {
            map,
            file: Arc::new(file),
            direct,
            shared: shared.clone(),
        });
        if segment.direct.is_some() {
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

impl Segment {
    /// All of the mapping.
    fn memory(&self) -> *const [u8] {
        ptr::slice_from_raw_parts(self.map.as_ptr(), self.map.len())
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

    /// Takes the slot's pages out of the page cache but for those that the kernel still needs: on
    /// their way to a client, or to the disk. Whether it needs none.
    fn drop_pages(&self) -> bool {
        // SAFETY: the range lies in one live mapping, at a multiple of the page size. Of a shared
        // mapping of a file only the page tables change: who reads next finds the same bytes.
        let unmapped = unsafe {
            let address = self.segment.map.as_mut_ptr().add(self.offset());
            libc::madvise(address.cast(), SLOT, libc::MADV_DONTNEED)
        };
        let len = NonZeroU64::new(SLOT as u64);
        let dropped = fadvise(
            &*self.segment.file,
            self.offset() as u64,
            len,
            FileAdvice::DontNeed,
        );
        unmapped == 0 && dropped.is_ok() && self.resident_pages(SLOT) == Some(0)
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

    /// Writes the slot from its beginning, and says where the bytes went; what is longer than a slot
    /// is an error. Those that the kernel still sends from here stay as they are.
    pub(super) fn write(&mut self, pieces: &[Bytes]) -> io::Result<Written> {
        if pieces.iter().map(Bytes::len).sum::<usize>() > SLOT {
            return Err(Errno::FBIG.into());
        }
        let mut offset = self.offset() as u64;
        if let Some(file) = &self.segment.direct
            && !self.drop_pages()
        {
            direct::write(file, pieces, offset)?;
            return Ok(Written::ToDisk);
        }
        for piece in pieces {
            self.segment.file.write_all_at(piece, offset)?;
            offset += piece.len() as u64;
        }
        Ok(Written::ToMemory)
    }
}
