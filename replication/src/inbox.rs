//! The way to the Raft thread: everything that waits for it is taken at once, with one wake-up.
//! Clients and peers have bounds of their own, so that a flood of reads cannot drown heartbeats.

use std::{mem, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use crate::{LogIndex, Unavailable, proposals::Answer, transport::Message};

/// Messages from peers that may wait; one more is dropped, which Raft expects of a network.
const MAX_MESSAGES: usize = 4096;

/// What the thread is given to do.
pub(crate) struct Input<O> {
    pub(crate) proposals: Vec<(Bytes, Answer<O>)>,
    pub(crate) reads: Vec<Answer<LogIndex>>,
    pub(crate) messages: Vec<Message>,
    pub(crate) stop: bool,
}

impl<O> Default for Input<O> {
    fn default() -> Self {
        Self {
            proposals: Vec::new(),
            reads: Vec::new(),
            messages: Vec::new(),
            stop: false,
        }
    }
}

impl<O> Input<O> {
    fn is_empty(&self) -> bool {
        self.proposals.is_empty() && self.reads.is_empty() && self.messages.is_empty() && !self.stop
    }

    fn waiting(&self) -> usize {
        self.proposals.len() + self.reads.len()
    }
}

struct State<O> {
    input: Input<O>,
    /// Proposals and reads that the thread has and has not answered, as of its last visit.
    inside: usize,
    /// Set once nobody will take anything any more.
    closed: Option<Arc<str>>,
}

/// A bounded queue of everything, taken whole.
pub(crate) struct Inbox<O> {
    state: Mutex<State<O>>,
    filled: Condvar,
    bound: usize,
}

impl<O> Inbox<O> {
    /// At most `bound` proposals and reads together.
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            state: Mutex::new(State {
                input: Input::default(),
                inside: 0,
                closed: None,
            }),
            filled: Condvar::new(),
            bound,
        }
    }

    /// Puts something in without waking the thread.
    fn put<T>(&self, put: impl FnOnce(&mut Input<O>) -> T) -> Result<T, Unavailable> {
        let mut state = self.state.lock();
        if let Some(why) = &state.closed {
            return Err(Unavailable::Stopped(why.clone()));
        }
        if state.input.waiting().saturating_add(state.inside) >= self.bound {
            return Err(Unavailable::Overloaded);
        }
        Ok(put(&mut state.input))
    }

    pub(crate) fn propose(&self, command: Bytes, answer: Answer<O>) -> Result<(), Unavailable> {
        self.put(|input| input.proposals.push((command, answer)))?;
        self.filled.notify_one();
        Ok(())
    }

    /// Puts a read in without waking the thread. Whether it is the only one: then it is the
    /// caller's duty to [`Inbox::wake`], and it may let others come before it does.
    pub(crate) fn read(&self, answer: Answer<LogIndex>) -> Result<bool, Unavailable> {
        self.put(|input| {
            input.reads.push(answer);
            input.reads.len() == 1
        })
    }

    /// Lets the thread take what is there.
    pub(crate) fn wake(&self) {
        self.filled.notify_one();
    }

    /// Takes a peer's message, or drops it.
    pub(crate) fn receive(&self, message: Message) {
        let mut state = self.state.lock();
        if state.closed.is_none() && state.input.messages.len() < MAX_MESSAGES {
            state.input.messages.push(message);
            drop(state);
            self.filled.notify_one();
        }
    }

    /// Asks the thread to end.
    pub(crate) fn stop(&self) {
        self.state.lock().input.stop = true;
        self.filled.notify_one();
    }

    /// Takes everything, waiting at most so long for anything. `inside`: how many proposals and
    /// reads the thread still has.
    pub(crate) fn take(&self, wait: Duration, inside: usize) -> Input<O> {
        let mut state = self.state.lock();
        state.inside = inside;
        if state.input.is_empty() {
            // A wake-up without cause is as good as a tick that comes early.
            self.filled.wait_for(&mut state, wait);
        }
        let input = mem::take(&mut state.input);
        state.inside = inside + input.waiting();
        input
    }

    /// Refuses everything from now on; returns what was left.
    pub(crate) fn close(&self, why: Arc<str>) -> Input<O> {
        let mut state = self.state.lock();
        state.closed = Some(why);
        mem::take(&mut state.input)
    }
}
