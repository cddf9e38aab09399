//! Commands on their way: held until there is a leader, then keyed by a ticket in the context of
//! their entry, and answered when that entry is applied.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use raft::eraftpb::Entry;
use tokio::sync::oneshot;

use crate::Unavailable;

/// Where an answer goes. Who no longer waits has dropped the other end, which is harmless.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, Unavailable>>;

/// One run of one node: no two are ever the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) raft_id: u64,
    pub(crate) run: u64,
}

/// Bytes of a ticket: raft id, run, number.
const TICKET: usize = 24;

impl Origin {
    /// Appends the ticket of this number.
    pub(crate) fn write(self, number: u64, out: &mut impl Extend<u8>) {
        for part in [self.raft_id, self.run, number] {
            out.extend(part.to_le_bytes());
        }
    }

    /// The number in a ticket of this run; `None` for those of other nodes and runs.
    pub(crate) fn read(self, ticket: &[u8]) -> Option<u64> {
        let ticket: &[u8; TICKET] = ticket.try_into().ok()?;
        let (parts, _) = ticket.as_chunks::<8>();
        match *parts {
            [raft_id, run, number]
                if u64::from_le_bytes(raft_id) == self.raft_id
                    && u64::from_le_bytes(run) == self.run =>
            {
                Some(u64::from_le_bytes(number))
            }
            _ => None,
        }
    }
}

struct Waiting<O> {
    answer: Answer<O>,
    /// In ticks.
    deadline: u64,
}

/// The commands of this node that have no answer yet.
pub(crate) struct Proposals<O> {
    origin: Origin,
    next: u64,
    /// Not proposed yet.
    held: VecDeque<(u64, Bytes)>,
    /// By ticket number, which is also the order of deadlines.
    waiting: BTreeMap<u64, Waiting<O>>,
    /// Which of them stands where in our log; it may be replaced until it is committed.
    placed: BTreeMap<u64, u64>,
}

impl<O> Proposals<O> {
    pub(crate) fn new(origin: Origin) -> Self {
        Self {
            origin,
            next: 0,
            held: VecDeque::new(),
            waiting: BTreeMap::new(),
            placed: BTreeMap::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes a command; it waits until `deadline` (in ticks).
    pub(crate) fn hold(&mut self, command: Bytes, answer: Answer<O>, deadline: u64) {
        let ticket = self.next;
        self.next += 1;
        self.waiting.insert(ticket, Waiting { answer, deadline });
        self.held.push_back((ticket, command));
    }

    /// The next entries to propose: at most so many commands and so many bytes, but at least one.
    pub(crate) fn batch(&mut self, max: usize, max_bytes: usize) -> Vec<Entry> {
        let mut tickets = BytesMut::with_capacity(self.held.len().min(max) * TICKET);
        let mut entries = Vec::with_capacity(self.held.len().min(max));
        let mut size = 0;
        while let Some((ticket, command)) = self.held.front()
            && entries.len() < max
        {
            size += command.len();
            if size > max_bytes && !entries.is_empty() {
                break;
            }
            let ticket = *ticket;
            let Some((_, data)) = self.held.pop_front() else {
                break;
            };
            // Who gave up before the command was proposed need not have it executed.
            match self.waiting.get(&ticket) {
                Some(waiting) if !waiting.answer.is_closed() => {}
                Some(_) => {
                    self.waiting.remove(&ticket);
                    continue;
                }
                None => continue,
            }
            self.origin.write(ticket, &mut tickets);
            entries.push(Entry {
                data,
                context: tickets.split().freeze(),
                ..Entry::default()
            });
        }
        entries
    }

    /// Raft refused these; they are in no log.
    pub(crate) fn refused(&mut self, contexts: impl IntoIterator<Item = Bytes>) {
        for context in contexts {
            self.answer(&context, || Err(Unavailable::NoLeader));
        }
    }

    /// Notes which of ours stands where in our log.
    pub(crate) fn placed(&mut self, index: u64, context: &[u8]) {
        if let Some(ticket) = self.origin.read(context) {
            self.placed.insert(index, ticket);
        }
    }

    /// Answers the command of this context, if it is ours and still waited for.
    pub(crate) fn answer(
        &mut self,
        context: &[u8],
        answer: impl FnOnce() -> Result<O, Unavailable>,
    ) {
        if let Some(ticket) = self.origin.read(context)
            && let Some(waiting) = self.waiting.remove(&ticket)
        {
            // Nobody may be waiting any more.
            let _ = waiting.answer.send(answer());
        }
    }

    /// Entries up to `index` are applied. Whoever of ours stood there and has no answer was
    /// replaced by another leader's entry, and will never be applied; or, if a snapshot was
    /// installed, may have been.
    pub(crate) fn passed(&mut self, index: u64, why: &Unavailable) {
        while let Some(first) = self.placed.first_entry()
            && *first.key() <= index
        {
            if let Some(waiting) = self.waiting.remove(&first.remove()) {
                let _ = waiting.answer.send(Err(why.clone()));
            }
        }
    }

    /// Fails those whose time has come: without a leader, if they were never proposed.
    pub(crate) fn expire(&mut self, now: u64) {
        let first_held = self.held.front().map_or(u64::MAX, |(ticket, _)| *ticket);
        while let Some(first) = self.waiting.first_entry()
            && first.get().deadline <= now
        {
            let why = if *first.key() < first_held {
                Unavailable::Timeout
            } else {
                Unavailable::NoLeader
            };
            let _ = first.remove().answer.send(Err(why));
        }
        while let Some((ticket, _)) = self.held.front()
            && !self.waiting.contains_key(ticket)
        {
            self.held.pop_front();
        }
    }

    /// Fails those that are not proposed yet.
    pub(crate) fn refuse_held(&mut self, why: &Unavailable) {
        for (ticket, _) in self.held.drain(..) {
            if let Some(waiting) = self.waiting.remove(&ticket) {
                let _ = waiting.answer.send(Err(why.clone()));
            }
        }
    }

    /// Fails all.
    pub(crate) fn fail(&mut self, why: &Unavailable) {
        self.held.clear();
        self.placed.clear();
        while let Some((_, waiting)) = self.waiting.pop_first() {
            let _ = waiting.answer.send(Err(why.clone()));
        }
    }
}
