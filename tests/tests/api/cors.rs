//! Browsers that call from pages of other origins (image-api 8.3), and the health check's options
//! (1.2).

use glimpse_tests::{Answer, Client, Node, Setup};
use serde_json::json;

const PAGE: &str = "https://dashboard.example";

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.header(name).unwrap_or_default()
}

fn allows(origins: &[&str]) -> Setup {
    let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
    Setup::new().set("api.cors.allowed_origin", origins)
}

async fn preflight(client: &Client, path: &str, method: &str, headers: &str) -> Answer {
    client
        .call("OPTIONS", path)
        .header("origin", PAGE)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", headers)
        .send()
        .await
        .expect(200)
}

/// As Horizon's page does it: what the browser asks first, then the PUT of the file.
#[tokio::test]
async fn a_page_of_an_allowed_origin_uploads_from_the_browser() {
    let node = allows(&[PAGE]).start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    let path = format!("/v2/images/{id}/file");
    let asked = preflight(&client, &path, "PUT", "content-type,x-auth-token").await;
    assert_eq!(header(&asked, "access-control-allow-origin"), PAGE);
    assert_eq!(header(&asked, "access-control-allow-methods"), "PUT");
    assert_eq!(
        header(&asked, "access-control-allow-headers"),
        "content-type,x-auth-token"
    );
    assert_eq!(header(&asked, "access-control-max-age"), "3600");
    assert_eq!(header(&asked, "vary"), "Origin");
    let sent = client
        .call("PUT", &path)
        .header("origin", PAGE)
        .header("content-type", "application/octet-stream")
        .body("data")
        .send()
        .await
        .expect(204);
    assert_eq!(header(&sent, "access-control-allow-origin"), PAGE);
    assert!(
        header(&sent, "access-control-expose-headers").contains("X-OpenStack-Request-ID"),
        "{sent:?}"
    );
    assert_eq!(client.download(&id).await.expect(200).body, "data");
    // Errors are read by pages, too.
    let absent = client.call("GET", "/v2/images/absent");
    let absent = absent.header("origin", PAGE).send().await.expect(404);
    assert_eq!(header(&absent, "access-control-allow-origin"), PAGE);
}

#[tokio::test]
async fn a_preflight_is_answered_on_every_path_and_grants_only_what_is_allowed() {
    let node = allows(&[PAGE]).start().await;
    let client = node.client();
    for path in ["/", "/v2/images", "/v2/nothing", "/nothing"] {
        let asked = preflight(&client, path, "GET", "x-auth-token").await;
        assert_eq!(
            header(&asked, "access-control-allow-origin"),
            PAGE,
            "{path}"
        );
    }
    for (method, headers) in [("TRACE", ""), ("GET", "x-other")] {
        let asked = preflight(&client, "/v2/images", method, headers).await;
        assert_eq!(header(&asked, "access-control-allow-origin"), "");
    }
    let other = client
        .call("GET", "/v2/images")
        .header("origin", "https://other.example");
    let other = other.send().await.expect(200);
    assert_eq!(header(&other, "access-control-allow-origin"), "");
}

#[tokio::test]
async fn without_allowed_origins_options_is_200_and_empty() {
    let node = Node::start().await;
    let asked = preflight(&node.client(), "/v2/images", "GET", "").await;
    assert!(asked.body.is_empty());
    assert_eq!(header(&asked, "access-control-allow-origin"), "");
    assert_eq!(header(&asked, "vary"), "");
}

#[tokio::test]
async fn an_origin_that_no_browser_sends_is_warned_of_and_no_header_refused() {
    let refusal = Setup::new()
        .set("api.cors.expose_headers", vec!["a\nb".to_owned()])
        .refused()
        .await;
    assert_eq!(refusal.code, Some(2), "{}", refusal.output);
    assert!(
        refusal.output.contains("api.cors.expose_headers"),
        "{}",
        refusal.output
    );
    let mut node = allows(&["https://dashboard.example/"]).start().await;
    node.stop().await;
    assert!(node.log().contains("api.cors.allowed_origin"));
}

#[tokio::test]
async fn the_health_check_fails_while_a_file_is_missing_that_must_be_there() {
    let setup = Setup::new();
    let file = setup.folder().join("mounted");
    let node = setup
        .set(
            "api.healthcheck_enable_files",
            vec![file.to_str().unwrap().to_owned()],
        )
        .start()
        .await;
    let missing = node.client().get("/healthcheck").await.expect(503);
    assert!(missing.text().contains("FILE PATH MISSING"), "{missing:?}");
    std::fs::write(&file, "").unwrap();
    node.client().get("/healthcheck").await.expect(200);
}

#[tokio::test]
async fn the_health_check_answers_only_those_it_is_meant_for() {
    let of = |ranges: &str| Setup::new().env("GLIMPSE_API__HEALTHCHECK_ALLOWED_SOURCES", ranges);
    let node = of("10.0.0.0/8,127.0.0.0/8").start().await;
    node.client().get("/healthcheck").await.expect(200);
    let node = of("10.0.0.0/8,2001:db8::/32").start().await;
    node.client().get("/healthcheck").await.expect(404);
    let refusal = of("10.0.0.0/33").refused().await;
    assert!(
        refusal.output.contains("api.healthcheck_allowed_sources"),
        "{}",
        refusal.output
    );
    let node = Setup::new()
        .set("api.healthcheck_ignore_proxied", true)
        .start()
        .await;
    let client = node.client();
    client.get("/healthcheck").await.expect(200);
    let proxied = client
        .call("GET", "/healthcheck")
        .header("x-forwarded-for", "192.0.2.1");
    proxied.send().await.expect(404);
}
