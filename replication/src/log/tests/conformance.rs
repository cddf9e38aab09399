//! The log against raft-rs' own in-memory storage: the same operations, the same answers; and once
//! more after a restart.

use raft::{
    GetEntriesContext, Storage,
    eraftpb::{ConfState, Snapshot},
    storage::MemStorage,
};

use super::{append, entry, hard, open_at};
use crate::{
    log::{Log, record::Record},
    testing::{Random, SimDisk, seed},
};

/// Everything that a storage says.
fn answers(storage: &impl Storage, before: u64, after: u64) -> Vec<String> {
    let context = || GetEntriesContext::empty(false);
    let (first, last) = (
        storage.first_index().unwrap(),
        storage.last_index().unwrap(),
    );
    let state = storage.initial_state().unwrap();
    let mut said = vec![format!("{first} {last} {:?}", state.hard_state)];
    // Asking above the end is the caller's error, on which the reference panics.
    for index in first.saturating_sub(before)..=last + after.min(1) {
        said.push(format!("term {index}: {:?}", storage.term(index)));
    }
    for low in first.saturating_sub(before).max(1)..=last {
        let high = last + 1;
        said.push(format!("{:?}", storage.entries(low, high, None, context())));
        let limited = storage.entries(low, high, 0, context());
        said.push(format!("{limited:?}"));
    }
    said
}

fn snapshot(index: u64, term: u64) -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.mut_metadata().index = index;
    snapshot.mut_metadata().term = term;
    let members = ConfState::from((vec![1, 2], vec![3]));
    snapshot.mut_metadata().set_conf_state(members);
    snapshot
}

struct Pair {
    disk: SimDisk,
    log: Log,
    reference: MemStorage,
    term: u64,
    commit: u64,
}

impl Pair {
    fn new() -> Self {
        let disk = SimDisk::default();
        let log = open_at(&disk, 1).unwrap();
        let reference = MemStorage::new();
        let first: Vec<_> = log.state().entries.iter().cloned().collect();
        reference.wl().append(&first).unwrap();
        reference.wl().set_hardstate(hard(1, 0, 1));
        Self {
            disk,
            log,
            reference,
            term: 1,
            commit: 1,
        }
    }

    fn note(&mut self) {
        self.log.note(hard(self.term, 1, self.commit));
        self.reference
            .wl()
            .set_hardstate(hard(self.term, 1, self.commit));
    }

    fn append(&mut self, random: &mut Random) {
        let last = self.log.last_index().unwrap();
        // A new leader replaces what is not committed.
        let from = if random.below(4) == 0 {
            self.term += 1;
            self.commit + 1 + random.below(last - self.commit + 1)
        } else {
            last + 1
        };
        let entries: Vec<_> = (from..=from + random.below(6))
            .map(|index| entry(index, self.term, random.below(900) as usize))
            .collect();
        self.reference.wl().append(&entries).unwrap();
        self.note();
        append(&mut self.log, entries);
    }

    fn commit(&mut self, random: &mut Random) {
        let last = self.log.last_index().unwrap();
        self.commit += random.below(last - self.commit + 1);
        self.note();
        append(&mut self.log, []);
    }

    fn compact(&mut self, random: &mut Random) {
        let base = self.log.state().base.index;
        let index = base + random.below(self.commit - base + 1);
        if index == base {
            return;
        }
        self.note();
        self.log.compact(index).unwrap();
        // The reference forgets the term before its first entry, and asks for the index after. It
        // cannot be emptied this way.
        if index < self.log.last_index().unwrap() {
            self.reference.wl().compact(index + 1).unwrap();
        } else {
            let term = self.log.term(index).unwrap();
            self.reference
                .wl()
                .apply_snapshot(snapshot(index, term))
                .unwrap();
            let hard = hard(self.term, 1, self.commit);
            self.reference.wl().set_hardstate(hard);
        }
    }

    fn install(&mut self, random: &mut Random) {
        let index = self.commit + 1 + random.below(20);
        let snapshot = snapshot(index, self.term);
        self.log.begin_install(&snapshot).unwrap();
        self.reference
            .wl()
            .apply_snapshot(snapshot.clone())
            .unwrap();
        self.commit = index;
        self.note();
        self.log.append(vec![Log::installed(&snapshot)]).unwrap();
    }

    fn reopen(&mut self) {
        self.log = open_at(&self.disk, self.commit).unwrap();
    }

    fn compare(&self) {
        // The reference does not know the term of what it compacted last.
        let (ours, theirs) = (answers(&self.log, 0, 0), answers(&self.reference, 0, 0));
        assert_eq!(ours, theirs);
    }
}

