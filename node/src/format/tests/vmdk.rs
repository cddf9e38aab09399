//! The checks of VMDK.

use super::*;

fn refused_with(descriptor: &str) -> String {
    unsafe_because("vmdk", &vmdk(descriptor.as_bytes()))
}

#[test]
fn a_header_that_makes_no_sense_is_refused() {
    for (offset, bytes, reason) in [
        (4, &0u32.to_le_bytes()[..], "version"),
        (4, &4u32.to_le_bytes(), "version"),
        (12, &0u64.to_le_bytes(), "capacity"),
        (12, &u64::MAX.to_le_bytes(), "capacity"),
        (28, &0u64.to_le_bytes(), "second sector"),
        (28, &2u64.to_le_bytes(), "second sector"),
        (28, &(1u64 << 55).to_le_bytes(), "second sector"),
        (36, &0u64.to_le_bytes(), "1 MiB"),
        (36, &2048u64.to_le_bytes(), "1 MiB"),
        (36, &u64::MAX.to_le_bytes(), "1 MiB"),
        (36, &((1u64 << 55) + 1).to_le_bytes(), "1 MiB"),
        // Longer than the file.
        (36, &2047u64.to_le_bytes(), "cut short"),
    ] {
        let mut data = vmdk(DESCRIPTOR.as_bytes());
        put(&mut data, offset, bytes);
        let why = unsafe_because("vmdk", &data);
        assert!(why.contains(reason), "{offset} {bytes:?}: {why}");
    }
    for version in 1u32..=3 {
        let mut data = vmdk(DESCRIPTOR.as_bytes());
        put(&mut data, 4, &version.to_le_bytes());
        assert_eq!(accepted("vmdk", &data), ("vmdk", Some(1 << 20)));
    }
}

#[test]
fn the_largest_descriptor_passes() {
    let mut text = DESCRIPTOR.to_owned();
    while text.len() < 2047 * 512 - 100 {
        text.push_str("# 0123456789012345678901234567890123456789\n");
    }
    let data = vmdk(text.as_bytes());
    assert_eq!(accepted("vmdk", &data), ("vmdk", Some(1 << 20)));
}

#[test]
fn only_the_sparse_types_that_are_allowed_pass() {
    for kind in [
        "monolithicFlat",
        "twoGbMaxExtentSparse",
        "twoGbMaxExtentFlat",
        "vmfs",
        "vmfsSparse",
        "fullDevice",
        "partitionedDevice",
        "custom",
        "",
        "monolithicSparse2",
    ] {
        let why = refused_with(&DESCRIPTOR.replace("monolithicSparse", kind));
        assert!(why.contains("createType is not allowed"), "{kind}: {why}");
    }
    let data = vmdk(DESCRIPTOR.to_uppercase().as_bytes());
    assert_eq!(accepted("vmdk", &data), ("vmdk", Some(1 << 20)));
    let only = |types: &[&str]| Rules {
        vmdk_allowed_types: types.iter().map(|name| (*name).into()).collect(),
        ..rules("vmdk")
    };
    for (types, allowed) in [
        (&["monolithicSparse"][..], true),
        (&["MONOLITHICSPARSE"], true),
        (&["streamOptimized"], false),
        (&[], false),
    ] {
        assert_eq!(inspect(only(types), &data).is_ok(), allowed, "{types:?}");
    }
    // Listing it does not make it safe.
    let flat = vmdk(
        DESCRIPTOR
            .replace("monolithicSparse", "monolithicFlat")
            .as_bytes(),
    );
    assert!(inspect(only(&["monolithicFlat"]), &flat).is_err());
}

