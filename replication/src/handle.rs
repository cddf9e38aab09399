//! The group as the rest of the program holds it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{Builder, JoinHandle},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::{
    Config, Fault, LogIndex, Seams, StartError, StateMachine, Status, Unavailable,
    core::{Core, Parts},
    driver::{self, STOPPED},
    inbox::Inbox,
    transport::Message,
};

/// What the thread and the handles share.
pub(crate) struct Shared<O> {
    pub(crate) inbox: Inbox<O>,
    status: Mutex<Status>,
    ended: watch::Sender<Option<Result<(), Fault>>>,
}

impl<O> Shared<O> {
    /// Shows what the group says of itself.
    pub(crate) fn publish(&self, status: Status) {
        *self.status.lock() = status;
    }

    fn end(&self, result: Result<(), Fault>) {
        let why = match &result {
            Ok(()) => STOPPED.to_owned(),
            Err(fault) => {
                tracing::error!(%fault, "the group has stopped");
                fault.to_string()
            }
        };
        // A panic leaves the inbox open.
        self.inbox.close(why.as_str().into());
        self.status.lock().stopped = Some(why);
        self.ended.send_replace(Some(result));
    }
}

/// Stops the thread when the last handle is gone.
struct Owner<O> {
    shared: Arc<Shared<O>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    timeout: Duration,
    max_command_bytes: usize,
}

impl<O> Drop for Owner<O> {
    fn drop(&mut self) {
        self.shared.inbox.stop();
    }
}

/// A handle on a running group; cheap to clone. When the last one is dropped the group stops.
pub struct Handle<O>(Arc<Owner<O>>);

impl<O> Clone for Handle<O> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Starts the group on its named thread. A first start bootstraps a group of this one voter.
///
/// Blocks while the log is read and replayed; on return a sole voter leads and has applied
/// everything.
pub fn start<M: StateMachine>(
    config: Config,
    seams: Seams,
    machine: M,
) -> Result<Handle<M::Outcome>, StartError> {
    let (timeout, max_command_bytes) = (config.timeout, config.max_command_bytes);
    let shared = Arc::new(Shared {
        inbox: Inbox::new(config.queue),
        status: Mutex::new(Status::default()),
        ended: watch::Sender::new(None),
    });
    let core = Core::new(Parts {
        voters: match config.bootstrap {
            true => vec![config.raft_id],
            false => Vec::new(),
        },
        seed: seams.seed,
        config,
        disk: seams.disk,
        transport: seams.transport,
        machine,
    })?;
    shared.publish(core.status());
    let (theirs, clock) = (shared.clone(), seams.clock);
    let thread = Builder::new().name("raft".to_owned()).spawn(move || {
        // raft-rs panics where its invariants are broken; that must stop the node, not hang it.
        let result = catch_unwind(AssertUnwindSafe(|| driver::run(core, &theirs, &clock)));
        theirs.end(result.unwrap_or_else(|panic| {
            Err(Fault {
                what: "the Raft thread panicked",
                cause: panic_message(panic.as_ref()),
            })
        }));
    })?;
    Ok(Handle(Arc::new(Owner {
        shared,
        thread: Mutex::new(Some(thread)),
        timeout,
        max_command_bytes,
    })))
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "no message".to_owned())
}

impl<O: Send + 'static> Handle<O> {
    /// Proposes a command and waits until it is applied here. Dropping the future does not take
    /// the command back.
    pub async fn propose(&self, command: Bytes) -> Result<O, Unavailable> {
        let (size, limit) = (command.len(), self.0.max_command_bytes);
        if size > limit {
            return Err(Unavailable::TooLarge { size, limit });
        }
        let (answer, answered) = oneshot::channel();
        self.0.shared.inbox.propose(command, answer)?;
        self.wait(answered).await
    }

    /// Waits until this node has applied every write acknowledged before the call (ReadIndex;
    /// whoever waits shares one round). Returns the index applied.
    pub async fn read_index(&self) -> Result<LogIndex, Unavailable> {
        let (answer, answered) = oneshot::channel();
        if self.0.shared.inbox.read(answer)? {
            // Everyone who is ready to run now may come along: one wake-up and one round for all.
            // A task of its own, since a caller that is polled again would not wait for them.
            let shared = self.0.shared.clone();
            tokio::spawn(async move {
                tokio::task::yield_now().await;
                shared.inbox.wake();
            });
        }
        self.wait(answered).await
    }

    /// The thread has its own deadline, in ticks; this one holds even while the disk stalls it.
    async fn wait<T>(
        &self,
        answered: oneshot::Receiver<Result<T, Unavailable>>,
    ) -> Result<T, Unavailable> {
        match tokio::time::timeout(self.0.timeout, answered).await {
            Ok(Ok(answer)) => answer,
            // Only a thread that panicked leaves somebody without an answer.
            Ok(Err(_)) => Err(Unavailable::Stopped("the Raft thread has ended".into())),
            Err(_) => Err(Unavailable::Timeout),
        }
    }

    /// Hands over a message from a peer; dropped if too many wait.
    pub fn receive(&self, message: Message) {
        self.0.shared.inbox.receive(message);
    }

    /// What the group says of itself.
    pub fn status(&self) -> Status {
        self.0.shared.status.lock().clone()
    }

    /// Resolves when the group has stopped on a fault, with the reason; never after an orderly
    /// end.
    pub async fn faulted(&self) -> String {
        match self.ended().await {
            Err(fault) => fault.to_string(),
            Ok(()) => std::future::pending().await,
        }
    }

    async fn ended(&self) -> Result<(), Fault> {
        let mut ended = self.0.shared.ended.subscribe();
        match ended.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or(Ok(())),
            // The sender lives in what we hold.
            Err(_) => Ok(()),
        }
    }

    /// Ends the group in order: answers who waits, checkpoints the machine, joins the thread. The
    /// machine is dropped on return. Calling it again gives the same result.
    pub async fn stop(&self) -> Result<(), Fault> {
        self.0.shared.inbox.stop();
        let result = self.ended().await;
        let thread = self.0.thread.lock().take();
        // It has nothing left to do, so this does not block.
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        result
    }
}
