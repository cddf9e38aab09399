//! Declared against detected (image-api 10.4).

use super::*;

const DECLARED: [&str; 14] = [
    "ami", "aki", "ari", "ploop", "raw", "qcow2", "vhd", "vhdx", "vmdk", "vdi", "iso", "gpt",
    "luks", "qed",
];

#[test]
fn what_is_declared_must_be_what_is_found() {
    for (found, data, size) in samples() {
        for declared in DECLARED {
            let verdict = inspect(rules(declared), &data);
            let not_inspectable = ["ami", "aki", "ari", "ploop"].contains(&declared);
            let boot_file = ["aki", "ari"].contains(&declared);
            let expected = if declared == "raw" {
                // Its length, whatever is inside.
                Some((found, Some(data.len() as u64)))
            } else if declared == found {
                Some((found, size))
            } else if not_inspectable && found == "raw" || boot_file && found == "gpt" {
                Some((found, None))
            } else {
                None
            };
            let accepted = verdict.as_ref().ok().map(|v| (v.format, v.virtual_size));
            assert_eq!(
                accepted, expected,
                "{found} declared {declared}: {verdict:?}"
            );
        }
    }
}

#[test]
fn without_the_requirement_a_mismatch_passes_but_unsafe_data_does_not() {
    let lenient = |declared| Rules {
        require_match: false,
        ..rules(declared)
    };
    for (found, data, _) in samples() {
        for declared in DECLARED.iter().filter(|d| **d != found && **d != "raw") {
            let verdict = inspect(lenient(declared), &data).unwrap();
            assert_eq!(
                (verdict.format, verdict.virtual_size),
                (found, None),
                "{declared}"
            );
        }
    }
    let mut backed = qcow2(3);
    backed[15] = 1;
    for declared in DECLARED {
        assert!(inspect(lenient(declared), &backed).is_err(), "{declared}");
    }
}

#[test]
fn data_of_two_formats_is_refused_whatever_is_declared() {
    let mut qcow2_and_disk = qcow2(3);
    put(&mut qcow2_and_disk, 446, &mbr()[446..512]);
    let mut qcow2_and_iso = qcow2(3);
    put(&mut qcow2_and_iso, 32768, &iso()[32768..34816]);
    let mut three = qcow2_and_disk.clone();
    put(&mut three, 32768, &iso()[32768..34816]);
    for data in [qcow2_and_disk, qcow2_and_iso, three] {
        for declared in DECLARED {
            let refused = inspect(rules(declared), &data).unwrap_err();
            if ["raw", "qcow2"].contains(&declared) {
                assert!(
                    refused.0.starts_with("Multiple formats detected: "),
                    "{refused}"
                );
            }
        }
    }
}

#[test]
fn an_iso_that_boots_as_a_disk_is_an_iso_whatever_its_partition_table() {
    let mut odd = mbr();
    odd[446] = 0x42;
    for boot_sector in [mbr(), gpt(), odd] {
        let data = hybrid(&boot_sector);
        assert_eq!(accepted("iso", &data), ("iso", Some(40960)));
        assert_eq!(accepted("raw", &data), ("iso", Some(40960)));
        let refused = inspect(rules("gpt"), &data).unwrap_err();
        assert!(refused.0.contains("does not match"), "{refused}");
    }
}

#[test]
fn only_bare_containers_are_inspected() {
    let mut backed = qcow2(3);
    backed[15] = 1;
    for container in ["ovf", "ova", "ami", "docker", "compressed", "BARE", ""] {
        let rules = Rules {
            container_format: container.into(),
            ..rules("vmdk")
        };
        let verdict = inspect(rules, &backed).unwrap();
        assert_eq!(verdict.virtual_size, None, "{container}");
    }
}

#[test]
fn a_refusal_comes_as_soon_as_it_is_certain_and_stays() {
    let mut backed = qcow2(3);
    backed[15] = 1;
    let no_descriptor = {
        let mut data = vmdk(DESCRIPTOR.as_bytes());
        data[28] = 2;
        data
    };
    // Data, declared, the first byte count that must be refused.
    for (data, declared, certain) in [
        (qcow2(3), "vmdk", 512),
        (vec![0; 1000], "qcow2", 1),
        (vec![0; 40000], "iso", 34816),
        (backed, "qcow2", 512),
        (qed(), "raw", 512),
        (no_descriptor, "vmdk", 512),
        (vmdk(b"createType=\"vmfs\""), "vmdk", 512 * 21),
        (mbr(), "qcow2", 1),
    ] {
        let mut inspector = Inspector::new(rules(declared));
        let refused_at = data
            .iter()
            .position(|byte| inspector.update(&[*byte]).is_err());
        assert_eq!(refused_at.map(|at| at + 1), Some(certain), "{declared}");
        let again = inspector.update(b"more").unwrap_err();
        assert_eq!(inspector.finish().unwrap_err(), again);
    }
}

#[test]
fn once_all_is_decided_nothing_is_kept() {
    let text_and_zeros = [&b"text"[..], &vec![0; 64 << 10]].concat();
    for head in [vec![0xff; 64 << 10], vec![0; 64 << 10], text_and_zeros] {
        let mut inspector = Inspector::new(rules("raw"));
        inspector.update(&head).unwrap();
        assert_eq!(inspector.held(), 0);
        let piece = vec![b'a'; 1 << 20];
        for _ in 0..100 {
            inspector.update(&piece).unwrap();
            assert_eq!(inspector.held(), 0);
        }
        let verdict = inspector.finish().unwrap();
        assert_eq!(verdict.virtual_size, Some(head.len() as u64 + (100 << 20)));
    }
}

#[test]
fn a_size_beyond_what_clients_can_hold_is_unknown() {
    let mut data = qcow2(3);
    put(&mut data, 24, &u64::MAX.to_be_bytes());
    assert_eq!(accepted("qcow2", &data), ("qcow2", None));
    put(&mut data, 24, &(10u64 << 40).to_be_bytes());
    assert_eq!(accepted("qcow2", &data), ("qcow2", Some(10 << 40)));
}
