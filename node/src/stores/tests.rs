//! Stores whose directories are lost, shared, foreign or renamed, under a whole node.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, SystemTime},
};

use glimpse_store::file::MARKER;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    config::{Config, StoreConfig},
    node::Node,
};

fn config(root: &Path) -> Config {
    let mut config = Config::for_tests(root);
    config.stores[0].path = root.join("images");
    config
}

async fn call(address: SocketAddr, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let kind = match body.starts_with('{') {
        true => "application/json",
        false => "application/octet-stream",
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A node that closes early has answered before.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn assert_status(answer: &str, status: u16) {
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status} ")),
        "{answer}"
    );
}

/// Serves for as long as `work` takes, then stops.
async fn serving<T>(config: &Config, work: impl AsyncFnOnce(SocketAddr, SocketAddr) -> T) -> T {
    let node = Node::start(config.clone()).await.unwrap();
    let (api, admin) = (node.api_address(), node.admin_address().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(node.run(async {
        let _ = stopped.await;
    }));
    let done = work(api, admin).await;
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    done
}

async fn refused(config: &Config) -> String {
    match Node::start(config.clone()).await {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    }
}

async fn image(api: SocketAddr) -> String {
    let image = r#"{"disk_format": "raw", "container_format": "bare"}"#;
    let made = call(api, "POST", "/v2/images", image).await;
    assert_status(&made, 201);
    let (_, body) = made.split_once("\r\n\r\n").unwrap();
    let image: serde_json::Value = serde_json::from_str(body).unwrap();
    image["id"].as_str().unwrap().to_owned()
}

async fn upload(api: SocketAddr, id: &str, data: &str) -> String {
    call(api, "PUT", &format!("/v2/images/{id}/file"), data).await
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(std::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_disk_is_not_mounted_is_closed_and_what_is_cached_is_served() {
    let temp = tempfile::tempdir().unwrap();
    let config = config(temp.path());
    let images = config.stores[0].path.clone();
    let aside = temp.path().join("aside");
    let (kept, queued) = serving(&config, async |api, admin| {
        assert_status(&call(admin, "GET", "/ready", "").await, 200);
        let (kept, queued) = (image(api).await, image(api).await);
        assert_status(&upload(api, &kept, "data").await, 204);
        let file = format!("/v2/images/{kept}/file");
        assert_status(&call(api, "GET", &file, "").await, 200);
        (kept, queued)
    })
    .await;
    fs::rename(&images, &aside).unwrap();
    for empty in [false, true] {
        if empty {
            fs::create_dir(&images).unwrap();
        }
        serving(&config, async |api, admin| {
            let ready = call(admin, "GET", "/ready", "").await;
            assert_status(&ready, 503);
            let path = images.to_str().unwrap();
            assert!(ready.contains(path) && ready.contains("mount"), "{ready}");
            assert_status(&upload(api, &queued, "data").await, 503);
            let file = format!("/v2/images/{kept}/file");
            let got = call(api, "GET", &file, "").await;
            assert!(got.ends_with("\r\n\r\ndata"), "{got}");
            if !empty {
                assert!(!images.exists(), "it was made anew");
                return;
            }
            assert_eq!(fs::read_dir(&images).unwrap().count(), 0);
            // Once it is mounted it is open, without another start.
            fs::remove_dir(&images).unwrap();
            fs::rename(&aside, &images).unwrap();
            assert_status(&call(admin, "GET", "/ready", "").await, 200);
            assert_status(&upload(api, &queued, "data").await, 204);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_gives_a_store_another_directory_with_an_empty_marker() {
    let temp = tempfile::tempdir().unwrap();
    let config = config(temp.path());
    let images = config.stores[0].path.clone();
    serving(&config, async |_, _| {}).await;
    fs::remove_dir_all(&images).unwrap();
    fs::create_dir(&images).unwrap();
    fs::write(images.join(MARKER), "").unwrap();
    serving(&config, async |api, admin| {
        assert_status(&call(admin, "GET", "/ready", "").await, 200);
        let id = image(api).await;
        assert_status(&upload(api, &id, "data").await, 204);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_another_cluster_or_store_is_refused_by_name() {
    let temp = tempfile::tempdir().unwrap();
    let (mine, theirs) = (temp.path().join("mine"), temp.path().join("theirs"));
    fs::create_dir(&mine).unwrap();
    fs::create_dir(&theirs).unwrap();
    let theirs = config(&theirs);
    serving(&theirs, async |_, _| {}).await;
    let mut config = config(&mine);
    serving(&config, async |_, _| {}).await;
    let own = config.stores[0].path.clone();
    config.stores[0].path = theirs.stores[0].path.clone();
    let text = refused(&config).await;
    assert!(text.contains("of cluster"), "{text}");
    // Two stores in one directory.
    config.stores[0].path = own.clone();
    config.stores.push(StoreConfig {
        name: "second".to_owned(),
        path: own,
        ..StoreConfig::default()
    });
    config.stores[0].default = true;
    let text = refused(&config).await;
    assert!(
        text.starts_with("store \"second\"") && text.contains("belongs to store \"local\""),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_a_store_found_in_its_directory_are_never_removed_as_leftovers() {
    let temp = tempfile::tempdir().unwrap();
    let mut config = config(temp.path());
    config.workers.reaper.interval = Duration::from_millis(5);
    config.workers.reaper.sweep_interval = Duration::from_millis(5);
    config.workers.reaper.orphan_grace = Duration::ZERO;
    let images = config.stores[0].path.clone();
    fs::create_dir(&images).unwrap();
    let (taken, deleted) = (uuid(1), uuid(2));
    let old = SystemTime::now() - Duration::from_secs(3600);
    for id in [&taken, &deleted] {
        fs::write(images.join(id), "of another service").unwrap();
        let file = fs::File::options().write(true).open(images.join(id));
        file.unwrap().set_modified(old).unwrap();
    }
    let text = refused(&config).await;
    assert!(
        text.contains(images.to_str().unwrap()) && text.contains(MARKER),
        "{text}"
    );
    fs::write(images.join(MARKER), "").unwrap();
    serving(&config, async |api, _| {
        for id in [&taken, &deleted] {
            let body =
                format!(r#"{{"id": "{id}", "disk_format": "raw", "container_format": "bare"}}"#);
            assert_status(&call(api, "POST", "/v2/images", &body).await, 201);
        }
        assert_status(&upload(api, &taken, "data").await, 409);
        let path = format!("/v2/images/{deleted}");
        assert_status(&call(api, "DELETE", &path, "").await, 204);
        // Its own it does remove: twice, so that a whole search lies between.
        let own = image(api).await;
        let path = format!("/v2/images/{own}");
        assert_status(&call(api, "DELETE", &path, "").await, 204);
        for _ in 0..2 {
            fs::write(images.join(&own), "left").unwrap();
            until("the orphan goes", async || !images.join(&own).exists()).await;
        }
        assert_status(&upload(api, &taken, "data").await, 409);
    })
    .await;
    for id in [&taken, &deleted] {
        assert_eq!(
            fs::read_to_string(images.join(id)).unwrap(),
            "of another service"
        );
    }
}

fn uuid(number: u8) -> String {
    format!("00000000-0000-4000-8000-0000000000{number:02}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_under_another_name_opens_and_finds_its_data_again_under_its_own() {
    let temp = tempfile::tempdir().unwrap();
    let mut config = config(temp.path());
    let id = serving(&config, async |api, _| {
        let id = image(api).await;
        assert_status(&upload(api, &id, "data").await, 204);
        id
    })
    .await;
    let file = format!("/v2/images/{id}/file");
    for (name, status) in [("renamed", 503), ("local", 200)] {
        fs::remove_dir_all(temp.path().join("data/cache")).unwrap();
        fs::create_dir(temp.path().join("data/cache")).unwrap();
        config.stores[0].name = name.to_owned();
        serving(&config, async |api, admin| {
            assert_status(&call(admin, "GET", "/ready", "").await, 200);
            assert_status(&call(api, "GET", &file, "").await, status);
        })
        .await;
    }
}
