//! Manifests whose bodies are lost or damaged.

use std::{ops::Range, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use glimpse_registry::image::ImageId;
use glimpse_store::{Capabilities, Listed, Result, Stat, Store, Write};
use parking_lot::Mutex;

use super::rig::{MIB, Rig, bytes, random, refused};
use crate::{
    config::ReaperConfig,
    workers::{Worker, reaper::Reaper},
};

/// Counts the reads of whole objects.
struct Counted {
    store: Arc<dyn Store>,
    whole: Arc<Mutex<u32>>,
    length: u64,
}

#[async_trait]
impl Store for Counted {
    fn kind(&self) -> &'static str {
        "counted"
    }
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
    fn url(&self, key: &str) -> Result<String> {
        self.store.url(key)
    }
    async fn put(&self, key: &str, size: Option<u64>) -> Result<Box<dyn Write>> {
        self.store.put(key, size).await
    }
    async fn get(&self, url: &str, range: Range<u64>) -> Result<BoxStream<'static, Result<Bytes>>> {
        if range == (0..self.length) {
            *self.whole.lock() += 1;
        }
        self.store.get(url, range).await
    }
    async fn stat(&self, url: &str) -> Result<Stat> {
        self.store.stat(url).await
    }
    async fn delete(&self, url: &str) -> Result<()> {
        self.store.delete(url).await
    }
    async fn list(&self) -> Result<BoxStream<'static, Result<Listed>>> {
        self.store.list().await
    }
    async fn remove_unfinished(&self) -> Result<u64> {
        self.store.remove_unfinished().await
    }
}

const LENGTH: usize = 5 * MIB + 77;

/// A node that has just started, with one image, and how often the whole image was read.
async fn started() -> (Rig, ImageId, Bytes, Arc<Mutex<u32>>) {
    let rig = Rig::new();
    let id = rig.image().await;
    let data = random(3, LENGTH);
    rig.put(id, data.clone()).await.unwrap();
    let whole = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&whole);
    let rig = rig
        .restart_over(|store| {
            Arc::new(Counted {
                store,
                whole: counted,
                length: LENGTH as u64,
            })
        })
        .await;
    (rig, id, data, whole)
}

/// The bodies that are held.
fn bodies(rig: &Rig) -> Vec<PathBuf> {
    let shelves = std::fs::read_dir(rig.dir.path().join("manifests")).unwrap();
    shelves
        .flat_map(|shelf| std::fs::read_dir(shelf.unwrap().path()).unwrap())
        .map(|file| file.unwrap().path())
        .collect()
}

