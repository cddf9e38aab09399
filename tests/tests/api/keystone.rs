//! What the node makes of a Keystone that lies, breaks off or fails (image-api 4.1): never an open
//! door. The liar here is a few lines over TCP that answer what a test wants; a real Keystone is asked in
//! `tests/keystone.rs`.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use glimpse_tests::{Client, Node, Setup, eventually};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// Answers every validation with the same bytes, and gives out tokens for the node's own account.
struct Liar {
    address: String,
    answer: Arc<Mutex<Vec<u8>>>,
    validations: Arc<AtomicUsize>,
    logins: Arc<AtomicUsize>,
}

impl Liar {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let liar = Self {
            address: listener.local_addr().unwrap().to_string(),
            answer: Arc::default(),
            validations: Arc::default(),
            logins: Arc::default(),
        };
        let answer = Arc::clone(&liar.answer);
        let (validations, logins) = (Arc::clone(&liar.validations), Arc::clone(&liar.logins));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let login = match head(&mut stream).await.split(' ').next() {
                    Some("POST") => true,
                    Some("GET") => false,
                    _ => continue,
                };
                let bytes = if login {
                    logins.fetch_add(1, Ordering::SeqCst);
                    let body = token(json!({})).to_string();
                    format!(
                        "HTTP/1.1 201 Created\r\nx-subject-token: own\r\nconnection: close\r\n\
                         content-length: {}\r\n\r\n{body}",
                        body.len()
                    )
                    .into_bytes()
                } else {
                    validations.fetch_add(1, Ordering::SeqCst);
                    answer.lock().unwrap().clone()
                };
                // The node may have seen enough before the end.
                stream.write_all(&bytes).await.ok();
            }
        });
        liar
    }

    fn setup(&self) -> Setup {
        Setup::new()
            .set("auth.mode", "keystone")
            .set("auth.keystone.auth_url", format!("http://{}", self.address))
            .set("auth.keystone.password", "secret")
            .set("auth.keystone.timeout", "2s")
            .set("auth.keystone.http_request_max_retries", 1)
    }

    fn says(&self, status: &str, body: &str) {
        self.sends(format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
    }

    fn sends(&self, bytes: impl Into<Vec<u8>>) {
        *self.answer.lock().unwrap() = bytes.into();
    }

    fn validations(&self) -> usize {
        self.validations.load(Ordering::SeqCst)
    }
}

/// Reads a request: its head, and the body that a login has.
async fn head(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        text.extend_from_slice(&buffer[..read]);
        let whole =
            text.ends_with(b"\r\n\r\n") || text.starts_with(b"POST") && text.ends_with(b"}");
        if read == 0 || whole {
            return String::from_utf8_lossy(&text).into_owned();
        }
    }
}

/// A token of an admin of project `p` that lasts long, with other fields in place of these.
fn token(fields: Value) -> Value {
    let mut token = json!({
        "expires_at": "2999-01-01T00:00:00.000000Z",
        "user": {"id": "u", "name": "u", "domain": {"id": "default"}},
        "project": {"id": "p", "name": "p", "domain": {"id": "default"}},
        "roles": [{"id": "1", "name": "admin"}, {"id": "2", "name": "member"}, {"id": "3", "name": "reader"}],
    });
    for (key, value) in fields.as_object().unwrap() {
        token[key] = value.clone();
    }
    json!({"token": token})
}

