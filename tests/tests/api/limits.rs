//! Overload and slow clients: every bound answers, and metadata stays answerable.

use bytes::Bytes;
use futures_util::stream;
use glimpse_tests::{Node, Persona, Raw, Setup, eventually, exchange, random_bytes};
use serde_json::json;

const MIB: usize = 1 << 20;

#[tokio::test]
async fn a_json_body_has_a_bound() {
    let node = Setup::new().set("limits.json_body", "4KiB").start().await;
    let client = node.client();
    let big = json!({"name": "x", "color": "y".repeat(5000)});
    client.create(big.clone()).await.expect(413);
    let chunked = stream::iter([Bytes::from(big.to_string())]);
    client
        .call("POST", "/v2/images")
        .stream(chunked)
        .send()
        .await
        .expect(413);
    let id = client.created(json!({})).await;
    client
        .replace(&id, "name", json!("y".repeat(5000)))
        .await
        .expect(413);
    client.share(&id, &"y".repeat(5000)).await.expect(413);
    assert_eq!(client.list_all("").await.len(), 1);
}

#[tokio::test]
async fn a_request_head_has_a_bound() {
    let node = Setup::new()
        .set("limits.header_size", "16KiB")
        .start()
        .await;
    let big = "x".repeat(20_000);
    let request =
        format!("GET /v2/images HTTP/1.1\r\nhost: a\r\nx-big: {big}\r\nconnection: close\r\n\r\n");
    assert_eq!(exchange(&node.address(), &request).await.0, 431);
    let many = "x-many: y\r\n".repeat(2000);
    let request = format!("GET /v2/images HTTP/1.1\r\nhost: a\r\n{many}connection: close\r\n\r\n");
    assert_eq!(exchange(&node.address(), &request).await.0, 431);
    node.client().get("/v2/images").await.expect(200);
}

#[tokio::test]
async fn what_is_no_http_is_refused_and_the_node_lives() {
    let node = Node::start().await;
    for junk in [
        "\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "POST /v2/images HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        "POST /v2/images HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        "POST /v2/images HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let mut connection = Raw::connect(&node.address()).await;
        connection.send(junk).await;
        if let Some(head) = connection.head().await {
            assert!(
                head.starts_with("HTTP/1.1 4") || head.starts_with("HTTP/1.0 4"),
                "{head}"
            );
        }
    }
    node.client().get("/v2/images").await.expect(200);
}

