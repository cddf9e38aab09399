//! The client against servers of this process.

use std::{
    collections::VecDeque,
    io,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::config::Config;

const CAP: u64 = 1 << 20;

/// Answers each request with the next of some texts and closes; remembers the heads it saw.
struct Server {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answers: impl IntoIterator<Item = String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let heads = Arc::clone(&seen);
        let mut answers: VecDeque<String> = answers.into_iter().collect();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = socket.read_u8().await else {
                        break;
                    };
                    head.push(byte);
                }
                heads.lock().unwrap().push(String::from_utf8(head).unwrap());
                let answer = answers.pop_front().unwrap_or_default();
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { port, seen }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/data", self.port)
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn config(allowed: &[&str]) -> Config {
    let mut config = Config::default();
    config.import.uri_filter.allowed_ports.clear();
    config.import.uri_filter.allowed_hosts = allowed.iter().map(|&host| host.to_owned()).collect();
    config.outbound.idle_timeout = Duration::from_millis(500);
    config.outbound.connect_timeout = Duration::from_secs(2);
    config.outbound.resumes = 2;
    config
}

fn outbound(allowed: &[&str]) -> Arc<Outbound> {
    Arc::new(Outbound::new(&config(allowed), Tls::default()))
}

fn near() -> Arc<Outbound> {
    outbound(&["127.0.0.1"])
}

async fn all(outbound: &Arc<Outbound>, url: &str) -> Result<String, FetchError> {
    let fetch = outbound.get(url, None, Follow::All, CAP).await?;
    rest(fetch).await
}

async fn rest(mut fetch: Fetch) -> Result<String, FetchError> {
    let mut data = Vec::new();
    while let Some(bytes) = fetch.next().await? {
        data.extend_from_slice(&bytes);
    }
    Ok(String::from_utf8(data).unwrap())
}

fn ok(headers: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{headers}\r\n{body}")
}

fn part(range: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 206 Partial Content\r\nConnection: close\r\nContent-Range: bytes {range}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

fn redirect(status: u16, to: &str) -> String {
    format!(
        "HTTP/1.1 {status} Moved\r\nConnection: close\r\nContent-Length: 0\r\nLocation: {to}\r\n\r\n"
    )
}

#[tokio::test]
async fn data_comes_with_its_size_and_through_redirects() {
    let target = Server::start([ok("Content-Length: 5\r\n", "hello")]).await;
    let first = Server::start([redirect(302, &target.url())]).await;
    assert_eq!(all(&near(), &first.url()).await.unwrap(), "hello");
    let relative =
        Server::start([redirect(301, "/other"), ok("Content-Length: 2\r\n", "ok")]).await;
    assert_eq!(all(&near(), &relative.url()).await.unwrap(), "ok");
    assert!(relative.seen()[1].starts_with("GET /other "));
    let asked = Server::start([ok("Content-Length: 77\r\n", "")]).await;
    assert_eq!(near().size(&asked.url(), Follow::Found).await.unwrap(), 77);
}

#[tokio::test]
async fn a_redirect_to_what_is_not_allowed_is_not_followed() {
    let target = Server::start([]).await;
    let port = target.port;
    for to in [
        "http://169.254.169.254/latest/meta-data".to_owned(),
        format!("http://2130706433:{port}/"),
        format!("http://0x7f000001:{port}/"),
        format!("http://017700000001:{port}/"),
        format!("http://127.1:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("//0x7f.1:{port}/"),
        format!("http://127.0.0.2:{port}/"),
        format!("http:\\\\127.0.0.2:{port}/"),
        format!("\\\\127.0.0.2:{port}/"),
        "ftp://127.0.0.1/".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        let first = Server::start([redirect(302, &to)]).await;
        let error = all(&near(), &first.url()).await.unwrap_err();
        assert!(matches!(error, FetchError::Refused(_)), "{to}: {error:?}");
        assert_eq!(target.seen(), Vec::<String>::new(), "{to}");
    }
}

#[tokio::test]
async fn redirects_are_counted_and_of_some_kinds_only() {
    let server = Server::start((0..9).map(|_| redirect(302, "/again"))).await;
    let error = all(&near(), &server.url()).await.unwrap_err();
    assert!(matches!(error, FetchError::Redirects), "{error:?}");
    assert_eq!(server.seen().len(), 6);
    for (follow, status, follows) in [
        (Follow::All, 307, true),
        (Follow::Found, 307, false),
        (Follow::All, 300, false),
    ] {
        let server =
            Server::start([redirect(status, "/b"), ok("Content-Length: 1\r\n", "b")]).await;
        let fetched = near().get(&server.url(), None, follow, CAP).await;
        assert_eq!(fetched.is_ok(), follows, "{status}");
    }
}

/// Gives one answer after the other; the last one stays.
struct Rebinding(Mutex<VecDeque<IpAddr>>);

#[async_trait]
impl Dns for Rebinding {
    async fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let mut answers = self.0.lock().unwrap();
        let next = answers.pop_front();
        Ok(next.into_iter().collect())
    }
}

#[tokio::test]
async fn a_name_that_moves_to_this_machine_after_the_check_is_refused() {
    let server = Server::start([ok("Content-Length: 2\r\n", "no")]).await;
    let answers = ["192.0.2.1", "127.0.0.1"].map(|ip| ip.parse().unwrap());
    let dns = Arc::new(Rebinding(Mutex::new(answers.into())));
    let outbound = Outbound::with_dns(&config(&[]), Tls::default(), dns);
    let outbound = Arc::new(outbound);
    let url = format!("http://rebind.example:{}/", server.port);
    outbound.check(&url).await.unwrap();
    let error = all(&outbound, &url).await.unwrap_err();
    assert!(matches!(error, FetchError::Refused(_)), "{error:?}");
    assert_eq!(server.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn the_connection_goes_to_the_address_that_was_let_through() {
    let server = Server::start([ok("Content-Length: 2\r\n", "ok")]).await;
    let dns = Arc::new(Rebinding(Mutex::new(["127.0.0.1".parse().unwrap()].into())));
    let outbound = Outbound::with_dns(&config(&["origin.example"]), Tls::default(), dns);
    let url = format!("http://origin.example:{}/", server.port);
    // A second look-up would find nothing.
    assert_eq!(all(&Arc::new(outbound), &url).await.unwrap(), "ok");
    assert!(
        server.seen()[0].contains("host: origin.example:"),
        "{:?}",
        server.seen()
    );
}

#[tokio::test]
async fn a_cut_body_goes_on_where_it_was() {
    let tag = "ETag: \"a\"\r\nContent-Length: 10\r\n";
    let answers = [
        ok(tag, "0123"),
        "HTTP/1.1 503 Later\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned(),
        part("4-9/10", "456789"),
    ];
    let server = Server::start(answers).await;
    assert_eq!(all(&near(), &server.url()).await.unwrap(), "0123456789");
    let again = server.seen().pop().unwrap();
    assert!(again.contains("range: bytes=4-9\r\n"), "{again}");
    assert!(again.contains("if-range: \"a\"\r\n"), "{again}");
}

#[tokio::test]
async fn a_cut_body_is_never_taken_for_whole() {
    let tag = "ETag: \"a\"\r\nContent-Length: 10\r\n";
    let whole = ok("Content-Length: 10\r\n", "9876543210");
    for answers in [
        // Nothing says that it is the same data still.
        vec![
            ok("Content-Length: 10\r\n", "0123"),
            part("4-9/10", "456789"),
        ],
        vec![
            ok("ETag: W/\"a\"\r\nContent-Length: 10\r\n", "0123"),
            part("4-9/10", "456789"),
        ],
        // Other data, another part, another size.
        vec![ok(tag, "0123"), whole],
        vec![ok(tag, "0123"), part("3-8/10", "345678")],
        vec![ok(tag, "0123"), part("4-9/11", "456789")],
        // Cut each time.
        vec![ok(tag, "0123"); 9],
        vec![ok("Transfer-Encoding: chunked\r\n", "4\r\n0123\r\n")],
        // No end to be seen.
        vec![ok("", "0123456789")],
    ] {
        let server = Server::start(answers.clone()).await;
        let error = all(&near(), &server.url()).await.unwrap_err();
        let told = matches!(error, FetchError::Cut(_) | FetchError::BadAnswer(_));
        assert!(told, "{answers:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_range_is_what_was_asked_for_or_nothing() {
    let whole = ok("Content-Length: 10\r\n", "0123456789");
    for (answer, expected) in [
        (part("2-5/10", "2345"), Some("2345")),
        (part("2-5/*", "2345"), Some("2345")),
        (whole, Some("2345")),
        (part("0-3/10", "0123"), None),
        (part("2-6/10", "23456"), None),
        (part("2-4/10", "234"), None),
        (part("2-5/4", "2345"), None),
        (part("x", "2345"), None),
        (ok("Content-Length: 4\r\n", "2345"), None),
        (
            ok(
                "Content-Encoding: gzip\r\nContent-Length: 10\r\n",
                "0123456789",
            ),
            None,
        ),
    ] {
        let server = Server::start([answer.clone()]).await;
        let got = match near()
            .get(&server.url(), Some(2..6), Follow::Found, CAP)
            .await
        {
            Ok(fetch) => rest(fetch).await.ok(),
            Err(_) => None,
        };
        assert_eq!(got.as_deref(), expected, "{answer}");
    }
}

#[tokio::test]
async fn no_more_is_taken_than_the_cap() {
    let chunk = format!("{:x}\r\n{}\r\n", 2048, "x".repeat(2048));
    for answer in [
        ok("Content-Length: 2048\r\n", &"x".repeat(2048)),
        ok(
            "Transfer-Encoding: chunked\r\n",
            &format!("{chunk}0\r\n\r\n"),
        ),
    ] {
        let server = Server::start([answer]).await;
        let error = match near().get(&server.url(), None, Follow::All, 1024).await {
            Ok(fetch) => rest(fetch).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(matches!(error, FetchError::TooLarge(1024)), "{error:?}");
    }
}

#[tokio::test]
async fn a_closed_port_a_silent_one_and_no_http_look_alike() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed_url = format!("http://127.0.0.1:{}/", closed.local_addr().unwrap().port());
    drop(closed);
    // It accepts in the backlog and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_url = format!("http://127.0.0.1:{}/", silent.local_addr().unwrap().port());
    let ssh = Server::start(["SSH-2.0-OpenSSH_9.9\r\n".to_owned()]).await;
    let mute = Server::start([]).await;
    let mut config = config(&["127.0.0.1"]);
    config.outbound.connect_timeout = Duration::from_millis(300);
    let outbound = Arc::new(Outbound::new(&config, Tls::default()));
    let mut told = Vec::new();
    for url in [
        closed_url,
        silent_url,
        ssh.url(),
        mute.url(),
        mute.url().replace("http:", "https:"),
    ] {
        let error = all(&outbound, &url).await.unwrap_err();
        assert!(!error.to_string().contains("127."), "{error}");
        told.push((error.to_string(), url));
    }
    assert!(told.iter().all(|(text, _)| *text == told[0].0), "{told:?}");
}

#[tokio::test]
async fn what_is_secret_in_a_url_is_not_shown() {
    let url = "http://user:secret@127.0.0.1:1/a?sig=secret#secret";
    assert_eq!(shown(url), "http://127.0.0.1:1/a");
    let error = all(&near(), url).await.unwrap_err();
    assert!(!format!("{error} {error:?} {}", error.cause()).contains("secret"));
}
