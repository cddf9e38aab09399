//! The log of a group of one under power cuts: at every operation of a scripted run, and at random
//! ones of runs that are cut again and again, during recovery too. `GLIMPSE_CRASH_POINTS` sets how
//! many random ones.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use bytes::Bytes;
use glimpse_replication::{
    Config, Fault, LogIndex, StartError, Unavailable,
    core::{Core, Parts},
    testing::{Durable, ListMachine, Random, SimDisk, config, crash_points, seed},
    transport::NoPeers,
};
use tokio::sync::oneshot;

/// A group of one, and all that was ever proposed to it.
struct Bench {
    disk: SimDisk,
    durable: Durable,
    /// In the order proposed.
    proposed: Vec<Vec<u8>>,
    /// Which of them were acknowledged.
    acknowledged: Vec<usize>,
    random: Random,
}

fn small() -> Config {
    Config {
        checkpoint_bytes: 6000,
        keep_entries: 2,
        segment_bytes: 4096,
        max_batch: 4,
        ..config(1)
    }
}

impl Bench {
    fn new(seed: u64) -> Self {
        Self {
            disk: SimDisk::default(),
            durable: Durable::default(),
            proposed: Vec::new(),
            acknowledged: Vec::new(),
            random: Random::new(seed),
        }
    }

    fn open(&mut self) -> Result<Core<ListMachine>, StartError> {
        Core::new(Parts {
            config: small(),
            disk: Arc::new(self.disk.clone()),
            transport: Box::new(NoPeers),
            machine: ListMachine::open(&self.durable),
            voters: vec![1],
            seed: self.random.next_u64(),
        })
    }

    /// Proposes a handful of commands, some of them large, and does what follows.
    fn round(&mut self, core: &mut Core<ListMachine>) -> Result<(), Fault> {
        let mut answers = Vec::new();
        for _ in 0..=self.random.below(6) {
            let number = self.proposed.len();
            let size = match self.random.below(20) {
                0 => self.random.below(9000),
                _ => self.random.below(600),
            };
            let mut command = format!("{number}:").into_bytes();
            command.extend((0..size).map(|at| (number as u64 + at) as u8));
            let (answer, answered) = oneshot::channel();
            core.propose(Bytes::from(command.clone()), answer);
            self.proposed.push(command);
            answers.push((number, answered));
        }
        core.tick();
        let result = core.step();
        for (number, mut answered) in answers {
            if let Ok(answer) = answered.try_recv() {
                answer.unwrap();
                self.acknowledged.push(number);
            }
        }
        if result.is_err() {
            core.fail(&Unavailable::NoLeader);
        }
        result
    }

    /// What the machine holds must be among what was proposed, in order, whole, once; and hold
    /// all that was acknowledged.
    fn check(&self, commands: &[(LogIndex, Vec<u8>)]) {
        let mut proposed = self.proposed.iter().enumerate();
        let mut held = std::collections::BTreeSet::new();
        for (index, command) in commands {
            let found = proposed.find(|(_, proposed)| *proposed == command);
            let (number, _) = found.unwrap_or_else(|| {
                let head = String::from_utf8_lossy(&command[..command.len().min(12)]);
                panic!("entry {index} is no command, or out of order: {head}")
            });
            held.insert(number);
        }
        for number in &self.acknowledged {
            assert!(
                held.contains(number),
                "command {number} was acknowledged, and lost"
            );
        }
    }

    /// Opens the group again and again until the power stays on, and checks it.
    fn recover(&mut self) -> Core<ListMachine> {
        loop {
            assert!(self.disk.is_off());
            self.disk.power_cut(&mut self.random);
            if self.random.below(4) == 0 {
                let soon = self.disk.operations() + self.random.below(8);
                self.disk.cut_at(soon);
            }
            match self.open() {
                Ok(core) => {
                    self.check(core.machine().commands());
                    return core;
                }
                Err(error) => assert!(self.disk.is_off(), "does not start: {error}"),
            }
        }
    }

    fn rounds(&mut self, core: &mut Core<ListMachine>, rounds: u64) -> bool {
        for _ in 0..rounds {
            if let Err(fault) = self.round(core) {
                assert!(self.disk.is_off(), "{fault}");
                return false;
            }
        }
        true
    }
}

const ROUNDS: u64 = 30;

