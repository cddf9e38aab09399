//! What an owner may have (image-api 2.3): as configured, or as the identity service says (unified
//! limits). The registry holds owners to it, one command after the other, so that no two requests slip
//! through together.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use glimpse_registry::command::Bounds;

use crate::{
    auth::keystone::cache::Cache,
    config::Config,
    keystone::{Error, Keystone, Limits},
};

/// Bytes of all images, MiB.
pub const SIZE_TOTAL: &str = "image_size_total";
/// Bytes of what is staged, MiB.
pub const STAGE_TOTAL: &str = "image_stage_total";
/// Images.
pub const COUNT_TOTAL: &str = "image_count_total";
/// Images that take data in.
pub const COUNT_UPLOADING: &str = "image_count_uploading";

const MIB: u64 = 1 << 20;

/// What one owner may have; `None`: as much as it likes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Bytes of its images.
    pub bytes: Option<u64>,
    /// Bytes of its staged data.
    pub staged: Option<u64>,
    /// How many images.
    pub bounds: Bounds,
}

/// See the module.
#[derive(Debug)]
pub struct Quotas {
    unified: Option<Unified>,
}

/// `limits.unified`
#[derive(Debug)]
struct Unified {
    keystone: Arc<Keystone>,
    /// By the hash of the project.
    known: Cache<Arc<Limits>>,
    keep: Duration,
}

impl Quotas {
    /// Of this configuration; `keystone` is there in the mode that has one.
    pub fn new(config: &Config, keystone: Option<&Arc<Keystone>>) -> Self {
        let unified = keystone.filter(|_| config.limits.unified);
        Self {
            unified: unified.map(|keystone| Unified {
                keystone: Arc::clone(keystone),
                known: Cache::new(config.auth.keystone.cached_tokens),
                keep: config.limits.unified_cache_time,
            }),
        }
    }

    /// What this owner may have; `bytes` is `limits.user_storage_quota`. Images without an owner count
    /// against nobody.
    pub async fn of(&self, owner: Option<&str>, bytes: Option<u64>) -> Result<Allowed, Error> {
        let Some(owner) = owner else {
            return Ok(Allowed::default());
        };
        let Some(limits) = self.limits(owner).await? else {
            return Ok(Allowed {
                bytes,
                ..Allowed::default()
            });
        };
        let of = |name| limit(&limits, name);
        let bytes = |name| of(name).map(|mib| mib.saturating_mul(MIB));
        Ok(Allowed {
            bytes: bytes(SIZE_TOTAL),
            staged: bytes(STAGE_TOTAL),
            bounds: Bounds {
                images: of(COUNT_TOTAL),
                transfers: of(COUNT_UPLOADING),
            },
        })
    }

    /// The unified limits of a project, where they are in use.
    pub async fn limits(&self, project: &str) -> Result<Option<Arc<Limits>>, Error> {
        let Some(unified) = &self.unified else {
            return Ok(None);
        };
        let key = *blake3::hash(project.as_bytes()).as_bytes();
        let begun = Instant::now();
        if let Some(known) = unified.known.get(&key, begun) {
            return Ok(Some(known));
        }
        let limits = Arc::new(unified.keystone.limits(project).await?);
        unified
            .known
            .put(key, begun + unified.keep, Arc::clone(&limits));
        Ok(Some(limits))
    }
}

/// A limit that is not registered is 0; a negative one is none.
fn limit(limits: &Limits, name: &str) -> Option<u64> {
    u64::try_from(limits.get(name).copied().unwrap_or(0)).ok()
}
