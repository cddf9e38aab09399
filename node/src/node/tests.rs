//! A node from its start to its stop, over real sockets.

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
};

use super::{Node, StartError};
use crate::{config::Config, data_dir::DataDirError};

async fn get(address: SocketAddr, path: &str) -> String {
    call(address, "GET", path, "", "").await
}

async fn call(address: SocketAddr, method: &str, path: &str, kind: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_answers_and_stops_and_starts_again() {
    let temp = tempfile::tempdir().unwrap();
    let mut cluster = None;
    for _ in 0..2 {
        let node = Node::start(Config::for_tests(temp.path())).await.unwrap();
        let admin = node.admin_address().unwrap();
        assert!(
            get(node.api_address(), "/healthcheck")
                .await
                .contains(" 200 OK\r\n")
        );
        assert!(get(admin, "/live").await.contains(" 200 OK\r\n"));
        assert!(
            get(admin, "/metrics")
                .await
                .contains("\nhttp_accepted_connections_total 1\n")
        );
        let status = tokio::task::spawn_blocking(move || crate::cli::status::ask(admin));
        let status = status.await.unwrap().unwrap();
        assert_eq!(status["name"], "node-1");
        assert_eq!(status["api"], node.api_address().to_string());
        assert_eq!(status["warnings"][0]["key"], "auth.mode");
        let id = status["cluster_id"].clone();
        assert_eq!(*cluster.get_or_insert(id.clone()), id);

        let second = Node::start(Config::for_tests(temp.path())).await;
        let Err(StartError::DataDir(DataDirError::Locked { pid, .. })) = second else {
            panic!("two nodes on one directory");
        };
        assert_eq!(pid, Some(std::process::id()));

        let api = node.api_address();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(node.run(async {
            let _ = stopped.await;
        }));
        stop.send(()).unwrap();
        let _ = running.await.unwrap();
        assert!(TcpStream::connect(api).await.is_err());
        assert!(TcpStream::connect(admin).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_told_by_the_name_of_its_key() {
    let temp = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = Config::for_tests(temp.path());
    config.admin.listen = taken.local_addr().unwrap().to_string();
    let Err(error) = Node::start(config).await else {
        panic!("two listeners on one address");
    };
    assert!(
        error.to_string().starts_with("admin.listen (127.0.0.1:"),
        "{error}"
    );
}

/// Serves for as long as `work` takes, then stops.
async fn serving<T>(config: Config, work: impl AsyncFnOnce(SocketAddr) -> T) -> T {
    let node = Node::start(config).await.unwrap();
    let api = node.api_address();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(node.run(async {
        let _ = stopped.await;
    }));
    let done = work(api).await;
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    done
}

/// An image with this data, through the API.
async fn upload(api: SocketAddr, data: &str) -> String {
    let (id, put) = try_upload(api, data).await;
    assert!(put.starts_with("HTTP/1.1 204"), "{put}");
    id
}

/// The image, and the answer to its data.
async fn try_upload(api: SocketAddr, data: &str) -> (String, String) {
    let image = r#"{"disk_format": "raw", "container_format": "bare"}"#;
    let made = call(api, "POST", "/v2/images", "application/json", image).await;
    let (_, body) = made.split_once("\r\n\r\n").unwrap();
    let image: serde_json::Value = serde_json::from_str(body).unwrap();
    let id = image["id"].as_str().unwrap().to_owned();
    let file = format!("/v2/images/{id}/file");
    let put = call(api, "PUT", &file, "application/octet-stream", data).await;
    (id, put)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_data_directory_serves_and_deletes_what_it_held() {
    let temp = tempfile::tempdir().unwrap();
    let (old, new) = (temp.path().join("old"), temp.path().join("new"));
    std::fs::create_dir(&old).unwrap();
    let id = serving(Config::for_tests(&old), async |api| {
        upload(api, "data").await
    })
    .await;
    std::fs::rename(&old, &new).unwrap();
    // What is in the pool would hide that the store cannot find it.
    std::fs::remove_dir_all(new.join("data/cache")).unwrap();
    std::fs::create_dir(new.join("data/cache")).unwrap();
    let object = new.join("data/images").join(&id);
    serving(Config::for_tests(&new), async |api| {
        let got = get(api, &format!("/v2/images/{id}/file")).await;
        assert!(got.ends_with("\r\n\r\ndata"), "{got}");
        assert!(object.exists());
        let gone = call(api, "DELETE", &format!("/v2/images/{id}"), "", "").await;
        assert!(gone.starts_with("HTTP/1.1 204"), "{gone}");
        let deadline = Instant::now() + Duration::from_secs(30);
        while object.exists() {
            assert!(Instant::now() < deadline, "the data stays");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Every file and folder below `root` with its content and time of change.
fn picture(
    root: &Path,
) -> std::collections::BTreeMap<std::path::PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let mut found = std::collections::BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let data = if path.is_dir() {
                folders.push(path.clone());
                Vec::new()
            } else {
                std::fs::read(&path).unwrap()
            };
            let changed = path.metadata().unwrap().modified().unwrap();
            found.insert(path, (data, changed));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_a_directory_of_an_unknown_format_ends_and_has_touched_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let mut config = Config::for_tests(temp.path());
    config.registry.segment_size = 1 << 20;
    config.cache.size = 4 << 20;
    serving(config.clone(), async |api| upload(api, "data").await).await;
    let data = temp.path().join("data");
    // What a start would remove, make or cut.
    std::fs::write(data.join("manifests/tmp-9"), "x").unwrap();
    config.stores[0].path = temp.path().join("other");
    let format = data.join("FORMAT");
    let log = data.join("registry/log/0000000000000001.log");
    let (text, frames) = (
        std::fs::read(&format).unwrap(),
        std::fs::read(&log).unwrap(),
    );
    for name in [
        "log",
        "commands",
        "tables",
        "records",
        "pool",
        "manifests",
        "in the log",
    ] {
        if name == "in the log" {
            let mut other = frames.clone();
            other[4] = 99;
            let crc = crc32fast::hash(&other[..36]);
            other[36..40].copy_from_slice(&crc.to_le_bytes());
            std::fs::write(&log, other).unwrap();
        } else {
            let text = String::from_utf8(text.clone()).unwrap();
            let other: String = text
                .lines()
                .map(|line| match line.split_once(" = ") {
                    Some((key, _)) if key == name => format!("{key} = 99\n"),
                    _ => format!("{line}\n"),
                })
                .collect();
            std::fs::write(&format, other).unwrap();
        }
        let before = picture(temp.path());
        let Err(error) = Node::start(config.clone()).await else {
            panic!("{name}: it serves");
        };
        let told = format!("format version 99 of {}", name.rsplit(' ').next().unwrap());
        assert!(error.to_string().contains(&told), "{error}");
        assert_eq!(picture(temp.path()), before, "{name}");
        std::fs::write(&format, &text).unwrap();
        std::fs::write(&log, &frames).unwrap();
    }
    // The pool has a FORMAT of its own, which leaves the log alone.
    let pool = data.join("cache/FORMAT");
    let text = std::fs::read(&pool).unwrap();
    std::fs::write(&pool, "glimpse cache pool 99\n").unwrap();
    let registry = data.join("registry");
    let before = picture(&registry);
    let refused = Node::start(config.clone()).await.map(drop);
    assert!(matches!(refused, Err(StartError::Cache(_))));
    assert!(before.len() > 2 && picture(&registry) == before);
    std::fs::write(&pool, text).unwrap();
    serving(config, async |api| {
        let list = get(api, "/v2/images").await;
        assert!(
            list.contains("\"status\":\"active\"") || list.contains("\"status\": \"active\""),
            "{list}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_gone_with_its_mark_is_not_made_anew() {
    for kept in ["STORES", "manifests"] {
        let temp = tempfile::tempdir().unwrap();
        serving(Config::for_tests(temp.path()), async |api| {
            upload(api, "data").await
        })
        .await;
        let data = temp.path().join("data");
        std::fs::remove_dir_all(data.join("registry")).unwrap();
        for name in ["REGISTRY", "STORES"] {
            if name != kept {
                std::fs::remove_file(data.join(name)).unwrap();
            }
        }
        if kept != "manifests" {
            std::fs::remove_dir_all(data.join("manifests")).unwrap();
        }
        for _ in 0..2 {
            let started = Node::start(Config::for_tests(temp.path())).await;
            assert!(
                matches!(
                    started,
                    Err(StartError::DataDir(DataDirError::RegistryGone { .. }))
                ),
                "{kept}"
            );
            assert!(!data.join("registry").exists(), "{kept}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_of_a_store_reaches_its_driver() {
    use std::os::unix::fs::PermissionsExt as _;
    let temp = tempfile::tempdir().unwrap();
    let mut config = Config::for_tests(temp.path());
    config.stores[0].file_mode = Some(0o604);
    let id = serving(config, async |api| upload(api, "data").await).await;
    let object = temp.path().join("data/images").join(id);
    let mode = object.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o604);
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_leave_room_for_the_log_where_they_share_its_disk() {
    let temp = tempfile::tempdir().unwrap();
    let mut config = Config::for_tests(temp.path());
    config.node.keep_free = 1 << 60;
    let (_, put) = serving(config.clone(), async |api| try_upload(api, "data").await).await;
    assert!(put.starts_with("HTTP/1.1 413"), "{put}");
    assert!(put.contains("node.keep_free"), "{put}");
    // A memory disk, where there is one.
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
        return;
    };
    if !crate::stores::same_file_system(other.path(), temp.path()) {
        // Another store: this one is not where it was left.
        config.stores[0].name = "other".to_owned();
        config.stores[0].path = other.path().join("images");
        serving(config, async |api| upload(api, "data").await).await;
    }
}

/// Sends bytes as they are and reads to the end.
async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_large_images_ends_early_with_a_link_to_the_rest() {
    let temp = tempfile::tempdir().unwrap();
    let mut config = Config::for_tests(temp.path());
    config.limits.page_bytes = 8 << 10;
    serving(config, async |api| {
        let large = format!("{{\"p\": \"{}\"}}", "x".repeat(3000));
        for _ in 0..10 {
            let made = call(api, "POST", "/v2/images", "application/json", &large).await;
            assert!(made.starts_with("HTTP/1.1 201"), "{made}");
        }
        // Both ways to put a page together: at once, and beside the threads that serve.
        for order in ["", "&sort_key=name"] {
            let mut path = format!("/v2/images?limit=1000{order}");
            let mut seen = std::collections::BTreeSet::new();
            let mut pages = 0;
            loop {
                let answer = get(api, &path).await;
                let (_, body) = answer.split_once("\r\n\r\n").unwrap();
                assert!(body.len() < 16 << 10, "{}", body.len());
                let page: serde_json::Value = serde_json::from_str(body).unwrap();
                let images = page["images"].as_array().unwrap();
                assert!(!images.is_empty());
                seen.extend(images.iter().map(|image| image["id"].to_string()));
                pages += 1;
                match page["next"].as_str() {
                    Some(next) => path = next.to_owned(),
                    None => break,
                }
            }
            assert_eq!(seen.len(), 10);
            assert!(pages > 3, "{pages}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_ambiguous_and_chunks_that_are_none_are_400() {
    let temp = tempfile::tempdir().unwrap();
    let json = "Host: a\r\nContent-Type: application/json\r\nConnection: close\r\n";
    serving(Config::for_tests(temp.path()), async |api| {
        for (request, status) in [
            ("GET /v2/images HTTP/1.1\r\n\r\n".to_owned(), 400),
            (
                "GET /v2/images HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
                400,
            ),
            (
                "GET /v2/images HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(),
                200,
            ),
            (
                format!(
                    "POST /v2/images HTTP/1.1\r\n{json}Transfer-Encoding: gzip, chunked\r\n\r\n\
                     2\r\n{{}}\r\n0\r\n\r\n"
                ),
                400,
            ),
            (
                format!(
                    "POST /v2/images HTTP/1.1\r\n{json}Transfer-Encoding: chunked\r\n\
                     Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
                ),
                400,
            ),
            (
                format!(
                    "POST /v2/images HTTP/1.1\r\n{json}Transfer-Encoding: chunked\r\n\r\nno\r\n"
                ),
                400,
            ),
            (
                format!(
                    "POST /v2/images HTTP/1.1\r\n{json}Transfer-Encoding: chunked\r\n\r\n\
                     2\r\n{{}}\r\n0\r\n\r\n"
                ),
                201,
            ),
        ] {
            let answer = raw(api, &request).await;
            let wanted = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&wanted), "{request}\n{answer}");
        }
    })
    .await;
}

/// A clock that is an hour ahead.
struct Ahead;

impl glimpse_replication::Clock for Ahead {
    fn monotonic(&self) -> Duration {
        glimpse_replication::Clock::monotonic(&crate::clock::SystemClock::default())
    }
    fn wall(&self) -> Duration {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.unwrap() + Duration::from_secs(3600)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn how_far_the_log_leads_the_clock_is_shown() {
    let temp = tempfile::tempdir().unwrap();
    let config = Config::for_tests(temp.path());
    let behind = async || {
        let node = Node::start(config.clone()).await.unwrap();
        let metrics = get(node.admin_address().unwrap(), "/metrics").await;
        node.run(async {}).await.unwrap();
        let mut lines = metrics.lines();
        let value = lines.find_map(|line| line.strip_prefix("registry_clock_behind_seconds "));
        value.unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(behind().await, 0);
    {
        let now = glimpse_replication::Clock::wall(&Ahead);
        let data_dir = crate::data_dir::DataDir::open(&config.node.data_dir, now).unwrap();
        let settings = super::registry_config(&config, &data_dir);
        let registry = glimpse_registry::Registry::open(settings, std::sync::Arc::new(Ahead));
        let registry = registry.unwrap();
        registry.data_reaped(Vec::new()).await.unwrap();
        registry.stop().await.unwrap();
    }
    let behind = behind().await;
    assert!((3000..=3600).contains(&behind), "{behind}");
}

#[test]
fn a_path_in_the_log_is_relative_to_nothing() {
    let shown = super::absolute(Path::new("./glimpse-data"));
    assert!(
        shown.starts_with('/') && shown.ends_with("/glimpse-data"),
        "{shown}"
    );
}