#[test]
fn the_log_answers_as_the_reference_does() {
    let seed = seed();
    let mut random = Random::new(seed);
    for _ in 0..40 {
        let mut pair = Pair::new();
        for _ in 0..60 {
            match random.below(12) {
                0..=5 => pair.append(&mut random),
                6 | 7 => pair.commit(&mut random),
                8 | 9 => pair.compact(&mut random),
                10 => pair.reopen(),
                _ if random.below(4) == 0 => pair.install(&mut random),
                _ => {}
            }
            pair.compare();
        }
        let before = (pair.log.state().clone(), answers(&pair.log, 3, 1));
        pair.reopen();
        assert_eq!(before.1, answers(&pair.log, 3, 1));
        assert_eq!(before.0.base, pair.log.state().base);
        assert_eq!(before.0.members, pair.log.state().members);
    }
}

#[test]
fn asks_below_the_first_entry_are_compacted_and_its_term_is_kept() {
    let disk = SimDisk::default();
    let mut log = open_at(&disk, 1).unwrap();
    append(&mut log, (2..10).map(|index| entry(index, 3, 10)));
    log.note(hard(3, 1, 9));
    log.compact(5).unwrap();
    for log in [log, open_at(&disk, 9).unwrap()] {
        assert_eq!(log.first_index().unwrap(), 6);
        assert_eq!(log.term(5).unwrap(), 3);
        let compacted = raft::Error::Store(raft::StorageError::Compacted);
        assert_eq!(log.term(4).unwrap_err(), compacted);
        let context = GetEntriesContext::empty(false);
        assert_eq!(log.entries(5, 7, None, context).unwrap_err(), compacted);
    }
}

#[test]
fn a_snapshot_is_asked_for_made_and_given_until_the_log_has_left_it_behind() {
    let disk = SimDisk::default();
    let mut log = open_at(&disk, 1).unwrap();
    append(&mut log, (2..10).map(|index| entry(index, 1, 10)));
    log.note(hard(1, 1, 9));
    let later = raft::Error::Store(raft::StorageError::SnapshotTemporarilyUnavailable);
    assert_eq!(log.snapshot(0, 2).unwrap_err(), later);
    assert!(log.snapshot_slot().take_wanted());
    assert!(!log.snapshot_slot().take_wanted());
    log.snapshot_slot().put(Some(snapshot(5, 1)));
    log.compact(5).unwrap();
    assert_eq!(log.snapshot(0, 2).unwrap(), snapshot(5, 1));
    // Between it and the first entry there would be a gap now.
    log.compact(6).unwrap();
    assert_eq!(log.snapshot(0, 2).unwrap_err(), later);
    assert!(log.snapshot_slot().take_wanted());
}

#[test]
fn the_membership_at_the_start_is_that_of_the_applied_index() {
    let disk = SimDisk::default();
    let mut log = open_at(&disk, 1).unwrap();
    append(&mut log, (2..10).map(|index| entry(index, 1, 10)));
    let members = |voters: &[u64]| ConfState::from((voters.to_vec(), vec![]));
    for (index, voters) in [(1, &[1][..]), (4, &[1, 2]), (7, &[1, 2, 3])] {
        let record = Record::Membership(index, members(voters));
        log.append(vec![record]).unwrap();
    }
    drop(log);
    for (applied, voters) in [(1, &[1][..]), (3, &[1]), (4, &[1, 2]), (9, &[1, 2, 3])] {
        let log = open_at(&disk, applied).unwrap();
        let state = log.initial_state().unwrap();
        assert_eq!(state.conf_state, members(voters));
        // What was applied was committed.
        assert_eq!(state.hard_state.commit, applied);
    }
}

#[test]
fn a_machine_restored_before_the_log_learned_of_it_is_no_damage() {
    let disk = SimDisk::default();
    let mut log = open_at(&disk, 1).unwrap();
    append(&mut log, (2..5).map(|index| entry(index, 1, 10)));
    log.begin_install(&snapshot(100, 7)).unwrap();
    // The power goes before the machine was restored,
    drop(log);
    assert_eq!(open_at(&disk, 1).unwrap().last_index().unwrap(), 4);
    // and after.
    let log = open_at(&disk, 100).unwrap();
    assert_eq!(log.first_index().unwrap(), 101);
    assert_eq!(log.term(100).unwrap(), 7);
    let state = log.initial_state().unwrap();
    assert_eq!(state.hard_state, hard(7, 0, 100));
    assert_eq!(state.conf_state, ConfState::from((vec![1, 2], vec![3])));
}
