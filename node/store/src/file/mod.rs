//! The `file` driver: objects are files of one directory, each named by its key.
//!
//! An object is written under a temporary name in the same directory, made durable, and only then
//! given its own name, so that a name always stands for whole data. What a crash leaves behind has
//! a temporary name and no lock, and [`Store::remove_unfinished`] removes it. A marker in the directory
//! says whose it is.

mod calls;
mod config;
pub mod disk;
mod location;
mod owner;
mod room;
#[cfg(test)]
mod tests;
mod write;

use std::{
    io,
    ops::Range,
    path::{PathBuf, absolute},
    sync::Arc,
    time::SystemTime,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};

use self::{
    calls::Calls,
    disk::{Disk, Entries, File, Lock, RealDisk, make_folder},
    location::{Locations, is_key},
    room::{Room, Seldom},
    write::FileWrite,
};
use crate::{Capabilities, Listed, Result, Stat, Store, StoreError, Write};

pub use config::Config;
pub use owner::{MARKER, NotOurs, Owner};

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
    room: Arc<Room>,
    closed: Arc<Seldom>,
    /// The directory as configured, made absolute; and with every symbolic link resolved.
    roots: [PathBuf; 2],
}

impl FileStore {
    /// Opens the directory. One that has an owner need not be there yet: the store is closed while
    /// it is not. Blocks; call it at start.
    pub fn open(config: Config) -> Result<Self> {
        let open = || -> io::Result<_> {
            if config.owner.is_none() {
                make_folder(&config.path, 0o777)?;
            }
            let path = absolute(&config.path)?;
            Ok((path, RealDisk::open(&config.path)?))
        };
        let (path, disk) = open().map_err(|error| StoreError::from_io(&error))?;
        let real = disk.root().to_owned();
        let store = Self::build(config, [path, real], Arc::new(disk));
        // Told now rather than with the first upload; a disk that is not there is told of elsewhere.
        drop(store.room.note(store.room.check(0)));
        Ok(store)
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
            room: Arc::new(Room::new(&config, Arc::clone(&disk))),
            closed: Arc::default(),
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

    /// Fails while the directory is not there, or another's; says since when it is this store's. What
    /// an unmounted disk leaves behind must not be mistaken for the store.
    async fn owned(&self) -> Result<Option<SystemTime>> {
        let Some(owner) = self.config.owner.clone() else {
            return Ok(None);
        };
        let [_, real] = self.roots.clone();
        let checked = self.calls.run(move || Ok(owner.check(&real))).await?;
        checked.map(Some).map_err(|problem| {
            if self.closed.is_due() {
                tracing::error!(%problem, "a store is closed");
            }
            StoreError::Unavailable("its directory is not there or not its own".into())
        })
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

    fn problem(&self) -> Option<String> {
        let [_, real] = &self.roots;
        let owner = self.config.owner.as_ref()?;
        owner.check(real).err().map(|problem| problem.to_string())
    }

    fn url(&self, key: &str) -> Result<String> {
        if !is_key(key) {
            return Err(StoreError::BadLocation);
        }
        Ok(self.locations.url(key))
    }

    async fn put(&self, key: &str, size: Option<u64>) -> Result<Box<dyn Write>> {
        let url = self.url(key)?;
        self.owned().await?;
        let (disk, room) = (Arc::clone(&self.disk), Arc::clone(&self.room));
        let calls = self.calls.clone();
        let write = FileWrite::begin(disk, calls, &self.config, room, key, url, size).await?;
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
        let since = self.owned().await?;
        let (_, size) = self.open_object(url, false).await?;
        let foreign = match since {
            None => false,
            Some(since) => {
                let (key, [_, real]) = (self.locations.key(url)?, self.roots.clone());
                let look = move || Owner::is_foreign(&real, &key, since);
                self.calls.run(look).await?
            }
        };
        Ok(Stat { size, foreign })
    }

    async fn delete(&self, url: &str) -> Result<()> {
        let key = self.locations.key(url)?;
        self.owned().await?;
        let disk = Arc::clone(&self.disk);
        self.calls
            .run(move || {
                disk.remove(&key)?;
                disk.sync()
            })
            .await
    }

    async fn list(&self) -> Result<BoxStream<'static, Result<Listed>>> {
        self.owned().await?;
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
        self.owned().await?;
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
