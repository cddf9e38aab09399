//! The group on its thread, on a real disk.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use glimpse_replication::{
    Committed, Config, Fault, Handle, LogIndex, Seams, StartError, StateMachine, Unavailable,
    disk::RealDisk,
    start,
    testing::{Durable, HostClock, ListMachine, config},
    transport::NoPeers,
};

use tokio::{sync::Mutex, task::JoinHandle};

fn seams(directory: &tempfile::TempDir) -> Seams {
    Seams {
        clock: Arc::new(HostClock::default()),
        seed: 1,
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

    let group = begin(config(7), &directory, &durable).unwrap();
    assert!(group.propose(Bytes::from_static(b"x")).await.unwrap() > last);
    group.stop().await.unwrap();
    let machine = ListMachine::open(&durable);
    assert_eq!(machine.commands().len(), 11);
    assert_eq!(machine.applied_index(), machine.durable_index());
}

/// A list that waits in `apply` until it is let go, and then may break.
struct Gated {
    list: ListMachine,
    gate: Arc<Mutex<()>>,
    breaks: Option<fn() -> Fault>,
}

impl StateMachine for Gated {
    type Outcome = LogIndex;

    fn apply(&mut self, entries: &[Committed]) -> Result<Vec<LogIndex>, Fault> {
        if entries.iter().any(|entry| !entry.command.is_empty()) {
            let _open = self.gate.blocking_lock();
            if let Some(fault) = self.breaks {
                return Err(fault());
            }
        }
        self.list.apply(entries)
    }

    fn applied_index(&self) -> LogIndex {
        self.list.applied_index()
    }

    fn durable_index(&self) -> LogIndex {
        self.list.durable_index()
    }

    fn checkpoint(&mut self) -> Result<LogIndex, Fault> {
        self.list.checkpoint()
    }

    fn snapshot(&mut self) -> Result<Vec<u8>, Fault> {
        self.list.snapshot()
    }

    fn restore(&mut self, index: LogIndex, snapshot: &[u8]) -> Result<(), Fault> {
        self.list.restore(index, snapshot)
    }
}

struct Gate {
    group: Handle<LogIndex>,
    gate: Arc<Mutex<()>>,
    durable: Durable,
    _directory: tempfile::TempDir,
}

fn gated(config: Config, breaks: Option<fn() -> Fault>) -> Gate {
    let directory = tempfile::tempdir().unwrap();
    let durable = Durable::default();
    let gate = Arc::new(Mutex::new(()));
    let machine = Gated {
        list: ListMachine::open(&durable),
        gate: gate.clone(),
        breaks,
    };
    Gate {
        group: start(config, seams(&directory), machine).unwrap(),
        gate,
        durable,
        _directory: directory,
    }
}

fn propose(group: &Handle<LogIndex>, number: usize) -> JoinHandle<Result<LogIndex, Unavailable>> {
    let group = group.clone();
    tokio::spawn(async move { group.propose(Bytes::from(format!("{number}"))).await })
}

#[tokio::test]
async fn at_the_bound_of_the_queue_more_is_refused_and_what_waits_is_answered() {
    let bound = Config {
        queue: 8,
        ..config(1)
    };
    let Gate {
        group,
        gate,
        _directory,
        ..
    } = gated(bound, None);
    let closed = gate.try_lock_owned().unwrap();
    let tasks: Vec<_> = (0..40).map(|number| propose(&group, number)).collect();
    // The refused are answered at once; the others cannot be.
    let mut refused = 0;
    let mut waiting = Vec::new();
    while refused < 20 {
        tokio::task::yield_now().await;
        refused = tasks.iter().filter(|task| task.is_finished()).count();
    }
    drop(closed);
    let (mut answered, mut overloaded) = (0, 0);
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => answered += 1,
            Err(Unavailable::Overloaded) => overloaded += 1,
            Err(other) => waiting.push(other),
        }
    }
    assert!(waiting.is_empty(), "{waiting:?}");
    // Eight in the queue; and as many more as the thread had taken before.
    assert!(answered >= 8 && overloaded >= 20, "{answered} {overloaded}");
    assert!(group.propose(Bytes::from_static(b"later")).await.is_ok());
}

