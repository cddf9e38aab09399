//! What an image's data is known to be: its locations, size, hashes and manifest, set together with the
//! attributes, so that one PATCH of both is one change.
//!
//! The proposer names the whole new state of an image at a version it has read. What is decided here is
//! what no proposer may get wrong: the lawful moves, the owner's bytes, that an image which has data
//! keeps some (OSSA-2016-006), and that data which no location names any more is removed.

use super::{Change, Draft, StateView, Step, charged, tasks::staged_charge, uploads};
use crate::{
    command::ImageData,
    image::{Attributes, Image, ImageId, Version},
    outcome::{Outcome, Rejection},
    status::Status,
};

impl<V: StateView> Draft<'_, V> {
    pub(super) fn set_data(
        &mut self,
        id: ImageId,
        expected: Version,
        attributes: &Attributes,
        data: &ImageData,
        quota: Option<u64>,
    ) -> Step {
        let before = self.at_version(id, expected)?;
        let (from, to) = (before.status, data.status);
        let settled = |status| {
            use Status::{Active, Deactivated, Importing, Queued};
            matches!(status, Queued | Importing | Active | Deactivated)
        };
        if !settled(from) || !settled(to) {
            return Err(Rejection::ForbiddenMove { from, to }.into());
        }
        if from != to {
            // What a task moves, the task moves.
            if before
                .import
                .as_ref()
                .is_some_and(|import| import.task.is_some())
            {
                return Err(Rejection::ImportLocked.into());
            }
            self.check_move(from, to)?;
        }
        let formats_set = attributes.disk_format.is_some() && attributes.container_format.is_some();
        if from == Status::Queued && to != Status::Queued && !formats_set {
            return Err(Rejection::FormatsUnset.into());
        }
        super::images::check_formats(&before, attributes)?;
        let has_data = matches!(to, Status::Active | Status::Deactivated);
        if has_data && data.locations.is_empty() && !before.locations.is_empty() {
            return Err(Rejection::LastLocation.into());
        }
        let after = Image {
            status: to,
            attributes: attributes.clone(),
            size: data.size,
            checksum: data.checksum.clone(),
            os_hash_algo: data.os_hash_algo.clone(),
            os_hash_value: data.os_hash_value.clone(),
            locations: data.locations.clone(),
            manifest: data.manifest,
            ..Image::clone(&before)
        };
        let bytes = charged(&after);
        let more = bytes.saturating_sub(charged(&before));
        if more > 0 {
            let usage = self.view.usage(attributes.owner.as_deref())?;
            uploads::check_storage(uploads::used(usage), more, quota)?;
        }
        self.recharge(&before, attributes.owner.as_deref(), bytes)?;
        for location in &before.locations {
            let kept = |other: &crate::image::Location| other.url == location.url;
            if !after.locations.iter().any(kept) {
                self.queue_delete(id, location.clone())?;
            }
        }
        let after = self.put_image(before, after)?;
        let mut shown = Image::clone(&after);
        shown.upload = self.view.upload(id)?.map(|state| state.upload);
        Ok(Outcome::Image(Box::new(shown)))
    }

    /// Moves what an image counts to its owner of now, with its upload's reservation.
    pub(super) fn recharge(&mut self, before: &Image, owner: Option<&str>, bytes: u64) -> Step<()> {
        let (old_owner, old_bytes) = (before.attributes.owner.as_deref(), charged(before));
        if old_owner == owner {
            if old_bytes != bytes {
                self.put_usage(owner, |usage| {
                    usage.live = usage.live.saturating_sub(old_bytes).saturating_add(bytes);
                })?;
            }
            return Ok(());
        }
        let upload = self.view.upload(before.id)?;
        let reserved = upload.as_ref().map_or(0, |state| state.upload.reserved);
        let reserved = reserved.saturating_add(staged_charge(before));
        self.put_usage(old_owner, |usage| {
            usage.live = usage.live.saturating_sub(old_bytes);
            usage.reserved = usage.reserved.saturating_sub(reserved);
        })?;
        self.put_usage(owner, |usage| {
            usage.live = usage.live.saturating_add(bytes);
            usage.reserved = usage.reserved.saturating_add(reserved);
        })?;
        if let Some(mut state) = upload {
            state.owner = owner.map(str::to_owned);
            self.changes.push(Change::PutUpload(before.id, state));
        }
        Ok(())
    }
}
