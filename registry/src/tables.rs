//! The redb tables: what lies under which key.
//!
//! All keys and values are bytes, so that a snapshot is one loop over tables. Numbers in keys are
//! big-endian, so that byte order is their order. Values are as [`crate::encoding`] writes them,
//! unless said otherwise here.

use glimpse_replication::{Fault, LogIndex};
use redb::{ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::{
    command::CommandId,
    encoding::{decode, fault, unsealed},
    image::{Image, ImageId, Member, PendingDelete, Timestamp, Upload},
    metadef_tables::{DEFINITIONS, NAMES, NAMESPACES, RESOURCE_TYPES},
    task::{Task, TaskId},
};

/// A table of bytes by bytes.
pub(crate) type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// The version of this page. Another one is refused at open.
pub const TABLE_FORMAT: u32 = 1;

/// [`FORMAT_KEY`] → [`TABLE_FORMAT`], 4 bytes; [`META_KEY`] → [`Meta`].
pub(crate) const META: Definition = TableDefinition::new("meta");
/// Image id → row, 4 bytes, and its checksum.
pub(crate) const IDS: Definition = TableDefinition::new("ids");
/// Row → [`Image`], without its upload.
pub(crate) const RECORDS: Definition = TableDefinition::new("records");
/// Row, member id → [`Member`].
pub(crate) const MEMBERS: Definition = TableDefinition::new("members");
/// Image id → [`UploadState`]; outlives the image's deletion until the upload is aborted.
pub(crate) const UPLOADS: Definition = TableDefinition::new("uploads");
/// Sequence → [`PendingDelete`].
pub(crate) const PENDING_DELETES: Definition = TableDefinition::new("pending_deletes");
/// Id of a deleted image → time of deletion, 8 bytes. Never removed: ids stay taken.
pub(crate) const TOMBSTONES: Definition = TableDefinition::new("tombstones");
/// [`owner_key`] → [`Usage`]; no row when all is zero.
pub(crate) const USAGE: Definition = TableDefinition::new("usage");
/// Command id → [`crate::outcome::Remembered`].
pub(crate) const REMEMBERED: Definition = TableDefinition::new("remembered");
/// Log index → command id (24 bytes): the order in which commands are forgotten.
pub(crate) const REMEMBERED_ORDER: Definition = TableDefinition::new("remembered_order");
/// Posting key ([`crate::postings`]) → serialized roaring bitmap of the rows, and its checksum.
pub(crate) const POSTINGS: Definition = TableDefinition::new("postings");

/// Sequence → [`Task`].
pub(crate) const TASKS: Definition = TableDefinition::new("tasks");
/// [`task_keys`] → sequence.
pub(crate) const TASK_INDEX: Definition = TableDefinition::new("task_index");

/// All tables, in the order of a snapshot.
pub(crate) const ALL: [Definition; 17] = [
    META,
    IDS,
    RECORDS,
    MEMBERS,
    UPLOADS,
    PENDING_DELETES,
    TOMBSTONES,
    USAGE,
    REMEMBERED,
    REMEMBERED_ORDER,
    POSTINGS,
    NAMES,
    NAMESPACES,
    DEFINITIONS,
    RESOURCE_TYPES,
    TASKS,
    TASK_INDEX,
];

/// Key of the table format.
pub(crate) const FORMAT_KEY: &[u8] = b"format";
/// Key of [`Meta`].
pub(crate) const META_KEY: &[u8] = b"state";

/// What the registry knows of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// The last entry applied.
    pub applied: LogIndex,
    /// What the machine counts.
    pub counters: Counters,
    /// Rows of [`REMEMBERED`].
    pub remembered: u64,
    /// Bytes of them, and of [`REMEMBERED_ORDER`].
    pub remembered_bytes: u64,
}

/// What the machine counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// The largest time in the log, and one microsecond more per command at least.
    pub time: Timestamp,
    /// Row of the next image.
    pub next_row: u32,
    /// Sequence of the next pending delete, less one: the first is 1.
    pub last_sequence: u64,
    /// Images there are.
    pub images: u64,
    /// Tasks that have not ended.
    pub open_tasks: u64,
}

/// What one owner has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Of images, over all their locations.
    pub live: u64,
    /// Reserved by uploads.
    pub reserved: u64,
    /// Images.
    pub images: u64,
    /// Those of them that take data in ([`crate::status::Status::transfers`]).
    pub transfers: u64,
}

/// An upload in progress and whose quota it burdens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadState {
    /// The upload.
    pub upload: Upload,
    /// The image's owner, or its last one if the image is gone.
    pub owner: Option<String>,
}

/// Any of the tables, open for reading or writing.
pub(crate) trait Rows: ReadableTable<&'static [u8], &'static [u8]> {}
impl<T: ReadableTable<&'static [u8], &'static [u8]>> Rows for T {}

