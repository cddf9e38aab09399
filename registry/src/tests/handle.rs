//! The handle, on a real disk and with the group's own thread.

use std::sync::Arc;

use glimpse_replication::{
    Seams, Unavailable,
    testing::{HostClock, SimDisk, config},
    transport::NoPeers,
};

use super::fixture::{CACHE, REMEMBER, attributes, image_id, query};
use crate::{
    Config, Error, Registry, image::UploadId, outcome::Rejection, query::Scope, status::Status,
    store::Store,
};

fn settings(dir: &std::path::Path, incarnation: u128) -> Config {
    Config {
        dir: dir.to_owned(),
        replication: config(1),
        upload_lease: std::time::Duration::from_secs(60),
        table_cache_bytes: 1 << 20,
        incarnation,
    }
}

#[tokio::test]
async fn a_node_finds_everything_again_after_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(HostClock::default());
    let registry = Registry::open(settings(dir.path(), 1), clock.clone()).unwrap();
    let made = registry
        .create_image(image_id(1), attributes())
        .await
        .unwrap();
    let view = registry.read().await.unwrap();
    assert_eq!(*view.image(image_id(1)).unwrap().unwrap(), made);
    let again = registry.create_image(image_id(1), attributes()).await;
    assert!(matches!(again, Err(Error::Rejected(Rejection::IdTaken))));
    registry
        .add_tag(image_id(1), "t".to_owned(), None)
        .await
        .unwrap();
    let saving = registry
        .begin_upload(image_id(1), UploadId(9), "local".to_owned(), 5, None)
        .await
        .unwrap();
    let upload = saving.upload.clone().unwrap();
    assert_eq!(upload.incarnation, registry.incarnation());
    assert!(upload.lease_until.0 >= view.time().0 + 60_000_000);
    registry.stop().await.unwrap();
    drop((registry, view));

    let registry = Registry::open(settings(dir.path(), 2), clock).unwrap();
    let view = registry.read().await.unwrap();
    assert_eq!(*view.image(image_id(1)).unwrap().unwrap(), saving);
    assert_eq!(saving.status, Status::Saving);
    registry
        .abort_upload(image_id(1), UploadId(9))
        .await
        .unwrap();
    registry.delete_image(image_id(1), None).await.unwrap();
    let view = registry.read().await.unwrap();
    assert_eq!(view.list(&query(Scope::Anonymous)).unwrap(), []);
    registry.stop().await.unwrap();
    assert!(matches!(
        registry.delete_image(image_id(1), None).await,
        Err(Error::Unavailable(_))
    ));
}

#[tokio::test]
async fn many_who_write_at_once_all_get_their_own_answer() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(HostClock::default());
    let registry = Registry::open(settings(dir.path(), 1), clock).unwrap();
    let tasks: Vec<_> = (0..64)
        .map(|id| {
            let registry = registry.clone();
            tokio::spawn(async move {
                let made = registry
                    .create_image(image_id(id), attributes())
                    .await
                    .unwrap();
                assert_eq!(made.id, image_id(id));
                let view = registry.read().await.unwrap();
                assert_eq!(*view.image(made.id).unwrap().unwrap(), made);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(registry.read_local().image_count(), 64);
    registry.stop().await.unwrap();
}

#[tokio::test]
async fn on_a_full_disk_images_are_read_and_deleted_and_none_are_made() {
    let disk = SimDisk::default();
    let tables = SimDisk::default();
    let open = |incarnation| {
        let dir = std::path::Path::new("unused");
        let mut settings = settings(dir, incarnation);
        settings.replication.segment_bytes = 256 << 10;
        settings.replication.max_command_bytes = 16 << 10;
        settings.replication.max_batch_bytes = 16 << 10;
        let seams = Seams {
            clock: Arc::new(HostClock::default()),
            seed: 1,
            disk: Arc::new(disk.clone()),
            transport: Box::new(NoPeers),
        };
        let store = Store::open_on(&tables, "tables", CACHE, REMEMBER).unwrap();
        Registry::start(settings, seams, store).unwrap()
    };
    let mut large = attributes();
    large.name = Some("n".repeat(8000));
    let registry = open(1);
    let mut made = 0;
    loop {
        // Whatever becomes free is taken by someone else.
        if made > 5 {
            let used: usize = disk.image().values().map(Vec::len).sum();
            disk.set_capacity(Some(used));
        }
        match registry.create_image(image_id(made), large.clone()).await {
            Ok(_) => made += 1,
            Err(Error::Unavailable(Unavailable::Full)) => break,
            Err(other) => panic!("{other}"),
        }
        assert!(made < 1000, "the disk is never full");
        // The disk is looked at once in a tick; in the meantime little is to be written.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(made > 5);
    registry.delete_image(image_id(0), None).await.unwrap();
    registry.stop().await.unwrap();
    drop(registry);

    let registry = open(2);
    let view = registry.read().await.unwrap();
    assert_eq!(u128::from(view.image_count()), made - 1);
    let refused = registry.create_image(image_id(made), large.clone()).await;
    assert!(matches!(
        refused,
        Err(Error::Unavailable(Unavailable::Full))
    ));
    registry.delete_image(image_id(1), None).await.unwrap();
    disk.set_capacity(None);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while registry
        .create_image(image_id(made), large.clone())
        .await
        .is_err()
    {
        assert!(std::time::Instant::now() < deadline, "it stays full");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    registry.stop().await.unwrap();
}
