//! Whole clusters from one seed: proposals, reads, partitions, lost messages, power cuts. After
//! each run all faults are removed and the cluster must heal.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use bytes::Bytes;
use glimpse_replication::{
    Config, LogIndex, Unavailable,
    testing::{Answered, Cluster, Durable, ListMachine, Random, config, crash_points, seed},
};

/// What is known of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Waiting,
    Acknowledged(LogIndex),
    /// It was said that it will never be applied.
    Refused,
    Unknown,
}

struct Client {
    cluster: Cluster<ListMachine>,
    fates: Vec<Fate>,
    proposals: Vec<(usize, Answered<LogIndex>)>,
    /// With the highest index acknowledged before it began.
    reads: Vec<(LogIndex, Answered<LogIndex>)>,
    acknowledged: LogIndex,
    reads_answered: usize,
}

fn small(id: u64) -> Config {
    Config {
        checkpoint_bytes: 20_000,
        keep_entries: 8,
        segment_bytes: 8192,
        max_batch: 16,
        ..config(id)
    }
}

impl Client {
    fn new(seed: u64, size: u64) -> Self {
        let durables: Rc<RefCell<BTreeMap<u64, Durable>>> = Rc::default();
        let open = move |id| ListMachine::open(durables.borrow_mut().entry(id).or_default());
        Self {
            cluster: Cluster::new(seed, size, small, open).unwrap(),
            fates: Vec::new(),
            proposals: Vec::new(),
            reads: Vec::new(),
            acknowledged: 0,
            reads_answered: 0,
        }
    }

    fn propose(&mut self, id: u64) {
        let number = self.fates.len();
        let command = format!("{number}:").repeat(1 + number % 50);
        if let Some(answered) = self.cluster.propose(id, Bytes::from(command)) {
            self.fates.push(Fate::Waiting);
            self.proposals.push((number, answered));
        }
    }

    fn read(&mut self, id: u64) {
        if let Some(answered) = self.cluster.read(id) {
            self.reads.push((self.acknowledged, answered));
        }
    }

    fn step(&mut self) {
        self.cluster.step();
        for id in 1..=self.cluster.members.len() as u64 {
            let member = &self.cluster.members[&id];
            if member.disk.is_off() {
                self.cluster.power_cut(id);
            } else {
                assert!(member.fault.is_none(), "node {id}: {:?}", member.fault);
            }
        }
        let fates = &mut self.fates;
        let acknowledged = &mut self.acknowledged;
        self.proposals.retain_mut(|(number, answered)| {
            fates[*number] = match answered.try_recv() {
                Ok(Ok(index)) => {
                    *acknowledged = (*acknowledged).max(index);
                    Fate::Acknowledged(index)
                }
                Ok(Err(Unavailable::NoLeader)) => Fate::Refused,
                Ok(Err(_)) | Err(tokio::sync::oneshot::error::TryRecvError::Closed) => {
                    Fate::Unknown
                }
                Err(tokio::sync::oneshot::error::TryRecvError::Empty) => return true,
            };
            false
        });
        let answered_before = &mut self.reads_answered;
        self.reads
            .retain_mut(|(before, answered)| match answered.try_recv() {
                Ok(Ok(index)) => {
                    assert!(
                        index >= *before,
                        "read {index}, acknowledged before {before}"
                    );
                    *answered_before += 1;
                    false
                }
                Ok(Err(_)) | Err(tokio::sync::oneshot::error::TryRecvError::Closed) => false,
                Err(tokio::sync::oneshot::error::TryRecvError::Empty) => true,
            });
    }

    /// One thing that a cluster must bear.
    fn trouble(&mut self) {
        let size = self.cluster.members.len() as u64;
        let id = 1 + self.cluster.random.below(size);
        match self.cluster.random.below(9) {
            0 => self.cluster.isolate(id),
            1 => {
                let other = 1 + self.cluster.random.below(size);
                self.cluster.cut.insert((id, other));
            }
            2 => self.cluster.loss = self.cluster.random.below(30),
            3 => self.cluster.delay = 1 + self.cluster.random.below(8),
            4 | 5 => self.cluster.heal(),
            6 => {
                // In the midst of things: during one of the next operations of its disk.
                let soon = self.cluster.random.below(30);
                let disk = &self.cluster.members[&id].disk;
                disk.cut_at(disk.operations() + soon);
            }
            _ => self.revive(),
        }
    }

    fn revive(&mut self) {
        for id in 1..=self.cluster.members.len() as u64 {
            while self.cluster.core(id).is_none() {
                if let Err(error) = self.cluster.start(id) {
                    let off = self.cluster.members[&id].disk.is_off();
                    assert!(off, "node {id}: {error}");
                    self.cluster.power_cut(id);
                }
            }
        }
    }

    fn run(&mut self, steps: u64) {
        let size = self.cluster.members.len() as u64;
        for _ in 0..steps {
            for _ in 0..self.cluster.random.below(4) {
                let id = 1 + self.cluster.random.below(size);
                self.propose(id);
            }
            if self.cluster.random.below(3) == 0 {
                let id = 1 + self.cluster.random.below(size);
                self.read(id);
            }
            if self.cluster.random.below(12) == 0 {
                self.trouble();
            }
            self.step();
        }
    }

