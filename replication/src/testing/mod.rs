//! What tests of this crate and of those above it need: seams that tests control.

mod clock;
mod cluster;
mod disk;
mod machine;

use std::time::Duration;

pub use self::{
    clock::{HostClock, ManualClock},
    cluster::{Answered, Cluster, Member, Wire},
    disk::SimDisk,
    machine::{Applied, Durable, ListMachine},
};
use crate::Config;
pub use crate::random::Random;

/// How many points of a crash test to try: `GLIMPSE_CRASH_POINTS`, or `default`.
pub fn crash_points(default: u64) -> u64 {
    number_from("GLIMPSE_CRASH_POINTS").unwrap_or(default)
}

/// The seed of a random test: `GLIMPSE_SEED` to repeat a run, or one from the clock. Printed, so
/// that it is in the output of a test that fails.
pub fn seed() -> u64 {
    let seed = number_from("GLIMPSE_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Random::new(u64::from(now.subsec_nanos()) ^ now.as_secs()).next_u64() >> 16
    });
    println!("GLIMPSE_SEED={seed}");
    seed
}

fn number_from(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Settings with small bounds, so that tests reach them.
pub fn config(raft_id: u64) -> Config {
    Config {
        raft_id,
        bootstrap: true,
        tick: Duration::from_millis(20),
        election_ticks: 10,
        heartbeat_ticks: 2,
        queue: 1024,
        max_batch: 256,
        max_batch_bytes: 1 << 20,
        max_command_bytes: 1 << 20,
        timeout: Duration::from_secs(5),
        checkpoint_bytes: 1 << 20,
        checkpoint_interval: Duration::from_secs(30),
        keep_entries: 16,
        keep_bytes: 1 << 20,
        segment_bytes: 1 << 18,
    }
}
