//! `GET` and `HEAD /v2/images/{id}/file` (image-api 1.4, RFC 9110 13 and 14).

use bytes::Bytes;
use glimpse_tests::{Client, Node, Persona, Random, Setup, exchange, md5_hex, random_bytes};
use serde_json::json;

const MIB: usize = 1 << 20;

async fn image(node: &Node, size: usize) -> (Client, String, Bytes) {
    let client = node.client();
    let data = random_bytes(size, 42);
    let id = client.active(json!({}), data.clone()).await;
    (client, id, data)
}

#[tokio::test]
async fn a_whole_image_comes_with_its_headers() {
    let node = Node::start().await;
    let (client, id, data) = image(&node, 100).await;
    let answer = client.download(&id).await.expect(200);
    assert_eq!(answer.body, data);
    assert_eq!(
        answer.header("content-type"),
        Some("application/octet-stream")
    );
    assert_eq!(answer.header("content-length"), Some("100"));
    assert_eq!(answer.header("content-md5"), Some(md5_hex(&data).as_str()));
    assert_eq!(answer.header("accept-ranges"), Some("bytes"));
    let etag = answer.header("etag").unwrap();
    assert!(
        etag.starts_with('"') && etag.ends_with('"') && etag.len() > 10,
        "{etag}"
    );
}

#[tokio::test]
async fn an_image_without_data_is_204() {
    let node = Node::start().await;
    let id = node.client().created(json!({})).await;
    let answer = node.client().download(&id).await.expect(204);
    assert!(answer.body.is_empty());
    node.client().range(&id, "bytes=0-1").await.expect(204);
}

#[tokio::test]
async fn single_ranges_are_exact() {
    let node = Node::start().await;
    let (client, id, data) = image(&node, 100).await;
    for (range, from, to) in [
        ("bytes=0-0", 0, 0),
        ("bytes=0-99", 0, 99),
        ("bytes=10-19", 10, 19),
        ("bytes=99-", 99, 99),
        ("bytes=50-", 50, 99),
        ("bytes=90-1000", 90, 99),
        ("bytes=0-18446744073709551615", 0, 99),
        ("bytes=-1", 99, 99),
        ("bytes=-100", 0, 99),
        ("bytes=-1000", 0, 99),
    ] {
        let answer = client.range(&id, range).await.expect(206);
        assert_eq!(answer.body, data.slice(from..=to), "{range}");
        let shown = format!("bytes {from}-{to}/100");
        assert_eq!(
            answer.header("content-range"),
            Some(shown.as_str()),
            "{range}"
        );
        assert_eq!(
            answer.header("content-length"),
            Some((to - from + 1).to_string().as_str())
        );
        assert_eq!(
            answer.header("content-md5"),
            Some(md5_hex(&data).as_str()),
            "{range}"
        );
    }
}

#[tokio::test]
async fn unsatisfiable_and_malformed_ranges_are_416_with_the_size() {
    let node = Node::start().await;
    let (client, id, _) = image(&node, 100).await;
    for range in [
        "bytes=100-",
        "bytes=100-200",
        "bytes=5-2",
        "bytes=-0",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=1",
        "items=0-1",
        "nonsense",
        "bytes=0x1-0x2",
        "bytes=1-2-3",
        "bytes=--1",
        "bytes=99999999999999999999999-",
    ] {
        let answer = client.range(&id, range).await;
        assert_eq!(answer.status, 416, "{range}: {}", answer.text());
        assert_eq!(
            answer.header("content-range"),
            Some("bytes */100"),
            "{range}"
        );
    }
    let empty = client.active(json!({}), "").await;
    for range in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
        client.range(&empty, range).await.expect(416);
    }
}

#[tokio::test]
async fn several_ranges_are_400() {
    let node = Node::start().await;
    let (client, id, _) = image(&node, 100).await;
    client.range(&id, "bytes=0-1,5-6").await.expect(400);
}

