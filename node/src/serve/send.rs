//! One vectored write, of which long pieces that are mapped from a file are sent from the file: the
//! kernel takes the file's pages as they are, where a write would copy them.

use std::{
    fs::File,
    io::{self, ErrorKind, IoSlice},
    os::fd::AsFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use glimpse_cache::Mappings;
use rustix::{
    io::Errno,
    net::{SendAncillaryBuffer, SendFlags, sendmsg},
};
use tokio::io::AsyncWrite;

/// Mapped pieces that are shorter are copied: that costs less than a call of their own.
const LEAST_BYTES: usize = 32 << 10;

/// Whether there is anything for [`send`] to send from a file. It looks again: that costs less than a
/// list of what was found.
pub(super) fn has_files(mappings: &Mappings, slices: &[IoSlice<'_>]) -> bool {
    slices.iter().any(|slice| find(mappings, slice).is_some())
}

/// Where a piece is to be sent from, if not from memory.
fn find(mappings: &Mappings, slice: &[u8]) -> Option<(Arc<File>, u64)> {
    (slice.len() >= LEAST_BYTES).then(|| mappings.file_of(slice))?
}

/// Bytes that are read from a file for one write.
const PIECE_BYTES: usize = 32 << 10;

/// Writes the first of the slices' bytes to a stream that has to see them, and says how many. What is
/// mapped from a file is read from the file: an error of the disk is then one, and not a signal that
/// ends the process.
pub(super) fn poll_copy(
    stream: Pin<&mut impl AsyncWrite>,
    mappings: &Mappings,
    context: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let mapped = |slice: &IoSlice<'_>| mappings.file_of(slice);
    let from = slices.iter().position(|slice| !slice.is_empty());
    let slices = &slices[from.unwrap_or(0)..];
    let Some((file, offset)) = slices.first().and_then(mapped) else {
        let end = slices.iter().position(|slice| mapped(slice).is_some());
        return stream.poll_write_vectored(context, &slices[..end.unwrap_or(slices.len())]);
    };
    let mut piece = [0; PIECE_BYTES];
    let wanted = slices[0].len().min(PIECE_BYTES);
    match rustix::io::pread(&*file, &mut piece[..wanted], offset) {
        // The file ends before its mapping does: somebody cut it.
        Ok(0) => Poll::Ready(Err(ErrorKind::UnexpectedEof.into())),
        Ok(count) => stream.poll_write(context, &piece[..count]),
        Err(cause) => Poll::Ready(Err(cause.into())),
    }
}

/// Writes the first of the slices' bytes to a socket that does not block, and says how many.
/// `WouldBlock`: it takes none now.
pub(super) fn send(
    socket: impl AsFd,
    mappings: &Mappings,
    slices: &[IoSlice<'_>],
) -> io::Result<usize> {
    let mut sent = 0;
    let mut rest = slices;
    while let Some((first, after)) = rest.split_first() {
        let (wanted, result) = match find(mappings, first) {
            Some((file, mut offset)) => {
                rest = after;
                let wanted = first.len();
                let result = rustix::fs::sendfile(&socket, &*file, Some(&mut offset), wanted);
                let result = match result {
                    // The file ends before its mapping does: somebody cut it.
                    Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
                    other => other.map_err(io::Error::from),
                };
                (wanted, result)
            }
            None => {
                let in_memory = |slice: &IoSlice<'_>| find(mappings, slice).is_none();
                let end = rest.iter().position(|slice| !in_memory(slice));
                let (memory, after) = rest.split_at(end.unwrap_or(rest.len()));
                rest = after;
                // A head waits for the first bytes of its body.
                let more = match rest.is_empty() {
                    true => SendFlags::empty(),
                    false => SendFlags::MORE,
                };
                let wanted = memory.iter().map(|slice| slice.len()).sum();
                let mut nothing = SendAncillaryBuffer::default();
                let flags = SendFlags::NOSIGNAL | more;
                let result = sendmsg(&socket, memory, &mut nothing, flags);
                (wanted, result.map_err(io::Error::from))
            }
        };
        match result {
            Ok(count) => {
                sent += count;
                if count < wanted {
                    break;
                }
            }
            // What failed is told at the next write.
            Err(_) if sent > 0 => break,
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INTR) => {
                rest = slices;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}
