//! The pool by itself: the index at its size, and a disk without room.

use std::{fs, time::Duration};

use super::*;

fn held(number: u32) -> Held {
    let name = ChunkName::of([number.to_le_bytes()]);
    Held {
        name,
        len: 1 + number % 1000,
    }
}

fn open(dir: &std::path::Path, size: u64) -> Pool {
    let checks = Checks::new(Duration::from_secs(600), Duration::ZERO);
    Pool::open(Settings {
        dir: dir.to_owned(),
        size,
        keep_free: 0,
        sendfile: true,
        checks,
    })
    .unwrap()
}

#[test]
fn an_index_of_100_000_entries_is_read_whole() {
    const ENTRIES: u32 = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.redb");
    let (index, found) = Index::open(&path, ENTRIES).unwrap();
    assert!(found.is_empty());
    for number in 0..ENTRIES {
        index.touch(number);
    }
    index
        .write(|number| (number % 7 != 0).then(|| held(number)))
        .unwrap();
    // As after kill -9.
    let copy = dir.path().join("copy.redb");
    fs::copy(&path, &copy).unwrap();
    let begun = Instant::now();
    let (_, found) = Index::open(&copy, ENTRIES).unwrap();
    println!(
        "read in {:?}, {} bytes",
        begun.elapsed(),
        fs::metadata(&copy).unwrap().len()
    );
    for number in 0..ENTRIES {
        let expected = (number % 7 != 0).then(|| held(number));
        assert_eq!(found[number as usize], expected);
    }
}

#[test]
fn a_later_write_of_the_index_replaces_an_earlier_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.redb");
    let (index, _) = Index::open(&path, 1000).unwrap();
    index.touch(5);
    index.touch(70);
    index.write(|number| Some(held(number))).unwrap();
    index.touch(70);
    index.write(|_| None).unwrap();
    drop(index);
    let (index, found) = Index::open(&path, 1000).unwrap();
    assert_eq!(found[5], Some(held(5)));
    assert!(found[64..].iter().all(Option::is_none));
    drop(index);
    // A smaller pool: what lies beyond it is not read.
    let (_, found) = Index::open(&path, 5).unwrap();
    assert_eq!(
        found,
        (0..5).map(|number| Some(held(number))).collect::<Vec<_>>()
    );
}

#[test]
fn chunks_from_before_a_start_are_found_pinned_evicted_and_forgotten_like_others() {
    let dir = tempfile::tempdir().unwrap();
    let chunk = |number: u8| {
        let data = Bytes::from(vec![number; 10]);
        (ChunkName::of([&data]), data)
    };
    let store = |pool: &Pool, number: u8| {
        let (name, data) = chunk(number);
        assert!(pool.store(name, &[data]).unwrap().is_some());
    };
    let pool = open(dir.path(), 4 << 20);
    (0..4).for_each(|number| store(&pool, number));
    pool.checkpoint().unwrap();
    drop(pool);

    // A row that is written again holds those too that nobody has asked for.
    let pool = open(dir.path(), 4 << 20);
    pool.index.touch(0);
    pool.checkpoint().unwrap();
    drop(pool);

    let pool = open(dir.path(), 4 << 20);
    assert_eq!(pool.usage(), (4, 4));
    let slot = pool.find(chunk(2).0).unwrap();
    assert!(Arc::ptr_eq(&slot, &pool.find(chunk(2).0).unwrap()));
    assert!(pool.bytes(&slot).is_none(), "served unverified");
    let bytes = pool.verify(&slot).unwrap();
    drop(slot);
    // Room is made for another, which then turns out to be there already.
    store(&pool, 3);
    assert_eq!((pool.usage(), pool.evictions()), ((3, 4), 1));
    pool.remove(&pool.find(chunk(3).0).unwrap());
    assert_eq!(pool.usage(), (2, 4));
    (10..13).for_each(|number| store(&pool, number));
    assert_eq!((pool.usage(), pool.evictions()), ((4, 4), 2));
    assert!([0, 3, 10].iter().all(|n| pool.find(chunk(*n).0).is_none()));
    assert_eq!(bytes, chunk(2).1);
    assert!(pool.find(chunk(2).0).is_some());
}

