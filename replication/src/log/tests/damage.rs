//! What a power cut may leave is repaired; everything else is refused, and nothing is touched.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use proptest::prelude::*;
use raft::Storage;

use super::{SEGMENT, append, entry, hard, open, open_at};
use crate::{
    StartError,
    log::{Log, Options, format, record::Record},
    testing::SimDisk,
};

type Image = BTreeMap<String, Vec<u8>>;

/// A log of several segments: entries 1 to 40, one to a frame.
fn written() -> Image {
    static WRITTEN: LazyLock<Image> = LazyLock::new(write);
    WRITTEN.clone()
}

fn write() -> Image {
    let disk = SimDisk::default();
    let mut log = open(&disk).unwrap();
    for index in 2..=40 {
        append(&mut log, [entry(index, 1, 400)]);
    }
    let image = disk.image();
    assert!(image.len() > 3);
    image
}

/// Offsets of the frames of a segment.
fn frames(segment: &[u8]) -> Vec<usize> {
    let mut offsets = Vec::new();
    let mut at = 0;
    while let Some(header) = segment.get(at..).and_then(format::Header::decode) {
        offsets.push(at);
        at += header.frame_bytes() as usize;
    }
    offsets
}

fn name(image: &Image, at: usize) -> String {
    image.keys().nth(at).unwrap().clone()
}

/// Opens; if it is refused, nothing may have changed.
fn try_open(image: &Image) -> Result<Log, StartError> {
    let disk = SimDisk::from_image(image.clone());
    let log = open(&disk);
    if log.is_err() {
        assert_eq!(&disk.image(), image, "a log that was refused was touched");
        assert_eq!(disk.operations(), 0);
    }
    log
}

fn is_damage(image: &Image) -> bool {
    matches!(try_open(image), Err(StartError::Damaged(_)))
}

#[test]
fn an_intact_log_is_read_whole() {
    assert_eq!(try_open(&written()).unwrap().last_index().unwrap(), 40);
}

#[test]
fn a_flipped_bit_in_any_frame_but_the_last_is_damage() {
    let image = written();
    let last_segment = image.len() - 1;
    for (at, (segment, content)) in image.iter().enumerate() {
        let offsets = frames(content);
        for (frame, offset) in offsets.iter().enumerate() {
            let last = at == last_segment && frame + 1 == offsets.len();
            let header = format::Header::decode(&content[*offset..]).unwrap();
            let end = format::HEADER + header.length as usize;
            for within in [0, 9, 17, 25, 33, 38, 45, end / 2, end - 1] {
                let mut image = image.clone();
                image.get_mut(segment).unwrap()[offset + within] ^= 4;
                if last {
                    // Nobody can tell this from a write that a power cut tore.
                    let log = try_open(&image).unwrap();
                    assert_eq!(log.last_index().unwrap(), 39);
                } else {
                    assert!(is_damage(&image), "{segment} {offset} {within}");
                }
            }
        }
    }
}

#[test]
fn a_torn_tail_is_cut_at_start_and_its_place_is_used_again() {
    let disk = SimDisk::default();
    let mut log = open(&disk).unwrap();
    append(&mut log, [entry(2, 1, 10)]);
    append(&mut log, [entry(3, 1, 2200)]);
    drop(log);
    // Of the last frame's sectors only some in its midst came to the disk.
    let mut torn = disk.image();
    let segment = name(&torn, 0);
    let content = torn.get_mut(&segment).unwrap();
    let offset = *frames(content).last().unwrap();
    content[offset..offset + 512].fill(0);
    content[offset + 1536..offset + 2048].fill(7);
    let disk = SimDisk::from_image(torn);
    let mut log = open(&disk).unwrap();
    assert_eq!(log.last_index().unwrap(), 2);
    append(&mut log, [entry(3, 2, 10)]);
    drop(log);
    let content = &disk.image()[&segment];
    assert!(!content.windows(16).any(|window| window == [7; 16]));
    let log = open(&disk).unwrap();
    assert_eq!((log.last_index().unwrap(), log.term(3).unwrap()), (3, 2));
}

#[test]
fn a_missing_segment_is_damage() {
    let image = written();
    for missing in 0..image.len() - 1 {
        let mut image = image.clone();
        image.remove(&name(&image, missing));
        assert!(is_damage(&image), "segment {missing}");
    }
}

#[test]
fn segments_in_each_others_place_are_damage() {
    let mut image = written();
    let (one, other) = (name(&image, 1), name(&image, 2));
    let content = image[&one].clone();
    let content = image.insert(other, content).unwrap();
    image.insert(one, content);
    assert!(is_damage(&image));
}

