//! A disk in memory that can lose its power and run out of room.
//!
//! Until a file is synced, any of its 4 KiB sectors may or may not survive a cut, and its size may
//! be the old or the new one; until the directory is synced, any of its changes may or may not. No
//! order is assumed between them: what holds here holds on every file system.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rustix::io::Errno;

use crate::file::disk::{Disk, Entries, Entry, File, Lock};

const SECTOR: usize = 4096;

/// A directory in memory.
#[derive(Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    files: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unsynced_names: Vec<NameChange>,
    /// Bytes that fit.
    room: Option<u64>,
    without_locks: bool,
    /// Files that are locked by somebody else as soon as they are made.
    snatched: u32,
    /// Changes so far, and the one at which the power is cut.
    changes: u64,
    cut_at: Option<u64>,
}

#[derive(Default)]
struct Inode {
    data: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<DataChange>,
    locked: bool,
}

#[derive(Clone)]
enum DataChange {
    Write { offset: usize, data: Vec<u8> },
    Size(usize),
}

#[derive(Clone)]
enum NameChange {
    Add(String, usize),
    Remove(String),
    Rename {
        from: String,
        to: String,
        file: usize,
    },
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets no more than `bytes` of data be stored; `None`: without bound.
    pub fn set_room(&self, bytes: Option<u64>) {
        self.lock().room = bytes;
    }

    /// Makes it a file system without locks.
    pub fn remove_locks(&self) {
        self.lock().without_locks = true;
    }

    /// Lets a cleaner take the next `files` between their making and their lock.
    pub fn snatch(&self, files: u32) {
        self.lock().snatched = files;
    }

    /// Changes to the disk so far: writes, syncs, names.
    pub fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// Cuts the power at the change with this number: it and all that follow fail.
    pub fn cut_at(&self, change: u64) {
        self.lock().cut_at = Some(change);
    }

    /// What is found when the power is back; `seed` chooses which unsynced changes survived.
    pub fn restart(&self, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        // All lost, all kept, and everything between.
        let survival = [0.0, 1.0, 0.5, rng.random::<f64>()][rng.random_range(0..4)];
        let state = self.lock();
        let mut names = state.durable_names.clone();
        for change in &state.unsynced_names {
            if rng.random_bool(survival) {
                change.apply(&mut names);
            }
        }
        let files = state.files.iter().map(|file| {
            let mut data = file.durable.clone();
            for change in &file.unsynced {
                change.survive(&mut data, &mut rng, survival);
            }
            Inode {
                durable: data.clone(),
                data,
                ..Inode::default()
            }
        });
        let state = State {
            files: files.collect(),
            durable_names: names.clone(),
            names,
            room: state.room,
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Add(name, file) => {
                names.insert(name.clone(), *file);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
            Self::Rename { from, to, file } => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
        }
    }
}

impl DataChange {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => write_to(file, *offset, data),
            Self::Size(size) => file.resize(*size, 0),
        }
    }

    fn survive(&self, file: &mut Vec<u8>, rng: &mut StdRng, survival: f64) {
        match self {
            Self::Write { offset, data } => {
                let mut at = *offset;
                for sector in data.chunks(SECTOR) {
                    if rng.random_bool(survival) {
                        write_to(file, at, sector);
                    }
                    at += sector.len();
                }
            }
            Self::Size(_) => {
                if rng.random_bool(survival) {
                    self.apply(file);
                }
            }
        }
    }
}

fn write_to(file: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(data);
}

fn to_size(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(|_| Errno::FBIG.into())
}

impl State {
    /// Counts a change. `false`: the power goes with it, so that it may have happened or not.
    fn change(&mut self) -> io::Result<bool> {
        let number = self.changes;
        self.changes += 1;
        match self.cut_at {
            Some(cut) if number > cut => Err(Errno::IO.into()),
            Some(cut) => Ok(number != cut),
            None => Ok(true),
        }
    }

    fn change_names(&mut self, change: NameChange) -> io::Result<()> {
        let alive = self.change()?;
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
        answer(alive)
    }

    fn change_data(&mut self, file: usize, change: DataChange) -> io::Result<()> {
        let alive = self.change()?;
        let inode = &mut self.files[file];
        change.apply(&mut inode.data);
        inode.unsynced.push(change);
        answer(alive)
    }

    fn used(&self) -> u64 {
        let sizes = self.names.values();
        sizes.map(|&file| self.files[file].data.len() as u64).sum()
    }

