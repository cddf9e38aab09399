//! The reaper over real parts.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::Arc,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use bytes::Bytes;
use glimpse_registry::{
    command::Command,
    image::{ImageId, Timestamp, UploadId},
    status::Status,
};
use http::StatusCode;

use super::rig::{MIB, Rig, bytes, open, random, refused};
use crate::{
    config::ReaperConfig,
    workers::{Worker, reaper::Reaper},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reaper_removes_deleted_data_and_what_a_dead_process_left() {
    let rig = Rig::new();
    let mut reaper = rig.reaper();
    let deleted = rig.image().await;
    rig.put(deleted, "data").await.unwrap();
    rig.app.registry.delete_image(deleted, None).await.unwrap();
    assert_eq!(rig.files().len(), 1);

    // A process that died after its object was finished and before the image became active.
    let dead = rig.image().await;
    let begin = Command::BeginUpload {
        id: dead,
        upload: UploadId(1),
        node: 1,
        incarnation: 99,
        store: "local".to_owned(),
        reserve: 4,
        quota: None,
        lease_until: Timestamp(u64::MAX),
    };
    rig.app.registry.propose(begin).await.unwrap();
    let mut write = rig.store().put(&dead.to_string(), None).await.unwrap();
    write.write(Bytes::from_static(b"left")).await.unwrap();
    write.finish().await.unwrap();
    assert_eq!(refused(rig.put(dead, "x").await).0, 409);

    reaper.step().await.unwrap();
    assert_eq!(rig.files(), Vec::<PathBuf>::new());
    let view = rig.app.registry.read().await.unwrap();
    assert_eq!(view.pending_deletes(0, 10).unwrap(), []);
    drop(view);
    rig.assert_untouched(dead, "after the reaper").await;
    assert_eq!(rig.put(dead, "x").await.unwrap().status(), 204);
    reaper.step().await.unwrap();
    assert_eq!(bytes(rig.get(dead, &[]).await.unwrap()).await, "x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_ends_also_where_nothing_else_happens() {
    let rig = Rig::new();
    let mut reaper = rig.reaper();
    let id = rig.image().await;
    let begin = Command::BeginUpload {
        id,
        upload: UploadId(1),
        node: 2,
        incarnation: 99,
        store: "local".to_owned(),
        reserve: 4,
        quota: None,
        lease_until: Timestamp(rig.app.registry.clock().0 + 200_000),
    };
    rig.app.registry.propose(begin).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let uploads = || {
        let view = rig.app.registry.read_local();
        view.uploads(None, 1).unwrap().len()
    };
    assert_eq!(uploads(), 1);
    while uploads() == 1 {
        assert!(Instant::now() < deadline, "the upload of a dead node stays");
        reaper.step().await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(rig.put(id, "x").await.unwrap().status(), 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reaper_leaves_a_running_upload_alone() {
    let rig = Rig::new();
    let mut reaper = rig.reaper();
    let id = rig.image().await;
    let (sender, body) = open();
    let feeding = async {
        for _ in 0..3 {
            sender.send(random(1, MIB)).await.unwrap();
            reaper.step().await.unwrap();
        }
        drop(sender);
    };
    let (result, ()) = tokio::join!(rig.put(id, body), feeding);
    assert_eq!(result.unwrap().status(), StatusCode::NO_CONTENT);
    reaper.step().await.unwrap();
    reaper.step().await.unwrap();
    assert_eq!(bytes(rig.get(id, &[]).await.unwrap()).await.len(), 3 * MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_past_the_lease_kills_no_running_upload() {
    let rig = Rig::new();
    let mut reaper = rig.reaper();
    let id = rig.image().await;
    let (sender, body) = open();
    let feeding = async {
        sender.send(random(1, MIB)).await.unwrap();
        rig.until("saving", async || {
            rig.status(id).await == Some(Status::Saving)
        })
        .await;
        // As after a machine was suspended. Another command moves the time in the log.
        rig.jump.store(24 * 3600, Ordering::SeqCst);
        rig.image().await;
        reaper.step().await.unwrap();
        reaper.step().await.unwrap();
        sender.send(random(2, MIB)).await.unwrap();
        drop(sender);
    };
    let (result, ()) = tokio::join!(rig.put(id, body), feeding);
    assert_eq!(result.unwrap().status(), StatusCode::NO_CONTENT);
    reaper.step().await.unwrap();
    assert_eq!(bytes(rig.get(id, &[]).await.unwrap()).await.len(), 2 * MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reaper_removes_orphans_it_knows_and_keeps_what_is_not_its_own() {
    let rig = Rig::new();
    let mut reaper = rig.reaper();
    let deleted = rig.image().await;
    rig.app.registry.delete_image(deleted, None).await.unwrap();
    let queued = rig.image().await;
    let active = rig.image().await;
    rig.put(active, "data").await.unwrap();
    let foreign = ImageId::from_random(rand::random());
    for id in [deleted, queued, foreign] {
        let mut write = rig.store().put(&id.to_string(), None).await.unwrap();
        write.write(Bytes::from_static(b"x")).await.unwrap();
        write.finish().await.unwrap();
    }
    std::fs::write(rig.dir.path().join("images/notes.txt"), "mine").unwrap();
    assert_eq!(rig.files().len(), 5);
    reaper.step().await.unwrap();
    assert_eq!(rig.files().len(), 5, "seen once");
    reaper.step().await.unwrap();
    let left: BTreeSet<_> = rig
        .files()
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    let expected = [
        active.to_string(),
        foreign.to_string(),
        "notes.txt".to_owned(),
    ];
    assert_eq!(left, expected.into());
    assert_eq!(rig.put(queued, "x").await.unwrap().status(), 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_stays_when_its_store_was_moved_or_renamed() {
    let rig = Rig::new();
    let id = rig.image().await;
    rig.put(id, "data").await.unwrap();
    let before = rig.files();
    let dir = rig.stop().await;
    // As if the data directory had been elsewhere, and the store had another name, before.
    let elsewhere = tempfile::tempdir().unwrap();
    for folder in ["registry", "images", "manifests"] {
        let (from, to) = (dir.path().join(folder), elsewhere.path().join(folder));
        std::fs::rename(from, to).unwrap();
    }
    let rig = Rig::named("renamed", elsewhere, |store| store, |_| {});
    let mut reaper = rig.reaper();
    for _ in 0..3 {
        reaper.step().await.unwrap();
    }
    let names = |files: &[PathBuf]| -> Vec<_> {
        files
            .iter()
            .map(|path| path.file_name().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&rig.files()), names(&before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_removed_keeps_nothing_else_waiting() {
    let rig = Rig::new();
    let mut images = Vec::new();
    for _ in 0..7 {
        let id = rig.image().await;
        rig.put(id, "data").await.unwrap();
        images.push(id);
    }
    let (last, stuck) = images.split_last().unwrap();
    let images = rig.dir.path().join("images");
    for id in stuck {
        // A directory in an object's place is not removed by any number of attempts.
        std::fs::remove_file(images.join(id.to_string())).unwrap();
        std::fs::create_dir_all(images.join(id.to_string()).join("full")).unwrap();
        rig.app.registry.delete_image(*id, None).await.unwrap();
    }
    rig.app.registry.delete_image(*last, None).await.unwrap();
    let config = ReaperConfig {
        max_failures: 1,
        batch: 2,
        ..ReaperConfig::default()
    };
    let mut reaper = Reaper::new(Arc::clone(&rig.app), config);
    for _ in 0..8 {
        reaper.step().await.unwrap();
    }
    assert!(!images.join(last.to_string()).exists());
    let view = rig.app.registry.read().await.unwrap();
    assert_eq!(view.pending_deletes(0, 10).unwrap().len(), stuck.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_upload_failed_to_clean_up_goes_with_a_later_sweep() {
    let rig = Rig::new();
    let mut reaper = rig.reaper();
    reaper.step().await.unwrap();
    std::fs::write(rig.dir.path().join("images/.upload-k-1"), "left").unwrap();
    reaper.step().await.unwrap();
    assert_eq!(rig.files(), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_failed_upload_left_keeps_no_later_one_out() {
    let rig = Rig::new();
    let id = rig.image().await;
    let mut write = rig.store().put(&id.to_string(), None).await.unwrap();
    write.write(Bytes::from_static(b"left")).await.unwrap();
    write.finish().await.unwrap();
    assert_eq!(refused(rig.put(id, "data").await).0, 409);
    let config = ReaperConfig::default();
    assert!(config.orphan_grace > Duration::ZERO);
    let mut reaper = Reaper::new(Arc::clone(&rig.app), config);
    reaper.wait().await;
    reaper.step().await.unwrap();
    rig.assert_untouched(id, "after the reaper").await;
    assert_eq!(rig.put(id, "data").await.unwrap().status(), 204);
    // What was reported before and is data now stays.
    rig.app.data.report_leftover("local".to_owned(), id);
    reaper.step().await.unwrap();
    assert_eq!(bytes(rig.get(id, &[]).await.unwrap()).await, "data");
    assert_eq!(rig.files().len(), 1);
}
