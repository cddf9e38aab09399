//! The registry at one moment, for reading.
//!
//! A view is one redb read transaction. The store publishes a new one after every group of commands
//! and readers share it, so that reading costs no transaction and no opening of tables.

use std::{
    ops::Bound,
    sync::{Arc, OnceLock},
};

use glimpse_replication::{Fault, LogIndex};
use redb::{ReadOnlyTable, ReadTransaction};

use crate::{
    Result,
    encoding::{decode, fault},
    image::{
        Image, ImageId, ManifestRef, Member, PendingDelete, Timestamp, Upload, UploadRow,
        Visibility,
    },
    machine::MetadefView as _,
    metadef::{Definition, Kind, Namespace, NamespaceId, ResourceType},
    metadef_tables::MetadefTables,
    query::Scope,
    record_cache::{MAX_RECORD, RecordCache},
    status::Status,
    tables::{self, Meta, UploadState, Usage},
    task::{Task, TaskId},
};

/// A table, open for reading.
pub(crate) type Table = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// The registry at one moment; cheap to clone.
#[derive(Clone)]
pub struct View(Arc<Inner>);

struct Inner {
    transaction: ReadTransaction,
    meta: Meta,
    cache: Arc<RecordCache>,
    ids: OnceLock<Table>,
    records: OnceLock<Table>,
    members: OnceLock<Table>,
    uploads: OnceLock<Table>,
    postings: OnceLock<Table>,
    metadefs: OnceLock<MetadefTables<Table>>,
}

impl View {
    /// A view of what `transaction` sees, where `meta` stands.
    pub(crate) fn new(transaction: ReadTransaction, meta: Meta, cache: Arc<RecordCache>) -> Self {
        Self(Arc::new(Inner {
            transaction,
            meta,
            cache,
            ids: OnceLock::new(),
            records: OnceLock::new(),
            members: OnceLock::new(),
            uploads: OnceLock::new(),
            postings: OnceLock::new(),
            metadefs: OnceLock::new(),
        }))
    }

    /// One image by id, deleted ones never.
    pub fn image(&self, id: ImageId) -> Result<Option<Arc<Image>>> {
        match tables::row_of(self.ids()?, id)? {
            Some(row) => self.record(row).map(Some),
            None => Ok(None),
        }
    }

    /// Whether the id is in use or was.
    pub fn id_taken(&self, id: ImageId) -> Result<bool> {
        if tables::row_of(self.ids()?, id)?.is_some() {
            return Ok(true);
        }
        let found = self
            .open(tables::TOMBSTONES)?
            .get(id.0.as_slice())
            .map_err(fault("reading a tombstone"))?;
        Ok(found.is_some())
    }

    /// Whether the image exists for the caller (image-api 4.3): the rules of GET by id.
    pub fn visible(&self, image: &Image, scope: &Scope) -> Result<bool> {
        let attributes = &image.attributes;
        let open_to_all = attributes.owner.is_none()
            || matches!(
                attributes.visibility,
                Visibility::Public | Visibility::Community
            );
        match scope {
            Scope::Admin { .. } => Ok(true),
            Scope::Anonymous => Ok(open_to_all),
            Scope::Project(project) => Ok(open_to_all
                || attributes.owner.as_ref() == Some(project)
                || (attributes.visibility == Visibility::Shared
                    && self.member_of_row(image.row, project)?.is_some())),
        }
    }

    /// One member.
    pub fn member(&self, id: ImageId, member: &str) -> Result<Option<Member>> {
        match tables::row_of(self.ids()?, id)? {
            Some(row) => self.member_of_row(row, member),
            None => Ok(None),
        }
    }

    /// All members of an image, by member id.
    pub fn members(&self, id: ImageId) -> Result<Vec<Member>> {
        match tables::row_of(self.ids()?, id)? {
            Some(row) => Ok(tables::members(self.members_table()?, row)?),
            None => Ok(Vec::new()),
        }
    }