#[tokio::test]
async fn a_store_may_be_preferred_if_it_exists() {
    let node = Setup::trusted().more_stores("second").start().await;
    let client = node.client_of(&Persona::member("alpha"));
    let id = client.active(json!({}), "bytes").await;
    for names in ["local", "second,local", "second", "", "local%2Csecond"] {
        let path = format!("/v2/images/{id}/file?prefer={names}");
        let answer = client.get(&path).await.expect(200);
        assert_eq!(answer.text(), "bytes", "{names}");
    }
    for names in ["third", "local,third"] {
        let path = format!("/v2/images/{id}/file?prefer={names}");
        client.get(&path).await.expect(400);
    }
}

#[tokio::test]
async fn the_legacy_request_form_of_content_range_is_a_range() {
    let node = Node::start().await;
    let (client, id, data) = image(&node, 100).await;
    let path = format!("/v2/images/{id}/file");
    let ask = async |value: &str| {
        client
            .call("GET", &path)
            .header("content-range", value)
            .send()
            .await
    };
    let answer = ask("bytes 2-5/*").await.expect(206);
    assert_eq!(answer.body, data.slice(2..=5));
    assert_eq!(answer.header("content-range"), Some("bytes 2-5/100"));
    ask("bytes 100-105/*").await.expect(416);
}

