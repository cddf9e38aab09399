//! The data directory: its layout, who it belongs to, and the lock that lets one process in.
//!
//! ```text
//! LOCK          flock'd while a node runs; holds its pid
//! FORMAT        cluster id, raft id, the version of every format; written last at the first start
//! REGISTRY      there once a registry was begun
//! STORES        by store name, every directory that it has had: locations may still name them
//! registry/     the log and the tables
//! cache/        the pool
//! manifests/    manifest bodies by name
//! images/       the default file store
//! staging/      data that waits for its import
//! ```

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, OFlags};
use serde::{Deserialize, Serialize};

/// The format of the layout that this program writes and knows.
pub const FORMAT_VERSION: u32 = 1;

/// There once a registry was begun.
const REGISTRY_MARK: &str = "REGISTRY";

/// Files are not written through symbolic links, to wherever they lead.
const NO_FOLLOW: i32 = OFlags::NOFOLLOW.bits() as i32;

/// What a fresh directory gets.
const FOLDERS: [&str; 4] = ["registry", "cache", "manifests", "images"];

/// What may lie in a directory that is to become a data directory.
const HARMLESS: [&str; 3] = ["LOCK", "FORMAT.new", "lost+found"];

/// Who a data directory belongs to: the content of `FORMAT`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Of the layout.
    pub version: u32,
    /// A UUID, the same on all nodes of a cluster.
    pub cluster_id: String,
    /// This node's id in the group: random, not 0, never used again once the directory is gone.
    pub raft_id: u64,
    /// Seconds since the Unix epoch at the first start.
    pub created_at: u64,
    /// The version of everything that is written in it.
    pub formats: Formats,
}

/// By name, the versions of the formats.
pub type Formats = BTreeMap<String, u32>;

/// The formats that this program writes and knows.
fn formats() -> Formats {
    [
        ("log", glimpse_replication::LOG_FORMAT),
        ("commands", glimpse_registry::command::COMMAND_FORMAT.into()),
        ("tables", glimpse_registry::TABLE_FORMAT),
        ("records", glimpse_registry::RECORD_FORMAT.into()),
        ("pool", glimpse_cache::POOL_FORMAT),
        ("manifests", glimpse_cache::MANIFEST_FORMAT.into()),
    ]
    .map(|(name, version)| (name.to_owned(), version))
    .into()
}

/// What is there once a registry was begun.
const REGISTRY_PARTS: [&str; 3] = ["registry", "registry/log", "registry/tables.redb"];

/// Why a data directory is refused. Nothing in it was touched.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error("{} is in use by {}", dir.display(), holder(*pid))]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The holder, where it could be read.
        pid: Option<u32>,
    },
    /// A later or foreign program wrote it.
    #[error("{} holds formats that this program does not know: {}", dir.display(), unknown.join(", "))]
    Format {
        /// The directory.
        dir: PathBuf,
        /// Each one with its version there and the one that is known.
        unknown: Vec<String>,
    },
    /// Another user's: some files would be readable, others not, and new ones not for that user.
    #[error("{} belongs to uid {owner}, and this process runs as uid {ours}: start it as the user who owns the data directory, or give the whole of it to this one", path.display())]
    Owner {
        /// The file that was looked at.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whose the process is.
        ours: u32,
    },
    /// `FORMAT` is there but cannot be read as such.
    #[error("{} is damaged: {cause}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// It holds something and is no data directory.
    #[error("{} is not empty and not a Glimpse data directory (it holds {found:?} but no FORMAT)", dir.display())]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// A name found in it.
        found: String,
    },
    /// A registry was begun here and is gone, or a part of it.
    #[error("{} is missing, and a registry was begun here: nothing was made anew. If the disk is in order, put a backup in its place (README.md, \"Back up and restore\")", path.display())]
    RegistryGone {
        /// What is missing.
        path: PathBuf,
    },
    /// The file system refuses.
    #[error("{}: {cause}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("pid {pid}"))
}

/// By store name, the directories that it has had.
pub type StoreRoots = BTreeMap<String, Vec<PathBuf>>;

/// An opened data directory; the lock is held while this lives.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    identity: Identity,
    has_registry: bool,
    /// Closing it gives the lock back.
    _lock: File,
}

impl DataDir {
    /// Opens the directory, or makes it durably at the first start. `now` is the time since the
    /// Unix epoch.
    pub fn open(root: &Path, now: std::time::Duration) -> Result<Self, DataDirError> {
        // Before anything is written: a directory of an unknown format stays untouched.
        match refuse_owner(root) {
            // Some file systems give every file one owner, whoever makes it.
            Err(DataDirError::Owner { owner, .. }) if makes_files_of(root, owner) => {}
            result => result?,
        }
        let known = read_identity(root)?;
        if known.is_none() {
            refuse_foreign(root)?;
            make_folder(root)?;
        }
        let lock = lock(root)?;
        // Another process may have made it between the look and the lock.
        let identity = match read_identity(root)? {
            Some(identity) => identity,
            None => {
                let made = create(root, now)?;
                tracing::warn!(data_dir = %root.display(), "a new data directory was made");
                made
            }
        };
        let has_registry = has_registry(root)?;
        if has_registry {
            refuse_lost_registry(root)?;
        }
        // What may be lost is made again as it was, not readable by others.
        for folder in ["registry", "cache", "manifests"] {
            make_folder(&root.join(folder))?;
        }
        Ok(Self {
            root: root.to_owned(),
            identity,
            has_registry,
            _lock: lock,
        })
    }

