//! Negative tests named by the advisories and notes that they come from (image-api 11).

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use glimpse_tests::{Client, Node, Persona, Setup, eventually, random_bytes, samples};
use serde_json::json;

const MIB: usize = 1 << 20;

async fn upload_as(client: &Client, format: &str, data: Vec<u8>) -> u16 {
    let id = client.created(json!({"disk_format": format})).await;
    client.upload(&id, data).await.status
}

#[tokio::test]
async fn ossa_2012_017_a_foreign_delete_is_refused_before_it_reaches_the_store() {
    let node = Setup::trusted().start().await;
    let admin = node.client_of(&Persona::admin());
    let owner = node.client_of(&Persona::member("alpha"));
    let other = node.client_of(&Persona::member("beta"));
    let public = admin
        .active(json!({"visibility": "public", "owner": "alpha"}), "bytes")
        .await;
    let community = owner
        .active(json!({"visibility": "community"}), "bytes")
        .await;
    let shared = owner.active(json!({"visibility": "shared"}), "bytes").await;
    owner.share(&shared, "beta").await.expect(200);
    let private = owner
        .active(json!({"visibility": "private"}), "bytes")
        .await;
    for (id, status) in [
        (&public, 403),
        (&community, 403),
        (&shared, 403),
        (&private, 404),
    ] {
        other.remove(id).await.expect(status);
        assert_eq!(owner.download(id).await.expect(200).text(), "bytes");
    }
    assert_eq!(node.stored_files().len(), 4);
}

#[tokio::test]
async fn ossa_2013_007_a_warm_download_carries_no_location() {
    let node = Setup::trusted().start().await;
    let owner = node.client_of(&Persona::member("alpha"));
    let id = owner.active(json!({}), "bytes").await;
    for _ in 0..2 {
        let answer = owner.download(&id).await.expect(200);
        for (name, value) in &answer.headers {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            assert!(!name.as_str().contains("location"), "{name}: {value}");
            assert!(
                !value.contains("file://") && !value.contains("/images/"),
                "{name}: {value}"
            );
        }
    }
}

#[tokio::test]
async fn ossa_2013_027_the_download_policy_holds_for_warm_data_and_ranges() {
    let setup = Setup::trusted();
    let policy = setup.folder().join("policy.yaml");
    std::fs::write(
        &policy,
        "\"download_image\": \"role:admin or role:trusted\"\n",
    )
    .unwrap();
    let node = setup
        .set("auth.policy_file", policy.to_string_lossy().into_owned())
        .start()
        .await;
    let member = node.client_of(&Persona::member("alpha"));
    let trusted = node.client_of(&Persona::new("alpha", &["member", "reader", "trusted"]));
    let id = member.active(json!({}), "bytes").await;
    for _ in 0..2 {
        assert_eq!(trusted.download(&id).await.expect(200).text(), "bytes");
        member.download(&id).await.expect(403);
        member.range(&id, "bytes=0-1").await.expect(403);
        let path = format!("/v2/images/{id}/file");
        member.call("HEAD", &path).send().await.expect(403);
        let etag = trusted
            .download(&id)
            .await
            .header("etag")
            .unwrap()
            .to_owned();
        member
            .call("GET", &path)
            .header("if-none-match", &etag)
            .send()
            .await
            .expect(403);
    }
}

#[tokio::test]
async fn ossa_2014_012_a_location_is_never_a_command() {
    for shown in [false, true] {
        let setup = Setup::new().set("api.show_multiple_locations", shown);
        let marker = setup.folder().join("executed");
        let node = setup.start().await;
        let client = node.client();
        let queued = client.created(json!({})).await;
        let active = client.active(json!({}), "bytes").await;
        let touch = format!("touch {}", marker.display());
        for url in [
            format!("sheepdog://127.0.0.1:7000;{touch};image"),
            format!("sheepdog://image;{touch}"),
            format!("sheepdog://$({touch})"),
            format!("file:///tmp/x;{touch}"),
            format!("file:///tmp/`{touch}`"),
            format!("file:///tmp/$({touch})"),
            format!("rbd://a/b/c/d|{touch}"),
            format!("http://127.0.0.1/&& {touch} &&"),
            format!("{touch}\n{touch}"),
        ] {
            let location = json!({"url": url, "metadata": {}});
            for id in [&queued, &active] {
                for document in [
                    json!([{"op": "add", "path": "/locations/-", "value": location}]),
                    json!([{"op": "add", "path": "/locations/0", "value": location}]),
                    json!([{"op": "replace", "path": "/locations", "value": [location]}]),
                ] {
                    let answer = client.patch(id, document).await;
                    let refused = matches!(answer.status, 400 | 403);
                    assert!(refused, "{url}: {} {}", answer.status, answer.text());
                }
                let path = format!("/v2/images/{id}/locations");
                let answer = client.post(&path, json!({"url": url})).await;
                let refused = (400..500).contains(&answer.status);
                assert!(refused, "{url}: {} {}", answer.status, answer.text());
            }
            for body in [
                json!({"name": "evil", "locations": [location]}),
                json!({"name": "evil", "direct_url": url}),
            ] {
                let answer = client.create(body).await;
                let refused = matches!(answer.status, 400 | 403);
                assert!(refused, "{url}: {} {}", answer.status, answer.text());
            }
        }
        assert!(!marker.exists(), "a location was executed");
        client.download(&queued).await.expect(204);
        assert_eq!(client.download(&active).await.expect(200).text(), "bytes");
        assert_eq!(client.list_all("").await.len(), 2);
    }
}

