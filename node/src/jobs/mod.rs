//! Imports as jobs: what a task of the registry says is to be done, done (image-api 3.3).
//!
//! A job runs in a task of its own, which its worker (`workers/importer.rs`) starts and forgets. It claims
//! the registry's task, works from the last step that is recorded there, and records each further one,
//! so that a process that is killed leaves nothing but a task to go on with. What was under way then
//! (an object that was put and not recorded) lies under the image's key, which nobody else may use
//! while the task holds the image: it is removed before it is put again, or when all is undone.
//!
//! `work` has the steps, `fetch` brings data from outside into staging, `plugins` changes it, `fill` puts data into one store, `undo` takes everything back.

mod convert;
mod decompress;
mod fetch;
mod fill;
mod plugins;
mod undo;
mod work;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use glimpse_registry::{
    Error as RegistryError,
    image::ImageId,
    outcome::Rejection,
    task::{Step, Task, TaskId},
};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{app::App, data::pipeline::Broken};

// No keys: they say how long a job waits for a registry or a store that is away, and it goes on for
// as long as the node runs.

/// Pauses between attempts to reach the registry or a store again: from this,
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// doubled up to this.
const RETRY_MOST: Duration = Duration::from_secs(5);

/// The jobs of this process.
#[derive(Default)]
pub struct Jobs {
    /// There is a new task, or one that is to end.
    pub wake: Notify,
    live: Mutex<HashMap<TaskId, (ImageId, CancellationToken)>>,
    /// Those that only wait until they can be undone.
    undoing: AtomicUsize,
}

impl Jobs {
    /// How many run; those that wait for a store that is away, to remove what they put there, keep nobody
    /// else waiting.
    pub fn running(&self) -> usize {
        let undoing = self.undoing.load(Ordering::Relaxed);
        self.live.lock().len().saturating_sub(undoing)
    }

    /// Whether a task has a job here.
    pub fn is_live(&self, id: TaskId) -> bool {
        self.live.lock().contains_key(&id)
    }

    /// Breaks off the job of a task; it finds out why by itself.
    pub fn end_task(&self, id: TaskId) {
        if let Some((_, lost)) = self.live.lock().get(&id) {
            lost.cancel();
        }
    }

    /// Breaks off the jobs at an image that was deleted.
    pub fn end_image(&self, id: ImageId) {
        for (image, lost) in self.live.lock().values() {
            if *image == id {
                lost.cancel();
            }
        }
    }
}

/// Why a job does not come to its end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// It is to be undone, and the message shown.
    #[error("{0}")]
    Failed(String),
    /// Somebody broke it off.
    #[error("it was broken off")]
    BrokenOff,
    /// It is not this process' any more, or the registry is ending: nothing may be touched.
    #[error("the task is not ours any more")]
    NotOurs,
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        use Rejection::{ImageNotFound, TaskCancelled, TaskEnded, TaskLost, TaskNotFound};
        if matches!(rejection, TaskLost | TaskEnded | TaskNotFound) {
            return Self::NotOurs;
        }
        Self::Failed(if rejection == TaskCancelled {
            "The task was cancelled.".to_owned()
        } else if rejection == ImageNotFound {
            "The image was deleted during the import.".to_owned()
        } else {
            rejection.to_string()
        })
    }
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Lost => Self::BrokenOff,
            Broken::Registry(RegistryError::Rejected(rejection)) => rejection.into(),
            Broken::Registry(_) => Self::NotOurs,
            Broken::WrongSize { .. }
            | Broken::TooLarge { .. }
            | Broken::Refused(_)
            | Broken::Cut { .. }
            | Broken::Idle(_)
            | Broken::Store(_)
            | Broken::Fault(_) => Self::Failed(broken.to_string()),
        }
    }
}

/// One task that this process works on.
pub(crate) struct Job {
    app: Arc<App>,
    id: TaskId,
    image: ImageId,
    /// Cancelled when there is no sense in going on.
    lost: CancellationToken,
    /// Bytes put so far.
    moved: Arc<AtomicU64>,
}

