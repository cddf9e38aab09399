//! Writes past the page cache, so that a slot can be filled anew while the kernel still sends what
//! it held before.
//!
//! What sendfile(2) hands to a socket is no copy but the pages of the file themselves, and the peer
//! may take them much later. A write through the page cache would change those very pages. So a slot
//! first lets go of its pages; those that do not go are in use, or not on the disk yet, which cannot
//! be told apart. Then it is written directly, which goes to the disk and takes the pages out of the
//! page cache, whoever still has them: to those they stay as they were, and the next reader gets new
//! ones. Not every file system that lets a file be opened for direct writes keeps to that (some write
//! through the page cache after all), so a pool tries it once at its start.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    slice,
};

use bytes::Bytes;
use rustix::{
    fs::OFlags,
    io::Errno,
    pipe::{SpliceFlags, splice},
};

/// Addresses, lengths and offsets of direct writes are multiples of this.
const ALIGNMENT: usize = 4096;

/// Bytes that are tried with: several pages, and less than a pipe holds.
const TRIED: usize = 4 * ALIGNMENT;

/// Opens an existing file for direct writes.
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .custom_flags(OFlags::DIRECT.bits().cast_signed())
        .open(path)
}

/// Writes the pieces one after the other at `offset`, which is aligned, and zeros up to the next
/// alignment.
pub(super) fn write(file: &File, pieces: &[Bytes], offset: u64) -> io::Result<()> {
    let len = pieces.iter().map(Bytes::len).sum::<usize>();
    if let [piece] = pieces
        && len.is_multiple_of(ALIGNMENT)
        && piece.as_ptr().addr().is_multiple_of(ALIGNMENT)
    {
        return file.write_all_at(piece, offset);
    }
    let rounded = len.next_multiple_of(ALIGNMENT);
    let mut memory = vec![0; rounded + ALIGNMENT];
    let start = memory.as_ptr().align_offset(ALIGNMENT);
    let mut room = memory.get_mut(start..).unwrap_or_default();
    for piece in pieces {
        let (part, rest) = room.split_at_mut_checked(piece.len()).ok_or(Errno::FBIG)?;
        part.copy_from_slice(piece);
        room = rest;
    }
    let aligned = memory.get(start..start + rounded).ok_or(Errno::FBIG)?;
    file.write_all_at(aligned, offset)
}

/// Whether bytes that the kernel was told to send from a file stay as they are when their place in
/// the file is written directly, tried with the file `path`, which is made and removed. An error
/// says that it could not be tried, or no direct write be made.
pub(super) fn keeps_what_is_sent(path: &Path) -> io::Result<bool> {
    let cached = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    let direct = open(path);
    fs::remove_file(path)?;
    let direct = direct?;
    let [old, new] = [0xA5, 0x5A].map(|byte| Bytes::from(vec![byte; TRIED]));
    cached.set_len(TRIED as u64)?;
    write(&direct, slice::from_ref(&old), 0)?;
    let (mut receiver, sender) = io::pipe()?;
    let mut offset = 0;
    // splice(2), since sendfile(2) copied into pipes before Linux 5.12.
    let sent = splice(
        &cached,
        Some(&mut offset),
        &sender,
        None,
        TRIED,
        SpliceFlags::empty(),
    )?;
    drop(sender);
    write(&direct, slice::from_ref(&new), 0)?;
    let mut received = Vec::with_capacity(TRIED);
    receiver.read_to_end(&mut received)?;
    let mut read = vec![0; TRIED];
    cached.read_exact_at(&mut read, 0)?;
    // A user with many pipes gets small ones.
    Ok(sent > 0 && received == old[..sent] && read == new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_length_and_alignment_are_written_whole() {
        let dir = crate::tests::dir_on_disk();
        let path = dir.path().join("file");
        let cached = File::create_new(&path).unwrap();
        cached.set_len(1 << 20).unwrap();
        let direct = open(&path).unwrap();
        let numbers: Vec<u8> = (0..=u8::MAX).cycle().take(100_000).collect();
        let numbers = Bytes::from(numbers);
        for cuts in [
            &[0, 1][..],
            &[0, 4096],
            &[3, 4099],
            &[0, 4095, 4096, 4097],
            &[7, 7, 20, 65_536, 99_999],
            &[5, 5],
        ] {
            let pieces = cuts.windows(2).map(|cut| numbers.slice(cut[0]..cut[1]));
            let pieces: Vec<Bytes> = pieces.collect();
            write(&direct, &pieces, 8192).unwrap();
            let expected = pieces.concat();
            let mut read = vec![0; expected.len()];
            let file = File::open(&path).unwrap();
            file.read_exact_at(&mut read, 8192).unwrap();
            assert!(read == expected, "{cuts:?}");
        }
    }

    #[test]
    fn a_file_system_that_writes_through_its_page_cache_is_found_out() {
        // Memory is nothing but page cache, which newer kernels let be opened directly all the same.
        let memory = Path::new("/dev/shm");
        let kind = rustix::fs::statfs(memory).unwrap().f_type;
        assert_eq!(kind, 0x0102_1994, "/dev/shm is no tmpfs");
        let dir = tempfile::tempdir_in(memory).unwrap();
        let found = keeps_what_is_sent(&dir.path().join("probe"));
        assert!(!matches!(found, Ok(true)), "{found:?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