#[tokio::test]
async fn beyond_the_connection_bound_the_answer_is_503_with_retry_after() {
    let node = Setup::new().set("limits.connections", 4).start().await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut connection = Raw::connect(&node.address()).await;
        connection
            .send("GET /healthcheck HTTP/1.1\r\nhost: a\r\n\r\n")
            .await;
        assert!(connection.head().await.unwrap().starts_with("HTTP/1.1 200"));
        held.push(connection);
    }
    let request = "GET /healthcheck HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let (status, head, _) = exchange(&node.address(), request).await;
    assert_eq!(status, 503);
    assert!(head.contains("retry-after: "), "{head}");
    drop(held);
    eventually("a free place", async || {
        (exchange(&node.address(), request).await.0 == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_request_head_that_never_ends_is_cut() {
    let node = Setup::new()
        .set("limits.header_timeout", "1s")
        .start()
        .await;
    let mut slow = Raw::connect(&node.address()).await;
    slow.send("GET /v2/images HTTP/1.1\r\nhost: a\r\nx-slow:")
        .await;
    let mut idle = Raw::connect(&node.address()).await;
    assert!(slow.closes().await);
    assert!(idle.closes().await);
}

#[tokio::test]
async fn an_upload_that_stands_still_is_cut_and_the_image_queued_again() {
    let node = Setup::new()
        .set("limits.upload_idle_timeout", "1s")
        .start()
        .await;
    let client = node.client();
    let id = client.created(json!({})).await;
    let mut connection = node.standing_upload(&id, MIB).await;
    assert!(connection.closes().await);
    client.reaches(&id, "queued").await;
    node.keeps(0).await;
    client.upload(&id, "data").await.expect(204);
}

#[tokio::test]
async fn json_that_stands_still_is_answered_408_and_closed() {
    let node = Setup::new().set("limits.json_timeout", "1s").start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    for head in [
        "POST /v2/images HTTP/1.1\r\ncontent-length: 100".to_owned(),
        "POST /v2/images HTTP/1.1\r\ntransfer-encoding: chunked".to_owned(),
        format!(
            "PATCH /v2/images/{id} HTTP/1.1\r\ncontent-length: 100\r\n\
             content-type: application/openstack-images-v2.1-json-patch"
        ),
        format!("POST /v2/images/{id}/members HTTP/1.1\r\ncontent-length: 100"),
    ] {
        let mut connection = Raw::connect(&node.address()).await;
        let chunk = if head.contains("chunked") {
            "8\r\n"
        } else {
            ""
        };
        connection
            .send(format!("{head}\r\nhost: a\r\n\r\n{chunk}{{\"name\":"))
            .await;
        let answer = connection.head().await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408"), "{head}: {answer}");
        assert!(connection.closes().await);
    }
    assert_eq!(client.list_all("").await, [id]);
}

#[tokio::test]
async fn beyond_the_upload_bound_the_answer_is_503_and_metadata_goes_on() {
    let node = Setup::new()
        .set("limits.concurrent_uploads", 1)
        .start()
        .await;
    let client = node.client();
    let other = client.created(json!({})).await;
    let connection = node.standing_upload(&other, MIB).await;
    let id = client.created(json!({})).await;
    let refused = client.upload(&id, "data").await.expect(503);
    assert!(
        refused
            .header("retry-after")
            .unwrap()
            .parse::<u32>()
            .unwrap()
            > 0
    );
    assert_eq!(client.show(&id).await.expect(200).field("status"), "queued");
    client.list("").await.expect(200);
    client.replace(&id, "name", json!("x")).await.expect(200);
    drop(connection);
    eventually("a free place", async || {
        (client.upload(&id, "data").await.status == 204).then_some(())
    })
    .await;
}

#[tokio::test]
async fn beyond_the_download_bound_the_answer_is_503_and_metadata_goes_on() {
    let node = Setup::new()
        .set("limits.concurrent_downloads", 1)
        .start()
        .await;
    let client = node.client();
    let id = client.active(json!({}), random_bytes(32 * MIB, 1)).await;
    // Larger than what socket buffers take, so the transfer stands while it is not read.
    let held = node.standing_download(&id).await;
    let refused = client.download(&id).await.expect(503);
    assert!(refused.header("retry-after").is_some());
    client.show(&id).await.expect(200);
    client.list("").await.expect(200);
    client.created(json!({})).await;
    drop(held);
    eventually("a free place", async || {
        (client.range(&id, "bytes=0-0").await.status == 206).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_takes_no_byte_is_cut() {
    let node = Setup::new()
        .set("limits.slow_client_timeout", "1s")
        .set("limits.concurrent_downloads", 1)
        .start()
        .await;
    let client = node.client();
    let id = client.active(json!({}), random_bytes(32 * MIB, 1)).await;
    let mut held = node.standing_download(&id).await;
    eventually("its place to be free", async || {
        (client.range(&id, "bytes=0-0").await.status == 206).then_some(())
    })
    .await;
    let received = held.rest().await.len();
    assert!(received < 32 * MIB, "the stalled client got everything");
}

#[tokio::test]
async fn metadata_is_answered_while_every_place_for_transfers_is_taken() {
    const PLACES: u32 = 3;
    let node = Setup::new()
        .set("limits.concurrent_uploads", PLACES)
        .set("limits.concurrent_downloads", PLACES)
        .start()
        .await;
    let client = node.client();
    let id = client.active(json!({}), random_bytes(32 * MIB, 1)).await;
    let queued = client.created(json!({})).await;
    let mut held = Vec::new();
    for _ in 0..PLACES {
        let target = client.created(json!({})).await;
        held.push(node.standing_upload(&target, MIB).await);
        let download = node.standing_download(&id).await;
        held.push(download);
    }
    for round in 0..20 {
        for refused in [
            client.upload(&queued, "data").await.expect(503),
            client.download(&id).await.expect(503),
            client.range(&id, "bytes=0-0").await.expect(503),
        ] {
            let after = refused.header("retry-after").expect("Retry-After");
            assert!(after.parse::<u32>().unwrap() > 0, "{after}");
        }
        let new = client.created(json!({"name": "new"})).await;
        client.show(&new).await.expect(200);
        client.show(&id).await.expect(200);
        let name = json!(format!("name-{round}"));
        client.replace(&queued, "name", name).await.expect(200);
        client.tag(&queued, "tag").await.expect(204);
        client.list("").await.expect(200);
        client.remove(&new).await.expect(204);
    }
    let image = client.show(&queued).await.expect(200);
    assert_eq!(image.field("status"), "queued");
    drop(held);
    eventually("a free place for an upload", async || {
        (client.upload(&queued, "data").await.status == 204).then_some(())
    })
    .await;
    eventually("a free place for a download", async || {
        (client.download(&queued).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn pages_that_nobody_reads_take_no_more_memory_than_they_may() {
    // Larger than what socket buffers take, so that the node has to hold it.
    let node = Setup::new()
        .set("limits.page_size", "24MiB")
        .set("limits.json_memory", "40MiB")
        .start()
        .await;
    let client = node.client();
    let small = client.created(json!({"name": "small"})).await;
    let mut large = json!({"name": "large"});
    for at in 0..14 {
        large[format!("p{at}")] = json!("x".repeat(60_000));
    }
    for _ in 0..32 {
        client.create(large.clone()).await.expect(201);
    }
    let mut held = Raw::connect(&node.address()).await;
    held.send("GET /v2/images?limit=1000 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    assert!(held.head().await.unwrap().starts_with("HTTP/1.1 200"));
    for _ in 0..3 {
        let refused = client.list("limit=1000").await.expect(503);
        assert!(refused.header("retry-after").is_some());
        client.list("name=small").await.expect(200);
        client.show(&small).await.expect(200);
        client.created(json!({})).await;
    }
    assert!(node.metric("http_held_bytes").await > 16.0 * MIB as f64);
    drop(held);
    eventually("room", async || {
        (client.list("limit=1000").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn json_bodies_that_do_not_end_take_no_more_memory_than_they_may() {
    let node = Setup::new()
        .set("limits.page_size", "64KiB")
        .set("limits.image_properties_size", "64KiB")
        .set("limits.json_memory", "1MiB")
        .start()
        .await;
    let client = node.client();
    let mut held = Raw::connect(&node.address()).await;
    held.send("POST /v2/images HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n")
        .await;
    held.send(" ".repeat(900_000)).await;
    // White space around the same small object.
    let padded = format!("{}{}", " ".repeat(600_000), json!({"name": "padded"}));
    let create = async || {
        let call = client.call("POST", "/v2/images").body(padded.clone());
        call.send().await.status
    };
    eventually("the body that stands", async || {
        (node.metric("http_held_bytes").await > 900_000.0).then_some(())
    })
    .await;
    for _ in 0..3 {
        assert_eq!(create().await, 503);
    }
    client.created(json!({})).await;
    client.list("").await.expect(200);
    drop(held);
    eventually("room", async || (create().await == 201).then_some(())).await;
}

#[tokio::test]
async fn one_project_cannot_take_every_download() {
    let node = Setup::trusted()
        .set("limits.concurrent_downloads", 2)
        .set("limits.concurrent_downloads_per_project", 1)
        .start()
        .await;
    let admin = node.client_of(&Persona::admin());
    let public = json!({"visibility": "public"});
    let id = admin.active(public, random_bytes(32 * MIB, 1)).await;
    let mut held = Raw::connect(&node.address()).await;
    held.send(format!(
        "GET /v2/images/{id}/file HTTP/1.1\r\nhost: a\r\nx-identity-status: Confirmed\r\n\
         x-project-id: alpha\r\nx-roles: member,reader\r\n\r\n"
    ))
    .await;
    assert!(held.head().await.unwrap().starts_with("HTTP/1.1 200"));
    let alpha = node.client_of(&Persona::member("alpha"));
    let refused = alpha.download(&id).await.expect(503);
    assert!(refused.header("retry-after").is_some());
    alpha.show(&id).await.expect(200);
    let beta = node.client_of(&Persona::member("beta"));
    beta.range(&id, "bytes=0-0").await.expect(206);
    drop(held);
    eventually("its place to be free", async || {
        (alpha.range(&id, "bytes=0-0").await.status == 206).then_some(())
    })
    .await;
}
