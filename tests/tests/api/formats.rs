//! Format inspection on upload (image-api 10.4).

use glimpse_tests::{Client, Node, Setup, samples};
use serde_json::{Value, json};

async fn upload_as(client: &Client, format: &str, data: Vec<u8>) -> (String, u16) {
    let id = client.created(json!({"disk_format": format})).await;
    let status = client.upload(&id, data).await.status;
    (id, status)
}

#[tokio::test]
async fn data_of_the_declared_format_passes_with_its_virtual_size() {
    let node = Node::start().await;
    let client = node.client();
    for (format, data, virtual_size) in [
        ("qcow2", samples::qcow2(10 << 40), Some(10_u64 << 40)),
        ("vmdk", samples::good_vmdk(), Some(1 << 20)),
        ("vhd", samples::vhd(), Some(1 << 20)),
        ("vdi", samples::vdi(), Some(1 << 20)),
        ("iso", samples::iso(), None),
        ("raw", b"just bytes".to_vec(), Some(10)),
        ("ami", b"a kernel or so".to_vec(), None),
        ("ploop", b"whatever".to_vec(), None),
    ] {
        let (id, status) = upload_as(&client, format, data.clone()).await;
        assert_eq!(status, 204, "{format}");
        let image = client.show(&id).await.expect(200).json();
        assert_eq!(image["size"], data.len(), "{format}");
        if let Some(size) = virtual_size {
            assert_eq!(image["virtual_size"], size, "{format}");
        }
        assert!(
            client.download(&id).await.expect(200).body == data,
            "{format}"
        );
    }
}

#[tokio::test]
async fn a_mismatch_is_415_leaves_nothing_and_the_right_data_is_taken_after() {
    let node = Node::start().await;
    let client = node.client();
    for (format, wrong) in [
        ("qcow2", b"not a qcow2".to_vec()),
        ("qcow2", samples::vdi()),
        ("iso", samples::qcow2(1 << 20)),
        ("vmdk", vec![0; 100_000]),
        ("vdi", samples::iso()),
        ("ami", samples::qcow2(1 << 20)),
    ] {
        let (id, status) = upload_as(&client, format, wrong).await;
        assert_eq!(status, 415, "{format}");
        let image = client.show(&id).await.expect(200).json();
        assert_eq!(image["status"], "queued", "{format}");
        for key in [
            "size",
            "virtual_size",
            "checksum",
            "os_hash_algo",
            "os_hash_value",
        ] {
            assert_eq!(image[key], Value::Null, "{format} {key}");
        }
        client.download(&id).await.expect(204);
        node.keeps(0).await;
        if format == "qcow2" {
            client
                .upload(&id, samples::qcow2(1 << 20))
                .await
                .expect(204);
            client.remove(&id).await.expect(204);
        }
    }
}

#[tokio::test]
async fn data_that_is_two_formats_is_refused_but_for_an_iso_that_boots_as_a_disk() {
    let node = Node::start().await;
    let client = node.client();
    let with_iso = |mut data: Vec<u8>| {
        data.resize(data.len().max(samples::iso().len()), 0);
        data[32_768..34_816].copy_from_slice(&samples::iso()[32_768..34_816]);
        data
    };
    let with_partitions = |mut data: Vec<u8>| {
        data[446..512].copy_from_slice(&samples::gpt(0, 1)[446..512]);
        data
    };
    let hybrid = with_iso(samples::gpt(0, 1));
    for (declared, status) in [("iso", 204), ("raw", 204), ("qcow2", 415), ("vmdk", 415)] {
        let found = upload_as(&client, declared, hybrid.clone()).await.1;
        assert_eq!(found, status, "iso and gpt as {declared}");
    }
    for (what, data) in [
        ("qcow2 and iso", with_iso(samples::qcow2(1 << 20))),
        ("vdi and iso", with_iso(samples::vdi())),
        ("qcow2 and gpt", with_partitions(samples::qcow2(1 << 20))),
        (
            "qcow2, iso and gpt",
            with_partitions(with_iso(samples::qcow2(1 << 20))),
        ),
    ] {
        for declared in ["raw", "iso", "qcow2", "vdi", "ami"] {
            let (id, status) = upload_as(&client, declared, data.clone()).await;
            assert_eq!(status, 415, "{what} as {declared}");
            client.download(&id).await.expect(204);
        }
    }
}