#[tokio::test]
async fn head_tells_what_get_would_and_sends_nothing() {
    let node = Node::start().await;
    let (client, id, data) = image(&node, 1000).await;
    let request =
        format!("HEAD /v2/images/{id}/file HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let (status, head, body) = exchange(&node.address(), &request).await;
    assert_eq!(status, 200);
    assert!(body.is_empty());
    let get = client.download(&id).await.expect(200);
    for name in [
        "content-length",
        "content-md5",
        "accept-ranges",
        "etag",
        "content-type",
    ] {
        let line = format!("{name}: {}", get.header(name).unwrap().to_lowercase());
        assert!(head.contains(&line), "no {line} in {head}");
    }
    assert_eq!(get.body, data);
    let unknown = "HEAD /v2/images/11111111-2222-3333-4444-555555555555/file HTTP/1.1\r\n\
                   host: a\r\nconnection: close\r\n\r\n";
    let (status, _, body) = exchange(&node.address(), unknown).await;
    assert_eq!((status, body.len()), (404, 0));
}

#[tokio::test]
async fn a_copy_that_is_still_right_is_not_sent_again() {
    let node = Node::start().await;
    let (client, id, data) = image(&node, 100).await;
    let etag = client
        .download(&id)
        .await
        .expect(200)
        .header("etag")
        .unwrap()
        .to_owned();
    let path = format!("/v2/images/{id}/file");
    for value in [
        etag.clone(),
        "*".to_owned(),
        format!("\"x\", {etag}"),
        format!("W/{etag}"),
    ] {
        let call = client.call("GET", &path).header("if-none-match", &value);
        let answer = call.send().await.expect(304);
        assert!(answer.body.is_empty());
        assert_eq!(answer.header("etag"), Some(etag.as_str()), "{value}");
    }
    let answer = client
        .call("GET", &path)
        .header("if-none-match", "\"x\"")
        .send()
        .await;
    assert_eq!(answer.expect(200).body, data);
    client
        .call("GET", &path)
        .header("if-match", &etag)
        .send()
        .await
        .expect(200);
    client
        .call("GET", &path)
        .header("if-match", "\"x\"")
        .send()
        .await
        .expect(412);
    // The data's tag does not move with the record.
    client
        .replace(&id, "name", json!("renamed"))
        .await
        .expect(200);
    assert_eq!(
        client.download(&id).await.expect(200).header("etag"),
        Some(etag.as_str())
    );
}

#[tokio::test]
async fn if_range_decides_between_the_part_and_the_whole() {
    let node = Node::start().await;
    let (client, id, data) = image(&node, 100).await;
    let etag = client
        .download(&id)
        .await
        .expect(200)
        .header("etag")
        .unwrap()
        .to_owned();
    let path = format!("/v2/images/{id}/file");
    let ask = async |tag: &str| {
        let call = client.call("GET", &path).header("range", "bytes=10-19");
        call.header("if-range", tag).send().await
    };
    assert_eq!(ask(&etag).await.expect(206).body, data.slice(10..20));
    for other in [
        "\"other\"",
        &format!("W/{etag}"),
        "Wed, 21 Oct 2015 07:28:00 GMT",
    ] {
        assert_eq!(ask(other).await.expect(200).body, data, "{other}");
    }
}

#[tokio::test]
async fn equal_data_has_an_equal_tag_and_other_data_another() {
    let node = Node::start().await;
    let client = node.client();
    let mut tags = Vec::new();
    for data in ["same", "same", "diff"] {
        let id = client.active(json!({}), data).await;
        tags.push(
            client
                .download(&id)
                .await
                .expect(200)
                .header("etag")
                .unwrap()
                .to_owned(),
        );
    }
    assert_eq!(tags[0], tags[1]);
    assert_ne!(tags[0], tags[2]);
}

#[tokio::test]
async fn random_ranges_across_chunks_are_what_was_uploaded() {
    let node = Node::start().await;
    let size = 5 * MIB + 321;
    let (client, id, data) = image(&node, size).await;
    let mut random = Random::from_env("GLIMPSE_RANGE_SEED");
    for round in 0..200 {
        let from = match round % 4 {
            0 => (random.below(5) + 1) * MIB - 1,
            1 => random.below(5) * MIB,
            _ => random.below(size),
        };
        let longest = if round % 2 == 0 { 100 } else { 3 * MIB };
        let to = (from + random.below(longest)).min(size - 1);
        let answer = client
            .range(&id, &format!("bytes={from}-{to}"))
            .await
            .expect(206);
        assert!(answer.body == data.slice(from..=to), "bytes={from}-{to}");
    }
}

#[tokio::test]
async fn many_readers_of_a_cold_image_all_get_it_right() {
    let mut node = Node::start().await;
    let (client, id, data) = image(&node, 8 * MIB).await;
    node.stop().await;
    std::fs::remove_dir_all(node.data().join("cache")).unwrap();
    node.restart().await;
    let mut readers = Vec::new();
    for reader in 0..16 {
        let (client, id, data) = (client.clone(), id.clone(), data.clone());
        readers.push(tokio::spawn(async move {
            if reader % 2 == 0 {
                assert!(client.download(&id).await.expect(200).body == data);
            } else {
                let from = reader * 400_000;
                let answer = client
                    .range(&id, &format!("bytes={from}-"))
                    .await
                    .expect(206);
                assert!(answer.body == data.slice(from..));
            }
        }));
    }
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test]
async fn images_beyond_the_pool_are_served_and_the_pool_keeps_its_bound() {
    let node = glimpse_tests::Setup::new()
        .set("cache.size", "8MiB")
        .start()
        .await;
    let client = node.client();
    let mut images = Vec::new();
    for seed in 0..6 {
        let data = random_bytes(5 * MIB, seed);
        images.push((client.active(json!({}), data.clone()).await, data));
    }
    for _ in 0..2 {
        for (id, data) in &images {
            assert!(client.download(id).await.expect(200).body == data);
        }
    }
    let mut readers = Vec::new();
    for (id, data) in images {
        let client = client.clone();
        readers.push(tokio::spawn(async move {
            assert!(client.download(&id).await.expect(200).body == data);
        }));
    }
    for reader in readers {
        reader.await.unwrap();
    }
    let mut total = 0;
    let mut folders = vec![node.data().join("cache")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                total += entry.metadata().unwrap().len();
            }
        }
    }
    // The bound is on chunk data; the index beside it is small.
    assert!(total <= 12 * MIB as u64, "the pool takes {total} bytes");
}

#[tokio::test]
async fn a_reader_that_leaves_does_not_disturb_others() {
    let node = Node::start().await;
    let (client, id, data) = image(&node, 8 * MIB).await;
    for _ in 0..20 {
        let response = client
            .call("GET", &format!("/v2/images/{id}/file"))
            .open()
            .await;
        drop(response);
    }
    assert!(client.download(&id).await.expect(200).body == data);
}
