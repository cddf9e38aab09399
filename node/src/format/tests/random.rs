//! Random damage to sound images, and random pieces: the verdict does not depend on the pieces, no
//! input panics, and memory stays bounded.

use proptest::prelude::*;

use super::*;

/// Offsets where fields lie, of any format.
fn offset() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0..600usize,
        2 => 512..1200usize,
        1 => 32768..32768 + 200usize,
        1 => 192 * 1024..192 * 1024 + 100usize,
        1 => VHDX_METADATA..VHDX_METADATA + 100usize,
        1 => any::<usize>(),
    ]
}

fn damage() -> impl Strategy<Value = Vec<(usize, Vec<u8>)>> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..9),
        Just(vec![0xff; 8]),
        Just(vec![0; 8]),
        Just(b"/".to_vec()),
    ];
    prop::collection::vec((offset(), bytes), 0..5)
}

/// So many cases, or as many as the environment asks for where that is more.
fn cases(least: u32) -> ProptestConfig {
    let asked = ProptestConfig::default();
    ProptestConfig {
        cases: asked.cases.max(least),
        ..asked
    }
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn the_verdict_does_not_depend_on_the_pieces(
        sample in any::<prop::sample::Index>(),
        declared in prop::sample::select(vec!["raw", "own", "qcow2", "vmdk", "iso", "aki"]),
        require_match in any::<bool>(),
        damage in damage(),
        cut in prop::option::of(any::<prop::sample::Index>()),
        // Small pieces where the headers are, then larger ones, so that it ends in time.
        head in prop::collection::vec(1..700usize, 1..40),
        lengths in prop::collection::vec(1000..300_000usize, 1..6),
    ) {
        let mut samples = samples();
        let at = sample.index(samples.len());
        let (own, mut data, _) = samples.swap_remove(at);
        for (offset, bytes) in damage {
            if let Some(offset) = offset.checked_rem(data.len()) {
                let end = (offset + bytes.len()).min(data.len());
                data[offset..end].copy_from_slice(&bytes[..end - offset]);
            }
        }
        if let Some(cut) = cut {
            data.truncate(cut.index(data.len() + 1));
        }
        let rules = Rules {
            require_match,
            ..rules(if declared == "own" { own } else { declared })
        };
        let whole = inspect_in(rules.clone(), &data, &[usize::MAX]);
        let lengths: Vec<_> = head.into_iter().chain(lengths).collect();
        let pieces = inspect_in(rules, &data, &lengths);
        prop_assert_eq!(whole.clone().ok(), pieces.ok(), "{:?}", whole);
    }

    #[test]
    fn nothing_that_qemu_follows_as_a_descriptor_passes(
        before in prop::collection::vec(1..=u8::MAX, 0..1500),
        word in "[cC]reate[tT]ype",
        after in prop::collection::vec(any::<u8>(), 0..1500),
        declared in prop::sample::select(vec!["raw", "ami", "vmdk"]),
        lengths in prop::collection::vec(1..700usize, 1..8),
    ) {
        let data = [&before, word.as_bytes(), &after].concat();
        prop_assert!(inspect_in(rules(declared), &data, &lengths).is_err());
    }

    #[test]
    fn nothing_that_qemu_takes_for_a_descriptor_passes(
        lines in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..60).prop_map(|mut line| {
                    line.retain(|byte| *byte != b'\n');
                    [b"#", &line[..], b"\n"].concat()
                }),
                "[ ]{1,9}\r?\n".prop_map(String::into_bytes),
            ],
            0..8,
        ),
        version in "version=[123]\r?\n",
        after in prop::collection::vec(any::<u8>(), 0..1500),
        declared in prop::sample::select(vec!["raw", "ami", "vmdk"]),
        lengths in prop::collection::vec(1..700usize, 1..8),
    ) {
        let start = [&lines.concat(), version.as_bytes()].concat();
        prop_assume!(start.len() <= 512);
        let data = [start, after].concat();
        prop_assert!(inspect_in(rules(declared), &data, &lengths).is_err());
    }

    #[test]
    fn random_bytes_after_every_magic_are_read_without_panic(
        magic in prop::sample::select(vec![
            &b"QFI\xfb"[..], b"QED\0", b"conectix", b"vhdxfile", b"KDMV\x01\0\0\0", b"LUKS\xba\xbe", b"# ",
        ]),
        mut bytes in prop::collection::vec(any::<u8>(), 0..4096),
        declared in prop::sample::select(vec!["raw", "qcow2", "vmdk", "vhdx"]),
    ) {
        bytes.splice(0..0, magic.iter().copied());
        let _ = inspect(rules(declared), &bytes);
    }

    #[test]
    fn random_descriptors_are_read_without_panic(text in "[ -~\n\\x00\u{e9}]{0,600}") {
        let _ = inspect(rules("vmdk"), &vmdk(text.as_bytes()));
        let _ = inspect(rules("vmdk"), &vmdk(format!("{DESCRIPTOR}{text}").as_bytes()));
        let _ = inspect(rules("raw"), text.as_bytes());
    }
}
