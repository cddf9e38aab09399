//! Hostile requests to the real node: it answers each with a status of its own choosing, never
//! with a 500, never dies, and does not grow. `GLIMPSE_FUZZ_SECONDS` is the budget of each test,
//! `GLIMPSE_FUZZ_SEED` repeats a run.

use std::time::{Duration, Instant};

use glimpse_tests::{Client, Node, PATCH_V20, PATCH_V21, Random, Raw, random_bytes, samples};
use serde_json::{Value, json};

/// What anonymous memory may grow by under a flood of nonsense.
const GROWTH: u64 = 128 << 20;

struct Budget {
    until: Instant,
    random: Random,
}

impl Budget {
    fn new() -> Self {
        let seconds: u64 =
            std::env::var("GLIMPSE_FUZZ_SECONDS").map_or(2, |text| text.parse().expect("a number"));
        Self {
            until: Instant::now() + Duration::from_secs(seconds),
            random: Random::from_env("GLIMPSE_FUZZ_SEED"),
        }
    }

    fn is_left(&self) -> bool {
        Instant::now() < self.until
    }
}

/// A text made of pieces that mean something, bent a little.
fn bent(random: &mut Random, pieces: &[&str]) -> String {
    let mut text = String::new();
    for _ in 0..=random.below(6) {
        match random.below(12) {
            0 => text.push_str(&random.below(usize::MAX).to_string()),
            1 => text.push_str(&"9".repeat(1 + random.below(40))),
            2 => text.push(char::from(
                b' ' + u8::try_from(random.below(95)).unwrap_or(0),
            )),
            _ => text.push_str(pieces[random.below(pieces.len())]),
        }
    }
    text
}

/// The text as it may stand in a query or path.
fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[tokio::test]
async fn fuzz_of_ranges_and_preconditions() {
    let mut node = Node::start().await;
    let client = node.client();
    let size = 3_000_000;
    let data = random_bytes(size, 1);
    let id = client.active(json!({}), data.clone()).await;
    let path = format!("/v2/images/{id}/file");
    let etag = client
        .download(&id)
        .await
        .header("etag")
        .unwrap()
        .to_owned();
    let pieces = [
        "bytes",
        "=",
        "-",
        "0",
        "1",
        "2999999",
        "3000000",
        ",",
        " ",
        "*",
        "/",
        "\"",
        "W/",
        "abc",
        etag.as_str(),
        "bytes=0-1",
        "bytes=-5",
        "bytes 0-1/*",
        "18446744073709551615",
    ];
    let mut budget = Budget::new();
    while budget.is_left() {
        let mut call = client.call("GET", &path);
        for name in [
            "range",
            "if-range",
            "if-none-match",
            "if-match",
            "content-range",
        ] {
            if budget.random.one_in(2) {
                call = call.header(name, &bent(&mut budget.random, &pieces));
            }
        }
        let answer = call.send().await;
        match answer.status {
            200 => assert!(answer.body == data),
            206 => {
                let shown = answer.header("content-range").unwrap();
                let (from, to) = shown["bytes ".len()..].split_once('-').unwrap();
                let from: usize = from.parse().unwrap();
                let to: usize = to.split_once('/').unwrap().0.parse().unwrap();
                assert!(answer.body == data.slice(from..=to), "{shown}");
            }
            304 | 400 | 412 | 416 => {}
            other => panic!("{other}: {}", answer.text()),
        }
    }
    assert!(node.is_running());
}

#[tokio::test]
async fn fuzz_of_list_queries() {
    let mut node = Node::start().await;
    let client = node.client();
    let mut ids = Vec::new();
    for number in 0..30 {
        let name = ["a", "b,c", "d\"e", "in:f", "ü"][number % 5];
        let body = json!({"name": name, "tags": ["t", "u"], "color": "red", "min_ram": number});
        ids.push(client.created(body).await);
    }
    let keys = [
        "name",
        "status",
        "owner",
        "visibility",
        "member_status",
        "limit",
        "marker",
        "sort",
        "sort_key",
        "sort_dir",
        "tag",
        "size_min",
        "size_max",
        "min_ram_max",
        "created_at",
        "updated_at",
        "protected",
        "os_hidden",
        "id",
        "color",
        "disk_format",
        "container_format",
        "checksum",
        "changes-since",
        "foo_min",
        "",
        "is_public",
        "deleted",
    ];
    let values = [
        "a",
        "in:",
        "eq:",
        "neq:",
        "gt:",
        "gte:",
        "lt:",
        "lte:",
        ",",
        "\"",
        "b,c",
        "asc",
        "desc",
        ":",
        "name",
        "created_at",
        "size",
        "true",
        "false",
        "2024-02-30T25:61:61Z",
        "2024-01-01T00:00:00Z",
        "9999-12-31T23:59:59+14:00",
        "all",
        "shared",
        "accepted",
        "-1",
        "0",
        "1",
        "25",
        "\u{0}",
        "\u{1f600}",
        "ü",
        ids[3].as_str(),
    ];
    let mut budget = Budget::new();
    let before = node.anonymous_memory();
    while budget.is_left() {
        let mut query = Vec::new();
        for _ in 0..=budget.random.below(5) {
            let key = escaped(keys[budget.random.below(keys.len())]);
            let value = bent(&mut budget.random, &values);
            query.push(match budget.random.below(20) {
                0 => key,
                1 => format!("{key}=%zz%"),
                2 => format!("{key}=%ff%fe"),
                _ => format!("{key}={}", escaped(&value)),
            });
        }
        let query = query.join("&");
        let answer = client.list(&query).await;
        assert!(
            matches!(answer.status, 200 | 400),
            "{query}: {} {}",
            answer.status,
            answer.text()
        );
        if answer.status == 200 {
            let next = answer.json();
            let Some(next) = next.get("next").and_then(Value::as_str) else {
                continue;
            };
            let answer = client.get(next).await;
            assert_eq!(
                answer.status,
                200,
                "the next page of {query}: {}",
                answer.text()
            );
        }
    }
    assert!(node.is_running());
    assert!(node.anonymous_memory() < before + GROWTH);
}

