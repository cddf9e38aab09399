//! Commands on an image itself: create, update, delete, deactivate, tags.

use std::sync::Arc;

use super::{Change, Draft, StateView, Step, charged, tasks::staged_charge};
use crate::{
    encoding::fault,
    image::{Attributes, Image, ImageId, Version},
    outcome::{CountedThing, Outcome, Rejection},
    status::Status,
};

impl<V: StateView> Draft<'_, V> {
    pub(super) fn create_image(&mut self, id: ImageId, attributes: &Attributes) -> Step {
        if self.view.image(id)?.is_some() || self.view.deleted(id)? {
            return Err(Rejection::IdTaken.into());
        }
        let row = self.counters.next_row;
        self.counters.next_row = row
            .checked_add(1)
            .ok_or_else(|| fault("creating an image")("out of rows"))?;
        self.counters.images += 1;
        let image = Image {
            id,
            row,
            version: self.index,
            status: Status::Queued,
            attributes: attributes.clone(),
            size: None,
            virtual_size: None,
            checksum: None,
            os_hash_algo: None,
            os_hash_value: None,
            created_at: self.now,
            updated_at: self.now,
            locations: Vec::new(),
            manifest: None,
            upload: None,
            import: None,
        };
        self.recount(None, Some(&image))?;
        self.changes.push(Change::PutImage {
            before: None,
            after: image.clone().into(),
        });
        Ok(Outcome::Image(Box::new(image)))
    }

    pub(super) fn update_image(
        &mut self,
        id: ImageId,
        expected: Version,
        attributes: &Attributes,
    ) -> Step {
        let before = self.at_version(id, expected)?;
        check_formats(&before, attributes)?;
        self.recharge(&before, attributes.owner.as_deref(), charged(&before))?;
        let upload = self.view.upload(id)?;
        let after = Image {
            attributes: attributes.clone(),
            ..Image::clone(&before)
        };
        let after = self.put_image(before, after)?;
        let mut shown = Image::clone(&after);
        shown.upload = upload.map(|state| state.upload);
        Ok(Outcome::Image(Box::new(shown)))
    }

    /// The image, if it is still at that version.
    pub(super) fn at_version(&self, id: ImageId, expected: Version) -> Step<Arc<Image>> {
        let image = self.image(id)?;
        if image.version == expected {
            return Ok(image);
        }
        let current = image.version;
        Err(Rejection::VersionConflict { current }.into())
    }

    /// The upload's row, if there is one, stays: its bytes are still to be found and removed.
    pub(super) fn delete_image(&mut self, id: ImageId, expected: Option<Version>) -> Step {
        let image = self.image(id)?;
        if expected.is_some_and(|version| version != image.version) {
            return Err(Rejection::VersionConflict {
                current: image.version,
            }
            .into());
        }
        if image.attributes.protected {
            return Err(Rejection::Protected.into());
        }
        self.check_move(image.status, Status::Deleted)?;
        for location in &image.locations {
            self.queue_delete(id, location.clone())?;
        }
        self.recount(Some(&image), None)?;
        if let Some(staged) = image.import.as_ref().and_then(|i| i.staged.as_ref()) {
            self.queue_delete(id, staged.location.clone())?;
        }
        let (live, reserved) = (charged(&image), staged_charge(&image));
        if live > 0 || reserved > 0 {
            self.put_usage(image.attributes.owner.as_deref(), |usage| {
                usage.live = usage.live.saturating_sub(live);
                usage.reserved = usage.reserved.saturating_sub(reserved);
            })?;
        }
        self.counters.images = self.counters.images.saturating_sub(1);
        let members = self.view.members(image.row)?;
        let at = self.now;
        self.changes
            .push(Change::RemoveImage { image, members, at });
        Ok(Outcome::Done)
    }

    pub(super) fn set_status(&mut self, id: ImageId, to: Status) -> Step {
        let before = self.image(id)?;
        let from = before.status;
        let toggles = |status| matches!(status, Status::Active | Status::Deactivated);
        if !toggles(from) || !toggles(to) {
            return Err(Rejection::ForbiddenMove { from, to }.into());
        }
        if from == to {
            return Ok(Outcome::Image(Box::new(Image::clone(&before))));
        }
        self.check_move(from, to)?;
        let after = Image {
            status: to,
            ..Image::clone(&before)
        };
        let after = self.put_image(before, after)?;
        Ok(Outcome::Image(Box::new(Image::clone(&after))))
    }

    pub(super) fn add_tag(&mut self, id: ImageId, tag: &str, quota: Option<u64>) -> Step {
        let before = self.image(id)?;
        if before.attributes.tags.contains(tag) {
            return Ok(Outcome::Done);
        }
        check_count(CountedThing::Tag, before.attributes.tags.len() + 1, quota)?;
        let mut after = Image::clone(&before);
        after.attributes.tags.insert(tag.to_owned());
        self.put_image(before, after)?;
        Ok(Outcome::Done)
    }

    pub(super) fn remove_tag(&mut self, id: ImageId, tag: &str) -> Step {
        let before = self.image(id)?;
        let mut after = Image::clone(&before);
        if !after.attributes.tags.remove(tag) {
            return Err(Rejection::TagNotFound.into());
        }
        self.put_image(before, after)?;
        Ok(Outcome::Done)
    }

    /// Every move of a status passes here.
    pub(super) fn check_move(&self, from: Status, to: Status) -> Step<()> {
        if from.may_become(to) {
            Ok(())
        } else {
            Err(Rejection::ForbiddenMove { from, to }.into())
        }
    }
}

/// Refuses other formats for an image that has data.
pub(super) fn check_formats(before: &Image, attributes: &Attributes) -> Step<()> {
    let old = &before.attributes;
    let change = old.disk_format != attributes.disk_format
        || old.container_format != attributes.container_format;
    if change && !matches!(before.status, Status::Queued | Status::Importing) {
        return Err(Rejection::FormatsFrozen.into());
    }
    Ok(())
}

/// Refuses what would be more than the quota.
pub(super) fn check_count(what: CountedThing, would_be: usize, quota: Option<u64>) -> Step<()> {
    let attempted = u64::try_from(would_be).unwrap_or(u64::MAX);
    match quota {
        Some(limit) if attempted > limit => Err(Rejection::CountQuota {
            what,
            attempted,
            limit,
        }
        .into()),
        Some(_) | None => Ok(()),
    }
}
