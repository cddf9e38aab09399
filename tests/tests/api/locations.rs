//! Locations by both APIs (image-api 1.6, 1.10): who may add what, when its data is hashed, and what
//! becomes of data that is not what it was said to be.

use glimpse_tests::{
    Client, Node, Origin, Persona, Setup, eventually, md5_hex, random_bytes, sha512_hex,
};
use serde_json::{Value, json};

const MIB: usize = 1 << 20;

fn setup() -> Setup {
    Setup::new()
        .http_store("web")
        .set("api.show_multiple_locations", true)
        .set("cache.manifest_rebuild_pause", "100ms")
        .set("outbound.idle_timeout", "1s")
}

async fn start() -> (Node, Origin) {
    (setup().start().await, Origin::start().await)
}

fn at(url: &str) -> Value {
    json!({"url": url, "metadata": {}})
}

async fn add(client: &Client, id: &str, location: Value) -> glimpse_tests::Answer {
    let operation = json!([{"op": "add", "path": "/locations/-", "value": location}]);
    client.patch(id, operation).await
}

async fn post(
    client: &Client,
    id: &str,
    url: &str,
    hash: Option<(&str, &str)>,
) -> glimpse_tests::Answer {
    let mut body = json!({"url": url});
    if let Some((algorithm, value)) = hash {
        body["validation_data"] = json!({"os_hash_algo": algorithm, "os_hash_value": value});
    }
    client
        .post(&format!("/v2/images/{id}/locations"), body)
        .await
}

#[tokio::test]
async fn patch_follows_its_rules() {
    let (node, origin) = start().await;
    let client = node.client();
    for name in ["a", "b", "c", "longer"] {
        origin.put(
            name,
            if name == "longer" {
                "other data"
            } else {
                "data"
            },
        );
    }
    let url = |name: &str| origin.url(name);
    let patch = async |id: &str, operation: Value| client.patch(id, json!([operation])).await;
    let id = client.created(json!({})).await;
    // Queued: nothing to remove.
    patch(&id, json!({"op": "remove", "path": "/locations/0"}))
        .await
        .expect(409);
    add(&client, &id, at(&url("a"))).await.expect(200);
    add(&client, &id, at(&url("a"))).await.expect(400);
    add(&client, &id, at(&url("missing"))).await.expect(400);
    add(&client, &id, at(&url("longer"))).await.expect(400);
    add(
        &client,
        &id,
        json!({"url": url("b"), "metadata": {"store": "local"}}),
    )
    .await
    .expect(400);
    let first = json!({"op": "add", "path": "/locations/0", "value": at(&url("b"))});
    let image = patch(&id, first).await.expect(200).json();
    assert_eq!(image["locations"][0]["url"], url("b"));
    assert_eq!(image["stores"], "web,web");
    // The same URLs in another order, with metadata; others are refused.
    let replace = |value: Value| json!({"op": "replace", "path": "/locations", "value": value});
    let noted = json!({"url": url("a"), "metadata": {"rack": "7"}});
    let image = patch(&id, replace(json!([noted, at(&url("b"))])))
        .await
        .expect(200)
        .json();
    assert_eq!(
        image["locations"][0]["metadata"],
        json!({"rack": "7", "store": "web"})
    );
    patch(&id, replace(json!([at(&url("a"))])))
        .await
        .expect(400);
    patch(&id, replace(json!([at(&url("a")), at(&url("c"))])))
        .await
        .expect(400);
    patch(&id, replace(json!([]))).await.expect(403);
    // Nothing of a document is kept whose last operation fails.
    let document = json!([
        {"op": "replace", "path": "/name", "value": "other"},
        {"op": "remove", "path": "/locations/0"},
        {"op": "remove", "path": "/locations/0"},
    ]);
    client.patch(&id, document).await.expect(403);
    let image = client.show(&id).await.json();
    assert_eq!(
        (&image["name"], image["locations"].as_array().unwrap().len()),
        (&json!("image"), 2)
    );
    let removed = json!({"op": "remove", "path": "/locations/-"});
    let image = patch(&id, removed.clone()).await.expect(200).json();
    assert_eq!(image["locations"].as_array().unwrap().len(), 1);
    patch(&id, removed).await.expect(403);
    assert_eq!(client.download(&id).await.expect(200).text(), "data");
    // A queued image takes a whole list; one without formats takes none.
    let id = client.created(json!({})).await;
    let image = patch(&id, replace(json!([at(&url("a")), at(&url("b"))])))
        .await
        .expect(200)
        .json();
    assert_eq!(image["status"], "active");
    let bare = client.create(json!({})).await.expect(201).field("id");
    add(&client, &bare, at(&url("a"))).await.expect(400);
}