#[test]
fn a_segment_of_another_log_is_damage() {
    let mut image = written();
    let segment = name(&image, 1);
    let content = image.get_mut(&segment).unwrap();
    let header = format::Header::decode(content).unwrap();
    let mut frame = content[..format::HEADER + header.length as usize].to_vec();
    format::seal(&mut frame, header.log + 1, header.sequence);
    content[..frame.len()].copy_from_slice(&frame);
    assert!(is_damage(&image));
}

#[test]
fn a_segment_that_was_never_begun_is_removed() {
    let mut image = written();
    let before = image.len();
    let next = format::segment_name(before as u64 + 1);
    // Its first frame was torn.
    image.insert(next.clone(), vec![0; SEGMENT as usize]);
    image.get_mut(&next).unwrap()[600..700].fill(9);
    let disk = SimDisk::from_image(image.clone());
    let log = open(&disk).unwrap();
    assert_eq!(log.last_index().unwrap(), 40);
    drop(log);
    assert!(disk.image().len() <= before + 1);
    assert_eq!(open(&disk).unwrap().last_index().unwrap(), 40);

    // Two such cannot be: the second is begun only after the first.
    image.insert(format::segment_name(before as u64 + 2), Vec::new());
    assert!(is_damage(&image));
}

#[test]
fn a_log_whose_making_was_cut_short_is_made_anew() {
    let image = written();
    let mut first = image[&name(&image, 0)].clone();
    let second_frame = frames(&first)[1];
    first[second_frame..].fill(0);
    first[100] ^= 1;
    let cut = Image::from([(format::segment_name(1), first)]);
    assert_eq!(try_open(&cut).unwrap().last_index().unwrap(), 1);

    // But not if the machine remembers what the log has lost,
    let disk = SimDisk::from_image(cut.clone());
    let refused = open_at(&disk, 30);
    assert!(matches!(refused, Err(StartError::Damaged(_))));
    assert_eq!(disk.image(), cut);
    // nor if it is not the first segment.
    let later = Image::from([(format::segment_name(5), vec![0; 4096])]);
    assert!(is_damage(&later));
}

#[test]
fn an_unknown_format_version_is_refused_untouched() {
    for at in 0..written().len() {
        let mut image = written();
        let segment = name(&image, at);
        let content = image.get_mut(&segment).unwrap();
        content[4..8].copy_from_slice(&7_u32.to_le_bytes());
        let crc = crc32fast::hash(&content[..36]);
        content[36..40].copy_from_slice(&crc.to_le_bytes());
        let refused = try_open(&image);
        assert!(matches!(
            refused,
            Err(StartError::Format { found: 7, known: 1 })
        ));
    }
}

#[test]
fn a_log_and_a_machine_that_do_not_meet_are_refused() {
    let disk = SimDisk::from_image(written());
    let refused = open_at(&disk, 41);
    assert!(matches!(refused, Err(StartError::Damaged(_))));
    let mut log = open_at(&disk, 30).unwrap();
    log.note(hard(1, 1, 40));
    log.compact(20).unwrap();
    drop(log);
    let refused = open_at(&disk, 19);
    assert!(matches!(refused, Err(StartError::Damaged(_))));
    assert!(open_at(&disk, 20).is_ok());
}

#[test]
fn a_command_that_looks_like_a_frame_does_not_make_a_torn_tail_damage() {
    let disk = SimDisk::default();
    let mut log = open(&disk).unwrap();
    // A whole frame with a high sequence number, at a sector's beginning: but of another log.
    let mut fake = Vec::new();
    format::begin(&mut fake);
    fake.extend_from_slice(b"fake");
    format::seal(&mut fake, 99, 1000);
    let mut hostile = entry(2, 1, 0);
    let data: Vec<u8> = (0..512)
        .flat_map(|pad| {
            let mut shifted = vec![0; pad];
            shifted.extend_from_slice(&fake);
            shifted
        })
        .collect();
    hostile.data = data.into();
    append(&mut log, [hostile]);
    drop(log);
    let mut image = disk.image();
    let segment = name(&image, image.len() - 1);
    let offset = *frames(&image[&segment]).last().unwrap();
    image.get_mut(&segment).unwrap()[offset] ^= 1;
    let log = try_open(&image).unwrap();
    assert_eq!(log.last_index().unwrap(), 1);
}

/// Room for several of the pieces that a segment is read in.
fn open_large(disk: &SimDisk) -> Result<Log, StartError> {
    let options = Options {
        segment_bytes: 8 << 20,
        applied: 1,
        voters: &[1],
        id: 1,
    };
    Log::open(Arc::new(disk.clone()), &options)
}