#[test]
fn a_descriptor_with_anything_unknown_is_refused() {
    let extent = "RW 2048 SPARSE \"disk.vmdk\"";
    for (from, to, reason) in [
        ("createType=\"monolithicSparse\"\n", "", "no createType"),
        (
            "createType=\"monolithicSparse\"",
            "createType=\"monolithicSparse",
            "not allowed",
        ),
        ("createType=", "createType =", "no createType"),
        (extent, "", "no extent"),
        (extent, "RW 2048 FLAT \"/etc/passwd\" 0", "names a path"),
        (extent, "RDONLY 1 FLAT \"../x\" 0", "names a path"),
        (
            extent,
            "rw 2048 sparse \"a\"\nNOACCESS 1 FLAT \"b/c\"",
            "names a path",
        ),
        (extent, "RW\t2048 SPARSE \"disk.vmdk\"", "unknown kind"),
        // To QEMU any white space parts the words.
        (extent, "RW\t1\tFLAT\t\"/etc/passwd\"\t0\t=", "unknown kind"),
        (extent, "WO 2048 SPARSE \"disk.vmdk\"", "unknown kind"),
        ("version=1", "version 1", "unknown kind"),
        ("version=1", "my version=1", "unknown kind"),
        ("version=1", "vérsion=1", "not ASCII"),
        (
            "version=1",
            "parentFileNameHint=\"/etc/passwd\"",
            "names a parent",
        ),
        (
            "# Extent",
            "# parentFileNameHint=\"/etc/passwd\"",
            "names a parent",
        ),
        (
            "# Disk",
            "# createType:\"monolithicFlat\"\n# Disk",
            "more than one createType",
        ),
        (
            "ddb.adapterType",
            "ddb.createType=\"vmfs\"\nddb.adapterType",
            "more than one",
        ),
    ] {
        let text = DESCRIPTOR.replacen(from, to, 1);
        assert_ne!(text, DESCRIPTOR, "{from}");
        let why = refused_with(&text);
        assert!(why.contains(reason), "{to}: {why}");
    }
    // What comes after the first NUL is padding.
    let data = vmdk(format!("{DESCRIPTOR}\0RW 1 FLAT \"/etc/passwd\" 0\n").as_bytes());
    assert_eq!(accepted("vmdk", &data), ("vmdk", Some(1 << 20)));
    let windows = DESCRIPTOR.replace('\n', "\r\n");
    assert_eq!(
        accepted("vmdk", &vmdk(windows.as_bytes())),
        ("vmdk", Some(1 << 20))
    );
}

#[test]
fn a_descriptor_without_its_data_is_refused() {
    let flat = DESCRIPTOR.replace("monolithicSparse", "monolithicFlat");
    let mut padded = flat.clone().into_bytes();
    padded.resize(4096, 0);
    let mut late = "# a comment\n".repeat(50_000).into_bytes();
    late.extend(flat.as_bytes());
    for data in [
        flat.as_bytes(),
        DESCRIPTOR.as_bytes(),
        b"CREATETYPE=\"x",
        &padded,
        &late,
        &[flat.as_bytes(), &vec![b'\n'; 3 << 20]].concat(),
    ] {
        let why = unsafe_because("vmdk", data);
        assert!(why.contains("without its data"), "{why}");
    }
}

#[test]
fn text_that_is_no_descriptor_is_raw() {
    let mut long = b"a line of text\n".repeat(200_000);
    long.extend(DESCRIPTOR.as_bytes());
    for data in [&b"KDM"[..], b"createType=", b"\0createType=\"x\"", &long] {
        assert_eq!(accepted("raw", data), ("raw", Some(data.len() as u64)));
    }
}

#[test]
fn a_footer_that_says_otherwise_than_the_header_is_refused() {
    let sound = stream_optimized();
    assert_eq!(accepted("vmdk", &sound), ("vmdk", Some(1 << 20)));
    let footer = sound.len() - 1536;
    for (offset, bytes, reason) in [
        (footer + 512, &b"COWD"[..], "differs from the header"),
        (
            footer + 512 + 4,
            &2u32.to_le_bytes(),
            "differs from the header",
        ),
        (
            footer + 512 + 12,
            &4096u64.to_le_bytes(),
            "differs from the header",
        ),
        (
            footer + 512 + 28,
            &2u64.to_le_bytes(),
            "differs from the header",
        ),
        (
            footer + 512 + 36,
            &1u64.to_le_bytes(),
            "differs from the header",
        ),
        (footer + 512 + 56, &u64::MAX.to_le_bytes(), "another footer"),
        (footer + 8, &1u32.to_le_bytes(), "its marker is invalid"),
        (footer + 12, &2u32.to_le_bytes(), "its marker is invalid"),
        (footer + 16, &[1], "its marker is invalid"),
        (footer + 511, &[1], "its marker is invalid"),
        (footer + 1024, &[1], "end of the stream"),
        (footer + 1024 + 8, &[1], "end of the stream"),
        (footer + 1024 + 12, &[3], "end of the stream"),
        (footer + 1535, &[1], "end of the stream"),
    ] {
        let mut data = sound.clone();
        put(&mut data, offset, bytes);
        let why = unsafe_because("vmdk", &data);
        assert!(why.contains(reason), "{offset}: {why}");
    }
    // A second footer behind the first takes its place.
    let mut twice = sound.clone();
    let mut second = sound[footer..].to_vec();
    put(&mut second, 512 + 28, &3u64.to_le_bytes());
    twice.extend(second);
    assert!(unsafe_because("vmdk", &twice).contains("differs from the header"));
    for cut in [1, 512, 1536] {
        assert!(
            inspect(rules("vmdk"), &sound[..sound.len() - cut]).is_err(),
            "{cut}"
        );
    }
    // No footer is looked for where the header does not say that there is one.
    let mut none = vmdk(DESCRIPTOR.as_bytes());
    none.extend([0xff; 2000]);
    assert_eq!(accepted("vmdk", &none), ("vmdk", Some(1 << 20)));
}