fn any_value(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 7 } else { 9 }) {
        0 => Value::Null,
        1 => json!(random.one_in(2)),
        2 => json!(random.below(usize::MAX)),
        3 => json!(-1.5e300),
        4 => json!("x".repeat(random.below(600))),
        5 => json!(bent(
            random,
            &[
                "raw",
                "bare",
                "shared",
                "\u{1f600}",
                "\u{0}",
                "ü",
                "/",
                "~1"
            ]
        )),
        6 => json!(-5),
        7 => (0..random.below(5))
            .map(|_| any_value(random, depth - 1))
            .collect(),
        _ => {
            let mut object = serde_json::Map::new();
            for _ in 0..random.below(5) {
                let key = bent(random, &["name", "op", "path", "value", "id", "tags", ""]);
                object.insert(key, any_value(random, depth - 1));
            }
            Value::Object(object)
        }
    }
}

#[tokio::test]
async fn fuzz_of_patches_and_creates() {
    let mut node = Node::start().await;
    let client = node.client();
    let mut id = client.created(json!({"color": "red", "tags": ["t"]})).await;
    let paths = [
        "/name",
        "/color",
        "/tags",
        "/tags/-",
        "/locations",
        "/locations/0",
        "/locations/-",
        "/",
        "//",
        "/~0",
        "/~1",
        "/~2",
        "/~",
        "/status",
        "/visibility",
        "/owner",
        "/min_ram",
        "/protected",
        "/os_glance_x",
        "/id",
        "/a/b",
        "",
        "name",
        "/\u{1f600}",
        "/ü",
    ];
    let ops = [
        "add", "replace", "remove", "test", "move", "copy", "", "ADD",
    ];
    let mut budget = Budget::new();
    let before = node.anonymous_memory();
    while budget.is_left() {
        let random = &mut budget.random;
        let old = random.one_in(3);
        let document: Vec<Value> = (0..random.below(5))
            .map(|_| {
                let (op, path) = (*random.pick(&ops), *random.pick(&paths));
                let value = any_value(random, 3);
                match random.below(8) {
                    0 => value,
                    1 => json!({"op": op, "path": path}),
                    _ if old => json!({op: path, "value": value}),
                    _ => json!({"op": op, "path": path, "value": value}),
                }
            })
            .collect();
        let mut text = Value::Array(document).to_string();
        if random.one_in(10) {
            let at = random.below(text.len() + 1);
            text.truncate(floor(&text, at));
        }
        let media_type = if old { PATCH_V20 } else { PATCH_V21 };
        let answer = client
            .call("PATCH", &format!("/v2/images/{id}"))
            .header("content-type", media_type)
            .body(text.clone())
            .send()
            .await;
        let expected = [200, 400, 403, 409, 413];
        assert!(
            expected.contains(&answer.status),
            "{text}: {} {}",
            answer.status,
            answer.text()
        );

        let body = any_value(&mut budget.random, 4);
        let answer = client.create(body.clone()).await;
        let expected = [201, 400, 403, 409, 413];
        assert!(
            expected.contains(&answer.status),
            "{body}: {} {}",
            answer.status,
            answer.text()
        );
        if answer.status == 201 {
            let made = answer.field("id");
            let gone = std::mem::replace(&mut id, made);
            client.replace(&gone, "protected", json!(false)).await;
            client.remove(&gone).await;
        }
    }
    assert!(node.is_running());
    assert!(node.anonymous_memory() < before + GROWTH);
}

