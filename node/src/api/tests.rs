//! Whole requests over a node without its listener: what bounds them, and what they are told.

use std::{sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use glimpse_registry::image::{ImageId, Visibility};
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::layers::Api;
use crate::{
    config::Config,
    data::tests::rig::{Rig, attributes},
    serve::Service as _,
};

const V21: &str = "application/openstack-images-v2.1-json-patch";

struct Node {
    rig: Rig,
    api: Api,
}

impl Node {
    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let rig = Rig::with(change);
        let api = Api::new(Arc::clone(&rig.app));
        Self { rig, api }
    }

    /// A request of a member of the project "p".
    async fn ask(&self, method: Method, path: &str, body: &str) -> Response {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "images.example.org")
            .header("x-identity-status", "Confirmed")
            .header("x-project-id", "p")
            .header("x-roles", "member,reader")
            .header(header::CONTENT_TYPE, V21)
            .header(header::CONTENT_LENGTH, body.len())
            .body(Body::from(body.to_owned()))
            .unwrap();
        self.api.answer(request).await
    }

    async fn get(&self, path: &str) -> Response {
        self.ask(Method::GET, path, "").await
    }

    /// An image of `size` bytes of properties.
    async fn image(&self, size: usize) -> ImageId {
        let id = ImageId::from_random(rand::random());
        let mut attributes = attributes("p", Visibility::Private);
        let text = "x".repeat(size);
        attributes.properties.insert("p".to_owned(), Some(text));
        let registry = &self.rig.app.registry;
        registry.create_image(id, attributes).await.unwrap();
        id
    }
}

fn refused(response: &Response) {
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key(header::RETRY_AFTER));
}

async fn value(response: Response) -> Value {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_that_are_not_taken_are_bounded_and_small_ones_go_on() {
    const LARGE: usize = 100 << 10;
    let node = Node::with(|config| config.limits.json_memory = LARGE + LARGE / 2);
    let large = format!("/v2/images/{}", node.image(LARGE).await);
    let small = format!("/v2/images/{}", node.image(10).await);
    let held = node.get(&large).await;
    assert_eq!(held.status(), 200);
    refused(&node.get(&large).await);
    refused(&node.get("/v2/images").await);
    refused(&node.get("/v2/images?sort_key=name").await);
    for path in [&small, "/v2/images?limit=1", "/v2/schemas/image"] {
        assert_eq!(node.get(path).await.status(), 200, "{path}");
    }
    // A write is refused before it is done, and a no-op as what it answers.
    let rename = r#"[{"op": "replace", "path": "/name", "value": "new"}]"#;
    for body in ["[]", rename] {
        refused(&node.ask(Method::PATCH, &large, body).await);
    }
    drop(held);
    assert_eq!(value(node.get(&large).await).await["name"], Value::Null);
    assert_eq!(node.get("/v2/images").await.status(), 200);
    assert_eq!(node.rig.app.memory.held(), 0);
    assert_eq!(node.rig.app.memory.refused(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_image_is_shown_in_more_bytes_than_its_writer_made_room_for() {
    let node = Node::with(|_| {});
    let mut attributes = attributes("p", Visibility::Private);
    for at in 0..128 {
        let text = "\u{1}".repeat(if at == 0 { 0 } else { 200 });
        attributes.properties.insert(format!("p{at}"), Some(text));
        attributes
            .tags
            .insert(format!("{at}{}", "\u{2}".repeat(250)));
    }
    attributes.name = Some("\u{3}".repeat(255));
    let most = super::image_view::most_bytes(&attributes);
    let id = ImageId::from_random(rand::random());
    let registry = &node.rig.app.registry;
    registry.create_image(id, attributes).await.unwrap();
    let shown = node.get(&format!("/v2/images/{id}")).await.into_body();
    let shown = shown.collect().await.unwrap().to_bytes().len();
    assert!(shown <= most && shown > most / 2, "{shown} of {most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_get_its_turn_is_told_to_come_back() {
    let node = Node::with(|config| {
        config.limits.concurrent_pages = 1;
        config.limits.turn_timeout = Duration::from_millis(10);
    });
    let id = node.image(10).await;
    let page = node.api.pages.acquire().await.unwrap();
    refused(&node.get("/v2/images?sort_key=name").await);
    assert_eq!(node.get("/v2/images").await.status(), 200);
    drop(page);
    assert_eq!(node.get("/v2/images?sort_key=name").await.status(), 200);

    let turn = super::images::turn(&node.rig.app, node.api.turns.queue(id).lock());
    let first = turn.await.unwrap();
    let turn = super::images::turn(&node.rig.app, node.api.turns.queue(id).lock());
    let error = turn.await.unwrap_err();
    assert_eq!(error.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(error.retry_after.is_some());
    drop(first);
    assert_eq!(node.rig.app.metrics.http_refused_turns.get(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_ends_where_the_policy_hides_a_whole_page_and_names_nothing_hidden() {
    let node = Node::with(|_| {});
    let shown = node.image(10).await;
    let mut hidden = Vec::new();
    for _ in 0..2 {
        // Found by everybody, and seen by admins.
        let mut attributes = attributes("p", Visibility::Private);
        attributes.owner = None;
        let id = ImageId::from_random(rand::random());
        let registry = &node.rig.app.registry;
        registry.create_image(id, attributes).await.unwrap();
        hidden.push(id.to_string());
    }
    let page = value(node.get("/v2/images?limit=2").await).await;
    assert_eq!(page["images"], json!([]));
    assert!(page.get("next").is_none(), "{page}");
    let page = value(node.get("/v2/images?limit=3").await).await;
    assert_eq!(page["images"][0]["id"], shown.to_string());
    assert_eq!(
        page["next"],
        format!("/v2/images?limit=3&marker={shown}"),
        "{page}"
    );
    let text = page.to_string();
    assert!(!hidden.iter().any(|id| text.contains(id)), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_caller_calls_this_host_comes_back_but_the_name_of_a_host() {
    let node = Node::with(|config| {
        config.auth.keystone.auth_url = "https://identity.example.org/v3".to_owned();
    });
    let ask = async |host: &'static str, path: &str| -> (StatusCode, HeaderMap, String) {
        let request = Request::get(path)
            .header(header::HOST, host)
            .body(Body::empty())
            .unwrap();
        let (head, body) = node.api.answer(request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        (head.status, head.headers, String::from_utf8(body).unwrap())
    };
    let (status, headers, _) = ask("evil.example.org", "/v2/images").await;
    assert_eq!(status, 401);
    assert_eq!(
        headers[header::WWW_AUTHENTICATE],
        "Keystone uri=\"https://identity.example.org/v3\""
    );
    for host in ["a\", error=\"evil", "evil/", "evil@a", "<evil>"] {
        for path in ["/v2/images", "/versions", "/"] {
            let (status, headers, body) = ask(host, path).await;
            assert_eq!(status, 400, "{host} {path}");
            let shown = format!("{headers:?}{body}");
            assert!(!shown.contains("evil"), "{shown}");
        }
    }
    let (status, _, body) = ask("[::1]:9292", "/versions").await;
    assert_eq!(status, 200);
    assert!(body.contains("http://[::1]:9292/v2/"), "{body}");
}
