//! The cache: verified chunks of image data in memory-mapped slots under a hard bound.
//!
//! It knows bytes, names and digests; no image metadata, no HTTP, no Raft. A chunk is 1 MiB of
//! image data named by its BLAKE3; a manifest lists an image's chunks and is named by a BLAKE3 of
//! its own context, so that no chunk can pass for a manifest. Every chunk proves itself: it is
//! verified when it is filled, at the first read after a start, when its pages had left memory, and
//! once its last check is older than the audit interval (`pool::slot` has the exact promise).
//!
//! | module | what lives there |
//! | --- | --- |
//! | `chunk`, `manifest`, `digest` | names, the list of an image's chunks, both from a stream |
//! | `manifests` | manifest bodies in durable files |
//! | `pool` | slots on disk, mapped: the bound, the index, the one `unsafe` |
//! | `eviction` | who leaves; pure |
//! | `fill`, `cache` | one fill per missing chunk; the way a read takes |

mod cache;
mod chunk;
mod digest;
mod errors;
mod eviction;
mod fill;
mod manifest;
mod manifests;
mod pool;
#[cfg(test)]
mod tests;

pub use cache::{Cache, Cause, Config, Damage, Found, Source, Stats, Turn};
pub use chunk::{CHUNK_SIZE, ChunkName, ChunkRef};
pub use digest::ManifestBuilder;
pub use errors::Error;
pub use manifest::{MANIFEST_FORMAT, Manifest, ManifestName};
pub use manifests::Manifests;
pub use pool::{Mappings, POOL_FORMAT, SEGMENT_SIZE, check_pool};
