//! A disk in memory that forgets in a power cut what was not synced: any part of it, in pieces of
//! a sector. It can lose power at any operation, fail at any, and be full.

use std::{collections::BTreeMap, io, mem, sync::Arc};

use parking_lot::Mutex;

use super::Random;
use crate::disk::{Disk, File};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

#[derive(Debug, Clone)]
enum Change {
    Data(usize, Vec<u8>),
    Len(usize),
}

impl Change {
    fn apply(&self, data: &mut Vec<u8>) {
        match self {
            Self::Data(offset, bytes) => {
                let end = offset + bytes.len();
                if data.len() < end {
                    data.resize(end, 0);
                }
                data[*offset..end].copy_from_slice(bytes);
            }
            Self::Len(len) => data.resize(*len, 0),
        }
    }

    /// What of it a power cut leaves.
    fn torn(&self, random: &mut Random) -> Vec<Self> {
        match self {
            Self::Len(_) if random.below(2) == 0 => Vec::new(),
            Self::Len(len) => vec![Self::Len(*len)],
            Self::Data(offset, bytes) => {
                let sectors = Self::sectors(*offset, bytes);
                let kept = random.below(sectors.len() as u64 + 1);
                match random.below(4) {
                    0 => Vec::new(),
                    1 => sectors,
                    // A prefix, or any.
                    2 => sectors.into_iter().take(kept as usize).collect(),
                    _ => {
                        let keep = |_: &Self| random.below(2) == 0;
                        sectors.into_iter().filter(keep).collect()
                    }
                }
            }
        }
    }

    fn sectors(mut offset: usize, mut bytes: &[u8]) -> Vec<Self> {
        let mut sectors = Vec::new();
        while !bytes.is_empty() {
            let room = SECTOR - offset % SECTOR;
            let (sector, rest) = bytes.split_at(room.min(bytes.len()));
            sectors.push(Self::Data(offset, sector.to_vec()));
            offset += sector.len();
            bytes = rest;
        }
        sectors
    }
}

#[derive(Debug, Clone, Default)]
struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

impl Inode {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            change.apply(&mut self.durable);
        }
    }
}

#[derive(Debug, Clone)]
enum DirectoryChange {
    Link(String, u64),
    Unlink(String),
    Rename(String, String),
}

impl DirectoryChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Link(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Unlink(name) => {
                names.remove(name);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}

#[derive(Debug, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    unsynced: Vec<DirectoryChange>,
    operations: u64,
    cut_at: Option<u64>,
    fail_at: Option<u64>,
    capacity: Option<usize>,
    off: bool,
    /// Files opened before a power cut are of no use after it.
    generation: u64,
    largest_read: usize,
}

/// What an operation meets.
enum Fate {
    Goes,
    /// It is under way as the power goes.
    Cut,
    Fails,
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

fn input_output() -> io::Error {
    io::Error::other("input/output error")
}

impl State {
    /// Counts a changing operation.
    fn fate(&mut self) -> io::Result<Fate> {
        if self.off {
            return Err(power_is_off());
        }
        let number = self.operations;
        self.operations += 1;
        if self.cut_at == Some(number) {
            self.off = true;
            return Ok(Fate::Cut);
        }
        if self.fail_at == Some(number) {
            return Ok(Fate::Fails);
        }
        Ok(Fate::Goes)
    }

    /// Bytes of the files that have a name.
    fn used(&self) -> usize {
        let named = self.names.values().filter_map(|n| self.inodes.get(n));
        named.map(|inode| inode.seen.len()).sum()
    }

