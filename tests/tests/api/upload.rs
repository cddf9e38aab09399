//! `PUT /v2/images/{id}/file` (image-api 1.4).

use bytes::Bytes;
use futures_util::stream;
use glimpse_tests::{
    Client, Node, Persona, Raw, Setup, eventually, md5_hex, random_bytes, sha512_hex,
};
use serde_json::{Value, json};

const MIB: usize = 1 << 20;

async fn assert_untouched(node: &Node, client: &Client, id: &str) {
    let image = client.show(id).await.expect(200).json();
    assert_eq!(image["status"], "queued", "{image}");
    for key in [
        "size",
        "virtual_size",
        "checksum",
        "os_hash_algo",
        "os_hash_value",
    ] {
        assert_eq!(image[key], Value::Null, "{key}");
    }
    client.download(id).await.expect(204);
    node.keeps(0).await;
}

#[tokio::test]
async fn every_size_around_a_chunk_comes_back_whole_with_its_hashes() {
    let node = Node::start().await;
    let client = node.client();
    for size in [0, 1, 511, 512, MIB - 1, MIB, MIB + 1, 3 * MIB, 5 * MIB + 17] {
        let data = random_bytes(size, size as u64);
        let id = client.active(json!({}), data.clone()).await;
        let image = client.show(&id).await.expect(200).json();
        assert_eq!(image["size"], size, "{size}");
        let virtual_size = if size > 0 { json!(size) } else { Value::Null };
        assert_eq!(image["virtual_size"], virtual_size, "{size}");
        assert_eq!(image["checksum"], md5_hex(&data), "{size}");
        assert_eq!(image["os_hash_value"], sha512_hex(&data), "{size}");
        let answer = client.download(&id).await.expect(200);
        assert!(answer.body == data, "{size}: other bytes came back");
    }
}

#[tokio::test]
async fn chunked_encoding_in_odd_pieces_is_the_same_upload() {
    let node = Node::start().await;
    let client = node.client();
    let data = random_bytes(2 * MIB + 3, 7);
    let mut pieces = Vec::new();
    let (mut at, mut length) = (0, 1);
    while at < data.len() {
        let end = (at + length).min(data.len());
        pieces.push(data.slice(at..end));
        at = end;
        length = length * 3 + 1;
    }
    let id = client.created(json!({})).await;
    client
        .upload_chunked(&id, stream::iter(pieces))
        .await
        .expect(204);
    assert!(client.download(&id).await.expect(200).body == data);
    let empty = client.created(json!({})).await;
    client
        .upload_chunked(&empty, stream::iter([]))
        .await
        .expect(204);
    let answer = client.download(&empty).await.expect(200);
    assert!(answer.body.is_empty());
    assert_eq!(
        answer.header("content-md5"),
        Some("d41d8cd98f00b204e9800998ecf8427e")
    );
}

#[tokio::test]
async fn zeros_and_repeats_come_back_as_they_were() {
    for thin in [false, true] {
        let node = Setup::new().store("thin_provisioning", thin).start().await;
        let client = node.client();
        let mut data = vec![0; 6 * MIB + 100];
        data[2 * MIB + 5] = 1;
        data[4 * MIB..5 * MIB].copy_from_slice(&random_bytes(MIB, 1));
        let data = Bytes::from(data);
        let id = client.active(json!({}), data.clone()).await;
        let again = client.active(json!({}), data.clone()).await;
        let zeros = client.active(json!({}), vec![0; 3 * MIB]).await;
        assert!(
            client.download(&id).await.expect(200).body == data,
            "thin {thin}"
        );
        assert!(
            client.download(&again).await.expect(200).body == data,
            "thin {thin}"
        );
        assert!(client.download(&zeros).await.expect(200).body == vec![0; 3 * MIB]);
        client.remove(&id).await.expect(204);
        node.keeps(2).await;
        assert!(
            client.download(&again).await.expect(200).body == data,
            "thin {thin}"
        );
    }
}

#[tokio::test]
async fn the_content_type_must_be_octet_stream() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    let path = format!("/v2/images/{id}/file");
    client
        .call("PUT", &path)
        .body("data")
        .send()
        .await
        .expect(415);
    for media_type in ["text/plain", "application/json", ""] {
        let call = client.call("PUT", &path).header("content-type", media_type);
        call.body("data").send().await.expect(415);
    }
    assert_untouched(&node, &client, &id).await;
}

#[tokio::test]
async fn formats_must_be_set_before() {
    let node = Node::start().await;
    let client = node.client();
    for body in [
        json!({}),
        json!({"disk_format": "raw"}),
        json!({"container_format": "bare"}),
    ] {
        let id = client.create(body).await.expect(201).field("id");
        client.upload(&id, "data").await.expect(400);
        assert_untouched(&node, &client, &id).await;
    }
}

#[tokio::test]
async fn data_is_taken_once() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.active(json!({}), "first").await;
    let refused = client.upload(&id, "second").await.expect(409);
    assert!(refused.text().contains("active"), "{}", refused.text());
    assert_eq!(client.download(&id).await.expect(200).text(), "first");
}

