//! One write transaction: the state as the machine reads it, and the machine's changes.

use std::{collections::BTreeSet, sync::Arc};

use glimpse_replication::{Fault, LogIndex};
use redb::{ReadableTable as _, Table, WriteTransaction};

use crate::{
    command::CommandId,
    encoding::{encode, fault, sealed},
    image::{Image, ImageId, Member},
    machine::{Change, MetadefView, StateView},
    metadef_tables::MetadefTables,
    outcome::Remembered,
    postings::{Pending, Posting},
    tables::{self, Counters, Meta, UploadState, Usage},
    task::{Task, TaskId},
    view::missing,
};

type Open<'t> = Table<'t, &'static [u8], &'static [u8]>;

/// How much is remembered for deduplication; the oldest is forgotten first.
///
/// What is still remembered decides what a repeated command does, so this is part of the machine
/// like [`crate::command::COMMAND_FORMAT`], and no setting: nodes that differed would come to
/// different tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remember {
    /// Commands at most.
    pub entries: u64,
    /// Bytes of their ids and answers at most.
    pub bytes: u64,
}

impl Remember {
    /// What every node remembers.
    pub const STANDARD: Self = Self {
        entries: 100_000,
        bytes: 16 << 20,
    };
}

/// The tables, open for writing.
pub(crate) struct Writer<'t> {
    meta_table: Open<'t>,
    ids: Open<'t>,
    records: Open<'t>,
    members: Open<'t>,
    uploads: Open<'t>,
    pending_deletes: Open<'t>,
    tombstones: Open<'t>,
    usage: Open<'t>,
    remembered: Open<'t>,
    remembered_order: Open<'t>,
    postings: Open<'t>,
    metadefs: MetadefTables<Open<'t>>,
    tasks: Open<'t>,
    task_index: Open<'t>,
    pending: Pending,
    /// Rows whose records are not what they were.
    changed: BTreeSet<u32>,
    meta: Meta,
    remember: Remember,
}

impl<'t> Writer<'t> {
    pub(crate) fn open(
        transaction: &'t WriteTransaction,
        meta: Meta,
        remember: Remember,
    ) -> Result<Self, Fault> {
        let open = |definition| {
            transaction
                .open_table(definition)
                .map_err(fault("opening a table"))
        };
        Ok(Self {
            meta_table: open(tables::META)?,
            ids: open(tables::IDS)?,
            records: open(tables::RECORDS)?,
            members: open(tables::MEMBERS)?,
            uploads: open(tables::UPLOADS)?,
            pending_deletes: open(tables::PENDING_DELETES)?,
            tombstones: open(tables::TOMBSTONES)?,
            usage: open(tables::USAGE)?,
            remembered: open(tables::REMEMBERED)?,
            remembered_order: open(tables::REMEMBERED_ORDER)?,
            postings: open(tables::POSTINGS)?,
            metadefs: MetadefTables::open(|definition| transaction.open_table(definition))?,
            tasks: open(tables::TASKS)?,
            task_index: open(tables::TASK_INDEX)?,
            pending: Pending::default(),
            changed: BTreeSet::new(),
            meta,
            remember,
        })
    }

    /// Notes that an entry is applied, whether or not it changed anything.
    pub(crate) fn applied(&mut self, index: LogIndex) {
        self.meta.applied = index;
    }

    /// Writes the indexes and the applied index, and gives back the new state of the registry and
    /// the rows whose records have changed.
    pub(crate) fn finish(mut self) -> Result<(Meta, BTreeSet<u32>), Fault> {
        self.pending.flush(&mut self.postings)?;
        put(&mut self.meta_table, tables::META_KEY, &encode(&self.meta)?)?;
        Ok((self.meta, self.changed))
    }

    /// Carries out one change that the entry at `index` makes.
    pub(crate) fn carry_out(&mut self, index: LogIndex, change: Change) -> Result<(), Fault> {
        match change {
            Change::PutImage { before, after } => self.put_image(before.as_deref(), &after),
            Change::RemoveImage { image, members, at } => {
                self.changed.insert(image.row);
                self.pending.replace(Some(&image), None);
                for member in &members {
                    self.remove_member(image.row, member)?;
                }
                remove(&mut self.ids, &image.id.0)?;
                remove(&mut self.records, &tables::row_key(image.row))?;
                put(&mut self.tombstones, &image.id.0, &at.0.to_be_bytes())
            }
            Change::PutMember { row, before, after } => {
                if let Some(before) = before {
                    let posting = Posting::member(&before.member_id, before.status);
                    self.pending.remove(&posting, row);
                }
                let posting = Posting::member(&after.member_id, after.status);
                self.pending.add(&posting, row);
                let key = tables::member_key(row, &after.member_id);
                put(&mut self.members, &key, &encode(&after)?)
            }
            Change::RemoveMember { row, member } => self.remove_member(row, &member),
            Change::PutUpload(id, state) => put(&mut self.uploads, &id.0, &encode(&state)?),
            Change::RemoveUpload(id) => remove(&mut self.uploads, &id.0),
            Change::PutTask { before, after } => {
                if let Some(before) = before {
                    self.remove_task(&before)?;
                }
                let sequence = encode(&after.sequence)?;
                for key in tables::task_keys(&after) {
                    put(&mut self.task_index, &key, &sequence)?;
                }
                put(
                    &mut self.tasks,
                    &after.sequence.to_be_bytes(),
                    &encode(&after)?,
                )
            }
            Change::RemoveTask(task) => self.remove_task(&task),
            Change::PutUsage(owner, usage) => {
                let key = tables::owner_key(owner.as_deref());
                if usage == Usage::default() {
                    remove(&mut self.usage, &key)
                } else {
                    put(&mut self.usage, &key, &encode(&usage)?)
                }
            }
            Change::PutPendingDelete(pending) => {
                let key = pending.sequence.to_be_bytes();
                put(&mut self.pending_deletes, &key, &encode(&pending)?)
            }
            Change::RemovePendingDelete(sequence) => {
                remove(&mut self.pending_deletes, &sequence.to_be_bytes())
            }
            Change::Metadef(change) => self.metadefs.carry_out(change),
            Change::PutCounters(counters) => {
                self.meta.counters = counters;
                Ok(())
            }
            Change::Remember(id, remembered) => self.remember(index, id, &remembered),
        }
    }

