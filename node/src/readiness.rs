//! Whether the disks take what the node would write: asked by `/ready`, never for long.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rustix::fs::{Access, StatVfsMountFlags};
use tokio::sync::Semaphore;

use crate::{app::Stores, config::Config};

/// A disk that does not answer for so long is not ready.
const PATIENCE: Duration = Duration::from_secs(1);

/// The directories that a node writes to.
pub struct Disks {
    watched: Arc<[Watched]>,
    /// Those that may be closed.
    stores: Stores,
    /// One look at a time: a disk that hangs holds one thread, not one for each request.
    looking: Arc<Semaphore>,
}

struct Watched {
    what: String,
    path: PathBuf,
    /// Bytes that must be free there, for the log.
    least_free: u64,
}

impl Disks {
    /// Those of a configuration.
    pub fn of(config: &Config) -> Self {
        let data_dir = &config.node.data_dir;
        // Each may be a file system of its own.
        let mut watched: Vec<_> = [
            ("the data directory", data_dir.clone(), 0),
            // Uploads leave node.keep_free, so a disk that they filled is no reason; one on which
            // the log finds no room for its next segment is.
            (
                "the registry",
                data_dir.join("registry"),
                config.registry.segment_size,
            ),
            ("the folder of manifests", data_dir.join("manifests"), 0),
            ("the cache", data_dir.join("cache"), 0),
        ]
        .into_iter()
        .map(|(what, path, least_free)| Watched {
            what: what.to_owned(),
            path,
            least_free,
        })
        .collect();
        for store in config.stores.iter().filter(|store| store.kind == "file") {
            watched.push(Watched {
                what: format!("store {:?}", store.name),
                path: store.path.clone(),
                least_free: 0,
            });
        }
        Self {
            watched: watched.into(),
            stores: Stores::default(),
            looking: Arc::new(Semaphore::new(1)),
        }
    }

    /// And those stores, which know their places.
    #[must_use]
    pub fn and(mut self, stores: &Stores) -> Self {
        self.stores = stores.clone();
        self
    }

    /// What keeps the node from writing.
    pub async fn reasons(&self) -> Vec<String> {
        let (watched, looking) = (Arc::clone(&self.watched), Arc::clone(&self.looking));
        let stores = self.stores.clone();
        let look = async move {
            // The semaphore is never closed.
            let one = looking.acquire_owned().await.ok()?;
            let look = tokio::task::spawn_blocking(move || {
                let closed = stores.by_name.values().filter_map(|named| {
                    let problem = named.store.problem()?;
                    Some(format!("store {:?} is closed: {problem}", named.name))
                });
                let reasons = watched.iter().filter_map(Watched::reason);
                let reasons = reasons.chain(closed).collect();
                drop(one);
                reasons
            });
            look.await.ok()
        };
        match tokio::time::timeout(PATIENCE, look).await {
            Ok(Some(reasons)) => reasons,
            Ok(None) | Err(_) => vec!["the disks do not answer".to_owned()],
        }
    }
}

impl Watched {
    fn reason(&self) -> Option<String> {
        let Self {
            what,
            path,
            least_free,
        } = self;
        let system = match rustix::fs::statvfs(path) {
            Ok(system) => system,
            Err(cause) => return Some(format!("{what} is not there: {cause}, {}", path.display())),
        };
        if system.f_flag.contains(StatVfsMountFlags::RDONLY) {
            return Some(format!("{what} is mounted read-only, {}", path.display()));
        }
        if let Err(cause) = rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK) {
            return Some(format!(
                "{what} cannot be written: {cause}, {}",
                path.display()
            ));
        }
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        (free < *least_free).then(|| {
            format!(
                "{what} has too little room for its log: {free} bytes free, {least_free} needed \
                 (registry.segment_size), in {}",
                path.display()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn directories_that_are_there_with_room_are_no_reason_and_others_are() {
        let temp = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.node.data_dir = temp.path().to_owned();
        config.registry.segment_size = 1;
        config.stores[0].path = temp.path().join("images");
        for folder in ["registry", "manifests", "cache", "images"] {
            std::fs::create_dir(temp.path().join(folder)).unwrap();
        }
        assert_eq!(Disks::of(&config).reasons().await, Vec::<String>::new());
        for folder in ["manifests", "cache", "images"] {
            std::fs::remove_dir(temp.path().join(folder)).unwrap();
        }
        config.registry.segment_size = 1 << 60;
        let reasons = Disks::of(&config).reasons().await;
        let [log, manifests, cache, store] = reasons.as_slice() else {
            panic!("{reasons:?}");
        };
        let folder = temp.path().join("registry");
        let told = format!(
            "{} needed (registry.segment_size), in {}",
            1_u64 << 60,
            folder.display()
        );
        assert!(
            log.contains(" bytes free, ") && log.ends_with(&told),
            "{log}"
        );
        assert!(
            manifests.starts_with("the folder of manifests is not there"),
            "{manifests}"
        );
        assert!(cache.starts_with("the cache is not there"), "{cache}");
        assert!(store.starts_with("store \"local\" is not there"), "{store}");
    }

    #[tokio::test]
    async fn a_disk_that_hangs_is_a_reason_and_is_not_asked_again_meanwhile() {
        let disks = Disks::of(&Config::default());
        let _hung = disks.looking.acquire().await.unwrap();
        assert_eq!(disks.reasons().await, ["the disks do not answer"]);
    }
}