    /// Bytes that the owner's images hold, and bytes reserved by uploads.
    pub fn usage(&self, owner: &str) -> Result<(u64, u64)> {
        let table = self.open(tables::USAGE)?;
        let key = tables::owner_key(Some(owner));
        let usage: Usage = tables::get(&table, "reading usage", &key)?.unwrap_or_default();
        Ok((usage.live, usage.reserved))
    }

    /// Images of an owner, and those of them that take data in.
    pub fn counts(&self, owner: &str) -> Result<(u64, u64)> {
        let table = self.open(tables::USAGE)?;
        let key = tables::owner_key(Some(owner));
        let usage: Usage = tables::get(&table, "reading usage", &key)?.unwrap_or_default();
        Ok((usage.images, usage.transfers))
    }

    /// The head of the reaper's queue: those whose sequence is above `after`; the first is 1.
    pub fn pending_deletes(&self, after: u64, limit: usize) -> Result<Vec<PendingDelete>> {
        let table = self.open(tables::PENDING_DELETES)?;
        Ok(tables::pending_deletes(&table, after, limit)?)
    }

    /// Uploads in progress, by image id, those of deleted images included.
    pub fn uploads(&self, after: Option<ImageId>, limit: usize) -> Result<Vec<UploadRow>> {
        const WHAT: &str = "reading uploads";
        let mut rows = Vec::new();
        let from = after.map_or([0; 16], |id| id.0);
        for entry in self
            .uploads_table()?
            .range(from.as_slice()..)
            .map_err(fault(WHAT))?
        {
            if rows.len() >= limit {
                break;
            }
            let (key, value) = entry.map_err(fault(WHAT))?;
            let image_id = ImageId(key.value().try_into().map_err(fault(WHAT))?);
            if Some(image_id) == after {
                continue;
            }
            let state: UploadState = decode(WHAT, value.value())?;
            rows.push(UploadRow {
                image_id,
                upload: state.upload,
                image_exists: tables::row_of(self.ids()?, image_id)?.is_some(),
            });
        }
        Ok(rows)
    }

    /// One task.
    pub fn task(&self, id: TaskId) -> Result<Option<Task>> {
        let (tasks, index) = (self.open(tables::TASKS)?, self.open(tables::TASK_INDEX)?);
        Ok(tables::task(&tasks, &index, id)?)
    }

    /// All tasks of an image, deleted or not, oldest first.
    pub fn image_tasks(&self, id: ImageId) -> Result<Vec<Task>> {
        let prefix = [&[tables::TASK_BY_IMAGE], &id.0[..]].concat();
        self.indexed_tasks(&prefix, &[0xff; 32], usize::MAX)
    }

    /// Tasks that have not ended, oldest first. How many there may be is bounded.
    pub fn open_tasks(&self) -> Result<Vec<Task>> {
        self.indexed_tasks(&[tables::TASK_OPEN], &[0xff; 32], usize::MAX)
    }

    /// Tasks whose records may go by now, those that ended first come first.
    pub fn expired_tasks(&self, now: Timestamp, limit: usize) -> Result<Vec<Task>> {
        let end = now.0.saturating_add(1).to_be_bytes();
        self.indexed_tasks(&[tables::TASK_EXPIRY], &end, limit)
    }

    /// Tasks in the order of their making or against it, those after (or before) `from` that `wanted`
    /// takes, `limit` at most.
    pub fn tasks(
        &self,
        from: Option<u64>,
        newest_first: bool,
        limit: usize,
        wanted: impl Fn(&Task) -> bool,
    ) -> Result<Vec<Task>> {
        const WHAT: &str = "reading tasks";
        let table = self.open(tables::TASKS)?;
        let key = from.map(u64::to_be_bytes);
        let key = key.as_ref().map(<[u8; 8]>::as_slice);
        let (low, high) = match newest_first {
            true => (
                Bound::Unbounded,
                key.map_or(Bound::Unbounded, Bound::Excluded),
            ),
            false => (
                key.map_or(Bound::Unbounded, Bound::Excluded),
                Bound::Unbounded,
            ),
        };
        let mut range = table.range::<&[u8]>((low, high)).map_err(fault(WHAT))?;
        let mut found = Vec::new();
        while found.len() < limit {
            let next = match newest_first {
                true => range.next_back(),
                false => range.next(),
            };
            let Some(entry) = next else { break };
            let (_, value) = entry.map_err(fault(WHAT))?;
            let task: Task = decode(WHAT, value.value())?;
            if wanted(&task) {
                found.push(task);
            }
        }
        Ok(found)
    }

