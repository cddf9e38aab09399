//! The lease of an upload: its sign of life, and the room that it holds in the owner's quota.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use glimpse_registry::{
    Error as RegistryError,
    image::{Image, ImageId, UploadId},
    outcome::Rejection,
};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    data::pipeline::{Broken, Room},
};

/// A lease is renewed at most so often, however short it is.
const SHORTEST_PERIOD: Duration = Duration::from_millis(100);

/// An upload of unknown size reserves ahead of what came, up to `limits.reserve_step`, but never more
/// than this part of what the quota has left: uploads side by side shall all find room. No key: it
/// only trades commands near the quota's end for room.
const SHARE: u64 = 16;

/// One upload's.
pub(super) struct Lease {
    app: Arc<App>,
    pub(super) id: ImageId,
    pub(super) upload: UploadId,
    pub(super) quota: Option<u64>,
    owner: Option<String>,
    /// Bytes reserved in all.
    pub(super) reserved: AtomicU64,
    /// One extension at a time: a renewal must not undo a growth.
    extending: Mutex<()>,
    /// The image is gone, or the lease.
    pub(super) lost: CancellationToken,
}

impl Lease {
    /// The lease that `begin_upload` will open with `reserved` bytes.
    pub(super) fn new(app: &Arc<App>, image: &Image, upload: UploadId, reserved: u64) -> Self {
        Self {
            id: image.id,
            upload,
            quota: None,
            owner: image.attributes.owner.clone(),
            reserved: AtomicU64::new(reserved),
            extending: Mutex::new(()),
            lost: CancellationToken::new(),
            app: Arc::clone(app),
        }
    }

    /// The same lease by the record that the upload began on, whose owner is frozen, and what that
    /// owner may have.
    pub(super) fn on(&self, image: &Image, quota: Option<u64>) -> Self {
        let reserved = self.reserved.load(Ordering::Relaxed);
        Self {
            lost: self.lost.clone(),
            quota,
            ..Self::new(&self.app, image, self.upload, reserved)
        }
    }

    /// Renews the lease by thirds for as long as it is polled.
    pub(super) async fn keep(&self) -> Infallible {
        let period = (self.app.config.limits.upload_lease / 3).max(SHORTEST_PERIOD);
        loop {
            tokio::time::sleep(period).await;
            let _one = self.extending.lock().await;
            // Anything but a loss is tried again in time: there are two more thirds.
            if let Err(Broken::Lost) = self.extend(self.reserved.load(Ordering::Relaxed)).await {
                self.lost.cancel();
                return std::future::pending().await;
            }
        }
    }

    /// Bytes that the owner's quota has left.
    fn left(&self) -> Result<u64, Broken> {
        let (Some(quota), Some(owner)) = (self.quota, &self.owner) else {
            return Ok(u64::MAX);
        };
        let (live, reserved) = self.app.registry.read_local().usage(owner)?;
        Ok(quota.saturating_sub(live).saturating_sub(reserved))
    }

    /// Renews the lease now; whether it is ours still. A clock that jumped may have ended it.
    pub(super) async fn renew(&self) -> bool {
        let _one = self.extending.lock().await;
        self.extend(self.reserved.load(Ordering::Relaxed))
            .await
            .is_ok()
    }

    async fn extend(&self, total: u64) -> Result<(), Broken> {
        let extended = self
            .app
            .registry
            .extend_upload(self.id, self.upload, total, self.quota)
            .await;
        match extended {
            Ok(()) => {
                self.reserved.store(total, Ordering::Relaxed);
                Ok(())
            }
            Err(RegistryError::Rejected(Rejection::UploadLost | Rejection::ImageNotFound)) => {
                Err(Broken::Lost)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Room for Lease {
    async fn reserve(&self, total: u64) -> Result<(), Broken> {
        if self.quota.is_none() || total <= self.reserved.load(Ordering::Relaxed) {
            return Ok(());
        }
        let _one = self.extending.lock().await;
        let ahead = self.left()? / SHARE;
        let target = total.saturating_add(ahead.min(self.app.config.limits.reserve_step));
        match self.extend(target).await {
            // Others were faster; what is needed now may still fit.
            Err(Broken::Registry(RegistryError::Rejected(Rejection::StorageQuota { .. }))) => {
                self.extend(total).await
            }
            other => other,
        }
    }
}
