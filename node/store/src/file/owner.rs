//! Whose a directory is: a marker file in it says which store of which cluster it holds.
//!
//! An empty mount point has no marker, nor has a directory of somebody else's files. So a disk that is
//! not mounted is told from an empty store, and nothing is put, removed or missed in its place. A
//! directory is marked when a store has its first one, if it is empty; one with files in it, or one
//! instead of a lost one, is taken only when an operator has put an empty marker there.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::disk::make_folder;

/// The name of the marker; no key and no unfinished object has such a one.
pub const MARKER: &str = ".glimpse-store";
/// The form of the marker that this program writes and knows.
const VERSION: &str = "1";
/// What may lie in a directory that is empty otherwise.
const HARMLESS: [&str; 2] = ["lost+found", ".glimpse-store.new"];

/// A store of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The cluster's id.
    pub cluster: String,
    /// The store's name.
    pub store: String,
}

/// Why a directory is not used. The texts are for operators: they hold paths.
#[derive(Debug, thiserror::Error)]
pub enum NotOurs {
    /// It is not there, or nobody has marked it.
    #[error("{} is missing or has no {MARKER} in it: mount its disk. To go on with another directory, new or with images in it, make an empty file {MARKER} there and start the node again", dir.display())]
    Unmarked {
        /// The directory.
        dir: PathBuf,
    },
    /// It was to be a store's first one and is not empty.
    #[error("{} is not empty (it holds {found:?}): to take it with what it holds, make an empty file {MARKER} in it and start the node again", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
        /// A name in it.
        found: String,
    },
    /// The marker is empty: it is filled at the next start.
    #[error("{} has an empty {MARKER}: start the node again to take it", dir.display())]
    Blank {
        /// The directory.
        dir: PathBuf,
    },
    /// Another store's.
    #[error("{} belongs to store {:?} of cluster {}, as its {MARKER} says", dir.display(), owner.store, owner.cluster)]
    Other {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        owner: Owner,
    },
    /// The marker says something else.
    #[error("{}: not a marker that this program knows", path.display())]
    Unknown {
        /// The marker.
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

impl Owner {
    /// How old what lay in the directory before it was this store's is at least: since when it is
    /// changed no more. Blocks.
    pub fn check(&self, dir: &Path) -> Result<SystemTime, NotOurs> {
        let path = dir.join(MARKER);
        let read = fs::read_to_string(&path)
            .and_then(|text| Ok((text, fs::symlink_metadata(&path)?.modified()?)));
        let dir = || dir.to_owned();
        let (text, since) = match read {
            Ok(read) => read,
            Err(cause)
                if matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Err(NotOurs::Unmarked { dir: dir() });
            }
            Err(cause) => return Err(NotOurs::Io { path, cause }),
        };
        if text.is_empty() {
            return Err(NotOurs::Blank { dir: dir() });
        }
        match Self::parse(&text) {
            Some(owner) if owner == *self => Ok(noted(&text).unwrap_or(since)),
            Some(owner) => Err(NotOurs::Other { dir: dir(), owner }),
            None => Err(NotOurs::Unknown { path }),
        }
    }

    /// Takes the directory at a start, marking it where that is due. `known`: the store has had a
    /// directory before, so none is made in its place. Blocks.
    pub fn claim(&self, dir: &Path, known: bool) -> Result<(), NotOurs> {
        if self.claimable(dir, known)? {
            make_folder(dir, 0o777).map_err(at(dir))?;
            self.mark(dir)?;
        }
        Ok(())
    }

    /// What [`Owner::claim`] would say, but nothing is touched: whether a marker is due. Blocks.
    pub fn claimable(&self, dir: &Path, known: bool) -> Result<bool, NotOurs> {
        match self.check(dir) {
            Ok(_) => Ok(false),
            Err(NotOurs::Unmarked { .. }) if !known => refuse_full(dir).map(|()| true),
            Err(NotOurs::Blank { .. }) => Ok(true),
            Err(other) => Err(other),
        }
    }

    /// Whether a file was in the directory before the store was. What it puts is younger than all
    /// that it found; should a clock or a copy make it look older, it is only not removed.
    pub(super) fn is_foreign(dir: &Path, name: &str, since: SystemTime) -> io::Result<bool> {
        Ok(fs::symlink_metadata(dir.join(name))?.modified()? <= since)
    }

    fn mark(&self, dir: &Path) -> Result<(), NotOurs> {
        let since = newest(dir).map_err(at(dir))?;
        let (path, new) = (dir.join(MARKER), dir.join(format!("{MARKER}.new")));
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(self.text(since).as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(dir)?.sync_all()
        };
        write().map_err(at(&path))
    }

    fn text(&self, since: Duration) -> String {
        let Self { cluster, store } = self;
        format!(
            "# A store of images: the files here are not to be touched by others.\n\
             version = {VERSION}\ncluster = {cluster}\nstore = {store}\nsince = {}\n",
            since.as_nanos()
        )
    }

    fn parse(text: &str) -> Option<Self> {
        if value(text, "version")? != VERSION {
            return None;
        }
        Some(Self {
            cluster: value(text, "cluster")?.to_owned(),
            store: value(text, "store")?.to_owned(),
        })
    }
}

fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(" = "));
    let (_, value) = pairs.find(|(name, _)| *name == key)?;
    Some(value)
}

/// The age that a marker notes. Older ones do not: that of the marker itself stands in for it.
fn noted(text: &str) -> Option<SystemTime> {
    let nanoseconds = value(text, "since")?.parse().ok()?;
    UNIX_EPOCH.checked_add(Duration::from_nanos(nanoseconds))
}

/// When the youngest of what lies in a directory was changed, since the epoch: no clock need agree
/// with another for it. 0: nothing lies there.
fn newest(dir: &Path) -> io::Result<Duration> {
    let mut newest = Duration::ZERO;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name() != MARKER && !is_harmless(&entry.file_name()) {
            let changed = entry.metadata()?.modified()?.duration_since(UNIX_EPOCH);
            newest = newest.max(changed.unwrap_or_default());
        }
    }
    Ok(newest)
}

fn is_harmless(name: &OsStr) -> bool {
    HARMLESS.iter().any(|harmless| name == *harmless)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> NotOurs {
    let path = path.to_owned();
    move |cause| NotOurs::Io { path, cause }
}

fn refuse_full(dir: &Path) -> Result<(), NotOurs> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        // It is to be made.
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(at(dir)(cause)),
    };
    for entry in entries {
        let found = entry.map_err(at(dir))?.file_name();
        if !is_harmless(&found) {
            return Err(NotOurs::NotEmpty {
                dir: dir.to_owned(),
                found: found.to_string_lossy().into_owned(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(store: &str) -> Owner {
        Owner {
            cluster: "c".to_owned(),
            store: store.to_owned(),
        }
    }

    #[test]
    fn a_first_directory_is_made_and_known_again() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("images");
        assert!(matches!(
            owner("a").check(&dir),
            Err(NotOurs::Unmarked { .. })
        ));
        owner("a").claim(&dir, false).unwrap();
        owner("a").claim(&dir, false).unwrap();
        owner("a").claim(&dir, true).unwrap();
        owner("a").check(&dir).unwrap();
        // A mount point of a file system of its own is empty, too.
        let mounted = temp.path().join("mounted");
        fs::create_dir_all(mounted.join("lost+found")).unwrap();
        owner("b").claim(&mounted, false).unwrap();
        // Where levels are missing, a disk is.
        let deep = temp.path().join("not/there/images");
        assert!(matches!(
            owner("c").claim(&deep, false),
            Err(NotOurs::Io { .. })
        ));
        assert!(!temp.path().join("not").exists());
    }

    #[test]
    fn a_known_store_gets_no_new_directory_but_by_a_marker() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("images");
        for _ in 0..2 {
            let refused = owner("a").claim(&dir, true).unwrap_err();
            assert!(matches!(refused, NotOurs::Unmarked { .. }), "{refused}");
            let text = refused.to_string();
            assert!(text.contains(&dir.display().to_string()), "{text}");
            fs::create_dir_all(&dir).unwrap();
        }
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        fs::write(dir.join(MARKER), "").unwrap();
        assert!(matches!(owner("a").check(&dir), Err(NotOurs::Blank { .. })));
        owner("a").claim(&dir, true).unwrap();
        owner("a").check(&dir).unwrap();
    }

    #[test]
    fn a_directory_with_files_is_taken_only_by_a_marker_and_they_stay_foreign() {
        let temp = tempfile::tempdir().unwrap();
        let old = File::create(temp.path().join("old")).unwrap();
        let hour = std::time::Duration::from_secs(3600);
        old.set_modified(SystemTime::now() - hour).unwrap();
        let refused = owner("a").claim(temp.path(), false).unwrap_err();
        assert!(
            matches!(refused, NotOurs::NotEmpty { ref found, .. } if found == "old"),
            "{refused}"
        );
        assert!(!temp.path().join(MARKER).exists());
        fs::write(temp.path().join(MARKER), "").unwrap();
        owner("a").claim(temp.path(), false).unwrap();
        let since = owner("a").check(temp.path()).unwrap();
        assert!(Owner::is_foreign(temp.path(), "old", since).unwrap());
        fs::write(temp.path().join("new"), "").unwrap();
        assert!(!Owner::is_foreign(temp.path(), "new", since).unwrap());
    }

    #[test]
    fn nothing_is_foreign_where_nothing_was_found_whatever_the_clock_said_then() {
        let temp = tempfile::tempdir().unwrap();
        let ahead = SystemTime::now() + Duration::from_secs(86_400);
        let touch = |name: &str| {
            let file = File::options().write(true).open(temp.path().join(name));
            file.unwrap().set_modified(ahead).unwrap();
        };
        let is_foreign = |name: &str| {
            let since = owner("a").check(temp.path()).unwrap();
            Owner::is_foreign(temp.path(), name, since).unwrap()
        };
        owner("a").claim(temp.path(), false).unwrap();
        touch(MARKER);
        fs::write(temp.path().join("put"), "").unwrap();
        assert!(!is_foreign("put"));
        // Taken by an empty marker from the same future: what was found counts, not the marker.
        fs::write(temp.path().join(MARKER), "").unwrap();
        touch(MARKER);
        owner("a").claim(temp.path(), true).unwrap();
        assert!(is_foreign("put"));
        let later = File::create(temp.path().join("later")).unwrap();
        later
            .set_modified(SystemTime::now() + Duration::from_secs(1))
            .unwrap();
        assert!(!is_foreign("later"));
        // A marker that notes no age has its own.
        let text = fs::read_to_string(temp.path().join(MARKER)).unwrap();
        let (text, _) = text.split_once("since").unwrap();
        fs::write(temp.path().join(MARKER), text).unwrap();
        touch(MARKER);
        assert!(is_foreign("later"));
    }

    #[test]
    fn looking_at_a_directory_says_what_taking_it_would_and_touches_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("images");
        assert!(owner("a").claimable(&dir, false).unwrap());
        assert!(owner("a").claimable(&dir, true).is_err());
        assert!(!dir.exists());
        fs::create_dir(&dir).unwrap();
        assert!(owner("a").claimable(&dir, false).unwrap());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        owner("a").claim(&dir, false).unwrap();
        assert!(!owner("a").claimable(&dir, true).unwrap());
    }

    #[test]
    fn a_marker_of_others_is_refused_by_their_name_and_stays() {
        let temp = tempfile::tempdir().unwrap();
        owner("theirs").claim(temp.path(), false).unwrap();
        let before = fs::read(temp.path().join(MARKER)).unwrap();
        let stranger = Owner {
            cluster: "d".to_owned(),
            ..owner("theirs")
        };
        for other in [owner("ours"), stranger] {
            for known in [false, true] {
                let refused = other.claim(temp.path(), known).unwrap_err();
                assert!(
                    matches!(refused, NotOurs::Other { ref owner, .. } if owner.store == "theirs"),
                    "{refused}"
                );
            }
        }
        assert_eq!(fs::read(temp.path().join(MARKER)).unwrap(), before);
        for text in ["version = 2\n", "x", "version = 1\nstore = a\n"] {
            fs::write(temp.path().join(MARKER), text).unwrap();
            let refused = owner("a").claim(temp.path(), false);
            assert!(matches!(refused, Err(NotOurs::Unknown { .. })), "{text}");
        }
    }
}
