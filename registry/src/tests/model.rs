//! Random commands against a small model of the rules, answer by answer, and random queries
//! against a look at every image. The model keeps no sums and no indexes: it counts anew.

use std::collections::{BTreeMap, BTreeSet};

use glimpse_replication::StateMachine as _;
use rand::{RngExt as _, rngs::StdRng};

use super::{
    fixture::{Node, PROJECTS, SECOND, entry, image_id, random_command, random_query, seeded},
    metadefs,
    oracle::World,
};
use crate::{
    command::{Command, ImageData},
    image::{
        Attributes, Image, ImageId, Member, MemberStatus, PendingDelete, Timestamp, Upload,
        Visibility,
    },
    outcome::{CountedThing, Outcome, Rejection},
    status::Status,
    view::View,
};

const IDS: u128 = 60;

#[derive(Default)]
struct Model {
    time: u64,
    rows: u32,
    sequence: u64,
    images: BTreeMap<ImageId, Image>,
    gone: BTreeSet<ImageId>,
    members: BTreeMap<(ImageId, String), Member>,
    uploads: BTreeMap<ImageId, (Upload, Option<String>)>,
    pending: BTreeMap<u64, PendingDelete>,
    metadefs: metadefs::Model,
}

type Answer = Result<Outcome, Rejection>;

impl Model {
    fn run(&mut self, index: u64, clock: u64, command: &Command) -> Outcome {
        self.time = clock.max(self.time + 1);
        let now = Timestamp(self.time);
        match self.answer(index, now, command) {
            Ok(outcome) => outcome,
            Err(rejection) => Outcome::Rejected(rejection),
        }
    }

    fn used(&self, owner: Option<&str>) -> (u64, u64) {
        let live = self
            .images
            .values()
            .filter(|i| i.attributes.owner.as_deref() == owner);
        let live = live.map(|i| i.size.unwrap_or(0) * i.locations.len() as u64);
        let reserved = self.uploads.values().filter(|(_, o)| o.as_deref() == owner);
        (
            live.sum(),
            reserved.map(|(upload, _)| upload.reserved).sum(),
        )
    }

    fn fits(
        &self,
        owner: Option<&str>,
        mine: u64,
        requested: u64,
        quota: Option<u64>,
    ) -> Result<(), Rejection> {
        let (live, reserved) = self.used(owner);
        let used = live + reserved - mine;
        match quota {
            Some(limit) if used + requested > limit => Err(Rejection::StorageQuota {
                used,
                requested,
                limit,
            }),
            _ => Ok(()),
        }
    }

    fn check_data(
        &self,
        image: &Image,
        expected: u64,
        attributes: &Attributes,
        data: &ImageData,
        quota: Option<u64>,
    ) -> Result<(), Rejection> {
        if image.version != expected {
            return Err(Rejection::VersionConflict {
                current: image.version,
            });
        }
        let (from, to) = (image.status, data.status);
        if from == Status::Saving || to == Status::Saving || from != to && !from.may_become(to) {
            return Err(Rejection::ForbiddenMove { from, to });
        }
        let formats = (&attributes.disk_format, &attributes.container_format);
        if from == Status::Queued && to != from && (formats.0.is_none() || formats.1.is_none()) {
            return Err(Rejection::FormatsUnset);
        }
        let old = &image.attributes;
        if !matches!(from, Status::Queued | Status::Importing)
            && formats != (&old.disk_format, &old.container_format)
        {
            return Err(Rejection::FormatsFrozen);
        }
        if to == Status::Active && data.locations.is_empty() && !image.locations.is_empty() {
            return Err(Rejection::LastLocation);
        }
        let bytes = |size: Option<u64>, count: usize| size.unwrap_or(0) * count as u64;
        let before = bytes(image.size, image.locations.len());
        let after = bytes(data.size, data.locations.len());
        match after.checked_sub(before) {
            Some(more) if more > 0 => self.fits(attributes.owner.as_deref(), 0, more, quota),
            _ => Ok(()),
        }
    }

    fn shown(&self, id: ImageId) -> Outcome {
        let mut image = self.images[&id].clone();
        image.upload = self.uploads.get(&id).map(|(upload, _)| upload.clone());
        Outcome::Image(Box::new(image))
    }

    fn touch(&mut self, id: ImageId, index: u64, now: Timestamp) -> &mut Image {
        let image = self.images.get_mut(&id).unwrap();
        image.version = index;
        image.updated_at = now;
        image
    }

