//! VMware's VMDK with a sparse header: monolithicSparse and streamOptimized. A little-endian
//! header names a descriptor of text, which QEMU obeys, so every line of it is checked. Files of a
//! descriptor alone, which name other files as their data, are recognised and refused ([`text`]).
//!
//! Beyond the reference, what QEMU would read differently than this check is refused: a descriptor
//! that names a parent, or a second createType, even in a comment, as QEMU looks for the words
//! anywhere; one that QEMU would read on behind; a capacity of 0, upon which QEMU follows the
//! descriptor instead of the header; a footer that is not where QEMU looks; and the older header
//! of ESX, behind which QEMU looks for a parent as well.

mod text;

use super::{
    Format, Found, Step, VMDK_TYPES, Violation,
    capture::{MAX_REGION, Region, Tail, bytes},
};
use text::{Look, Word};

const MAGIC: &[u8] = b"KDMV";
/// Of the sparse files of ESX.
const MAGIC_ESX: &[u8] = b"COWD";
const HEADER_LENGTH: usize = 512;
const SECTOR: u64 = 512;
/// Behind the header QEMU looks for a parent in so much, up to a NUL, whatever the header says.
const QEMU_DESCRIPTOR: usize = 20 * 512;
/// Of the grain directory: it is in a footer.
const AT_END: u64 = u64::MAX;
/// Marker, footer, end of stream.
const FOOTER_LENGTH: usize = 3 * 512;
const MARKER_FOOTER: u32 = 3;
const MARKER_END: u32 = 0;

enum Vmdk {
    /// The first sector decides.
    Start { header: Region, types: Vec<String> },
    /// Some other file: maybe a descriptor.
    Text(Word),
    /// A sparse header.
    Sparse(Sparse),
}

struct Sparse {
    header: Header,
    descriptor: Region,
    descriptor_is_safe: bool,
    tail: Option<Tail>,
    /// Bytes of the file so far; counted for the tail.
    length: u64,
    types: Vec<String>,
}

/// The fields of interest of the header and the footer.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Header {
    magic: [u8; 4],
    version: u32,
    capacity: u64,
    descriptor_offset: u64,
    descriptor_sectors: u64,
    grain_directory: u64,
}

/// `types`: allowed createTypes; what is not one of the two sparse ones is refused in any case.
pub(super) fn format(types: &[String]) -> Box<dyn Format> {
    Box::new(Vmdk::Start {
        header: Region::new(0, HEADER_LENGTH),
        types: types.iter().map(|name| name.to_ascii_lowercase()).collect(),
    })
}

impl Format for Vmdk {
    fn name(&self) -> &'static str {
        "vmdk"
    }

    fn update(&mut self, at: u64, piece: &[u8]) -> Step {
        loop {
            match self {
                Self::Start { header, types } => {
                    header.take(at, piece);
                    let data = header.data();
                    if data.starts_with(MAGIC_ESX) {
                        return refused(descriptor("sparse files of ESX are not allowed"));
                    }
                    if !header.is_complete() {
                        return Step::More;
                    }
                    if !data.starts_with(MAGIC) {
                        let mut word = Word::new();
                        match word.take(0, data) {
                            _ if text::begins(data) => return refused(descriptor_alone()),
                            Look::Found => return refused(descriptor_alone()),
                            Look::Ended => return Step::NotThis,
                            Look::More => *self = Self::Text(word),
                        }
                        continue;
                    }
                    match Sparse::new(data, std::mem::take(types)) {
                        Ok(sparse) => *self = Self::Sparse(sparse),
                        Err(violation) => return refused(violation),
                    }
                }
                Self::Text(word) => {
                    return match word.take(at, piece) {
                        Look::More => Step::More,
                        Look::Found => refused(descriptor_alone()),
                        Look::Ended => Step::NotThis,
                    };
                }
                Self::Sparse(sparse) => return sparse.update(at, piece),
            }
        }
    }

    fn finish(&mut self) -> Option<Found> {
        match self {
            Self::Start { header, .. } if header.data().starts_with(MAGIC) => {
                Some(Found::cut_short())
            }
            Self::Start { header, .. } => {
                let data = header.data();
                (text::begins(data) || Word::new().take(0, data) == Look::Found)
                    .then(|| Found::of_unknown_size().checked(Err(descriptor_alone())))
            }
            Self::Text(_) => None,
            Self::Sparse(sparse) => Some(sparse.finish()),
        }
    }

    fn held(&self) -> usize {
        match self {
            Self::Start { header, .. } => header.data().len(),
            Self::Text(_) => 0,
            Self::Sparse(sparse) => {
                sparse.descriptor.data().len() + sparse.tail.as_ref().map_or(0, Tail::held)
            }
        }
    }
}

