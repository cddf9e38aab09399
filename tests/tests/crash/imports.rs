//! kill -9 at random points of imports: staged data and data of the web goes to two stores, images are
//! copied, some are deleted or cancelled meanwhile. After the restart every task ends by itself; each
//! image is active with its bytes in each of its stores, or waits for another attempt; and nothing lies
//! in staging or stores that no image owns.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use glimpse_tests::{Client, Node, Page, Random, Setup, Web, eventually};
use serde_json::{Value, json};

/// Images of each round.
const IMAGES: usize = 8;
/// Bytes of one at most.
const LARGEST: usize = 6 << 20;

/// What is asked of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Direct,
    Web,
    Copy,
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_that_are_killed_go_on_or_are_undone() {
    let mut random = Random::from_env("GLIMPSE_CRASH_SEED");
    // One for twenty kills of the other test: a round here is that much longer.
    let kills = std::env::var("GLIMPSE_KILL_ROUNDS").ok();
    let kills = kills.and_then(|kills| kills.parse().ok()).unwrap_or(200);
    let rounds = (kills / 20).max(1);
    let mut node = Setup::new()
        .more_stores("b")
        .set("import.max_parallel_stores", 2)
        .set(
            "import.uri_filter.allowed_hosts",
            vec!["127.0.0.1".to_owned()],
        )
        .set("import.uri_filter.allowed_ports", Vec::<i64>::new())
        .start()
        .await;
    let mut data = BTreeMap::new();
    let mut resumed = 0;
    for round in 0..rounds {
        let client = node.client();
        let mut begun = Vec::new();
        let mut sources = Vec::new();
        for _ in 0..IMAGES {
            let length = random.below(LARGEST);
            let bytes = random.bytes(length);
            let way = *random.pick(&[Way::Direct, Way::Web, Way::Copy]);
            let id = prepared(&client, way, &bytes).await;
            let web = Web::serve(Page::new(bytes.clone())).await;
            data.insert(id.clone(), bytes);
            begun.push((id, way, web.url()));
            sources.push(web);
        }
        for (id, way, url) in &begun {
            start(&client, id, *way, url).await;
        }
        let waited = Duration::from_micros(random.below(300_000) as u64);
        tokio::time::sleep(waited).await;
        if random.one_in(2) {
            let (id, ..) = random.pick(&begun);
            client.remove(id).await.expect(204);
        }
        if random.one_in(2) {
            let (id, ..) = random.pick(&begun);
            cancel(&client, id).await;
        }
        node.kill();
        node.restart().await;
        let client = node.client();
        resumed += open_tasks(&client).await;
        eventually("the end of all tasks", async || {
            (open_tasks(&client).await == 0).then_some(())
        })
        .await;
        check(&node, &client, &data, round).await;
        drop(sources);
    }
    assert!(resumed > 0, "no task was ever under way");
}

/// An image that is ready to be imported.
async fn prepared(client: &Client, way: Way, data: &Bytes) -> String {
    let attributes = json!({"disk_format": "ami"});
    let id = client.created(attributes).await;
    match way {
        Way::Direct => drop(client.stage(&id, data.clone()).await.expect(204)),
        Way::Copy => drop(client.upload(&id, data.clone()).await.expect(204)),
        Way::Web => {}
    }
    id
}

async fn start(client: &Client, id: &str, way: Way, url: &str) {
    let body = match way {
        Way::Direct => json!({"method": {"name": "glance-direct"}, "all_stores": true}),
        Way::Web => json!({
            "method": {"name": "web-download", "uri": url},
            "stores": ["b", "local"],
            "all_stores_must_succeed": false,
        }),
        Way::Copy => json!({"method": {"name": "copy-image"}, "all_stores": true}),
    };
    client.import(id, body).await.expect(202);
}

async fn cancel(client: &Client, id: &str) {
    let path = format!("/v2/images/{id}/tasks");
    let tasks = client.get(&path).await;
    // It may have been deleted.
    if tasks.status != 200 {
        return;
    }
    let tasks = tasks.json();
    let Some(task) = tasks["tasks"].as_array().and_then(|tasks| tasks.last()) else {
        return;
    };
    let task = task["id"].as_str().expect("an id");
    let path = format!("/v2/tasks/{task}/actions/cancel");
    let answer = client.call("POST", &path).send().await;
    assert!(matches!(answer.status, 204 | 409), "{}", answer.status);
}

async fn open_tasks(client: &Client) -> usize {
    let mut open = 0;
    for status in ["pending", "processing"] {
        let list = client
            .get(&format!("/v2/tasks?status={status}&limit=1000"))
            .await;
        open += list.expect(200).ids("tasks").len();
    }
    open
}

async fn check(node: &Node, client: &Client, data: &BTreeMap<String, Bytes>, round: usize) {
    let list = client.list("limit=1000").await.expect(200).json();
    let images = list["images"].as_array().expect("images").clone();
    let mut wanted = [0, 0];
    for image in &images {
        let id = image["id"].as_str().expect("an id");
        assert!(image.get("os_glance_import_task").is_none(), "{image}");
        assert_eq!(
            image
                .get("os_glance_importing_to_stores")
                .unwrap_or(&json!("")),
            ""
        );
        match image["status"].as_str() {
            Some("active") => {
                let known = &data[id];
                let stores = image["stores"].as_str().expect("stores");
                for store in stores.split(',') {
                    let (place, count) = match store {
                        "local" => (node.images(), 0),
                        other => (node.folder().join(other), 1),
                    };
                    wanted[count] += 1;
                    let file = std::fs::read(place.join(id)).expect("its file");
                    assert!(
                        file == known[..],
                        "round {round}: {id} has other bytes in {store}"
                    );
                }
                let read = client.download(id).await.expect(200);
                assert!(read.body == *known, "round {round}: {id} has other bytes");
            }
            Some("queued") => {
                assert_eq!((&image["size"], image.get("stores")), (&Value::Null, None))
            }
            _ => panic!("round {round}: {image}"),
        }
    }
    eventually("nothing that no image owns", async || {
        let found = [node.stored_files().len(), node.files_of("b").len()];
        (found == wanted && node.staged_files().is_empty()).then_some(())
    })
    .await;
}
