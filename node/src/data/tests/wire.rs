//! What clients see on the wire: refusals before and during a body, cut connections, broken
//! transfers. Over hyper as the node serves it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use glimpse_registry::{image::ImageId, status::Status};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

use super::rig::{MIB, Rig, random};
use crate::{
    api::ImageApi,
    config::AuthMode,
    serve::{Counters, Server, Settings},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// These clients send no identity.
fn open_to_all() -> Rig {
    Rig::with(|config| config.auth.mode = AuthMode::None)
}

fn serve(rig: &Rig) -> SocketAddr {
    let settings = Settings::api(&rig.app.config.limits);
    let any = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind(any, settings, Counters::default()).unwrap();
    let address = server.address();
    let api = ImageApi::new(Arc::clone(&rig.app));
    let mappings = rig.app.cache.mappings().clone();
    tokio::spawn(server.run(api, mappings, CancellationToken::new()));
    address
}

async fn connect(address: SocketAddr, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

fn head(id: ImageId, more: &str) -> String {
    format!(
        "PUT /v2/images/{id}/file HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n{more}\r\n"
    )
}

/// Everything until the server closes.
async fn rest(stream: &mut TcpStream) -> (Vec<u8>, std::io::Result<()>) {
    let mut answer = Vec::new();
    let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("the connection stays open");
    (answer, end.map(|_| ()))
}

fn starts(answer: &[u8], with: &str) {
    let text = String::from_utf8_lossy(answer.get(..200).unwrap_or(answer)).into_owned();
    assert!(text.starts_with(with), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_sends_all_before_it_reads_gets_to_see_the_refusal() {
    let rig = open_to_all();
    let address = serve(&rig);
    let id = rig.image().await;
    rig.put(id, "data").await.unwrap();
    let body = random(1, 6 * MIB);
    let mut stream = connect(
        address,
        &head(id, &format!("Content-Length: {}\r\n", body.len())),
    )
    .await;
    stream.write_all(&body).await.unwrap();
    let (answer, end) = rest(&mut stream).await;
    end.unwrap();
    starts(&answer, "HTTP/1.1 409");
    let answer = String::from_utf8(answer).unwrap().to_lowercase();
    assert!(answer.contains("connection: close"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_waits_for_continue_is_refused_without_one() {
    let rig = open_to_all();
    let address = serve(&rig);
    let unknown = ImageId([3; 16]);
    let more = "Content-Length: 1000\r\nExpect: 100-continue\r\n";
    let mut stream = connect(address, &head(unknown, more)).await;
    let (answer, _) = rest(&mut stream).await;
    starts(&answer, "HTTP/1.1 404");
    // And is told to go on where all is well.
    let id = rig.image().await;
    let more = "Content-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n";
    let mut stream = connect(address, &head(id, more)).await;
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    starts(&go_on, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"data").await.unwrap();
    let (answer, end) = rest(&mut stream).await;
    end.unwrap();
    starts(&answer, "HTTP/1.1 204");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_within_a_body_leaves_nothing() {
    let rig = open_to_all();
    let address = serve(&rig);
    let id = rig.image().await;
    let data = random(2, 2 * MIB);
    for (more, prefix) in [
        ("Content-Length: 9999999\r\n", ""),
        // Between two chunks: only the missing last chunk tells.
        ("Transfer-Encoding: chunked\r\n", "200000\r\n"),
    ] {
        let mut stream = connect(address, &head(id, more)).await;
        stream.write_all(prefix.as_bytes()).await.unwrap();
        stream.write_all(&data).await.unwrap();
        if !prefix.is_empty() {
            stream.write_all(b"\r\n").await.unwrap();
        }
        rig.until("saving", async || {
            rig.status(id).await == Some(Status::Saving)
        })
        .await;
        drop(stream);
        rig.until("queued", async || {
            rig.status(id).await == Some(Status::Queued) && rig.app.upload_slots.running() == 0
        })
        .await;
        rig.assert_untouched(id, more).await;
    }
    assert_eq!(rig.put(id, data).await.unwrap().status(), 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_image_ends_its_upload_while_the_client_is_silent() {
    let rig = open_to_all();
    let address = serve(&rig);
    let id = rig.image().await;
    let mut upload = connect(
        address,
        &format!(
            "PUT /v2/images/{id}/file HTTP/1.1\r\nHost: x\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: 1000\r\n\r\nsome"
        ),
    )
    .await;
    rig.until("saving", async || {
        rig.status(id).await == Some(Status::Saving) && rig.files().len() == 1
    })
    .await;
    let delete = format!("DELETE /v2/images/{id} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut deletion = connect(address, &delete).await;
    let (answer, _) = rest(&mut deletion).await;
    starts(&answer, "HTTP/1.1 204");
    // Long before the lease would tell.
    let (answer, _) = rest(&mut upload).await;
    starts(&answer, "HTTP/1.1 410");
    assert_eq!(rig.files().len(), 0);
    let view = rig.app.registry.read().await.unwrap();
    assert_eq!(view.uploads(None, 10).unwrap(), []);
    assert_eq!(view.usage("p").unwrap(), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_that_cannot_go_on_is_a_broken_transfer() {
    let rig = open_to_all();
    let address = serve(&rig);
    let id = rig.image().await;
    let data = random(4, 6 * MIB);
    rig.put(id, data.clone()).await.unwrap();
    let file = rig.files().pop().unwrap();
    let mut content = std::fs::read(&file).unwrap();
    content[4 * MIB] ^= 1;
    std::fs::write(&file, content).unwrap();
    // Kept alive, so that only a close in the middle can end it.
    let mut stream = connect(
        address,
        &format!("GET /v2/images/{id}/file HTTP/1.1\r\nHost: x\r\n\r\n"),
    )
    .await;
    let (answer, _) = rest(&mut stream).await;
    starts(&answer, "HTTP/1.1 200");
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap()
        + 4;
    let got = &answer[end..];
    assert!(got.len() < data.len(), "{} bytes", got.len());
    assert!(*got == data[..got.len()], "other bytes");
    assert_eq!(rig.app.data.counters.downloads_broken.get(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn head_has_the_length_and_no_body() {
    let rig = open_to_all();
    let address = serve(&rig);
    let id = rig.image().await;
    rig.put(id, random(4, 12_345)).await.unwrap();
    let request =
        format!("HEAD /v2/images/{id}/file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut stream = connect(address, &request).await;
    let (answer, end) = rest(&mut stream).await;
    end.unwrap();
    let answer = String::from_utf8(answer).unwrap().to_lowercase();
    assert!(answer.contains("content-length: 12345\r\n"), "{answer}");
    assert!(answer.contains("accept-ranges: bytes\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}
