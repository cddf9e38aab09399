//! Uploads over a store that fails when told to.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use glimpse_registry::{
    command::Command,
    image::{ImageId, Timestamp, UploadId},
    status::Status,
};
use glimpse_store::{Capabilities, Listed, Result, Stat, Store, StoreError, Stored, Write};

use super::rig::{MIB, Rig, bytes, member, named_store, random, refused};
use crate::{
    config::ReaperConfig,
    workers::{Worker, reaper::Reaper},
};

/// How often each call still fails.
#[derive(Default)]
struct Faults {
    put: AtomicU32,
    write: AtomicU32,
    /// As `put` and `write`, for want of space.
    full_put: AtomicU32,
    full_write: AtomicU32,
    /// Before anything is visible.
    finish: AtomicU32,
    /// After the object is visible.
    finish_visible: AtomicU32,
    delete: AtomicU32,
    list: AtomicU32,
}

impl Faults {
    fn strike(count: &AtomicU32) -> Result<()> {
        let left = count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        match left {
            Ok(_) => Err(StoreError::Unavailable("as told".to_owned())),
            Err(_) => Ok(()),
        }
    }

    fn fill(count: &AtomicU32) -> Result<()> {
        Self::strike(count).map_err(|_| StoreError::Full)
    }
}

/// The real store behind the faults.
struct Faulty {
    inner: Arc<dyn Store>,
    faults: Arc<Faults>,
}

#[async_trait]
impl Store for Faulty {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn url(&self, key: &str) -> Result<String> {
        self.inner.url(key)
    }
    async fn put(&self, key: &str, size: Option<u64>) -> Result<Box<dyn Write>> {
        Faults::strike(&self.faults.put)?;
        Faults::fill(&self.faults.full_put)?;
        Ok(Box::new(FaultyWrite {
            inner: self.inner.put(key, size).await?,
            faults: Arc::clone(&self.faults),
        }))
    }
    async fn get(&self, url: &str, range: Range<u64>) -> Result<BoxStream<'static, Result<Bytes>>> {
        self.inner.get(url, range).await
    }
    async fn stat(&self, url: &str) -> Result<Stat> {
        self.inner.stat(url).await
    }
    async fn delete(&self, url: &str) -> Result<()> {
        Faults::strike(&self.faults.delete)?;
        self.inner.delete(url).await
    }
    async fn list(&self) -> Result<BoxStream<'static, Result<Listed>>> {
        Faults::strike(&self.faults.list)?;
        self.inner.list().await
    }
    async fn remove_unfinished(&self) -> Result<u64> {
        self.inner.remove_unfinished().await
    }
}

struct FaultyWrite {
    inner: Box<dyn Write>,
    faults: Arc<Faults>,
}

#[async_trait]
impl Write for FaultyWrite {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        Faults::strike(&self.faults.write)?;
        Faults::fill(&self.faults.full_write)?;
        self.inner.write(data).await
    }
    async fn finish(self: Box<Self>) -> Result<Stored> {
        if let Err(error) = Faults::strike(&self.faults.finish) {
            self.inner.abort().await?;
            return Err(error);
        }
        let stored = self.inner.finish().await?;
        Faults::strike(&self.faults.finish_visible)?;
        Ok(stored)
    }
    async fn abort(self: Box<Self>) -> Result<()> {
        self.inner.abort().await
    }
}

