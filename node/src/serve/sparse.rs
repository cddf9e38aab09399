//! How often the log speaks of what clients can cause at will.

use std::time::{Duration, Instant};

/// Counts events, and says when the log should speak of them.
pub(super) struct Sparse {
    every: Duration,
    said: Option<Instant>,
    /// Since then.
    unsaid: u64,
}

impl Sparse {
    /// At most one line in this time.
    pub(super) fn new(every: Duration) -> Self {
        Self {
            every,
            said: None,
            unsaid: 0,
        }
    }

    /// Counts one event; gives how many there were since the log last spoke of them, if it should
    /// speak now.
    pub(super) fn say(&mut self, now: Instant) -> Option<u64> {
        self.unsaid += 1;
        let lately = |said| now.saturating_duration_since(said) < self.every;
        if self.said.is_some_and(lately) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}