#[test]
fn a_disk_without_room_for_a_segment_stops_growth_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    // Two segments; the second cannot be made.
    let slots = layout::SEGMENT_SLOTS + 1;
    let size = u64::from(slots) * u64::from(crate::CHUNK_SIZE);
    let pool = open(dir.path(), size);
    fs::create_dir(pool.layout.segment(1)).unwrap();
    let chunk = |number: u32| {
        let data = Bytes::copy_from_slice(&number.to_le_bytes());
        (ChunkName::of([&data]), data)
    };
    for number in 0..slots + 10 {
        let (name, data) = chunk(number);
        assert!(pool.store(name, &[data]).unwrap().is_some());
    }
    assert_eq!(pool.usage(), (layout::SEGMENT_SLOTS.into(), slots.into()));
    assert_eq!(pool.evictions(), 11);
}

#[test]
fn a_piece_too_long_for_a_slot_is_refused_and_the_slot_kept() {
    let dir = tempfile::tempdir().unwrap();
    let pool = open(dir.path(), 4 << 20);
    let long = Bytes::from(vec![1; (1 << 20) + 1]);
    assert!(
        pool.store(ChunkName::of([&long]), std::slice::from_ref(&long))
            .is_err()
    );
    for number in 0..4_u8 {
        let data = Bytes::from(vec![number; 10]);
        let slot = pool
            .store(ChunkName::of([&data]), std::slice::from_ref(&data))
            .unwrap()
            .unwrap();
        assert!(pool.bytes(&slot).unwrap() == data);
    }
    assert_eq!((pool.usage(), pool.evictions()), ((4, 4), 0));
}

#[test]
fn chunks_that_come_and_are_forgotten_leave_no_tickets_behind() {
    let dir = tempfile::tempdir().unwrap();
    let pool = open(dir.path(), 4 << 20);
    for number in 0..100_u32 {
        let data = Bytes::copy_from_slice(&number.to_le_bytes());
        let name = ChunkName::of([&data]);
        let slot = pool.store(name, &[data]).unwrap().unwrap();
        pool.remove(&slot);
        assert!(pool.state.read().eviction.len() <= 9);
    }
    assert_eq!((pool.usage(), pool.evictions()), ((0, 4), 0));
}

#[test]
fn a_removed_chunk_stays_with_its_readers_and_then_frees_its_slot() {
    let dir = tempfile::tempdir().unwrap();
    let pool = open(dir.path(), 4 << 20);
    let store = |number: u8| {
        let data = Bytes::from(vec![number; 10]);
        pool.store(ChunkName::of([&data]), &[data]).unwrap()
    };
    let slot = store(1).unwrap();
    let reader = pool.bytes(&slot).unwrap().slice(2..5);
    pool.remove(&slot);
    pool.remove(&slot);
    drop(slot);
    let others: Vec<_> = (2..5).filter_map(store).collect();
    assert_eq!(others.len(), 3);
    // The fourth place is still the reader's.
    assert!(store(9).is_none());
    assert_eq!(reader, [1; 3][..]);
    drop(reader);
    assert!(store(9).is_some());
    assert_eq!((pool.usage(), pool.evictions()), ((4, 4), 0));
}

