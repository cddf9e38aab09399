//! VMware's VMDK with a sparse header: monolithicSparse and streamOptimized. A little-endian
//! header names a descriptor of text, which QEMU obeys, so every line of it is checked. Files of a
//! descriptor alone, which name other files as their data, are recognised and refused.
//!
//! Beyond the reference, a descriptor that QEMU would read differently than this check is refused:
//! one that names a parent, or a second createType, even in a comment, as QEMU looks for the words
//! anywhere; and a capacity of 0, upon which QEMU follows the descriptor instead of the header.

use super::{
    Format, Found, Step, Violation,
    capture::{MAX_REGION, Region, Tail, bytes},
};

const MAGIC: &[u8] = b"KDMV";
const HEADER_LENGTH: usize = 512;
const SECTOR: u64 = 512;
/// Of the grain directory: it is in a footer.
const AT_END: u64 = u64::MAX;
/// Marker, footer, end of stream.
const FOOTER_LENGTH: usize = 3 * 512;
const MARKER_FOOTER: u32 = 3;
const MARKER_END: u32 = 0;

enum Vmdk {
    /// The first sector decides.
    Start { header: Region, types: Vec<String> },
    /// All text so far: maybe a descriptor.
    Text(Region),
    /// A sparse header.
    Sparse(Sparse),
}

struct Sparse {
    header: Header,
    descriptor: Region,
    descriptor_is_safe: bool,
    tail: Option<Tail>,
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
                    let sparse = data.starts_with(MAGIC);
                    let text = before_nul(data);
                    if !sparse && !text.iter().all(|byte| is_text(*byte)) {
                        return Step::NotThis;
                    }
                    if !sparse && text.len() < data.len() {
                        return text_ended(text);
                    }
                    if !header.is_complete() {
                        return Step::More;
                    }
                    *self = if sparse {
                        match Sparse::new(data, std::mem::take(types)) {
                            Ok(sparse) => Self::Sparse(sparse),
                            Err(violation) => return refused(violation),
                        }
                    } else {
                        let mut text = Region::new(0, MAX_REGION);
                        text.take(0, data);
                        Self::Text(text)
                    };
                }
                Self::Text(text) => {
                    let before = text.data().len();
                    text.take(at, piece);
                    let nul = text.data().iter().skip(before).any(|byte| *byte == 0);
                    return match nul || text.is_complete() {
                        false => Step::More,
                        true => text_ended(text.data()),
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
            Self::Start { header: text, .. } | Self::Text(text) => is_descriptor(text.data())
                .then(|| Found::of_unknown_size().checked(Err(descriptor_alone()))),
            Self::Sparse(sparse) => Some(sparse.finish()),
        }
    }

    fn held(&self) -> usize {
        match self {
            Self::Start { header, .. } => header.data().len(),
            Self::Text(text) => text.data().len(),
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

fn text_ended(text: &[u8]) -> Step {
    match is_descriptor(text) {
        true => refused(descriptor_alone()),
        false => Step::NotThis,
    }
}

fn is_text(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t'..=b'\r' | 0x1c..=0x1f)
}

/// Text up to its first NUL that names a createType.
fn is_descriptor(text: &[u8]) -> bool {
    const CREATE_TYPE: &[u8] = b"createtype=\"";
    let text = before_nul(text);
    text.windows(CREATE_TYPE.len())
        .any(|window| window.eq_ignore_ascii_case(CREATE_TYPE))
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
            types,
        })
    }

    fn update(&mut self, at: u64, piece: &[u8]) -> Step {
        if let Some(tail) = &mut self.tail {
            tail.take(piece);
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
    let text = match std::str::from_utf8(before_nul(data)) {
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
    if !matches!(kind, "monolithicsparse" | "streamoptimized")
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
