//! Version documents and negotiation (image-api 1.1 to 1.3), health.

use glimpse_tests::{Node, Setup, exchange};

/// What a node advertises, newest first.
const ADVERTISED: [&str; 19] = [
    "v2.18", "v2.17", "v2.16", "v2.15", "v2.14", "v2.13", "v2.12", "v2.11", "v2.10", "v2.9",
    "v2.8", "v2.7", "v2.6", "v2.5", "v2.4", "v2.3", "v2.2", "v2.1", "v2.0",
];

/// Those that say that the cache has an API.
const CACHE: [&str; 3] = ["v2.18", "v2.16", "v2.14"];

#[tokio::test]
async fn the_root_answers_300_with_every_version_newest_first_and_one_current() {
    let node = Node::start().await;
    let answer = node.client().get("/").await.expect(300);
    let document = answer.json();
    let versions = document["versions"].as_array().unwrap();
    let ids: Vec<&str> = versions
        .iter()
        .map(|row| row["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ADVERTISED);
    for row in versions {
        let wanted = if row["id"] == "v2.18" {
            "CURRENT"
        } else {
            "SUPPORTED"
        };
        assert_eq!(row["status"], wanted, "{row}");
        assert_eq!(row["links"][0]["rel"], "self");
        assert_eq!(
            row["links"][0]["href"],
            format!("http://{}/v2/", node.address())
        );
    }
}

#[tokio::test]
async fn slash_versions_is_the_same_document_with_200() {
    let node = Node::start().await;
    let root = node.client().get("/").await.expect(300);
    for path in ["/versions", "/versions/"] {
        let answer = node.client().get(path).await.expect(200);
        assert_eq!(answer.json(), root.json());
    }
}

#[tokio::test]
async fn version_documents_need_no_identity() {
    let node = Setup::trusted().start().await;
    node.client().get("/").await.expect(300);
    node.client().get("/versions").await.expect(200);
    node.client().get("/healthcheck").await.expect(200);
    node.client().get("/v2/images").await.expect(401);
}

#[tokio::test]
async fn the_public_endpoint_is_the_base_of_absolute_urls() {
    let node = Setup::new()
        .set("api.public_endpoint", "https://images.example.org/base")
        .start()
        .await;
    let document = node.client().get("/versions").await.expect(200).json();
    assert_eq!(
        document["versions"][0]["links"][0]["href"],
        "https://images.example.org/base/v2/"
    );
}

#[tokio::test]
async fn v2_without_a_slash_redirects_and_with_one_is_not_found() {
    let node = Node::start().await;
    let answer = node.client().get("/v2").await.expect(302);
    let location = answer.header("location").unwrap();
    assert!(location.ends_with("/v2/"), "{location}");
    node.client().get("/v2/").await.expect(404);
}

#[tokio::test]
async fn every_advertised_minor_version_serves_and_others_get_the_choices() {
    let node = Node::start().await;
    for version in ADVERTISED.into_iter().chain(["v2"]) {
        node.client()
            .get(&format!("/{version}/images"))
            .await
            .expect(200);
    }
    for path in [
        "/v1/images",
        "/v3",
        "/v2.99/images",
        "/images",
        "/v2.19/images",
        "/v20/images",
    ] {
        let answer = node.client().get(path).await.expect(300);
        assert!(answer.json()["versions"].is_array(), "{path}");
    }
}

#[tokio::test]
async fn without_an_api_of_the_cache_its_versions_vanish_and_v2_17_is_current() {
    let node = Setup::new().set("cache.api", false).start().await;
    let document = node.client().get("/").await.expect(300).json();
    let versions = document["versions"].as_array().unwrap();
    let ids: Vec<&str> = versions
        .iter()
        .map(|row| row["id"].as_str().unwrap())
        .collect();
    let wanted: Vec<&str> = ADVERTISED
        .into_iter()
        .filter(|version| !CACHE.contains(version))
        .collect();
    assert_eq!(ids, wanted);
    assert_eq!(
        (&versions[0]["id"], &versions[0]["status"]),
        (&"v2.17".into(), &"CURRENT".into())
    );
    for version in CACHE {
        let path = format!("/{version}/images");
        node.client().get(&path).await.expect(300);
    }
}

#[tokio::test]
async fn the_accept_header_can_name_the_version() {
    let node = Node::start().await;
    let client = node
        .client()
        .with("accept", "application/vnd.openstack.images-v2.5");
    let answer = client.get("/images").await.expect(200);
    assert!(answer.json()["images"].is_array());
}

#[tokio::test]
async fn healthcheck_answers_in_the_form_that_accept_asks_for() {
    let node = Node::start().await;
    let text = node
        .client()
        .with("accept", "text/plain")
        .get("/healthcheck")
        .await
        .expect(200);
    assert_eq!(text.text(), "OK");
    assert!(
        text.header("content-type")
            .unwrap()
            .starts_with("text/plain")
    );
    let json = node.client().get("/healthcheck").await.expect(200).json();
    assert_eq!(
        json,
        serde_json::json!({"detailed": false, "reasons": ["OK"]})
    );
    let request = "HEAD /healthcheck HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    assert_eq!(exchange(&node.address(), request).await.0, 204);
}
