//! Small disk images of each format, whole and crafted, made byte by byte from their
//! specifications.

/// A qcow2 header of version 3 (QEMU, interop/qcow2): 64 KiB clusters, `virtual_size` bytes.
pub fn qcow2(virtual_size: u64) -> Vec<u8> {
    let mut image = vec![0; 4 * 65_536];
    image[0..4].copy_from_slice(b"QFI\xfb");
    image[4..8].copy_from_slice(&3_u32.to_be_bytes());
    image[20..24].copy_from_slice(&16_u32.to_be_bytes()); // cluster_bits
    image[24..32].copy_from_slice(&virtual_size.to_be_bytes());
    image[36..40].copy_from_slice(&1_u32.to_be_bytes()); // l1_size
    image[40..48].copy_from_slice(&196_608_u64.to_be_bytes()); // l1_table_offset
    image[48..56].copy_from_slice(&65_536_u64.to_be_bytes()); // refcount_table_offset
    image[56..60].copy_from_slice(&1_u32.to_be_bytes()); // refcount_table_clusters
    image[96..100].copy_from_slice(&4_u32.to_be_bytes()); // refcount_order
    image[100..104].copy_from_slice(&104_u32.to_be_bytes()); // header_length
    image[65_536..65_544].copy_from_slice(&131_072_u64.to_be_bytes());
    for cluster in 0..4 {
        let at = 131_072 + cluster * 2;
        image[at..at + 2].copy_from_slice(&1_u16.to_be_bytes());
    }
    image
}

/// A qcow2 that names `/etc/passwd` as its backing file.
pub fn qcow2_with_backing_file() -> Vec<u8> {
    let mut image = qcow2(1 << 20);
    let name = b"/etc/passwd";
    image[8..16].copy_from_slice(&1024_u64.to_be_bytes());
    image[16..20].copy_from_slice(&11_u32.to_be_bytes());
    image[1024..1024 + name.len()].copy_from_slice(name);
    image
}

/// A qcow2 with the incompatible feature "external data file"; the header extension that names
/// the file is optional for those who craft one.
pub fn qcow2_with_data_file(named: bool) -> Vec<u8> {
    let mut image = qcow2(1 << 20);
    image[72..80].copy_from_slice(&4_u64.to_be_bytes());
    if named {
        image[104..108].copy_from_slice(&0x4441_5441_u32.to_be_bytes());
        image[108..112].copy_from_slice(&11_u32.to_be_bytes());
        image[112..123].copy_from_slice(b"/etc/passwd");
    }
    image
}

/// A qcow2 with an incompatible feature bit.
pub fn qcow2_with_feature(bit: u32) -> Vec<u8> {
    let mut image = qcow2(1 << 20);
    image[72..80].copy_from_slice(&(1_u64 << bit).to_be_bytes());
    image
}

/// A qcow2 of a version that does not exist.
pub fn qcow2_of_version(version: u32) -> Vec<u8> {
    let mut image = qcow2(1 << 20);
    image[4..8].copy_from_slice(&version.to_be_bytes());
    image
}

/// A QED header.
pub fn qed() -> Vec<u8> {
    let mut image = vec![0; 65_536];
    image[0..4].copy_from_slice(b"QED\0");
    image[4..8].copy_from_slice(&65_536_u32.to_le_bytes());
    image
}

/// A sparse VMDK whose descriptor is `descriptor`.
pub fn vmdk(descriptor: &str) -> Vec<u8> {
    let mut image = vec![0; 128 * 512];
    image[0..4].copy_from_slice(b"KDMV");
    image[4..8].copy_from_slice(&1_u32.to_le_bytes()); // version
    image[8..12].copy_from_slice(&3_u32.to_le_bytes()); // flags
    image[12..20].copy_from_slice(&2048_u64.to_le_bytes()); // capacity in sectors: 1 MiB
    image[20..28].copy_from_slice(&128_u64.to_le_bytes()); // grain size
    image[28..36].copy_from_slice(&1_u64.to_le_bytes()); // descriptor offset
    image[36..44].copy_from_slice(&20_u64.to_le_bytes()); // descriptor size
    image[44..48].copy_from_slice(&512_u32.to_le_bytes()); // entries per grain table
    image[48..56].copy_from_slice(&21_u64.to_le_bytes()); // redundant directory
    image[56..64].copy_from_slice(&26_u64.to_le_bytes()); // directory
    image[64..72].copy_from_slice(&128_u64.to_le_bytes()); // overhead
    image[73..77].copy_from_slice(b"\n \r\n");
    image[512..512 + descriptor.len()].copy_from_slice(descriptor.as_bytes());
    image
}