    fn check_room(&self, more: usize) -> io::Result<()> {
        match self.room {
            Some(room) if self.used() + more as u64 > room => Err(Errno::NOSPC.into()),
            _ => Ok(()),
        }
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        let file = self.names.get(name).copied();
        file.ok_or_else(|| Errno::NOENT.into())
    }
}

fn answer(alive: bool) -> io::Result<()> {
    if alive { Ok(()) } else { Err(Errno::IO.into()) }
}

impl Disk for SimDisk {
    fn free(&self) -> io::Result<u64> {
        let state = self.lock();
        Ok(match state.room {
            Some(room) => room.saturating_sub(state.used()),
            None => u64::MAX,
        })
    }

    fn create(&self, name: &str, _direct: bool) -> io::Result<Arc<dyn File>> {
        let mut state = self.lock();
        if state.names.contains_key(name) {
            return Err(Errno::EXIST.into());
        }
        let file = state.files.len();
        state.files.push(Inode {
            locked: true,
            ..Inode::default()
        });
        state.change_names(NameChange::Add(name.to_owned(), file))?;
        if let Some(rest) = state.snatched.checked_sub(1) {
            state.snatched = rest;
            state.change_names(NameChange::Remove(name.to_owned()))?;
            return Err(Errno::AGAIN.into());
        }
        let disk = self.clone();
        let locked = Mutex::new(true);
        Ok(Arc::new(SimFile { disk, file, locked }))
    }

    fn open(&self, name: &str, _direct: bool) -> io::Result<Arc<dyn File>> {
        let file = self.lock().find(name)?;
        let disk = self.clone();
        let locked = Mutex::new(false);
        Ok(Arc::new(SimFile { disk, file, locked }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        let file = state.find(from)?;
        if state.names.contains_key(to) {
            return Err(Errno::EXIST.into());
        }
        let (from, to) = (from.to_owned(), to.to_owned());
        state.change_names(NameChange::Rename { from, to, file })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.find(name)?;
        state.change_names(NameChange::Remove(name.to_owned()))
    }

    fn list(&self) -> io::Result<Entries> {
        let state = self.lock();
        let entries = state.names.iter().map(|(name, &file)| {
            Ok(Entry {
                name: name.clone(),
                size: state.files[file].data.len() as u64,
            })
        });
        let entries: Vec<_> = entries.collect();
        Ok(Box::new(entries.into_iter()))
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.lock();
        let alive = state.change()?;
        if alive {
            state.durable_names = state.names.clone();
            state.unsynced_names.clear();
        }
        answer(alive)
    }
}

/// An open file of a [`SimDisk`].
struct SimFile {
    disk: SimDisk,
    file: usize,
    locked: Mutex<bool>,
}

impl File for SimFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.lock().files[self.file].data.len() as u64)
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let state = self.disk.lock();
        let data = &state.files[self.file].data;
        let from = to_size(offset)?.min(data.len());
        let to = from.saturating_add(len).min(data.len());
        Ok(Bytes::copy_from_slice(&data[from..to]))
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.disk.lock();
        let offset = to_size(offset)?;
        let end = offset + data.len();
        state.check_room(end.saturating_sub(state.files[self.file].data.len()))?;
        let data = data.to_vec();
        state.change_data(self.file, DataChange::Write { offset, data })
    }

    fn allocate(&self, _offset: u64, len: u64) -> io::Result<()> {
        self.disk.lock().check_room(to_size(len)?)
    }

    fn set_size(&self, len: u64) -> io::Result<()> {
        let len = to_size(len)?;
        self.disk
            .lock()
            .change_data(self.file, DataChange::Size(len))
    }

    fn set_mode(&self, _mode: u32) -> io::Result<()> {
        Ok(())
    }

    fn try_lock(&self) -> io::Result<Lock> {
        let mut mine = self.locked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.disk.lock();
        if state.without_locks {
            return Ok(Lock::Unsupported);
        }
        let inode = &mut state.files[self.file];
        if inode.locked && !*mine {
            return Ok(Lock::Held);
        }
        inode.locked = true;
        *mine = true;
        Ok(Lock::Taken)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        let alive = state.change()?;
        if alive {
            let inode = &mut state.files[self.file];
            inode.durable = inode.data.clone();
            inode.unsynced.clear();
        }
        answer(alive)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        if *self.locked.lock().unwrap_or_else(PoisonError::into_inner) {
            self.disk.lock().files[self.file].locked = false;
        }
    }
}