#[tokio::test]
async fn hashes_that_come_with_a_location_are_new_for_queued_images_only() {
    let (node, origin) = start().await;
    let client = node.client();
    origin.put("a", "data");
    origin.put("b", "data");
    let (md5, sha512) = (md5_hex(b"data"), sha512_hex(b"data"));
    let with = |name: &str, checksum: &str, algorithm: &str, value: &str| {
        json!({"url": origin.url(name), "metadata": {}, "validation_data":
            {"checksum": checksum, "os_hash_algo": algorithm, "os_hash_value": value}})
    };
    let id = client.created(json!({})).await;
    let other = sha512_hex(b"other");
    for bad in [
        with("a", &md5, "sha256", &sha512[..64]),
        with("a", &md5, "sha512", "zz"),
        with("a", &"z".repeat(32), "sha512", &sha512),
    ] {
        add(&client, &id, bad).await.expect(409);
    }
    let image = add(&client, &id, with("a", &md5, "sha512", &sha512))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&image["checksum"], &image["os_hash_value"]),
        (&json!(md5), &json!(sha512))
    );
    add(&client, &id, with("b", &md5, "sha512", &other))
        .await
        .expect(409);
    add(&client, &id, with("b", &md5, "sha512", &sha512))
        .await
        .expect(200);
    let plain = client.created(json!({})).await;
    add(&client, &plain, at(&origin.url("a"))).await.expect(200);
    add(&client, &plain, with("b", &md5, "sha512", &sha512))
        .await
        .expect(409);
    assert_eq!(client.download(&id).await.expect(200).text(), "data");
}

#[tokio::test]
async fn there_are_as_many_locations_as_the_quota_says() {
    let node = setup().set("limits.image_location_quota", 2).start().await;
    let origin = Origin::start().await;
    let client = node.client();
    for name in ["a", "b", "c"] {
        origin.put(name, "data");
    }
    let id = client.created(json!({})).await;
    add(&client, &id, at(&origin.url("a"))).await.expect(200);
    add(&client, &id, at(&origin.url("b"))).await.expect(200);
    add(&client, &id, at(&origin.url("c"))).await.expect(413);
    let node = setup().set("limits.user_storage_quota", "6B").start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    add(&client, &id, at(&origin.url("a"))).await.expect(200);
    add(&client, &id, at(&origin.url("b"))).await.expect(413);
    let id = client.created(json!({})).await;
    post(&client, &id, &origin.url("c"), None).await.expect(413);
}

#[tokio::test]
async fn a_posted_location_with_a_hash_is_active_once_the_data_agrees() {
    let (node, origin) = start().await;
    let client = node.client();
    let data = random_bytes(2 * MIB + 3, 4);
    origin.put("image", &data);
    let hash = sha512_hex(&data);
    let id = client.created(json!({})).await;
    post(&client, &id, &origin.url("image"), Some(("sha512", &hash)))
        .await
        .expect(202);
    client.reaches(&id, "active").await;
    let image = client.show(&id).await.json();
    assert_eq!(
        (&image["os_hash_algo"], &image["os_hash_value"]),
        (&json!("sha512"), &json!(hash))
    );
    assert_eq!(
        (&image["checksum"], &image["size"]),
        (&json!(md5_hex(&data)), &json!(data.len()))
    );
    assert_eq!(image.get("os_glance_hash_op_host"), None);
    assert_eq!(client.download(&id).await.expect(200).body, data);
    let listed = client
        .get(&format!("/v2/images/{id}/locations"))
        .await
        .expect(200)
        .json();
    assert_eq!(
        listed,
        json!([{"url": origin.url("image"), "metadata": {"store": "web"}}])
    );
    post(&client, &id, &origin.url("image"), None)
        .await
        .expect(409);
    // Another algorithm than the configured one is as good.
    let id = client.created(json!({})).await;
    let md5 = md5_hex(&data);
    post(&client, &id, &origin.url("image"), Some(("md5", &md5)))
        .await
        .expect(202);
    client.reaches(&id, "active").await;
    assert_eq!(client.show(&id).await.field("os_hash_value"), md5);
}

