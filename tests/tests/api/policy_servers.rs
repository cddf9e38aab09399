//! `http:` checks of the policy, with a server that is asked.

use std::{sync::Arc, time::Instant};

use glimpse_tests::{Node, Persona, Setup};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Mutex,
};

/// Path, content type and body of every question.
type Asked = Arc<Mutex<Vec<(String, String, String)>>>;

/// A server whose answer its path names; what it was asked.
async fn server() -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, Arc::clone(&seen)));
        }
    });
    (address, asked)
}

async fn answer(stream: TcpStream, asked: Asked) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let (mut length, mut kind) = (0, String::new());
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok()?;
        let Some((name, value)) = header.trim().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "content-type" => value.clone_into(&mut kind),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let body = String::from_utf8(body).ok()?;
    asked.lock().await.push((path.clone(), kind, body));
    let (status, text) = match path.split('/').nth(1)? {
        "yes" => (200, "True".to_owned()),
        "quoted" => (200, "\"True\"".to_owned()),
        "no" => (200, "False".to_owned()),
        "lower" => (200, "true".to_owned()),
        "long" => (200, "True".repeat(100_000)),
        "broken" => (500, "True".to_owned()),
        "away" => (302, "True".to_owned()),
        // Says nothing, and holds on.
        _ => std::future::pending().await,
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\nlocation: /yes\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        text.len()
    );
    stream.write_all((head + &text).as_bytes()).await.ok()
}

async fn node(setup: Setup, policy: &str) -> Node {
    let path = setup.folder().join("policy.yaml");
    std::fs::write(&path, policy).unwrap();
    setup
        .set("auth.policy_file", path.to_string_lossy().into_owned())
        .set("auth.remote.timeout", "500ms")
        .start()
        .await
}

#[tokio::test]
async fn a_server_allows_by_true_alone_and_is_asked_only_where_it_decides() {
    let (address, asked) = server().await;
    let rules = [
        ("add_image", "yes", 201),
        ("get_images", "quoted", 200),
        ("delete_image", "no", 403),
        ("deactivate", "lower", 403),
        ("reactivate", "long", 403),
        ("upload_image", "broken", 403),
        ("download_image", "away", 403),
    ];
    let text = rules.map(|(rule, path, _)| {
        format!("{rule}: rule:context_is_admin or http://{address}/{path}/%(project_id)s\n")
    });
    let node = node(Setup::trusted(), &text.concat()).await;
    let member = node.client_of(&Persona::member("alpha"));
    let id = member.created(json!({"kind": "a&b"})).await;
    member.list("").await.expect(200);
    member.remove(&id).await.expect(403);
    member.act(&id, "deactivate").await.expect(403);
    member.act(&id, "reactivate").await.expect(403);
    member.upload(&id, "data").await.expect(403);
    member.download(&id).await.expect(403);
    let questions = std::mem::take(&mut *asked.lock().await);
    let paths: Vec<_> = questions.iter().map(|(path, ..)| path.clone()).collect();
    let wanted = rules.map(|(_, path, _)| format!("/{path}/alpha"));
    assert_eq!(paths, wanted);
    // As a form with the three parts in JSON.
    let (_, kind, body) = &questions[2];
    assert_eq!(kind, "application/x-www-form-urlencoded");
    let field = |name: &str| -> Value {
        let pair = body
            .split('&')
            .find_map(|pair| pair.strip_prefix(&format!("{name}=")));
        let text = percent_encoding::percent_decode_str(pair.unwrap());
        serde_json::from_str(&text.decode_utf8().unwrap()).unwrap()
    };
    assert_eq!(field("rule"), "delete_image");
    assert_eq!(field("target")["image_id"], *id);
    assert_eq!(field("target")["kind"], "a&b");
    assert_eq!(field("credentials")["roles"], json!(["member", "reader"]));
    assert_eq!(field("credentials")["project_id"], "alpha");
    // Two of those were no answers.
    assert_eq!(node.metric("policy_remote_failures_total").await, 2.0);
    // What is decided here needs nobody.
    node.client_of(&Persona::admin())
        .remove(&id)
        .await
        .expect(204);
    assert_eq!(asked.lock().await.len(), 0);
}

#[tokio::test]
async fn the_question_may_be_one_json_object() {
    let (address, asked) = server().await;
    let setup = Setup::trusted().set("auth.remote.content_type", "application/json");
    let node = node(setup, &format!("get_images: http://{address}/yes\n")).await;
    let member = node.client_of(&Persona::member("alpha"));
    member.list("").await.expect(200);
    let (_, kind, body) = asked.lock().await[0].clone();
    assert_eq!(kind, "application/json");
    let question: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(question["rule"], "get_images");
    assert_eq!(question["credentials"]["user_id"], "user-of-alpha");
    assert_eq!(question["target"]["project_id"], "alpha");
}

#[tokio::test]
async fn a_server_that_is_late_or_gone_refuses_below_a_not_as_well_and_holds_nobody_up() {
    let (address, asked) = server().await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = gone.local_addr().unwrap();
    drop(gone);
    let text = format!(
        "get_image: not http://{address}/silent/%(id)s\n\
         delete_image: not http://{nobody}/\n\
         modify_image: role:member or http://{address}/silent\n"
    );
    let node = node(Setup::trusted(), &text).await;
    let member = node.client_of(&Persona::member("alpha"));
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(member.created(json!({})).await);
    }
    let before = Instant::now();
    // The images are hidden, each for want of an answer, but they are not waited for one by one.
    let list = member.list("").await.expect(200);
    assert_eq!(list.ids("images").len(), 0);
    let took = before.elapsed();
    assert!(took.as_millis() >= 500 && took.as_secs() < 8, "{took:?}");
    assert!(asked.lock().await.len() < 10);
    member.show(&ids[0]).await.expect(404);
    // The node answers others meanwhile, more of them than it has threads.
    let waiting: Vec<_> = (0..16)
        .map(|_| {
            let (member, id) = (member.clone(), ids[0].clone());
            tokio::spawn(async move { member.show(&id).await.status })
        })
        .collect();
    node.client().get("/versions").await.expect(200);
    for one in waiting {
        assert_eq!(one.await.unwrap(), 404);
    }
    let open = node.client_of(&Persona::admin());
    open.remove(&ids[0]).await.expect(404);
    assert!(node.log().contains("gave no answer: refused"));
}

#[tokio::test]
async fn settings_that_cannot_be_used_keep_the_node_from_starting() {
    for (key, value) in [
        ("auth.remote.ssl_ca_crt_file", "/nowhere/ca.pem"),
        ("auth.remote.ssl_client_crt_file", "/nowhere/crt.pem"),
        ("auth.remote.content_type", "text/plain"),
    ] {
        let refusal = Setup::new().set(key, value).refused().await;
        assert_eq!(refusal.code, Some(2), "{key}: {}", refusal.output);
        let name = key.rsplit('.').next().unwrap();
        assert!(refusal.output.contains(name), "{key}: {}", refusal.output);
    }
}
