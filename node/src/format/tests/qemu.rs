//! Images as `qemu-img` makes them.

use std::process::Command;

use super::*;

const SIZE: u64 = 8 << 20;

fn create(dir: &std::path::Path, name: &str, arguments: &[&str]) -> Vec<u8> {
    let path = dir.join(name);
    let make = || {
        let output = Command::new("qemu-img")
            .args(["create", "-q"])
            .args(arguments)
            .arg(&path)
            .arg(SIZE.to_string())
            // Names of further files are relative to it.
            .current_dir(dir)
            .output()
            .expect("qemu-img starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    };
    // For LUKS it measures the CPU, and gives up where the machine is too busy for that.
    let (mut made, mut said) = make();
    for _ in 0..4 {
        if said.contains("Unable to get accurate CPU usage") {
            (made, said) = make();
        }
    }
    assert!(made, "{arguments:?}: {said}");
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

/// Whether `qemu-img` opens a file, told that it is a VMDK or not.
fn qemu_opens(path: &std::path::Path, format: &[&str]) -> bool {
    let output = Command::new("qemu-img")
        .arg("info")
        .args(format)
        .arg(path)
        .output()
        .expect("qemu-img starts");
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success() && text.contains("file format: vmdk")
}

#[test]
#[ignore = "needs qemu-img: cargo xtask test --stage clients"]
fn whatever_qemu_opens_as_a_descriptor_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    std::fs::write(dir.path().join("secret"), [7; 512]).unwrap();
    let long = [&[b'#'; 10_000][..], b"\n"].concat();
    let starts = [
        &b""[..],
        b"# Disk DescriptorFile\n",
        b"#\xe9\n",
        b"#\0\n",
        b"# a\r\n   \r\n  \n",
        b" ",
        b"\t\n",
        b"\n",
        b"\xef\xbb\xbf",
        b"x\xff\n",
        &long,
    ];
    let ends = [&b""[..], b"\n", b"\0\0\0\xff", b"\xe9\n", &long];
    let mut opened = [0; 2];
    for start in starts {
        for version in ["version=1\n", "version=3\r\n", "version=4\n", ""] {
            for create in [
                "createType=\"",
                "createType==",
                "createType  ",
                "xcreateType\n\"",
                "createType",
            ] {
                for space in [" ", "\t", "\n", " \r\n\t"] {
                    for end in ends {
                        let extent = ["RW", "1", "FLAT", "\"secret\"", "0"].join(space);
                        let text = format!(
                            "{version}CID=1\nparentCID=ffffffff\n{create}monolithicFlat\"\n{extent}"
                        );
                        let data = [start, text.as_bytes(), end].concat();
                        // The combinations are many and qemu-img is slow: every eighth.
                        if data.iter().map(|byte| u32::from(*byte)).sum::<u32>() % 8 != 0 {
                            continue;
                        }
                        std::fs::write(&path, &data).unwrap();
                        for (format, opened) in
                            [&[][..], &["-f", "vmdk"]].into_iter().zip(&mut opened)
                        {
                            if qemu_opens(&path, format) {
                                *opened += 1;
                                for declared in ["raw", "ami", "vmdk"] {
                                    let refused = inspect(rules(declared), &data);
                                    assert!(refused.is_err(), "{}", data.escape_ascii());
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(opened.iter().all(|opened| *opened > 5), "{opened:?}");
}