/// The one body that is held.
fn body(rig: &Rig) -> PathBuf {
    let mut files = bodies(rig);
    assert_eq!(files.len(), 1);
    files.pop().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_or_damaged_manifest_is_made_anew_from_the_data_once_for_all_readers() {
    for damage in [
        "removed",
        "flipped",
        "cut",
        "emptied",
        "a folder",
        "a folder's place",
    ] {
        let (rig, id, data, whole) = started().await;
        let path = body(&rig);
        let sound = std::fs::read(&path).unwrap();
        match damage {
            "removed" => std::fs::remove_file(&path).unwrap(),
            "flipped" => {
                let mut bad = sound.clone();
                bad[sound.len() / 2] ^= 4;
                std::fs::write(&path, bad).unwrap();
            }
            "cut" => std::fs::write(&path, &sound[..sound.len() - 1]).unwrap(),
            "emptied" => std::fs::write(&path, "").unwrap(),
            "a folder" => {
                std::fs::remove_file(&path).unwrap();
                std::fs::create_dir(&path).unwrap();
            }
            _ => {
                let shelf = path.parent().unwrap();
                std::fs::remove_dir_all(shelf).unwrap();
                std::fs::write(shelf, "").unwrap();
            }
        }
        let reads: Vec<_> = (0..6).map(|_| rig.get(id, &[])).collect();
        for response in futures_util::future::join_all(reads).await {
            let response = response.unwrap_or_else(|error| panic!("{damage}: {error:?}"));
            assert_eq!(response.status(), 200, "{damage}");
            assert!(bytes(response).await == data, "{damage}");
        }
        assert_eq!(*whole.lock(), 1, "{damage}");
        if !damage.starts_with("a folder") {
            assert_eq!(std::fs::read(&path).unwrap(), sound, "{damage}: not kept");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gets_no_slot_has_no_manifest_made() {
    let (rig, id, data, whole) = started().await;
    std::fs::remove_file(body(&rig)).unwrap();
    let take = |_| rig.app.download_slots.take(Some("q")).unwrap();
    let slots: Vec<_> = (0..8).map(take).collect();
    assert_eq!(refused(rig.get(id, &[]).await).0, 503);
    assert_eq!(*whole.lock(), 0);
    drop(slots);
    assert!(bytes(rig.get(id, &[]).await.unwrap()).await == data);
    assert_eq!(*whole.lock(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_without_its_object_does_not_keep_equal_images_from_their_manifest() {
    let rig = Rig::new();
    let data = random(4, LENGTH);
    let (lost, sound) = (rig.image().await, rig.image().await);
    for id in [lost, sound] {
        rig.put(id, data.clone()).await.unwrap();
    }
    let rig = rig.restart().await;
    std::fs::remove_file(body(&rig)).unwrap();
    std::fs::remove_file(rig.dir.path().join("images").join(lost.to_string())).unwrap();
    for _ in 0..2 {
        assert_eq!(refused(rig.get(lost, &[]).await).0, 503);
    }
    assert!(bytes(rig.get(sound, &[]).await.unwrap()).await == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_refuses_the_manifest_is_told_like_one_that_refuses_the_data() {
    let rig = Rig::new();
    let id = rig.image().await;
    let manifests = rig.dir.path().join("manifests");
    std::fs::rename(&manifests, rig.dir.path().join("away")).unwrap();
    let (status, text) = refused(rig.put(id, "data").await);
    assert_eq!(status, 503, "{text}");
    assert!(!text.contains(&*rig.dir.path().to_string_lossy()), "{text}");
    std::fs::rename(rig.dir.path().join("away"), &manifests).unwrap();
    rig.assert_untouched(id, "manifests were away").await;
    assert_eq!(rig.put(id, "data").await.unwrap().status(), 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_manifest_is_made_from_data_that_is_not_the_images() {
    let (rig, id, _, whole) = started().await;
    std::fs::remove_file(body(&rig)).unwrap();
    let object = rig.files().pop().unwrap();
    let mut content = std::fs::read(&object).unwrap();
    content[17] ^= 1;
    std::fs::write(&object, &content).unwrap();
    // Not even for the parts that are sound, and not a pass over the data for each request.
    for _ in 0..3 {
        let (status, text) = refused(rig.get(id, &[("range", "bytes=4194304-")]).await);
        assert_eq!(status, 503, "{text}");
    }
    assert_eq!(*whole.lock(), 1);
    assert!(rig.app.manifests.list(None, 10).unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_goes_when_the_last_image_that_names_it_is_gone_and_it_is_old() {
    let rig = Rig::new();
    // Two images with the same data, one with other data, and pages of two.
    let mut images = Vec::new();
    for data in ["same", "same", "other", "third", "fourth"] {
        let id = rig.image().await;
        rig.put(id, data).await.unwrap();
        images.push(id);
    }
    let reaper = |orphan_grace| {
        let config = ReaperConfig {
            orphan_grace,
            sweep_interval: Duration::ZERO,
            max_suspects: 2,
            batch: 2,
            ..ReaperConfig::default()
        };
        Reaper::new(Arc::clone(&rig.app), config)
    };
    let hour = Duration::from_secs(3600);
    let (mut eager, mut patient) = (reaper(Duration::ZERO), reaper(hour));
    let left_by = async |reaper: &mut Reaper| {
        // Every page, from wherever it stands.
        for _ in 0..4 {
            reaper.step().await.unwrap();
        }
        bodies(&rig).len()
    };
    assert_eq!(left_by(&mut eager).await, 4);
    let delete = async |id| rig.app.registry.delete_image(id, None).await.unwrap();
    delete(images[0]).await;
    delete(images[2]).await;
    assert_eq!(left_by(&mut patient).await, 4, "removed within the grace");
    assert_eq!(left_by(&mut eager).await, 3);
    delete(images[1]).await;
    assert_eq!(left_by(&mut eager).await, 2);
    assert_eq!(rig.app.data.counters.manifests_reaped.get(), 2);
    for (id, data) in [(images[3], "third"), (images[4], "fourth")] {
        assert_eq!(bytes(rig.get(id, &[]).await.unwrap()).await, data);
    }
}
