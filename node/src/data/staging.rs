//! Staging: data that is to be imported, as a store of files of its own with a bound on its bytes
//! (image-api 3.5). A file's name is the image's id; a plugin's output has a dash and a number behind it.
//!
//! The bytes are reserved before they are written: what was announced at once, the rest in steps.
//! Whoever removes something does so through the store, which gives the bytes back.

use std::{
    collections::HashMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream::BoxStream};
use glimpse_registry::{View, image::ImageId, task::STAGING};
use glimpse_store::{
    Capabilities, Listed, Result, Stat, Store, StoreError, Stored, Write,
    file::{self, FileStore, Owner},
};
use parking_lot::Mutex;

use crate::app::NamedStore;

/// The staging of one node.
#[derive(Clone)]
pub struct Staging {
    /// The store, under its reserved name.
    pub named: NamedStore,
    /// Bytes that are taken.
    pub space: Arc<Space>,
    /// The directory: for programs that work on files.
    pub root: PathBuf,
}

impl Staging {
    /// Opens or makes the directory `dir` of the node in `cluster`. `size`: bytes at most; `keep_free`:
    /// bytes of the file system that stay free; `step`: in what steps bytes of unknown number are
    /// reserved. Blocks.
    ///
    /// # Errors
    /// The directory is another's, or cannot be made or read; the text is for operators.
    pub fn open(
        dir: &Path,
        cluster: &str,
        size: u64,
        keep_free: u64,
        step: u64,
    ) -> Result<Self, String> {
        let owner = Owner {
            cluster: cluster.to_owned(),
            store: STAGING.to_owned(),
        };
        owner.claim(dir, false).map_err(|cause| cause.to_string())?;
        let mut config = file::Config::new(dir);
        config.owner = Some(owner);
        config.keep_free = keep_free;
        let files = FileStore::open(config).map_err(|cause| cause.to_string())?;
        let mut taken = HashMap::new();
        let read = std::fs::read_dir(dir).map_err(|cause| cause.to_string())?;
        for entry in read.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let length = entry.metadata().map_or(0, |found| found.len());
            // Neither the marker nor what was never finished, which is removed soon.
            if image_of(&name).is_some() {
                taken.insert(name, length);
            }
        }
        let space = Arc::new(Space {
            size,
            taken: Mutex::new(taken),
        });
        Ok(Self {
            named: NamedStore {
                name: STAGING.to_owned(),
                description: String::new(),
                weight: 0,
                store: Arc::new(Bounded {
                    files,
                    space: Arc::clone(&space),
                    step,
                }),
            },
            space,
            root: dir.to_owned(),
        })
    }

    /// Removes files whose image has no use for them: it was deleted, or has other data staged, and
    /// neither an upload nor a task is at it. Says how many. `view` is to be asked anew for each file, so
    /// that it is not older than the file.
    pub async fn sweep(&self, view: impl Fn() -> View) -> Result<u64, glimpse_registry::Error> {
        let mut removed = self.remove_folders().await;
        let Ok(mut listed) = self.named.store.list().await else {
            return Ok(0);
        };
        while let Some(Ok(found)) = listed.next().await {
            let Some(id) = image_of(&found.key) else {
                continue;
            };
            if wanted(&view(), id, &found.url)? {
                continue;
            }
            match self.named.store.delete(&found.url).await {
                Ok(()) => removed += 1,
                Err(StoreError::NotFound) => {}
                Err(error) => tracing::warn!(image.id = %id, %error, "a staged file stays"),
            }
        }
        Ok(removed)
    }
}

impl Staging {
    /// Removes what conversions of an earlier process left. Those of this one hold their room.
    async fn remove_folders(&self) -> u64 {
        let mut removed = 0;
        let Ok(mut entries) = tokio::fs::read_dir(&self.root).await else {
            return 0;
        };
        while let Ok(Some(entry)) = entries.next_entry().await {
            let (name, path) = (entry.file_name(), entry.path());
            let ours = name.to_string_lossy().starts_with(FOLDER);
            if ours && !self.space.holds(&path.display().to_string()) {
                removed += u64::from(tokio::fs::remove_dir_all(path).await.is_ok());
            }
        }
        removed
    }
}

/// How the names of folders begin in which staged data is worked on.
pub const FOLDER: &str = ".convert-";

/// The image that a file is of.
fn image_of(key: &str) -> Option<ImageId> {
    key.get(..36)?.parse().ok()
}

/// Whether somebody still needs the file.
fn wanted(view: &View, id: ImageId, url: &str) -> Result<bool, glimpse_registry::Error> {
    let Some(image) = view.image(id)? else {
        return Ok(view.image_tasks(id)?.iter().any(|task| task.is_open()));
    };
    let import = image.import.as_deref().cloned().unwrap_or_default();
    let staged = import
        .staged
        .is_some_and(|staged| staged.location.url == url);
    Ok(staged || import.task.is_some() || image.upload.is_some())
}

/// Bytes of staging, by the file that takes them.
pub struct Space {
    size: u64,
    taken: Mutex<HashMap<String, u64>>,
}

