//! Manifests: which chunks an image is made of, and how that is written down.
//!
//! Chunks come in runs, and both the memory and the body of a manifest are as long as the runs ask
//! for: a terabyte of zeros costs one run. The body, all numbers little-endian:
//!
//! ```text
//! "GLMF"  version u8 = 1   chunk size u32   image length u64
//! runs:   0   count u32                     count chunks of zeros
//!         1   count u32   count * name      count different chunks
//!         2   count u32   name              one chunk count times
//! ```
//!
//! An image has exactly one body: runs are as long as can be, and a repeat is never spelled out.
//! [`Manifest::decode`] refuses any other.

use std::fmt;

use crate::{
    chunk::{CHUNK_SIZE, ChunkName, ChunkRef},
    errors::Error,
};

/// The name of a manifest: BLAKE3 of its body in a context of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ManifestName(pub [u8; 32]);

/// So that no chunk's bytes can pass for a manifest.
const CONTEXT: &str = "glimpse 2026 manifest v1";
const MAGIC: [u8; 4] = *b"GLMF";
/// The version of the body that this program writes, and the only one it reads.
pub const MANIFEST_FORMAT: u8 = 1;

const ZERO_RUN: u8 = 0;
const EACH_RUN: u8 = 1;
const REPEAT_RUN: u8 = 2;

/// The chunk names of one image, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Manifest {
    length: u64,
    runs: Vec<Run>,
    names: Vec<ChunkName>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    /// The first chunk after the run.
    end: u32,
    kind: RunKind,
}

/// Numbers are indexes into the names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum RunKind {
    Zero,
    Each { first: usize },
    Repeat { name: usize },
}

impl Manifest {
    /// Bytes of the image.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Chunks.
    pub fn chunk_count(&self) -> u32 {
        self.runs.last().map_or(0, |run| run.end)
    }

    /// The chunk at `index`, which is below the count.
    pub fn chunk(&self, index: u32) -> ChunkRef {
        let at = self.runs.partition_point(|run| run.end <= index);
        let start = self.start_of(at);
        let name = match self.runs.get(at).map(|run| run.kind) {
            None | Some(RunKind::Zero) => None,
            Some(RunKind::Each { first }) => Some(first + (index - start) as usize),
            Some(RunKind::Repeat { name }) => Some(name),
        };
        match name.and_then(|name| self.names.get(name)) {
            Some(name) => ChunkRef::Data(*name),
            None => ChunkRef::Zero,
        }
    }

    /// The names of its chunks that are not zeros, in order; one that is repeated without another
    /// between stands once.
    pub fn names(&self) -> &[ChunkName] {
        &self.names
    }

    /// Bytes of the chunk at `index`; none past the end.
    pub fn chunk_len(&self, index: u32) -> u32 {
        let start = u64::from(index) * u64::from(CHUNK_SIZE);
        let left = self.length.saturating_sub(start);
        u32::try_from(left).map_or(CHUNK_SIZE, |left| left.min(CHUNK_SIZE))
    }

    /// The body, to be kept as a blob, and its name.
    pub fn encode(&self) -> (ManifestName, Vec<u8>) {
        let mut body = Vec::with_capacity(17 + self.runs.len() * 5 + self.names.len() * 32);
        body.extend(MAGIC);
        body.push(MANIFEST_FORMAT);
        body.extend(CHUNK_SIZE.to_le_bytes());
        body.extend(self.length.to_le_bytes());
        for (at, run) in self.runs.iter().enumerate() {
            let count = run.end - self.start_of(at);
            let (tag, names) = match run.kind {
                RunKind::Zero => (ZERO_RUN, 0..0),
                RunKind::Each { first } => (EACH_RUN, first..first + count as usize),
                RunKind::Repeat { name } => (REPEAT_RUN, name..name + 1),
            };
            body.push(tag);
            body.extend(count.to_le_bytes());
            for name in self.names.get(names).unwrap_or_default() {
                body.extend(name.0);
            }
        }
        (ManifestName::of(&body), body)
    }

    /// Reads a body; refuses one that does not have the name or is not well formed. Takes no more
    /// memory than a small multiple of the body, whatever it says.
    pub fn decode(name: ManifestName, body: &[u8]) -> Result<Self, Error> {
        if ManifestName::of(body) != name {
            return Err(Error::BadManifest);
        }
        Self::parse(body).ok_or(Error::BadManifest)
    }