    /// Removes all faults, waits until the nodes agree, and checks what was promised.
    fn settle(&mut self) -> Vec<(LogIndex, Vec<u8>)> {
        self.cluster.heal();
        for member in self.cluster.members.values() {
            member.disk.cut_at(u64::MAX);
        }
        self.revive();
        let size = self.cluster.members.len() as u64;
        let mut patience = 3000;
        while !self.agree() || !self.proposals.is_empty() || !self.reads.is_empty() {
            self.step();
            patience -= 1;
            assert!(patience > 0, "the cluster does not heal");
        }
        let id = 1 + self.cluster.random.below(size);
        self.propose(id);
        let last = self.fates.len() - 1;
        while !matches!(self.fates[last], Fate::Acknowledged(_)) || !self.agree() {
            self.step();
            patience -= 1;
            assert!(patience > 0, "the cluster takes no proposals");
        }
        let commands = self.cluster.core(1).unwrap().machine().commands().to_vec();
        for id in 1..=size {
            let theirs = self.cluster.core(id).unwrap().machine().commands();
            assert_eq!(commands, theirs, "node {id}");
        }
        self.check(&commands);
        commands
    }

    fn agree(&self) -> bool {
        let mut indexes = self.cluster.members.values().map(|member| {
            let status = member.core.as_ref().map(|core| core.status());
            status.map(|status| (status.applied, status.committed))
        });
        let first = indexes.next().flatten();
        self.cluster.leader().is_some()
            && first.is_some_and(|(applied, committed)| applied == committed)
            && indexes.all(|index| index == first)
    }

    fn check(&self, commands: &[(LogIndex, Vec<u8>)]) {
        let mut found = BTreeMap::new();
        for (index, command) in commands {
            let text = std::str::from_utf8(command).unwrap();
            let number: usize = text.split(':').next().unwrap().parse().unwrap();
            assert_eq!(
                text,
                format!("{number}:").repeat(1 + number % 50),
                "half a command"
            );
            assert_eq!(found.insert(number, *index), None, "command {number} twice");
        }
        for (number, fate) in self.fates.iter().enumerate() {
            match fate {
                Fate::Acknowledged(index) => {
                    assert_eq!(found.get(&number), Some(index), "command {number} was lost");
                }
                Fate::Refused => {
                    assert_eq!(found.get(&number), None, "command {number} was refused");
                }
                Fate::Waiting | Fate::Unknown => {}
            }
        }
    }
}

fn run(seed: u64, size: u64, steps: u64) -> Client {
    println!("size {size}, GLIMPSE_SEED={seed}");
    let mut client = Client::new(seed, size);
    client.run(steps);
    client.settle();
    client
}

fn keeps_what_it_acknowledged(size: u64) {
    let mut seeds = Random::new(seed());
    let (mut acknowledged, mut reads) = (0, 0);
    for _ in 0..crash_points(300) / 30 {
        let client = run(seeds.next_u64() >> 16, size, 500);
        let fates = client.fates.iter();
        acknowledged += fates
            .filter(|fate| matches!(fate, Fate::Acknowledged(_)))
            .count();
        reads += client.reads_answered;
    }
    assert!(acknowledged > 500, "{acknowledged} commands");
    assert!(reads > 100, "{reads} reads");
}

#[test]
fn a_cluster_of_one_keeps_what_it_acknowledged() {
    keeps_what_it_acknowledged(1);
}

#[test]
fn a_cluster_of_three_keeps_what_it_acknowledged() {
    keeps_what_it_acknowledged(3);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let seed = seed();
    let (first, second) = (run(seed, 3, 300), run(seed, 3, 300));
    assert_eq!(first.fates, second.fates);
}

#[test]
fn a_follower_that_is_too_far_behind_is_given_a_snapshot() {
    let mut client = Client::new(seed(), 3);
    while client.cluster.leader().is_none() {
        client.step();
    }
    let leader = client.cluster.leader().unwrap();
    let behind = 1 + leader % 3;
    client.cluster.isolate(behind);
    let first = client.cluster.core(leader).unwrap().status().first;
    let held = client.cluster.core(behind).unwrap().status().committed;
    for _ in 0..300 {
        client.propose(leader);
        client.step();
    }
    let now = client.cluster.core(leader).unwrap().status().first;
    assert!(now > first && now > held + 1, "the log was not cut");
    client.settle();
    assert!(
        client
            .fates
            .iter()
            .all(|fate| matches!(fate, Fate::Acknowledged(_)))
    );
}

#[test]
fn a_leader_cut_off_acknowledges_nothing_and_the_others_go_on() {
    let mut client = Client::new(seed(), 3);
    while client.cluster.leader().is_none() {
        client.step();
    }
    let old = client.cluster.leader().unwrap();
    client.cluster.isolate(old);
    client.propose(old);
    client.read(old);
    let other = 1 + old % 3;
    for _ in 0..200 {
        client.step();
    }
    client.propose(other);
    for _ in 0..50 {
        client.step();
    }
    assert!(!matches!(client.fates[0], Fate::Acknowledged(_)));
    assert_eq!(client.reads_answered, 0);
    assert!(matches!(client.fates[1], Fate::Acknowledged(_)));
    client.settle();
}
