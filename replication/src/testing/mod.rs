//! What tests of this crate and of those above it need: seams that tests control.

mod clock;
mod machine;

use std::time::Duration;

pub use self::{
    clock::{HostClock, ManualClock},
    machine::{Applied, Durable, ListMachine},
};
pub use crate::election::Random;
use crate::Config;

/// Settings with small bounds, so that tests reach them.
pub fn config(raft_id: u64) -> Config {
    Config {
        raft_id,
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
        segment_bytes: 1 << 18,
    }
}
