//! One piece of work per missing chunk, shared by all who wait for it.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{cache::Found, chunk::ChunkName, errors::Error};

/// The outcome of a fill, once there is one.
type Outcome = Option<Result<Found, Error>>;

/// The fills under way.
#[derive(Default)]
pub(crate) struct Fills {
    table: Mutex<HashMap<ChunkName, Arc<watch::Sender<Outcome>>>>,
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
    sender: Arc<watch::Sender<Outcome>>,
}

impl Fills {
    /// Joins the fill of `name` or begins it. `look` is asked again before one begins, since a
    /// fill that ended puts the chunk into the pool before it leaves the table.
    pub(crate) fn join(
        self: &Arc<Self>,
        name: ChunkName,
        look: impl Fn() -> Option<Bytes>,
    ) -> Joined {
        let mut table = self.table.lock();
        if let Some(sender) = table.get(&name) {
            return Joined::Shared(Waiting(sender.subscribe()));
        }
        if let Some(bytes) = look() {
            return Joined::Held(bytes);
        }
        let (sender, receiver) = watch::channel(None);
        let sender = Arc::new(sender);
        table.insert(name, Arc::clone(&sender));
        let fills = Arc::clone(self);
        let fill = Fill {
            fills,
            name,
            sender,
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
            self.sender.closed().await;
            let mut table = self.fills.table.lock();
            if self.sender.receiver_count() == 0 {
                self.leave(&mut table);
                return;
            }
        }
    }

    /// Tells those who wait.
    pub(crate) fn end(self, outcome: Result<Found, Error>) {
        self.sender.send_replace(Some(outcome));
    }

    fn leave(&self, table: &mut HashMap<ChunkName, Arc<watch::Sender<Outcome>>>) {
        let ours = table
            .get(&self.name)
            .is_some_and(|sender| Arc::ptr_eq(sender, &self.sender));
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
