//! `POST /v2/images/{id}/import` (image-api 3): checks, flow, several stores, copies.

use glimpse_tests::{
    Client, Node, Persona, Setup, eventually, md5_hex, random_bytes, samples, sha512_hex,
};
use serde_json::{Value, json};

const MIB: usize = 1 << 20;

fn direct() -> Value {
    json!({"method": {"name": "glance-direct"}})
}

fn with(mut body: Value, more: Value) -> Value {
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

async fn staged(client: &Client, data: impl Into<bytes::Bytes>) -> String {
    let id = client.created(json!({})).await;
    client.stage(&id, data).await.expect(204);
    id
}

/// Nothing lies in staging.
async fn unstaged(node: &Node) {
    eventually("an empty staging", async || {
        node.staged_files().is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn staged_data_becomes_the_image_with_hashes_and_progress() {
    let node = Node::start().await;
    let client = node.client();
    let data = random_bytes(3 * MIB + 5, 1);
    let id = staged(&client, data.clone()).await;
    let answer = client.import(&id, direct()).await.expect(202);
    assert_eq!(answer.text(), "");
    client.reaches(&id, "active").await;
    let image = client.show(&id).await.expect(200).json();
    assert_eq!(image["size"], json!(data.len()));
    assert_eq!(image["virtual_size"], json!(data.len()));
    assert_eq!(image["checksum"], json!(md5_hex(&data)));
    assert_eq!(image["os_hash_value"], json!(sha512_hex(&data)));
    assert_eq!(image["stores"], "local");
    assert_eq!(image["os_glance_importing_to_stores"], "");
    assert_eq!(image["os_glance_failed_import"], "");
    for gone in ["os_glance_import_task", "last_import_error"] {
        assert!(image.get(gone).is_none(), "{gone}");
    }
    assert_eq!(client.download(&id).await.expect(200).body, data);
    unstaged(&node).await;
    let task = client.task_ends(&id).await;
    assert_eq!(
        (&task["status"], &task["image_id"]),
        (&json!("success"), &json!(id))
    );
    client.import(&id, direct()).await.expect(409);
    client.stage(&id, "x").await.expect(409);
}

#[tokio::test]
async fn one_import_fills_several_stores_with_equal_data() {
    for at_once in [1, 3] {
        let setup = Setup::new().more_stores("b").more_stores("c");
        let node = setup
            .set("import.max_parallel_stores", at_once)
            .start()
            .await;
        let client = node.client();
        let data = random_bytes(2 * MIB, 7);
        for (request, stores) in [
            (json!({"stores": ["b"]}), vec!["b"]),
            (json!({"stores": ["c", "b", "c"]}), vec!["b", "c"]),
            (json!({"all_stores": true}), vec!["b", "c", "local"]),
            (
                json!({"all_stores": true, "all_stores_must_succeed": false}),
                vec!["b", "c", "local"],
            ),
        ] {
            let id = staged(&client, data.clone()).await;
            client
                .import(&id, with(direct(), request.clone()))
                .await
                .expect(202);
            let task = client.task_ends(&id).await;
            assert_eq!(task["status"], "success", "{request}: {task}");
            let image = client.show(&id).await.expect(200);
            let shown = image.field("stores");
            let mut shown: Vec<&str> = shown.split(',').collect();
            shown.sort_unstable();
            assert_eq!(shown, stores, "{request}");
            for store in stores {
                let file = match store {
                    "local" => node.images().join(&id),
                    other => node.folder().join(other).join(&id),
                };
                assert_eq!(std::fs::read(file).unwrap(), data, "{request} {store}");
            }
        }
        unstaged(&node).await;
    }
}

#[tokio::test]
async fn the_first_check_that_fails_is_the_answer() {
    let node = Setup::trusted().more_stores("b").start().await;
    let owner = node.client_of(&Persona::member("alpha"));
    let queued = owner.created(json!({})).await;
    let ready = staged(&owner, "data").await;
    let active = owner.active(json!({}), "data").await;
    let formless = owner
        .create(json!({"name": "x"}))
        .await
        .expect(201)
        .field("id");
    owner.stage(&formless, "data").await.expect(204);
    let all = json!({"all_stores": true, "stores": ["b"]});
    for (id, body, status) in [
        (&ready, json!([]), 400),
        (&ready, json!({}), 400),
        (&ready, json!({"method": "glance-direct"}), 400),
        (&ready, json!({"method": {}}), 400),
        (&ready, json!({"method": {"name": 7}}), 400),
        (&ready, json!({"method": {"name": "web-upload"}}), 400),
        (&ready, json!({"method": {"name": "glance-download"}}), 400),
        (&ready, with(direct(), json!({"all_stores": "true"})), 400),
        (
            &ready,
            with(direct(), json!({"all_stores_must_succeed": 1})),
            400,
        ),
        (&ready, with(direct(), json!({"stores": "b"})), 400),
        (&ready, with(direct(), json!({"stores": []})), 400),
        (&ready, with(direct(), json!({"stores": [7]})), 400),
        // State before stores.
        (&queued, with(direct(), all.clone()), 409),
        (&active, with(direct(), all.clone()), 409),
        (&formless, direct(), 409),
        (&ready, json!({"method": {"name": "copy-image"}}), 409),
        (&ready, with(direct(), all), 400),
        (
            &ready,
            with(direct(), json!({"stores": ["b", "nowhere"]})),
            409,
        ),
        // Policy before stores: copies are for admins.
        (
            &active,
            json!({"method": {"name": "copy-image"}, "stores": ["nowhere"]}),
            403,
        ),
    ] {
        let answer = owner.import(id, body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
    let named = owner.with("x-image-meta-store", "b");
    let both = with(direct(), json!({"stores": ["b"]}));
    named.import(&ready, both).await.expect(400);
    let all = with(direct(), json!({"all_stores": true}));
    named.import(&ready, all).await.expect(400);
    let unknown = owner.with("x-image-meta-store", "nowhere");
    unknown.import(&ready, direct()).await.expect(409);
    node.client_of(&Persona::reader("alpha"))
        .import(&ready, direct())
        .await
        .expect(403);
    node.client_of(&Persona::member("beta"))
        .import(&ready, direct())
        .await
        .expect(404);
    owner
        .import("11111111-2222-3333-4444-555555555555", direct())
        .await
        .expect(404);
    assert_eq!(owner.tasks_of(&ready).await, Vec::<Value>::new());
    named
        .import(&ready, with(direct(), json!({"unknown": {"key": 1}})))
        .await
        .expect(202);
    owner.reaches(&ready, "active").await;
    assert_eq!(owner.show(&ready).await.field("stores"), "b");
}

#[tokio::test]
async fn data_that_is_not_what_it_was_declared_is_refused_and_undone() {
    let node = Setup::trusted().more_stores("b").start().await;
    let owner = node.client_of(&Persona::member("alpha"));
    let id = owner
        .created(json!({"disk_format": "qcow2", "visibility": "community"}))
        .await;
    for evil in [samples::qcow2_with_backing_file(), vec![1; MIB]] {
        owner.stage(&id, evil).await.expect(204);
        let request = with(direct(), json!({"stores": ["b", "local"]}));
        owner.import(&id, request).await.expect(202);
        let task = owner.task_ends(&id).await;
        assert_eq!(task["status"], "failure");
        let image = owner.show(&id).await.expect(200).json();
        assert_eq!(
            (&image["status"], &image["size"]),
            (&json!("queued"), &Value::Null)
        );
        assert_eq!(image["os_glance_failed_import"], "b");
        assert_eq!(image["os_glance_importing_to_stores"], "");
        assert_eq!(image["last_import_error"], task["message"]);
        assert!(image.get("stores").is_none());
        // It is the owner's business only.
        let other = node.client_of(&Persona::member("beta"));
        let seen = other.show(&id).await.expect(200).json();
        assert!(seen.get("last_import_error").is_none());
        unstaged(&node).await;
        node.keeps(0).await;
        assert_eq!(node.files_of("b").len(), 0);
    }
    // It is the service's.
    let set = owner.replace(&id, "last_import_error", json!("x")).await;
    set.expect(403);
    owner.stage(&id, samples::qcow2(1 << 30)).await.expect(204);
    owner.import(&id, direct()).await.expect(202);
    owner.reaches(&id, "active").await;
    let image = owner.show(&id).await.expect(200).json();
    assert_eq!(image["virtual_size"], json!(1 << 30));
    assert!(image.get("last_import_error").is_none());
}

#[tokio::test]
async fn where_not_all_must_succeed_a_store_that_fails_is_named_and_the_rest_counts() {
    for (must_succeed, status, files) in [(false, "active", 1), (true, "queued", 0)] {
        let node = Setup::new().more_stores("b").start().await;
        let client = node.client();
        let id = staged(&client, "data").await;
        // The store's folder is gone.
        std::fs::rename(node.folder().join("b"), node.folder().join("away")).unwrap();
        let stores = json!({"stores": ["local", "b"], "all_stores_must_succeed": must_succeed});
        client.import(&id, with(direct(), stores)).await.expect(202);
        eventually("the failure of a store", async || {
            let image = client.show(&id).await.expect(200).json();
            (image["os_glance_failed_import"] == "b").then_some(())
        })
        .await;
        // What is undone waits for the store, which may hold something of it.
        std::fs::rename(node.folder().join("away"), node.folder().join("b")).unwrap();
        client.task_ends(&id).await;
        let image = client.show(&id).await.expect(200).json();
        assert_eq!(image["status"], status);
        node.keeps(files).await;
        assert_eq!(node.files_of("b").len(), 0);
        unstaged(&node).await;
    }
}

#[tokio::test]
async fn a_copy_adds_stores_to_an_active_image() {
    let node = Setup::trusted()
        .more_stores("b")
        .more_stores("c")
        .start()
        .await;
    let owner = node.client_of(&Persona::member("alpha"));
    let admin = node.client_of(&Persona::admin());
    let data = random_bytes(MIB + 1, 3);
    let id = owner.active(json!({}), data.clone()).await;
    let before = owner.show(&id).await.expect(200).json();
    let copy = json!({"method": {"name": "copy-image"}});
    let to = |stores: Value| with(copy.clone(), stores);
    owner
        .import(&id, to(json!({"stores": ["b"]})))
        .await
        .expect(403);
    // The default store has it already.
    admin.import(&id, copy.clone()).await.expect(400);
    admin
        .import(&id, to(json!({"stores": ["b", "local"]})))
        .await
        .expect(400);
    admin
        .import(&id, to(json!({"stores": ["b"]})))
        .await
        .expect(202);
    assert_eq!(admin.task_ends(&id).await["status"], "success");
    let image = owner.show(&id).await.expect(200).json();
    assert_eq!(image["stores"], "local,b");
    for same in [
        "checksum",
        "os_hash_value",
        "size",
        "status",
        "virtual_size",
    ] {
        assert_eq!(image[same], before[same], "{same}");
    }
    assert_eq!(
        std::fs::read(node.folder().join("b").join(&id)).unwrap(),
        data
    );
    admin
        .import(&id, to(json!({"all_stores": true})))
        .await
        .expect(202);
    assert_eq!(admin.task_ends(&id).await["status"], "success");
    assert_eq!(owner.show(&id).await.field("stores"), "local,b,c");
    // Nothing is left to do: no task.
    admin
        .import(&id, to(json!({"all_stores": true})))
        .await
        .expect(202);
    assert_eq!(admin.tasks_of(&id).await.len(), 2);
    owner.remove(&id).await.expect(204);
    eventually("empty stores", async || {
        let files = node.files_of("b").len() + node.files_of("c").len() + node.stored_files().len();
        (files == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_copy_of_damaged_data_fails_and_the_image_stays_as_it_was() {
    let node = Setup::new().more_stores("b").start().await;
    let client = node.client();
    let id = client.active(json!({}), random_bytes(MIB, 3)).await;
    std::fs::write(node.images().join(&id), random_bytes(MIB, 4)).unwrap();
    let copy = json!({"method": {"name": "copy-image"}, "stores": ["b"]});
    client.import(&id, copy).await.expect(202);
    let task = client.task_ends(&id).await;
    assert_eq!(task["status"], "failure");
    let image = client.show(&id).await.expect(200).json();
    assert_eq!(
        (&image["status"], &image["stores"]),
        (&json!("active"), &json!("local"))
    );
    assert_eq!(image["os_glance_failed_import"], "b");
    assert_eq!(node.files_of("b").len(), 0);
}

#[tokio::test]
async fn every_store_counts_against_the_quota_before_a_byte_moves() {
    let node = Setup::trusted()
        .more_stores("b")
        .set("limits.user_storage_quota", "5MiB")
        .start()
        .await;
    let owner = node.client_of(&Persona::member("alpha"));
    let id = staged(&owner, random_bytes(3 * MIB, 1)).await;
    let both = with(direct(), json!({"all_stores": true}));
    owner.import(&id, both).await.expect(413);
    assert_eq!(owner.show(&id).await.field("status"), "uploading");
    owner.import(&id, direct()).await.expect(202);
    owner.reaches(&id, "active").await;
    let more = owner.created(json!({})).await;
    owner
        .stage(&more, random_bytes(3 * MIB, 1))
        .await
        .expect(413);
}

#[tokio::test]
async fn ossa_2015_004_an_image_deleted_while_it_is_imported_leaves_nothing() {
    let node = Setup::new().more_stores("b").start().await;
    let client = node.client();
    for delay in [0, 1, 3, 10, 30, 100] {
        let id = staged(&client, random_bytes(4 * MIB, delay)).await;
        client
            .import(&id, with(direct(), json!({"all_stores": true})))
            .await
            .expect(202);
        tokio::time::sleep(std::time::Duration::from_millis(delay)).await;
        client.remove(&id).await.expect(204);
        client.show(&id).await.expect(404);
        eventually("nothing left", async || {
            let files = node.staged_files().len() + node.stored_files().len();
            (files + node.files_of("b").len() == 0).then_some(())
        })
        .await;
        let open = ["pending", "processing"];
        eventually("the end of the task", async || {
            let tasks = client.get("/v2/tasks").await.expect(200).json();
            let tasks = tasks["tasks"].as_array().unwrap().clone();
            let open = tasks
                .iter()
                .any(|task| open.contains(&task["status"].as_str().unwrap()));
            (!open).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn an_import_that_is_being_undone_keeps_nobody_waiting_and_is_undone_by_the_next_process() {
    let mut node = Setup::new()
        .more_stores("b")
        .set("import.concurrent_jobs", 1)
        .start()
        .await;
    let client = node.client();
    let id = staged(&client, "data").await;
    let (here, away) = (node.folder().join("b"), node.folder().join("away"));
    std::fs::rename(&here, &away).unwrap();
    let stores = json!({"stores": ["local", "b"]});
    client.import(&id, with(direct(), stores)).await.expect(202);
    eventually("the failure of a store", async || {
        let image = client.show(&id).await.expect(200).json();
        (image["os_glance_failed_import"] == "b").then_some(())
    })
    .await;
    let other = staged(&client, "other").await;
    client.import(&other, direct()).await.expect(202);
    client.reaches(&other, "active").await;
    // It waits for the store, and holds the image.
    assert_eq!(client.show(&id).await.field("status"), "importing");
    client.import(&id, direct()).await.expect(409);
    node.kill();
    std::fs::rename(&away, &here).unwrap();
    node.restart().await;
    let client = node.client();
    assert_eq!(client.task_ends(&id).await["status"], "failure");
    let image = client.show(&id).await.expect(200).json();
    assert_eq!(
        (&image["status"], image.get("stores")),
        (&json!("queued"), None)
    );
    node.keeps(1).await;
    unstaged(&node).await;
}
