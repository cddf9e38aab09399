//! Linearizable reads by ReadIndex. All who wait when a round begins share it; whoever comes later
//! waits for the next, since the index of a round says nothing of writes acknowledged after its
//! beginning. One round is under way at a time.

use std::mem;

use crate::{
    LogIndex, Unavailable,
    proposals::{Answer, Origin},
};

struct Waiting {
    answer: Answer<LogIndex>,
    /// In ticks.
    deadline: u64,
}

struct Round {
    number: u64,
    /// In ticks.
    begun: u64,
    readers: Vec<Waiting>,
}

/// The reads of this node that have no answer yet.
pub(crate) struct Reads {
    origin: Origin,
    rounds: u64,
    waiting: Vec<Waiting>,
    round: Option<Round>,
    /// Rounds that ended with an index that is not applied here yet.
    behind: Vec<(LogIndex, Vec<Waiting>)>,
}

impl Reads {
    pub(crate) fn new(origin: Origin) -> Self {
        Self {
            origin,
            rounds: 0,
            waiting: Vec::new(),
            round: None,
            behind: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        let behind: usize = self.behind.iter().map(|(_, readers)| readers.len()).sum();
        let round = self.round.as_ref().map_or(0, |round| round.readers.len());
        self.waiting.len() + round + behind
    }

    /// Takes a read; it waits until `deadline` (in ticks).
    pub(crate) fn hold(&mut self, answer: Answer<LogIndex>, deadline: u64) {
        self.waiting.push(Waiting { answer, deadline });
    }

    /// Begins a round, if somebody waits and none is under way. Returns its context for Raft.
    pub(crate) fn begin(&mut self, now: u64) -> Option<Vec<u8>> {
        if self.waiting.is_empty() || self.round.is_some() {
            return None;
        }
        self.rounds += 1;
        let mut context = Vec::new();
        self.origin.write(self.rounds, &mut context);
        self.round = Some(Round {
            number: self.rounds,
            begun: now,
            readers: mem::take(&mut self.waiting),
        });
        Some(context)
    }

    /// A round has ended: its readers may be answered once `index` is applied.
    pub(crate) fn ended(&mut self, context: &[u8], index: LogIndex) {
        let number = self.origin.read(context);
        if let Some(round) = self.round.take_if(|round| Some(round.number) == number) {
            self.behind.push((index, round.readers));
        }
    }

    /// Answers those whose index is applied.
    pub(crate) fn applied(&mut self, applied: LogIndex) {
        for (_, readers) in self.behind.extract_if(.., |(index, _)| *index <= applied) {
            for reader in readers {
                // Nobody may be waiting any more.
                let _ = reader.answer.send(Ok(applied));
            }
        }
    }

    /// The round may have been lost on the way, or with its leader: its readers join the next.
    pub(crate) fn restart(&mut self) {
        if let Some(round) = self.round.take() {
            self.waiting.extend(round.readers);
        }
    }

    /// Gives a round up that began `patience` ticks ago, and fails the reads whose time has come.
    pub(crate) fn tick(&mut self, now: u64, patience: u64, why: &Unavailable) {
        if self
            .round
            .as_ref()
            .is_some_and(|round| now.saturating_sub(round.begun) >= patience)
        {
            self.restart();
        }
        let late = self.waiting.extract_if(.., |reader| reader.deadline <= now);
        let late = late.chain(
            self.behind
                .iter_mut()
                .flat_map(|(_, readers)| readers.extract_if(.., |reader| reader.deadline <= now)),
        );
        for reader in late {
            let _ = reader.answer.send(Err(why.clone()));
        }
    }

    /// Fails all.
    pub(crate) fn fail(&mut self, why: &Unavailable) {
        self.restart();
        let behind = self.behind.drain(..).flat_map(|(_, readers)| readers);
        for reader in self.waiting.drain(..).chain(behind) {
            let _ = reader.answer.send(Err(why.clone()));
        }
    }
}
