//! The state machine on redb: one write transaction per group of commands, not fsynced; now and
//! then one that is.
//!
//! The log is what is durable. After a crash redb opens at the last durable commit (quick repair makes
//! that a matter of milliseconds) and the log is replayed from the applied index in it.

use std::{fs, io, path::Path, sync::Arc};

use glimpse_replication::{Committed, Fault, LogIndex, StateMachine, disk::Disk};
use parking_lot::RwLock;
use redb::{
    Builder, Database, Durability, ReadableDatabase as _, StorageBackend, WriteTransaction,
};

use crate::{
    OpenError,
    backend::OnFile,
    encoding::{decode, decode_envelope, encode, fault},
    machine::decide,
    outcome::Outcome,
    record_cache::RecordCache,
    snapshot,
    tables::{self, ALL, FORMAT_KEY, META, META_KEY, Meta, TABLE_FORMAT},
    view::View,
    writer::Writer,
};

pub use crate::writer::Remember;

/// The tables and the machine that changes them. Owned by the group's thread; readers hold a
/// [`Reader`].
pub struct Store {
    shared: Arc<Shared>,
    meta: Meta,
    durable: LogIndex,
    remember: Remember,
}

/// A door to the newest view; cheap to clone.
#[derive(Clone)]
pub struct Reader(Arc<Shared>);

struct Shared {
    /// Before the database, so that its transaction ends first.
    view: RwLock<View>,
    cache: Arc<RecordCache>,
    database: Database,
}

impl Reader {
    /// What is applied now.
    pub fn view(&self) -> View {
        self.0.view.read().clone()
    }
}

impl Store {
    /// Opens or makes the tables at `path`. `cache_bytes` bounds redb's page cache, `remember` the
    /// commands remembered for deduplication.
    ///
    /// New tables get their name only once they are whole and durable, so that a cut while they are
    /// made leaves nothing that a later start would trip over.
    pub fn open(path: &Path, cache_bytes: usize, remember: Remember) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Io {
            path: path.to_owned(),
            error,
        };
        let mut builder = Builder::new();
        builder.set_cache_size(cache_bytes);
        if fs::exists(path).map_err(failed)? {
            return Self::start(builder.open(path).map_err(unopened)?, cache_bytes, remember);
        }
        let new = path.with_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Err(_) | Ok(()) => {}
        }
        let store = Self::start(
            builder.create(&new).map_err(unopened)?,
            cache_bytes,
            remember,
        )?;
        fs::rename(&new, path).map_err(failed)?;
        let directory = path.parent().unwrap_or_else(|| Path::new("."));
        fs::File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(failed)?;
        Ok(store)
    }

    /// The same on a simulated disk, that of the log.
    pub fn open_on(
        disk: &dyn Disk,
        name: &str,
        cache_bytes: usize,
        remember: Remember,
    ) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Io {
            path: name.into(),
            error,
        };
        let exists = disk.list().map_err(failed)?.iter().any(|n| n == name);
        let new = format!("{name}.new");
        let file = if exists {
            disk.open(name, false)
        } else {
            disk.open(&new, true)
        }
        .map_err(failed)?;
        if !exists {
            file.set_len(0).map_err(failed)?;
        }
        let store = Self::open_with(OnFile::new(file), cache_bytes, remember)?;
        if !exists {
            disk.rename(&new, name).map_err(failed)?;
            disk.sync_dir().map_err(failed)?;
        }
        Ok(store)
    }

    pub(crate) fn open_with(
        backend: impl StorageBackend,
        cache_bytes: usize,
        remember: Remember,
    ) -> Result<Self, OpenError> {
        let database = Builder::new()
            .set_cache_size(cache_bytes)
            .create_with_backend(backend)
            .map_err(unopened)?;
        Self::start(database, cache_bytes, remember)
    }

    /// A reader of these tables.
    pub fn reader(&self) -> Reader {
        Reader(Arc::clone(&self.shared))
    }

    /// Leaves rows out, as many deleted images do.
    #[cfg(test)]
    pub(crate) fn skip_rows(&mut self, rows: u32) {
        self.meta.counters.next_row += rows;
    }

    fn start(
        database: Database,
        cache_bytes: usize,
        remember: Remember,
    ) -> Result<Self, OpenError> {
        let tables = |fault: Fault| OpenError::Tables(fault.to_string());
        let meta = match found(&database).map_err(tables)? {
            Found::Tables(meta) => meta,
            Found::Nothing => make(&database).map_err(tables)?,
            Found::Format(found) => {
                return Err(OpenError::Format {
                    found,
                    known: TABLE_FORMAT,
                });
            }
        };
        let cache = Arc::new(RecordCache::beside(cache_bytes, meta.applied));
        let view = view_of(&database, meta, &cache).map_err(tables)?;
        Ok(Self {
            shared: Arc::new(Shared {
                view: RwLock::new(view),
                cache,
                database,
            }),
            meta,
            durable: meta.applied,
            remember,
        })
    }

    /// Shows readers what was committed. The cache of records has moved on before.
    fn publish(&mut self, meta: Meta) -> Result<(), Fault> {
        let view = view_of(&self.shared.database, meta, &self.shared.cache)?;
        *self.shared.view.write() = view;
        self.meta = meta;
        Ok(())
    }
}

