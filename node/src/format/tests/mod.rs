//! Images are made by hand, so that every field can be made wrong; `qemu` has real ones.

mod declared;
mod formats;
mod qemu;
mod random;
mod vmdk;

use super::{Inspector, Refused, Rules, Verdict};

/// Everything that the formats keep at once, at most: a VMDK descriptor and footer, a VHDX table,
/// an ISO descriptor and the headers.
const MAX_HELD: usize = (1 << 20) + 64 * 1024 + 1536 + 2048 + 7 * 592;

fn rules(declared: &str) -> Rules {
    Rules {
        disk_format: declared.into(),
        container_format: "bare".into(),
        vmdk_allowed_types: vec!["streamOptimized".into(), "monolithicSparse".into()],
        require_match: true,
        gpt_nonfatal: Vec::new(),
    }
}

/// The verdict with the stream cut into pieces of these lengths, again and again.
fn inspect_in(rules: Rules, data: &[u8], lengths: &[usize]) -> Result<Verdict, Refused> {
    let mut inspector = Inspector::new(rules);
    let mut rest = data;
    for length in lengths.iter().cycle() {
        let (piece, after) = rest.split_at((*length).min(rest.len()));
        rest = after;
        let outcome = inspector.update(piece);
        assert!(inspector.held() <= MAX_HELD, "holds {}", inspector.held());
        outcome?;
        if rest.is_empty() {
            break;
        }
    }
    inspector.finish()
}

/// The verdict, which is the same for one piece and for odd ones.
fn inspect(rules: Rules, data: &[u8]) -> Result<Verdict, Refused> {
    let whole = inspect_in(rules.clone(), data, &[usize::MAX]);
    let pieces = inspect_in(rules, data, &[1, 511, 2, 4096, 509]);
    match (&whole, &pieces) {
        (Err(_), Err(_)) => {}
        _ => assert_eq!(whole, pieces),
    }
    whole
}

/// Format and size of data that is accepted as what is declared.
fn accepted(declared: &str, data: &[u8]) -> (&'static str, Option<u64>) {
    match inspect(rules(declared), data) {
        Ok(verdict) => (verdict.format, verdict.virtual_size),
        Err(refused) => panic!("{declared}: {refused}"),
    }
}

/// Why data is refused, declared as what it is and as raw: the safety checks run in either case.
fn unsafe_because(format: &str, data: &[u8]) -> String {
    let as_raw = inspect(rules("raw"), data).expect_err("safe as raw");
    let as_itself = inspect(rules(format), data).expect_err("safe");
    assert_eq!(as_raw, as_itself);
    as_itself.0
}

