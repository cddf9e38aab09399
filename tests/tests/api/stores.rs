//! Several stores: where uploads go, from where data is read, and copies that are removed
//! (image-api 1.4, 7.1).

use glimpse_tests::{Client, Node, Origin, Persona, Setup, eventually};
use serde_json::{Value, json};

/// Uploads to a named store.
async fn upload_to(client: &Client, store: &str, data: &'static str) -> String {
    let id = client.created(json!({})).await;
    let call = client.file(&id).header("x-image-meta-store", store);
    call.body(data).send().await.expect(204);
    id
}

fn files(node: &Node, folder: &str) -> usize {
    let entries = std::fs::read_dir(node.folder().join(folder)).unwrap();
    entries
        .filter(|entry| {
            !entry
                .as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with('.')
        })
        .count()
}

/// An image in `local` of which an http store has a copy.
async fn twice(client: &Client, origin: &Origin, data: &'static str) -> String {
    let id = client.active(json!({}), data).await;
    origin.put(&id, data);
    let value = json!({"url": origin.url(&id), "metadata": {}});
    let operation = json!([{"op": "add", "path": "/locations/-", "value": value}]);
    let image = client.patch(&id, operation).await.expect(200).json();
    assert_eq!(image["stores"], "local,web");
    id
}

fn with_web() -> Setup {
    Setup::new()
        .http_store("web")
        .set("api.show_multiple_locations", true)
}

#[tokio::test]
async fn an_upload_goes_to_the_store_it_names_and_a_delete_finds_it_there() {
    let node = Setup::new()
        .more_stores("second")
        .more_stores("third")
        .start()
        .await;
    let client = node.client();
    let made = client.create(json!({})).await.expect(201);
    assert_eq!(
        made.header("openstack-image-store-ids"),
        Some("local,second,third")
    );
    let second = upload_to(&client, "second", "two").await;
    let third = upload_to(&client, "third", "three").await;
    let first = client.active(json!({}), "one").await;
    assert_eq!(
        ["images", "second", "third"].map(|folder| files(&node, folder)),
        [1, 1, 1]
    );
    for (id, store, data) in [
        (&first, "local", "one"),
        (&second, "second", "two"),
        (&third, "third", "three"),
    ] {
        assert_eq!(client.show(id).await.field("stores"), store);
        assert_eq!(client.download(id).await.expect(200).text(), data);
    }
    let id = client.created(json!({})).await;
    let call = client.file(&id).header("x-image-meta-store", "nowhere");
    call.body("data").send().await.expect(400);
    for id in [&first, &second, &third] {
        client.remove(id).await.expect(204);
    }
    eventually("empty stores", async || {
        let left = ["images", "second", "third"].map(|folder| files(&node, folder));
        (left == [0, 0, 0]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_download_falls_back_to_the_next_store() {
    let origin = Origin::start().await;
    for weight in [-1, 1] {
        let mut node = with_web().last_store("weight", weight).start().await;
        let client = node.client();
        let id = twice(&client, &origin, "data").await;
        // A new process has nothing in memory, a new pool nothing on disk.
        node.stop().await;
        std::fs::remove_dir_all(node.data().join("cache")).unwrap();
        if weight < 0 {
            std::fs::remove_file(node.images().join(&id)).unwrap();
        } else {
            origin.remove(&id);
        }
        node.restart().await;
        assert_eq!(
            node.client().download(&id).await.expect(200).text(),
            "data",
            "{weight}"
        );
    }
}

#[tokio::test]
async fn prefer_names_stores_that_there_are_cached_or_not() {
    let node = Setup::trusted().more_stores("second").start().await;
    let client = node.client_of(&Persona::member("alpha"));
    let id = client.active(json!({}), "data").await;
    let with = |query: &str| format!("/v2/images/{id}/file?prefer={query}");
    for _ in 0..2 {
        client.get(&with("nowhere")).await.expect(400);
        client.get(&with("second,nowhere")).await.expect(400);
        // The data is where it is, and is in the pool now.
        assert_eq!(
            client.get(&with("second,local")).await.expect(200).text(),
            "data"
        );
    }
}

#[tokio::test]
async fn prefer_needs_a_right_of_its_own() {
    let setup = Setup::trusted();
    let policy = setup.folder().join("policy.yaml");
    std::fs::write(&policy, "download_from_store: role:admin\n").unwrap();
    let node = setup
        .set("auth.policy_file", policy.to_str().unwrap())
        .start()
        .await;
    let client = node.client_of(&Persona::member("alpha"));
    let id = client.active(json!({}), "data").await;
    client.download(&id).await.expect(200);
    let path = format!("/v2/images/{id}/file?prefer=local");
    client.get(&path).await.expect(403);
    node.client_of(&Persona::admin())
        .get(&path)
        .await
        .expect(200);
}

#[tokio::test]
async fn one_copy_of_two_is_removed_and_the_last_one_stays() {
    let (node, origin) = (with_web().start().await, Origin::start().await);
    let client = node.client();
    let id = twice(&client, &origin, "data").await;
    let path = |store: &str| format!("/v2/stores/{store}/{id}");
    client.delete(&path("nowhere")).await.expect(409);
    client.delete(&path("local")).await.expect(204);
    node.keeps(0).await;
    assert_eq!(client.show(&id).await.field("stores"), "web");
    // Ossa 2016-006: by every way.
    client.delete(&path("web")).await.expect(403);
    client.delete(&path("local")).await.expect(403);
    let remove = json!([{"op": "remove", "path": "/locations/0"}]);
    client.patch(&id, remove).await.expect(403);
    client.upload(&id, "other").await.expect(409);
    assert_eq!(client.download(&id).await.expect(200).text(), "data");
}

#[tokio::test]
async fn a_store_without_the_image_has_no_copy_to_remove() {
    let setup = with_web().more_stores("second");
    let (node, origin) = (setup.start().await, Origin::start().await);
    let client = node.client();
    let id = twice(&client, &origin, "data").await;
    client
        .delete(&format!("/v2/stores/second/{id}"))
        .await
        .expect(404);
    let image = client.show(&id).await.json();
    assert_eq!(image["stores"], Value::from("local,web"));
}

#[tokio::test]
async fn the_direct_url_is_that_of_the_heaviest_store() {
    let origin = Origin::start().await;
    let setup = with_web().last_store("weight", 5);
    let node = setup.set("api.show_image_direct_url", true).start().await;
    let client = node.client();
    let id = twice(&client, &origin, "data").await;
    assert_eq!(client.show(&id).await.field("direct_url"), origin.url(&id));
}
