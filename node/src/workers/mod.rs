//! Background work: one trait, one runner, one file per worker.
//!
//! A worker does a bounded piece of work and says how it went; the runner owns everything that all
//! workers need: pace, retries with backoff, status and shutdown. A step is never broken off, only
//! the waiting between steps is. What would cost data if it were decided wrongly is decided by pure
//! functions of facts (`decide.rs`).

pub mod hashing;
pub mod importer;
pub mod policy;
pub mod prefetcher;
pub mod reaper;

use std::{future::Future, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{app::App, config::WorkersConfig};

/// What a step left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There is more to do now.
    Busy,
    /// Nothing to do until [`Worker::wait`] returns.
    Idle,
}

/// A background job.
pub trait Worker: Send + 'static {
    /// Its name in status, metrics and logs.
    const NAME: &'static str;
    /// One bounded piece of work. An error is retried by the runner after a pause.
    fn step(&mut self) -> impl Future<Output = Result<Progress, StepError>> + Send;
    /// Returns when there may be work again. It may be dropped at any point.
    fn wait(&mut self) -> impl Future<Output = ()> + Send;
    /// Returns when somebody has brought work: that does not wait for the end of the pause after a
    /// failure. It may be dropped at any point.
    fn woken(&mut self) -> impl Future<Output = ()> + Send;
}

/// Why a step could not be done.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The registry gave no answer.
    #[error(transparent)]
    Registry(#[from] glimpse_registry::Error),
    /// A store gave none.
    #[error("store {name}: {error}")]
    Store {
        /// Its configured name.
        name: String,
        /// What it said.
        error: glimpse_store::StoreError,
    },
    /// An image was not fetched into the cache.
    #[error("fetching image {image} into the cache: {cause}")]
    Prefetch {
        /// Which.
        image: glimpse_registry::image::ImageId,
        /// Why.
        cause: String,
    },
    /// What is known of cached images cannot be written.
    #[error("cached images: {0}")]
    CachedImages(String),
    /// The manifests cannot be looked through.
    #[error("manifests: {0}")]
    Manifests(String),
}

impl StepError {
    fn store(name: &str, error: glimpse_store::StoreError) -> Self {
        Self::Store {
            name: name.to_owned(),
            error,
        }
    }
}

/// What a worker is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activity {
    /// Not begun.
    #[default]
    Starting,
    /// In a step.
    Working,
    /// Between steps.
    Waiting,
    /// A step failed; it will be tried again.
    Failing,
    /// Ended by the shutdown.
    Stopped,
}

/// How a worker is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkerStatus {
    /// At present.
    pub activity: Activity,
    /// Steps done.
    pub steps: u64,
    /// Steps failed.
    pub failures: u64,
    /// Failures since the last step that went well.
    pub failures_in_a_row: u32,
    /// What the last failure said.
    pub last_error: Option<String>,
}

/// The running workers.
pub struct WorkersHandle {
    tasks: JoinSet<()>,
    statuses: Vec<(&'static str, Arc<Mutex<WorkerStatus>>)>,
}

impl WorkersHandle {
    /// Every worker by name.
    pub fn status(&self) -> Vec<(&'static str, WorkerStatus)> {
        self.statuses
            .iter()
            .map(|(name, status)| (*name, status.lock().clone()))
            .collect()
    }

    /// Waits until every worker has ended, after the shutdown was called for.
    pub async fn stopped(mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a worker died");
            }
        }
    }

    fn spawn<W: Worker>(&mut self, worker: W, config: WorkersConfig, shutdown: CancellationToken) {
        let status = Arc::new(Mutex::new(WorkerStatus::default()));
        self.statuses.push((W::NAME, Arc::clone(&status)));
        self.tasks.spawn(run(worker, config, status, shutdown));
    }
}

/// Starts every worker of the node; they end when `shutdown` is cancelled.
pub fn spawn_all(app: &Arc<App>, shutdown: &CancellationToken) -> WorkersHandle {
    let config = &app.config.workers;
    let mut handle = WorkersHandle {
        tasks: JoinSet::new(),
        statuses: Vec::new(),
    };
    let reaper = reaper::Reaper::new(Arc::clone(app), config.reaper.clone());
    handle.spawn(reaper, config.clone(), shutdown.clone());
    let policy = policy::PolicyReader::new(Arc::clone(app));
    handle.spawn(policy, config.clone(), shutdown.clone());
    let prefetcher = prefetcher::Prefetcher::new(Arc::clone(app));
    handle.spawn(prefetcher, config.clone(), shutdown.clone());
    let importer = importer::Importer::new(Arc::clone(app));
    handle.spawn(importer, config.clone(), shutdown.clone());
    let hashing = hashing::Hashing::new(Arc::clone(app));
    handle.spawn(hashing, config.clone(), shutdown.clone());
    handle
}

