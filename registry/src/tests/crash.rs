//! Power cuts: any write of the tables' file that was not synced may be lost, whole or in part.

use std::{io, sync::Arc};

use glimpse_replication::{Committed, StateMachine as _};
use parking_lot::Mutex;
use rand::{RngExt as _, rngs::StdRng};
use redb::StorageBackend;

use super::fixture::{CACHE, SECOND, assert_same_state, entry, random_command, remember, seeded};
use crate::{image::ImageId, store::Store};

/// What can be lost on its own.
const SECTOR: usize = 512;

#[derive(Debug, Clone)]
enum Step {
    Write(usize, Vec<u8>),
    Length(usize),
    Sync,
}

/// A file in memory that keeps a record of what was done to it.
#[derive(Debug, Clone, Default)]
struct Traced {
    now: Arc<Mutex<Vec<u8>>>,
    steps: Arc<Mutex<Vec<Step>>>,
}

impl Traced {
    fn holding(bytes: Vec<u8>) -> Self {
        Self {
            now: Arc::new(Mutex::new(bytes)),
            steps: Arc::default(),
        }
    }
}

fn write(file: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if file.len() < offset + data.len() {
        file.resize(offset + data.len(), 0);
    }
    file[offset..offset + data.len()].copy_from_slice(data);
}

impl StorageBackend for Traced {
    fn len(&self) -> io::Result<u64> {
        Ok(self.now.lock().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let now = self.now.lock();
        let offset = usize::try_from(offset).unwrap();
        let found = now.get(offset..offset + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).unwrap();
        self.now.lock().resize(len, 0);
        self.steps.lock().push(Step::Length(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.steps.lock().push(Step::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        write(&mut self.now.lock(), offset, data);
        self.steps.lock().push(Step::Write(offset, data.to_vec()));
        Ok(())
    }
}

/// The file as a cut may leave it: what was synced, and of the rest whatever chance keeps.
fn cut(synced: &[u8], unsynced: &[Step], rng: &mut StdRng) -> Vec<u8> {
    let mut file = synced.to_vec();
    let keep = *super::fixture::pick(rng, &[0.0, 0.1, 0.5, 0.9, 1.0]);
    let torn = rng.random_bool(0.3);
    for step in unsynced {
        match step {
            Step::Write(offset, data) if torn => {
                for (number, sector) in data.chunks(SECTOR).enumerate() {
                    if rng.random_bool(keep) {
                        write(&mut file, offset + number * SECTOR, sector);
                    }
                }
            }
            Step::Write(offset, data) => {
                if rng.random_bool(keep) {
                    write(&mut file, *offset, data);
                }
            }
            Step::Length(len) => {
                if rng.random_bool(keep) {
                    file.resize(*len, 0);
                }
            }
            Step::Sync => unreachable!("synced steps are not lost"),
        }
    }
    file
}

/// A log, and what the file went through while it was applied.
struct Run {
    log: Vec<Committed>,
    steps: Vec<Step>,
    /// After so many steps, this index was reported durable.
    promised: Vec<(usize, u64)>,
    /// The state after the whole log.
    state: Vec<u8>,
}

fn run(rng: &mut StdRng) -> Run {
    let file = Traced::default();
    let mut store = Store::open_with(file.clone(), CACHE, remember(40)).unwrap();
    let mut promised = vec![(file.steps.lock().len(), 0)];
    let mut log = Vec::new();
    let mut clock = 1_000 * SECOND;
    for _ in 0..rng.random_range(1..40) {
        let mut group = Vec::new();
        for _ in 0..rng.random_range(1..20) {
            clock += rng.random_range(0..SECOND);
            let view = store.reader().view();
            let known = |id: ImageId| {
                let image = view.image(id).unwrap()?;
                Some((image.version, image.upload.as_ref().map(|upload| upload.id)))
            };
            let pending: Vec<_> = view.pending_deletes(0, 9).unwrap();
            let pending: Vec<_> = pending.iter().map(|pending| pending.sequence).collect();
            let index = (log.len() + group.len() + 1) as u64;
            let command = random_command(rng, 200, clock, known, &pending);
            group.push(entry(index, index, clock, command));
        }
        store.apply(&group).unwrap();
        log.extend(group);
        if rng.random_bool(0.2) {
            let index = store.checkpoint().unwrap();
            promised.push((file.steps.lock().len(), index));
        }
    }
    let state = store.snapshot().unwrap();
    let steps = file.steps.lock().clone();
    Run {
        log,
        steps,
        promised,
        state,
    }
}

fn points() -> usize {
    std::env::var("GLIMPSE_CRASH_POINTS").map_or(100, |points| points.parse().unwrap())
}

#[test]
fn no_power_cut_loses_an_acknowledged_write() {
    let mut rng = seeded();
    let mut left = points();
    let mut replays = 0;
    while left > 0 {
        let run = run(&mut rng);
        let per_run = left.min(25);
        left -= per_run;
        // A cut before the first promise is a cut while the tables are made.
        let mut ends: Vec<_> = (0..per_run)
            .map(|_| rng.random_range(0..=run.steps.len()))
            .collect();
        ends.sort_unstable();
        let mut synced = Vec::new();
        let mut applied = 0;
        for end in ends {
            let last_sync = run.steps[..end]
                .iter()
                .rposition(|step| matches!(step, Step::Sync))
                .map_or(0, |at| at + 1);
            for step in &run.steps[applied..last_sync.max(applied)] {
                match step {
                    Step::Write(offset, data) => write(&mut synced, *offset, data),
                    Step::Length(len) => synced.resize(*len, 0),
                    Step::Sync => {}
                }
            }
            applied = applied.max(last_sync);
            let file = cut(&synced, &run.steps[last_sync..end], &mut rng);
            let promised = run
                .promised
                .iter()
                .rev()
                .find(|(at, _)| *at <= end)
                .map(|(_, index)| *index);
            match Store::open_with(Traced::holding(file), CACHE, remember(40)) {
                Ok(store) => {
                    assert!(store.applied_index() >= promised.unwrap_or(0));
                    replays += usize::from(replay(store, &run));
                }
                // Never made whole, and nothing was promised: a start from nothing is right.
                Err(error) => assert!(promised.is_none(), "{error}"),
            }
        }
    }
    assert!(points() < 50 || replays > 0);
}

/// Applies what is missing and compares everything. Whether anything was missing.
fn replay(mut store: Store, run: &Run) -> bool {
    let from = usize::try_from(store.applied_index()).unwrap();
    let missing = &run.log[from..];
    for group in missing.chunks(7) {
        store.apply(group).unwrap();
    }
    assert_same_state(&store.snapshot().unwrap(), &run.state);
    !missing.is_empty()
}

#[test]
fn a_kill_without_a_power_cut_loses_nothing_either() {
    let mut rng = seeded();
    for _ in 0..5 {
        let run = run(&mut rng);
        let mut file = Vec::new();
        for step in &run.steps {
            match step {
                Step::Write(offset, data) => write(&mut file, *offset, data),
                Step::Length(len) => file.resize(*len, 0),
                Step::Sync => {}
            }
        }
        let store = Store::open_with(Traced::holding(file), CACHE, remember(40)).unwrap();
        replay(store, &run);
    }
}