    fn put_image(&mut self, before: Option<&Image>, after: &Image) -> Result<(), Fault> {
        self.changed.insert(after.row);
        self.pending.replace(before, Some(after));
        let row = tables::row_key(after.row);
        if before.is_none() {
            put(&mut self.ids, &after.id.0, &sealed(row.to_vec()))?;
        }
        put(&mut self.records, &row, &encode(after)?)
    }

    fn remove_member(&mut self, row: u32, member: &Member) -> Result<(), Fault> {
        let posting = Posting::member(&member.member_id, member.status);
        self.pending.remove(&posting, row);
        remove(
            &mut self.members,
            &tables::member_key(row, &member.member_id),
        )
    }

    fn remove_task(&mut self, task: &Task) -> Result<(), Fault> {
        for key in tables::task_keys(task) {
            remove(&mut self.task_index, &key)?;
        }
        remove(&mut self.tasks, &task.sequence.to_be_bytes())
    }

    /// Remembers a command and forgets the oldest beyond the bounds.
    fn remember(
        &mut self,
        index: LogIndex,
        id: CommandId,
        remembered: &Remembered,
    ) -> Result<(), Fault> {
        const WHAT: &str = "forgetting old commands";
        let key = tables::command_key(id);
        let value = encode(remembered)?;
        put(&mut self.remembered, &key, &value)?;
        put(&mut self.remembered_order, &index.to_be_bytes(), &key)?;
        self.meta.remembered += 1;
        self.meta.remembered_bytes += remembered_bytes(&value);
        while self.meta.remembered > self.remember.entries
            || self.meta.remembered_bytes > self.remember.bytes
        {
            let Some((_, oldest)) = self.remembered_order.pop_first().map_err(fault(WHAT))? else {
                break;
            };
            let forgotten = self
                .remembered
                .remove(oldest.value())
                .map_err(fault(WHAT))?;
            let bytes = forgotten.map_or(0, |value| remembered_bytes(value.value()));
            self.meta.remembered -= 1;
            self.meta.remembered_bytes = self.meta.remembered_bytes.saturating_sub(bytes);
        }
        Ok(())
    }
}

/// Bytes that a remembered command takes: its id twice, its index, and the value.
fn remembered_bytes(value: &[u8]) -> u64 {
    const KEYS: usize = 24 + 24 + 8;
    (KEYS + value.len()) as u64
}

fn put(table: &mut Open<'_>, key: &[u8], value: &[u8]) -> Result<(), Fault> {
    table
        .insert(key, value)
        .map(drop)
        .map_err(fault("writing a table"))
}

fn remove(table: &mut Open<'_>, key: &[u8]) -> Result<(), Fault> {
    table
        .remove(key)
        .map(drop)
        .map_err(fault("writing a table"))
}

impl StateView for Writer<'_> {
    fn counters(&self) -> Counters {
        self.meta.counters
    }

    fn remembered(&self, id: CommandId) -> Result<Option<Remembered>, Fault> {
        tables::get(
            &self.remembered,
            "reading a remembered command",
            &tables::command_key(id),
        )
    }

    fn image(&self, id: ImageId) -> Result<Option<Arc<Image>>, Fault> {
        match tables::row_of(&self.ids, id)? {
            Some(row) => {
                let image = tables::record(&self.records, row)?.ok_or_else(|| missing(row))?;
                Ok(Some(Arc::new(image)))
            }
            None => Ok(None),
        }
    }

    fn deleted(&self, id: ImageId) -> Result<bool, Fault> {
        self.tombstones
            .get(id.0.as_slice())
            .map(|found| found.is_some())
            .map_err(fault("reading a tombstone"))
    }

    fn member(&self, row: u32, member: &str) -> Result<Option<Member>, Fault> {
        tables::get(
            &self.members,
            "reading a member",
            &tables::member_key(row, member),
        )
    }

    fn members(&self, row: u32) -> Result<Vec<Member>, Fault> {
        tables::members(&self.members, row)
    }

    fn upload(&self, id: ImageId) -> Result<Option<UploadState>, Fault> {
        tables::get(&self.uploads, "reading an upload", &id.0)
    }

    fn task(&self, id: TaskId) -> Result<Option<Task>, Fault> {
        tables::task(&self.tasks, &self.task_index, id)
    }

    fn usage(&self, owner: Option<&str>) -> Result<Usage, Fault> {
        let usage = tables::get(&self.usage, "reading usage", &tables::owner_key(owner))?;
        Ok(usage.unwrap_or_default())
    }

    fn metadefs(&self) -> &dyn MetadefView {
        &self.metadefs
    }
}