#[tokio::test]
async fn a_call_gives_up_in_time_and_the_abandoned_command_is_still_applied() {
    let short = Config {
        timeout: Duration::from_millis(50),
        ..config(1)
    };
    let Gate {
        group,
        gate,
        durable,
        _directory,
    } = gated(short, None);
    let closed = gate.try_lock_owned().unwrap();
    let given_up = group.propose(Bytes::from_static(b"slow")).await;
    assert!(matches!(given_up, Err(Unavailable::Timeout)));
    assert!(matches!(
        group.read_index().await,
        Err(Unavailable::Timeout)
    ));
    drop(closed);
    group.stop().await.unwrap();
    let machine = ListMachine::open(&durable);
    assert_eq!(machine.commands().len(), 1);
}

#[tokio::test]
async fn a_command_over_the_bound_is_refused() {
    let Gate {
        group, _directory, ..
    } = gated(config(1), None);
    let limit = config(1).max_command_bytes;
    let fits = group.propose(Bytes::from(vec![1; limit])).await;
    assert!(fits.is_ok());
    let refused = group.propose(Bytes::from(vec![1; limit + 1])).await;
    assert!(matches!(
        refused,
        Err(Unavailable::TooLarge { size, limit: l }) if size == limit + 1 && l == limit
    ));
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refused = |config| {
        let directory = tempfile::tempdir().unwrap();
        let refused = begin(config, &directory, &Durable::default());
        assert!(matches!(refused, Err(StartError::Config(_))));
        assert!(
            std::fs::read_dir(directory.path().join("log"))
                .unwrap()
                .next()
                .is_none()
        );
    };
    refused(Config {
        raft_id: 0,
        ..config(1)
    });
    refused(Config {
        max_batch: 0,
        ..config(1)
    });
    refused(Config {
        heartbeat_ticks: 10,
        ..config(1)
    });
}

#[tokio::test]
async fn stopping_checkpoints_and_refuses_what_comes_later() {
    let Gate {
        group,
        durable,
        _directory,
        ..
    } = gated(config(1), None);
    for number in 0..5 {
        propose(&group, number).await.unwrap().unwrap();
    }
    assert!(ListMachine::open(&durable).commands().is_empty());
    group.stop().await.unwrap();
    assert_eq!(ListMachine::open(&durable).commands().len(), 5);
    group.stop().await.unwrap();
    let refused = group.propose(Bytes::from_static(b"late")).await;
    assert!(matches!(refused, Err(Unavailable::Stopped(_))));
    let refused = group.read_index().await;
    assert!(matches!(refused, Err(Unavailable::Stopped(_))));
    assert!(group.status().stopped.is_some());
}

async fn stops_on_a_fault(fault: fn() -> Fault, why: &str) {
    let Gate {
        group,
        durable,
        _directory,
        ..
    } = gated(config(1), Some(fault));
    let before = group.status();
    let failed = group.propose(Bytes::from_static(b"fatal")).await;
    assert!(matches!(failed, Err(Unavailable::Stopped(_))), "{failed:?}");
    assert!(group.faulted().await.contains(why));
    assert!(group.status().stopped.unwrap().contains(why));
    assert!(group.stop().await.is_err());
    // The entry did not count as applied, and nothing was made durable.
    assert_eq!(ListMachine::open(&durable).durable_index(), 0);
    assert_eq!(group.status().applied, before.applied);
}

#[tokio::test]
async fn a_fault_of_the_machine_stops_the_group_before_the_entry_is_applied() {
    let fault = || Fault {
        what: "writing the tables",
        cause: "input/output error".to_owned(),
    };
    stops_on_a_fault(fault, "writing the tables: input/output error").await;
}

#[tokio::test]
async fn a_panic_on_the_thread_stops_the_group() {
    stops_on_a_fault(|| panic!("a broken invariant"), "a broken invariant").await;
}

#[tokio::test]
async fn a_group_without_handles_ends_and_leaves_its_log_to_the_next() {
    let Gate {
        group,
        durable,
        _directory,
        ..
    } = gated(config(1), None);
    propose(&group, 1).await.unwrap().unwrap();
    drop(group);
    let deadline = Instant::now() + Duration::from_secs(20);
    while ListMachine::open(&durable).commands().is_empty() {
        assert!(Instant::now() < deadline, "the thread goes on");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_see_what_was_acknowledged_before_them() {
    let Gate {
        group, _directory, ..
    } = gated(config(1), None);
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let group = group.clone();
            tokio::spawn(async move {
                for number in 0..50 {
                    let command = Bytes::from(format!("{number}"));
                    let written = group.propose(command).await.unwrap();
                    assert!(group.read_index().await.unwrap() >= written);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
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
            eprintln!(
                "round {round}, {clients} clients: {rate:.0} proposals/s, {reads:.0} reads/s"
            );
        }
    }
    group.stop().await.unwrap();
}
