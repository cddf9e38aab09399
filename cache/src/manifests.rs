//! Manifest bodies by name: durable, content-addressed files, `<dir>/<two digits>/<name>`.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;

use crate::{
    errors::{Error, passes},
    manifest::{Manifest, ManifestName},
};

/// What the names of unfinished files begin with.
const TEMPORARY: &str = "tmp-";

/// Manifest bodies by name: durable files in a directory.
pub struct Manifests {
    dir: PathBuf,
    next_temporary: AtomicU64,
    /// Held where a body takes its name or loses it, so that none is removed as old that has just
    /// been written again.
    naming: Mutex<()>,
}

impl Manifests {
    /// Opens or makes the directory. One process at a time may have it open.
    pub fn open(dir: PathBuf) -> Result<Self, Error> {
        let open = || {
            fs::create_dir_all(&dir)?;
            for entry in fs::read_dir(&dir)? {
                let entry = entry?;
                // Left behind by a crash.
                if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                    fs::remove_file(entry.path())?;
                }
            }
            Ok(())
        };
        open().map_err(|error| Error::disk("manifests", &error))?;
        let next_temporary = AtomicU64::new(0);
        Ok(Self {
            dir,
            next_temporary,
            naming: Mutex::default(),
        })
    }

    /// Keeps a body; durable on return. Keeping it again is no error. Blocks.
    pub fn put(&self, manifest: &Manifest) -> Result<ManifestName, Error> {
        let (name, body) = manifest.encode();
        // Written again even if it is there: what is there may be damaged or not yet durable.
        match self.write(name, &body) {
            Ok(()) => Ok(name),
            Err(error) => Err(Error::disk("manifest", &error)),
        }
    }

    /// Reads a body and proves it; `None` when it is not held. What lies there and will never be
    /// read, because of the disk or because it is no file, is a bad manifest. Blocks.
    pub fn get(&self, name: ManifestName) -> Result<Option<Manifest>, Error> {
        let (shelf, file) = self.place(name);
        match fs::read(shelf.join(file)) {
            Ok(body) => Manifest::decode(name, &body).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) if passes(&error) => Err(Error::disk("manifest", &error)),
            Err(error) => {
                tracing::warn!(manifest = ?name, %error, "a manifest cannot be read");
                Err(Error::BadManifest)
            }
        }
    }

    /// Names after `after` in their order, at most `limit`, each with the time since its body was
    /// last put. Files that are none of ours are left out. Blocks.
    pub fn list(
        &self,
        after: Option<ManifestName>,
        limit: usize,
    ) -> Result<Vec<(ManifestName, Duration)>, Error> {
        let list = || {
            let mut found = Vec::new();
            let first = after.map_or(0, |name| name.0[0]);
            for shelf in first..=u8::MAX {
                let mut names = self.shelf_names(shelf)?;
                names.retain(|name| after.is_none_or(|after| *name > after));
                names.sort_unstable();
                for name in names {
                    if found.len() == limit {
                        return Ok(found);
                    }
                    found.extend(self.age(name)?.map(|age| (name, age)));
                }
            }
            Ok(found)
        };
        list().map_err(|error| Error::disk("manifests", &error))
    }

    /// Removes a body that was last put at least `age` ago; says whether. Blocks.
    pub fn remove_older(&self, name: ManifestName, age: Duration) -> Result<bool, Error> {
        let (shelf, file) = self.place(name);
        let remove = || {
            let naming = self.naming.lock();
            if self.age(name)?.is_none_or(|found| found < age) {
                return Ok(false);
            }
            fs::remove_file(shelf.join(file))?;
            drop(naming);
            // Not durable at once is no harm: it is removed again.
            Ok(true)
        };
        remove().map_err(|error| Error::disk("manifest", &error))
    }

    fn shelf_names(&self, shelf: u8) -> io::Result<Vec<ManifestName>> {
        let entries = match fs::read_dir(self.dir.join(format!("{shelf:02x}"))) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let name = name.to_str().and_then(|name| {
                let lower = !name.bytes().any(|byte| byte.is_ascii_uppercase());
                lower.then(|| blake3::Hash::from_hex(name).ok()).flatten()
            });
            names.extend(name.map(|hash| ManifestName(*hash.as_bytes())));
        }
        names.retain(|name| name.0[0] == shelf);
        Ok(names)
    }

    /// Time since the body was put; `None`: it is not held.
    fn age(&self, name: ManifestName) -> io::Result<Option<Duration>> {
        let (shelf, file) = self.place(name);
        match fs::metadata(shelf.join(file)).and_then(|found| found.modified()) {
            Ok(put) => Ok(Some(
                SystemTime::now().duration_since(put).unwrap_or_default(),
            )),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(&self, name: ManifestName, body: &[u8]) -> io::Result<()> {
        let (shelf, file) = self.place(name);
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = self.dir.join(format!("{TEMPORARY}{number}"));
        let write = || {
            let mut out = File::create(&temporary)?;
            out.write_all(body)?;
            out.sync_all()?;
            match fs::create_dir(&shelf) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            let naming = self.naming.lock();
            fs::rename(&temporary, shelf.join(file))?;
            drop(naming);
            sync_dir(&shelf)?;
            // The shelf's own name; also when another call made it and has not synced yet.
            sync_dir(&self.dir)
        };
        write().inspect_err(|_| drop(fs::remove_file(&temporary)))
    }

    /// The folder and the file name of a body.
    fn place(&self, name: ManifestName) -> (PathBuf, String) {
        let hex = format!("{name:?}");
        let shelf = self.dir.join(hex.get(..2).unwrap_or_default());
        (shelf, hex)
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManifestBuilder;

    fn manifest(data: &[u8]) -> Manifest {
        let mut builder = ManifestBuilder::new();
        builder.update(data);
        builder.finish()
    }

    #[test]
    fn a_manifest_is_kept_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let manifests = Manifests::open(dir.path().join("manifests")).unwrap();
        let one = manifest(b"one");
        let name = manifests.put(&one).unwrap();
        assert_eq!(manifests.put(&one).unwrap(), name);
        drop(manifests);
        let manifests = Manifests::open(dir.path().join("manifests")).unwrap();
        assert_eq!(manifests.get(name).unwrap(), Some(one));
        assert!(manifests.remove_older(name, Duration::ZERO).unwrap());
        assert_eq!(manifests.get(name).unwrap(), None);
        assert!(!manifests.remove_older(name, Duration::ZERO).unwrap());
    }

    #[test]
    fn bodies_are_listed_in_pages_and_removed_only_when_old() {
        let dir = tempfile::tempdir().unwrap();
        let manifests = Manifests::open(dir.path().to_owned()).unwrap();
        let mut names: Vec<_> = (0..100_u32)
            .map(|number| manifests.put(&manifest(&number.to_le_bytes())).unwrap())
            .collect();
        names.sort_unstable();
        let shelf = dir.path().join(&format!("{:?}", names[0])[..2]);
        fs::write(shelf.join("notes.txt"), "not ours").unwrap();
        let mut listed = Vec::new();
        loop {
            let page = manifests.list(listed.last().copied(), 16).unwrap();
            assert!(page.len() <= 16);
            if page.is_empty() {
                break;
            }
            listed.extend(page.iter().map(|(name, _)| *name));
        }
        assert_eq!(listed, names);
        // One was put an hour ago, and then put again.
        let hour = Duration::from_secs(3600);
        let old = SystemTime::now() - hour;
        let again = manifest(&7_u32.to_le_bytes());
        let (shelf, file) = manifests.place(manifests.put(&again).unwrap());
        let file = File::options().write(true).open(shelf.join(file)).unwrap();
        file.set_modified(old).unwrap();
        let (name, _) = again.encode();
        let found = manifests.list(None, 1000).unwrap();
        let aged: Vec<_> = found.iter().filter(|(_, age)| *age >= hour).collect();
        assert_eq!(
            aged.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            [name]
        );
        manifests.put(&again).unwrap();
        assert!(!manifests.remove_older(name, hour).unwrap());
        assert_eq!(manifests.get(name).unwrap(), Some(again));
    }

    #[test]
    fn a_damaged_body_is_refused_and_mended_by_the_next_put() {
        let dir = tempfile::tempdir().unwrap();
        let manifests = Manifests::open(dir.path().to_owned()).unwrap();
        let one = manifest(b"one");
        let name = manifests.put(&one).unwrap();
        let (shelf, file) = manifests.place(name);
        let path = shelf.join(file);
        let body = fs::read(&path).unwrap();
        for damaged in [&body[..body.len() - 1], b"", &[&body[..], b"x"].concat()] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(manifests.get(name), Err(Error::BadManifest));
        }
        manifests.put(&one).unwrap();
        assert_eq!(manifests.get(name).unwrap(), Some(one.clone()));
        // A folder in its place, and a file in its shelf's.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(manifests.get(name), Err(Error::BadManifest));
        fs::remove_dir_all(&shelf).unwrap();
        fs::write(&shelf, "").unwrap();
        assert_eq!(manifests.get(name), Err(Error::BadManifest));
    }

    #[test]
    fn leftovers_of_a_crash_are_removed_at_start() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("tmp-7"), "half").unwrap();
        Manifests::open(dir.path().to_owned()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
