//! One power supply for all disks of a node: it goes at the Nth change, whichever disk that is on.

use std::{io, sync::Arc};

use glimpse_replication::{disk as registry, testing as registry_disk};
use glimpse_store::{
    file::disk::{self as images, Entries, Lock},
    testing as images_disk,
};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// What one process runs on. When it is off it stays off: the next process has another.
pub(super) struct Power {
    state: Mutex<State>,
    gone: Notify,
}

struct State {
    changes: u64,
    cut_at: Option<u64>,
    off: bool,
}

impl Power {
    /// Goes off during the change with that number, counted over all disks.
    pub(super) fn new(cut_at: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                changes: 0,
                cut_at,
                off: false,
            }),
            gone: Notify::new(),
        })
    }

    pub(super) fn is_off(&self) -> bool {
        self.state.lock().off
    }

    /// Changes so far.
    pub(super) fn changes(&self) -> u64 {
        self.state.lock().changes
    }

    /// Goes off now, between two changes.
    pub(super) fn cut(&self) {
        self.state.lock().off = true;
    }

    /// Resolves, once, when a change has met the end.
    pub(super) async fn gone(&self) {
        self.gone.notified().await;
    }

    /// A change. If the power goes with it, its disk is told by `arm`; nothing that comes later,
    /// on any disk, happens. One at a time, so that all disks agree on what came later.
    fn change<T>(
        &self,
        arm: impl FnOnce(),
        change: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.state.lock();
        state.check()?;
        if state.cut_at == Some(state.changes) {
            state.off = true;
            arm();
            self.gone.notify_one();
        }
        state.changes += 1;
        let done = change();
        assert!(!state.off || done.is_err(), "it outlived the power");
        done
    }

    fn check(&self) -> io::Result<()> {
        self.state.lock().check()
    }
}

impl State {
    fn check(&self) -> io::Result<()> {
        match self.off {
            true => Err(io::Error::other("the power is off")),
            false => Ok(()),
        }
    }
}

/// A disk or a file that needs the power.
#[derive(Clone)]
pub(super) struct On<D, I> {
    pub(super) power: Arc<Power>,
    pub(super) disk: D,
    pub(super) inner: I,
}

impl<I> On<registry_disk::SimDisk, I> {
    fn change<T>(&self, change: impl FnOnce(&I) -> io::Result<T>) -> io::Result<T> {
        let arm = || self.disk.cut_at(self.disk.operations());
        self.power.change(arm, || change(&self.inner))
    }
}

/// The log or the tables.
pub(super) fn registry(power: &Arc<Power>, disk: &registry_disk::SimDisk) -> RegistryDisk {
    On {
        power: Arc::clone(power),
        disk: disk.clone(),
        inner: disk.clone(),
    }
}

pub(super) type RegistryDisk = On<registry_disk::SimDisk, registry_disk::SimDisk>;

impl registry::Disk for RegistryDisk {
    fn open(&self, name: &str, create: bool) -> io::Result<Box<dyn registry::File>> {
        let open = |disk: &registry_disk::SimDisk| disk.open(name, create);
        self.power.check()?;
        let makes = create && !self.inner.list()?.iter().any(|known| known == name);
        let inner = if makes {
            self.change(open)?
        } else {
            open(&self.inner)?
        };
        Ok(Box::new(On {
            power: Arc::clone(&self.power),
            disk: self.disk.clone(),
            inner,
        }))
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.power.check()?;
        self.inner.list()
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|disk| disk.remove(name))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|disk| disk.rename(from, to))
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.change(registry::Disk::sync_dir)
    }
    fn available(&self) -> io::Result<u64> {
        self.power.check()?;
        self.inner.available()
    }
}

impl registry::File for On<registry_disk::SimDisk, Box<dyn registry::File>> {
    fn len(&self) -> io::Result<u64> {
        self.power.check()?;
        self.inner.len()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.power.check()?;
        self.inner.read_at(offset, buffer)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(|file| file.write_at(offset, data))
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        match len <= self.len()? {
            true => Ok(()),
            false => self.set_len(len),
        }
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|file| file.set_len(len))
    }
    fn sync_data(&self) -> io::Result<()> {
        self.change(|file| file.sync_data())
    }
}

/// The store.
pub(super) fn images(power: &Arc<Power>, disk: &images_disk::SimDisk) -> ImagesDisk {
    On {
        power: Arc::clone(power),
        disk: disk.clone(),
        inner: disk.clone(),
    }
}

pub(super) type ImagesDisk = On<images_disk::SimDisk, images_disk::SimDisk>;

impl<I> On<images_disk::SimDisk, I> {
    fn change<T>(&self, change: impl FnOnce(&I) -> io::Result<T>) -> io::Result<T> {
        let arm = || self.disk.cut_at(self.disk.changes());
        self.power.change(arm, || change(&self.inner))
    }

    fn file(&self, inner: Arc<dyn images::File>) -> Arc<dyn images::File> {
        Arc::new(On {
            power: Arc::clone(&self.power),
            disk: self.disk.clone(),
            inner,
        })
    }
}

impl images::Disk for ImagesDisk {
    fn create(&self, name: &str, direct: bool) -> io::Result<Arc<dyn images::File>> {
        let made = self.change(|disk| disk.create(name, direct))?;
        Ok(self.file(made))
    }
    fn open(&self, name: &str, direct: bool) -> io::Result<Arc<dyn images::File>> {
        self.power.check()?;
        Ok(self.file(self.inner.open(name, direct)?))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|disk| disk.rename(from, to))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|disk| images::Disk::remove(disk, name))
    }
    fn list(&self) -> io::Result<Entries> {
        self.power.check()?;
        images::Disk::list(&self.inner)
    }
    fn sync(&self) -> io::Result<()> {
        self.change(images::Disk::sync)
    }
    fn free(&self) -> io::Result<u64> {
        self.power.check()?;
        self.inner.free()
    }
}

impl images::File for On<images_disk::SimDisk, Arc<dyn images::File>> {
    fn size(&self) -> io::Result<u64> {
        self.power.check()?;
        self.inner.size()
    }
    fn read_at(&self, offset: u64, len: usize) -> io::Result<bytes::Bytes> {
        self.power.check()?;
        self.inner.read_at(offset, len)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(|file| file.write_at(offset, data))
    }
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.power.check()?;
        self.inner.allocate(offset, len)
    }
    fn set_size(&self, len: u64) -> io::Result<()> {
        self.change(|file| file.set_size(len))
    }
    fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.power.check()?;
        self.inner.set_mode(mode)
    }
    fn try_lock(&self) -> io::Result<Lock> {
        self.power.check()?;
        self.inner.try_lock()
    }
    fn sync(&self) -> io::Result<()> {
        self.change(|file| file.sync())
    }
}