    /// What [`DataDir::open`] would find or refuse, but only looked at: whose it is, and the
    /// directories that its stores have had. `None`: it is still to be made.
    pub fn look(root: &Path) -> Result<Option<(Identity, StoreRoots)>, DataDirError> {
        refuse_owner(root)?;
        let Some(identity) = read_identity(root)? else {
            refuse_foreign(root)?;
            return Ok(None);
        };
        if has_registry(root)? {
            refuse_lost_registry(root)?;
        }
        Ok(Some((identity, read_store_roots(root)?)))
    }

    /// Who it belongs to.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// The log and the tables.
    pub fn registry(&self) -> PathBuf {
        self.root.join("registry")
    }
    /// The pool.
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }
    /// Manifest bodies.
    pub fn manifests(&self) -> PathBuf {
        self.root.join("manifests")
    }

    /// Whether a registry had been begun in this directory when it was opened: then one must be
    /// there, and an empty or missing one is not made anew, since what it acknowledged would be gone
    /// without a word.
    pub fn has_registry(&self) -> bool {
        self.has_registry
    }

    /// Notes, durably, that a registry was begun. To be called before anything else is kept.
    pub fn keep_registry(&self) -> Result<(), DataDirError> {
        if self.root.join(REGISTRY_MARK).exists() {
            return Ok(());
        }
        let text = "A registry was begun here: the folder `registry` must hold it.\n";
        replace(&self.root, REGISTRY_MARK, text)
    }

    /// The directories that each store has had, oldest first.
    pub fn store_roots(&self) -> Result<StoreRoots, DataDirError> {
        read_store_roots(&self.root)
    }

    /// Keeps what [`DataDir::store_roots`] gives, durably. To be called before anything is put
    /// into a directory that is not among them yet.
    pub fn keep_store_roots(&self, roots: &StoreRoots) -> Result<(), DataDirError> {
        let text = toml::to_string(roots).map_err(|cause| DataDirError::Damaged {
            path: self.root.join("STORES"),
            // A path that is no Unicode text, most likely.
            cause: format!("the stores' directories cannot be noted: {cause}"),
        })?;
        replace(&self.root, "STORES", &text)
    }
}

/// An I/O error with its place.
fn at(path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |cause| DataDirError::Io { path, cause }
}

fn read_store_roots(root: &Path) -> Result<StoreRoots, DataDirError> {
    let path = root.join("STORES");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(StoreRoots::new()),
        Err(cause) => return Err(at(&path)(cause)),
    };
    toml::from_str(&text).map_err(|cause| DataDirError::Damaged {
        path,
        cause: cause.message().to_owned(),
    })
}

/// By the mark, or by what is written only once there is a registry.
fn has_registry(root: &Path) -> Result<bool, DataDirError> {
    if root.join(REGISTRY_MARK).exists() || root.join("STORES").exists() {
        return Ok(true);
    }
    let manifests = root.join("manifests");
    match fs::read_dir(&manifests) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(at(&manifests)(cause)),
    }
}

fn refuse_lost_registry(root: &Path) -> Result<(), DataDirError> {
    for path in REGISTRY_PARTS.map(|part| root.join(part)) {
        if !fs::exists(&path).map_err(at(&path))? {
            return Err(DataDirError::RegistryGone { path });
        }
    }
    Ok(())
}

/// Refuses a directory whose `FORMAT` is another user's.
fn refuse_owner(root: &Path) -> Result<(), DataDirError> {
    let path = root.join("FORMAT");
    let ours = rustix::process::geteuid().as_raw();
    match fs::metadata(&path).map(|found| found.uid()) {
        Ok(owner) if owner != ours => Err(DataDirError::Owner { path, owner, ours }),
        Ok(_) => Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(at(&path)(cause)),
    }
}