    fn answer(&mut self, index: u64, now: Timestamp, command: &Command) -> Answer {
        let find = |id: &ImageId| self.images.get(id).cloned().ok_or(Rejection::ImageNotFound);
        match command {
            Command::Metadef(command) => self.metadefs.run(index, now, command),
            Command::CreateImage { id, attributes } => {
                if self.images.contains_key(id) || self.gone.contains(id) {
                    return Err(Rejection::IdTaken);
                }
                let image = Image {
                    id: *id,
                    row: self.rows,
                    version: index,
                    status: Status::Queued,
                    attributes: attributes.clone(),
                    size: None,
                    virtual_size: None,
                    checksum: None,
                    os_hash_algo: None,
                    os_hash_value: None,
                    created_at: now,
                    updated_at: now,
                    locations: Vec::new(),
                    manifest: None,
                    upload: None,
                    import: None,
                };
                self.rows += 1;
                self.images.insert(*id, image);
                Ok(self.shown(*id))
            }
            Command::UpdateImage {
                id,
                expected,
                attributes,
            } => {
                let image = find(id)?;
                if image.version != *expected {
                    return Err(Rejection::VersionConflict {
                        current: image.version,
                    });
                }
                let formats = (&attributes.disk_format, &attributes.container_format);
                let old = &image.attributes;
                if image.status != Status::Queued
                    && formats != (&old.disk_format, &old.container_format)
                {
                    return Err(Rejection::FormatsFrozen);
                }
                self.touch(*id, index, now).attributes = attributes.clone();
                if let Some((_, owner)) = self.uploads.get_mut(id) {
                    owner.clone_from(&attributes.owner);
                }
                Ok(self.shown(*id))
            }
            Command::SetData {
                id,
                expected,
                attributes,
                data,
                quota,
            } => {
                let image = find(id)?;
                self.check_data(&image, *expected, attributes, data, *quota)?;
                for location in &image.locations {
                    if !data.locations.iter().any(|kept| kept.url == location.url) {
                        self.sequence += 1;
                        let pending = PendingDelete {
                            sequence: self.sequence,
                            image_id: *id,
                            location: location.clone(),
                            queued_at: now,
                        };
                        self.pending.insert(self.sequence, pending);
                    }
                }
                let image = self.touch(*id, index, now);
                image.attributes = attributes.clone();
                image.status = data.status;
                image.size = data.size;
                image.checksum.clone_from(&data.checksum);
                image.os_hash_algo.clone_from(&data.os_hash_algo);
                image.os_hash_value.clone_from(&data.os_hash_value);
                image.locations.clone_from(&data.locations);
                image.manifest = data.manifest;
                if let Some((_, owner)) = self.uploads.get_mut(id) {
                    owner.clone_from(&attributes.owner);
                }
                Ok(self.shown(*id))
            }
            Command::DeleteImage { id, expected } => {
                let image = find(id)?;
                if expected.is_some_and(|expected| expected != image.version) {
                    return Err(Rejection::VersionConflict {
                        current: image.version,
                    });
                }
                if image.attributes.protected {
                    return Err(Rejection::Protected);
                }
                for location in image.locations {
                    self.sequence += 1;
                    let pending = PendingDelete {
                        sequence: self.sequence,
                        image_id: *id,
                        location,
                        queued_at: now,
                    };
                    self.pending.insert(self.sequence, pending);
                }
                self.images.remove(id);
                self.members.retain(|(image, _), _| image != id);
                self.gone.insert(*id);
                Ok(Outcome::Done)
            }
            Command::SetStatus { id, to } => {
                let from = find(id)?.status;
                let both = [Status::Active, Status::Deactivated];
                if !both.contains(&from) || !both.contains(to) {
                    return Err(Rejection::ForbiddenMove { from, to: *to });
                }
                if from != *to {
                    self.touch(*id, index, now).status = *to;
                }
                Ok(self.shown(*id))
            }
            Command::AddTag { id, tag, quota } => {
                let tags = find(id)?.attributes.tags;
                let attempted = tags.len() as u64 + 1;
                if !tags.contains(tag) {
                    match quota {
                        Some(limit) if attempted > *limit => {
                            return Err(Rejection::CountQuota {
                                what: CountedThing::Tag,
                                attempted,
                                limit: *limit,
                            });
                        }
                        _ => {}
                    }
                    self.touch(*id, index, now)
                        .attributes
                        .tags
                        .insert(tag.clone());
                }
                Ok(Outcome::Done)
            }
            Command::RemoveTag { id, tag } => {
                if !find(id)?.attributes.tags.contains(tag) {
                    return Err(Rejection::TagNotFound);
                }
                self.touch(*id, index, now).attributes.tags.remove(tag);
                Ok(Outcome::Done)
            }
            Command::AddMember { id, member, quota } => {
                if find(id)?.attributes.visibility != Visibility::Shared {
                    return Err(Rejection::NotShared);
                }
                let key = (*id, member.clone());
                if self.members.contains_key(&key) {
                    return Err(Rejection::MemberExists);
                }
                let attempted = self.members.keys().filter(|(i, _)| i == id).count() as u64 + 1;
                match quota {
                    Some(limit) if attempted > *limit => {
                        return Err(Rejection::CountQuota {
                            what: CountedThing::Member,
                            attempted,
                            limit: *limit,
                        });
                    }
                    _ => {}
                }
                let made = Member {
                    image_id: *id,
                    member_id: member.clone(),
                    status: MemberStatus::Pending,
                    created_at: now,
                    updated_at: now,
                };
                self.members.insert(key, made.clone());
                Ok(Outcome::Member(made))
            }
            Command::SetMemberStatus { id, member, status } => {
                find(id)?;
                let key = (*id, member.clone());
                let found = self
                    .members
                    .get_mut(&key)
                    .ok_or(Rejection::MemberNotFound)?;
                found.status = *status;
                found.updated_at = now;
                Ok(Outcome::Member(found.clone()))
            }
            Command::RemoveMember { id, member } => {
                find(id)?;
                let key = (*id, member.clone());
                self.members.remove(&key).ok_or(Rejection::MemberNotFound)?;
                Ok(Outcome::Done)
            }
            Command::BeginUpload {
                id,
                upload,
                node,
                incarnation,
                store,
                reserve,
                quota,
                lease_until,
            } => {
                let image = find(id)?;
                if image.status != Status::Queued {
                    return Err(Rejection::ForbiddenMove {
                        from: image.status,
                        to: Status::Saving,
                    });
                }
                let a = &image.attributes;
                if a.disk_format.is_none() || a.container_format.is_none() {
                    return Err(Rejection::FormatsUnset);
                }
                self.fits(a.owner.as_deref(), 0, *reserve, *quota)?;
                let upload = Upload {
                    id: *upload,
                    node: *node,
                    incarnation: *incarnation,
                    store: store.clone(),
                    reserved: *reserve,
                    lease_until: *lease_until,
                };
                self.uploads.insert(*id, (upload, a.owner.clone()));
                self.touch(*id, index, now).status = Status::Saving;
                Ok(self.shown(*id))
            }
            Command::ExtendUpload {
                id,
                upload,
                reserve,
                quota,
                lease_until,
            } => {
                let (known, owner) = self.own(*id, *upload)?;
                if known.lease_until.0 == 0 || !self.images.contains_key(id) {
                    return Err(Rejection::UploadLost);
                }
                let reserved = known.reserved.max(*reserve);
                if reserved > known.reserved {
                    self.fits(owner.as_deref(), known.reserved, reserved, *quota)?;
                }
                let (known, _) = self.uploads.get_mut(id).unwrap();
                known.reserved = reserved;
                known.lease_until = known.lease_until.max(*lease_until);
                Ok(Outcome::Done)
            }
            Command::FinishUpload {
                id,
                upload,
                data,
                quota,
            } => {
                let (known, owner) = self.living(*id, *upload, now)?;
                self.fits(owner.as_deref(), known.reserved, data.size, *quota)?;
                self.uploads.remove(id);
                let image = self.touch(*id, index, now);
                image.status = Status::Active;
                image.size = Some(data.size);
                image.virtual_size = data.virtual_size;
                image.checksum = Some(data.checksum.clone());
                image.os_hash_algo = Some(data.os_hash_algo.clone());
                image.os_hash_value = Some(data.os_hash_value.clone());
                image.manifest = Some(data.manifest);
                image.locations = vec![data.location.clone()];
                Ok(self.shown(*id))
            }
            Command::CondemnUpload {
                id,
                upload,
                lease_seen,
            } => {
                let (known, _) = self.own(*id, *upload)?;
                if known.lease_until > *lease_seen {
                    return Err(Rejection::UploadAlive);
                }
                self.uploads.get_mut(id).unwrap().0.lease_until = Timestamp(0);
                Ok(Outcome::Done)
            }
            Command::AbortUpload { id, upload } => {
                self.own(*id, *upload)?;
                self.uploads.remove(id);
                if self.images.contains_key(id) {
                    self.touch(*id, index, now).status = Status::Queued;
                }
                Ok(Outcome::Done)
            }
            Command::DataReaped { sequences } => {
                for sequence in sequences {
                    self.pending.remove(sequence);
                }
                Ok(Outcome::Done)
            }
            Command::Task { .. } => unreachable!("random commands are none of tasks"),
        }
    }

