//! Election timeouts from a seed. raft-rs draws them from the thread's random source, with which
//! no run could be repeated; they are drawn here instead.

use raft::{Raft, StateRole};

use crate::log::Log;

/// A small random sequence from a seed (SplitMix64). Not for secrets.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64().checked_rem(bound).unwrap_or(0)
    }
}

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