/// The scripted run, cut at one operation. `false` if it ended before.
fn scripted(seed: u64, cut: u64) -> bool {
    let mut bench = Bench::new(seed);
    bench.disk.cut_at(cut);
    let survived = match bench.open() {
        Ok(mut core) => bench.rounds(&mut core, ROUNDS),
        Err(error) => {
            assert!(bench.disk.is_off(), "{error}");
            false
        }
    };
    if survived {
        return false;
    }
    let mut core = bench.recover();
    while !bench.rounds(&mut core, 3) {
        core = bench.recover();
    }
    bench.check(core.machine().commands());
    true
}

#[test]
fn a_cut_at_any_operation_loses_nothing_acknowledged() {
    let mut seeds = Random::new(seed());
    for _ in 0..=crash_points(300) / 3000 {
        let seed = seeds.next_u64() >> 16;
        println!("GLIMPSE_SEED={seed}");
        let mut cut = 0;
        while scripted(seed, cut) {
            cut += 1;
        }
        assert!(cut > 100, "the script is too short: {cut}");
    }
}

#[test]
fn cuts_again_and_again_lose_nothing_acknowledged() {
    let mut seeds = Random::new(seed());
    for _ in 0..crash_points(300) / 10 {
        let seed = seeds.next_u64() >> 16;
        println!("GLIMPSE_SEED={seed}");
        let mut bench = Bench::new(seed);
        let mut core = bench.open().unwrap();
        for _ in 0..10 {
            let soon = bench.disk.operations() + bench.random.below(60);
            bench.disk.cut_at(soon);
            while bench.rounds(&mut core, 1) {}
            core = bench.recover();
        }
        assert!(bench.acknowledged.len() > 10);
        // The log stays short: what is durable elsewhere is removed.
        while !bench.rounds(&mut core, 60) {
            core = bench.recover();
        }
        let left: usize = bench.disk.image().values().map(Vec::len).sum();
        assert!(left < 60_000, "{left} bytes of log are left");
    }
}

#[test]
fn after_a_failed_write_or_fsync_nothing_more_is_acknowledged() {
    let mut failed = 0;
    for at in 0..150 {
        let mut bench = Bench::new(5);
        bench.disk.fail_at(at);
        let Ok(mut core) = bench.open() else { continue };
        for _ in 0..ROUNDS {
            if bench.round(&mut core).is_ok() {
                continue;
            }
            failed += 1;
            let acknowledged = bench.acknowledged.len();
            // Whoever asks again is refused, although the disk would write again.
            assert!(bench.round(&mut core).is_err());
            assert_eq!(bench.acknowledged.len(), acknowledged);
            break;
        }
        drop(core);
        bench.disk.power_cut(&mut bench.random);
        let core = bench.open().unwrap();
        bench.check(core.machine().commands());
    }
    assert!(failed > 50);
}

#[test]
fn a_full_disk_refuses_writes_and_is_read_and_started_again() {
    let disk = SimDisk::default();
    let durable = Durable::default();
    let open = || {
        Core::new(Parts {
            config: Config {
                max_command_bytes: 500,
                max_batch_bytes: 500,
                segment_bytes: 64 << 10,
                checkpoint_bytes: 1 << 20,
                ..small()
            },
            disk: Arc::new(disk.clone()),
            transport: Box::new(NoPeers),
            machine: ListMachine::open(&durable),
            voters: vec![1],
            seed: 1,
        })
        .unwrap()
    };
    // Whatever becomes free is taken by someone else.
    let fill = || {
        let used: usize = disk.image().values().map(Vec::len).sum();
        disk.set_capacity(Some(used));
    };
    let propose = |core: &mut Core<ListMachine>| {
        let (answer, mut answered) = oneshot::channel();
        core.propose(Bytes::from_static(&[7; 400]), answer);
        core.tick();
        core.step().unwrap();
        answered.try_recv().unwrap()
    };
    let mut core = open();
    let mut acknowledged = 0;
    let refused = loop {
        fill();
        let tight = core.status().tight;
        match propose(&mut core) {
            Ok(_) => acknowledged += 1,
            Err(why) => break (why, tight),
        }
        assert!(acknowledged < 1000, "the disk is never full");
    };
    assert!(matches!(refused, (Unavailable::Full, true)));
    assert!(acknowledged > 5);
    for _ in 0..3 {
        core = open();
        fill();
        assert!(core.status().tight);
        assert!(matches!(propose(&mut core), Err(Unavailable::Full)));
        let (answer, mut answered) = oneshot::channel();
        core.read(answer);
        core.step().unwrap();
        answered.try_recv().unwrap().unwrap();
        assert_eq!(core.machine().commands().len(), acknowledged);
    }
    disk.set_capacity(None);
    core.tick();
    core.step().unwrap();
    assert!(!core.status().tight);
    propose(&mut core).unwrap();
}