    fn parse(body: &[u8]) -> Option<Self> {
        let mut rest = body;
        let head = take(&mut rest)? == MAGIC
            && take(&mut rest)? == [MANIFEST_FORMAT]
            && take(&mut rest)? == CHUNK_SIZE.to_le_bytes();
        if !head {
            return None;
        }
        let mut manifest = Self::default();
        let length = u64::from_le_bytes(take(&mut rest)?);
        while !rest.is_empty() {
            let [tag] = take(&mut rest)?;
            let count = u32::from_le_bytes(take(&mut rest)?);
            match tag {
                ZERO_RUN => manifest.push(ChunkRef::Zero, count)?,
                EACH_RUN => {
                    for _ in 0..count {
                        let name = ChunkName(take(&mut rest)?);
                        manifest.push(ChunkRef::Data(name), 1)?;
                    }
                }
                REPEAT_RUN => {
                    let name = ChunkName(take(&mut rest)?);
                    manifest.push(ChunkRef::Data(name), count)?;
                }
                _ => return None,
            }
        }
        let complete = u64::from(manifest.chunk_count()) == length.div_ceil(CHUNK_SIZE.into());
        manifest.length = length;
        // One image, one body.
        (complete && manifest.encode().1 == body).then_some(manifest)
    }

    /// Appends a chunk `count` times. `None`: more chunks than can be counted.
    pub(crate) fn push(&mut self, chunk: ChunkRef, count: u32) -> Option<()> {
        let end = self.chunk_count().checked_add(count)?;
        if count == 0 {
            return Some(());
        }
        let kind = match chunk {
            ChunkRef::Zero => self.push_zero(),
            ChunkRef::Data(name) => self.push_data(name, count),
        };
        match kind {
            Some(kind) => self.runs.push(Run { end, kind }),
            None => self.runs.last_mut()?.end = end,
        }
        Some(())
    }

    pub(crate) fn set_length(&mut self, length: u64) {
        self.length = length;
    }

    /// The run to begin; `None`: the last one goes on.
    fn push_zero(&self) -> Option<RunKind> {
        let kind = self.runs.last().map(|run| run.kind);
        (kind != Some(RunKind::Zero)).then_some(RunKind::Zero)
    }

    /// The run to begin; `None`: the last one goes on. Takes the last chunk of an `Each` back when
    /// it turns out to be repeated.
    fn push_data(&mut self, name: ChunkName, count: u32) -> Option<RunKind> {
        let last = self.runs.last().map(|run| run.kind);
        let same = self.names.last() == Some(&name);
        match last {
            Some(RunKind::Repeat { .. }) if same => return None,
            Some(RunKind::Each { first }) if same => {
                let repeat = RunKind::Repeat {
                    name: self.names.len() - 1,
                };
                if first == self.names.len() - 1 {
                    if let Some(run) = self.runs.last_mut() {
                        run.kind = repeat;
                    }
                    return None;
                }
                if let Some(run) = self.runs.last_mut() {
                    run.end -= 1;
                }
                return Some(repeat);
            }
            Some(RunKind::Each { .. }) if count == 1 => {
                self.names.push(name);
                return None;
            }
            None | Some(RunKind::Zero | RunKind::Each { .. } | RunKind::Repeat { .. }) => {}
        }
        self.names.push(name);
        let name = self.names.len() - 1;
        match count {
            1 => Some(RunKind::Each { first: name }),
            _ => Some(RunKind::Repeat { name }),
        }
    }

    fn start_of(&self, run: usize) -> u32 {
        let before = run.checked_sub(1).and_then(|before| self.runs.get(before));
        before.map_or(0, |run| run.end)
    }
}

impl ManifestName {
    fn of(body: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(body);
        Self(*hasher.finalize().as_bytes())
    }
}