#[test]
fn frames_are_read_back_however_they_lie_in_the_pieces_read() {
    const PIECE: usize = 1 << 20;
    let disk = SimDisk::default();
    let mut log = open_large(&disk).unwrap();
    let sizes = [
        PIECE - 1200,
        3,
        700,
        PIECE,
        2 * PIECE + 9,
        1,
        PIECE - 40,
        0,
        5,
    ];
    let entries: Vec<_> = (2..)
        .zip(sizes)
        .map(|(i, size)| entry(i, 1, size))
        .collect();
    for entry in &entries {
        append(&mut log, [entry.clone()]);
    }
    drop(log);
    let log = open_large(&disk).unwrap();
    let last = log.last_index().unwrap();
    let context = raft::GetEntriesContext::empty(false);
    assert_eq!(log.entries(2, last + 1, None, context).unwrap(), entries);
}

#[test]
fn what_stands_megabytes_behind_the_end_is_cut_or_refused_all_the_same() {
    const FAR: usize = 5 << 19;
    let disk = SimDisk::default();
    let mut log = open_large(&disk).unwrap();
    append(&mut log, [entry(2, 1, 400)]);
    drop(log);
    let image = disk.image();
    let segment = name(&image, 0);
    let before = frames(&image[&segment]);
    let end = before.last().unwrap().next_multiple_of(format::SECTOR) + FAR;

    let mut torn = image.clone();
    torn.get_mut(&segment).unwrap()[end + 9..end + 90].fill(0xAB);
    let disk = SimDisk::from_image(torn);
    drop(open_large(&disk).unwrap());
    let after = &disk.image()[&segment];
    assert!(frames(after).len() > before.len());
    assert!(after[end..].iter().all(|byte| *byte == 0));

    let mut damaged = image;
    let later = frame(b"", 1 << 40);
    damaged.get_mut(&segment).unwrap()[end..end + later.len()].copy_from_slice(&later);
    let disk = SimDisk::from_image(damaged.clone());
    assert!(matches!(open_large(&disk), Err(StartError::Damaged(_))));
    assert_eq!(disk.image(), damaged);
}

/// A valid frame around any payload.
fn frame(payload: &[u8], sequence: u64) -> Vec<u8> {
    let mut buffer = Vec::new();
    format::begin(&mut buffer);
    buffer.extend_from_slice(payload);
    format::seal(&mut buffer, 1, sequence);
    buffer
}

/// Opens, and checks that no read was larger than the files.
fn survive(image: Image) {
    let size = image.values().map(Vec::len).max().unwrap_or(0);
    let disk = SimDisk::from_image(image.clone());
    if open(&disk).is_err() {
        assert_eq!(disk.image(), image);
    }
    assert!(disk.largest_read() <= size.max(SEGMENT as usize));
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_no_trouble(
        segments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5000), 1..4),
    ) {
        survive((1..).map(format::segment_name).zip(segments).collect());
    }

    #[test]
    fn arbitrary_records_in_valid_frames_are_no_trouble(
        payloads in prop::collection::vec(
            prop::collection::vec(prop_oneof![0_u8..8, any::<u8>()], 0..200),
            1..5,
        ),
    ) {
        let segment = payloads.iter().zip(1..).flat_map(|(payload, at)| frame(payload, at));
        survive(Image::from([(format::segment_name(1), segment.collect())]));
    }

    #[test]
    fn records_in_any_order_are_no_trouble(
        moves in prop::collection::vec((0_u8..4, 0_u64..12, 0_u64..4), 0..30),
    ) {
        let segment = moves.iter().zip(1..).flat_map(|((kind, index, term), at)| {
            let position = crate::log::record::Position { index: *index, term: *term };
            let record = match kind {
                0 => Record::Compacted(position),
                1 => Record::HardState(hard(*term, 1, *index)),
                2 => Record::Snapshot(position, Default::default()),
                _ => Record::Entry(entry(*index, *term, 3)),
            };
            let mut payload = Vec::new();
            record.encode(&mut payload);
            frame(&payload, at)
        });
        survive(Image::from([(format::segment_name(1), segment.collect())]));
    }

    #[test]
    fn a_log_with_bytes_changed_is_no_trouble(
        changes in prop::collection::vec((0_usize..6, 0_usize..4096, any::<u8>()), 1..6),
    ) {
        let mut image = written();
        for (segment, at, byte) in changes {
            let segment = name(&image, segment % image.len());
            if let Some(place) = image.get_mut(&segment).and_then(|content| content.get_mut(at)) {
                *place = byte;
            }
        }
        survive(image);
    }
}
