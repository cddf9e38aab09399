//! The `file` driver: objects are files of one directory, each named by its key.
//!
//! An object is written under a temporary name in the same directory, made durable, and only then
//! given its own name, so that a name always stands for whole data. What a crash leaves behind has
//! a temporary name and no lock, and [`Store::remove_unfinished`] removes it.

mod calls;
mod config;
pub mod disk;
mod location;
#[cfg(test)]
mod tests;
mod write;

use std::{
    io,
    ops::Range,
    path::{PathBuf, absolute},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};

use self::{
    calls::Calls,
    disk::{Disk, Entries, File, Lock, RealDisk},
    location::{Locations, is_key},
    write::FileWrite,
};
use crate::{Capabilities, Listed, Result, Stat, Store, StoreError, Write};

pub use config::Config;

/// Bytes of one piece of a stream.
const PIECE: usize = 1 << 20;
/// Ranges of this length and more bypass the page cache.
const DIRECT_READ: u64 = 128 << 10;
/// Files that a listing looks at in one call.
const LIST_BATCH: usize = 1000;
/// What names of unfinished objects begin with; no key can.
const TEMPORARY: &str = ".upload-";

/// A store of files in a directory.
pub struct FileStore {
    disk: Arc<dyn Disk>,
    calls: Calls,
    locations: Arc<Locations>,
    config: Config,
    /// The directory as configured, made absolute; and with every symbolic link resolved.
    roots: [PathBuf; 2],
}

impl FileStore {
    /// Opens the directory, making it if it is missing. Blocks; call it at start.
    pub fn open(config: Config) -> Result<Self> {
        let open = || -> io::Result<_> {
            let path = absolute(&config.path)?;
            Ok((path, RealDisk::open(&config.path)?))
        };
        let (path, disk) = open().map_err(|error| StoreError::from_io(&error))?;
        let real = disk.root().to_owned();
        Ok(Self::build(config, [path, real], Arc::new(disk)))
    }

    /// Over another disk than the operating system's; `config.path` only names it in URLs.
    pub fn with_disk(config: Config, disk: Arc<dyn Disk>) -> Self {
        let path = config.path.clone();
        Self::build(config, [path.clone(), path], disk)
    }

    fn build(config: Config, roots: [PathBuf; 2], disk: Arc<dyn Disk>) -> Self {
        let [path, real] = &roots;
        let others = std::iter::once(real).chain(&config.earlier_roots).cloned();
        let locations = Locations::new(path, others);
        Self {
            roots,
            disk,
            calls: Calls::new(config.threads, config.timeout),
            locations: Arc::new(locations),
            config,
        }
    }

    /// The absolute names of the directory, as configured and with symbolic links resolved: what
    /// [`Config::earlier_roots`] must hold once the directory has another one.
    pub fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    async fn open_object(&self, url: &str, direct: bool) -> Result<(Arc<dyn File>, u64)> {
        let key = self.locations.key(url)?;
        let disk = Arc::clone(&self.disk);
        self.calls
            .run(move || {
                let file = disk.open(&key, direct)?;
                let size = file.size()?;
                Ok((file, size))
            })
            .await
    }
}