impl StateMachine for Store {
    type Outcome = Outcome;

    fn apply(&mut self, entries: &[Committed]) -> Result<Vec<Outcome>, Fault> {
        let mut transaction = begin(&self.shared.database)?;
        transaction
            .set_durability(Durability::None)
            .map_err(fault("beginning a transaction"))?;
        let mut writer = Writer::open(&transaction, self.meta, self.remember)?;
        let mut outcomes = Vec::with_capacity(entries.len());
        let mut last = self.meta.applied;
        for entry in entries {
            if entry.index <= last {
                return Err(fault("applying")(format!(
                    "entry {} comes after entry {last}",
                    entry.index
                )));
            }
            last = entry.index;
            outcomes.push(if entry.command.is_empty() {
                Outcome::Done
            } else {
                let envelope = decode_envelope(&entry.command)?;
                let (changes, outcome) = decide(&writer, entry.index, &envelope)?;
                for change in changes {
                    writer.carry_out(entry.index, change)?;
                }
                outcome
            });
            writer.applied(entry.index);
        }
        let (meta, changed) = writer.finish()?;
        transaction.commit().map_err(fault("committing"))?;
        self.shared.cache.advance(meta.applied, changed);
        self.publish(meta)?;
        Ok(outcomes)
    }

    fn applied_index(&self) -> LogIndex {
        self.meta.applied
    }

    fn durable_index(&self) -> LogIndex {
        self.durable
    }

    fn checkpoint(&mut self) -> Result<LogIndex, Fault> {
        if self.durable < self.meta.applied {
            commit_durably(begin(&self.shared.database)?)?;
            self.durable = self.meta.applied;
        }
        Ok(self.durable)
    }

    fn snapshot(&mut self) -> Result<Vec<u8>, Fault> {
        let transaction = self
            .shared
            .database
            .begin_read()
            .map_err(fault("beginning a snapshot"))?;
        snapshot::export(&transaction)
    }

    fn restore(&mut self, index: LogIndex, bytes: &[u8]) -> Result<(), Fault> {
        let transaction = begin(&self.shared.database)?;
        let meta = snapshot::import(&transaction, index, bytes)?;
        commit_durably(transaction)?;
        self.shared.cache.clear(meta.applied);
        self.publish(meta)?;
        self.durable = meta.applied;
        Ok(())
    }
}

fn begin(database: &Database) -> Result<WriteTransaction, Fault> {
    database
        .begin_write()
        .map_err(fault("beginning a transaction"))
}

/// Also makes durable every commit before it that was not.
fn commit_durably(mut transaction: WriteTransaction) -> Result<(), Fault> {
    transaction
        .set_durability(Durability::Immediate)
        .map_err(fault("beginning a checkpoint"))?;
    transaction.set_quick_repair(true);
    transaction.commit().map_err(fault("checkpointing"))
}

fn view_of(database: &Database, meta: Meta, cache: &Arc<RecordCache>) -> Result<View, Fault> {
    let transaction = database.begin_read().map_err(fault("beginning to read"))?;
    Ok(View::new(transaction, meta, Arc::clone(cache)))
}

fn unopened(error: redb::DatabaseError) -> OpenError {
    OpenError::Tables(error.to_string())
}

enum Found {
    Nothing,
    Tables(Meta),
    Format(u32),
}

fn found(database: &Database) -> Result<Found, Fault> {
    const WHAT: &str = "reading the table format";
    let transaction = database.begin_read().map_err(fault(WHAT))?;
    let table = match transaction.open_table(META) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Found::Nothing),
        Err(error) => return Err(fault(WHAT)(error)),
    };
    let format = table.get(FORMAT_KEY).map_err(fault(WHAT))?;
    let format = format.ok_or_else(|| fault(WHAT)("there is none"))?;
    let format = tables::decode_row(format.value())?;
    if format != TABLE_FORMAT {
        return Ok(Found::Format(format));
    }
    let meta = table.get(META_KEY).map_err(fault(WHAT))?;
    let meta = meta.ok_or_else(|| fault(WHAT)("there is no state beside it"))?;
    decode(WHAT, meta.value()).map(Found::Tables)
}

/// Makes empty tables, durably.
fn make(database: &Database) -> Result<Meta, Fault> {
    const WHAT: &str = "making the tables";
    let transaction = begin(database)?;
    for definition in ALL {
        transaction.open_table(definition).map_err(fault(WHAT))?;
    }
    let meta = Meta::default();
    {
        let mut table = transaction.open_table(META).map_err(fault(WHAT))?;
        table
            .insert(FORMAT_KEY, TABLE_FORMAT.to_be_bytes().as_slice())
            .map_err(fault(WHAT))?;
        table
            .insert(META_KEY, encode(&meta)?.as_slice())
            .map_err(fault(WHAT))?;
    }
    commit_durably(transaction)?;
    Ok(meta)
}
