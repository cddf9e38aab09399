//! Rules for every request (image-api 1.1): methods, bodies, errors, request ids.

use std::collections::BTreeSet;

use glimpse_tests::{Node, Random, Setup, eventually, exchange};
use serde_json::json;

const UNKNOWN: &str = "11111111-2222-3333-4444-555555555555";

#[tokio::test]
async fn a_wrong_method_is_405_and_names_the_right_ones() {
    let node = Node::start().await;
    let client = node.client();
    let table: &[(&str, &[&str])] = &[
        ("/v2/images", &["GET", "POST"]),
        ("/v2/images/{id}", &["GET", "PATCH", "DELETE"]),
        ("/v2/images/{id}/file", &["GET", "PUT"]),
        ("/v2/images/{id}/tags/x", &["PUT", "DELETE"]),
        ("/v2/images/{id}/members", &["GET", "POST"]),
        ("/v2/images/{id}/members/p", &["GET", "PUT", "DELETE"]),
        ("/v2/images/{id}/actions/deactivate", &["POST"]),
        ("/v2/images/{id}/actions/reactivate", &["POST"]),
        ("/v2/schemas/image", &["GET"]),
        ("/v2/schemas/images", &["GET"]),
        ("/v2/schemas/member", &["GET"]),
        ("/v2/schemas/members", &["GET"]),
        ("/v2/info/import", &["GET"]),
        ("/v2/info/stores", &["GET"]),
    ];
    for (path, allowed) in table {
        let path = path.replace("{id}", UNKNOWN);
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"] {
            let head_of_data = method == "HEAD" && path.ends_with("/file");
            if allowed.contains(&method) || head_of_data {
                continue;
            }
            let answer = client.call(method, &path).send().await.expect(405);
            let shown: BTreeSet<&str> = answer
                .header("allow")
                .unwrap_or_else(|| panic!("{method} {path}: no Allow"))
                .split(", ")
                .filter(|name| *name != "HEAD")
                .collect();
            assert_eq!(shown, allowed.iter().copied().collect(), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn options_is_answered_empty_and_an_unroutable_method_is_501() {
    let node = Node::start().await;
    let answer = node
        .client()
        .call("OPTIONS", "/v2/images")
        .send()
        .await
        .expect(200);
    assert!(answer.body.is_empty());
    let brew = async |path: &str| node.client().call("BREW", path).send().await;
    brew("/v2/nothing").await.expect(501);
    brew("/v2/images/").await.expect(501);
    // What has a resource has its list of methods.
    let refused = brew("/v2/images").await.expect(405);
    assert_eq!(refused.header("allow"), Some("GET, POST"));
}

/// Many more than usual, since a table of routes is long and a panic is found by asking.
#[tokio::test]
async fn no_method_on_any_path_is_a_failure_of_the_node() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.active(json!({}), "data").await;
    let words = [
        "images",
        &id,
        "file",
        "tags",
        "x",
        "members",
        "actions",
        "deactivate",
        "schemas",
        "image",
        "info",
        "stores",
        "cache",
        "tasks",
        "metadefs",
        "namespaces",
        "%00",
        "%2e%2e",
        "%ff",
        "",
    ];
    let mut random = Random::from_env("GLIMPSE_PATH_SEED");
    for _ in 0..600 {
        let mut path = "/v2".to_owned();
        for _ in 0..random.below(5) {
            path = format!("{path}/{}", random.pick(&words));
        }
        let methods = ["GET", "PUT", "POST", "PATCH", "HEAD", "OPTIONS", "BREW"];
        let method = *random.pick(&methods);
        let answer = client.call(method, &path).send().await;
        let fine = answer.status < 500 || (answer.status == 501 && method == "BREW");
        assert!(fine, "{method} {path}: {} {}", answer.status, answer.text());
        assert!(
            answer.header("x-openstack-request-id").is_some(),
            "{method} {path}"
        );
    }
    assert_eq!(client.download(&id).await.expect(200).text(), "data");
}

#[tokio::test]
async fn unroutable_paths_and_trailing_slashes_are_not_found() {
    let node = Node::start().await;
    let id = node.client().created(json!({})).await;
    for path in [
        format!("/v2/images/{id}/"),
        "/v2/images/".to_owned(),
        "/v2/nothing".to_owned(),
        format!("/v2/images/{id}/nothing"),
        "/v2/images/not-a-uuid".to_owned(),
        format!("/v2/images/{UNKNOWN}"),
    ] {
        node.client().get(&path).await.expect(404);
    }
}

#[tokio::test]
async fn a_body_where_none_belongs_is_refused() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    let of_image = |rest: &str| format!("/v2/images/{id}{rest}");
    for (method, path) in [
        ("GET", of_image("")),
        ("DELETE", of_image("")),
        ("GET", of_image("/file")),
        ("GET", of_image("/tasks")),
        ("POST", of_image("/actions/deactivate")),
        ("POST", of_image("/actions/reactivate")),
        ("PUT", of_image("/tags/blue")),
        ("DELETE", of_image("/tags/blue")),
        ("GET", of_image("/members")),
        ("GET", of_image("/members/p")),
        ("DELETE", of_image("/members/p")),
        ("DELETE", format!("/v2/stores/local/{id}")),
        ("GET", "/v2/schemas/image".to_owned()),
        ("GET", "/v2/schemas/images".to_owned()),
        ("GET", "/v2/schemas/member".to_owned()),
        ("GET", "/v2/schemas/members".to_owned()),
        ("GET", "/v2/info/import".to_owned()),
        ("GET", "/v2/info/stores".to_owned()),
        ("GET", "/v2/info/stores/detail".to_owned()),
    ] {
        let call = || client.call(method, &path);
        call().body("surprise").send().await.expect(400);
        if matches!(method, "POST" | "PUT") {
            let chunked = futures_util::stream::iter([bytes::Bytes::from_static(b"surprise")]);
            call().stream(chunked).send().await.expect(400);
        }
    }
    let image = client.show(&id).await.expect(200).json();
    assert_eq!(
        (&image["status"], &image["tags"]),
        (&json!("queued"), &json!([]))
    );
}

/// The list takes one and does not look at it, as the reference's route table has it.
#[tokio::test]
async fn a_body_where_it_does_no_harm_is_ignored() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    for path in ["/v2/images", "/v2/info/usage"] {
        for _ in 0..2 {
            let answer = client.call("GET", path).body("surprise").send().await;
            answer.expect(200);
        }
    }
    assert_eq!(client.list_all("").await, [id]);
}

