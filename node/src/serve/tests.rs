//! The listener over real sockets: bounds, timeouts, drain.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension, Router,
    body::Body,
    routing::{get, put},
};
use bytes::Bytes;
use glimpse_cache::{CHUNK_SIZE, Cache, ChunkName, Mappings, Source, Turn};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Notify,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{Client, Counters, Drained, Server, Settings};

/// How long a test waits for what must happen.
const DEADLINE: Duration = Duration::from_secs(30);

fn settings() -> Settings {
    Settings {
        connections: 8,
        connections_per_peer: 0,
        header_bytes: 8 << 10,
        header_timeout: DEADLINE,
        slow_client_timeout: DEADLINE,
        drain_timeout: DEADLINE,
    }
}

struct Running {
    address: SocketAddr,
    counters: Counters,
    stop: CancellationToken,
    task: JoinHandle<Drained>,
}

fn start(settings: Settings, service: Router) -> Running {
    start_with(settings, service, Mappings::default())
}

fn start_with(settings: Settings, service: Router, mappings: Mappings) -> Running {
    let counters = Counters::default();
    let any = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind(any, settings, counters.clone()).unwrap();
    let stop = CancellationToken::new();
    Running {
        address: server.address(),
        counters,
        task: tokio::spawn(server.run(service, mappings, stop.clone())),
        stop,
    }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
    async fn stopped(self) -> Drained {
        self.stop.cancel();
        tokio::time::timeout(DEADLINE, self.task)
            .await
            .unwrap()
            .unwrap()
    }
}

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// Reads until `end` has come, or the peer has closed.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let reading = async {
        let mut text = Vec::new();
        let mut piece = [0; 4096];
        while !String::from_utf8_lossy(&text).ends_with(end) || end.is_empty() {
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(count) => text.extend_from_slice(&piece[..count]),
            }
        }
        String::from_utf8(text).unwrap()
    };
    tokio::time::timeout(DEADLINE, reading).await.unwrap()
}

/// Reads until the peer closes.
async fn read_all(stream: &mut TcpStream) -> String {
    read_until(stream, "").await
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test]
async fn requests_follow_each_other_on_one_connection() {
    let service = Router::new().route(
        "/",
        get(async |Extension(client): Extension<Client>| client.address().to_string()),
    );
    let server = start(settings(), service);
    let mut client = server.connect().await;
    let mut received = 0;
    for _ in 0..3 {
        send(&mut client, GET).await;
        let answer = read_until(&mut client, "127.0.0.1").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        received += answer.len() as u64;
    }
    assert_eq!(server.counters.received.get(), 3 * GET.len() as u64);
    assert_eq!(server.counters.sent.get(), received);
    assert_eq!(server.counters.accepted.get(), 1);
    drop(client);
    eventually("the end of the connection", || {
        server.counters.open.get() == 0
    })
    .await;
    assert_eq!(server.counters.failed.get(), 0);
    assert_eq!(server.stopped().await, Drained { cut: 0 });
}

#[tokio::test]
async fn a_connection_past_the_bound_is_answered_503_and_a_free_place_is_given_again() {
    let bound = Settings {
        connections: 2,
        ..settings()
    };
    let server = start(bound, hello());
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = server.connect().await;
        send(&mut client, GET).await;
        read_until(&mut client, "hello").await;
        held.push(client);
    }
    for count in 1..=3 {
        let mut refused = server.connect().await;
        send(&mut refused, GET).await;
        let answer = read_all(&mut refused).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("\r\nretry-after: 2\r\n"), "{answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())));
        assert_eq!(server.counters.refused.get(), count);
    }
    // Those that are in are served as before.
    send(&mut held[0], GET).await;
    assert!(read_until(&mut held[0], "hello").await.contains("200 OK"));
    held.clear();
    eventually("free places", || server.counters.open.get() == 0).await;
    let mut client = server.connect().await;
    send(&mut client, GET).await;
    assert!(read_until(&mut client, "hello").await.contains("200 OK"));
}

#[tokio::test]
async fn one_peer_that_sends_half_heads_leaves_room_for_others() {
    let bound = Settings {
        connections_per_peer: 3,
        ..settings()
    };
    let server = start(bound, hello());
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut client = server.connect().await;
        send(&mut client, "GET / HTTP/1.1\r\nhost").await;
        held.push(client);
    }
    let mut refused = server.connect().await;
    let answer = read_all(&mut refused).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    // All of 127.0.0.0/8 is this host.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(server.address).await.unwrap();
    send(&mut other, GET).await;
    assert!(read_until(&mut other, "hello").await.contains("200 OK"));
    held.clear();
    eventually("free places", || server.counters.open.get() == 1).await;
    let mut client = server.connect().await;
    send(&mut client, GET).await;
    assert!(read_until(&mut client, "hello").await.contains("200 OK"));
}