#[tokio::test]
async fn ossa_2014_028_a_chunked_upload_over_the_cap_is_cut_and_gone() {
    let node = Setup::new()
        .set("limits.image_size_cap", "2MiB")
        .start()
        .await;
    let client = node.client();
    let id = client.created(json!({})).await;
    let pieces: Vec<Bytes> = (0..64).map(|seed| random_bytes(MIB, seed)).collect();
    let call = client.file(&id).stream(stream::iter(pieces));
    // The refusal comes while the client still sends, which it may meet as a broken connection.
    if let Ok(answer) = call.attempt().await {
        assert_eq!(answer.status, 413);
    }
    client.reaches(&id, "queued").await;
    node.keeps(0).await;
}

#[tokio::test]
async fn ossa_2014_041_host_files_cannot_be_made_locations() {
    for shown in [false, true] {
        let node = Setup::new()
            .set("api.show_multiple_locations", shown)
            .start()
            .await;
        let client = node.client();
        let queued = client.created(json!({})).await;
        let active = client.active(json!({}), "bytes").await;
        for url in [
            "file:///etc/passwd",
            "FILE:///etc/passwd",
            "filesystem:///etc/passwd",
            "FileSystem:///etc/passwd",
            "swift+config://x/y/z",
            "file:///etc/passwd;ls",
            "file:///tmp/`id`",
            "file:///../../etc/passwd",
        ] {
            let location = json!({"url": url, "metadata": {}});
            for id in [&queued, &active] {
                for document in [
                    json!([{"op": "add", "path": "/locations/-", "value": location}]),
                    json!([{"op": "replace", "path": "/locations", "value": [location]}]),
                ] {
                    let answer = client.patch(id, document).await;
                    assert!(
                        matches!(answer.status, 400 | 403),
                        "{url}: {} {}",
                        answer.status,
                        answer.text()
                    );
                }
                let path = format!("/v2/images/{id}/locations");
                let answer = client.post(&path, json!({"url": url})).await;
                assert!(
                    (400..500).contains(&answer.status),
                    "{url}: {}",
                    answer.status
                );
            }
        }
        client.download(&queued).await.expect(204);
        assert_eq!(client.download(&active).await.expect(200).text(), "bytes");
        assert_eq!(client.show(&queued).await.field("status"), "queued");
    }
}

#[tokio::test]
async fn ossa_2015_003_deleting_while_uploading_does_not_hoard_bytes() {
    let node = Setup::trusted()
        .set("limits.user_storage_quota", "4MiB")
        .start()
        .await;
    let client = node.client_of(&Persona::member("alpha"));
    for _ in 0..10 {
        let id = client.created(json!({})).await;
        let upload = tokio::spawn({
            let (client, id) = (client.clone(), id.clone());
            async move {
                let pieces: Vec<Bytes> = (0..24).map(|seed| random_bytes(MIB / 8, seed)).collect();
                client
                    .file(&id)
                    .stream(stream::iter(pieces))
                    .attempt()
                    .await
                    .map(|a| a.status)
            }
        });
        eventually("saving", async || {
            let status = client.show(&id).await.expect(200).field("status");
            (status != "queued" || upload.is_finished()).then_some(())
        })
        .await;
        client.remove(&id).await.expect(204);
        let _ = upload.await.unwrap();
        client.show(&id).await.expect(404);
    }
    node.keeps(0).await;
    client.active(json!({}), random_bytes(4 * MIB, 1)).await;
}

