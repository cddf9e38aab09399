//! Each format's recognition and checks, but for VMDK.

use super::*;

#[test]
fn qcow2_that_names_files_of_the_host_is_refused() {
    for offset in 8..16 {
        let mut data = qcow2(3);
        data[offset] = 1;
        assert!(
            unsafe_because("qcow2", &data).contains("backing file"),
            "byte {offset}"
        );
        let mut data = qcow2(2);
        data[offset] = 1;
        assert!(
            unsafe_because("qcow2", &data).contains("backing file"),
            "byte {offset}"
        );
    }
    let mut data = qcow2(3);
    data[79] = 0b100;
    assert!(unsafe_because("qcow2", &data).contains("external data file"));
}

#[test]
fn qcow2_with_unknown_features_is_refused() {
    for bit in 0..64u32 {
        let mut data = qcow2(3);
        put(&mut data, 72, &(1u64 << bit).to_be_bytes());
        let verdict = inspect(rules("qcow2"), &data);
        assert_eq!(
            verdict.is_ok(),
            [0, 1, 3].contains(&bit),
            "bit {bit}: {verdict:?}"
        );
        // In version 2 there is no such field.
        put(&mut data, 4, &2u32.to_be_bytes());
        assert!(inspect(rules("qcow2"), &data).is_ok(), "bit {bit}");
    }
    for version in [0, 1, 4, u32::MAX] {
        assert!(
            unsafe_because("qcow2", &qcow2(version)).contains("version"),
            "{version}"
        );
    }
}

#[test]
fn qed_is_never_allowed() {
    assert!(unsafe_because("qed", &qed()).contains("not allowed"));
}

#[test]
fn luks_of_another_version_is_refused() {
    for version in [0u16, 2, 256] {
        let mut data = luks();
        put(&mut data, 6, &version.to_be_bytes());
        assert!(
            unsafe_because("luks", &data).contains("version"),
            "{version}"
        );
    }
    let mut data = luks();
    put(&mut data, 104, &u32::MAX.to_be_bytes());
    assert_eq!(accepted("luks", &data), ("luks", None));
}

#[test]
fn partition_tables_that_make_no_sense_are_refused() {
    let with = |base: Vec<u8>, offset: usize, bytes: &[u8]| {
        let mut data = base;
        put(&mut data, offset, bytes);
        data
    };
    for (data, reason) in [
        (with(mbr(), 446, &[0x81]), "invalid boot flag"),
        (with(mbr(), 446 + 48, &[1]), "invalid boot flag"),
        (with(mbr(), 450, &[0]), "no partition"),
        (with(gpt(), 447, &[1]), "start CHS"),
        (with(gpt(), 448, &[1]), "start CHS"),
        (with(gpt(), 449, &[1]), "start CHS"),
        (with(gpt(), 454, &[2]), "start LBA"),
        (with(gpt(), 457, &[1]), "start LBA"),
        (with(gpt(), 466, &[0x83]), "other partitions"),
        // Protective, but not the first.
        (
            with(with(gpt(), 446, &[0; 16]), 462, &gpt()[446..462]),
            "other partitions",
        ),
    ] {
        let why = unsafe_because("gpt", &data);
        assert!(
            why.contains(reason) && why.contains("(mbr)"),
            "{reason}: {why}"
        );
        let tolerant = |declared| Rules {
            gpt_nonfatal: vec!["mbr".into()],
            ..rules(declared)
        };
        assert!(inspect(tolerant("gpt"), &data).is_ok(), "{reason}");
        assert!(inspect(tolerant("raw"), &data).is_ok(), "{reason}");
        let other = Rules {
            gpt_nonfatal: vec!["gptmbr".into()],
            ..rules("gpt")
        };
        assert!(inspect(other, &data).is_err(), "{reason}");
        // A kernel begins like this.
        assert!(inspect(rules("aki"), &data).is_ok(), "{reason}");
        assert!(inspect(rules("ari"), &data).is_ok(), "{reason}");
        assert!(inspect(rules("ami"), &data).is_err(), "{reason}");
    }
}

#[test]
fn a_fat_file_system_is_no_partition_table() {
    let mut data = mbr();
    data[446] = 0x42;
    data[0x10] = 2;
    data[0x15] = 0xf8;
    assert_eq!(accepted("raw", &data), ("raw", Some(4096)));
    data[0x15] = 0xf0;
    assert!(inspect(rules("raw"), &data).is_err());
}

#[test]
fn iso_and_udf_are_told_by_their_first_descriptor() {
    for signature in [b"CD001", b"NSR02", b"NSR03"] {
        let mut data = iso();
        put(&mut data, 32769, signature);
        assert_eq!(accepted("iso", &data), ("iso", Some(40960)));
        // Not the primary one: no size.
        data[32768] = 0;
        assert_eq!(accepted("iso", &data), ("iso", None));
    }
    let mut data = iso();
    put(&mut data, 32769, b"CD002");
    assert_eq!(accepted("raw", &data), ("raw", Some(40960)));
    assert_eq!(accepted("raw", &iso()[..34815]), ("raw", Some(34815)));
    assert_eq!(accepted("iso", &iso()[..34816]), ("iso", Some(40960)));
}