impl fmt::Debug for ManifestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", blake3::Hash::from_bytes(self.0).to_hex())
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = CHUNK_SIZE as u64;

    fn name(byte: u8) -> ChunkName {
        ChunkName([byte; 32])
    }

    fn build(chunks: &[ChunkRef], length: u64) -> Manifest {
        let mut manifest = Manifest::default();
        for chunk in chunks {
            manifest.push(*chunk, 1).unwrap();
        }
        manifest.set_length(length);
        manifest
    }

    fn chunk() -> impl Strategy<Value = ChunkRef> {
        prop_oneof![
            Just(ChunkRef::Zero),
            (1..4_u8).prop_map(|byte| ChunkRef::Data(name(byte))),
        ]
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            chunks in prop::collection::vec(chunk(), 0..60),
            short in 0..MIB,
        ) {
            let length = (chunks.len() as u64 * MIB).saturating_sub(short);
            let manifest = build(&chunks, length);
            let (name, body) = manifest.encode();
            let decoded = Manifest::decode(name, &body).unwrap();
            prop_assert_eq!(&decoded, &manifest);
            prop_assert_eq!(decoded.length(), length);
            prop_assert_eq!(decoded.chunk_count() as usize, chunks.len());
            let mut total = 0;
            for (index, chunk) in (0..).zip(&chunks) {
                prop_assert_eq!(decoded.chunk(index), *chunk);
                total += u64::from(decoded.chunk_len(index));
            }
            prop_assert_eq!(total, length);
            prop_assert_eq!(decoded.chunk_len(chunks.len() as u32), 0);
        }

        #[test]
        fn a_body_of_any_bytes_is_refused_or_is_the_one_body(
            tail in prop::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(2), any::<u8>()], 0..120),
            length in prop_oneof![0..10 * MIB, any::<u64>()],
        ) {
            let mut body = b"GLMF\x01\x00\x00\x10\x00".to_vec();
            body.extend(length.to_le_bytes());
            body.extend(tail);
            if let Ok(manifest) = Manifest::decode(ManifestName::of(&body), &body) {
                prop_assert_eq!(manifest.encode().1, body);
            }
        }

        #[test]
        fn a_changed_body_is_refused(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let chunks = [ChunkRef::Zero, ChunkRef::Data(name(1)), ChunkRef::Data(name(2))];
            let (name, mut body) = build(&chunks, 3 * MIB).encode();
            let at = at.index(body.len());
            body[at] ^= 1 << bit;
            prop_assert_eq!(Manifest::decode(name, &body), Err(Error::BadManifest));
        }
    }

    #[test]
    fn a_long_run_costs_one_run() {
        let mut manifest = Manifest::default();
        manifest.push(ChunkRef::Zero, u32::MAX - 3).unwrap();
        manifest.push(ChunkRef::Data(name(1)), 3).unwrap();
        manifest.set_length(u64::from(u32::MAX) * MIB);
        let (name, body) = manifest.encode();
        assert!(body.len() < 100);
        assert_eq!(Manifest::decode(name, &body).unwrap(), manifest);
        assert_eq!(manifest.push(ChunkRef::Zero, 1), None);
    }

    #[test]
    fn another_spelling_of_the_same_image_is_refused() {
        let zeros = |counts: &[u32]| {
            let mut body = b"GLMF\x01\x00\x00\x10\x00".to_vec();
            body.extend((2 * MIB).to_le_bytes());
            for count in counts {
                body.push(ZERO_RUN);
                body.extend(count.to_le_bytes());
            }
            Manifest::decode(ManifestName::of(&body), &body)
        };
        assert!(zeros(&[2]).is_ok());
        for counts in [&[1, 1][..], &[2, 0], &[0, 2], &[1], &[3], &[u32::MAX, 3]] {
            assert_eq!(zeros(counts), Err(Error::BadManifest), "{counts:?}");
        }
    }

    #[test]
    fn a_chunk_never_passes_for_a_manifest() {
        let (_, body) = build(&[ChunkRef::Data(name(1))], 5).encode();
        let as_chunk = ManifestName(ChunkName::of([&body]).0);
        assert_eq!(Manifest::decode(as_chunk, &body), Err(Error::BadManifest));
    }

    #[test]
    fn the_body_is_as_documented() {
        let chunks = [
            ChunkRef::Data(name(7)),
            ChunkRef::Zero,
            ChunkRef::Data(name(9)),
            ChunkRef::Data(name(9)),
        ];
        let (_, body) = build(&chunks, 3 * MIB + 5).encode();
        let expected = [
            b"GLMF\x01\x00\x00\x10\x00".as_slice(),
            &(3 * MIB + 5).to_le_bytes(),
            b"\x01\x01\x00\x00\x00",
            &[7; 32],
            b"\x00\x01\x00\x00\x00",
            b"\x02\x02\x00\x00\x00",
            &[9; 32],
        ];
        assert_eq!(body, expected.concat());
    }
}