impl Space {
    /// Makes sure that `key` has `bytes`, more or fewer than before; says whether there is room.
    pub fn take(&self, key: &str, bytes: u64) -> bool {
        let mut taken = self.taken.lock();
        let others = taken.iter().filter(|(other, _)| *other != key);
        let others = others.fold(0u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
        let before = taken.get(key).copied().unwrap_or(0);
        let fits = others.saturating_add(bytes) <= self.size;
        if fits || bytes <= before {
            taken.insert(key.to_owned(), bytes);
            return true;
        }
        false
    }

    /// Whether something is taken under `key`.
    pub fn holds(&self, key: &str) -> bool {
        self.taken.lock().contains_key(key)
    }

    /// Gives the bytes of `key` back.
    pub fn give(&self, key: &str) {
        self.taken.lock().remove(key);
    }

    /// Bytes that are not taken.
    pub fn left(&self) -> u64 {
        let taken = self.taken.lock();
        let sum = taken
            .values()
            .fold(0u64, |sum, bytes| sum.saturating_add(*bytes));
        self.size.saturating_sub(sum)
    }
}

/// A store of files that takes no more bytes than it may.
struct Bounded {
    files: FileStore,
    space: Arc<Space>,
    step: u64,
}

#[async_trait]
impl Store for Bounded {
    fn kind(&self) -> &'static str {
        self.files.kind()
    }

    fn capabilities(&self) -> Capabilities {
        self.files.capabilities()
    }

    fn problem(&self) -> Option<String> {
        self.files.problem()
    }

    fn url(&self, key: &str) -> Result<String> {
        self.files.url(key)
    }

    async fn put(&self, key: &str, size: Option<u64>) -> Result<Box<dyn Write>> {
        // Removed before its name is free again, by whom it belongs to.
        let url = self.files.url(key)?;
        if self.files.stat(&url).await.is_ok() {
            return Err(StoreError::Exists);
        }
        if !self.space.take(key, size.unwrap_or(0)) {
            return Err(StoreError::Full);
        }
        let held = Held {
            space: Arc::clone(&self.space),
            key: key.to_owned(),
            bytes: size.unwrap_or(0),
            kept: false,
        };
        Ok(Box::new(Writing {
            inner: self.files.put(key, size).await?,
            held,
            written: 0,
            step: self.step,
        }))
    }

    async fn get(&self, url: &str, range: Range<u64>) -> Result<BoxStream<'static, Result<Bytes>>> {
        self.files.get(url, range).await
    }

    async fn stat(&self, url: &str) -> Result<Stat> {
        self.files.stat(url).await
    }

    async fn delete(&self, url: &str) -> Result<()> {
        let deleted = self.files.delete(url).await;
        if let (Ok(()) | Err(StoreError::NotFound), Some((_, key))) =
            (&deleted, url.rsplit_once('/'))
        {
            self.space.give(key);
        }
        deleted
    }

    async fn list(&self) -> Result<BoxStream<'static, Result<Listed>>> {
        self.files.list().await
    }

    async fn remove_unfinished(&self) -> Result<u64> {
        self.files.remove_unfinished().await
    }
}

/// Bytes of a file that is being written; given back where it does not come to its end.
struct Held {
    space: Arc<Space>,
    key: String,
    bytes: u64,
    kept: bool,
}

impl Held {
    fn at_least(&mut self, bytes: u64, step: u64) -> Result<()> {
        if bytes <= self.bytes {
            return Ok(());
        }
        let ahead = bytes.saturating_add(step);
        // Close to the end what is needed may still fit.
        let bytes = [ahead, bytes]
            .into_iter()
            .find(|&b| self.space.take(&self.key, b));
        self.bytes = bytes.ok_or(StoreError::Full)?;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.kept {
            self.space.give(&self.key);
        }
    }
}

struct Writing {
    inner: Box<dyn Write>,
    held: Held,
    written: u64,
    step: u64,
}

#[async_trait]
impl Write for Writing {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        self.written = self.written.saturating_add(data.len() as u64);
        self.held.at_least(self.written, self.step)?;
        self.inner.write(data).await
    }

    async fn finish(self: Box<Self>) -> Result<Stored> {
        let Self {
            inner, mut held, ..
        } = *self;
        let stored = inner.finish().await;
        // After an error it may be there all the same; whoever removes it gives the bytes back.
        held.kept = !matches!(stored, Err(StoreError::Exists));
        if let Ok(stored) = &stored {
            held.space.take(&held.key, stored.size);
        }
        stored
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.inner.abort().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "11111111-2222-3333-4444-555555555555";

    async fn put(store: &dyn Store, key: &str, bytes: usize) -> Result<Stored> {
        let mut writer = store.put(key, None).await?;
        writer.write(Bytes::from(vec![7; bytes])).await?;
        writer.finish().await
    }

    #[tokio::test]
    async fn no_more_bytes_are_staged_than_may_be_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("staging");
        let open = || Staging::open(&root, "c", 1000, 0, 100).unwrap();
        let staging = open();
        let store = staging.named.store.as_ref();
        let first = put(store, KEY, 600).await.unwrap();
        assert_eq!(staging.space.left(), 400);
        assert!(matches!(put(store, "b", 401).await, Err(StoreError::Full)));
        assert_eq!(staging.space.left(), 400);
        // Announced: before a byte came.
        assert!(matches!(
            store.put("c", Some(500)).await,
            Err(StoreError::Full)
        ));
        let held = store.put("d", Some(300)).await.unwrap();
        assert_eq!(staging.space.left(), 100);
        drop(held);
        let staging = open();
        let store = staging.named.store.as_ref();
        assert_eq!(staging.space.left(), 400);
        assert!(matches!(put(store, KEY, 1).await, Err(StoreError::Exists)));
        store.delete(&first.url).await.unwrap();
        put(store, KEY, 1000).await.unwrap();
    }

    #[test]
    fn the_directory_of_another_cluster_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        Staging::open(dir.path(), "one", 1000, 0, 100).unwrap();
        assert!(Staging::open(dir.path(), "two", 1000, 0, 100).is_err());
    }
}