/// Whether a file that this process makes here is that user's: NFS, CIFS and others may give it
/// another owner than the process has.
fn makes_files_of(root: &Path, owner: u32) -> bool {
    let path = root.join(format!("OWNER-{:016x}", rand::random::<u64>()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    if options.open(&path).is_err() {
        return false;
    }
    let found = fs::metadata(&path).map(|found| found.uid());
    let removed = fs::remove_file(&path);
    removed.is_ok() && found.is_ok_and(|found| found == owner)
}

fn read_identity(root: &Path) -> Result<Option<Identity>, DataDirError> {
    /// What every version has.
    #[derive(Deserialize)]
    struct Versions {
        version: u32,
        #[serde(default)]
        formats: Formats,
    }
    let path = root.join("FORMAT");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(at(&path)(cause)),
    };
    let damaged = |cause: &toml::de::Error| DataDirError::Damaged {
        path: path.clone(),
        cause: cause.message().to_owned(),
    };
    // The versions first: the rest may have another form in another version.
    let found: Versions = toml::from_str(&text).map_err(|cause| damaged(&cause))?;
    let log = root.join("registry/log");
    let in_log = glimpse_replication::found_log_format(&log).map_err(at(&log))?;
    let unknown = unknown_formats(found.version, found.formats, in_log);
    if !unknown.is_empty() {
        return Err(DataDirError::Format {
            dir: root.to_owned(),
            unknown,
        });
    }
    let identity: Identity = toml::from_str(&text).map_err(|cause| damaged(&cause))?;
    if identity.raft_id == 0 {
        return Err(DataDirError::Damaged {
            path,
            cause: "raft_id is 0".to_owned(),
        });
    }
    if let Some(missing) = formats()
        .keys()
        .find(|name| !identity.formats.contains_key(*name))
    {
        return Err(DataDirError::Damaged {
            path,
            cause: format!("the version of {missing} is missing"),
        });
    }
    Ok(Some(identity))
}

/// What this program does not know, in words. The log also says its version itself.
fn unknown_formats(layout: u32, found: Formats, in_log: Option<u32>) -> Vec<String> {
    let mut known = formats();
    known.insert("layout".to_owned(), FORMAT_VERSION);
    let in_log = in_log.map(|version| ("log".to_owned(), version));
    found
        .into_iter()
        .chain([("layout".to_owned(), layout)])
        .chain(in_log)
        .filter_map(|(name, version)| match known.get(&name) {
            Some(known) if *known == version => None,
            Some(known) => Some(format!(
                "format version {version} of {name} (this program knows {known})"
            )),
            None => Some(format!(
                "format version {version} of {name} (this program knows no such format)"
            )),
        })
        .collect()
}

/// Refuses a directory without `FORMAT` that holds anything: somebody else's files, or a data
/// directory that lost its identity. Empty folders of ours are a first start that was cut.
fn refuse_foreign(root: &Path) -> Result<(), DataDirError> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(at(root)(cause)),
    };
    for entry in entries {
        let entry = entry.map_err(at(root))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let ours = FOLDERS.contains(&name.as_str())
            && fs::read_dir(entry.path()).is_ok_and(|mut inside| inside.next().is_none());
        if !ours && !HARMLESS.contains(&name.as_str()) {
            return Err(DataDirError::Foreign {
                dir: root.to_owned(),
                found: name,
            });
        }
    }
    Ok(())
}

fn lock(root: &Path) -> Result<File, DataDirError> {
    let path = root.join("LOCK");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(NO_FOLLOW)
        .open(&path)
        .map_err(at(&path))?;
    if !file.metadata().map_err(at(&path))?.is_file() {
        return Err(at(&path)(io::Error::other("not a regular file")));
    }
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let pid = file
                .read_to_string(&mut text)
                .ok()
                .and_then(|_| text.trim().parse().ok());
            return Err(DataDirError::Locked {
                dir: root.to_owned(),
                pid,
            });
        }
        Err(cause) => return Err(at(&path)(cause.into())),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(at(&path))?;
    Ok(file)
}

/// Makes everything durable; `FORMAT` comes last and at once.
fn create(root: &Path, now: std::time::Duration) -> Result<Identity, DataDirError> {
    for folder in FOLDERS {
        make_folder(&root.join(folder))?;
    }
    let identity = Identity {
        version: FORMAT_VERSION,
        cluster_id: uuid::Uuid::from_bytes(random_uuid()).to_string(),
        // Below 2^53, so that it survives JSON readers that know doubles only.
        raft_id: rand::random_range(1..1 << 53),
        created_at: now.as_secs(),
        formats: formats(),
    };
    let text = toml::to_string(&identity).map_err(|cause| DataDirError::Damaged {
        path: root.join("FORMAT"),
        cause: cause.to_string(),
    })?;
    replace(root, "FORMAT", &text)?;
    Ok(identity)
}

/// Gives a file of the root new content, durably and at once.
pub(crate) fn replace(root: &Path, name: &str, text: &str) -> Result<(), DataDirError> {
    let path = root.join(name);
    let new = root.join(format!("{name}.new"));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(NO_FOLLOW)
        .open(&new)
        .map_err(at(&new))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(at(&new))?;
    fs::rename(&new, &path).map_err(at(&path))?;
    sync_folder(root)
}

/// A version 4 UUID.
fn random_uuid() -> [u8; 16] {
    *uuid::Builder::from_random_bytes(rand::random())
        .as_uuid()
        .as_bytes()
}

/// Makes a folder, readable by its owner only, and its entry durable. Not those above it.
fn make_folder(path: &Path) -> Result<(), DataDirError> {
    glimpse_store::file::disk::make_folder(path, 0o700).map_err(at(path))
}

fn sync_folder(path: &Path) -> Result<(), DataDirError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(at(path))
}

#[cfg(test)]
mod tests;