#[tokio::test]
async fn ossa_2015_014_a_qcow2_with_a_backing_file_is_refused() {
    let node = Node::start().await;
    for format in ["qcow2", "raw", "ami"] {
        let status = upload_as(&node.client(), format, samples::qcow2_with_backing_file()).await;
        assert_eq!(status, 415, "as {format}");
    }
}

#[tokio::test]
async fn ossa_2015_019_the_status_cannot_be_set_by_headers_or_patch() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.active(json!({}), "bytes").await;
    let evil = client
        .with("x-image-meta-status", "queued")
        .with("x-image-meta-name", "evil")
        .with("x-image-meta-owner", "evil")
        .with("x-image-meta-checksum", "evil");
    evil.upload(&id, "other").await.expect(409);
    evil.replace(&id, "min_ram", json!(1)).await.expect(200);
    evil.patch(
        &id,
        json!([{"op": "replace", "path": "/status", "value": "queued"}]),
    )
    .await
    .expect(403);
    let image = client.show(&id).await.expect(200).json();
    assert_eq!(image["status"], "active");
    assert_eq!(image["name"], "image");
    assert_eq!(image["owner"], "default");
    assert_eq!(client.download(&id).await.expect(200).text(), "bytes");
}

#[tokio::test]
async fn ossa_2016_006_the_last_location_stays_and_active_data_never_changes() {
    let node = Setup::new()
        .set("api.show_multiple_locations", true)
        .start()
        .await;
    let client = node.client();
    let id = client.active(json!({}), "bytes").await;
    for document in [
        json!([{"op": "remove", "path": "/locations/0"}]),
        json!([{"op": "replace", "path": "/locations", "value": []}]),
    ] {
        client.patch(&id, document).await.expect(403);
    }
    let answer = client.delete(&format!("/v2/stores/local/{id}")).await;
    assert!((400..500).contains(&answer.status), "{}", answer.status);
    client.upload(&id, "other").await.expect(409);
    assert_eq!(client.download(&id).await.expect(200).text(), "bytes");
}

