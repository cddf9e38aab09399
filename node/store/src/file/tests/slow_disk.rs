//! A simulated disk on which one kind of call hangs until it is let go.

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use bytes::Bytes;

use crate::{
    file::disk::{Disk, Entries, File, Lock},
    testing::SimDisk,
};

/// What hangs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Slow {
    FileSync,
    DirectorySync,
}

pub(super) struct SlowDisk {
    pub(super) inner: SimDisk,
    pub(super) renames: AtomicU32,
    gate: Arc<Gate>,
}

struct Gate {
    slow: Slow,
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self, at: Slow) {
        if at == self.slow {
            let open = self.open.lock().unwrap();
            drop(self.opened.wait_while(open, |open| !*open));
        }
    }
}

impl SlowDisk {
    pub(super) fn new(slow: Slow) -> Arc<Self> {
        Arc::new(Self {
            inner: SimDisk::new(),
            renames: AtomicU32::new(0),
            gate: Arc::new(Gate {
                slow,
                open: Mutex::new(false),
                opened: Condvar::new(),
            }),
        })
    }

    /// From now on nothing hangs.
    pub(super) fn go_on(&self) {
        *self.gate.open.lock().unwrap() = true;
        self.gate.opened.notify_all();
    }
}

impl Disk for SlowDisk {
    fn free(&self) -> io::Result<u64> {
        self.inner.free()
    }
    fn create(&self, name: &str, direct: bool) -> io::Result<Arc<dyn File>> {
        let inner = self.inner.create(name, direct)?;
        let gate = Arc::clone(&self.gate);
        Ok(Arc::new(SlowFile { inner, gate }))
    }
    fn open(&self, name: &str, direct: bool) -> io::Result<Arc<dyn File>> {
        self.inner.open(name, direct)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.renames.fetch_add(1, Ordering::SeqCst);
        self.inner.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }
    fn list(&self) -> io::Result<Entries> {
        self.inner.list()
    }
    fn sync(&self) -> io::Result<()> {
        self.gate.pass(Slow::DirectorySync);
        self.inner.sync()
    }
}

struct SlowFile {
    inner: Arc<dyn File>,
    gate: Arc<Gate>,
}

impl File for SlowFile {
    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        self.inner.read_at(offset, len)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write_at(offset, data)
    }
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.allocate(offset, len)
    }
    fn set_size(&self, len: u64) -> io::Result<()> {
        self.inner.set_size(len)
    }
    fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.inner.set_mode(mode)
    }
    fn try_lock(&self) -> io::Result<Lock> {
        self.inner.try_lock()
    }
    fn sync(&self) -> io::Result<()> {
        self.gate.pass(Slow::FileSync);
        self.inner.sync()
    }
}
