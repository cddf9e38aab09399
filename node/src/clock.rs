//! The machine's clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The real time.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    origin: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
        }
    }
}

impl glimpse_replication::Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }
    fn wall(&self) -> Duration {
        // Before 1970 there was no image service: a clock that says so counts as zero.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
    }
}