fn put(data: &mut [u8], offset: usize, bytes: &[u8]) {
    data[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn qcow2(version: u32) -> Vec<u8> {
    let mut data = vec![0; 65536];
    put(&mut data, 0, b"QFI\xfb");
    put(&mut data, 4, &version.to_be_bytes());
    put(&mut data, 24, &(10u64 << 30).to_be_bytes());
    data
}

fn qed() -> Vec<u8> {
    let mut data = vec![0; 4096];
    put(&mut data, 0, b"QED\0");
    data
}

fn vhd() -> Vec<u8> {
    let mut data = vec![0; 2048];
    put(&mut data, 0, b"conectix");
    put(&mut data, 40, &(2u64 << 20).to_be_bytes());
    put(&mut data, 48, &(3u64 << 20).to_be_bytes());
    put(&mut data, 60, &3u32.to_be_bytes());
    // The footer.
    data.copy_within(..512, 2048 - 512);
    data
}

fn vdi() -> Vec<u8> {
    let mut data = vec![0; 4096];
    put(&mut data, 0, b"<<< Oracle VM VirtualBox Disk Image >>>\n");
    put(&mut data, 0x40, &0xbeda_107f_u32.to_le_bytes());
    put(&mut data, 0x170, &(5u64 << 20).to_le_bytes());
    data
}

fn luks() -> Vec<u8> {
    let mut data = vec![0xa5; 8192];
    put(&mut data, 0, b"LUKS\xba\xbe\0\x01");
    put(&mut data, 104, &8u32.to_be_bytes());
    data
}

/// A disk with one Linux partition.
fn mbr() -> Vec<u8> {
    let mut data = vec![0; 4096];
    put(&mut data, 446, &[0x80, 0x20, 0x21, 0, 0x83]);
    put(&mut data, 510, &[0x55, 0xaa]);
    data
}

/// A disk with a protective partition.
fn gpt() -> Vec<u8> {
    let mut data = vec![0; 4096];
    put(
        &mut data,
        446,
        &[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0],
    );
    put(&mut data, 510, &[0x55, 0xaa]);
    data
}

fn iso() -> Vec<u8> {
    let mut data = vec![0; 40 * 1024];
    put(&mut data, 32768, b"\x01CD001\x01");
    put(&mut data, 32768 + 80, &20u32.to_le_bytes());
    put(&mut data, 32768 + 128, &2048u16.to_le_bytes());
    data
}

/// An ISO that boots as a disk.
fn hybrid(boot_sector: &[u8]) -> Vec<u8> {
    let mut data = iso();
    put(&mut data, 0, &boot_sector[..512]);
    data
}

const VHDX_METADATA: usize = 2 << 20;

fn vhdx() -> Vec<u8> {
    const TABLE: usize = 192 * 1024;
    let mut data = vec![0; 3 << 20];
    put(&mut data, 0, b"vhdxfile");
    put(&mut data, TABLE, b"regi");
    put(&mut data, TABLE + 8, &2u32.to_le_bytes());
    // The block allocation table is the first entry.
    put(&mut data, TABLE + 16, &[0x66, 0x77, 0xc2, 0x2d]);
    let guid = [
        0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88,
        0x6e,
    ];
    put(&mut data, TABLE + 48, &guid);
    put(&mut data, TABLE + 64, &(VHDX_METADATA as u64).to_le_bytes());
    put(&mut data, VHDX_METADATA, b"metadata");
    put(&mut data, VHDX_METADATA + 10, &2u16.to_le_bytes());
    let guid = [
        0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4,
        0xb8,
    ];
    put(&mut data, VHDX_METADATA + 32, &guid);
    put(&mut data, VHDX_METADATA + 48, &(0x1_0008u32).to_le_bytes());
    put(&mut data, VHDX_METADATA + 52, &8u32.to_le_bytes());
    put(
        &mut data,
        VHDX_METADATA + 0x1_0008,
        &(7u64 << 30).to_le_bytes(),
    );
    let guid = [
        0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7,
        0x6b,
    ];
    put(&mut data, VHDX_METADATA + 64, &guid);
    put(&mut data, VHDX_METADATA + 80, &0x1_0000u32.to_le_bytes());
    put(&mut data, VHDX_METADATA + 84, &8u32.to_le_bytes());
    // Blocks of 32 MiB, left allocated.
    put(
        &mut data,
        VHDX_METADATA + 0x1_0000,
        &(1u64 << 32 | 32 << 20).to_le_bytes(),
    );
    // The second copy.
    data.copy_within(TABLE..TABLE + 0x1_0000, TABLE + 0x1_0000);
    data
}

const DESCRIPTOR: &str = "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n\
    createType=\"monolithicSparse\"\n\n# Extent description\nRW 2048 SPARSE \"disk.vmdk\"\n\n\
    # The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\nddb.adapterType = \"ide\"\n";

/// With room for the descriptor.
fn vmdk(descriptor: &[u8]) -> Vec<u8> {
    let sectors = descriptor.len().div_ceil(512).max(20);
    let mut data = vec![0; 512 * (sectors + 9)];
    put(&mut data, 0, b"KDMV");
    put(&mut data, 4, &1u32.to_le_bytes());
    put(&mut data, 12, &2048u64.to_le_bytes());
    put(&mut data, 20, &128u64.to_le_bytes());
    put(&mut data, 28, &1u64.to_le_bytes());
    put(&mut data, 36, &(sectors as u64).to_le_bytes());
    put(&mut data, 44, &512u32.to_le_bytes());
    put(&mut data, 56, &26u64.to_le_bytes());
    put(&mut data, 512, descriptor);
    data
}

/// streamOptimized: the header says that the grain directory is in the footer.
fn stream_optimized() -> Vec<u8> {
    let text = DESCRIPTOR.replace("monolithicSparse", "streamOptimized");
    let mut data = vmdk(text.as_bytes());
    put(&mut data, 56, &u64::MAX.to_le_bytes());
    let mut footer = [0; 3 * 512];
    put(&mut footer, 0, &1u64.to_le_bytes());
    put(&mut footer, 12, &3u32.to_le_bytes());
    put(&mut footer, 512, &data[..512]);
    put(&mut footer, 512 + 56, &40u64.to_le_bytes());
    data.extend(footer);
    data
}

/// A sound image of every format: name, data, size within.
fn samples() -> Vec<(&'static str, Vec<u8>, Option<u64>)> {
    vec![
        ("qcow2", qcow2(2), Some(10 << 30)),
        ("qcow2", qcow2(3), Some(10 << 30)),
        ("vhd", vhd(), Some(3 << 20)),
        ("vhdx", vhdx(), Some(7 << 30)),
        ("vmdk", vmdk(DESCRIPTOR.as_bytes()), Some(1 << 20)),
        ("vmdk", stream_optimized(), Some(1 << 20)),
        ("vdi", vdi(), Some(5 << 20)),
        ("iso", iso(), Some(40960)),
        ("iso", hybrid(&mbr()), Some(40960)),
        ("gpt", mbr(), Some(4096)),
        ("gpt", gpt(), Some(4096)),
        ("luks", luks(), Some(4096)),
        ("raw", vec![0; 100_000], Some(100_000)),
        (
            "raw",
            b"#!/bin/sh\necho a text that is no descriptor\n".to_vec(),
            Some(44),
        ),
        ("raw", Vec::new(), Some(0)),
    ]
}