#[test]
fn a_vhd_with_a_parent_or_of_no_known_type_is_refused() {
    let of_type = |at: usize, kind: u32| {
        let mut data = vhd();
        put(&mut data, at + 60, &kind.to_be_bytes());
        data
    };
    let footer = vhd().len() - 512;
    for at in [0, footer] {
        assert_eq!(accepted("vhd", &of_type(at, 2)), ("vhd", Some(3 << 20)));
        assert!(unsafe_because("vhd", &of_type(at, 4)).contains("parent"));
        for kind in [0, 1, 5, 6, u32::MAX] {
            let why = unsafe_because("vhd", &of_type(at, kind));
            assert!(why.contains("(disk_type)"), "{kind}: {why}");
        }
    }
    // Without a footer, readers take the copy.
    assert_eq!(accepted("vhd", &vhd()[..footer]).0, "vhd");
    // It is certain once the header is there.
    let mut inspector = Inspector::new(rules("vhd"));
    assert!(inspector.update(&of_type(0, 4)[..512]).is_err());
}

#[test]
fn a_vhdx_with_a_parent_is_refused() {
    let with = |offset: usize, bytes: &[u8]| {
        let mut data = vhdx();
        put(&mut data, offset, bytes);
        data
    };
    let flags = VHDX_METADATA + 0x1_0000 + 4;
    for (word, safe) in [(0u32, true), (1, true), (2, false), (3, false)] {
        let data = with(flags, &word.to_le_bytes());
        match safe {
            true => assert_eq!(accepted("vhdx", &data).1, Some(7 << 30)),
            false => assert!(unsafe_because("vhdx", &data).contains("parent")),
        }
    }
    let mut data = with(VHDX_METADATA + 10, &3u16.to_le_bytes());
    let locator = [
        0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab,
        0x0c,
    ];
    put(&mut data, VHDX_METADATA + 96, &locator);
    put(&mut data, VHDX_METADATA + 112, &0x1_0010u32.to_le_bytes());
    assert!(unsafe_because("vhdx", &data).contains("parent"));
}

#[test]
fn vhdx_tables_that_may_hide_a_parent_are_refused() {
    const TABLE: usize = 192 * 1024;
    let parameters = &vhdx()[VHDX_METADATA + 64..VHDX_METADATA + 80];
    for (offset, bytes) in [
        (TABLE, &b"regx"[..]),
        (TABLE + 8, &2048u32.to_le_bytes()),
        (TABLE + 8, &u32::MAX.to_le_bytes()),
        (TABLE + 8, &1u32.to_le_bytes()),
        (TABLE + 48, &[0; 16]),
        // Before what has been read already.
        (TABLE + 64, &0u64.to_le_bytes()),
        (TABLE + 64, &(320 * 1024 - 1u64).to_le_bytes()),
        // The copies name different places, or only one names any.
        (TABLE + 64, &(1u64 << 20).to_le_bytes()),
        (TABLE + 0x1_0000 + 64, &(1u64 << 20).to_le_bytes()),
        (TABLE + 0x1_0000 + 48, &[0; 16]),
        (VHDX_METADATA, b"metadatx"),
        (VHDX_METADATA + 10, &0u16.to_le_bytes()),
        (VHDX_METADATA + 10, &1u16.to_le_bytes()),
        (VHDX_METADATA + 10, &u16::MAX.to_le_bytes()),
        (VHDX_METADATA + 32, &[0; 16]),
        (VHDX_METADATA + 48, &0xffffu32.to_le_bytes()),
        (VHDX_METADATA + 64, &[0; 16]),
        (VHDX_METADATA + 80, &0xffffu32.to_le_bytes()),
        // Twice.
        (VHDX_METADATA + 32, parameters),
    ] {
        let mut data = vhdx();
        put(&mut data, offset, bytes);
        let why = unsafe_because("vhdx", &data);
        assert!(why.contains("(metadata)"), "{offset}: {why}");
    }
    // What is no table at all is none to a reader either.
    let mut data = vhdx();
    put(&mut data, TABLE + 0x1_0000, b"regx");
    assert_eq!(accepted("vhdx", &data), ("vhdx", Some(7 << 30)));
}

#[test]
fn vhdx_that_points_beyond_its_end_is_refused() {
    const TABLE: usize = 192 * 1024;
    for start in [4u64 << 20, u64::MAX, u64::MAX - (64 << 10)] {
        let mut data = vhdx();
        put(&mut data, TABLE + 64, &start.to_le_bytes());
        put(&mut data, TABLE + 0x1_0000 + 64, &start.to_le_bytes());
        assert!(
            unsafe_because("vhdx", &data).contains("cut short"),
            "{start}"
        );
    }
    let mut data = vhdx();
    put(&mut data, VHDX_METADATA + 48, &u32::MAX.to_le_bytes());
    assert!(unsafe_because("vhdx", &data).contains("cut short"));
}

/// A reader that takes missing bytes for zeros opens such files.
#[test]
fn files_that_end_within_their_header_are_refused() {
    for (format, data, magic) in [
        ("qcow2", qcow2(3), 4),
        ("qed", qed(), 4),
        ("vhd", vhd(), 8),
        ("luks", luks(), 6),
        ("vhdx", vhdx(), 8),
        ("vmdk", vmdk(DESCRIPTOR.as_bytes()), 4),
    ] {
        for length in [magic, magic + 1, 100, 511] {
            let why = unsafe_because(format, &data[..length]);
            assert!(why.contains("cut short"), "{format} {length}: {why}");
        }
        assert_eq!(accepted("raw", &data[..magic - 1]).0, "raw", "{format}");
    }
    // These name no files; short, they are nothing.
    for data in [vdi(), mbr()] {
        assert_eq!(accepted("raw", &data[..511]), ("raw", Some(511)));
    }
}
