//! A node from its start to its stop, over real sockets.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
};

use super::{Node, StartError};
use crate::{config::Config, data_dir::DataDirError};

fn config(root: &std::path::Path) -> Config {
    let mut config = Config::default();
    config.node.data_dir = root.join("data");
    config.stores[0].path = root.join("data/images");
    config.api.listen = "127.0.0.1:0".to_owned();
    config.admin.listen = "127.0.0.1:0".to_owned();
    config.cache.size = 64 << 20;
    config.limits.drain_timeout = Duration::from_secs(2);
    config
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
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
        let node = Node::start(config(temp.path())).await.unwrap();
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

        let second = Node::start(config(temp.path())).await;
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
    let mut config = config(temp.path());
    config.admin.listen = taken.local_addr().unwrap().to_string();
    let Err(error) = Node::start(config).await else {
        panic!("two listeners on one address");
    };
    assert!(
        error.to_string().starts_with("admin.listen (127.0.0.1:"),
        "{error}"
    );
}
