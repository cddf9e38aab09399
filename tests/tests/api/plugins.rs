//! Plugins of imports (image-api 3.4): injected properties, decompression, conversion.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use bytes::Bytes;
use glimpse_tests::{Client, Node, Persona, Setup, eventually, md5_hex, random_bytes, samples};
use serde_json::{Value, json};

const MIB: usize = 1 << 20;

fn with(plugins: &[&str]) -> Setup {
    let plugins: Vec<String> = plugins.iter().map(|&plugin| plugin.to_owned()).collect();
    Setup::trusted().set("import.plugins", plugins)
}

/// Imports data and gives the ended task and the image.
async fn imported(client: &Client, attributes: Value, data: impl Into<Bytes>) -> (Value, Value) {
    let id = client.created(attributes).await;
    client.stage(&id, data).await.expect(204);
    let body = json!({"method": {"name": "glance-direct"}});
    client.import(&id, body).await.expect(202);
    let task = client.task_ends(&id).await;
    (task, client.show(&id).await.expect(200).json())
}

/// What a program makes of its input.
fn filtered(program: &str, args: &[&str], data: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut stdin = child.stdin.take().expect("its input");
    let data = data.to_vec();
    let feeding = std::thread::spawn(move || stdin.write_all(&data));
    let out = child.wait_with_output().expect("its output");
    feeding
        .join()
        .expect("a thread")
        .expect("all of it was read");
    assert!(out.status.success());
    out.stdout
}

fn gzip(data: &[u8]) -> Vec<u8> {
    filtered("gzip", &["-c", "-1"], data)
}

