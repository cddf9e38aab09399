//! Power cuts of a whole node: log, tables and store lose their power together, at any change on
//! any of them, and keep any part of what was not synced. The next process finds everything that
//! was acknowledged, and after its reaper has run nothing else.
//!
//! Manifests are in a real directory: what they have answered for is durable, as they promise.

mod node;
mod power;
mod script;

use glimpse_replication::testing::{Random, SimDisk, crash_points, seed};
use rand::{Rng as _, RngExt as _, SeedableRng, rngs::StdRng};
use tempfile::TempDir;

use self::{
    node::{Life, Reaped},
    power::Power,
    script::{Known, Script},
};

/// Lives of one set of disks at most: they fill, and openings become slow.
const LIVES: u64 = 40;

/// What the power leaves, and what is known to have been answered.
struct Machine {
    log: SimDisk,
    tables: SimDisk,
    images: glimpse_store::testing::SimDisk,
    dir: Option<TempDir>,
    known: Known,
    reaped: Reaped,
}

impl Machine {
    fn new() -> Self {
        Self {
            log: SimDisk::default(),
            tables: SimDisk::default(),
            images: glimpse_store::testing::SimDisk::new(),
            dir: Some(directory()),
            known: Known::default(),
            reaped: Reaped::default(),
        }
    }

    /// One process: it starts, is put in order and looked at, and works through the script until
    /// the power goes or all is done. The changes that it made.
    fn live(&mut self, script: &Script, cut_at: Option<u64>) -> u64 {
        let power = Power::new(cut_at);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let Some(life) = Life::begin(self, &power) else {
                return;
            };
            {
                let living = life.live(script);
                tokio::pin!(living);
                tokio::select! {
                    // What was answered by now is answered.
                    biased;
                    () = &mut living => {}
                    () = power.gone() => {}
                }
            }
            life.end(self);
        });
        let changes = power.changes();
        power.cut();
        // Waits for what still runs on blocking threads.
        drop(runtime);
        changes
    }

    /// Cuts the power: any part of what was not synced is kept, as the seed has it.
    fn lose_power(&mut self, rng: &mut StdRng) {
        let mut random = Random::new(rng.next_u64());
        self.log.power_cut(&mut random);
        self.tables.power_cut(&mut random);
        self.images = self.images.restart(rng.next_u64());
    }
}

/// In memory, where that is possible: the fsyncs of manifests are not what is tested.
fn directory() -> TempDir {
    TempDir::new_in("/dev/shm").unwrap_or_else(|_| TempDir::new().unwrap())
}

/// A script, and the power cut at each of its changes in turn, or at as many as there are points;
/// then another script.
fn enumerate(points: u64, seed: u64) -> Reaped {
    let rng = &mut StdRng::seed_from_u64(seed);
    let mut reaped = Reaped::default();
    let mut left = points;
    while left > 0 {
        let script = Script::new(rng.next_u64(), 10);
        let changes = Machine::new().live(&script, None);
        let cuts = left.min(changes);
        left -= cuts;
        for number in 0..cuts {
            let mut machine = Machine::new();
            machine.live(&script, Some(number * changes / cuts));
            machine.lose_power(rng);
            machine.live(&Script::default(), None);
            reaped.add(&machine.reaped);
        }
        println!("{cuts} cuts in a script of {changes} changes: {reaped:?}");
    }
    reaped
}

/// Script after script on the same disks, each process cut at random, also while it starts and puts
/// things in order.
fn wander(points: u64, seed: u64) -> Reaped {
    let rng = &mut StdRng::seed_from_u64(seed);
    let mut reaped = Reaped::default();
    let mut left = points;
    while left > 0 {
        let mut machine = Machine::new();
        let lives = left.min(LIVES);
        left -= lives;
        for _ in 0..lives {
            let script = Script::new(rng.next_u64(), 8);
            // Of starts alone, of work, and of what comes at the end of it.
            let most = [40, 200, 400][rng.random_range(0..3)];
            machine.live(&script, Some(rng.random_range(0..most)));
            machine.lose_power(rng);
        }
        machine.live(&Script::new(rng.next_u64(), 4), None);
        reaped.add(&machine.reaped);
    }
    println!("{points} cuts at random: {reaped:?}");
    reaped
}

#[test]
fn a_power_cut_anywhere_loses_nothing_acknowledged_and_leaves_nothing_else() {
    let points = crash_points(60);
    let seed = seed();
    let begun = std::time::Instant::now();
    // A point of the first kind takes the time of two of the second.
    let few = points / 3;
    let mut reaped = Reaped::default();
    std::thread::scope(|threads| {
        let both = [
            threads.spawn(|| enumerate(few, seed)),
            threads.spawn(|| wander(points - few, !seed)),
        ];
        for one in both {
            reaped.add(&one.join().unwrap());
        }
    });
    println!("{points} points in {:?}", begun.elapsed());
    // A test that never meets what it is for would say nothing.
    if points >= 500 {
        assert!(reaped.uploads > 0, "no upload was ever broken off");
        assert!(reaped.objects > 0, "no object was ever left behind");
    }
}