#[test]
fn pages_that_left_memory_are_verified_before_they_are_served_again() {
    let dir = crate::tests::dir_on_disk();
    let pool = open(dir.path(), 4 << 20);
    let data = Bytes::from(vec![7; 1 << 20]);
    let name = ChunkName::of([&data]);
    let slot = pool
        .store(name, std::slice::from_ref(&data))
        .unwrap()
        .unwrap();
    assert!(pool.bytes(&slot).unwrap() == data);
    let out = || {
        let deadline = Instant::now() + Duration::from_secs(30);
        while pool.bytes(&slot).is_some() {
            assert!(Instant::now() < deadline, "the pages never left memory");
            slot.page_out();
        }
    };
    out();
    assert!(pool.verify(&slot).unwrap() == data);
    assert!(pool.bytes(&slot).unwrap() == data);
    out();
    // Of all pages this one only comes back by itself.
    let segment = fs::OpenOptions::new()
        .write(true)
        .open(pool.layout.segment(0));
    let at = u64::from(slot.number()) << 20;
    std::os::unix::fs::FileExt::write_all_at(&segment.unwrap(), &[8], at).unwrap();
    assert!(pool.bytes(&slot).is_none());
    assert!(pool.verify(&slot).is_none());
    assert!(pool.bytes(&slot).is_none(), "served although it is damaged");
}

#[test]
fn a_passing_error_costs_no_segment_and_another_sets_it_aside_until_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let layout = || Layout::open(dir.path().to_owned(), 4 << 20, 0, true).unwrap();
    let errno = |errno: rustix::io::Errno| Err(errno.into());
    let first = layout();
    let (segment, aside) = (first.segment(0), dir.path().join("lost-00000000"));
    fs::write(&segment, "kept").unwrap();
    let refused = open_segments(&first, |number, new, slots| match new {
        true => open_segment_of(&first, number, new, slots),
        false => errno(rustix::io::Errno::MFILE),
    });
    assert!(refused.is_err() && !aside.exists());
    // Another is not to be had either.
    let refused = open_segments(&first, |_, new, _| {
        errno(if new {
            rustix::io::Errno::MFILE
        } else {
            rustix::io::Errno::IO
        })
    });
    assert!(refused.is_err() && !aside.exists());
    assert_eq!(fs::read(&segment).unwrap(), b"kept");
    let opened = open_segments(&first, |number, new, slots| match new {
        true => open_segment_of(&first, number, new, slots),
        false => errno(rustix::io::Errno::IO),
    });
    assert!(matches!(
        opened.unwrap().as_slice(),
        [Segment { lost: true, .. }]
    ));
    assert_eq!(fs::read(&aside).unwrap(), b"kept");
    drop(first);
    drop(layout());
    assert!(segment.exists() && !aside.exists());
}

#[test]
fn what_lies_behind_a_segment_that_is_not_whole_is_found_after_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let slots = layout::SEGMENT_SLOTS + 1;
    let open = |keep_free| {
        Pool::open(Settings {
            dir: dir.path().to_owned(),
            size: u64::from(slots) << 20,
            keep_free,
            sendfile: true,
            checks: Checks::new(Duration::from_secs(600), Duration::ZERO),
        })
        .unwrap()
    };
    let empty = open(0);
    for number in 0..2 {
        let segment = fs::File::create(empty.layout.segment(number)).unwrap();
        segment.set_len(1 << 20).unwrap();
    }
    drop(empty);
    // No room for the rest of the first one.
    let pool = open(u64::MAX);
    let names = [1_u8, 2].map(|number| {
        let data = Bytes::from(vec![number; 10]);
        let name = ChunkName::of([&data]);
        assert!(pool.store(name, &[data]).unwrap().is_some());
        name
    });
    assert_eq!((pool.usage().0, pool.evictions()), (2, 0));
    pool.checkpoint().unwrap();
    drop(pool);
    let pool = open(u64::MAX);
    assert!(names.iter().all(|name| pool.find(*name).is_some()));
}

/// Has the kernel keep a part of a chunk, as for a client that takes nothing, until the pipe goes.
fn send(pool: &Pool, chunk: &Bytes) -> io::PipeReader {
    let (file, mut offset) = pool
        .mappings()
        .file_of(chunk)
        .expect("target/ is on a disk");
    let (receiver, sender) = io::pipe().unwrap();
    let flags = rustix::pipe::SpliceFlags::empty();
    let sent = rustix::pipe::splice(&*file, Some(&mut offset), &sender, None, 9000, flags);
    assert!(sent.unwrap() > 0);
    receiver
}