/// Disk images that make a careless reader read, loop or allocate without end.
fn costly_images() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    const LENGTH: usize = 2 * MIB;
    let patched = |mut image: Vec<u8>, patches: &[(usize, &[u8])]| {
        image.resize(LENGTH, 0);
        for (at, bytes) in patches {
            image[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        image
    };
    let qcow2 = |patches: &[(usize, &[u8])]| patched(samples::qcow2(1 << 40), patches);
    let vmdk = |patches: &[(usize, &[u8])]| patched(samples::good_vmdk(), patches);
    let (most32, most64) = ([0xff; 4], [0xff; 8]);
    // Extensions of no length, one behind the other, to the end of the file.
    let mut extensions = samples::qcow2(1 << 30);
    extensions.resize(LENGTH, 0);
    for at in (104..LENGTH - 8).step_by(8) {
        extensions[at..at + 8].copy_from_slice(&[0xe2, 0x79, 0x2a, 0xca, 0, 0, 0, 0]);
    }
    // A descriptor that is all extents, and one that is all one line.
    let extents = "RW 2048 SPARSE \"disk.vmdk\"\n".repeat(LENGTH / 28);
    let mut many_extents = vmdk(&[(36, &4000_u64.to_le_bytes())]);
    many_extents[512..512 + extents.len().min(LENGTH - 512)]
        .copy_from_slice(&extents.as_bytes()[..extents.len().min(LENGTH - 512)]);
    let mut one_line = vmdk(&[(36, &4000_u64.to_le_bytes())]);
    one_line[512..].fill(b'=');
    let mut vhdx = vec![0; LENGTH];
    vhdx[..8].copy_from_slice(b"vhdxfile");
    vhdx[196_608..196_612].copy_from_slice(b"regi");
    // As many regions as the field can say, each the metadata region at its own table.
    let metadata_region = [
        0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88,
        0x6e,
    ];
    let mut many_regions = vhdx.clone();
    many_regions[196_616..196_620].copy_from_slice(&most32);
    for at in (196_624..262_144 - 32).step_by(32) {
        many_regions[at..at + 16].copy_from_slice(&metadata_region);
        many_regions[at + 16..at + 24].copy_from_slice(&196_608_u64.to_le_bytes());
        many_regions[at + 24..at + 28].copy_from_slice(&most32);
    }
    // One metadata region with as many items as the field can say, all beyond the end.
    let mut many_items = vhdx.clone();
    many_items[196_616..196_620].copy_from_slice(&1_u32.to_le_bytes());
    many_items[196_624..196_640].copy_from_slice(&metadata_region);
    many_items[196_640..196_648].copy_from_slice(&1_048_576_u64.to_le_bytes());
    many_items[196_648..196_652].copy_from_slice(&most32);
    many_items[1_048_576..1_048_584].copy_from_slice(b"metadata");
    many_items[1_048_586..1_048_588].copy_from_slice(&[0xff; 2]);
    many_items[1_048_608..].fill(0xff);
    // The region lies behind everything that will ever come.
    let mut far_region = many_items.clone();
    far_region[196_640..196_648].copy_from_slice(&(u64::MAX / 2).to_le_bytes());
    vec![
        ("qcow2", "first table", qcow2(&[(36, &most32)])),
        ("qcow2", "first table's place", qcow2(&[(40, &most64)])),
        (
            "qcow2",
            "reference counts",
            qcow2(&[(48, &most64), (56, &most32)]),
        ),
        ("qcow2", "snapshots", qcow2(&[(60, &most32), (64, &most64)])),
        ("qcow2", "header length", qcow2(&[(100, &most32)])),
        ("qcow2", "no clusters", qcow2(&[(20, &[0; 4])])),
        ("qcow2", "huge clusters", qcow2(&[(20, &most32)])),
        (
            "qcow2",
            "one extension",
            qcow2(&[(104, &[1, 2, 3, 4]), (108, &most32)]),
        ),
        ("qcow2", "extensions", extensions),
        ("vmdk", "descriptor's size", vmdk(&[(36, &most64)])),
        ("vmdk", "descriptor's place", vmdk(&[(28, &most64)])),
        (
            "vmdk",
            "capacity",
            vmdk(&[(12, &most64), (20, &[1, 0, 0, 0, 0, 0, 0, 0])]),
        ),
        ("vmdk", "no grains", vmdk(&[(20, &[0; 8]), (44, &[0; 4])])),
        ("vmdk", "grain tables", vmdk(&[(44, &most32)])),
        ("vmdk", "footer for ever", vmdk(&[(56, &most64)])),
        ("vmdk", "extents", many_extents),
        ("vmdk", "one line", one_line),
        ("vhdx", "nothing", vhdx),
        ("vhdx", "regions", many_regions),
        ("vhdx", "items", many_items),
        ("vhdx", "far region", far_region),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ossa_2016_012_crafted_images_cost_bounded_time_and_memory() {
    let node = Node::start().await;
    let client = node.client();
    // What plain data of the same size takes is not the images' doing.
    for seed in 0..8 {
        let id = client.active(json!({}), random_bytes(2 * MIB, seed)).await;
        client.remove(&id).await.expect(204);
    }
    let before = node.anonymous_memory();
    let mut peak = before;
    for (format, what, data) in costly_images() {
        for declared in [format, "raw"] {
            let mut uploads = Vec::new();
            for _ in 0..4 {
                let (client, data) = (client.clone(), data.clone());
                let id = client.created(json!({"disk_format": declared})).await;
                uploads.push(tokio::spawn(async move {
                    let answer = client.upload(&id, data).await;
                    client.remove(&id).await.expect(204);
                    answer.status
                }));
            }
            for upload in uploads {
                let mut upload = upload;
                // Far more than the slowest machine needs, far less than a loop over all that the
                // fields say.
                let deadline = Instant::now() + Duration::from_secs(30);
                let status = loop {
                    peak = peak.max(node.anonymous_memory());
                    let tick = Duration::from_millis(2);
                    if let Ok(status) = tokio::time::timeout(tick, &mut upload).await {
                        break status.unwrap();
                    }
                    assert!(Instant::now() < deadline, "{format} {what} takes for ever");
                };
                assert!(matches!(status, 204 | 415), "{format} {what}: {status}");
            }
        }
    }
    let grown = peak - before;
    assert!(grown < 64 << 20, "{grown} bytes more than before");
    client
        .active(json!({"disk_format": "qcow2"}), samples::qcow2(1 << 20))
        .await;
}

#[tokio::test]
async fn ossa_2023_002_vmdk_descriptors_that_name_host_files_are_refused() {
    let node = Node::start().await;
    let client = node.client();
    let sparse = "RW 2048 SPARSE \"disk.vmdk\"";
    let descriptor = samples::vmdk_descriptor;
    let mut wrong_footer = samples::vmdk(&descriptor(
        "streamOptimized",
        "RW 2048 SPARSE \"disk.vmdk\"",
    ));
    wrong_footer[56..64].copy_from_slice(&u64::MAX.to_le_bytes());
    let at = wrong_footer.len() - 1024;
    wrong_footer[at..at + 4].copy_from_slice(b"KDMV");
    wrong_footer[at + 28..at + 36].copy_from_slice(&7_u64.to_le_bytes());
    for (what, data) in [
        (
            "flat",
            samples::vmdk(&descriptor(
                "monolithicFlat",
                "RW 2048 FLAT \"/etc/passwd\" 0",
            )),
        ),
        (
            "two GiB",
            samples::vmdk(&descriptor("twoGbMaxExtentFlat", "RW 1 FLAT \"a-f001\" 0")),
        ),
        (
            "vmfs",
            samples::vmdk(&descriptor("vmfs", "RW 2048 VMFS \"disk-flat.vmdk\"")),
        ),
        ("custom", samples::vmdk(&descriptor("custom", sparse))),
        (
            "slash",
            samples::vmdk(&descriptor("monolithicSparse", "RW 1 SPARSE \"/etc/x\"")),
        ),
        (
            "no extent",
            samples::vmdk(&descriptor("monolithicSparse", "")),
        ),
        (
            "text",
            descriptor("monolithicFlat", "RW 2048 FLAT \"/etc/passwd\" 0").into_bytes(),
        ),
        ("footer", wrong_footer),
    ] {
        for format in ["vmdk", "raw", "ami"] {
            assert_eq!(
                upload_as(&client, format, data.clone()).await,
                415,
                "{what} as {format}"
            );
        }
    }
    assert_eq!(upload_as(&client, "vmdk", samples::good_vmdk()).await, 204);
}

/// What is no text, and what QEMU reads as a descriptor all the same.
#[tokio::test]
async fn cve_2022_47951_a_descriptor_that_is_not_quite_text_is_refused() {
    let node = Node::start().await;
    let client = node.client();
    let flat = samples::vmdk_descriptor("monolithicFlat", "RW 2048 FLAT \"/etc/passwd\" 0");
    let behind = |start: &[u8]| [start, flat.as_bytes()].concat();
    let comments = "# a comment\n".repeat(1000);
    for (what, data) in [
        ("a byte in a comment", behind(b"# \xe9\n")),
        (
            "a byte after the word",
            [flat.as_bytes(), b"# \xe9\n"].concat(),
        ),
        (
            "an equals sign for the quote",
            flat.replace("=\"mono", "==mono").into_bytes(),
        ),
        ("spaces", behind(b"   \n  \r\n")),
        ("tabs", behind(b"\t\t\n")),
        ("a byte order mark", behind(b"\xef\xbb\xbf")),
        ("10 KB of comments", behind(comments.as_bytes())),
        ("binary", behind(&[0xff; 4000])),
        ("Windows", flat.replace('\n', "\r\n").into_bytes()),
        ("zeros", [flat.as_bytes(), &[0; 4096]].concat()),
        ("a long tail", [flat.as_bytes(), &[0xe9; 4096]].concat()),
        ("a sparse file of ESX", {
            let mut data = vec![0; 4096];
            data[..4].copy_from_slice(b"COWD");
            data[512..546].copy_from_slice(b"parentFileNameHint=\"/etc/passwd\"\nx");
            data
        }),
    ] {
        for format in ["vmdk", "raw", "ami"] {
            let id = client.created(json!({"disk_format": format})).await;
            let status = client.upload(&id, data.clone()).await.status;
            assert_eq!(status, 415, "{what} as {format}");
            client.download(&id).await.expect(204);
        }
    }
    node.keeps(0).await;
}

#[tokio::test]
async fn ossa_2024_001_qcow2_data_files_are_refused() {
    let node = Node::start().await;
    for named in [false, true] {
        for format in ["qcow2", "raw"] {
            let data = samples::qcow2_with_data_file(named);
            assert_eq!(
                upload_as(&node.client(), format, data).await,
                415,
                "{named} as {format}"
            );
        }
    }
}

#[tokio::test]
async fn ossa_2024_002_an_unsafe_container_declared_raw_is_refused() {
    let node = Node::start().await;
    assert_eq!(upload_as(&node.client(), "raw", samples::qed()).await, 415);
    assert_eq!(
        upload_as(&node.client(), "raw", samples::qcow2_with_feature(9)).await,
        415
    );
}

#[tokio::test]
async fn ossa_2013_012_a_virtual_size_bomb_is_told_and_not_inflated() {
    let node = Node::start().await;
    let data = samples::qcow2(10 << 40);
    let id = node
        .client()
        .active(json!({"disk_format": "qcow2"}), data.clone())
        .await;
    let image = node.client().show(&id).await.expect(200).json();
    assert_eq!(image["virtual_size"], 10_u64 << 40);
    assert_eq!(image["size"], data.len());
    let file = node.stored_files().remove(0);
    assert_eq!(file.metadata().unwrap().len(), data.len() as u64);
}

#[tokio::test]
async fn ossa_2015_009_scripts_in_metadata_stay_data() {
    let node = Node::start().await;
    let client = node.client();
    let script = "<script>alert(1)</script>";
    let id = client
        .created(json!({"name": script, "color": script}))
        .await;
    let answer = client.show(&id).await.expect(200);
    assert!(
        answer
            .header("content-type")
            .unwrap()
            .starts_with("application/json")
    );
    let html = client.with("accept", "text/html");
    for answer in [
        html.list("visibility=%3Cscript%3Ealert(1)%3C%2Fscript%3E")
            .await,
        html.create(json!({"visibility": script})).await,
        html.replace(&id, "disk_format", json!(script)).await,
        html.get("/v2/images/%3Cscript%3Ealert(1)%3C%2Fscript%3E")
            .await,
        html.delete(&format!(
            "/v2/images/{id}/tags/%3Cscript%3Ealert(1)%3C%2Fscript%3E"
        ))
        .await,
    ] {
        assert!(answer.status >= 400);
        assert!(!answer.text().contains("<script>"), "{}", answer.text());
    }
}

#[tokio::test]
async fn ossa_2024_003_checksums_are_always_there_after_an_upload() {
    let node = Node::start().await;
    let client = node.client();
    for container in ["bare", "ovf"] {
        let id = client
            .active(json!({"container_format": container}), "bytes")
            .await;
        let image = client.show(&id).await.expect(200);
        assert_eq!(image.field("checksum").len(), 32);
        assert_eq!(image.field("os_hash_value").len(), 128);
        assert!(image.json().get("direct_url").is_none());
    }
}

#[tokio::test]
async fn ossn_0005_an_image_cannot_be_pushed_into_anothers_list() {
    let node = Setup::trusted().start().await;
    let owner = node.client_of(&Persona::member("alpha"));
    let victim = node.client_of(&Persona::member("victim"));
    let id = owner
        .active(json!({"name": "ubuntu", "visibility": "shared"}), "evil")
        .await;
    owner.share(&id, "victim").await.expect(200);
    assert!(victim.list_all("").await.is_empty());
    assert!(victim.list_all("name=ubuntu").await.is_empty());
    owner
        .replace(&id, "visibility", json!("community"))
        .await
        .expect(200);
    assert!(victim.list_all("").await.is_empty());
}

#[tokio::test]
async fn ossn_0015_only_admins_publish() {
    let node = Setup::trusted().start().await;
    let member = node.client_of(&Persona::member("alpha"));
    member
        .create(json!({"visibility": "public"}))
        .await
        .expect(403);
    let id = member.created(json!({})).await;
    member
        .replace(&id, "visibility", json!("public"))
        .await
        .expect(403);
    let raised = member
        .patch(
            &id,
            json!([{"op": "replace", "path": "/visibility", "value": "public"},
                   {"op": "replace", "path": "/visibility", "value": "private"}]),
        )
        .await;
    assert!(matches!(raised.status, 200 | 403));
    assert_ne!(member.show(&id).await.field("visibility"), "public");
}

#[tokio::test]
async fn ossn_0075_the_id_of_a_deleted_image_is_not_given_to_another_project() {
    let node = Setup::trusted().start().await;
    let owner = node.client_of(&Persona::member("alpha"));
    let other = node.client_of(&Persona::member("beta"));
    let id = owner.active(json!({}), "bytes").await;
    owner.remove(&id).await.expect(204);
    for case in [id.clone(), id.to_uppercase()] {
        other.create(json!({"id": case})).await.expect(409);
        owner.create(json!({"id": case})).await.expect(409);
    }
}

#[tokio::test]
async fn a_refused_upload_cannot_be_downloaded() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({"disk_format": "qcow2"})).await;
    client.upload(&id, "not a qcow2 at all").await.expect(415);
    client.download(&id).await.expect(204);
    assert!(client.show(&id).await.json()["os_hash_value"].is_null());
    client
        .upload(&id, samples::qcow2(1 << 20))
        .await
        .expect(204);
}