/// A client with a token that nobody has used yet.
fn stranger(node: &Node) -> Client {
    let token = format!("token-{}", uuid::Uuid::new_v4());
    node.client().with("x-auth-token", &token)
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_no_token_are_503_and_open_nothing() {
    let liar = Liar::start().await;
    let node = liar.setup().start().await;
    liar.says("200 OK", &token(json!({})).to_string());
    stranger(&node).list("").await.expect(200);
    let long = format!("{{\"token\": \"{}\"}}", "x".repeat(2 << 20));
    for body in [
        "",
        "<html>It works!</html>",
        "{}",
        "null",
        "[]",
        "{\"token\": null}",
        "{\"token\": {\"token\": {}}}",
        &"[".repeat(100_000),
        &long,
        &token(json!({"user": null})).to_string(),
        &token(json!({"user": {"name": "u"}})).to_string(),
        &token(json!({"user": {"id": ""}})).to_string(),
        &token(json!({"user": {"id": ["u"]}})).to_string(),
        &token(json!({"project": {"id": ""}})).to_string(),
        &token(json!({"project": {"id": 7}})).to_string(),
        &token(json!({"system": {"all": true}})).to_string(),
        &token(json!({"domain": {"id": "d"}})).to_string(),
        &token(json!({"roles": "admin"})).to_string(),
        &token(json!({"roles": [{"id": "1"}]})).to_string(),
        &token(json!({"expires_at": null})).to_string(),
        &token(json!({"expires_at": "soon"})).to_string(),
        &token(json!({"application_credential": {"access_rules": "all"}})).to_string(),
    ] {
        liar.says("200 OK", body);
        let answer = stranger(&node).list("").await;
        let start = &body[..body.len().min(80)];
        assert_eq!(answer.status, 503, "{start}");
        assert!(answer.header("retry-after").is_some());
        assert!(!answer.text().contains(&liar.address), "{}", answer.text());
    }
    for status in [
        "204 No Content",
        "300 Multiple Choices",
        "301 Moved Permanently",
        "400 Bad Request",
        "401 Unauthorized",
        "403 Forbidden",
        "418 I'm a teapot",
        "429 Too Many Requests",
        "500 Internal Server Error",
        "503 Service Unavailable",
    ] {
        liar.says(status, &token(json!({})).to_string());
        assert_eq!(stranger(&node).list("").await.status, 503, "{status}");
    }
    for bytes in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{\"token\":",
        "SSH-2.0-OpenSSH_9.2p1\r\n",
    ] {
        liar.sends(bytes);
        assert_eq!(stranger(&node).list("").await.status, 503, "{bytes}");
    }
    // The identity service is well again: so is the node.
    liar.says("200 OK", &token(json!({})).to_string());
    stranger(&node).list("").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_tokens_give_what_they_say_and_no_more() {
    let liar = Liar::start().await;
    let node = liar.setup().start().await;
    liar.says("404 Not Found", "{}");
    stranger(&node).list("").await.expect(401);
    for (fields, status) in [
        // Expired, whatever the identity service thinks of that.
        (json!({"expires_at": "2020-01-01T00:00:00.000000Z"}), 401),
        (json!({"bind": {"kerberos": "u@REALM"}}), 401),
        (json!({"application_credential": {"access_rules": []}}), 401),
        (
            json!({"application_credential": {"access_rules": null}}),
            200,
        ),
        // An admin of nothing.
        (json!({"project": null}), 403),
        (json!({"project": null, "system": {"all": true}}), 403),
        (json!({"project": null, "domain": {"id": "d"}}), 403),
        (json!({"roles": []}), 403),
        (json!({"roles": [{"name": "READER"}]}), 200),
    ] {
        liar.says("200 OK", &token(fields.clone()).to_string());
        assert_eq!(stranger(&node).list("").await.status, status, "{fields}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_asked_again_and_what_was_refused_after_a_while() {
    let liar = Liar::start().await;
    let node = liar
        .setup()
        .set("auth.keystone.invalid_token_cache_time", "1s")
        .start()
        .await;
    let client = stranger(&node);
    liar.says("500 Internal Server Error", "");
    client.list("").await.expect(503);
    client.list("").await.expect(503);
    assert_eq!(liar.validations(), 2);
    // Tried again within the request.
    liar.says("502 Bad Gateway", "");
    client.list("").await.expect(503);
    assert_eq!(liar.validations(), 4);
    liar.says("404 Not Found", "");
    client.list("").await.expect(401);
    let asked = liar.validations();
    client.list("").await.expect(401);
    assert_eq!(liar.validations(), asked);
    liar.says("200 OK", &token(json!({})).to_string());
    eventually("the token counts", async || {
        (client.list("").await.status == 200).then_some(())
    })
    .await;
    // One account, one login.
    assert_eq!(liar.logins.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_unknown_tokens_than_may_wait_are_503_at_once() {
    // Accepts and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let node = Setup::new()
        .set("auth.mode", "keystone")
        .set("auth.keystone.auth_url", format!("http://{address}"))
        .set("auth.keystone.password", "secret")
        .set("auth.keystone.timeout", "30s")
        .set("auth.keystone.queued_validations", 2)
        .start()
        .await;
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let client = stranger(&node);
            tokio::spawn(async move { client.list("").await.status })
        })
        .collect();
    eventually("two wait", async || {
        (node.metric("auth_cache_misses_total").await >= 2.0).then_some(())
    })
    .await;
    let begun = std::time::Instant::now();
    stranger(&node).list("").await.expect(503);
    assert!(begun.elapsed() < std::time::Duration::from_secs(20));
    for task in waiting {
        task.abort();
    }
}