#[tokio::test]
async fn what_cannot_be_inspected_passes_as_plain_bytes_only() {
    let node = Node::start().await;
    let client = node.client();
    for declared in ["ami", "aki", "ari", "ploop"] {
        let plain = upload_as(&client, declared, vec![7; 70_000]).await.1;
        assert_eq!(plain, 204, "{declared}");
        for (what, data) in [
            ("qcow2", samples::qcow2(1 << 20)),
            ("vmdk", samples::good_vmdk()),
            ("vhd", samples::vhd()),
            ("iso", samples::iso()),
        ] {
            let status = upload_as(&client, declared, data).await.1;
            assert_eq!(status, 415, "{what} as {declared}");
        }
    }
}

#[tokio::test]
async fn a_check_of_partition_tables_can_be_waived_by_name() {
    let checks = vec![toml::Value::from("mbr")];
    let node = Setup::new()
        .set("image_format.gpt_safety_checks_nonfatal", checks)
        .start()
        .await;
    let client = node.client();
    assert_eq!(
        upload_as(&client, "raw", samples::gpt(0x13, 1)).await.1,
        204
    );
    assert_eq!(
        upload_as(&client, "raw", samples::qcow2_with_backing_file())
            .await
            .1,
        415
    );
}

#[tokio::test]
async fn a_clean_image_may_be_declared_raw_and_counts_as_raw() {
    let node = Node::start().await;
    let client = node.client();
    let data = samples::qcow2(1 << 40);
    let (id, status) = upload_as(&client, "raw", data.clone()).await;
    assert_eq!(status, 204);
    assert_eq!(
        client.show(&id).await.expect(200).json()["virtual_size"],
        data.len()
    );
}

#[tokio::test]
async fn unsafe_images_are_refused_as_themselves_and_as_raw() {
    let node = Node::start().await;
    let client = node.client();
    let flat = samples::vmdk_descriptor("monolithicFlat", "RW 2048 FLAT \"/etc/passwd\" 0");
    for (format, what, data) in [
        ("qcow2", "backing file", samples::qcow2_with_backing_file()),
        ("qcow2", "data file", samples::qcow2_with_data_file(true)),
        (
            "qcow2",
            "unnamed data file",
            samples::qcow2_with_data_file(false),
        ),
        ("qcow2", "unknown feature", samples::qcow2_with_feature(17)),
        ("qcow2", "extended L2", samples::qcow2_with_feature(4)),
        ("qcow2", "version 4", samples::qcow2_of_version(4)),
        ("qcow2", "version 1", samples::qcow2_of_version(1)),
        ("vmdk", "flat extent", samples::vmdk(&flat)),
        ("vmdk", "descriptor alone", flat.clone().into_bytes()),
        (
            "vmdk",
            "descriptor that is not quite text",
            [b"#\xe9\n", flat.as_bytes()].concat(),
        ),
        ("raw", "qed", samples::qed()),
    ] {
        for declared in [format, "raw"] {
            let (id, status) = upload_as(&client, declared, data.clone()).await;
            assert_eq!(status, 415, "{what} as {declared}");
            client.download(&id).await.expect(204);
        }
    }
    node.keeps(0).await;
}

#[tokio::test]
async fn partition_tables_are_checked() {
    let node = Node::start().await;
    let client = node.client();
    assert_eq!(upload_as(&client, "raw", samples::gpt(0, 1)).await.1, 204);
    assert_eq!(
        upload_as(&client, "raw", samples::gpt(0x80, 1)).await.1,
        204
    );
    assert_eq!(
        upload_as(&client, "raw", samples::gpt(0x13, 1)).await.1,
        415
    );
    assert_eq!(upload_as(&client, "raw", samples::gpt(0, 9)).await.1, 415);
    assert_eq!(
        upload_as(&client, "aki", samples::gpt(0x13, 1)).await.1,
        204
    );
}

