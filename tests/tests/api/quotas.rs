//! Size cap and storage quota (image-api 2.3), also under concurrent uploads.

use bytes::Bytes;
use futures_util::{future::join_all, stream};
use glimpse_tests::{Client, Node, Persona, Setup, eventually, random_bytes};
use serde_json::{Value, json};

const MIB: usize = 1 << 20;

async fn stored(node: &Node) -> u64 {
    node.stored_files()
        .iter()
        .filter_map(|file| file.metadata().ok())
        .map(|data| data.len())
        .sum()
}

fn pieces(size: usize, seed: u64) -> stream::Iter<std::vec::IntoIter<Bytes>> {
    let data = random_bytes(size, seed);
    let parts: Vec<Bytes> = (0..size)
        .step_by(64 * 1024)
        .map(|at| data.slice(at..(at + 64 * 1024).min(size)))
        .collect();
    stream::iter(parts)
}

async fn sum_of_sizes(client: &Client) -> u64 {
    let list = client.list("limit=1000").await.expect(200).json();
    let images = list["images"].as_array().unwrap().clone();
    images
        .iter()
        .map(|image| image["size"].as_u64().unwrap_or(0))
        .sum()
}

#[tokio::test]
async fn an_image_over_the_cap_is_413_and_leaves_nothing() {
    let node = Setup::new()
        .set("limits.image_size_cap", "1MiB")
        .start()
        .await;
    let client = node.client();
    let id = client.created(json!({})).await;
    client
        .upload(&id, random_bytes(MIB + 1, 1))
        .await
        .expect(413);
    client
        .upload_chunked(&id, pieces(MIB + 1, 1))
        .await
        .expect(413);
    let declared = client
        .file(&id)
        .header("x-openstack-image-size", &(MIB + 1).to_string());
    declared.stream(pieces(MIB + 1, 1)).send().await.expect(413);
    let image = client.show(&id).await.expect(200).json();
    assert_eq!(
        (&image["status"], &image["size"]),
        (&json!("queued"), &Value::Null)
    );
    client.download(&id).await.expect(204);
    node.keeps(0).await;
    client.upload_chunked(&id, pieces(MIB, 1)).await.expect(204);
}

#[tokio::test]
async fn a_quota_below_zero_is_none() {
    let node = Setup::new()
        .set("limits.image_tag_quota", -1)
        .set("limits.image_property_quota", -1)
        .set("limits.image_member_quota", -1)
        .start()
        .await;
    let client = node.client();
    let mut image = json!({});
    for number in 0..200 {
        image[format!("p{number}")] = json!("x");
    }
    image["tags"] = (0..200).map(|number| format!("t{number}")).collect();
    let id = client.created(image).await;
    for number in 0..130 {
        client.share(&id, &format!("m{number}")).await.expect(200);
    }
    client.tag(&id, "one-more").await.expect(204);
}

#[tokio::test]
async fn the_quota_counts_an_owners_images_and_forgets_deleted_ones() {
    let node = Setup::trusted()
        .set("limits.user_storage_quota", "3MiB")
        .start()
        .await;
    let alpha = node.client_of(&Persona::member("alpha"));
    let beta = node.client_of(&Persona::member("beta"));
    let first = alpha.active(json!({}), random_bytes(2 * MIB, 1)).await;
    let id = alpha.created(json!({})).await;
    alpha
        .upload(&id, random_bytes(MIB + 1, 2))
        .await
        .expect(413);
    alpha
        .upload_chunked(&id, pieces(MIB + 1, 2))
        .await
        .expect(413);
    beta.active(json!({}), random_bytes(3 * MIB, 3)).await;
    alpha.upload(&id, random_bytes(MIB, 2)).await.expect(204);
    let more = alpha.created(json!({})).await;
    alpha.upload(&more, "x").await.expect(413);
    alpha.remove(&first).await.expect(204);
    alpha
        .upload(&more, random_bytes(2 * MIB, 4))
        .await
        .expect(204);
}

#[tokio::test]
async fn concurrent_uploads_never_overshoot_the_quota() {
    let quota = 8 * MIB as u64;
    let node = Setup::trusted()
        .set("limits.user_storage_quota", "8MiB")
        .set("limits.reserve_step", "1MiB")
        .start()
        .await;
    let client = node.client_of(&Persona::member("alpha"));
    let mut accepted_once = false;
    for round in 0..6 {
        let mut ids = Vec::new();
        for _ in 0..10 {
            ids.push(client.created(json!({})).await);
        }
        let uploads = ids.iter().enumerate().map(|(number, id)| {
            let client = &client;
            async move {
                let seed = (round * 10 + number) as u64;
                if number % 2 == 0 {
                    client.upload(id, random_bytes(2 * MIB, seed)).await.status
                } else {
                    client
                        .upload_chunked(id, pieces(2 * MIB, seed))
                        .await
                        .status
                }
            }
        });
        let statuses = join_all(uploads).await;
        assert!(
            statuses.iter().all(|status| matches!(status, 204 | 413)),
            "{statuses:?}"
        );
        let accepted = statuses.iter().filter(|status| **status == 204).count();
        assert!(
            accepted <= 4,
            "{accepted} images of 2 MiB in a quota of 8 MiB"
        );
        accepted_once |= accepted > 0;
        assert_eq!(
            sum_of_sizes(&client).await,
            accepted as u64 * 2 * MIB as u64
        );
        eventually("refused bytes gone", async || {
            (stored(&node).await <= quota).then_some(())
        })
        .await;
        for id in ids {
            client.remove(&id).await.expect(204);
        }
        node.keeps(0).await;
    }
    assert!(accepted_once);
    // What refused and deleted uploads had reserved is free again.
    for seed in 0..4 {
        client.active(json!({}), random_bytes(2 * MIB, seed)).await;
    }
}

#[tokio::test]
async fn a_cut_upload_gives_its_reservation_back() {
    let node = Setup::new()
        .set("limits.user_storage_quota", "2MiB")
        .start()
        .await;
    let client = node.client();
    let id = client.created(json!({})).await;
    for _ in 0..5 {
        drop(node.standing_upload(&id, 2 * MIB).await);
        client.reaches(&id, "queued").await;
    }
    client
        .upload(&id, random_bytes(2 * MIB, 1))
        .await
        .expect(204);
}

#[tokio::test]
async fn a_kill_during_an_upload_gives_its_reservation_back() {
    let mut node = Setup::new()
        .set("limits.user_storage_quota", "2MiB")
        .start()
        .await;
    let client = node.client();
    let id = client.created(json!({})).await;
    let _connection = node.standing_upload(&id, 2 * MIB).await;
    node.kill();
    node.restart().await;
    client.reaches(&id, "queued").await;
    client
        .upload(&id, random_bytes(2 * MIB, 1))
        .await
        .expect(204);
}