#[tokio::test]
async fn a_posted_location_whose_data_is_other_data_is_taken_back() {
    let (node, origin) = start().await;
    let client = node.client();
    origin.put("image", "data");
    let id = client.created(json!({})).await;
    let hash = sha512_hex(b"other");
    post(&client, &id, &origin.url("image"), Some(("sha512", &hash)))
        .await
        .expect(202);
    client.reaches(&id, "queued").await;
    let image = client.show(&id).await.json();
    assert_eq!(image["locations"], json!([]));
    for field in ["size", "checksum", "os_hash_algo", "os_hash_value"] {
        assert_eq!(image[field], Value::Null, "{field}");
    }
    client.download(&id).await.expect(204);
    client.upload(&id, "mine").await.expect(204);
    assert_eq!(client.download(&id).await.expect(200).text(), "mine");
}

#[tokio::test]
async fn a_posted_location_without_a_hash_is_active_at_once_and_hashed_after() {
    let (node, origin) = start().await;
    let client = node.client();
    origin.put("image", "data");
    let id = client.created(json!({})).await;
    post(&client, &id, &origin.url("image"), None)
        .await
        .expect(202);
    assert_eq!(client.show(&id).await.field("status"), "active");
    eventually("hashes", async || {
        let image = client.show(&id).await.json();
        (image["os_hash_value"] == json!(sha512_hex(b"data"))).then_some(())
    })
    .await;
    assert_eq!(client.show(&id).await.field("checksum"), md5_hex(b"data"));
    // Data that cannot be read leaves it active, without.
    origin.put("cut", "some more data".repeat(9));
    let id = client.created(json!({})).await;
    post(&client, &id, &origin.faulty("stall:3", "cut"), None)
        .await
        .expect(202);
    eventually("an end of the tries", async || {
        node.log()
            .contains("the data at a location is not hashed")
            .then_some(())
    })
    .await;
    let image = client.show(&id).await.json();
    assert_eq!(
        (&image["status"], &image["os_hash_value"]),
        (&json!("active"), &Value::Null)
    );
}

#[tokio::test]
async fn hashing_can_be_off() {
    let node = setup().set("locations.do_secure_hash", false).start().await;
    let origin = Origin::start().await;
    let client = node.client();
    origin.put("image", "data");
    let id = client.created(json!({})).await;
    let hash = sha512_hex(b"other");
    post(&client, &id, &origin.url("image"), Some(("sha512", &hash)))
        .await
        .expect(202);
    let image = client.show(&id).await.json();
    assert_eq!(
        (&image["status"], &image["os_hash_value"]),
        (&json!("active"), &json!(hash))
    );
    // It was believed; what is served is compared all the same.
    client.download(&id).await.expect(503);
}