#[tokio::test]
async fn a_flood_of_silent_connections_is_answered_to_the_last_one() {
    let bound = Settings {
        connections: 1,
        ..settings()
    };
    let server = start(bound, hello());
    let mut held = server.connect().await;
    send(&mut held, GET).await;
    read_until(&mut held, "hello").await;
    let mut flood = Vec::new();
    for _ in 0..200 {
        flood.push(server.connect().await);
    }
    for client in &mut flood {
        let answer = read_all(client).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }
    send(&mut held, GET).await;
    assert!(read_until(&mut held, "hello").await.contains("200 OK"));
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_head_is_cut() {
    let short = Settings {
        header_timeout: Duration::from_millis(100),
        ..settings()
    };
    let server = start(short, hello());
    for begun in ["", "GET / HT", "GET / HTTP/1.1\r\nhost: a\r\n"] {
        let mut client = server.connect().await;
        send(&mut client, begun).await;
        let answer = read_all(&mut client).await;
        assert!(!answer.contains("200"), "{answer}");
    }
    eventually("the end of the connections", || {
        server.counters.open.get() == 0
    })
    .await;
    assert_eq!(server.counters.failed.get(), 3);
}

#[tokio::test]
async fn a_connection_that_idles_between_requests_is_closed() {
    let short = Settings {
        header_timeout: Duration::from_millis(100),
        ..settings()
    };
    let server = start(short, hello());
    let mut client = server.connect().await;
    send(&mut client, GET).await;
    assert!(read_all(&mut client).await.ends_with("hello"));
    eventually("the end of the connection", || {
        server.counters.open.get() == 0
    })
    .await;
}

#[tokio::test]
async fn a_head_past_the_bound_is_answered_431() {
    let server = start(settings(), hello());
    let mut client = server.connect().await;
    let long = "x".repeat(9 << 10);
    send(
        &mut client,
        &format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n"),
    )
    .await;
    let answer = read_all(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

/// A body without end.
fn endless() -> Body {
    let piece = Bytes::from_static(&[7; 64 << 10]);
    Body::from_stream(futures_util::stream::repeat_with(move || {
        Ok::<_, std::convert::Infallible>(piece.clone())
    }))
}

/// Answers without end, and shows whom.
fn endless_to() -> (Router, tokio::sync::mpsc::UnboundedReceiver<Client>) {
    let (seen, clients) = tokio::sync::mpsc::unbounded_channel();
    let answer = async move |Extension(client): Extension<Client>| {
        seen.send(client).unwrap();
        endless()
    };
    (Router::new().route("/", get(answer)), clients)
}

#[tokio::test]
async fn a_client_that_takes_no_bytes_is_cut_and_known_as_slow() {
    let short = Settings {
        slow_client_timeout: Duration::from_millis(300),
        ..settings()
    };
    let (service, mut clients) = endless_to();
    let server = start(short, service);
    let mut client = server.connect().await;
    send(&mut client, GET).await;
    // The client is there and reads nothing.
    let seen = clients.recv().await.unwrap();
    assert_eq!(seen.lost(), "left");
    eventually("the cut", || server.counters.open.get() == 0).await;
    assert_eq!(server.counters.failed.get(), 1);
    assert_eq!(seen.lost(), "slow");
    drop(client);
}

#[tokio::test]
async fn a_client_that_closes_has_left() {
    let (service, mut clients) = endless_to();
    let server = start(settings(), service);
    let mut client = server.connect().await;
    send(&mut client, GET).await;
    let seen = clients.recv().await.unwrap();
    drop(client);
    eventually("the end", || server.counters.open.get() == 0).await;
    assert_eq!(seen.lost(), "left");
}

#[tokio::test]
async fn stopping_closes_idle_connections_at_once_and_lets_requests_end() {
    let (begun, gate) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (begun, gate) = (Arc::clone(&begun), Arc::clone(&gate));
        async move |body: Body| {
            begun.notify_one();
            let body = axum::body::to_bytes(body, 100).await.unwrap();
            gate.notified().await;
            format!("took {}", body.len())
        }
    };
    let service = hello().route("/slow", put(slow));
    let server = start(settings(), service);
    let mut idle = server.connect().await;
    send(&mut idle, GET).await;
    read_until(&mut idle, "hello").await;
    let mut untouched = server.connect().await;
    let mut busy = server.connect().await;
    // The second half of the body comes only after the stop.
    send(
        &mut busy,
        "PUT /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nhalf",
    )
    .await;
    begun.notified().await;
    assert_eq!(server.counters.open.get(), 3);
    server.stop.cancel();
    assert_eq!(read_all(&mut idle).await, "");
    assert_eq!(read_all(&mut untouched).await, "");
    assert!(TcpStream::connect(server.address).await.is_err());
    send(&mut busy, "half").await;
    gate.notify_one();
    let answer = read_all(&mut busy).await;
    assert!(answer.ends_with("took 8"), "{answer}");
    assert_eq!(server.stopped().await, Drained { cut: 0 });
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut_when_stopping() {
    let short = Settings {
        drain_timeout: Duration::from_millis(100),
        ..settings()
    };
    let (service, mut clients) = endless_to();
    let server = start(short, service);
    let mut client = server.connect().await;
    send(&mut client, GET).await;
    let mut first = [0; 1];
    client.read_exact(&mut first).await.unwrap();
    let seen = clients.recv().await.unwrap();
    assert_eq!(server.stopped().await, Drained { cut: 1 });
    assert_eq!(seen.lost(), "drained");
    // The client sees a broken transfer, never the end of a chunked body.
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest).await;
    assert!(!rest.ends_with(b"0\r\n\r\n"));
}

#[tokio::test]
async fn a_handler_that_panics_takes_only_its_own_connection_along() {
    let service = hello().route(
        "/panic",
        get(async || -> &'static str { panic!("asked for") }),
    );
    let server = start(settings(), service);
    let mut doomed = server.connect().await;
    send(&mut doomed, "GET /panic HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(read_all(&mut doomed).await, "");
    let mut client = server.connect().await;
    send(&mut client, GET).await;
    assert!(read_until(&mut client, "hello").await.contains("200 OK"));
    assert_eq!(server.counters.failed.get(), 1);
}

/// A source that has one chunk.
struct Chunk(Bytes);

impl Source for Chunk {
    async fn read(&self, _: u32) -> Result<Vec<Bytes>, String> {
        Ok(vec![self.0.clone()])
    }
}

#[tokio::test]
async fn mapped_bytes_and_others_reach_a_slow_client_in_their_order() {
    // Not in the temporary directory, which may be memory itself.
    let program = std::env::current_exe().unwrap();
    let dir = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
    let cache = Cache::open(glimpse_cache::Config {
        dir: dir.path().to_owned(),
        size: 8 << 20,
        keep_free: 0,
        sendfile: true,
        max_fills: 1,
        audit_interval: DEADLINE,
        residency_interval: DEADLINE,
        unpooled_size: 1 << 20,
        unpooled_wait: DEADLINE,
    })
    .unwrap();
    let data: Vec<u8> = (0..CHUNK_SIZE)
        .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    let data = Bytes::from(data);
    let name = ChunkName::of([&data]);
    let chunk = cache
        .chunk(name, CHUNK_SIZE, Arc::new(Chunk(data.clone())), Turn::Due)
        .await
        .unwrap()
        .bytes;
    assert!(
        cache.mappings().file_of(&chunk).is_some(),
        "the file system of target/ is not fit for sendfile"
    );
    assert!(cache.mappings().file_of(&data).is_none());
    // Short and long ones, aligned and not, in turn and in a row.
    let cuts = [
        0,
        1,
        5,
        4096,
        4097,
        70_000,
        135_536,
        200_000,
        800_000,
        1 << 20,
    ];
    let parts: Vec<Bytes> = cuts
        .windows(2)
        .enumerate()
        .flat_map(|(turn, cut)| {
            let mapped = chunk.slice(cut[0]..cut[1]);
            let other = data.slice(cut[0]..cut[1]);
            match turn % 3 {
                0 => vec![mapped.clone(), mapped],
                1 => vec![other.clone(), mapped, other],
                _ => vec![mapped],
            }
        })
        .collect();
    let expected = parts.concat();
    let service = Router::new().route(
        "/",
        get(async move || {
            let parts = parts.into_iter().map(Ok::<_, std::convert::Infallible>);
            Body::from_stream(futures_util::stream::iter(parts))
        }),
    );
    let running = start_with(settings(), service, cache.mappings().clone());
    for slow in [false, true] {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        if slow {
            socket.set_recv_buffer_size(4096).unwrap();
        }
        let mut stream = socket.connect(running.address).await.unwrap();
        // Unframed, so that what follows the head is the body.
        send(&mut stream, "GET / HTTP/1.0\r\n\r\n").await;
        let mut received = Vec::new();
        let reading = stream.read_to_end(&mut received);
        tokio::time::timeout(DEADLINE, reading)
            .await
            .unwrap()
            .unwrap();
        let head = received.windows(4).position(|four| four == b"\r\n\r\n");
        let body = &received[head.unwrap() + 4..];
        assert_eq!(body.len(), expected.len());
        assert!(body == expected, "slow: {slow}");
        assert_eq!(running.counters.failed.get(), 0);
    }
    assert!(running.counters.sent.get() >= 2 * expected.len() as u64);
    running.stopped().await;
}