/// Runs one worker until the shutdown.
async fn run<W: Worker>(
    mut worker: W,
    config: WorkersConfig,
    status: Arc<Mutex<WorkerStatus>>,
    shutdown: CancellationToken,
) {
    while !shutdown.is_cancelled() {
        status.lock().activity = Activity::Working;
        let begun = Instant::now();
        let result = worker.step().await;
        let pause = note(&mut status.lock(), &result, begun.elapsed(), &config);
        if let Err(error) = &result {
            tracing::warn!(worker = W::NAME, %error, "a step failed and will be tried again");
        }
        let wait = async {
            match (pause, result) {
                (None, _) => worker.wait().await,
                (Some(pause), Ok(_)) => tokio::time::sleep(pause).await,
                (Some(pause), Err(_)) => {
                    // Not at once: what failed is in the step again.
                    let woken = async {
                        tokio::time::sleep(config.first_backoff).await;
                        worker.woken().await;
                    };
                    drop(tokio::time::timeout(pause, woken).await);
                }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = wait => {}
        }
    }
    status.lock().activity = Activity::Stopped;
}

/// Writes down how a step went and says how long to pause; `None`: until there is work.
fn note(
    status: &mut WorkerStatus,
    result: &Result<Progress, StepError>,
    took: Duration,
    config: &WorkersConfig,
) -> Option<Duration> {
    match result {
        Ok(progress) => {
            status.steps += 1;
            status.failures_in_a_row = 0;
            status.activity = Activity::Waiting;
            match progress {
                Progress::Busy => Some(took.saturating_mul(config.rest).min(config.max_rest)),
                Progress::Idle => None,
            }
        }
        Err(error) => {
            status.failures += 1;
            status.activity = Activity::Failing;
            status.last_error = Some(error.to_string());
            let pause = backoff(
                status.failures_in_a_row,
                config.first_backoff,
                config.max_backoff,
            );
            status.failures_in_a_row = status.failures_in_a_row.saturating_add(1);
            Some(pause)
        }
    }
}

/// The pause after so many failures in a row before this one.
fn backoff(failures: u32, first: Duration, most: Duration) -> Duration {
    let factor = 1u32.checked_shl(failures).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(most)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[test]
    fn the_backoff_doubles_up_to_its_bound() {
        let table = [(0, 1), (1, 2), (5, 32), (6, 60), (31, 60), (200, 60)];
        for (failures, seconds) in table {
            let pause = backoff(failures, Duration::from_secs(1), Duration::from_secs(60));
            assert_eq!(pause, Duration::from_secs(seconds), "{failures} failures");
        }
    }

    #[test]
    fn a_failure_is_noted_and_a_success_ends_the_row() {
        let config = WorkersConfig::default();
        let mut status = WorkerStatus::default();
        let failed = || {
            Err(StepError::Store {
                name: "a".to_owned(),
                error: glimpse_store::StoreError::Full,
            })
        };
        let took = Duration::from_millis(7);
        let first = note(&mut status, &failed(), took, &config);
        let second = note(&mut status, &failed(), took, &config);
        assert_eq!(first, Some(config.first_backoff));
        assert_eq!(second, Some(config.first_backoff * 2));
        assert_eq!((status.failures, status.failures_in_a_row), (2, 2));
        assert_eq!(status.activity, Activity::Failing);
        assert_eq!(
            status.last_error.as_deref(),
            Some("store a: the store is full")
        );

        assert_eq!(
            note(&mut status, &Ok(Progress::Busy), took, &config),
            Some(took)
        );
        let long = Duration::from_secs(3600);
        assert_eq!(
            note(&mut status, &Ok(Progress::Busy), long, &config),
            Some(config.max_rest)
        );
        assert_eq!(note(&mut status, &Ok(Progress::Idle), took, &config), None);
        assert_eq!((status.steps, status.failures_in_a_row), (3, 0));
        assert_eq!(status.activity, Activity::Waiting);
    }

    /// Counts its steps; `wake` lets it go on.
    struct Counting {
        steps: Arc<AtomicU32>,
        wake: Arc<Notify>,
        fails: bool,
    }

    impl Worker for Counting {
        const NAME: &'static str = "counting";
        async fn step(&mut self) -> Result<Progress, StepError> {
            self.steps.fetch_add(1, Ordering::SeqCst);
            match self.fails {
                true => Err(StepError::Manifests("as told".to_owned())),
                false => Ok(Progress::Idle),
            }
        }
        async fn wait(&mut self) {
            self.woken().await;
        }
        async fn woken(&mut self) {
            self.wake.notified().await;
        }
    }

    #[tokio::test]
    async fn a_worker_steps_when_woken_also_while_it_fails_and_ends_with_the_shutdown() {
        for fails in [false, true] {
            steps_when_woken(fails).await;
        }
    }

    async fn steps_when_woken(fails: bool) {
        let steps = Arc::new(AtomicU32::new(0));
        let wake = Arc::new(Notify::new());
        let shutdown = CancellationToken::new();
        let status = Arc::new(Mutex::new(WorkerStatus {
            // The next pause is long.
            failures_in_a_row: 31,
            ..WorkerStatus::default()
        }));
        let config = WorkersConfig {
            first_backoff: Duration::from_millis(1),
            max_backoff: Duration::from_secs(3600),
            ..WorkersConfig::default()
        };
        let worker = Counting {
            steps: Arc::clone(&steps),
            wake: Arc::clone(&wake),
            fails,
        };
        let running = run(worker, config, Arc::clone(&status), shutdown.clone());
        let running = tokio::spawn(running);
        for round in 1..=3u32 {
            tokio::time::timeout(Duration::from_secs(20), async {
                while steps.load(Ordering::SeqCst) < round {
                    tokio::task::yield_now().await;
                }
            })
            .await
            .expect("the worker did not step");
            wake.notify_one();
        }
        shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(20), running)
            .await
            .expect("the worker did not end")
            .unwrap();
        assert_eq!(status.lock().activity, Activity::Stopped);
    }
}