    fn grow(&self, inode: u64, len: usize) -> io::Result<()> {
        let before = self.inodes.get(&inode).map_or(0, |inode| inode.seen.len());
        match self.capacity {
            Some(capacity) if len > before && self.used() + len - before > capacity => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    fn inode(&mut self, inode: u64, generation: u64) -> io::Result<&mut Inode> {
        if self.off || generation != self.generation {
            return Err(power_is_off());
        }
        self.inodes
            .get_mut(&inode)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change(&mut self, inode: u64, generation: u64, change: Change) -> io::Result<()> {
        self.inode(inode, generation)?;
        let len = match &change {
            Change::Data(offset, bytes) => offset + bytes.len(),
            Change::Len(len) => *len,
        };
        self.grow(inode, len)?;
        match self.fate()? {
            Fate::Goes => {
                self.inode(inode, generation)?.change(change);
                Ok(())
            }
            Fate::Cut => {
                if let Some(inode) = self.inodes.get_mut(&inode) {
                    inode.change(change);
                }
                Err(power_is_off())
            }
            Fate::Fails => Err(input_output()),
        }
    }

    fn change_directory(&mut self, change: DirectoryChange) -> io::Result<()> {
        let fate = self.fate()?;
        if matches!(fate, Fate::Fails) {
            return Err(input_output());
        }
        change.apply(&mut self.names);
        self.unsynced.push(change);
        if matches!(fate, Fate::Cut) {
            return Err(power_is_off());
        }
        Ok(())
    }
}

/// A disk that can lose power. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    /// Changing operations so far.
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// Loses power during the operation of this number.
    pub fn cut_at(&self, operation: u64) {
        self.0.lock().cut_at = Some(operation);
    }

    /// Fails the operation of this number, once. A failed fsync loses what it should have
    /// written: the program still reads it, and the next fsync succeeds without it.
    pub fn fail_at(&self, operation: u64) {
        self.0.lock().fail_at = Some(operation);
    }

    /// Bounds the bytes of all files together.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.0.lock().capacity = bytes;
    }

    /// Whether the power is off.
    pub fn is_off(&self) -> bool {
        self.0.lock().off
    }

    /// Cuts the power, if it is not off yet, and turns it on again. What was not synced is kept
    /// in any part, as `random` has it.
    pub fn power_cut(&self, random: &mut Random) {
        let mut state = self.0.lock();
        let state = &mut *state;
        for inode in state.inodes.values_mut() {
            for change in mem::take(&mut inode.unsynced) {
                for part in change.torn(random) {
                    part.apply(&mut inode.durable);
                }
            }
            inode.seen.clone_from(&inode.durable);
        }
        for change in mem::take(&mut state.unsynced) {
            if random.below(2) == 0 {
                change.apply(&mut state.durable_names);
            }
        }
        state.names.clone_from(&state.durable_names);
        let names = &state.names;
        state
            .inodes
            .retain(|number, _| names.values().any(|named| named == number));
        state.cut_at = None;
        state.fail_at = None;
        state.off = false;
        state.generation += 1;
    }

    /// Content of all files.
    pub fn image(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.0.lock();
        let content = |inode| state.inodes.get(inode).map(|inode| inode.seen.clone());
        state
            .names
            .iter()
            .map(|(name, inode)| (name.clone(), content(inode).unwrap_or_default()))
            .collect()
    }

    /// A disk with these files, all durable.
    pub fn from_image(image: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let mut state = State::default();
        for (name, content) in image {
            let number = state.next_inode;
            state.next_inode += 1;
            state.names.insert(name, number);
            let inode = Inode {
                seen: content.clone(),
                durable: content,
                unsynced: Vec::new(),
            };
            state.inodes.insert(number, inode);
        }
        state.durable_names.clone_from(&state.names);
        Self(Arc::new(Mutex::new(state)))
    }

    /// Bytes of the largest single read so far.
    pub fn largest_read(&self) -> usize {
        self.0.lock().largest_read
    }
}

impl Disk for SimDisk {
    fn open(&self, name: &str, create: bool) -> io::Result<Box<dyn File>> {
        let mut state = self.0.lock();
        if state.off {
            return Err(power_is_off());
        }
        let inode = match state.names.get(name) {
            Some(inode) => *inode,
            None if create => {
                let inode = state.next_inode;
                state.next_inode += 1;
                state.inodes.insert(inode, Inode::default());
                state.change_directory(DirectoryChange::Link(name.to_owned(), inode))?;
                inode
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Box::new(SimFile {
            disk: self.0.clone(),
            inode,
            generation: state.generation,
        }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.0.lock();
        if state.off {
            return Err(power_is_off());
        }
        Ok(state.names.keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        if !state.off && !state.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_directory(DirectoryChange::Unlink(name.to_owned()))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        if !state.off && !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_directory(DirectoryChange::Rename(from.to_owned(), to.to_owned()))
    }

    fn available(&self) -> io::Result<u64> {
        let state = self.0.lock();
        let free = |capacity: usize| capacity.saturating_sub(state.used()) as u64;
        Ok(state.capacity.map_or(u64::MAX, free))
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        match state.fate()? {
            Fate::Goes => {}
            Fate::Cut => return Err(power_is_off()),
            Fate::Fails => {
                state.unsynced.clear();
                return Err(input_output());
            }
        }
        for change in mem::take(&mut state.unsynced) {
            change.apply(&mut state.durable_names);
        }
        Ok(())
    }
}

struct SimFile {
    disk: Arc<Mutex<State>>,
    inode: u64,
    generation: u64,
}

fn index(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.lock();
        Ok(state.inode(self.inode, self.generation)?.seen.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.largest_read = state.largest_read.max(buffer.len());
        let offset = index(offset)?;
        let seen = &state.inode(self.inode, self.generation)?.seen;
        let content = offset
            .checked_add(buffer.len())
            .and_then(|end| seen.get(offset..end))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(content);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let change = Change::Data(index(offset)?, data.to_vec());
        self.disk.lock().change(self.inode, self.generation, change)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if len <= self.len()? {
            return Ok(());
        }
        self.set_len(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let change = Change::Len(index(len)?);
        self.disk.lock().change(self.inode, self.generation, change)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.inode(self.inode, self.generation)?;
        let fate = state.fate()?;
        let Some(inode) = state.inodes.get_mut(&self.inode) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        match fate {
            Fate::Goes => {
                inode.sync();
                Ok(())
            }
            Fate::Cut => Err(power_is_off()),
            Fate::Fails => {
                inode.unsynced.clear();
                Err(input_output())
            }
        }
    }
}