fn faulty() -> (Rig, Arc<Faults>) {
    let faults = Arc::<Faults>::default();
    let rig = Rig::over(
        |inner| {
            Arc::new(Faulty {
                inner,
                faults: Arc::clone(&faults),
            })
        },
        |_| {},
    );
    (rig, faults)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_at_any_step_leaves_nothing_and_a_second_upload_works() {
    let (rig, faults) = faulty();
    let id = rig.image().await;
    let data = random(1, 2 * MIB + 3);
    for (step, fault, expected) in [
        ("put", &faults.put, 503),
        ("write", &faults.write, 503),
        ("put, full", &faults.full_put, 413),
        ("write, full", &faults.full_write, 413),
        ("finish", &faults.finish, 503),
        ("finish, visible", &faults.finish_visible, 503),
    ] {
        fault.store(1, Ordering::SeqCst);
        let (status, text) = refused(rig.put(id, data.clone()).await);
        assert_eq!(status, expected, "{step}: {text}");
        assert_eq!(fault.load(Ordering::SeqCst), 0, "{step} was not reached");
        rig.assert_untouched(id, step).await;
    }
    // The removal of the visible object fails a few times as well.
    faults.finish_visible.store(1, Ordering::SeqCst);
    faults.delete.store(3, Ordering::SeqCst);
    assert_eq!(refused(rig.put(id, data.clone()).await).0, 503);
    rig.assert_untouched(id, "after failed removals").await;
    assert_eq!(rig.put(id, data.clone()).await.unwrap().status(), 204);
    assert!(bytes(rig.get(id, &[]).await.unwrap()).await == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_object_under_the_key_is_not_removed() {
    let (rig, _) = faulty();
    let id = rig.image().await;
    let mut write = rig.store().put(&id.to_string(), None).await.unwrap();
    write.write(Bytes::from_static(b"another's")).await.unwrap();
    write.finish().await.unwrap();
    let (status, _) = refused(rig.put(id, "mine").await);
    assert_eq!(status, 409);
    // The reaper is to look at it now.
    tokio::time::timeout(Duration::from_secs(30), rig.app.data.reaper_wake.notified())
        .await
        .unwrap();
    assert_eq!(rig.status(id).await, Some(Status::Queued));
    let file = rig.files().pop().unwrap();
    assert_eq!(std::fs::read(file).unwrap(), b"another's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_that_cannot_be_removed_keeps_the_image_until_the_next_process_reaps_it() {
    let (rig, faults) = faulty();
    let id = rig.image().await;
    faults.finish_visible.store(1, Ordering::SeqCst);
    faults.delete.store(u32::MAX, Ordering::SeqCst);
    assert_eq!(refused(rig.put(id, "data").await).0, 503);
    assert_eq!(rig.status(id).await, Some(Status::Saving));
    assert_eq!(rig.files().len(), 1);
    // Its lease is not over and its process lives, so the reaper waits.
    let mut reaper = rig.reaper();
    reaper.step().await.unwrap();
    assert_eq!(rig.status(id).await, Some(Status::Saving));
    drop(reaper);

    let rig = rig.restart().await;
    assert_eq!(rig.status(id).await, Some(Status::Saving));
    rig.reaper().step().await.unwrap();
    rig.assert_untouched(id, "after the restart").await;
    assert_eq!(rig.put(id, "data").await.unwrap().status(), 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_that_cannot_be_removed_is_once_the_store_is_back_and_holds_no_slot_meanwhile() {
    let (rig, faults) = faulty();
    let id = rig.image().await;
    faults.finish_visible.store(1, Ordering::SeqCst);
    faults.delete.store(u32::MAX, Ordering::SeqCst);
    assert_eq!(refused(rig.put(id, "data").await).0, 503);
    assert_eq!(rig.status(id).await, Some(Status::Saving));
    rig.until("the slot", async || rig.app.upload_slots.running() == 0)
        .await;
    faults.delete.store(0, Ordering::SeqCst);
    rig.until("queued", async || {
        rig.status(id).await == Some(Status::Queued)
    })
    .await;
    rig.assert_untouched(id, "the store is back").await;
    assert_eq!(rig.put(id, "data").await.unwrap().status(), 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_fails_is_tried_again_and_survives_a_restart() {
    let (rig, faults) = faulty();
    let id = rig.image().await;
    rig.put(id, "data").await.unwrap();
    rig.app.registry.delete_image(id, None).await.unwrap();
    faults.delete.store(u32::MAX, Ordering::SeqCst);
    let config = ReaperConfig {
        first_backoff: Duration::from_secs(3600),
        max_backoff: Duration::from_secs(3600),
        ..ReaperConfig::default()
    };
    let mut reaper = Reaper::new(Arc::clone(&rig.app), config);
    for _ in 0..3 {
        reaper.step().await.unwrap();
    }
    assert_eq!(rig.files().len(), 1);
    let attempts = u32::MAX - faults.delete.load(Ordering::SeqCst);
    assert_eq!(attempts, 1, "there is a pause between attempts");
    drop(reaper);
    let rig = rig.restart().await;
    rig.reaper().step().await.unwrap();
    assert_eq!(rig.files().len(), 0);
    let view = rig.app.registry.read().await.unwrap();
    assert_eq!(view.pending_deletes(0, 10).unwrap(), []);
}

/// An object that no record names, as an upload leaves it whose process died before the end.
async fn left(rig: &Rig, id: ImageId) {
    let mut write = rig.store().put(&id.to_string(), None).await.unwrap();
    write.write(Bytes::from_static(b"left")).await.unwrap();
    write.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_upload_whose_data_cannot_be_removed_keeps_no_other_one() {
    let (rig, faults) = faulty();
    for number in 0..4 {
        let id = rig.image().await;
        let begin = Command::BeginUpload {
            id,
            upload: UploadId(number),
            node: 1,
            incarnation: 99,
            store: "local".to_owned(),
            reserve: 4,
            quota: None,
            lease_until: Timestamp(u64::MAX),
        };
        rig.app.registry.propose(begin).await.unwrap();
        left(&rig, id).await;
    }
    let uploads = || {
        let view = rig.app.registry.read_local();
        view.uploads(None, 10).unwrap().len()
    };
    let mut reaper = rig.reaper();
    faults.delete.store(1, Ordering::SeqCst);
    reaper.step().await.unwrap_err();
    assert_eq!((uploads(), rig.files().len()), (1, 1));
    reaper.step().await.unwrap();
    assert_eq!((uploads(), rig.files().len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_does_not_list_keeps_no_other_from_being_searched() {
    let (mut rig, _) = faulty();
    let faults = Arc::<Faults>::default();
    faults.list.store(u32::MAX, Ordering::SeqCst);
    let inner = Arc::clone(&rig.app.stores.get("local").unwrap().store);
    let stores = &mut Arc::get_mut(&mut rig.app).unwrap().stores.by_name;
    // Before the other one.
    let broken = named_store("broken", Arc::new(Faulty { inner, faults }));
    stores.insert("broken".to_owned(), broken);
    let id = rig.image().await;
    rig.app.registry.delete_image(id, None).await.unwrap();
    left(&rig, id).await;
    let mut reaper = rig.reaper();
    for files in [1, 0] {
        reaper.step().await.unwrap_err();
        assert_eq!(rig.files().len(), files);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leftovers_are_remembered_while_the_registry_gives_no_answer() {
    let rig = Rig::new();
    let ids = [rig.image().await, rig.image().await];
    for id in ids {
        rig.app.data.report_leftover("local".to_owned(), id);
    }
    let mut reaper = rig.reaper();
    rig.app.registry.stop().await.unwrap();
    reaper.step().await.unwrap_err();
    let kept = rig.app.data.take_leftovers();
    assert_eq!(kept, ids.map(|id| ("local".to_owned(), id)).into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_kept_out_by_what_is_no_file_ends_as_a_conflict_and_holds_nothing_up() {
    let rig = Rig::new();
    let (id, other) = (rig.image().await, rig.image().await);
    let place = rig.dir.path().join("images").join(id.to_string());
    std::fs::create_dir_all(place.join("full")).unwrap();
    assert_eq!(refused(rig.put(id, "data").await).0, 409);
    left(&rig, other).await;
    assert_eq!(refused(rig.put(other, "data").await).0, 409);
    rig.reaper().step().await.unwrap();
    assert!(place.is_dir());
    assert_eq!(rig.status(id).await, Some(Status::Queued));
    assert_eq!(rig.put(other, "data").await.unwrap().status(), 204);
    std::fs::remove_dir_all(place).unwrap();
    assert_eq!(rig.put(id, "data").await.unwrap().status(), 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_whose_lease_was_lost_is_abandoned() {
    let (rig, _) = faulty();
    let id = rig.image().await;
    let (sender, body) = super::rig::open();
    let context = member("p");
    let feeding = async {
        sender.send(random(1, MIB)).await.unwrap();
        rig.until("saving", async || {
            rig.status(id).await == Some(Status::Saving)
        })
        .await;
        // As another node's reaper would.
        let view = rig.app.registry.read().await.unwrap();
        let upload = view.image(id).unwrap().unwrap().upload.clone().unwrap().id;
        drop(view);
        rig.app.registry.abort_upload(id, upload).await.unwrap();
        // A second upload is faster.
        let second = rig.put_as(&context, id, &[], "second").await.unwrap();
        assert_eq!(second.status(), 204);
        drop(sender);
    };
    let (result, ()) = tokio::join!(rig.put(id, body), feeding);
    let (status, text) = refused(result);
    assert_eq!(status, 409, "{text}");
    assert_eq!(bytes(rig.get(id, &[]).await.unwrap()).await, "second");
    assert_eq!(rig.files().len(), 1);
}
