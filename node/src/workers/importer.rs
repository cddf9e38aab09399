//! The importer: runs the tasks of the registry as jobs, so many at once, and lets records of ended ones
//! expire. What a process that was killed had begun, the next one goes on with.

use std::sync::Arc;

use glimpse_registry::task::Task;
use tokio::{
    task::JoinSet,
    time::{Duration, Instant},
};

use super::{Progress, StepError, Worker};
use crate::{app::App, jobs::Job};

/// Tasks are looked for so often, and at once when one was made here. No key: the reaper's interval is
/// as short, and costs as little.
const INTERVAL: Duration = Duration::from_secs(1);
/// Records that expire in one step.
const BATCH: usize = 256;

/// The worker. Its jobs end with it, as if the process were killed: the next one goes on.
pub struct Importer {
    app: Arc<App>,
    jobs: JoinSet<()>,
    next_sweep: Instant,
}

impl Importer {
    /// One that has done nothing yet.
    pub fn new(app: Arc<App>) -> Self {
        Self {
            app,
            jobs: JoinSet::new(),
            next_sweep: Instant::now(),
        }
    }

    fn start(&mut self) -> Result<(), StepError> {
        while let Some(ended) = self.jobs.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a job died");
            }
        }
        let view = self.app.registry.read_local();
        for task in view.open_tasks()? {
            if self.app.data.jobs.running() >= self.app.config.import.concurrent_jobs {
                break;
            }
            if !may_begin(&task, self.app.registry.node(), view.time().0) {
                continue;
            }
            if let Some(job) = Job::new(&self.app, &task) {
                self.jobs.spawn(job.run());
            }
        }
        Ok(())
    }

    async fn expire(&self) -> Result<(), StepError> {
        let registry = &self.app.registry;
        let expired = registry
            .read_local()
            .expired_tasks(registry.clock(), BATCH)?;
        for task in expired {
            registry.expire_task(task.id).await?;
        }
        Ok(())
    }

    async fn sweep(&mut self) -> Result<(), StepError> {
        if self.next_sweep > Instant::now() {
            return Ok(());
        }
        // Asks the group once; from then on what is found is older than the view.
        drop(self.app.registry.read().await?);
        let staging = self.app.staging.clone();
        let unfinished = staging.named.store.remove_unfinished().await;
        let unfinished = unfinished.map_err(|error| StepError::store("staging", error))?;
        let registry = &self.app.registry;
        let removed = staging.sweep(|| registry.read_local()).await?;
        if unfinished + removed > 0 {
            tracing::info!(
                unfinished,
                removed,
                "removed staged files that nobody needs"
            );
        }
        self.next_sweep = Instant::now() + self.app.config.workers.reaper.sweep_interval;
        Ok(())
    }
}

/// Whether a job may begin with a task: it is this node's or nobody's, or who had it gives no sign of
/// life. (The registry decides.)
fn may_begin(task: &Task, node: u64, now: u64) -> bool {
    let run = &task.run;
    run.incarnation == 0 || run.node == node || now > run.lease_until.0
}

impl Worker for Importer {
    const NAME: &'static str = "importer";

    async fn step(&mut self) -> Result<Progress, StepError> {
        let results = [self.sweep().await, self.start(), self.expire().await];
        results.into_iter().collect::<Result<(), _>>()?;
        Ok(Progress::Idle)
    }

    async fn wait(&mut self) {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = self.woken() => {}
        }
    }

    async fn woken(&mut self) {
        self.app.data.jobs.wake.notified().await;
    }
}
