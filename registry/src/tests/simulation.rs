//! Whole nodes, log and tables on simulated disks, in one thread and from one seed; power cuts
//! anywhere. Whatever was acknowledged must be answered the same when it is asked for again.

use std::collections::BTreeMap;

use bytes::Bytes;
use glimpse_replication::{
    Config,
    testing::{Answered, Cluster, Random, SimDisk, config},
};
use rand::{Rng as _, RngExt as _, rngs::StdRng};

use super::fixture::{CACHE, REMEMBER, SECOND, assert_same_state, encoded, random_command, seeded};
use crate::{image::ImageId, outcome::Outcome, store::Store};

fn small(id: u64) -> Config {
    Config {
        checkpoint_bytes: 16 << 10,
        segment_bytes: 64 << 10,
        keep_entries: 8,
        ..config(id)
    }
}

struct Run {
    cluster: Cluster<Store>,
    /// Where the tables of each node are.
    disks: BTreeMap<u64, SimDisk>,
    rng: StdRng,
    clock: u64,
    sequence: u64,
    waiting: Vec<(Bytes, Answered<Outcome>)>,
    acknowledged: Vec<(Bytes, Outcome)>,
}

impl Run {
    fn new(mut rng: StdRng, size: u64) -> Self {
        let disks: BTreeMap<_, _> = (1..=size).map(|id| (id, SimDisk::default())).collect();
        let of = disks.clone();
        let open = move |id| Store::open_on(&of[&id], "tables.redb", CACHE, REMEMBER).unwrap();
        let cluster = Cluster::new(rng.next_u64(), size, small, open).unwrap();
        Self {
            cluster,
            disks,
            rng,
            clock: 1_000 * SECOND,
            sequence: 0,
            waiting: Vec::new(),
            acknowledged: Vec::new(),
        }
    }

    /// Proposes at any node.
    fn propose(&mut self) {
        let id = self.rng.random_range(1..=self.disks.len() as u64);
        let Some(core) = self.cluster.core(id) else {
            return;
        };
        let view = core.machine().reader().view();
        let known = |id: ImageId| {
            let image = view.image(id).unwrap()?;
            Some((image.version, image.upload.as_ref().map(|upload| upload.id)))
        };
        let pending = view.pending_deletes(0, 9).unwrap();
        let pending: Vec<_> = pending.iter().map(|pending| pending.sequence).collect();
        self.clock += self.rng.random_range(0..SECOND);
        self.sequence += 1;
        let command = random_command(&mut self.rng, 60, self.clock, known, &pending);
        let bytes = encoded(self.sequence, self.clock, command);
        self.offer(id, bytes);
    }

    fn offer(&mut self, id: u64, bytes: Bytes) {
        if let Some(answered) = self.cluster.propose(id, bytes.clone()) {
            self.waiting.push((bytes, answered));
        }
    }

    fn step(&mut self) {
        self.cluster.step();
        for (id, member) in &self.cluster.members {
            assert!(member.fault.is_none(), "node {id}: {:?}", member.fault);
        }
        for (bytes, mut answered) in std::mem::take(&mut self.waiting) {
            match answered.try_recv() {
                Ok(Ok(outcome)) => self.acknowledged.push((bytes, outcome)),
                Ok(Err(_)) => {}
                Err(tokio::sync::oneshot::error::TryRecvError::Empty) => {
                    self.waiting.push((bytes, answered));
                }
                Err(tokio::sync::oneshot::error::TryRecvError::Closed) => {}
            }
        }
    }

    /// Cuts the power of a node: nothing that it does from now on reaches a disk, not even a
    /// database that is closed in order.
    fn cut(&mut self, id: u64) {
        let tables = &self.disks[&id];
        tables.cut_at(tables.operations());
        self.cluster.power_cut(id);
        let mut random = Random::new(self.rng.next_u64());
        tables.power_cut(&mut random);
        self.cluster.start(id).unwrap();
    }

    /// Steps until the condition holds.
    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        for _ in 0..5_000 {
            if holds(self) {
                return;
            }
            self.step();
        }
        panic!("never: {what}");
    }

    /// Asks again for everything that was acknowledged.
    fn ask_again(&mut self) {
        let expected = std::mem::take(&mut self.acknowledged);
        self.waiting.clear();
        for (bytes, outcome) in expected {
            self.until("an answer", |run| {
                if run.waiting.is_empty()
                    && run.acknowledged.is_empty()
                    && let Some(leader) = run.cluster.leader()
                {
                    run.offer(leader, bytes.clone());
                }
                !run.acknowledged.is_empty()
            });
            let (_, again) = self.acknowledged.remove(0);
            assert!(is_later(&outcome, &again), "{outcome:?}, then {again:?}");
        }
    }
}

/// Whether an answer shows what another one showed, as it is later.
fn is_later(first: &Outcome, again: &Outcome) -> bool {
    match (first, again) {
        (Outcome::Image(first), Outcome::Image(again)) => {
            first.id == again.id && first.version <= again.version
        }
        (Outcome::Member(first), Outcome::Member(again)) => {
            first.member_id == again.member_id && first.updated_at <= again.updated_at
        }
        (Outcome::Namespace(first), Outcome::Namespace(again)) => {
            first.id == again.id && first.version <= again.version
        }
        (Outcome::Definition(id, kind, first), Outcome::Definition(of, of_kind, again)) => {
            (id, kind, &first.name) == (of, of_kind, &again.name) && first.version <= again.version
        }
        (
            Outcome::Image(_)
            | Outcome::Member(_)
            | Outcome::Namespace(_)
            | Outcome::Definition(..),
            Outcome::Done,
        ) => true,
        (first, again) => first == again,
    }
}

fn simulate(size: u64, steps: usize) {
    let mut run = Run::new(seeded(), size);
    run.cluster.delay = if size > 1 { 3 } else { 1 };
    for _ in 0..steps {
        for _ in 0..run.rng.random_range(0..8) {
            run.propose();
        }
        run.step();
        if run.rng.random_bool(0.02) {
            let id = run.rng.random_range(1..=size);
            run.cut(id);
        }
    }
    assert!(run.acknowledged.len() > steps / 4, "too little happened");
    run.cluster.heal();
    run.ask_again();
    for id in 1..=size {
        run.cut(id);
    }
    run.until("the same state everywhere", |run| {
        let applied: Vec<_> = (1..=size)
            .map(|id| run.cluster.core(id).unwrap().status().applied)
            .collect();
        run.cluster.leader().is_some() && applied.windows(2).all(|pair| pair[0] == pair[1])
    });
    let states: Vec<_> = (1..=size)
        .map(|id| {
            let view = run.cluster.core(id).unwrap().machine().reader().view();
            view.export().unwrap()
        })
        .collect();
    for state in &states {
        assert_same_state(state, &states[0]);
    }
}

#[test]
fn one_node_keeps_what_it_acknowledged_through_power_cuts() {
    simulate(1, 400);
}

#[test]
fn three_nodes_keep_what_they_acknowledged_and_agree() {
    simulate(3, 400);
}
