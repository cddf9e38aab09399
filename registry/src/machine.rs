//! The pure machine: a view of the state and a command give changes and an outcome.
//!
//! No clock, no randomness, no IO but reading the view, no hash order: every node that applies the
//! same log comes to the same state and the same answers. A refusal is an outcome; only a view that
//! cannot be read, or a log that ends its number space, is a fault.

mod data;
mod images;
mod members;
mod metadefs;
mod tasks;
mod uploads;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use glimpse_replication::{Fault, LogIndex};

pub use self::metadefs::{MetadefChange, MetadefView};
pub use crate::tables::{Counters, UploadState, Usage};
use crate::{
    command::{Bounds, Command, CommandId, Envelope},
    encoding::fault,
    image::{Image, ImageId, Location, Member, PendingDelete, Timestamp},
    outcome::{CountedThing, Outcome, Rejection, Remembered},
    status::Status,
    task::{Task, TaskId},
};

/// The state as the machine reads it.
pub trait StateView {
    /// What the machine counts.
    fn counters(&self) -> Counters;
    /// What is remembered of a command that was applied before.
    fn remembered(&self, id: CommandId) -> Result<Option<Remembered>, Fault>;
    /// A live image, without its upload.
    fn image(&self, id: ImageId) -> Result<Option<Arc<Image>>, Fault>;
    /// Whether the id belonged to an image that is deleted.
    fn deleted(&self, id: ImageId) -> Result<bool, Fault>;
    /// A member of the image in this row.
    fn member(&self, row: u32, member: &str) -> Result<Option<Member>, Fault>;
    /// All members of the image in this row, by id.
    fn members(&self, row: u32) -> Result<Vec<Member>, Fault>;
    /// The upload to this image, also if the image is deleted.
    fn upload(&self, id: ImageId) -> Result<Option<UploadState>, Fault>;
    /// A task.
    fn task(&self, id: TaskId) -> Result<Option<Task>, Fault>;
    /// What an owner has.
    fn usage(&self, owner: Option<&str>) -> Result<Usage, Fault>;
    /// The metadata definitions.
    fn metadefs(&self) -> &dyn MetadefView;
}

/// One change to the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Makes or replaces an image and its indexes.
    PutImage {
        /// As it was; `None`: new.
        before: Option<Arc<Image>>,
        /// As it is now, without its upload.
        after: Arc<Image>,
    },
    /// Removes an image, its members and indexes, and leaves a tombstone.
    RemoveImage {
        /// As it was.
        image: Arc<Image>,
        /// As they were.
        members: Vec<Member>,
        /// When.
        at: Timestamp,
    },
    /// Makes or replaces a member.
    PutMember {
        /// Of the image.
        row: u32,
        /// As it was; `None`: new.
        before: Option<Member>,
        /// As it is now.
        after: Member,
    },
    /// Removes a member.
    RemoveMember {
        /// Of the image.
        row: u32,
        /// As it was.
        member: Member,
    },
    /// Makes or replaces the upload to an image.
    PutUpload(ImageId, UploadState),
    /// Ends the upload to an image.
    RemoveUpload(ImageId),
    /// Makes or replaces a task and its indexes.
    PutTask {
        /// As it was; `None`: new.
        before: Option<Box<Task>>,
        /// As it is now.
        after: Box<Task>,
    },
    /// Removes a task and its indexes.
    RemoveTask(Box<Task>),
    /// Sets what an owner has.
    PutUsage(Option<String>, Usage),
    /// Queues data for the reaper.
    PutPendingDelete(PendingDelete),
    /// The reaper is done with this one; absent already is fine.
    RemovePendingDelete(u64),
    /// Changes metadata definitions.
    Metadef(MetadefChange),
    /// Sets the counters.
    PutCounters(Counters),
    /// Remembers a command.
    Remember(CommandId, Remembered),
}