#[async_trait]
impl Store for FileStore {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            writable: true,
            random_access: true,
            thin: self.config.thin_provisioning,
        }
    }

    fn url(&self, key: &str) -> Result<String> {
        if !is_key(key) {
            return Err(StoreError::BadLocation);
        }
        Ok(self.locations.url(key))
    }

    async fn put(&self, key: &str, size: Option<u64>) -> Result<Box<dyn Write>> {
        let url = self.url(key)?;
        let disk = Arc::clone(&self.disk);
        let write =
            FileWrite::begin(disk, self.calls.clone(), &self.config, key, url, size).await?;
        Ok(Box::new(write))
    }

    async fn get(&self, url: &str, range: Range<u64>) -> Result<BoxStream<'static, Result<Bytes>>> {
        // What is read at length is kept by the cache above: it would only crowd the page cache,
        // at twice the cost.
        let direct = range.end.saturating_sub(range.start) >= DIRECT_READ;
        let (file, _) = self.open_object(url, direct).await?;
        let calls = self.calls.clone();
        let pieces = stream::try_unfold(range, move |rest| {
            let (calls, file) = (calls.clone(), Arc::clone(&file));
            async move {
                let left = rest.end.saturating_sub(rest.start);
                if left == 0 {
                    return Ok(None);
                }
                let len = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
                let start = rest.start;
                let piece = calls.run(move || file.read_at(start, len)).await?;
                if piece.len() < len {
                    let end = start.saturating_add(piece.len() as u64);
                    let text = format!("it ends at byte {end}, not at {}", rest.end);
                    return Err(StoreError::Damaged(text));
                }
                let next = start.saturating_add(len as u64)..rest.end;
                Ok(Some((piece, next)))
            }
        });
        Ok(pieces.boxed())
    }

    async fn stat(&self, url: &str) -> Result<Stat> {
        let (_, size) = self.open_object(url, false).await?;
        Ok(Stat { size })
    }

    async fn delete(&self, url: &str) -> Result<()> {
        let key = self.locations.key(url)?;
        let disk = Arc::clone(&self.disk);
        self.calls
            .run(move || {
                disk.remove(&key)?;
                disk.sync()
            })
            .await
    }

    async fn list(&self) -> Result<BoxStream<'static, Result<Listed>>> {
        let disk = Arc::clone(&self.disk);
        let entries = self.calls.run(move || disk.list()).await?;
        let (calls, locations) = (self.calls.clone(), Arc::clone(&self.locations));
        let batches = stream::try_unfold(Some(entries), move |entries| {
            let (calls, locations) = (calls.clone(), Arc::clone(&locations));
            async move {
                let Some(entries) = entries else {
                    return Ok(None);
                };
                let (batch, rest) = calls.run(move || next_batch(entries, &locations)).await?;
                Ok::<_, StoreError>(Some((stream::iter(batch.into_iter().map(Ok)), rest)))
            }
        });
        Ok(futures_util::TryStreamExt::try_flatten(batches).boxed())
    }

    async fn remove_unfinished(&self) -> Result<u64> {
        let disk = Arc::clone(&self.disk);
        self.calls.run(move || remove_unlocked(&*disk)).await
    }
}

/// The next objects of a listing, and the listing if it has more. Files that are no objects of
/// this store are left out: nobody here may judge them.
fn next_batch(
    mut entries: Entries,
    locations: &Locations,
) -> io::Result<(Vec<Listed>, Option<Entries>)> {
    let mut batch = Vec::new();
    for _ in 0..LIST_BATCH {
        let Some(entry) = entries.next() else {
            return Ok((batch, None));
        };
        let entry = entry?;
        let key = match entry.name.as_str() {
            name if is_key(name) => name,
            name if name.starts_with(TEMPORARY) => "",
            _ => continue,
        };
        batch.push(Listed {
            key: key.to_owned(),
            url: locations.url(&entry.name),
            size: entry.size,
        });
    }
    Ok((batch, Some(entries)))
}

/// Removes temporary files that no living writer, here or on another node, has locked. Where there
/// are no locks, none can be told from a living writer's, and all stay.
fn remove_unlocked(disk: &dyn Disk) -> io::Result<u64> {
    let mut removed = 0;
    for entry in disk.list()? {
        let name = entry?.name;
        if !name.starts_with(TEMPORARY) {
            continue;
        }
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        // Locked until it is gone, so that a writer that has just made it notices.
        let _locked = match disk.open(&name, false) {
            Ok(file) => match file.try_lock()? {
                Lock::Taken => file,
                Lock::Held | Lock::Unsupported => continue,
            },
            Err(error) if gone(&error) => continue,
            Err(error) => return Err(error),
        };
        match disk.remove(&name) {
            Ok(()) => removed += 1,
            Err(error) if gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    if removed > 0 {
        disk.sync()?;
    }
    Ok(removed)
}
