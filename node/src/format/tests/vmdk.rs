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

/// A descriptor alone, whose disk is a file of the host.
const FLAT: &str = "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n\
    createType=\"monolithicFlat\"\nRW 1 FLAT \"/etc/passwd\" 0\n";

/// That data is refused, as what it is, as raw, and as what cannot be inspected.
#[track_caller]
fn refused_as_anything(what: &str, data: &[u8]) {
    for declared in ["vmdk", "raw", "ami", "aki", "ploop", "qcow2"] {
        for require_match in [true, false] {
            let rules = Rules {
                require_match,
                ..rules(declared)
            };
            let refused = inspect(rules, data);
            assert!(refused.is_err(), "{what} as {declared}: {refused:?}");
        }
    }
    let why = unsafe_because("vmdk", data);
    assert!(why.contains("without its data"), "{what}: {why}");
}

#[test]
fn cve_2022_47951_one_byte_in_a_comment_does_not_hide_a_descriptor() {
    for comment in [
        &b"# \xe9"[..],
        b"#\xe9",
        b"#\xff\xfe",
        b"# \x01\x7f",
        b"#\x80\n#\x81",
    ] {
        let text = FLAT.as_bytes().split_at(FLAT.find('\n').unwrap()).1;
        refused_as_anything("in the first line", &[comment, text].concat());
        let before = [b"createType=\"monolithicFlat\"\n", comment, b"\n"].concat();
        let data = [&before, FLAT.as_bytes()].concat();
        refused_as_anything("behind the word", &data);
        let data = [FLAT.as_bytes(), comment].concat();
        refused_as_anything("at the end", &data);
    }
}

#[test]
fn cve_2022_47951_any_two_characters_do_for_the_equals_sign_of_the_create_type() {
    for sign in [
        "==", "= ", "  ", "\n\"", "\t\t", ":\"", "'\"", "ab", "=\u{e9}", "=", "",
    ] {
        let text = FLAT.replace("=\"monolithicFlat", &format!("{sign}monolithicFlat"));
        assert_ne!(text, FLAT);
        refused_as_anything(sign, text.as_bytes());
    }
    for word in [
        "createtype",
        "CREATETYPE",
        "ddb.createType",
        "xcreateTypecreateType",
    ] {
        refused_as_anything(word, FLAT.replace("createType", word).as_bytes());
    }
}

#[test]
fn cve_2022_47951_a_descriptor_is_seen_wherever_qemu_sees_it() {
    let flat = FLAT.as_bytes();
    let with_start = |start: &[u8]| [start, flat].concat();
    for (what, data) in [
        ("as it is", flat.to_vec()),
        ("of an allowed type", DESCRIPTOR.as_bytes().to_vec()),
        ("lines of Windows", FLAT.replace('\n', "\r\n").into_bytes()),
        ("no line end", FLAT.trim_end().as_bytes().to_vec()),
        ("spaces first", with_start(b"  \n   \r\n")),
        ("an indented comment", with_start(b"   ")),
        ("tabs first", with_start(b"\t\t\n\x0b\x0c\n")),
        ("empty lines first", with_start(b"\n\n\r\n")),
        ("a byte order mark first", with_start(b"\xef\xbb\xbf")),
        ("binary first", with_start(&[0xff; 300])),
        ("more binary first", with_start(&[0xff; 3000])),
        (
            "10 KB of comments first",
            with_start(&b"# comment\n".repeat(1000)),
        ),
        (
            "one comment of 10 KB first",
            with_start(&[&[b'#'; 10_000][..], b"\n"].concat()),
        ),
        (
            "as late as QEMU reads",
            with_start(&vec![b'\n'; (1 << 20) - 1 - FLAT.find("Type").unwrap() - 4]),
        ),
        ("across the first sector", with_start(&[b'#'; 512 - 75])),
        ("zeros behind", [flat, &[0; 4096]].concat()),
        (
            "3 MiB of text behind",
            [flat, &vec![b'\n'; 3 << 20]].concat(),
        ),
        ("binary behind", [flat, &[0xe9; 700]].concat()),
        ("an ISO behind", {
            let mut data = iso();
            put(&mut data, 0, flat);
            data[flat.len()..32_768].fill(b'\n');
            data
        }),
        ("the word alone", b"createType".to_vec()),
        // QEMU's probe takes what its reader then cannot follow.
        ("no createType", b"# x\nversion=1\nCID=1\n".to_vec()),
        ("a NUL in a comment", b"#\0\nversion=3\r\n".to_vec()),
        ("version first", [b"version=2\n", flat].concat()),
    ] {
        refused_as_anything(what, &data);
    }
}

#[test]
fn every_place_of_a_descriptor_in_the_first_sectors_is_seen() {
    // With what surely is no word before it, byte by byte over the bounds of sector and piece.
    for before in (0..=1030).step_by(7).chain(480..520) {
        let mut data = vec![b'c'; before];
        data.extend(b"createTYPE");
        for lengths in [&[usize::MAX][..], &[1], &[511, 2], &[512], &[513, 3]] {
            let refused = inspect_in(rules("raw"), &data, lengths);
            assert!(refused.is_err(), "{before} {lengths:?}");
        }
    }
}

#[test]
fn a_sparse_file_of_esx_is_refused() {
    let mut data = vec![0; 4096];
    put(&mut data, 0, b"COWD\x01\0\0\0");
    // QEMU reads it, and opens what this says.
    put(
        &mut data,
        512,
        b"parentFileNameHint=\"/etc/passwd\"\nCID=1\nparentCID=1\n",
    );
    for declared in ["vmdk", "raw", "ami"] {
        let refused = inspect(rules(declared), &data).unwrap_err();
        assert!(refused.0.contains("ESX"), "{declared}: {refused}");
    }
}

#[test]
fn a_descriptor_that_qemu_reads_on_behind_is_refused() {
    let mut text = DESCRIPTOR.to_owned();
    while text.len() < 1024 {
        text.push('#');
    }
    let mut data = vmdk(text.as_bytes());
    put(&mut data, 36, &2u64.to_le_bytes());
    put(
        &mut data,
        512 + 1024,
        b"\nparentFileNameHint=\"/etc/passwd\"\n",
    );
    assert!(unsafe_because("vmdk", &data).contains("does not end with a NUL"));
    // With its end it is what the file says it is.
    put(&mut data, 512 + 1023, b"\0");
    assert_eq!(accepted("vmdk", &data), ("vmdk", Some(1 << 20)));
}

#[test]
fn data_that_is_no_descriptor_is_raw() {
    let mut long = b"a line of text\n".repeat(200_000);
    long.extend(DESCRIPTOR.as_bytes());
    let late = [&vec![b'\n'; (1 << 20) - 10], &b"createType"[..]].concat();
    let mut behind_zero = vec![b'x'; 2000];
    behind_zero[1000] = 0;
    behind_zero.extend(FLAT.as_bytes());
    for data in [
        &b"KDM"[..],
        b"COW",
        b"createTyp",
        b"create type",
        b"\0createType=\"x\"",
        b"# comment\nversions=1\n",
        b"#version=1",
        b"a\nversion=1\n",
        &long,
        &late,
        &behind_zero,
    ] {
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
    // QEMU reads whole sectors, the last ones, so one that is not at their bound is not its own.
    for more in [1, 100, 511] {
        let mut moved = sound[..footer].to_vec();
        moved.resize(footer + more, 0);
        moved.extend(&sound[footer..]);
        assert!(
            unsafe_because("vmdk", &moved).contains("cut short"),
            "{more}"
        );
    }
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
