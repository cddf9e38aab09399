//! Which images the pool holds, and making it drop one.
//!
//! An image is cached when every chunk of it is in the pool; zeros are nowhere and count as held. An
//! image that this node was not asked for, or not lately (`cache.accounts`), is not looked at, even
//! if its chunks came with another one's. Nothing is verified here: damage is met by the next read.

use std::collections::HashSet;

use glimpse_cache::{ChunkName, Manifest, ManifestName};
use glimpse_registry::{
    View,
    image::{Image, ImageId},
    status::Status,
};

use super::Account;
use crate::app::App;

/// Chunks that one survey looks up at most: about a second of one core. Images are taken in the order
/// in which they were read, and those past it are left out.
const MAX_LOOKUPS: usize = 4 << 20;

/// An image of which something is in the pool.
pub struct CachedImage {
    /// What is known of it.
    pub account: Account,
    /// Its record.
    pub image: std::sync::Arc<Image>,
    /// Its chunks that are not zeros, repeats that follow each other counted once.
    pub chunks: usize,
    /// Those of them that are in the pool.
    pub held: usize,
}

/// What a look at the pool found.
#[derive(Default)]
pub struct Survey {
    /// Images of which all is in the pool.
    pub cached: Vec<CachedImage>,
    /// Those of which some is.
    pub partial: Vec<CachedImage>,
    /// Images that were not looked at, since that had taken too long.
    pub left_out: usize,
}

/// Looks at the images that are accounted. Blocks, for about a second at most.
pub fn survey(app: &App, view: &View) -> Result<Survey, glimpse_registry::Error> {
    let mut found = Survey::default();
    let mut budget = MAX_LOOKUPS;
    for (id, account) in app.data.cached.accounts() {
        let Some((image, manifest)) = manifest_of(app, view, id)? else {
            continue;
        };
        let chunks = manifest.names().len();
        if chunks > budget {
            found.left_out += 1;
            continue;
        }
        budget -= chunks;
        let held = app.cache.count_held(manifest.names());
        let entry = CachedImage {
            account,
            image,
            chunks,
            held,
        };
        match held {
            _ if held == chunks => found.cached.push(entry),
            0 => {}
            _ => found.partial.push(entry),
        }
    }
    Ok(found)
}

/// Drops the chunks of an image that no other cached image has, its account, and its place in the
/// queue. The bytes dropped. Where there are too many others to look through, a chunk of theirs may go
/// too: it comes again when it is read. Blocks, for about a second at most.
pub fn forget(app: &App, view: &View, id: ImageId) -> Result<u64, glimpse_registry::Error> {
    let cached = &app.data.cached;
    cached.dequeue(id);
    cached.forget(id);
    let Some((_, manifest)) = manifest_of(app, view, id)? else {
        return Ok(0);
    };
    let mut own: HashSet<ChunkName> = manifest.names().iter().copied().collect();
    let mut budget = MAX_LOOKUPS;
    for (other, _) in cached.accounts() {
        let Some((_, manifest)) = manifest_of(app, view, other)? else {
            continue;
        };
        let names = manifest.names();
        if names.len() > budget {
            continue;
        }
        budget -= names.len();
        let shared = names.iter().any(|name| own.contains(name));
        if shared && app.cache.count_held(names) == names.len() {
            for name in names {
                own.remove(name);
            }
        }
    }
    Ok(app.cache.forget(own))
}

/// The record and the manifest of an image that can be read; `None`: it is not, or no manifest is
/// at hand. Manifests come past the memory for them, which is for those that are read.
fn manifest_of(
    app: &App,
    view: &View,
    id: ImageId,
) -> Result<Option<(std::sync::Arc<Image>, Manifest)>, glimpse_registry::Error> {
    let Some(image) = view.image(id)? else {
        return Ok(None);
    };
    if !matches!(image.status, Status::Active | Status::Deactivated) {
        return Ok(None);
    }
    let Some(reference) = &image.manifest else {
        return Ok(None);
    };
    let manifest = app.manifests.get(ManifestName(reference.name));
    Ok(manifest.ok().flatten().map(|manifest| (image, manifest)))
}