#[tokio::test]
async fn hashing_goes_on_after_a_kill_and_ends_with_a_delete() {
    let (mut node, origin) = start().await;
    let data = random_bytes(MIB, 5);
    origin.put("image", &data);
    let hash = sha512_hex(&data);
    let client = node.client();
    let waits = client.created(json!({})).await;
    // It drips, and stays importing for as long as the node lives.
    post(
        &client,
        &waits,
        &origin.faulty("drip:50", "image"),
        Some(("sha512", &hash)),
    )
    .await
    .expect(202);
    assert_eq!(client.show(&waits).await.field("status"), "importing");
    node.kill();
    node.restart().await;
    eventually("another read of it", async || {
        let seen = origin.seen().await;
        (seen.iter().filter(|target| target.contains("drip")).count() >= 3).then_some(())
    })
    .await;
    let client = node.client();
    assert_eq!(client.show(&waits).await.field("status"), "importing");
    client.remove(&waits).await.expect(204);
    client.show(&waits).await.expect(404);
    eventually("an end of reading", async || {
        node.log().contains("the image was deleted").then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_may_post_depends_on_role_and_scheme() {
    let node = setup().set("auth.mode", "trusted-headers").start().await;
    let origin = Origin::start().await;
    origin.put("image", "data");
    let owner = node.client_of(&Persona::member("alpha"));
    let service = node.client_of(&Persona::new(
        "alpha",
        &["admin", "service", "member", "reader"],
    ));
    let id = owner.created(json!({})).await;
    post(&owner, &id, "rbd://a/b/c/d", None).await.expect(403);
    post(&service, &id, "rbd://a/b/c/d", None).await.expect(400);
    node.client_of(&Persona::reader("alpha"));
    post(
        &node.client_of(&Persona::reader("alpha")),
        &id,
        &origin.url("image"),
        None,
    )
    .await
    .expect(403);
    post(
        &node.client_of(&Persona::member("beta")),
        &id,
        &origin.url("image"),
        None,
    )
    .await
    .expect(404);
    post(&owner, &id, &origin.url("image"), None)
        .await
        .expect(202);
    let path = format!("/v2/images/{id}/locations");
    owner.get(&path).await.expect(403);
    service.get(&path).await.expect(200);
}

#[tokio::test]
async fn ossa_2014_041_2015_002_host_files_are_no_locations_beside_an_http_store() {
    let (node, origin) = start().await;
    let client = node.client();
    origin.put("image", "data");
    let queued = client.created(json!({})).await;
    let active = client.created(json!({})).await;
    add(&client, &active, at(&origin.url("image")))
        .await
        .expect(200);
    for url in [
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "File:/etc/passwd",
        "filesystem:///etc/passwd",
        "FileSystem:///etc/passwd",
        "swift+config://x/y/z",
        "SWIFT+CONFIG://x/y/z",
        "http://127.0.0.1/a;ls",
        "http://127.0.0.1/`id`",
        "http://127.0.0.1/a\nls",
        "http://127.0.0.1/../etc/passwd",
    ] {
        for id in [&queued, &active] {
            add(&client, id, at(url)).await.expect(400);
            let replace = json!([{"op": "replace", "path": "/locations", "value": [at(url)]}]);
            client.patch(id, replace).await.expect(400);
        }
        let status = post(&client, &queued, url, None).await.status;
        assert!(matches!(status, 400 | 403), "{url}: {status}");
    }
    assert_eq!(client.show(&queued).await.field("status"), "queued");
    assert_eq!(client.download(&active).await.expect(200).text(), "data");
}

#[tokio::test]
async fn ossa_2026_004_lp_2161330_a_location_never_leads_inside() {
    let origin = Origin::start().await;
    origin.put("image", "data");
    // Loopback is allowed to nobody here.
    let node = setup()
        .set("import.uri_filter.allowed_hosts", Vec::<toml::Value>::new())
        .start()
        .await;
    let client = node.client();
    let id = client.created(json!({})).await;
    let inside = origin.faulty("ok", "image");
    let port = inside
        .split(':')
        .nth(2)
        .and_then(|rest| rest.split('/').next())
        .unwrap();
    for host in [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "127.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "0.0.0.0",
    ] {
        let url = format!("http://{host}:{port}/ok/image");
        add(&client, &id, at(&url)).await.expect(400);
        post(&client, &id, &url, None).await.expect(400);
    }
    // And no redirect leads there either.
    let node = setup().start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    for to in [
        format!("http://127.0.0.2:{port}/ok/image"),
        format!("http://2130706433:{port}/ok/image"),
        format!("http://[::ffff:127.0.0.1]:{port}/ok/image"),
        "http://169.254.169.254/ok/image".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        let url = format!("{}?{to}", origin.faulty("away", "image"));
        add(&client, &id, at(&url)).await.expect(400);
        post(&client, &id, &url, None).await.expect(400);
    }
    let seen = origin.seen().await;
    assert!(
        !seen.is_empty() && seen.iter().all(|target| target.starts_with("/away")),
        "{seen:?}"
    );
}

#[tokio::test]
async fn ossn_0078_what_cannot_be_fetched_looks_alike() {
    let (node, origin) = start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    origin.put("empty", "");
    let mut told = Vec::new();
    for url in [
        "http://127.0.0.1:1/closed".to_owned(),
        format!(
            "http://127.0.0.1:{}/",
            node.address().split(':').nth(1).unwrap()
        ),
        origin.url("missing"),
        origin.url("empty"),
        "http://169.254.169.254/filtered".to_owned(),
        "http://no-such-host.invalid/".to_owned(),
        "https://127.0.0.1:1/closed".to_owned(),
    ] {
        for answer in [
            add(&client, &id, at(&url)).await,
            post(&client, &id, &url, None).await,
        ] {
            told.push((answer.status, answer.text()));
        }
    }
    assert!(
        told.iter().all(|told_of_it| *told_of_it == told[0]),
        "{told:?}"
    );
    assert_eq!(told[0].0, 400);
}