pub(crate) fn row_key(row: u32) -> [u8; 4] {
    row.to_be_bytes()
}

pub(crate) fn member_key(row: u32, member: &str) -> Vec<u8> {
    [&row_key(row), member.as_bytes()].concat()
}

/// An owner that is none differs from every owner that is one, also from the empty one.
pub(crate) fn owner_key(owner: Option<&str>) -> Vec<u8> {
    owner.map_or_else(Vec::new, |owner| [&[1], owner.as_bytes()].concat())
}

/// Beginnings of keys of [`TASK_INDEX`]: a task's id;
pub(crate) const TASK_BY_ID: u8 = b'i';
/// its image and sequence;
pub(crate) const TASK_BY_IMAGE: u8 = b'm';
/// its sequence, while it is open;
pub(crate) const TASK_OPEN: u8 = b'o';
/// the time it expires, and its sequence, once it has ended.
pub(crate) const TASK_EXPIRY: u8 = b'x';

pub(crate) fn task_id_key(id: TaskId) -> Vec<u8> {
    [&[TASK_BY_ID], &id.0[..]].concat()
}

/// The keys under which a task is found.
pub(crate) fn task_keys(task: &Task) -> [Vec<u8>; 3] {
    let sequence = task.sequence.to_be_bytes();
    let state = match task.expires_at {
        Some(at) => [&[TASK_EXPIRY], &at.0.to_be_bytes()[..], &sequence].concat(),
        None => [&[TASK_OPEN], &sequence[..]].concat(),
    };
    [
        task_id_key(task.id),
        [&[TASK_BY_IMAGE], &task.image.0[..], &sequence].concat(),
        state,
    ]
}

/// A task by its id.
pub(crate) fn task(
    tasks: &impl Rows,
    index: &impl Rows,
    id: TaskId,
) -> Result<Option<Task>, Fault> {
    const WHAT: &str = "reading a task";
    match get::<u64>(index, WHAT, &task_id_key(id))? {
        Some(sequence) => get(tasks, WHAT, &sequence.to_be_bytes()),
        None => Ok(None),
    }
}

pub(crate) fn command_key(id: CommandId) -> [u8; 24] {
    let mut key = [0; 24];
    let (client, sequence) = key.split_at_mut(16);
    client.copy_from_slice(&id.client.to_be_bytes());
    sequence.copy_from_slice(&id.sequence.to_be_bytes());
    key
}

/// One value of a table, decoded.
pub(crate) fn get<T: serde::de::DeserializeOwned>(
    table: &impl Rows,
    what: &'static str,
    key: &[u8],
) -> Result<Option<T>, Fault> {
    match table.get(key).map_err(fault(what))? {
        Some(value) => decode(what, value.value()).map(Some),
        None => Ok(None),
    }
}

/// Row of an image.
pub(crate) fn row_of(ids: &impl Rows, id: ImageId) -> Result<Option<u32>, Fault> {
    const WHAT: &str = "reading an image id";
    match ids.get(id.0.as_slice()).map_err(fault(WHAT))? {
        Some(value) => row_in(value.value()).map(Some),
        None => Ok(None),
    }
}

/// The row in a value of [`IDS`].
pub(crate) fn row_in(value: &[u8]) -> Result<u32, Fault> {
    decode_row(unsealed("reading an image id", value)?)
}

/// A row as keys hold it.
pub(crate) fn decode_row(bytes: &[u8]) -> Result<u32, Fault> {
    bytes
        .try_into()
        .map(u32::from_be_bytes)
        .map_err(fault("reading a row number"))
}

/// The record of a row, without its upload.
pub(crate) fn record(records: &impl Rows, row: u32) -> Result<Option<Image>, Fault> {
    get(records, "reading an image record", &row_key(row))
}

/// All members of a row, by member id.
pub(crate) fn members(members: &impl Rows, row: u32) -> Result<Vec<Member>, Fault> {
    const WHAT: &str = "reading members";
    let prefix = row_key(row);
    let mut found = Vec::new();
    for entry in members.range(prefix.as_slice()..).map_err(fault(WHAT))? {
        let (key, value) = entry.map_err(fault(WHAT))?;
        if !key.value().starts_with(&prefix) {
            break;
        }
        found.push(decode(WHAT, value.value())?);
    }
    Ok(found)
}

/// Pending deletes after `after`, `limit` at most.
pub(crate) fn pending_deletes(
    table: &impl Rows,
    after: u64,
    limit: usize,
) -> Result<Vec<PendingDelete>, Fault> {
    const WHAT: &str = "reading the queue of deletes";
    let Some(from) = after.checked_add(1) else {
        return Ok(Vec::new());
    };
    table
        .range(from.to_be_bytes().as_slice()..)
        .map_err(fault(WHAT))?
        .take(limit)
        .map(|entry| {
            let (_, value) = entry.map_err(fault(WHAT))?;
            decode(WHAT, value.value())
        })
        .collect()
}
