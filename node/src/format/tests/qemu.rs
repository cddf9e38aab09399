//! Images as `qemu-img` makes them.

use std::process::Command;

use super::*;

const SIZE: u64 = 8 << 20;

fn create(dir: &std::path::Path, name: &str, arguments: &[&str]) -> Vec<u8> {
    let path = dir.join(name);
    let status = Command::new("qemu-img")
        .args(["create", "-q"])
        .args(arguments)
        .arg(&path)
        .arg(SIZE.to_string())
        // Names of further files are relative to it.
        .current_dir(dir)
        .status()
        .expect("qemu-img starts");
    assert!(status.success(), "{arguments:?}");
    std::fs::read(path).unwrap()
}

#[test]
#[ignore = "needs qemu-img: cargo xtask test --stage clients"]
fn images_of_qemu_are_told_with_their_size_and_unsafe_ones_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (format, arguments) in [
        ("qcow2", &["-f", "qcow2"][..]),
        ("qcow2", &["-f", "qcow2", "-o", "compat=0.10"]),
        (
            "qcow2",
            &[
                "-f",
                "qcow2",
                "-o",
                "compression_type=zstd,lazy_refcounts=on",
            ],
        ),
        ("vmdk", &["-f", "vmdk"]),
        ("vmdk", &["-f", "vmdk", "-o", "subformat=streamOptimized"]),
        ("vdi", &["-f", "vdi"]),
        ("vdi", &["-f", "vdi", "-o", "static=on"]),
        ("vhd", &["-f", "vpc", "-o", "force_size=on"]),
        ("vhdx", &["-f", "vhdx"]),
        ("raw", &["-f", "raw"]),
    ] {
        let data = create(dir.path(), "image", arguments);
        assert_eq!(
            accepted(format, &data),
            (format, Some(SIZE)),
            "{arguments:?}"
        );
        assert_eq!(
            accepted("raw", &data),
            (format, Some(data.len() as u64)),
            "{arguments:?}"
        );
    }
    create(dir.path(), "base.qcow2", &["-f", "qcow2"]);
    create(dir.path(), "base.vmdk", &["-f", "vmdk"]);
    let secret = ["--object", "secret,id=s,data=secret"];
    for (format, arguments, reason) in [
        (
            "qcow2",
            &["-f", "qcow2", "-F", "qcow2", "-b", "base.qcow2"][..],
            "backing file",
        ),
        (
            "qcow2",
            &[
                "-f",
                "qcow2",
                "-o",
                "compat=0.10",
                "-F",
                "qcow2",
                "-b",
                "base.qcow2",
            ],
            "backing file",
        ),
        (
            "qcow2",
            &["-f", "qcow2", "-o", "data_file=data.raw"],
            "external data file",
        ),
        (
            "qcow2",
            &["-f", "qcow2", "-o", "extended_l2=on"],
            "unknown incompatible",
        ),
        ("qed", &["-f", "qed"], "not allowed"),
        (
            "vmdk",
            &["-f", "vmdk", "-F", "vmdk", "-b", "base.vmdk"],
            "names a parent",
        ),
        (
            "vmdk",
            &["-f", "vmdk", "-o", "subformat=monolithicFlat"],
            "without its data",
        ),
        (
            "vmdk",
            &["-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"],
            "without its data",
        ),
    ] {
        let data = create(dir.path(), "unsafe", arguments);
        let why = unsafe_because(format, &data);
        assert!(why.contains(reason), "{arguments:?}: {why}");
    }
    let encrypted = ["-f", "luks", "-o", "key-secret=s,iter-time=10"];
    let data = create(dir.path(), "luks", &[&secret[..], &encrypted].concat());
    assert_eq!(accepted("luks", &data), ("luks", Some(SIZE)));
}