fn refused(violation: Violation) -> Step {
    Step::This(Found::of_unknown_size().checked(Err(violation)))
}

fn descriptor_alone() -> Violation {
    descriptor("a descriptor without its data is not allowed")
}

fn descriptor(reason: &'static str) -> Violation {
    Violation::new("descriptor", reason)
}

fn footer(reason: &'static str) -> Violation {
    Violation::new("footer", reason)
}

/// A descriptor ends at its first NUL.
fn before_nul(data: &[u8]) -> &[u8] {
    data.split(|byte| *byte == 0).next().unwrap_or_default()
}

impl Header {
    fn parse(sector: &[u8]) -> Option<Self> {
        Some(Self {
            magic: bytes(sector, 0)?,
            version: u32::from_le_bytes(bytes(sector, 4)?),
            capacity: u64::from_le_bytes(bytes(sector, 12)?),
            descriptor_offset: u64::from_le_bytes(bytes(sector, 28)?),
            descriptor_sectors: u64::from_le_bytes(bytes(sector, 36)?),
            grain_directory: u64::from_le_bytes(bytes(sector, 56)?),
        })
    }
}

impl Sparse {
    fn new(sector: &[u8], types: Vec<String>) -> Result<Self, Violation> {
        let header = Header::parse(sector).ok_or_else(|| descriptor("the header is cut short"))?;
        if !matches!(header.version, 1..=3) {
            return Err(descriptor("its version is not 1, 2 or 3"));
        }
        if header.capacity == 0 || header.capacity.checked_mul(SECTOR).is_none() {
            return Err(descriptor("its capacity makes no sense"));
        }
        if header.descriptor_offset != 1 {
            return Err(descriptor("its descriptor is not in the second sector"));
        }
        let length = header.descriptor_sectors.checked_mul(SECTOR);
        let length = length.and_then(|length| usize::try_from(length).ok());
        let Some(length) = length.filter(|length| (1..=MAX_REGION).contains(length)) else {
            return Err(descriptor("its descriptor is empty, or of 1 MiB or more"));
        };
        Ok(Self {
            header,
            descriptor: Region::new(SECTOR, length),
            descriptor_is_safe: false,
            tail: (header.grain_directory == AT_END).then(|| Tail::new(FOOTER_LENGTH)),
            length: 0,
            types,
        })
    }

    fn update(&mut self, at: u64, piece: &[u8]) -> Step {
        if let Some(tail) = &mut self.tail {
            tail.take(piece);
            self.length = at.saturating_add(piece.len() as u64);
        }
        if !self.descriptor_is_safe {
            self.descriptor.take(at, piece);
            if !self.descriptor.is_complete() {
                return Step::More;
            }
            if let Err(violation) = check_descriptor(self.descriptor.data(), &self.types) {
                return refused(violation);
            }
            self.descriptor_is_safe = true;
            self.descriptor = Region::new(SECTOR, 0);
        }
        match self.tail {
            Some(_) => Step::More,
            None => Step::This(self.found()),
        }
    }

    fn found(&self) -> Found {
        Found::of_size(self.header.capacity.saturating_mul(SECTOR))
    }