    fn own(
        &self,
        id: ImageId,
        upload: crate::image::UploadId,
    ) -> Result<(Upload, Option<String>), Rejection> {
        match self.uploads.get(&id) {
            Some((known, owner)) if known.id == upload => Ok((known.clone(), owner.clone())),
            _ => Err(Rejection::UploadLost),
        }
    }

    fn living(
        &self,
        id: ImageId,
        upload: crate::image::UploadId,
        now: Timestamp,
    ) -> Result<(Upload, Option<String>), Rejection> {
        let (known, owner) = self.own(id, upload)?;
        if now <= known.lease_until && self.images.contains_key(&id) {
            Ok((known, owner))
        } else {
            Err(Rejection::UploadLost)
        }
    }

    /// Everything that a view shows, but lists.
    fn compare(&self, view: &View) {
        assert_eq!(view.time().0, self.time);
        assert_eq!(view.image_count(), self.images.len() as u64);
        self.metadefs.compare(view);
        for number in 0..IDS {
            let id = image_id(number);
            let shown = self.images.get(&id).map(|_| match self.shown(id) {
                Outcome::Image(image) => *image,
                other => panic!("{other:?}"),
            });
            assert_eq!(view.image(id).unwrap().as_deref(), shown.as_ref());
            let taken = shown.is_some() || self.gone.contains(&id);
            assert_eq!(view.id_taken(id).unwrap(), taken);
            let members = self.members.range((id, String::new())..);
            let members: Vec<_> = members
                .take_while(|((image, _), _)| *image == id)
                .map(|(_, member)| member.clone())
                .collect();
            assert_eq!(view.members(id).unwrap(), members);
        }
        for owner in PROJECTS {
            assert_eq!(
                view.usage(owner).unwrap(),
                self.used(Some(owner)),
                "{owner:?}"
            );
        }
        let pending = view.pending_deletes(0, usize::MAX).unwrap();
        assert!(pending.iter().eq(self.pending.values()));
        let uploads = view.uploads(None, usize::MAX).unwrap();
        assert_eq!(uploads.len(), self.uploads.len());
        for row in uploads {
            assert_eq!(row.upload, self.uploads[&row.image_id].0);
            assert_eq!(row.image_exists, self.images.contains_key(&row.image_id));
        }
        let by_row = view.images_from(0, usize::MAX).unwrap();
        for owner in PROJECTS {
            let own: Vec<_> = by_row
                .iter()
                .filter(|image| image.attributes.owner.as_deref() == Some(owner))
                .collect();
            let transfers = own.iter().filter(|image| image.status.transfers()).count();
            let counts = (own.len() as u64, transfers as u64);
            assert_eq!(view.counts(owner).unwrap(), counts, "{owner:?}");
        }
        assert!(by_row.is_sorted_by_key(|image| image.row));
        assert!(by_row.is_sorted_by_key(|image| image.created_at));
        assert_eq!(by_row.len(), self.images.len());
    }