impl Job {
    /// A job for a task, unless there is one.
    pub(crate) fn new(app: &Arc<App>, task: &Task) -> Option<Self> {
        let lost = CancellationToken::new();
        let mut live = app.data.jobs.live.lock();
        if live.contains_key(&task.id) {
            return None;
        }
        live.insert(task.id, (task.image, lost.clone()));
        Some(Self {
            app: Arc::clone(app),
            id: task.id,
            image: task.image,
            lost,
            moved: Arc::default(),
        })
    }

    /// Runs it to its end: committed, undone, or given up to whoever has it now. It may be dropped at any
    /// point, as if the process ended.
    pub(crate) async fn run(self) {
        let result = match self.claim().await {
            Ok(task) => tokio::select! {
                result = self.work(task) => result,
                // Never comes to an end by itself: the work does.
                () = self.keep() => Err(Failure::NotOurs),
            },
            Err(failure) => Err(failure),
        };
        let failure = match result {
            Ok(()) => return,
            Err(failure) => self.explain(failure),
        };
        match failure {
            Failure::Failed(message) => {
                tracing::info!(task.id = %self.id, image.id = %self.image, message, "an import failed");
                let undoing = &self.app.data.jobs.undoing;
                undoing.fetch_add(1, Ordering::Relaxed);
                self.app.data.jobs.wake.notify_one();
                self.undo(&message).await;
                undoing.fetch_sub(1, Ordering::Relaxed);
            }
            Failure::NotOurs | Failure::BrokenOff => {
                tracing::info!(task.id = %self.id, image.id = %self.image, "a task was given up");
            }
        }
    }

    async fn claim(&self) -> Result<Task, Failure> {
        match self.app.registry.claim_task(self.id).await {
            Ok(task) => Ok(task),
            Err(RegistryError::Rejected(rejection)) => Err(rejection.into()),
            // The worker tries again.
            Err(_) => Err(Failure::NotOurs),
        }
    }

    /// Says in intervals that the job is alive, and how far it is.
    async fn keep(&self) {
        let config = &self.app.config;
        let lease = config.limits.upload_lease / 3;
        let period = config.import.progress_interval.min(lease).max(RETRY_FIRST);
        loop {
            tokio::time::sleep(period).await;
            let message = self.progress();
            let told = self
                .app
                .registry
                .step_task(self.id, Step::Progress { message });
            if let Err(RegistryError::Rejected(_)) = told.await {
                self.lost.cancel();
                return std::future::pending().await;
            }
        }
    }

    fn progress(&self) -> String {
        format!("Copied {} MiB", self.moved.load(Ordering::Relaxed) >> 20)
    }

    /// Records a step, however long the registry is away.
    async fn step(&self, step: Step) -> Result<Task, Failure> {
        let mut pause = RETRY_FIRST;
        loop {
            match self.app.registry.step_task(self.id, step.clone()).await {
                Ok(task) => return Ok(task),
                Err(RegistryError::Rejected(rejection)) => return Err(rejection.into()),
                Err(RegistryError::Fault(_)) => return Err(Failure::NotOurs),
                Err(RegistryError::Unavailable(_)) => self.pause(&mut pause).await?,
            }
        }
    }

    /// Waits before another attempt; not where the registry has ended.
    async fn pause(&self, pause: &mut Duration) -> Result<(), Failure> {
        if self.app.registry.status().stopped.is_some() {
            return Err(Failure::NotOurs);
        }
        tokio::time::sleep(*pause).await;
        *pause = (*pause * 2).min(RETRY_MOST);
        Ok(())
    }

    /// What it means that the job was broken off.
    fn explain(&self, failure: Failure) -> Failure {
        if !matches!(failure, Failure::BrokenOff) {
            return failure;
        }
        let view = self.app.registry.read_local();
        let (Ok(task), Ok(image)) = (view.task(self.id), view.image(self.image)) else {
            return Failure::NotOurs;
        };
        let ours =
            |task: &Task| task.is_open() && task.run.incarnation == self.app.registry.incarnation();
        match task.filter(ours) {
            None => Failure::NotOurs,
            Some(task) if task.run.cancelled => Rejection::TaskCancelled.into(),
            Some(_) if image.is_none() => Rejection::ImageNotFound.into(),
            Some(_) => Failure::Failed("The import was broken off.".to_owned()),
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.app.data.jobs.live.lock().remove(&self.id);
        // There is room for another.
        self.app.data.jobs.wake.notify_one();
    }
}
