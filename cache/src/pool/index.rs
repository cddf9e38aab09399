//! Which slot holds which chunk, kept for the next start: one redb table, written in the background.
//!
//! Nothing depends on it: a chunk proves itself when it is first read, so that an entry which a
//! crash lost or left behind costs a miss. Hence it is written at leisure, a row for a whole group
//! of slots, and one that is damaged is thrown away.

use std::{collections::BTreeSet, fs, io::ErrorKind, path::Path, time::Duration};

use parking_lot::{Condvar, Mutex};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::{
    chunk::{CHUNK_SIZE, ChunkName},
    errors::{Error, passes},
};

/// Group number → [`GROUP`] entries of a name and a length (u32, little-endian; 0: empty).
const GROUPS: TableDefinition<u32, &[u8]> = TableDefinition::new("groups");
/// Whether whoever wrote the index last has stopped in order. Missing: no.
const CLEAN: TableDefinition<(), bool> = TableDefinition::new("clean");
/// Slots of one row.
pub(super) const GROUP: u32 = 64;
const ENTRY: usize = 32 + 4;
/// How long changes gather before they are written: what a crash can cost, in misses.
const GATHER: Duration = Duration::from_secs(1);
/// redb's own cache, bytes.
const REDB_CACHE: usize = 2 << 20;

/// What a slot is said to hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Held {
    pub(super) name: ChunkName,
    pub(super) len: u32,
}

/// The index file and the groups that have changed since it was written.
pub(super) struct Index {
    db: Database,
    changes: Mutex<Changes>,
    changed: Condvar,
    was_clean: bool,
}

#[derive(Default)]
struct Changes {
    groups: BTreeSet<u32>,
    stop: bool,
}

impl Index {
    /// Opens the index and reads it whole: what each slot is said to hold, of the first
    /// `slots` at most.
    pub(super) fn open(path: &Path, slots: u32) -> Result<(Self, Vec<Option<Held>>), Error> {
        let (db, held, was_clean) = match open_and_load(path, slots) {
            Ok(opened) => opened,
            Err(error) if is_in_use(&error) || is_short_of(&error) => {
                return Err(Error::Disk(error.to_string()));
            }
            Err(error) => {
                tracing::warn!(%error, "the cache's index is unreadable; starting with an empty one");
                match fs::remove_file(path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        return Err(Error::disk("index", &error));
                    }
                    _ => open_and_load(path, slots)
                        .map_err(|error| Error::Disk(error.to_string()))?,
                }
            }
        };
        let index = Self {
            db,
            changes: Mutex::default(),
            changed: Condvar::new(),
            was_clean,
        };
        Ok((index, held))
    }

    /// Whether the last process stopped in order, so that every slot holds what the index says.
    pub(super) fn was_clean(&self) -> bool {
        self.was_clean
    }

    /// Notes that a slot changed.
    pub(super) fn touch(&self, slot: u32) {
        if self.changes.lock().groups.insert(slot / GROUP) {
            self.changed.notify_one();
        }
    }

    /// Writes what changed, durably. `held` says what a slot holds now.
    pub(super) fn write(&self, held: impl Fn(u32) -> Option<Held>) -> Result<(), Error> {
        self.write_and_mark(held, false)
    }

    /// As [`Index::write`]; `clean`: it is the last time.
    fn write_and_mark(&self, held: impl Fn(u32) -> Option<Held>, clean: bool) -> Result<(), Error> {
        let groups = std::mem::take(&mut self.changes.lock().groups);
        if groups.is_empty() && !clean {
            return Ok(());
        }
        let written = self.write_groups(&groups, held, clean);
        if written.is_err() {
            self.changes.lock().groups.extend(groups);
        }
        written.map_err(|error| Error::Disk(error.to_string()))
    }

    /// Writes changes as they gather, until [`Index::stop`].
    pub(super) fn run(&self, held: impl Fn(u32) -> Option<Held>) {
        loop {
            let mut changes = self.changes.lock();
            self.changed
                .wait_while(&mut changes, |c| c.groups.is_empty() && !c.stop);
            self.changed
                .wait_while_for(&mut changes, |c| !c.stop, GATHER);
            let stop = changes.stop;
            drop(changes);
            if let Err(error) = self.write_and_mark(&held, stop) {
                tracing::warn!(%error, "the cache's index could not be written");
            }
            if stop {
                return;
            }
        }
    }

    /// Ends [`Index::run`] after a last write.
    pub(super) fn stop(&self) {
        self.changes.lock().stop = true;
        self.changed.notify_all();
    }

    fn write_groups(
        &self,
        groups: &BTreeSet<u32>,
        held: impl Fn(u32) -> Option<Held>,
        clean: bool,
    ) -> Result<(), redb::Error> {
        let mut transaction = self.db.begin_write()?;
        transaction.set_quick_repair(true);
        if clean {
            transaction.open_table(CLEAN)?.insert((), true)?;
        }
        {
            let mut table = transaction.open_table(GROUPS)?;
            let mut row = Vec::with_capacity(GROUP as usize * ENTRY);
            for group in groups {
                row.clear();
                let first = group.saturating_mul(GROUP);
                for slot in first..first.saturating_add(GROUP) {
                    let Held { name, len } = held(slot).unwrap_or(Held {
                        name: ChunkName([0; 32]),
                        len: 0,
                    });
                    row.extend(name.0);
                    row.extend(len.to_le_bytes());
                }
                table.insert(group, row.as_slice())?;
            }
        }
        Ok(transaction.commit()?)
    }
}