    /// The tasks that an index names, from its beginning up to `end` behind the prefix.
    fn indexed_tasks(&self, prefix: &[u8], end: &[u8], limit: usize) -> Result<Vec<Task>> {
        const WHAT: &str = "reading tasks";
        let (tasks, index) = (self.open(tables::TASKS)?, self.open(tables::TASK_INDEX)?);
        let end = [prefix, end].concat();
        let mut found = Vec::new();
        let range = index.range::<&[u8]>(prefix..end.as_slice());
        for entry in range.map_err(fault(WHAT))?.take(limit) {
            let (_, value) = entry.map_err(fault(WHAT))?;
            let sequence: u64 = decode(WHAT, value.value())?;
            found.extend(tables::get(&tasks, WHAT, &sequence.to_be_bytes())?);
        }
        Ok(found)
    }

    /// The manifests that `limit` images name, in creation order from `row` on, and the row to go
    /// on from; `None`: that were all.
    pub fn manifests_from(
        &self,
        row: u32,
        limit: usize,
    ) -> Result<(Vec<ManifestRef>, Option<u32>)> {
        const WHAT: &str = "reading image records";
        let (mut named, mut next, mut seen) = (Vec::new(), None, 0);
        let records = self.records()?.range(tables::row_key(row).as_slice()..);
        for entry in records.map_err(fault(WHAT))?.take(limit) {
            let (_, value) = entry.map_err(fault(WHAT))?;
            let image: Image = decode(WHAT, value.value())?;
            named.extend(image.manifest);
            next = image.row.checked_add(1);
            seen += 1;
        }
        Ok((named, next.filter(|_| seen == limit)))
    }

    /// Images of any status in creation order from `row` on.
    #[cfg(test)]
    pub(crate) fn images_from(&self, row: u32, limit: usize) -> Result<Vec<Arc<Image>>> {
        const WHAT: &str = "reading image records";
        self.records()?
            .range(tables::row_key(row).as_slice()..)
            .map_err(fault(WHAT))?
            .take(limit)
            .map(|entry| {
                let (_, value) = entry.map_err(fault(WHAT))?;
                self.whole(decode(WHAT, value.value())?)
            })
            .collect()
    }

    /// The namespace of metadata definitions of that name.
    pub fn namespace(&self, name: &str) -> Result<Option<Namespace>> {
        let tables = self.metadefs()?;
        match tables.namespace_named(name)? {
            Some(id) => Ok(tables.namespace(id)?),
            None => Ok(None),
        }
    }

    /// All namespaces, in no order that means anything.
    pub fn namespaces(&self) -> Result<Vec<Namespace>> {
        Ok(self.metadefs()?.namespaces()?)
    }

    /// One definition.
    pub fn definition(
        &self,
        id: NamespaceId,
        kind: Kind,
        name: &str,
    ) -> Result<Option<Definition>> {
        Ok(self.metadefs()?.definition(id, kind, name)?)
    }

    /// The definitions of a kind in a namespace, in the order in which they were made.
    pub fn definitions(&self, id: NamespaceId, kind: Kind) -> Result<Vec<Definition>> {
        let mut found = self.metadefs()?.definitions(id, kind)?;
        found.sort_by_key(|definition| (definition.created_at, definition.position));
        Ok(found)
    }

    /// All types of resources, in the order in which they were made.
    pub fn resource_types(&self) -> Result<Vec<ResourceType>> {
        let mut found = self.metadefs()?.resource_types()?;
        found.sort_by_key(|resource_type| resource_type.created_at);
        Ok(found)
    }