#[tokio::test]
async fn of_two_uploads_at_once_one_wins_and_the_other_leaves_nothing() {
    let node = Node::start().await;
    let client = node.client();
    for round in 0..10 {
        let id = client.created(json!({})).await;
        let data = [
            random_bytes(300_000, round),
            random_bytes(300_000, round + 100),
        ];
        let (one, two) = tokio::join!(
            client.upload(&id, data[0].clone()),
            client.upload(&id, data[1].clone())
        );
        let statuses = [one.status, two.status];
        assert!(
            statuses == [204, 409] || statuses == [409, 204],
            "{statuses:?}"
        );
        let winner = usize::from(statuses[0] != 204);
        assert!(client.download(&id).await.expect(200).body == data[winner]);
    }
    node.keeps(10).await;
}

#[tokio::test]
async fn the_declared_size_must_be_the_real_one() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    for declared in ["3", "5", "x", "-1", "1.5", ""] {
        let pieces = stream::iter([Bytes::from_static(b"data")]);
        let call = client.file(&id).header("x-openstack-image-size", declared);
        call.stream(pieces).send().await.expect(400);
        assert_untouched(&node, &client, &id).await;
    }
    let call = client.file(&id).header("x-openstack-image-size", "3");
    call.body("data").send().await.expect(400);
    assert_untouched(&node, &client, &id).await;
    let call = client.file(&id).header("x-openstack-image-size", "4");
    call.body("data").send().await.expect(204);
}

#[tokio::test]
async fn the_store_can_be_chosen_and_must_exist() {
    let node = Setup::new().more_stores("second").start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    client
        .file(&id)
        .header("x-image-meta-store", "third")
        .body("data")
        .send()
        .await
        .expect(400);
    assert_untouched(&node, &client, &id).await;
    client
        .file(&id)
        .header("x-image-meta-store", "second")
        .body("data")
        .send()
        .await
        .expect(204);
    assert_eq!(client.show(&id).await.expect(200).field("stores"), "second");
    assert!(node.stored_files().is_empty());
    assert_eq!(client.download(&id).await.expect(200).text(), "data");
}

#[tokio::test]
async fn a_cut_at_any_byte_leaves_the_image_queued_and_a_second_put_works() {
    let node = Node::start().await;
    let client = node.client();
    let data = random_bytes(3 * MIB, 9);
    for (chunked, sent) in [
        (false, 0),
        (false, 1),
        (false, MIB),
        (false, 3 * MIB - 1),
        (true, 0),
        (true, 2 * MIB),
    ] {
        let id = client.created(json!({})).await;
        let mut connection = Raw::connect(&node.address()).await;
        let framing = if chunked {
            "transfer-encoding: chunked".to_owned()
        } else {
            format!("content-length: {}", data.len())
        };
        connection
            .send(format!(
                "PUT /v2/images/{id}/file HTTP/1.1\r\nhost: a\r\n\
                 content-type: application/octet-stream\r\n{framing}\r\n\r\n"
            ))
            .await;
        if chunked {
            connection.send(format!("{:x}\r\n", data.len())).await;
        }
        connection.send(&data[..sent]).await;
        // The head alone begins the upload: else the cut could be over before it began.
        client.reaches(&id, "saving").await;
        drop(connection);
        client.reaches(&id, "queued").await;
        assert_untouched(&node, &client, &id).await;
        client.upload(&id, data.clone()).await.expect(204);
        assert!(client.download(&id).await.expect(200).body == data);
        client.remove(&id).await.expect(204);
        node.keeps(0).await;
    }
}

#[tokio::test]
async fn deleting_during_an_upload_leaves_nothing() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let upload = tokio::spawn({
        let (client, id) = (client.clone(), id.clone());
        async move {
            let pieces = stream::unfold(receiver, |mut receiver| async move {
                receiver.recv().await.map(|piece| (piece, receiver))
            });
            client.file(&id).stream(pieces).attempt().await
        }
    });
    sender.send(random_bytes(2 * MIB, 1)).await.unwrap();
    // With all of it taken nothing unread resets the connection when the node closes it.
    eventually("both megabytes in the store", async || {
        let files = node.stored_files();
        let length = std::fs::metadata(files.first()?).ok()?.len();
        (length == 2 * MIB as u64).then_some(())
    })
    .await;
    client.remove(&id).await.expect(204);
    // Told without another byte from the client.
    upload.await.unwrap().unwrap().expect(410);
    drop(sender);
    client.show(&id).await.expect(404);
    node.keeps(0).await;
}

#[tokio::test]
async fn only_those_who_may_modify_may_upload() {
    let node = Setup::trusted().start().await;
    let owner = node.client_of(&Persona::member("alpha"));
    let other = node.client_of(&Persona::member("beta"));
    let private = owner.created(json!({"visibility": "private"})).await;
    let community = owner.created(json!({"visibility": "community"})).await;
    other.upload(&private, "x").await.expect(404);
    other.upload(&community, "x").await.expect(403);
    node.client_of(&Persona::reader("alpha"))
        .upload(&private, "x")
        .await
        .expect(403);
    owner.upload(&private, "x").await.expect(204);
}

#[tokio::test]
async fn expect_100_continue_is_answered() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({})).await;
    let mut connection = Raw::connect(&node.address()).await;
    connection
        .send(format!(
            "PUT /v2/images/{id}/file HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
             content-type: application/octet-stream\r\ncontent-length: 4\r\n\
             expect: 100-continue\r\n\r\n"
        ))
        .await;
    let interim = connection.head().await.unwrap();
    assert!(interim.starts_with("HTTP/1.1 100"), "{interim}");
    connection.send("data").await;
    let head = connection.head().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 204"), "{head}");
    assert_eq!(client.download(&id).await.expect(200).text(), "data");
}