async fn nothing_staged(node: &Node) {
    eventually("an empty staging", async || {
        node.staged_files().is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn properties_are_injected_but_for_exempt_roles_and_not_those_of_the_service() {
    let properties = ["team=one", "os_glance_x=y", "url=a=b"]
        .map(str::to_owned)
        .to_vec();
    let setup = with(&["no_op", "inject_image_metadata"]);
    let node = setup
        .set("import.inject.properties", properties)
        .start()
        .await;
    let owner = node.client_of(&Persona::member("alpha"));
    let (task, image) = imported(&owner, json!({"team": "two", "kept": "x"}), "data").await;
    assert_eq!(task["status"], "success");
    assert_eq!(
        (&image["team"], &image["url"], &image["kept"]),
        (&json!("one"), &json!("a=b"), &json!("x"))
    );
    assert!(image.get("os_glance_x").is_none());
    let admin = node.client_of(&Persona::admin());
    let (_, image) = imported(&admin, json!({}), "data").await;
    assert!(image.get("team").is_none());
}

#[tokio::test]
async fn gzip_and_zip_of_one_file_are_expanded_and_all_else_is_left() {
    let node = with(&["image_decompression"]).start().await;
    let client = node.client_of(&Persona::member("alpha"));
    let data = [random_bytes(MIB + 7, 1), Bytes::from(vec![0; 2 * MIB])].concat();
    let folder = node.folder().join("zips");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("disk.img"), &data).unwrap();
    std::fs::write(folder.join("more.img"), "more").unwrap();
    let zip = |files: &[&str], args: &[&str]| {
        let name = format!("{}{}.zip", files.len(), args.join(""));
        let made = Command::new("zip")
            .args(["-q", &name])
            .args(args)
            .args(files)
            .current_dir(&folder)
            .status();
        assert!(made.unwrap().success());
        std::fs::read(folder.join(name)).unwrap()
    };
    let streamed = filtered("zip", &["-q", "-", "-"], &data);
    for (name, packed) in [
        ("gzip", gzip(&data)),
        (
            "two gzip members",
            [gzip(&data[..MIB]), gzip(&data[MIB..])].concat(),
        ),
        ("zip", zip(&["disk.img"], &[])),
        ("stored zip", zip(&["disk.img"], &["-0"])),
        ("streamed zip", streamed),
        ("plain", data.clone()),
    ] {
        let (task, image) = imported(&client, json!({}), packed).await;
        assert_eq!(task["status"], "success", "{name}: {task}");
        assert_eq!(
            (&image["size"], &image["checksum"]),
            (&json!(data.len()), &json!(md5_hex(&data))),
            "{name}"
        );
    }
    // As compressed as it is declared.
    let packed = gzip(&data);
    let (_, image) = imported(
        &client,
        json!({"container_format": "compressed"}),
        packed.clone(),
    )
    .await;
    assert_eq!(image["size"], json!(packed.len()));
    let cut = packed[..packed.len() / 2].to_vec();
    let mut flipped = zip(&["disk.img"], &["-0"]);
    flipped[MIB] ^= 1;
    for (name, bad) in [
        ("cut", cut),
        ("flipped", flipped),
        ("two files", zip(&["disk.img", "more.img"], &[])),
        ("no archive", b"PK\x03\x04 and nothing".to_vec()),
    ] {
        let (task, image) = imported(&client, json!({}), bad).await;
        assert_eq!(
            (&task["status"], &image["status"]),
            (&json!("failure"), &json!("queued")),
            "{name}"
        );
    }
    nothing_staged(&node).await;
}

#[tokio::test]
async fn what_expands_too_far_fails_within_its_bounds() {
    let bomb = gzip(&vec![0; 100 * MIB]);
    for (key, value) in [
        ("limits.image_size_cap", "64MiB"),
        ("import.staging_size", "64MiB"),
        ("limits.user_storage_quota", "64MiB"),
        ("import.decompression.max_ratio", "2"),
    ] {
        let setup = with(&["image_decompression"]);
        let setup = match value.parse::<i64>() {
            Ok(number) => setup.set(key, number),
            Err(_) => setup.set(key, value),
        };
        let node = setup.start().await;
        let client = node.client_of(&Persona::member("alpha"));
        let (task, image) = imported(&client, json!({}), bomb.clone()).await;
        assert_eq!(
            (&task["status"], &image["status"]),
            (&json!("failure"), &json!("queued")),
            "{key}"
        );
        nothing_staged(&node).await;
        node.keeps(0).await;
        client
            .upload(image["id"].as_str().unwrap(), "data")
            .await
            .expect(204);
    }
}

#[tokio::test]
async fn images_are_converted_and_told_so() {
    let node = with(&["image_conversion"]).start().await;
    let client = node.client_of(&Persona::member("alpha"));
    let raw = [random_bytes(MIB, 1), Bytes::from(vec![0; MIB])].concat();
    let folder = node.folder().to_owned();
    std::fs::write(folder.join("disk.raw"), &raw).unwrap();
    let to = |format: &str, more: &[&str]| {
        let made = Command::new("qemu-img")
            .args(["convert", "-f", "raw", "-O", format])
            .args(more)
            .args(["disk.raw", "disk.out"])
            .current_dir(&folder)
            .status();
        assert!(made.unwrap().success());
        std::fs::read(folder.join("disk.out")).unwrap()
    };
    for (format, data) in [
        ("qcow2", to("qcow2", &[])),
        ("vmdk", to("vmdk", &["-o", "subformat=streamOptimized"])),
        ("vhd", to("vpc", &["-o", "force_size=on"])),
        ("raw", raw.clone()),
    ] {
        let (task, image) = imported(&client, json!({"disk_format": format}), data).await;
        assert_eq!(task["status"], "success", "{format}: {task}");
        assert_eq!(
            (&image["disk_format"], &image["container_format"]),
            (&json!("raw"), &json!("bare"))
        );
        assert_eq!(
            (&image["size"], &image["virtual_size"]),
            (&json!(raw.len()), &json!(raw.len()))
        );
        assert_eq!(image["checksum"], json!(md5_hex(&raw)), "{format}");
    }
    let (_, image) = imported(&client, json!({"disk_format": "iso"}), samples::iso()).await;
    assert_eq!(
        (&image["status"], &image["disk_format"]),
        (&json!("active"), &json!("iso"))
    );
    nothing_staged(&node).await;
}

#[tokio::test]
async fn hostile_images_are_not_converted() {
    let node = with(&["image_conversion"])
        .set("limits.image_size_cap", "1GiB")
        .start()
        .await;
    let client = node.client_of(&Persona::member("alpha"));
    let evil = samples::qcow2_with_backing_file();
    for (name, format, data) in [
        ("backing file", "qcow2", evil.clone()),
        ("backing file, as raw", "raw", evil),
        ("data file", "qcow2", samples::qcow2_with_data_file(true)),
        ("qcow2 as raw", "raw", samples::qcow2(MIB as u64)),
        ("raw as qcow2", "qcow2", vec![1; MIB]),
        ("10 TiB within", "qcow2", samples::qcow2(10 << 40)),
        (
            "garbage behind a header",
            "qcow2",
            [samples::qcow2(1 << 30), vec![0xff; MIB]].concat(),
        ),
    ] {
        let began = std::time::Instant::now();
        let (task, image) = imported(&client, json!({"disk_format": format}), data).await;
        if name == "garbage behind a header" && task["status"] == "success" {
            continue;
        }
        assert_eq!(
            (&task["status"], &image["status"]),
            (&json!("failure"), &json!("queued")),
            "{name}: {task}"
        );
        assert!(began.elapsed().as_secs() < 60, "{name}");
        nothing_staged(&node).await;
    }
}