    fn finish(&self) -> Found {
        if !self.descriptor_is_safe {
            return Found::cut_short();
        }
        match self.tail.as_ref().map(Tail::data) {
            None => self.found(),
            Some(None) => Found::cut_short(),
            // QEMU would look for it in whole sectors.
            Some(Some(_)) if !self.length.is_multiple_of(SECTOR) => Found::cut_short(),
            Some(Some(tail)) => self.found().checked(check_footer(&self.header, tail)),
        }
    }
}

/// The footer takes the place of the header once the file is complete, so it must say the same.
fn check_footer(header: &Header, tail: &[u8]) -> Result<(), Violation> {
    let invalid = || footer("it is invalid");
    let (marker, rest) = tail.split_at_checked(512).ok_or_else(invalid)?;
    let (sector, end) = rest.split_at_checked(512).ok_or_else(invalid)?;
    let found = Header::parse(sector).ok_or_else(invalid)?;
    if found.grain_directory == AT_END {
        return Err(footer("it points to another footer"));
    }
    let same = Header {
        grain_directory: header.grain_directory,
        ..found
    };
    if same != *header {
        return Err(footer("it differs from the header"));
    }
    if !is_marker(marker, MARKER_FOOTER) {
        return Err(footer("its marker is invalid"));
    }
    // Here the marker's value, its first field, is 0 as well.
    if !is_marker(end, MARKER_END) || bytes(end, 0) != Some([0; 8]) {
        return Err(footer("the marker of the end of the stream is invalid"));
    }
    Ok(())
}

/// Size 0, the kind, and nothing behind.
fn is_marker(sector: &[u8], kind: u32) -> bool {
    bytes(sector, 8) == Some([0; 4])
        && bytes(sector, 12) == Some(kind.to_le_bytes())
        && sector.iter().skip(16).all(|byte| *byte == 0)
}

/// White space of any kind in it would make it an extent to QEMU.
fn is_key(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Every line must be known to be harmless.
fn check_descriptor(data: &[u8], types: &[String]) -> Result<(), Violation> {
    let text = before_nul(data);
    if text.len() == data.len() && data.len() < QEMU_DESCRIPTOR {
        return Err(descriptor("it does not end with a NUL"));
    }
    let text = match std::str::from_utf8(text) {
        Ok(text) if text.is_ascii() => text.to_ascii_lowercase(),
        Ok(_) | Err(_) => return Err(descriptor("it is not ASCII")),
    };
    let mut kinds = text.split("createtype").skip(1);
    let kind = match (kinds.next(), kinds.next()) {
        (Some(rest), None) => rest
            .strip_prefix("=\"")
            .and_then(|rest| rest.split_once('"')),
        (Some(_), Some(_)) => return Err(descriptor("it has more than one createType")),
        (None, _) => None,
    };
    let Some((kind, _)) = kind else {
        return Err(descriptor("it has no createType"));
    };
    if !VMDK_TYPES
        .iter()
        .any(|safe| safe.eq_ignore_ascii_case(kind))
        || !types.iter().any(|allowed| allowed == kind)
    {
        return Err(descriptor("its createType is not allowed"));
    }
    if text.contains("parentfilenamehint") {
        return Err(descriptor("it names a parent"));
    }
    let mut extents = 0;
    for line in text.split('\n').map(str::trim_ascii) {
        if line.is_empty() || line.starts_with('#') || line.starts_with("ddb") {
            continue;
        }
        if line.split_once('=').is_some_and(|(key, _)| is_key(key)) {
            continue;
        }
        let access = line.split(' ').next().unwrap_or_default();
        if !matches!(access, "rw" | "rdonly" | "noaccess") {
            return Err(descriptor("it has a line of an unknown kind"));
        }
        if line.contains('/') {
            return Err(descriptor("an extent names a path"));
        }
        extents += 1;
    }
    match extents {
        0 => Err(descriptor("it has no extent")),
        _ => Ok(()),
    }
}