#[tokio::test]
async fn luks_is_judged_when_allowed() {
    let formats = ["raw", "luks"].map(toml::Value::from).to_vec();
    let node = Setup::new()
        .set("image_format.disk_formats", formats)
        .start()
        .await;
    let client = node.client();
    assert_eq!(upload_as(&client, "luks", samples::luks(1)).await.1, 204);
    assert_eq!(upload_as(&client, "luks", samples::luks(2)).await.1, 415);
}

#[tokio::test]
async fn containers_are_not_inspected() {
    let node = Node::start().await;
    let client = node.client();
    for container in ["ovf", "ova", "docker", "compressed"] {
        let id = client
            .created(json!({"disk_format": "qcow2", "container_format": container}))
            .await;
        client.upload(&id, "anything").await.expect(204);
    }
}

#[tokio::test]
async fn the_match_can_be_waived_but_not_the_safety() {
    let node = Setup::new()
        .set("image_format.require_image_format_match", false)
        .start()
        .await;
    let client = node.client();
    assert_eq!(upload_as(&client, "qcow2", b"plain".to_vec()).await.1, 204);
    assert_eq!(
        upload_as(&client, "qcow2", samples::qcow2_with_backing_file())
            .await
            .1,
        415
    );
}

#[tokio::test]
async fn a_header_that_announces_huge_regions_costs_no_memory() {
    let node = Node::start().await;
    let client = node.client();
    let before = node.anonymous_memory();
    let mut huge_descriptor = samples::good_vmdk();
    huge_descriptor[36..44].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut huge_tables = samples::qcow2(u64::MAX / 2);
    huge_tables[36..40].copy_from_slice(&u32::MAX.to_be_bytes());
    huge_tables[56..60].copy_from_slice(&u32::MAX.to_be_bytes());
    let mut vhdx = vec![0xff; 400_000];
    vhdx[..8].copy_from_slice(b"vhdxfile");
    vhdx[196_608..196_612].copy_from_slice(b"regi");
    for (format, data) in [
        ("vmdk", huge_descriptor),
        ("qcow2", huge_tables),
        ("vhdx", vhdx),
    ] {
        for _ in 0..3 {
            let status = upload_as(&client, format, data.clone()).await.1;
            assert!(matches!(status, 204 | 415), "{format}: {status}");
        }
    }
    let grown = node.anonymous_memory().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more than before");
}

/// Containers are not looked into, so a container that turns into a bare image while its upload
/// begins must not have got past the inspection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_becomes_bare_while_its_upload_begins_is_inspected() {
    let node = Node::start().await;
    let client = node.client();
    let data = bytes::Bytes::from(samples::qcow2_with_backing_file());
    let (mut active, mut changed) = (0, 0);
    for round in 0..300_u32 {
        let container = ["ovf", "ova", "docker"][round as usize % 3];
        let id = client
            .created(json!({"disk_format": "qcow2", "container_format": container}))
            .await;
        let upload = tokio::spawn({
            let (client, id, data) = (client.clone(), id.clone(), data.clone());
            async move { client.upload(&id, data).await }
        });
        // The moment differs from round to round, over the whole of an upload.
        for _ in 0..round % 60 {
            tokio::task::yield_now().await;
        }
        let patched = client.replace(&id, "container_format", json!("bare")).await;
        let uploaded = upload.await.unwrap();
        assert!(
            matches!(patched.status, 200 | 403 | 409),
            "{} {}",
            patched.status,
            patched.text()
        );
        assert!(
            matches!(uploaded.status, 204 | 409 | 415),
            "{} {}",
            uploaded.status,
            uploaded.text()
        );
        let image = client.show(&id).await.expect(200).json();
        if image["status"] == "active" {
            assert_ne!(image["container_format"], "bare", "round {round}: {image}");
            active += 1;
        }
        changed += usize::from(patched.status == 200);
        client.remove(&id).await.expect(204);
    }
    assert!(active > 0 && changed > 0, "no race: {active}, {changed}");
}
