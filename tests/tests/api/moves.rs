//! What happens to directories between two starts: moved, renamed, lost.

use std::path::Path;

use bytes::Bytes;
use glimpse_tests::{Client, MARKER, Node, Setup, eventually, random_bytes};
use serde_json::json;

/// A node that looks for orphans all the time and removes them at once.
fn eager() -> Setup {
    Setup::new()
        .set("workers.reaper.sweep_interval", "50ms")
        .set("workers.reaper.orphan_grace", "100ms")
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Images to be found again once the node, which is stopped, starts anew.
async fn images(node: &mut Node) -> Vec<(String, Bytes)> {
    let mut all = Vec::new();
    for seed in 0..3 {
        let data = random_bytes(1_500_000, seed);
        let id = node.client().active(json!({}), data.clone()).await;
        all.push((id, data));
    }
    node.stop().await;
    // All that is read comes from the store.
    std::fs::remove_dir_all(node.data().join("cache")).unwrap();
    all
}

/// Waits until the reaper has looked through the store in `folder`: it finds what is left of an
/// image that is deleted.
async fn swept(client: &Client, folder: &Path) {
    let id = client.created(json!({})).await;
    client.remove(&id).await.expect(204);
    let orphan = folder.join(id);
    for _ in 0..2 {
        std::fs::write(&orphan, "orphan").unwrap();
        eventually("the orphan to be removed", async || {
            (!orphan.exists()).then_some(())
        })
        .await;
    }
}

async fn all_there(client: &Client, images: &[(String, Bytes)]) {
    for (id, data) in images {
        assert!(client.download(id).await.expect(200).body == *data, "{id}");
        assert_eq!(client.show(id).await.expect(200).field("status"), "active");
    }
    assert_eq!(client.list_all("").await.len(), images.len());
}

#[tokio::test]
async fn a_moved_data_directory_keeps_the_data_in_it() {
    // The store's directory is the default one, below the data directory.
    let mut node = eager().store("path", "").start().await;
    let kept = images(&mut node).await;
    let moved = node.folder().join("moved");
    std::fs::rename(node.data(), &moved).unwrap();
    node.configure("node.data_dir", text(&moved));
    node.restart().await;
    swept(&node.client(), &moved.join("images")).await;
    all_there(&node.client(), &kept).await;
    // It is deleted where it lies now.
    for (id, _) in &kept {
        node.client().remove(id).await.expect(204);
    }
    eventually("an empty store", async || {
        let mut left = std::fs::read_dir(moved.join("images")).unwrap();
        left.all(|entry| entry.unwrap().file_name() == MARKER)
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_moved_store_keeps_its_data() {
    let mut node = eager().start().await;
    let kept = images(&mut node).await;
    let moved = node.folder().join("moved");
    std::fs::rename(node.images(), &moved).unwrap();
    node.configure_store("path", text(&moved));
    node.restart().await;
    swept(&node.client(), &moved).await;
    all_there(&node.client(), &kept).await;
}

#[tokio::test]
async fn a_store_under_another_name_is_told_and_loses_nothing() {
    let mut node = eager().start().await;
    let kept = images(&mut node).await;
    node.configure_store("name", "renamed");
    node.restart().await;
    swept(&node.client(), &node.images()).await;
    // The records name a store that is not there; whose data it is now, nobody can say.
    for (id, _) in &kept {
        node.client().download(id).await.expect(503);
    }
    assert_eq!(node.stored_files().len(), kept.len());
    let told = eventually("a line of the new name", async || {
        let log = node.log();
        let told = |line: &&str| line.contains("another name") && line.contains("renamed");
        log.lines().find(told).map(str::to_owned)
    })
    .await;
    assert!(told.contains("local"), "{told}");
    node.stop().await;
    node.configure_store("name", "local");
    node.restart().await;
    swept(&node.client(), &node.images()).await;
    all_there(&node.client(), &kept).await;
}

#[tokio::test]
async fn a_store_whose_disk_is_not_mounted_costs_nothing_but_the_wait_for_it() {
    let mut node = eager().start().await;
    let kept = images(&mut node).await;
    let aside = node.folder().join("aside");
    std::fs::rename(node.images(), &aside).unwrap();
    // An empty mount point.
    std::fs::create_dir(node.images()).unwrap();
    node.restart_until(503).await;
    let (client, admin) = (node.client(), node.admin());
    let reason = eventually("a leader", async || {
        let reason = admin.get("/ready").await.expect(503).text();
        (!reason.contains("leader")).then_some(reason)
    })
    .await;
    assert!(reason.contains(&text(&node.images())), "{reason}");
    let queued = client.created(json!({})).await;
    client.upload(&queued, "data").await.expect(503);
    // What is deleted meanwhile is not taken for removed.
    let (deleted, rest) = kept.split_first().unwrap();
    client.remove(&deleted.0).await.expect(204);
    client.remove(&queued).await.expect(204);
    assert!(node.stored_files().is_empty());
    std::fs::remove_dir(node.images()).unwrap();
    std::fs::rename(&aside, node.images()).unwrap();
    admin.get("/ready").await.expect(200);
    eventually("the deleted data to be gone", async || {
        (node.stored_files().len() == rest.len()).then_some(())
    })
    .await;
    all_there(&client, rest).await;
}

/// Copies a folder, but for the files of the log.
fn copy_without_log(from: &Path, to: &Path) -> usize {
    let mut left_out = 0;
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        if path.is_dir() {
            left_out += copy_without_log(&path, &to.join(name));
        } else if path.extension().is_some_and(|suffix| suffix == "log") {
            left_out += 1;
        } else {
            std::fs::copy(path, to.join(name)).unwrap();
        }
    }
    left_out
}

#[tokio::test]
async fn a_lost_registry_is_refused_and_costs_no_data() {
    let mut node = eager().start().await;
    let kept = images(&mut node).await;
    let registry = node.data().join("registry");
    let aside = node.folder().join("aside");
    for damage in ["all", "content", "log"] {
        std::fs::rename(&registry, &aside).unwrap();
        match damage {
            "all" => {}
            "content" => std::fs::create_dir(&registry).unwrap(),
            _ => assert!(copy_without_log(&aside, &registry) > 0, "there is no log"),
        }
        for _ in 0..2 {
            let (code, output) = node.start_second().await;
            assert!(code.is_some_and(|code| code != 0), "{damage}: {code:?}");
            assert!(output.contains("registry"), "{damage}: {output}");
        }
        assert_eq!(node.stored_files().len(), kept.len(), "{damage}");
        // Whoever puts it back has everything.
        if registry.exists() {
            std::fs::remove_dir_all(&registry).unwrap();
        }
        std::fs::rename(&aside, &registry).unwrap();
        node.restart().await;
        all_there(&node.client(), &kept).await;
        node.stop().await;
    }
}
