//! A clock that stands still until it is moved.

use std::time::Duration;

use parking_lot::Mutex;

use crate::Clock;

/// A clock moved by hand.
#[derive(Debug, Default)]
pub struct ManualClock(Mutex<Duration>);

impl ManualClock {
    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        *self.0.lock() += by;
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Duration {
        *self.0.lock()
    }

    fn wall(&self) -> Duration {
        *self.0.lock()
    }
}

/// The clock of the machine that the tests run on, for tests with threads.
#[derive(Debug, Clone, Copy)]
pub struct HostClock(std::time::Instant);

impl Default for HostClock {
    fn default() -> Self {
        Self(std::time::Instant::now())
    }
}

impl Clock for HostClock {
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn wall(&self) -> Duration {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default()
    }
}
