//! Disks that fill up: the store and the data directory on small file systems of their own.
//! Mounting needs root; `cargo xtask test --servers --stage full-disk`.

use std::{path::PathBuf, process::Command};

use glimpse_tests::{Setup, random_bytes};
use serde_json::json;

const MIB: usize = 1 << 20;

/// A mounted tmpfs, unmounted when dropped.
struct Small(PathBuf);

impl Small {
    fn mount(path: PathBuf, size: &str) -> Self {
        std::fs::create_dir_all(&path).unwrap();
        let options = format!("size={size}");
        let mut command = Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&path);
        assert!(command.status().unwrap().success(), "{command:?}");
        Self(path)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        Command::new("umount")
            .arg("--lazy")
            .arg(&self.0)
            .status()
            .ok();
    }
}

#[tokio::test]
#[ignore = "needs root: cargo xtask test --servers"]
async fn a_full_store_answers_413_and_takes_data_again_when_there_is_room() {
    let setup = Setup::new();
    let disk = Small::mount(setup.folder().join("images"), "16m");
    let node = setup.start().await;
    let client = node.client();
    let first = client.active(json!({}), random_bytes(8 * MIB, 1)).await;
    let id = client.created(json!({})).await;
    for _ in 0..3 {
        client
            .upload(&id, random_bytes(12 * MIB, 2))
            .await
            .expect(413);
        assert_eq!(client.show(&id).await.expect(200).field("status"), "queued");
        node.keeps(1).await;
    }
    assert!(client.download(&first).await.expect(200).body == random_bytes(8 * MIB, 1));
    client
        .upload(&id, random_bytes(4 * MIB, 3))
        .await
        .expect(204);
    client.remove(&first).await.expect(204);
    node.keeps(1).await;
    let more = client.active(json!({}), random_bytes(10 * MIB, 4)).await;
    assert!(client.download(&more).await.expect(200).body == random_bytes(10 * MIB, 4));
    drop(node);
    drop(disk);
}

#[tokio::test]
#[ignore = "needs root: cargo xtask test --servers"]
async fn what_was_acknowledged_before_the_data_directory_was_full_is_there_after_it() {
    let setup = Setup::new()
        .set("cache.size", "8MiB")
        .set("registry.segment_size", "4MiB")
        .set("registry.checkpoint_size", "1MiB");
    let disk = Small::mount(setup.folder().join("data"), "40m");
    let mut node = setup.start().await;
    let client = node.client();
    let filler = node.data().join("filler");
    let first = client.created(json!({"name": "before"})).await;
    // Whatever is left is taken by someone else.
    let mut command = Command::new("dd");
    command
        .args(["if=/dev/zero", "bs=64k", "status=none"])
        .arg(format!("of={}", filler.display()));
    command.status().unwrap();
    let mut acknowledged = vec![first];
    let mut refused = false;
    for number in 0..20_000 {
        let body = json!({"name": format!("{number}"), "big": "x".repeat(2000)});
        match client
            .call("POST", "/v2/images")
            .json(&body)
            .attempt()
            .await
        {
            Ok(answer) if answer.status == 201 => acknowledged.push(answer.field("id")),
            Ok(answer) => {
                assert!(answer.status >= 500, "{}: {}", answer.status, answer.text());
                refused = true;
                break;
            }
            // The log could not be written: the node has ended.
            Err(_) => {
                assert_ne!(node.wait_for_exit().await.code(), Some(0));
                refused = true;
                break;
            }
        }
    }
    assert!(refused, "the disk never filled up");
    node.kill();
    std::fs::remove_file(&filler).unwrap();
    node.restart().await;
    for id in acknowledged {
        client.show(&id).await.expect(200);
    }
    client.created(json!({"name": "after"})).await;
    drop(node);
    drop(disk);
}