#[test]
fn a_slot_is_not_filled_anew_while_the_kernel_sends_from_it() {
    let dir = crate::tests::dir_on_disk();
    let pool = open(dir.path(), 4 << 20);
    let data = |byte: u8| Bytes::from(vec![byte; 100_000]);
    let store = |byte: u8| {
        let data = data(byte);
        let stored = pool.store(ChunkName::of([&data]), &[data]).unwrap();
        stored.map(|slot| pool.bytes(&slot).unwrap())
    };
    let mut sent: Vec<_> = (0..4)
        .map(|byte| send(&pool, &store(byte).unwrap()))
        .collect();
    // Nobody reads any slot, and the kernel sends from all.
    assert!(store(4).is_none());
    assert_eq!((pool.usage(), pool.busy_slots()), ((0, 4), 4));
    assert!(store(5).is_none());
    // From one of them no more.
    let mut received = Vec::new();
    io::Read::read_to_end(&mut sent.swap_remove(2), &mut received).unwrap();
    assert!(!received.is_empty() && received.iter().all(|byte| *byte == 2));
    assert!(store(6).unwrap() == data(6));
    assert_eq!(pool.usage(), (1, 4));
    for receiver in &mut sent {
        let mut received = Vec::new();
        io::Read::read_to_end(receiver, &mut received).unwrap();
        assert!(!received.is_empty() && received.iter().all(|byte| [0, 1, 3].contains(byte)));
    }
    drop(sent);
    for byte in 7..20 {
        assert!(store(byte).unwrap() == data(byte));
    }
    assert_eq!(pool.usage(), (4, 4));
}

#[test]
fn slots_whose_file_another_wrote_in_large_folios_can_be_filled() {
    let dir = crate::tests::dir_on_disk();
    let pool = open(dir.path(), 8 << 20);
    let store = |byte: u8| {
        let data = Bytes::from(vec![byte; 100]);
        pool.store(ChunkName::of([&data]), &[data])
            .unwrap()
            .is_some()
    };
    assert!(store(0));
    fs::write(pool.layout.segment(0), vec![1; 8 << 20]).unwrap();
    assert!((1..20).all(store));
    assert_eq!((pool.usage(), pool.busy_slots()), ((8, 8), 0));
}

#[test]
fn without_sendfile_nothing_may_be_sent_from_the_files() {
    let dir = crate::tests::dir_on_disk();
    let layout = Layout::open(dir.path().to_owned(), 4 << 20, 0, false).unwrap();
    let places = open_segment_of(&layout, 0, true, 4).unwrap();
    let mappings = &layout.shared().mappings;
    assert!(mappings.file_of(places[0].bytes(10)).is_none());
    assert!(places[0].let_go().unwrap());
}

#[test]
fn segments_are_sent_from_as_long_as_they_are_open_and_only_on_a_disk() {
    let dir = crate::tests::dir_on_disk();
    let layout = Layout::open(dir.path().to_owned(), 4 << 20, 0, true).unwrap();
    let places = open_segment_of(&layout, 0, true, 4).unwrap();
    assert!(!layout.shared().mappings.is_empty());
    drop(places);
    assert!(layout.shared().mappings.is_empty());
    assert_eq!(
        fs::read_dir(dir.path().join("segments")).unwrap().count(),
        1
    );
    // Nothing leaves what is memory itself, so that no slot could be used twice.
    let memory = std::path::Path::new("/dev/shm");
    let kind = rustix::fs::statfs(memory).unwrap().f_type;
    assert_eq!(kind, 0x0102_1994, "/dev/shm is no tmpfs");
    let dir = tempfile::tempdir_in(memory).unwrap();
    let layout = Layout::open(dir.path().to_owned(), 4 << 20, 0, true).unwrap();
    assert!(!layout.shared().sendfile);
}
