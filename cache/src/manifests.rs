//! Manifest bodies by name: durable, content-addressed files, `<dir>/<two digits>/<name>`.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    errors::Error,
    manifest::{Manifest, ManifestName},
};

/// What the names of unfinished files begin with.
const TEMPORARY: &str = "tmp-";

/// Manifest bodies by name: durable files in a directory.
pub struct Manifests {
    dir: PathBuf,
    next_temporary: AtomicU64,
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

    /// Reads a body and proves it; `None` when it is not held. Blocks.
    pub fn get(&self, name: ManifestName) -> Result<Option<Manifest>, Error> {
        let (shelf, file) = self.place(name);
        match fs::read(shelf.join(file)) {
            Ok(body) => Manifest::decode(name, &body).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::disk("manifest", &error)),
        }
    }

    /// Removes a body; a missing one is no error. Blocks.
    pub fn remove(&self, name: ManifestName) -> Result<(), Error> {
        let (shelf, file) = self.place(name);
        let removed = fs::remove_file(shelf.join(file)).and_then(|()| sync_dir(&shelf));
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::disk("manifest", &error))
            }
            _ => Ok(()),
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
            fs::rename(&temporary, shelf.join(file))?;
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
        manifests.remove(name).unwrap();
        assert_eq!(manifests.get(name).unwrap(), None);
        manifests.remove(name).unwrap();
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
        assert_eq!(manifests.get(name).unwrap(), Some(one));
    }

    #[test]
    fn leftovers_of_a_crash_are_removed_at_start() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("tmp-7"), "half").unwrap();
        Manifests::open(dir.path().to_owned()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
