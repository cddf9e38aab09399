//! The read-only `http` store: data that lies at other servers (image-api 7.2, 7.3).

use glimpse_tests::{Client, Node, Origin, Setup, random_bytes, sha512_hex};
use serde_json::{Value, json};

const MIB: usize = 1 << 20;

async fn start(setup: Setup) -> Node {
    setup
        .http_store("web")
        .set("api.show_multiple_locations", true)
        .set("cache.manifest_rebuild_pause", "100ms")
        .set("outbound.idle_timeout", "1s")
        .start()
        .await
}

fn add(url: &str) -> Value {
    json!([{"op": "add", "path": "/locations/-", "value": {"url": url, "metadata": {}}}])
}

/// An image whose only location is the URL.
async fn located(client: &Client, url: &str) -> String {
    let id = client.created(json!({})).await;
    client.patch(&id, add(url)).await.expect(200);
    id
}

#[tokio::test]
async fn an_image_at_an_http_location_is_downloaded_whole_and_by_ranges() {
    let (node, origin) = (start(Setup::new()).await, Origin::start().await);
    let client = node.client();
    let data = random_bytes(3 * MIB + 17, 1);
    origin.put("image", &data);
    let id = client.created(json!({})).await;
    let url = origin.url("image");
    let image = client.patch(&id, add(&url)).await.expect(200).json();
    assert_eq!(image["status"], "active");
    assert_eq!(image["size"], data.len());
    assert_eq!(image["stores"], "web");
    assert_eq!(
        image["locations"],
        json!([{"url": url, "metadata": {"store": "web"}}])
    );
    assert_eq!(image["checksum"], Value::Null);
    // A range first: the whole is read once before.
    let part = client.range(&id, "bytes=1048570-1048590").await.expect(206);
    assert_eq!(part.body, data[1_048_570..=1_048_590]);
    assert_eq!(client.download(&id).await.expect(200).body, data);
    // Without manifest in memory and chunks in the pool, it comes from there again.
    client.remove(&id).await.expect(204);
    // What is not ours is not removed.
    assert_eq!(
        Client::new(url.strip_suffix("/image").unwrap())
            .get("/image")
            .await
            .expect(200)
            .body,
        data
    );
}

#[tokio::test]
async fn data_that_changed_at_its_origin_is_never_served() {
    let (node, origin) = (start(Setup::new()).await, Origin::start().await);
    let client = node.client();
    let (old, new) = (random_bytes(MIB + 5, 1), random_bytes(MIB + 5, 2));
    // With a hash, before the first read.
    origin.put("hashed", &old);
    let id = client.created(json!({})).await;
    let hash = json!({"os_hash_algo": "sha512", "os_hash_value": sha512_hex(&old)});
    let value = json!({"url": origin.url("hashed"), "metadata": {}, "validation_data": hash});
    let operation = json!([{"op": "add", "path": "/locations/-", "value": value}]);
    let image = client.patch(&id, operation).await.expect(200).json();
    assert_eq!(image["os_hash_value"], sha512_hex(&old));
    origin.put("hashed", &new);
    client.download(&id).await.expect(503);
    origin.put("hashed", &old);
    let again = async || client.download(&id).await;
    let served = glimpse_tests::eventually("the old data", async || {
        let answer = again().await;
        (answer.status == 200).then_some(answer.body)
    });
    assert_eq!(served.await, old);
    // Without one, after it.
    origin.put("plain", &old);
    let id = located(&client, &origin.faulty("ok", "plain")).await;
    let body = client.range(&id, "bytes=0-9").await.expect(206).body;
    assert_eq!(body, old[..10]);
    origin.put("plain", &new);
    // The second chunk was not read into the pool yet, or was: either way the old bytes or none.
    if let Ok(answer) = client
        .call("GET", &format!("/v2/images/{id}/file"))
        .attempt()
        .await
    {
        assert!(
            answer.status == 503 || answer.body == old,
            "{}",
            answer.status
        );
    }
}

#[tokio::test]
async fn faults_of_an_origin_cost_an_answer_and_never_wrong_bytes() {
    let (node, origin) = (start(Setup::new()).await, Origin::start().await);
    let client = node.client();
    let data = random_bytes(2 * MIB + 100, 3);
    origin.put("image", &data);
    for fault in [
        "ok",
        "close:1500000",
        "reset:1500000",
        "ignorerange",
        "nohead",
        "redirect:301",
        "redirect",
    ] {
        let id = located(&client, &origin.faulty(fault, "image")).await;
        let answer = client.download(&id).await;
        assert_eq!(answer.status, 200, "{fault}: {}", answer.text());
        assert!(answer.body == data, "{fault}");
        let part = client.range(&id, "bytes=2000000-2000009").await.expect(206);
        assert_eq!(part.body, data[2_000_000..2_000_010], "{fault}");
    }
    for fault in ["longer", "wrongrange", "stall"] {
        let id = located(&client, &origin.faulty(fault, "image")).await;
        if let Ok(answer) = client
            .call("GET", &format!("/v2/images/{id}/file"))
            .attempt()
            .await
        {
            assert!(
                answer.status == 503 || answer.body == data,
                "{fault}: {}",
                answer.status
            );
        }
    }
    // No length is told, or the redirect is of a kind that is not followed.
    for fault in [
        "nolength",
        "chunked",
        "redirect:307",
        "redirect:308",
        "redirect:303",
    ] {
        let id = client.created(json!({})).await;
        let answer = client.patch(&id, add(&origin.faulty(fault, "image"))).await;
        assert_eq!(answer.status, 400, "{fault}: {}", answer.text());
        assert_eq!(client.show(&id).await.field("status"), "queued");
    }
}

#[tokio::test]
async fn an_http_store_takes_no_uploads_and_is_shown_as_read_only() {
    let node = start(Setup::new()).await;
    let client = node.client();
    let id = client.created(json!({})).await;
    let call = client.file(&id).header("x-image-meta-store", "web");
    call.body("data").send().await.expect(410);
    assert_eq!(client.show(&id).await.field("status"), "queued");
    let stores = client.get("/v2/info/stores").await.expect(200).json();
    assert!(
        stores["stores"]
            .as_array()
            .unwrap()
            .contains(&json!({"id": "web", "read-only": "true"})),
        "{stores}"
    );
    let detail = client
        .get("/v2/info/stores/detail")
        .await
        .expect(200)
        .json();
    let web = detail["stores"]
        .as_array()
        .unwrap()
        .iter()
        .find(|store| store["id"] == "web");
    assert_eq!(web.unwrap()["type"], "http");
    assert_eq!(web.unwrap()["properties"], json!({}));
    let made = client.create(json!({})).await.expect(201);
    assert_eq!(made.header("openstack-image-store-ids"), Some("local,web"));
}

#[tokio::test]
async fn an_http_store_is_no_default_and_taking_any_certificate_is_announced() {
    let refused = Setup::new().store("type", "http").refused().await;
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.output.contains("stores[0].default"),
        "{}",
        refused.output
    );
    let mut node = start(Setup::new()).await;
    assert!(!node.log().contains("https_insecure"));
    node.stop().await;
    let setup = Setup::new()
        .http_store("web")
        .last_store("https_insecure", true);
    let node = setup.start().await;
    assert!(node.log().contains("https_insecure"), "{}", node.log());
}
