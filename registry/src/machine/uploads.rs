//! Commands of an upload: begin, extend, finish, abort; and the owner's storage quota.
//!
//! Once the time in the log passes its lease, an upload can no longer finish. Its owner may still
//! extend it: a clock that jumps (a machine that was suspended) kills no upload whose process lives.
//! So whoever finds a lease over condemns the upload before removing its bytes: the one of both
//! commands that comes first decides, and a condemned upload can only be aborted.
//!
//! The upload of a deleted image keeps its row and its reservation until it is aborted: its bytes are
//! still in the store until then.

use super::{Change, Draft, StateView, Step, UploadState, Usage};
use crate::{
    command::UploadedData,
    image::{Image, ImageId, Timestamp, Upload, UploadId},
    outcome::{Outcome, Rejection},
    status::Status,
    task::{STAGING, Staged},
};

/// The lease of a condemned upload.
const CONDEMNED: Timestamp = Timestamp(0);

impl<V: StateView> Draft<'_, V> {
    pub(super) fn begin_upload(&mut self, id: ImageId, upload: Upload, quota: Option<u64>) -> Step {
        let before = self.image(id)?;
        let staging = upload.store == STAGING;
        let to = match staging {
            true => Status::Uploading,
            false => Status::Saving,
        };
        if before.status != Status::Queued {
            return Err(Rejection::ForbiddenMove {
                from: before.status,
                to,
            }
            .into());
        }
        self.check_move(before.status, to)?;
        let attributes = &before.attributes;
        let unset = attributes.disk_format.is_none() || attributes.container_format.is_none();
        // Staged data is judged when it is imported.
        if unset && !staging {
            return Err(Rejection::FormatsUnset.into());
        }
        let owner = attributes.owner.clone();
        let usage = self.view.usage(owner.as_deref())?;
        check_storage(used(usage), upload.reserved, quota)?;
        self.put_usage(owner.as_deref(), |usage| {
            usage.reserved = usage.reserved.saturating_add(upload.reserved);
        })?;
        let state = UploadState {
            upload: upload.clone(),
            owner,
        };
        self.changes.push(Change::PutUpload(id, state));
        let after = Image {
            status: to,
            ..Image::clone(&before)
        };
        let after = self.put_image(before, after)?;
        let mut shown = Image::clone(&after);
        shown.upload = Some(upload);
        Ok(Outcome::Image(Box::new(shown)))
    }

    /// Leaves the image record as it is: a lease is no change that a client sees.
    pub(super) fn extend_upload(
        &mut self,
        id: ImageId,
        upload: UploadId,
        reserve: u64,
        quota: Option<u64>,
        lease_until: Timestamp,
    ) -> Step {
        let mut state = self.own_upload(id, upload)?;
        if state.upload.lease_until == CONDEMNED || self.view.image(id)?.is_none() {
            return Err(Rejection::UploadLost.into());
        }
        let already = state.upload.reserved;
        let reserved = already.max(reserve);
        // What is reserved was allowed; a quota that shrank since does not end a lease.
        if reserved > already {
            let usage = self.view.usage(state.owner.as_deref())?;
            check_storage(used(usage).saturating_sub(already), reserved, quota)?;
        }
        self.put_usage(state.owner.as_deref(), |usage| {
            usage.reserved = usage
                .reserved
                .saturating_sub(already)
                .saturating_add(reserved);
        })?;
        state.upload.reserved = reserved;
        state.upload.lease_until = state.upload.lease_until.max(lease_until);
        self.changes.push(Change::PutUpload(id, state));
        Ok(Outcome::Done)
    }

    pub(super) fn finish_upload(
        &mut self,
        id: ImageId,
        upload: UploadId,
        data: &UploadedData,
        quota: Option<u64>,
    ) -> Step {
        let (before, state) = self.living_upload(id, upload)?;
        if data.location.store == STAGING {
            return self.finish_staging(before, &state, data, quota);
        }
        self.check_move(before.status, Status::Active)?;
        let reserved = state.upload.reserved;
        let usage = self.view.usage(state.owner.as_deref())?;
        check_storage(used(usage).saturating_sub(reserved), data.size, quota)?;
        self.put_usage(state.owner.as_deref(), |usage| {
            usage.reserved = usage.reserved.saturating_sub(reserved);
            usage.live = usage.live.saturating_add(data.size);
        })?;
        self.changes.push(Change::RemoveUpload(id));
        let after = Image {
            status: Status::Active,
            size: Some(data.size),
            virtual_size: data.virtual_size,
            checksum: Some(data.checksum.clone()),
            os_hash_algo: Some(data.os_hash_algo.clone()),
            os_hash_value: Some(data.os_hash_value.clone()),
            manifest: Some(data.manifest),
            locations: vec![data.location.clone()],
            ..Image::clone(&before)
        };
        let after = self.put_image(before, after)?;
        Ok(Outcome::Image(Box::new(Image::clone(&after))))
    }

    /// The image stays `uploading`, with its data in staging; the reservation stays.
    fn finish_staging(
        &mut self,
        before: std::sync::Arc<Image>,
        state: &UploadState,
        data: &UploadedData,
        quota: Option<u64>,
    ) -> Step {
        let (reserved, owner) = (state.upload.reserved, state.owner.as_deref());
        let usage = self.view.usage(owner)?;
        check_storage(used(usage).saturating_sub(reserved), data.size, quota)?;
        self.put_usage(owner, |usage| {
            usage.reserved = usage
                .reserved
                .saturating_sub(reserved)
                .saturating_add(data.size);
        })?;
        self.changes.push(Change::RemoveUpload(before.id));
        let mut after = Image::clone(&before);
        after.size = Some(data.size);
        after.import.get_or_insert_default().staged = Some(Staged {
            node: state.upload.node,
            location: data.location.clone(),
            manifest: data.manifest,
        });
        let after = self.put_image(before, after)?;
        Ok(Outcome::Image(Box::new(Image::clone(&after))))
    }

    /// Ends an upload's hope, if its lease is still the one that the caller saw.
    pub(super) fn condemn_upload(
        &mut self,
        id: ImageId,
        upload: UploadId,
        seen: Timestamp,
    ) -> Step {
        let mut state = self.own_upload(id, upload)?;
        if state.upload.lease_until != CONDEMNED {
            if state.upload.lease_until > seen {
                return Err(Rejection::UploadAlive.into());
            }
            state.upload.lease_until = CONDEMNED;
            self.changes.push(Change::PutUpload(id, state));
        }
        Ok(Outcome::Done)
    }

    pub(super) fn abort_upload(&mut self, id: ImageId, upload: UploadId) -> Step {
        let state = self.own_upload(id, upload)?;
        let reserved = state.upload.reserved;
        self.put_usage(state.owner.as_deref(), |usage| {
            usage.reserved = usage.reserved.saturating_sub(reserved);
        })?;
        self.changes.push(Change::RemoveUpload(id));
        if let Some(before) = self.view.image(id)? {
            self.check_move(before.status, Status::Queued)?;
            let after = Image {
                status: Status::Queued,
                size: None,
                virtual_size: None,
                ..Image::clone(&before)
            };
            self.put_image(before, after)?;
        }
        Ok(Outcome::Done)
    }

    /// The upload, if it is this one.
    fn own_upload(&self, id: ImageId, upload: UploadId) -> Step<UploadState> {
        match self.view.upload(id)? {
            Some(state) if state.upload.id == upload => Ok(state),
            Some(_) | None => Err(Rejection::UploadLost.into()),
        }
    }

    /// The upload and its image, if neither is dead.
    fn living_upload(
        &self,
        id: ImageId,
        upload: UploadId,
    ) -> Step<(std::sync::Arc<Image>, UploadState)> {
        let state = self.own_upload(id, upload)?;
        if self.now > state.upload.lease_until {
            return Err(Rejection::UploadLost.into());
        }
        let image = self.view.image(id)?.ok_or(Rejection::UploadLost)?;
        Ok((image, state))
    }
}

pub(super) fn used(usage: Usage) -> u64 {
    usage.live.saturating_add(usage.reserved)
}

/// Refuses what would go over the owner's bytes.
pub(super) fn check_storage(used: u64, requested: u64, quota: Option<u64>) -> Step<()> {
    match quota {
        Some(limit) if used.saturating_add(requested) > limit => Err(Rejection::StorageQuota {
            used,
            requested,
            limit,
        }
        .into()),
        Some(_) | None => Ok(()),
    }
}