type Loaded = (Database, Vec<Option<Held>>, bool);

fn open_and_load(path: &Path, slots: u32) -> Result<Loaded, redb::Error> {
    let db = Database::builder()
        .set_cache_size(REDB_CACHE)
        // A damaged file becomes an error here, instead of a panic somewhere.
        .set_check_integrity_on_open(true)
        .create(path)?;
    let (held, was_clean) = load(&db, slots)?;
    // After a crash it says so already: a start need not wait for the disk.
    if was_clean {
        let mut transaction = db.begin_write()?;
        transaction.set_quick_repair(true);
        transaction.open_table(CLEAN)?.insert((), false)?;
        transaction.commit()?;
    }
    Ok((db, held, was_clean))
}

fn load(db: &Database, slots: u32) -> Result<(Vec<Option<Held>>, bool), redb::Error> {
    let transaction = db.begin_read()?;
    let slots = slots as usize;
    let mut held = Vec::new();
    if let Some(table) = existing(transaction.open_table(GROUPS))? {
        for row in table.iter()? {
            let (group, row) = row?;
            let first = group.value().saturating_mul(GROUP) as usize;
            let end = first.saturating_add(GROUP as usize).min(slots);
            // Rows come in the order of their groups.
            held.resize(end.max(held.len()), None);
            let (entries, _) = row.value().as_chunks::<ENTRY>();
            for (slot, entry) in held.iter_mut().skip(first).zip(entries) {
                *slot = read_entry(entry);
            }
        }
    }
    let was_clean = match existing(transaction.open_table(CLEAN))? {
        Some(table) => table.get(())?.is_some_and(|clean| clean.value()),
        None => false,
    };
    Ok((held, was_clean))
}

/// A table of an index that may be new.
fn existing<T>(opened: Result<T, redb::TableError>) -> Result<Option<T>, redb::Error> {
    match opened {
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        other => Ok(Some(other?)),
    }
}

fn read_entry(entry: &[u8; ENTRY]) -> Option<Held> {
    let name = ChunkName(*entry.first_chunk()?);
    let len = u32::from_le_bytes(*entry.last_chunk()?);
    (1..=CHUNK_SIZE)
        .contains(&len)
        .then_some(Held { name, len })
}

/// Whether the process lacks something for the moment. Not so a full disk: without the old index it
/// has room for another.
fn is_short_of(error: &redb::Error) -> bool {
    let redb::Error::Io(error) = error else {
        return false;
    };
    let full = matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    );
    passes(error) && !full
}

fn is_in_use(error: &redb::Error) -> bool {
    matches!(error, redb::Error::DatabaseAlreadyOpen)
}