    /// The machine's time: the largest time in the log.
    pub fn time(&self) -> Timestamp {
        self.0.meta.counters.time
    }

    /// Images in the registry.
    pub fn image_count(&self) -> u64 {
        self.0.meta.counters.images
    }

    /// The last log entry that this view contains.
    pub fn applied_index(&self) -> LogIndex {
        self.0.meta.applied
    }

    /// The whole state as a snapshot has it.
    pub fn export(&self) -> Result<Vec<u8>> {
        Ok(crate::snapshot::export(&self.0.transaction)?)
    }

    /// Row of the next image to be made: above all rows there are.
    pub(crate) fn next_row(&self) -> u32 {
        self.0.meta.counters.next_row
    }

    /// The image of a row that an index names.
    pub(crate) fn record(&self, row: u32) -> Result<Arc<Image>> {
        const WHAT: &str = "reading an image record";
        let Inner { cache, meta, .. } = &*self.0;
        if let Some(image) = cache.get(meta.applied, row) {
            return Ok(image);
        }
        let value = self
            .records()?
            .get(tables::row_key(row).as_slice())
            .map_err(fault(WHAT))?
            .ok_or_else(|| missing(row))?;
        let image = self.whole(decode(WHAT, value.value())?)?;
        if value.value().len() <= MAX_RECORD {
            cache.put(meta.applied, &image);
        }
        Ok(image)
    }

    pub(crate) fn ids(&self) -> Result<&Table, Fault> {
        self.opened(&self.0.ids, tables::IDS)
    }

    pub(crate) fn records(&self) -> Result<&Table, Fault> {
        self.opened(&self.0.records, tables::RECORDS)
    }

    pub(crate) fn postings(&self) -> Result<&Table, Fault> {
        self.opened(&self.0.postings, tables::POSTINGS)
    }

    fn members_table(&self) -> Result<&Table, Fault> {
        self.opened(&self.0.members, tables::MEMBERS)
    }

    fn uploads_table(&self) -> Result<&Table, Fault> {
        self.opened(&self.0.uploads, tables::UPLOADS)
    }

    fn member_of_row(&self, row: u32, member: &str) -> Result<Option<Member>> {
        let key = tables::member_key(row, member);
        Ok(tables::get(
            self.members_table()?,
            "reading a member",
            &key,
        )?)
    }

    /// Adds the upload, which records do not hold.
    fn whole(&self, mut image: Image) -> Result<Arc<Image>> {
        if matches!(image.status, Status::Saving | Status::Uploading) {
            image.upload = self.upload(image.id)?;
        }
        Ok(Arc::new(image))
    }

    fn upload(&self, id: ImageId) -> Result<Option<Upload>, Fault> {
        let state: Option<UploadState> =
            tables::get(self.uploads_table()?, "reading an upload", &id.0)?;
        Ok(state.map(|state| state.upload))
    }

    fn opened<'v>(
        &self,
        slot: &'v OnceLock<Table>,
        definition: tables::Definition,
    ) -> Result<&'v Table, Fault> {
        if let Some(table) = slot.get() {
            return Ok(table);
        }
        let table = self.open(definition)?;
        Ok(slot.get_or_init(|| table))
    }

    fn metadefs(&self) -> Result<&MetadefTables<Table>, Fault> {
        let slot = &self.0.metadefs;
        if let Some(tables) = slot.get() {
            return Ok(tables);
        }
        let tables = MetadefTables::open(|definition| self.0.transaction.open_table(definition))?;
        Ok(slot.get_or_init(|| tables))
    }

    fn open(&self, definition: tables::Definition) -> Result<Table, Fault> {
        self.0
            .transaction
            .open_table(definition)
            .map_err(fault("opening a table"))
    }
}

/// An index names a row that has no record: the tables are damaged.
pub(crate) fn missing(row: u32) -> Fault {
    fault("reading an image record")(format!("row {row} has no record"))
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("applied", &self.0.meta.applied)
            .finish_non_exhaustive()
    }
}