fn floor(text: &str, at: usize) -> usize {
    (0..=at)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

#[tokio::test]
async fn fuzz_of_disk_images() {
    let mut node = Node::start().await;
    let client = node.client();
    let mut vhdx = random_bytes(400_000, 1).to_vec();
    vhdx[..8].copy_from_slice(b"vhdxfile");
    vhdx[65_536..65_540].copy_from_slice(b"head");
    vhdx[196_608..196_612].copy_from_slice(b"regi");
    let originals: [(&str, Vec<u8>); 9] = [
        ("qcow2", samples::qcow2(1 << 30)),
        ("vmdk", samples::good_vmdk()),
        ("vhdx", vhdx),
        ("vhd", samples::vhd()),
        ("vdi", samples::vdi()),
        ("iso", samples::iso()),
        ("raw", samples::gpt(0, 1)),
        ("raw", samples::luks(1)),
        ("raw", samples::qed()),
    ];
    let mut budget = Budget::new();
    let before = node.anonymous_memory();
    while budget.is_left() {
        let (format, original) = originals[budget.random.below(originals.len())].clone();
        let data = mutated(&mut budget.random, original);
        let id = client.created(json!({"disk_format": format})).await;
        let answer = client.upload(&id, data.clone()).await;
        assert!(
            matches!(answer.status, 204 | 415),
            "{}: {}",
            answer.status,
            answer.text()
        );
        let stored = client.download(&id).await;
        if answer.status == 204 {
            assert!(stored.expect(200).body == data);
        } else {
            stored.expect(204);
        }
        client.remove(&id).await.expect(204);
    }
    assert!(node.is_running());
    let grown = node.anonymous_memory().saturating_sub(before);
    assert!(grown < GROWTH, "{grown} bytes more than before");
}

/// Bytes, fields and ends of an image changed, mostly in its first sectors.
fn mutated(random: &mut Random, mut data: Vec<u8>) -> Vec<u8> {
    for _ in 0..=random.below(8) {
        if data.is_empty() {
            break;
        }
        let reach = if random.one_in(3) {
            data.len()
        } else {
            data.len().min(1024)
        };
        let at = random.below(reach);
        let width = [1, 2, 4, 8][random.below(4)].min(data.len() - at);
        let fill = [0, 0xff, 0x7f, 1][random.below(4)];
        match random.below(6) {
            0 => data.truncate(at),
            1 => data[at..at + width].fill(fill),
            2 => data[at] ^= 1 << random.below(8),
            3 => {
                let piece = random.bytes(width);
                data[at..at + width].copy_from_slice(&piece);
            }
            4 => data.extend_from_slice(&random_bytes(random.below(5000), 3)),
            _ => data[at] = data[at].wrapping_add(1),
        }
    }
    data
}

#[tokio::test]
async fn fuzz_of_the_wire() {
    let mut node = Node::start().await;
    let client = node.client();
    let id = client.active(json!({}), "data").await;
    let pieces = [
        "GET ",
        "PUT ",
        "POST ",
        "HEAD ",
        "/v2/images",
        "/",
        " HTTP/1.1",
        "\r\n",
        "\r\n\r\n",
        "host: a\r\n",
        "content-length: 5\r\n",
        "content-length: 99999999999999999999\r\n",
        "transfer-encoding: chunked\r\n",
        "range: bytes=0-\r\n",
        "5\r\nhello\r\n",
        "0\r\n\r\n",
        "expect: 100-continue\r\n",
        "connection: close\r\n",
        "\0",
        "ffffffffffffffff\r\n",
        id.as_str(),
        "/file",
        "x: y\r\n",
        "%00",
        "%2F",
        "?limit=",
        "content-type: application/octet-stream\r\n",
    ];
    let mut budget = Budget::new();
    let mut heard = 0;
    while budget.is_left() {
        let mut connection = Raw::connect(&node.address()).await;
        let mut request = if budget.random.one_in(2) {
            format!("GET /v2/images/{id} HTTP/1.1\r\nhost: a\r\n")
        } else {
            String::new()
        };
        for _ in 0..budget.random.below(12) {
            request.push_str(pieces[budget.random.below(pieces.len())]);
        }
        connection.send(&request).await;
        // Some leave at once; the others hear what the node makes of it.
        if budget.random.one_in(4) {
            continue;
        }
        connection.end().await;
        let answers = connection.rest().await;
        let text = String::from_utf8_lossy(&answers);
        assert!(
            answers.is_empty() || text.starts_with("HTTP/1."),
            "{request:?}: {text:?}"
        );
        // Answers follow each other without a line's end between a body and the next head.
        let failed = text.contains("HTTP/1.1 5") || text.contains("HTTP/1.0 5");
        assert!(!failed, "{request:?}: {text:?}");
        heard += usize::from(!answers.is_empty());
    }
    well(&client, &id).await;
    assert!(node.is_running());
    assert!(heard > 10, "hardly any request was answered");
}

async fn well(client: &Client, id: &str) {
    assert_eq!(client.download(id).await.expect(200).text(), "data");
    client.list("").await.expect(200);
}
