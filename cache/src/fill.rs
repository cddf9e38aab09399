//! One piece of work per missing chunk, shared by all who wait for it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    cache::{Found, Turn},
    chunk::ChunkName,
    errors::Error,
};

/// The outcome of a fill, once there is one.
type Outcome = Option<Result<Found, Error>>;

/// The fills under way.
#[derive(Default)]
pub(crate) struct Fills {
    table: Mutex<Table>,
}

type Table = HashMap<ChunkName, Arc<Shared>>;

/// What a fill has in the table.
struct Shared {
    sender: watch::Sender<Outcome>,
    /// Somebody needs it now. Set under the table's lock.
    due: AtomicBool,
}

/// What [`Fills::join`] found.
pub(crate) enum Joined {
    /// No need to wait: the chunk came meanwhile.
    Held(Bytes),
    /// Another began it.
    Shared(Waiting),
    /// The caller has to do the work.
    Begun(Waiting, Fill),
}

/// Waits for a fill.
pub(crate) struct Waiting(watch::Receiver<Outcome>);

/// The duty to end a fill; dropping it without an outcome tells those who wait that it failed.
pub(crate) struct Fill {
    fills: Arc<Fills>,
    name: ChunkName,
    shared: Arc<Shared>,
}

impl Fills {
    /// Joins the fill of `name` or begins it; the fill is due once one who joined is. `look` is asked again before one begins, since a
    /// fill that ended puts the chunk into the pool before it leaves the table.
    pub(crate) fn join(
        self: &Arc<Self>,
        name: ChunkName,
        turn: Turn,
        look: impl Fn() -> Option<Bytes>,
    ) -> Joined {
        let mut table = self.table.lock();
        let due = turn == Turn::Due;
        if let Some(shared) = table.get(&name) {
            shared.due.fetch_or(due, Ordering::Relaxed);
            return Joined::Shared(Waiting(shared.sender.subscribe()));
        }
        if let Some(bytes) = look() {
            return Joined::Held(bytes);
        }
        let (sender, receiver) = watch::channel(None);
        let shared = Arc::new(Shared {
            sender,
            due: AtomicBool::new(due),
        });
        table.insert(name, Arc::clone(&shared));
        let fills = Arc::clone(self);
        let fill = Fill {
            fills,
            name,
            shared,
        };
        Joined::Begun(Waiting(receiver), fill)
    }
}

impl Waiting {
    /// The outcome.
    pub(crate) async fn outcome(mut self) -> Result<Found, Error> {
        let ended = || Error::Source("the fill ended without an outcome".into());
        let outcome = self
            .0
            .wait_for(Option::is_some)
            .await
            .map_err(|_| ended())?;
        outcome.clone().unwrap_or_else(|| Err(ended()))
    }
}

impl Fill {
    /// Returns once nobody waits for this fill and nobody can join it any more: the one reason not
    /// to begin what is still queued.
    pub(crate) async fn abandoned(&self) {
        loop {
            self.shared.sender.closed().await;
            let mut table = self.fills.table.lock();
            if self.shared.sender.receiver_count() == 0 {
                self.leave(&mut table);
                return;
            }
        }
    }

    /// Whether all who wait are ahead of their turn. Then nobody joins any more, so that it stays so.
    pub(crate) fn is_ahead(&self) -> bool {
        let mut table = self.fills.table.lock();
        let ahead = !self.shared.due.load(Ordering::Relaxed);
        if ahead {
            self.leave(&mut table);
        }
        ahead
    }

    /// Tells those who wait.
    pub(crate) fn end(self, outcome: Result<Found, Error>) {
        self.shared.sender.send_replace(Some(outcome));
    }

    fn leave(&self, table: &mut Table) {
        let ours = table
            .get(&self.name)
            .is_some_and(|shared| Arc::ptr_eq(shared, &self.shared));
        if ours {
            table.remove(&self.name);
        }
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        self.leave(&mut self.fills.table.lock());
    }
}
