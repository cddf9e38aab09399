//! The group on its thread, on a real disk.

use std::sync::Arc;

use bytes::Bytes;
use glimpse_replication::{
    Config, Handle, LogIndex, Seams, StartError, StateMachine,
    disk::RealDisk,
    start,
    testing::{Durable, HostClock, ListMachine, config},
    transport::NoPeers,
};

fn seams(directory: &tempfile::TempDir) -> Seams {
    Seams {
        clock: Arc::new(HostClock::default()),
        disk: Arc::new(RealDisk::new(directory.path().join("log")).unwrap()),
        transport: Box::new(NoPeers),
    }
}

fn begin(
    config: Config,
    directory: &tempfile::TempDir,
    durable: &Durable,
) -> Result<Handle<LogIndex>, StartError> {
    start(config, seams(directory), ListMachine::open(durable))
}

#[tokio::test]
async fn a_proposal_is_applied_and_read_back_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let durable = Durable::default();
    let group = begin(config(7), &directory, &durable).unwrap();
    assert!(group.status().leads);
    let mut last = 0;
    for number in 0..10 {
        let command = Bytes::from(format!("command {number}"));
        let index = group.propose(command).await.unwrap();
        assert!(index > last);
        last = index;
    }
    assert_eq!(group.read_index().await.unwrap(), last);
    assert_eq!(group.status().applied, last);
    group.stop().await.unwrap();

    // A machine that has lost everything is brought up again by the log.
    let durable = Durable::default();
    let group = begin(config(7), &directory, &durable).unwrap();
    assert!(group.propose(Bytes::from_static(b"x")).await.unwrap() > last);
    group.stop().await.unwrap();
    let machine = ListMachine::open(&durable);
    assert_eq!(machine.commands().len(), 11);
    assert_eq!(machine.applied_index(), machine.durable_index());
}

/// Not a test of anything: prints what a proposal costs here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints timings"]
async fn timings() {
    let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let config = Config {
        segment_bytes: 16 << 20,
        checkpoint_bytes: 16 << 20,
        ..config(7)
    };
    let group = begin(config, &directory, &Durable::default()).unwrap();
    for round in 0..3 {
        for clients in [1_usize, 64] {
            let each = 4000 / clients;
            let begun = std::time::Instant::now();
            let tasks: Vec<_> = (0..clients)
                .map(|_| {
                    let group = group.clone();
                    tokio::spawn(async move {
                        for _ in 0..each {
                            group.propose(Bytes::from(vec![7; 1000])).await.unwrap();
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            let rate = (each * clients) as f64 / begun.elapsed().as_secs_f64();
            let begun = std::time::Instant::now();
            let tasks: Vec<_> = (0..clients)
                .map(|_| {
                    let group = group.clone();
                    tokio::spawn(async move {
                        for _ in 0..each * 10 {
                            group.read_index().await.unwrap();
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            let reads = (each * clients * 10) as f64 / begun.elapsed().as_secs_f64();
            eprintln!("round {round}, {clients} clients: {rate:.0} proposals/s, {reads:.0} reads/s");
        }
    }
    group.stop().await.unwrap();
}