    fn compare_lists(&self, view: &View, rng: &mut StdRng) {
        let member =
            |id: ImageId, project: &str| self.members.get(&(id, project.to_owned())).cloned();
        let world = World {
            images: self.images.values().collect(),
            member: &member,
        };
        for _ in 0..20 {
            let query = random_query(rng, IDS, self.time);
            let expected = world.list(&query);
            match view.list(&query) {
                Ok(page) => {
                    let page: Vec<_> = page.iter().map(|image| image.id).collect();
                    assert_eq!(Some(page), expected, "{query:?}");
                }
                Err(crate::Error::Rejected(Rejection::ImageNotFound)) => {
                    assert_eq!(expected, None, "{query:?}");
                }
                Err(other) => panic!("{other}"),
            }
            for image in self.images.values() {
                assert_eq!(
                    view.visible(image, &query.scope).unwrap(),
                    world.visible(image, &query.scope),
                );
            }
        }
    }
}

#[test]
fn the_machine_and_the_lists_answer_as_the_model_does() {
    let mut rng = seeded();
    for _ in 0..6 {
        let mut node = Node::new();
        let mut model = Model::default();
        for _ in 0..60 {
            let mut entries = Vec::new();
            let mut answers = Vec::new();
            for _ in 0..rng.random_range(1..12) {
                let clock = model.time.max(1_000 * SECOND);
                let clock = match rng.random_range(0..10) {
                    0 => clock.saturating_sub(SECOND),
                    _ => clock + rng.random_range(0..2 * SECOND),
                };
                let known = |id: ImageId| {
                    let version = model.images.get(&id).map_or(0, |image| image.version);
                    let upload = model.uploads.get(&id).map(|(upload, _)| upload.id);
                    Some((version, upload))
                };
                let pending: Vec<_> = model.pending.keys().copied().collect();
                let command = random_command(&mut rng, IDS, model.time, known, &pending);
                node.index += 1;
                answers.push((model.run(node.index, clock, &command), command.clone()));
                entries.push(entry(node.index, node.index, clock, command));
            }
            let outcomes = node.store.apply(&entries).unwrap();
            for (outcome, (answer, command)) in outcomes.iter().zip(&answers) {
                assert_eq!(outcome, answer, "{command:?}");
            }
            model.compare(&node.view());
            model.compare_lists(&node.view(), &mut rng);
        }
    }
}