/// Decides what a command does to the state.
pub fn decide(
    view: &impl StateView,
    index: LogIndex,
    envelope: &Envelope,
) -> Result<(Vec<Change>, Outcome), Fault> {
    if let Some(remembered) = view.remembered(envelope.id)? {
        return Ok((Vec::new(), again(view, remembered)?));
    }
    let mut counters = view.counters();
    counters.time = envelope
        .time
        .max(Timestamp(counters.time.0.saturating_add(1)));
    let mut draft = Draft {
        view,
        index,
        now: counters.time,
        counters,
        changes: Vec::new(),
        usages: BTreeMap::new(),
    };
    let done = draft.run(&envelope.command);
    let outcome = match done.and_then(|outcome| draft.within(envelope.bounds).map(|()| outcome)) {
        Ok(outcome) => outcome,
        Err(Refusal::Rejected(rejection)) => {
            draft.changes.clear();
            draft.usages.clear();
            draft.counters = Counters {
                time: draft.now,
                ..view.counters()
            };
            Outcome::Rejected(rejection)
        }
        Err(Refusal::Fault(fault)) => return Err(fault),
    };
    let Draft {
        mut changes,
        counters,
        usages,
        ..
    } = draft;
    for (owner, (before, usage)) in usages {
        if usage != before {
            changes.push(Change::PutUsage(owner, usage));
        }
    }
    changes.push(Change::PutCounters(counters));
    changes.push(Change::Remember(envelope.id, Remembered::of(&outcome)));
    Ok((changes, outcome))
}

/// The answer to a repeated command: what the first time changed, as it is now.
fn again(view: &impl StateView, remembered: Remembered) -> Result<Outcome, Fault> {
    Ok(match remembered {
        Remembered::Image(id) => match view.image(id)? {
            Some(image) => {
                let mut image = Image::clone(&image);
                if matches!(image.status, Status::Saving | Status::Uploading) {
                    image.upload = view.upload(id)?.map(|state| state.upload);
                }
                Outcome::Image(Box::new(image))
            }
            None => Outcome::Done,
        },
        Remembered::Member(id, member) => match view.image(id)? {
            Some(image) => view
                .member(image.row, &member)?
                .map_or(Outcome::Done, Outcome::Member),
            None => Outcome::Done,
        },
        Remembered::Namespace(id) => view
            .metadefs()
            .namespace(id)?
            .map_or(Outcome::Done, |namespace| {
                Outcome::Namespace(Box::new(namespace))
            }),
        Remembered::Definition(id, kind, name) => view
            .metadefs()
            .definition(id, kind, &name)?
            .map_or(Outcome::Done, |definition| {
                Outcome::Definition(id, kind, Box::new(definition))
            }),
        Remembered::Done => Outcome::Done,
        Remembered::Rejected(rejection) => Outcome::Rejected(rejection),
        Remembered::Task(id) => match view.task(id)? {
            Some(task) => Outcome::Task(Box::new(task)),
            None => Outcome::Done,
        },
    })
}

/// Why a command does not run to its end.
enum Refusal {
    Rejected(Rejection),
    Fault(Fault),
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

type Step<T = Outcome> = Result<T, Refusal>;

/// One command on its way: what it read and what it will change.
struct Draft<'v, V> {
    view: &'v V,
    index: LogIndex,
    now: Timestamp,
    counters: Counters,
    changes: Vec<Change>,
    /// What owners had and will have, of those that the command concerns.
    usages: BTreeMap<Option<String>, (Usage, Usage)>,
}

