//! Election timeouts from a seed. raft-rs draws them from the thread's random source, with which
//! no run could be repeated; they are drawn here instead.

use raft::{Raft, StateRole};

use crate::{log::Log, random::Random};

/// Draws a timeout for each term and role.
pub(crate) struct Timeouts {
    random: Random,
    drawn_for: Option<(u64, StateRole, u64)>,
    ticks: usize,
}

impl Timeouts {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            drawn_for: None,
            ticks: 0,
        }
    }

    /// To be called before each tick.
    pub(crate) fn set(&mut self, raft: &mut Raft<Log>) {
        let now = (raft.term, raft.state, raft.leader_id);
        if self.drawn_for != Some(now) {
            self.drawn_for = Some(now);
            // As the paper has it: between one and two times the base.
            let base = raft.election_timeout();
            let extra = self.random.below(base as u64);
            self.ticks = base.saturating_add(usize::try_from(extra).unwrap_or(0));
        }
        raft.set_randomized_election_timeout(self.ticks);
    }
}
