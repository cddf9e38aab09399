//! Descriptors that stand alone: text that names other files as the disk's data, of any path.
//!
//! QEMU tells them by the first line that is no comment, whatever bytes the comments hold, and
//! then looks for its words anywhere before the first NUL, wherever they stand in a line. Whoever
//! opens the file as a VMDK without asking what it is needs the second only. So either makes it a
//! descriptor here: no data that QEMU reads as one gets past, and none that it reads is safe.

use super::super::capture::MAX_REGION;

/// What every descriptor must name for QEMU to follow it, in lower case. Its first letter is in it
/// only once, which [`Word::take`] relies on.
const WORD: &[u8] = b"createtype";

/// Whether QEMU, which sees so much of a file, takes it for a descriptor: after comments and blank
/// lines comes its version. Space around the line and any version do here.
pub(super) fn begins(sector: &[u8]) -> bool {
    sector
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .find(|line| !line.is_empty() && !line.starts_with(b"#"))
        .and_then(|line| line.get(..8))
        .is_some_and(|start| start.eq_ignore_ascii_case(b"version="))
}

/// Looks for the word in the text that a stream begins with, and keeps nothing of it.
pub(super) struct Word {
    /// Bytes looked at.
    position: u64,
    /// Bytes of the word that were the last ones.
    matched: usize,
}

/// What a look came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// The text goes on.
    More,
    /// The word is in it.
    Found,
    /// It has ended, or goes on beyond what QEMU reads.
    Ended,
}

impl Word {
    pub(super) const fn new() -> Self {
        Self {
            position: 0,
            matched: 0,
        }
    }

    /// Looks at the piece that starts at `at`. Pieces come in order, and may be given again.
    pub(super) fn take(&mut self, at: u64, piece: &[u8]) -> Look {
        let seen = usize::try_from(self.position.saturating_sub(at)).unwrap_or(usize::MAX);
        for byte in piece.get(seen..).unwrap_or_default() {
            if *byte == 0 || self.position == MAX_REGION as u64 {
                return Look::Ended;
            }
            self.position += 1;
            let byte = byte.to_ascii_lowercase();
            self.matched = match WORD.get(self.matched) {
                Some(next) if *next == byte => self.matched + 1,
                Some(_) | None => usize::from(WORD.first() == Some(&byte)),
            };
            if self.matched == WORD.len() {
                return Look::Found;
            }
        }
        Look::More
    }
}