#[tokio::test]
async fn a_json_body_is_judged_by_its_content_not_its_type() {
    let node = Node::start().await;
    let client = node.client();
    for body in [
        "",
        "not json",
        "[]",
        "3",
        "null",
        "\"text\"",
        "{\"name\":",
        "[{\"name\": 1}]",
    ] {
        client
            .call("POST", "/v2/images")
            .body(body)
            .send()
            .await
            .expect(400);
    }
    client
        .call("POST", "/v2/images")
        .header("content-type", "text/plain")
        .body(r#"{"name": "typed wrongly"}"#)
        .send()
        .await
        .expect(201);
    // A byte sequence that is not UTF-8.
    client
        .call("POST", "/v2/images")
        .body(&b"{\"name\": \"\xff\"}"[..])
        .send()
        .await
        .expect(400);
}

#[tokio::test]
async fn json_nested_deeper_than_any_image_is_refused_and_not_fatal() {
    let node = Node::start().await;
    let body = format!("{{\"name\": {}{}}}", "[".repeat(50_000), "]".repeat(50_000));
    node.client()
        .call("POST", "/v2/images")
        .body(body)
        .send()
        .await
        .expect(400);
    node.client().get("/v2/images").await.expect(200);
}

#[tokio::test]
async fn errors_come_in_the_form_that_accept_asks_for() {
    let node = Node::start().await;
    let path = format!("/v2/images/{UNKNOWN}");
    let json = node.client().get(&path).await.expect(404);
    assert!(
        json.header("content-type")
            .unwrap()
            .starts_with("application/json")
    );
    let body = json.json();
    assert_eq!(body["code"], "404 Not Found");
    assert_eq!(body["title"], "Not Found");
    assert!(
        body["message"].as_str().unwrap().contains(UNKNOWN),
        "{body}"
    );

    for accept in ["text/html", "*/*"] {
        let html = node
            .client()
            .with("accept", accept)
            .get(&path)
            .await
            .expect(404);
        assert!(
            html.header("content-type")
                .unwrap()
                .starts_with("text/html"),
            "{accept}"
        );
        assert!(
            html.text().contains("<title>404 Not Found</title>"),
            "{}",
            html.text()
        );
    }

    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let (status, head, body) = exchange(&node.address(), &request).await;
    assert_eq!(status, 404);
    assert!(head.contains("content-type: text/plain"), "{head}");
    let body = String::from_utf8(body).unwrap();
    assert!(
        body.starts_with("404 Not Found") && body.contains(UNKNOWN),
        "{body}"
    );
}

#[tokio::test]
async fn what_an_error_repeats_is_escaped_in_html() {
    let node = Node::start().await;
    let answer = node
        .client()
        .with("accept", "text/html")
        .get("/v2/images?sort_key=%3Cscript%3Ealert(1)%3C%2Fscript%3E")
        .await
        .expect(400);
    assert!(!answer.text().contains("<script>"), "{}", answer.text());
}

#[tokio::test]
async fn every_answer_carries_a_request_id_and_adopts_the_callers() {
    let node = Node::start().await;
    let ours = node.client().get("/v2/images").await.expect(200);
    assert!(
        ours.header("x-openstack-request-id")
            .unwrap()
            .starts_with("req-")
    );
    let other = node.client().get("/v2/images").await.expect(200);
    assert_ne!(
        ours.header("x-openstack-request-id"),
        other.header("x-openstack-request-id"),
        "ids repeat"
    );
    for (sent, shown) in [("abc", "req-abc"), ("req-abc", "req-abc")] {
        let client = node.client().with("x-openstack-request-id", sent);
        for path in ["/v2/images", "/v2/images/unknown"] {
            let answer = client.get(path).await;
            assert_eq!(
                answer.header("x-openstack-request-id"),
                Some(shown),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn an_over_long_request_id_is_431() {
    let node = Node::start().await;
    let longest = format!("req-{}", "x".repeat(60));
    node.client()
        .with("x-openstack-request-id", &longest)
        .get("/v2/images")
        .await
        .expect(200);
    let longer = format!("req-{}", "x".repeat(61));
    node.client()
        .with("x-openstack-request-id", &longer)
        .get("/v2/images")
        .await
        .expect(431);
}

#[tokio::test]
async fn characters_beyond_the_basic_plane_are_refused_on_write() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({"visibility": "shared"})).await;
    for body in [
        json!({"name": "grin 😀"}),
        json!({"tags": ["😀"]}),
        json!({"color": "😀"}),
        json!({"😀": "key"}),
    ] {
        client.create(body).await.expect(400);
    }
    client.replace(&id, "name", json!("😀")).await.expect(400);
    client.tag(&id, "%F0%9F%98%80").await.expect(400);
    client.share(&id, "😀").await.expect(400);
    client
        .replace(&id, "name", json!("ünïcödé 漢字"))
        .await
        .expect(200);
    assert_eq!(client.show(&id).await.field("name"), "ünïcödé 漢字");
}

#[tokio::test]
async fn trusted_headers_without_a_confirmed_identity_are_401() {
    let node = Setup::trusted().start().await;
    node.client().get("/v2/images").await.expect(401);
    let invalid = node
        .client()
        .with("x-identity-status", "Invalid")
        .with("x-project-id", "p");
    invalid
        .with("x-roles", "admin")
        .get("/v2/images")
        .await
        .expect(401);
    let old_name = node
        .client()
        .with("x-identity-status", "Confirmed")
        .with("x-user-id", "u")
        .with("x-tenant-id", "p")
        .with("x-roles", "member,reader");
    let image = old_name.create(json!({})).await.expect(201);
    assert_eq!(image.field("owner"), "p");
}

#[tokio::test]
async fn without_auth_every_caller_is_an_admin_of_project_default() {
    let node = Node::start().await;
    let image = node
        .client()
        .create(json!({"visibility": "public"}))
        .await
        .expect(201);
    assert_eq!(image.field("owner"), "default");
    // Identity headers mean nothing here.
    let client = node
        .client()
        .with("x-project-id", "other")
        .with("x-roles", "reader");
    let image = client.create(json!({})).await.expect(201);
    assert_eq!(image.field("owner"), "default");
}

#[tokio::test]
async fn a_host_that_is_none_is_refused_and_never_repeated() {
    let node = Setup::trusted()
        .set("auth.keystone.auth_url", "https://identity.example.org/v3")
        .start()
        .await;
    let ask = async |host: &str, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let (status, head, body) = exchange(&node.address(), &request).await;
        (status, format!("{head}{}", String::from_utf8_lossy(&body)))
    };
    let (status, answer) = ask("evil.example.org", "/v2/images").await;
    assert_eq!(status, 401);
    let wanted = "www-authenticate: keystone uri=\"https://identity.example.org/v3\"\r\n";
    assert!(answer.contains(wanted), "{answer}");
    assert!(!answer.contains("evil"), "{answer}");
    for host in ["a\", error=\"evil", "evil/x", "x@evil", "evil:x", "<evil>"] {
        for path in ["/", "/versions", "/v2/images"] {
            let (status, answer) = ask(host, path).await;
            assert_eq!(status, 400, "{host} {path}");
            assert!(!answer.contains("evil"), "{answer}");
        }
    }
    let (status, answer) = ask("images.example.org:9292", "/versions").await;
    assert_eq!(status, 200);
    assert!(
        answer.contains("http://images.example.org:9292/v2/"),
        "{answer}"
    );
}

#[tokio::test]
async fn the_healthcheck_is_503_while_the_disable_file_is_there() {
    let setup = Setup::new();
    let file = setup.folder().join("disabled");
    let path = file.to_str().unwrap().to_owned();
    let node = setup
        .set("api.healthcheck_disable_file", path)
        .start()
        .await;
    let ask = async |method: &str, accept: &str| {
        let request = format!(
            "{method} /healthcheck HTTP/1.1\r\nhost: a\r\naccept: {accept}\r\n\
             connection: close\r\n\r\n"
        );
        let (status, head, body) = exchange(&node.address(), &request).await;
        (status, head, String::from_utf8(body).unwrap())
    };
    assert_eq!(ask("GET", "*/*").await.0, 200);
    assert_eq!(ask("HEAD", "*/*").await.0, 204);
    std::fs::write(&file, "").unwrap();
    for (accept, form, wanted) in [
        ("*/*", "text/plain", "DISABLED BY FILE"),
        (
            "application/json",
            "application/json",
            r#"{"detailed":false,"reasons":["DISABLED BY FILE"]}"#,
        ),
        ("text/html", "text/html", "<p>DISABLED BY FILE</p>"),
    ] {
        let (status, head, body) = ask("GET", accept).await;
        assert_eq!(status, 503, "{accept}");
        assert!(
            head.contains(&format!("content-type: {form}")),
            "{accept}: {head}"
        );
        assert!(body.contains(wanted), "{accept}: {body}");
    }
    let (status, _, body) = ask("HEAD", "*/*").await;
    assert_eq!((status, body.as_str()), (503, ""));
    std::fs::remove_file(&file).unwrap();
    assert_eq!(ask("GET", "*/*").await.0, 200);
}

#[tokio::test]
async fn links_follow_forwarded_headers_only_where_a_proxy_is_believed() {
    let forwarded = |node: &Node| {
        node.client()
            .with("x-forwarded-proto", "https")
            .with("x-forwarded-host", "images.example.org")
            .with("x-forwarded-prefix", "/image")
    };
    let href = async |client: glimpse_tests::Client| {
        let document = client.get("/versions").await.expect(200).json();
        let link = &document["versions"][0]["links"][0]["href"];
        link.as_str().unwrap().to_owned()
    };
    let node = Node::start().await;
    let plain = format!("http://{}/v2/", node.address());
    assert_eq!(href(forwarded(&node)).await, plain);

    let node = Setup::new()
        .set("api.enable_proxy_headers_parsing", true)
        .start()
        .await;
    let plain = format!("http://{}/v2/", node.address());
    assert_eq!(href(node.client()).await, plain);
    assert_eq!(
        href(forwarded(&node)).await,
        "https://images.example.org/image/v2/"
    );
    let created = forwarded(&node).create(json!({})).await.expect(201);
    let location = created.header("location").unwrap();
    assert!(
        location.starts_with("https://images.example.org/image/v2/images/"),
        "{location}"
    );
    let first = "proto=https;host=\"a.example.org:8\", host=b.example.org";
    assert_eq!(
        href(node.client().with("forwarded", first)).await,
        "https://a.example.org:8/v2/"
    );
    for name in [
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-prefix",
    ] {
        let client = node.client().with(name, "evil.example.org/\"x");
        assert_eq!(href(client).await, plain, "{name}");
    }
}

#[tokio::test]
async fn a_request_that_is_not_http_is_400_and_in_the_log_with_client_and_cause() {
    let node = Node::start().await;
    let request = "GET /v2/images?name=\"a\" HTTP/1.1\r\nhost: a\r\n\r\n";
    assert_eq!(exchange(&node.address(), request).await.0, 400);
    let line = eventually("a line of the refusal", async || {
        let log = node.log();
        let line = log.lines().find(|line| line.contains("is not HTTP"))?;
        Some(line.to_owned())
    })
    .await;
    assert!(line.contains("client.address"), "{line}");
    assert!(line.contains("127.0.0.1"), "{line}");
    assert!(line.contains("cause"), "{line}");
}
