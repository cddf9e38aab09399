//! The machine's clocks, and a watch on the one that can jump.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use glimpse_registry::{Registry, image::Timestamp};
use tokio_util::sync::CancellationToken;

/// How often the registry's time is compared with the clock.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// A clock that is behind by less is in order: its steps are smaller, and several nodes differ by less.
const BEHIND: Duration = Duration::from_secs(60);

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

/// How far the clock is behind the largest time in the log. Times never go backwards: until the clock
/// has caught up, every change of an image carries one and the same time.
pub fn behind(registry: &Registry) -> Duration {
    lag(registry.read_local().time(), registry.clock())
}

fn lag(log: Timestamp, clock: Timestamp) -> Duration {
    Duration::from_micros(log.0.saturating_sub(clock.0))
}

/// Says so in the log while the clock is behind by more than a minute.
pub async fn watch(registry: Registry, stopping: CancellationToken) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    while stopping.run_until_cancelled(look.tick()).await.is_some() {
        let behind = behind(&registry);
        if behind > BEHIND {
            tracing::warn!(
                seconds = behind.as_secs(),
                "the clock is behind the times in the registry, so it was ahead once or is wrong now: \
                 created_at and updated_at stand still until it has caught up"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clock_that_is_behind_the_log_lags() {
        let minute = Timestamp(60_000_000);
        assert_eq!(lag(minute, Timestamp(0)), Duration::from_secs(60));
        assert_eq!(lag(minute, minute), Duration::ZERO);
        assert_eq!(lag(Timestamp(0), minute), Duration::ZERO);
    }
}
