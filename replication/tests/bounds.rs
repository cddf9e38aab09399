//! What the log holds is bounded by bytes, on disk and in memory, however large the commands are.

use std::sync::Arc;

use bytes::Bytes;
use glimpse_replication::{
    Config,
    core::{Core, Parts},
    testing::{Cluster, Durable, ListMachine, SimDisk, config},
    transport::NoPeers,
};
use tokio::sync::oneshot;

const COMMAND: u64 = 10_000;
const CHECKPOINT: u64 = 50_000;
const SEGMENT: u64 = 60_000;

fn small(raft_id: u64) -> Config {
    Config {
        checkpoint_bytes: CHECKPOINT,
        segment_bytes: SEGMENT,
        keep_entries: 10_000,
        keep_bytes: 3 * COMMAND,
        ..config(raft_id)
    }
}

fn command(number: u64) -> Bytes {
    vec![number as u8; COMMAND as usize].into()
}

#[test]
fn a_node_that_is_alone_keeps_nothing_below_the_durable_index() {
    let disk = SimDisk::default();
    let mut core = Core::new(Parts {
        config: small(1),
        disk: Arc::new(disk.clone()),
        transport: Box::new(NoPeers),
        machine: ListMachine::open(&Durable::default()),
        voters: vec![1],
        seed: 1,
    })
    .unwrap();
    for number in 0..200 {
        let (answer, mut answered) = oneshot::channel();
        core.propose(command(number), answer);
        core.step().unwrap();
        answered.try_recv().unwrap().unwrap();
        let status = core.status();
        assert_eq!(status.first, status.durable + 1);
        let held = (status.applied - status.durable) * COMMAND;
        assert!(held <= CHECKPOINT + COMMAND, "{held} bytes are held");
        let logs = disk.image();
        let bytes: usize = logs.values().map(Vec::len).sum();
        assert!(bytes as u64 <= 4 * SEGMENT, "{bytes} bytes of log");
    }
}

#[test]
fn what_is_kept_for_followers_is_bounded_by_bytes() {
    let durable: Vec<_> = (0..3).map(|_| Durable::default()).collect();
    let open = move |id: u64| ListMachine::open(&durable[id as usize - 1]);
    let mut cluster = Cluster::new(3, 3, small, open).unwrap();
    let mut kept = 0;
    for number in 0..100 {
        let mut answered = loop {
            if let Some(leader) = cluster.leader()
                && let Some(answered) = cluster.propose(leader, command(number))
            {
                break answered;
            }
            cluster.step();
        };
        while answered.try_recv().is_err() {
            cluster.step();
        }
        for id in 1..=3 {
            let status = cluster.core(id).unwrap().status();
            let below = (status.durable + 1).saturating_sub(status.first);
            if number > 20 {
                kept = kept.max(below);
                assert!(below <= 3, "node {id} keeps {below} entries");
            }
        }
    }
    assert!(kept > 0, "nothing is kept for followers");
}