/// A VMDK descriptor of that createType with that extent line.
pub fn vmdk_descriptor(create_type: &str, extent: &str) -> String {
    format!(
        "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n\
         createType=\"{create_type}\"\n\n# Extent description\n{extent}\n\n\
         # The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\n\
         ddb.geometry.cylinders = \"2\"\nddb.geometry.heads = \"16\"\n\
         ddb.geometry.sectors = \"63\"\nddb.adapterType = \"ide\"\n"
    )
}

/// A VMDK that may pass.
pub fn good_vmdk() -> Vec<u8> {
    vmdk(&vmdk_descriptor(
        "monolithicSparse",
        "RW 2048 SPARSE \"disk.vmdk\"",
    ))
}

/// A dynamic VHD: its footer's copy in front. Made as 512 KiB, grown to 1 MiB.
pub fn vhd() -> Vec<u8> {
    let mut image = vec![0; 4096];
    image[0..8].copy_from_slice(b"conectix");
    image[40..48].copy_from_slice(&524_288_u64.to_be_bytes());
    image[48..56].copy_from_slice(&1_048_576_u64.to_be_bytes());
    // Dynamic.
    image[60..64].copy_from_slice(&3_u32.to_be_bytes());
    image
}

/// A VDI header of 1 MiB virtual size.
pub fn vdi() -> Vec<u8> {
    let mut image = vec![0; 4096];
    image[0..40].copy_from_slice(b"<<< Oracle VM VirtualBox Disk Image >>>\n");
    image[64..68].copy_from_slice(&0xbeda_107f_u32.to_le_bytes());
    image[368..376].copy_from_slice(&1_048_576_u64.to_le_bytes());
    image
}

/// An ISO 9660 primary volume descriptor: 32 blocks of 2 KiB.
pub fn iso() -> Vec<u8> {
    let mut image = vec![0; 65_536];
    image[32_768] = 1;
    image[32_769..32_774].copy_from_slice(b"CD001");
    image[32_774] = 1;
    image[32_848..32_852].copy_from_slice(&32_u32.to_le_bytes());
    image[32_852..32_856].copy_from_slice(&32_u32.to_be_bytes());
    image[32_896..32_898].copy_from_slice(&2048_u16.to_le_bytes());
    image[32_898..32_900].copy_from_slice(&2048_u16.to_be_bytes());
    image
}

/// A LUKS header of that version.
pub fn luks(version: u16) -> Vec<u8> {
    let mut image = vec![0; 8192];
    image[0..6].copy_from_slice(b"LUKS\xba\xbe");
    image[6..8].copy_from_slice(&version.to_be_bytes());
    image[104..108].copy_from_slice(&8_u32.to_be_bytes());
    image
}

/// A protective MBR: one 0xEE partition; `boot_flag` 0 and `start_lba` 1 are what passes.
pub fn gpt(boot_flag: u8, start_lba: u32) -> Vec<u8> {
    let mut image = vec![0; 65_536];
    image[446] = boot_flag;
    image[447..450].copy_from_slice(&[0, 2, 0]);
    image[450] = 0xee;
    image[451..454].copy_from_slice(&[0xff, 0xff, 0xff]);
    image[454..458].copy_from_slice(&start_lba.to_le_bytes());
    image[458..462].copy_from_slice(&127_u32.to_le_bytes());
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image[512..520].copy_from_slice(b"EFI PART");
    image
}
