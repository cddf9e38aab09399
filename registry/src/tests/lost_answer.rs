//! A command whose answer is lost: proposed again under its own id, it is applied once.

use std::{io, sync::Arc, time::Duration};

use glimpse_replication::{
    Clock as _, Seams,
    disk::{Disk, File},
    testing::{HostClock, SimDisk, config},
    transport::NoPeers,
};
use parking_lot::{Condvar, Mutex};

use super::fixture::{CACHE, REMEMBER, attributes, image_id};
use crate::{Config, Error, Registry, outcome::Rejection, store::Store};

/// Long in the handle's time, which the test stops; the group's own time does not reach it.
const TIMEOUT: Duration = Duration::from_secs(3600);

#[derive(Default)]
struct Gate {
    /// Whether syncs wait, and how many do.
    state: Mutex<(bool, u32)>,
    moved: Condvar,
}

impl Gate {
    fn close(&self) {
        self.state.lock().0 = true;
    }

    fn open(&self) {
        self.state.lock().0 = false;
        self.moved.notify_all();
    }

    fn pass(&self) {
        let mut state = self.state.lock();
        state.1 += 1;
        self.moved.notify_all();
        while state.0 {
            self.moved.wait(&mut state);
        }
        state.1 -= 1;
    }

    /// Blocks until a sync waits.
    fn wait_for_one(&self) {
        let mut state = self.state.lock();
        while state.1 == 0 {
            let wait = self.moved.wait_for(&mut state, Duration::from_secs(60));
            assert!(!wait.timed_out(), "nothing is written");
        }
    }
}

/// A disk whose syncs stall while the gate is closed.
struct Stalling(SimDisk, Arc<Gate>);
struct StallingFile(Box<dyn File>, Arc<Gate>);

impl Disk for Stalling {
    fn open(&self, name: &str, create: bool) -> io::Result<Box<dyn File>> {
        let file = self.0.open(name, create)?;
        Ok(Box::new(StallingFile(file, Arc::clone(&self.1))))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn available(&self) -> io::Result<u64> {
        self.0.available()
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.0.sync_dir()
    }
}

impl File for StallingFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.0.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.1.pass();
        self.0.sync_data()
    }
}

fn start(gate: &Arc<Gate>) -> Registry {
    let clock = Arc::new(HostClock::default());
    let settings = Config {
        dir: "unused".into(),
        replication: glimpse_replication::Config {
            timeout: TIMEOUT,
            ..config(1)
        },
        upload_lease: Duration::from_secs(60),
        table_cache_bytes: CACHE,
        incarnation: u128::from(clock.wall().subsec_nanos()),
    };
    let seams = Seams {
        clock,
        seed: 1,
        disk: Arc::new(Stalling(SimDisk::default(), Arc::clone(gate))),
        transport: Box::new(NoPeers),
    };
    let store = Store::open_on(&SimDisk::default(), "tables", CACHE, REMEMBER).unwrap();
    Registry::start(settings, seams, store).unwrap()
}

/// Blocks, and the handle's time with it, until so many entries are applied.
fn wait_for(registry: &Registry, applied: u64) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while registry.status().applied < applied {
        assert!(std::time::Instant::now() < deadline, "nothing is applied");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[tokio::test]
async fn a_write_whose_answer_comes_too_late_is_asked_for_again_and_applied_once() {
    let gate = Arc::new(Gate::default());
    let registry = start(&gate);
    let made = registry
        .create_image(image_id(1), attributes())
        .await
        .unwrap();
    let before = made.version;
    gate.close();
    tokio::time::pause();
    let update = tokio::spawn({
        let registry = registry.clone();
        let mut attributes = attributes();
        attributes.min_ram = 7;
        async move {
            registry
                .update_image(made.id, made.version, attributes)
                .await
        }
    });
    tokio::task::yield_now().await;
    gate.wait_for_one();
    // The first attempt's time is over, the second's is not.
    tokio::time::sleep(TIMEOUT * 3 / 2).await;
    gate.open();
    // Both attempts are in the log.
    wait_for(&registry, before + 2);
    tokio::time::resume();
    // Under two ids the second would be refused: the image has changed.
    let updated = update.await.unwrap().unwrap();
    assert_eq!(
        (updated.attributes.min_ram, updated.version),
        (7, before + 1)
    );
    let view = registry.read_local();
    assert_eq!(*view.image(made.id).unwrap().unwrap(), updated);
    // Another caller's command is another command.
    let stale = registry.update_image(made.id, made.version, attributes());
    assert!(matches!(
        stale.await,
        Err(Error::Rejected(Rejection::VersionConflict { .. }))
    ));
}