impl<V: StateView> Draft<'_, V> {
    fn run(&mut self, command: &Command) -> Step {
        match command {
            Command::CreateImage { id, attributes } => self.create_image(*id, attributes),
            Command::UpdateImage {
                id,
                expected,
                attributes,
            } => self.update_image(*id, *expected, attributes),
            Command::DeleteImage { id, expected } => self.delete_image(*id, *expected),
            Command::SetStatus { id, to } => self.set_status(*id, *to),
            Command::AddTag { id, tag, quota } => self.add_tag(*id, tag, *quota),
            Command::RemoveTag { id, tag } => self.remove_tag(*id, tag),
            Command::AddMember { id, member, quota } => self.add_member(*id, member, *quota),
            Command::SetMemberStatus { id, member, status } => {
                self.set_member_status(*id, member, *status)
            }
            Command::RemoveMember { id, member } => self.remove_member(*id, member),
            Command::BeginUpload {
                id,
                upload,
                node,
                incarnation,
                store,
                reserve,
                quota,
                lease_until,
            } => self.begin_upload(
                *id,
                crate::image::Upload {
                    id: *upload,
                    node: *node,
                    incarnation: *incarnation,
                    store: store.clone(),
                    reserved: *reserve,
                    lease_until: *lease_until,
                },
                *quota,
            ),
            Command::ExtendUpload {
                id,
                upload,
                reserve,
                quota,
                lease_until,
            } => self.extend_upload(*id, *upload, *reserve, *quota, *lease_until),
            Command::FinishUpload {
                id,
                upload,
                data,
                quota,
            } => self.finish_upload(*id, *upload, data, *quota),
            Command::AbortUpload { id, upload } => self.abort_upload(*id, *upload),
            Command::CondemnUpload {
                id,
                upload,
                lease_seen,
            } => self.condemn_upload(*id, *upload, *lease_seen),
            Command::Metadef(command) => self.metadef(command),
            Command::SetData {
                id,
                expected,
                attributes,
                data,
                quota,
            } => self.set_data(*id, *expected, attributes, data, *quota),
            Command::DataReaped { sequences } => {
                self.changes.extend(
                    sequences
                        .iter()
                        .map(|sequence| Change::RemovePendingDelete(*sequence)),
                );
                Ok(Outcome::Done)
            }
            Command::Task { id, command } => self.task(*id, command),
        }
    }

    /// The image, or the refusal that there is none.
    fn image(&self, id: ImageId) -> Step<Arc<Image>> {
        Ok(self.view.image(id)?.ok_or(Rejection::ImageNotFound)?)
    }

    /// Writes a changed image under a new version, and gives it back.
    fn put_image(&mut self, before: Arc<Image>, mut after: Image) -> Step<Arc<Image>> {
        after.version = self.index;
        after.updated_at = self.now;
        after.upload = None;
        self.recount(Some(&before), Some(&after))?;
        let after = Arc::new(after);
        self.changes.push(Change::PutImage {
            before: Some(before),
            after: Arc::clone(&after),
        });
        Ok(after)
    }

    /// Queues data for the reaper.
    fn queue_delete(&mut self, image_id: ImageId, location: Location) -> Step<()> {
        self.counters.last_sequence = self
            .counters
            .last_sequence
            .checked_add(1)
            .ok_or_else(|| fault("queueing a delete")("out of sequence numbers"))?;
        self.changes.push(Change::PutPendingDelete(PendingDelete {
            sequence: self.counters.last_sequence,
            image_id,
            location,
            queued_at: self.now,
        }));
        Ok(())
    }

    /// Changes what an owner has.
    fn put_usage(&mut self, owner: Option<&str>, change: impl FnOnce(&mut Usage)) -> Step<()> {
        let owner = owner.map(str::to_owned);
        let (_, usage) = match self.usages.entry(owner) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let usage = self.view.usage(place.key().as_deref())?;
                place.insert((usage, usage))
            }
        };
        change(usage);
        Ok(())
    }

    /// Counts an image that comes, goes, or changes its owner or status, with its owner's.
    fn recount(&mut self, before: Option<&Image>, after: Option<&Image>) -> Step<()> {
        let counted = |image: &Image| {
            let transfers = u64::from(image.status.transfers());
            (image.attributes.owner.clone(), transfers)
        };
        let (before, after) = (before.map(counted), after.map(counted));
        if before == after {
            return Ok(());
        }
        if let Some((owner, transfers)) = before {
            self.put_usage(owner.as_deref(), |usage| {
                usage.images = usage.images.saturating_sub(1);
                usage.transfers = usage.transfers.saturating_sub(transfers);
            })?;
        }
        if let Some((owner, transfers)) = after {
            self.put_usage(owner.as_deref(), |usage| {
                usage.images = usage.images.saturating_add(1);
                usage.transfers = usage.transfers.saturating_add(transfers);
            })?;
        }
        Ok(())
    }

    /// Refuses a command after which an owner has more than it may. What it had already is not held
    /// against it, and those without an owner count against nobody.
    fn within(&self, bounds: Bounds) -> Step<()> {
        let owners = self.usages.iter().filter(|(owner, _)| owner.is_some());
        for (_, (before, after)) in owners {
            for (what, before, after, bound) in [
                (
                    CountedThing::Image,
                    before.images,
                    after.images,
                    bounds.images,
                ),
                (
                    CountedThing::Transfer,
                    before.transfers,
                    after.transfers,
                    bounds.transfers,
                ),
            ] {
                if let Some(limit) = bound.filter(|limit| after > before && after > *limit) {
                    return Err(Rejection::CountQuota {
                        what,
                        attempted: after,
                        limit,
                    }
                    .into());
                }
            }
        }
        Ok(())
    }
}

/// Bytes that an image counts against its owner's quota: its data, once per location.
fn charged(image: &Image) -> u64 {
    let locations = u64::try_from(image.locations.len()).unwrap_or(u64::MAX);
    image.size.unwrap_or(0).saturating_mul(locations)
}
