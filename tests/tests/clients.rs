//! The clients people use against the real node: the Python ones by the scripts in
//! `tests/clients`, QEMU's tools here. Stage `clients` installs them and sets `GLIMPSE_CLIENTS`
//! (the programs' folder) and `GLIMPSE_CLIENT_SCRIPTS`.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use glimpse_tests::{Node, Setup};
use serde_json::{Value, json};

fn folder(variable: &str) -> PathBuf {
    let Some(path) = std::env::var_os(variable) else {
        panic!("{variable} is not set: run `cargo xtask test --stage clients`");
    };
    PathBuf::from(path)
}

/// A program that is killed when it hangs: `run` must end. Long, since only failures meet it.
fn program(path: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.arg("300").arg(path);
    command
}

/// Runs a program to its end and returns what it printed.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{out}{errors}",
        output.status
    );
    out
}

async fn script(name: &str) {
    let node = Setup::new().set("cache.size", "1GiB").start().await;
    let files = node.folder().join("files");
    std::fs::create_dir(&files).unwrap();
    let python = folder("GLIMPSE_CLIENTS").join("python");
    let script = folder("GLIMPSE_CLIENT_SCRIPTS").join(name);
    let base = format!("http://{}", node.address());
    let mut command = program(python);
    command
        .arg(script)
        .arg(base)
        .arg(&files)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let done = tokio::task::spawn_blocking(move || run(&mut command)).await;
    match done {
        Ok(text) => print!("{text}"),
        Err(failure) => std::panic::resume_unwind(failure.into_panic()),
    }
}

#[tokio::test]
#[ignore = "needs the openstack command: cargo xtask test --stage clients"]
async fn the_openstack_command_takes_an_image_through_its_life() {
    script("openstack_cli.py").await;
}

#[tokio::test]
#[ignore = "needs the glance command: cargo xtask test --stage clients"]
async fn the_glance_command_takes_an_image_through_its_life() {
    script("glance_cli.py").await;
}

#[tokio::test]
#[ignore = "needs openstacksdk: cargo xtask test --stage clients"]
async fn openstacksdk_takes_an_image_through_its_life() {
    script("sdk.py").await;
}

/// A qcow2 of 64 MiB with patterns at known places, made by QEMU.
fn make_qcow2(path: &Path) {
    let path = path.to_string_lossy().into_owned();
    run(program("qemu-img").args(["create", "-q", "-f", "qcow2", &path, "64M"]));
    run(program("qemu-io").args([
        "-f",
        "qcow2",
        "-c",
        "write -P 0xab 0 1M",
        "-c",
        "write -P 0xcd 33M 5M",
        "-c",
        "write -P 0xef 63M 1M",
        &path,
    ]));
}

async fn uploaded(node: &Node, path: &Path, format: &str) -> String {
    let client = node.client();
    let id = client.created(json!({"disk_format": format})).await;
    client
        .upload(&id, std::fs::read(path).unwrap())
        .await
        .expect(204);
    format!("http://{}/v2/images/{id}/file", node.address())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs qemu-img: cargo xtask test --stage clients"]
async fn qemu_reads_an_image_straight_from_the_url() {
    let node = Node::start().await;
    let (qcow2, raw) = (
        node.folder().join("disk.qcow2"),
        node.folder().join("disk.raw"),
    );
    make_qcow2(&qcow2);
    let convert = ["convert", "-f", "qcow2", "-O", "raw"];
    run(program("qemu-img").args(convert).arg(&qcow2).arg(&raw));
    let raw_url = uploaded(&node, &raw, "raw").await;
    let qcow2_url = uploaded(&node, &qcow2, "qcow2").await;

    let info = run(program("qemu-img").args(["info", "--output=json", &qcow2_url]));
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["format"], "qcow2");
    assert_eq!(info["virtual-size"], 64 << 20);

    for (url, format) in [(&raw_url, "raw"), (&qcow2_url, "qcow2")] {
        let out = node.folder().join("out.raw");
        // One request at a time: with several, QEMU 7.2 loses answers of any server and hangs.
        run(program("qemu-img")
            .args(["convert", "-m", "1", "-f", format, "-O", "raw", url])
            .arg(&out));
        assert!(
            std::fs::read(&out).unwrap() == std::fs::read(&raw).unwrap(),
            "{format}"
        );
        let compare = ["compare", "-f", format, "-F", "raw", url];
        run(program("qemu-img").args(compare).arg(&raw));
        let source = json!({"driver": format, "file": {"driver": "http", "url": url}});
        let out = run(program("qemu-io")
            .args([
                "-r",
                "-c",
                "read -P 0xab 0 1M",
                "-c",
                "read -P 0xcd 34M 100k",
                "-c",
                "read -P 0 10M 64k",
                "-c",
                "read -P 0xef 67108352 512",
            ])
            .arg(format!("json:{source}")));
        assert!(!out.contains("verification failed"), "{out}");
        assert_eq!(out.matches("read ").count(), 4, "{out}");
    }
}
