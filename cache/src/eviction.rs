//! Who leaves when there is no room: S3-FIFO (Yang et al., SOSP 2023), pure and over slot numbers.
//!
//! Newcomers enter a small queue (a tenth of the slots); those read again by the time they reach its
//! end move to the main queue, the others leave and are remembered for a while as ghosts. A ghost
//! that comes back goes to the main queue at once. So a scan through a large image passes through
//! the small queue and leaves what is read often alone. A hit only raises a counter: it moves
//! nothing and takes no lock.
//!
//! Why not foyer's: there a victim may still be pinned, and its slot comes free at some later time,
//! while a pool with a hard bound must ask for the next victim until one is free, or know that there
//! is none; foyer evicts only as an insertion needs it. And a ticket costs 8 bytes here, not 148.

use std::{
    collections::{HashSet, VecDeque},
    sync::atomic::{AtomicU8, Ordering},
};

/// Reads that are counted at most.
const MAX_USES: u8 = 3;
/// Reads while in the small queue that earn a place in the main one.
const PROMOTE_USES: u8 = 2;

/// One stay of a chunk in a slot: a slot's next chunk has another `stay`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket {
    pub(crate) slot: u32,
    pub(crate) stay: u32,
}

/// What the owner of the slots says of one that is about to leave.
pub(crate) struct Candidate<'a> {
    pub(crate) uses: &'a Uses,
    /// Has readers: cannot leave.
    pub(crate) pinned: bool,
    /// Stands for the chunk's name.
    pub(crate) key: u64,
}

/// Counts the reads of an entry.
#[derive(Default)]
pub(crate) struct Uses(AtomicU8);

impl Uses {
    /// Counts one.
    pub(crate) fn count(&self) {
        let uses = self.0.load(Ordering::Relaxed);
        if uses < MAX_USES {
            // Of two at once one may be lost; it is a hint.
            self.0.store(uses + 1, Ordering::Relaxed);
        }
    }

    fn get(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, uses: u8) {
        self.0.store(uses, Ordering::Relaxed);
    }
}

/// The queues.
pub(crate) struct Eviction {
    small: VecDeque<Ticket>,
    main: VecDeque<Ticket>,
    ghosts: VecDeque<u64>,
    ghost_keys: HashSet<u64>,
    /// Entries of the small queue above which it gives up its own first.
    small_target: usize,
    /// Ghosts at most.
    max_ghosts: usize,
}

impl Eviction {
    /// For a pool of `slots` slots.
    pub(crate) fn new(slots: u32) -> Self {
        let slots = slots as usize;
        Self {
            small: VecDeque::new(),
            main: VecDeque::new(),
            ghosts: VecDeque::new(),
            ghost_keys: HashSet::new(),
            small_target: (slots / 10).max(1),
            max_ghosts: slots,
        }
    }

    /// Takes in a newcomer.
    pub(crate) fn insert(&mut self, ticket: Ticket, key: u64) {
        if self.ghost_keys.remove(&key) {
            // Its place among the ghosts stays until it is at the front.
            self.main.push_back(ticket);
        } else {
            self.small.push_back(ticket);
        }
    }

    /// Whether it left lately, before it was read often.
    pub(crate) fn remembers(&self, key: u64) -> bool {
        self.ghost_keys.contains(&key)
    }

    /// Takes in one that was here before a restart.
    pub(crate) fn restore(&mut self, ticket: Ticket) {
        self.main.push_back(ticket);
    }

    /// Tickets, those whose stay is over included.
    pub(crate) fn len(&self) -> usize {
        self.small.len() + self.main.len()
    }

    /// Drops the tickets whose stay is over.
    pub(crate) fn sweep(&mut self, stays: impl Fn(Ticket) -> bool) {
        self.small.retain(|ticket| stays(*ticket));
        self.main.retain(|ticket| stays(*ticket));
    }

    /// Chooses who leaves, or none if all are pinned. `look` gives `None` for a ticket whose stay is
    /// over. No reads are counted meanwhile.
    pub(crate) fn choose<'a>(
        &mut self,
        look: impl Fn(Ticket) -> Option<Candidate<'a>>,
    ) -> Option<Ticket> {
        // Pinned entries seen in each queue since anything else happened to it: once there are as
        // many as entries, nobody can leave it. It ends because every other step uses up a ticket,
        // a promotion or a counted read.
        let (mut pinned_small, mut pinned_main) = (0, 0);
        loop {
            let small_has = pinned_small < self.small.len();
            let main_has = pinned_main < self.main.len();
            let from_small = match (small_has, main_has) {
                (false, false) => return None,
                (true, true) => self.small.len() >= self.small_target,
                (small_has, _) => small_has,
            };
            let queue = if from_small {
                &mut self.small
            } else {
                &mut self.main
            };
            let ticket = queue.pop_front()?;
            let Some(candidate) = look(ticket) else {
                continue;
            };
            let uses = candidate.uses.get();
            if candidate.pinned {
                queue.push_back(ticket);
                let pinned = if from_small {
                    &mut pinned_small
                } else {
                    &mut pinned_main
                };
                *pinned += 1;
            } else if from_small && uses < PROMOTE_USES {
                self.remember(candidate.key);
                return Some(ticket);
            } else if !from_small && uses == 0 {
                return Some(ticket);
            } else {
                let left = if from_small { 0 } else { uses - 1 };
                candidate.uses.set(left);
                self.main.push_back(ticket);
                pinned_main = 0;
            }
        }
    }

    fn remember(&mut self, key: u64) {
        while self.ghosts.len() >= self.max_ghosts {
            if let Some(oldest) = self.ghosts.pop_front() {
                self.ghost_keys.remove(&oldest);
            }
        }
        if self.ghost_keys.insert(key) {
            self.ghosts.push_back(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pool of names: slot → stay, name, reads, pinned.
    struct Model {
        eviction: Eviction,
        slots: Vec<Option<Entry>>,
        stays: u32,
    }

    struct Entry {
        stay: u32,
        name: u64,
        uses: Uses,
        pinned: bool,
    }

    impl Model {
        fn new(slots: u32) -> Self {
            Self {
                eviction: Eviction::new(slots),
                slots: (0..slots).map(|_| None).collect(),
                stays: 0,
            }
        }

        /// Reads a name; `false`: it was not there and now is, if there was room.
        fn read(&mut self, name: u64) -> bool {
            let held = self.slots.iter().flatten().find(|entry| entry.name == name);
            if let Some(entry) = held {
                entry.uses.count();
                return true;
            }
            let free = self.slots.iter().position(Option::is_none);
            let Some(slot) = free.or_else(|| self.evict()) else {
                return false;
            };
            self.stays += 1;
            let stay = self.stays;
            self.slots[slot] = Some(Entry {
                stay,
                name,
                uses: Uses::default(),
                pinned: false,
            });
            let slot = slot as u32;
            self.eviction.insert(Ticket { slot, stay }, name);
            false
        }

        fn evict(&mut self) -> Option<usize> {
            let slots = &self.slots;
            let ticket = self.eviction.choose(|ticket| {
                let entry = slots[ticket.slot as usize].as_ref()?;
                (entry.stay == ticket.stay).then_some(Candidate {
                    uses: &entry.uses,
                    pinned: entry.pinned,
                    key: entry.name,
                })
            })?;
            let slot = ticket.slot as usize;
            let gone = self.slots[slot].take().unwrap();
            assert!(!gone.pinned, "a pinned entry left");
            Some(slot)
        }

        fn holds(&self, name: u64) -> bool {
            self.slots.iter().flatten().any(|entry| entry.name == name)
        }

        fn pin(&mut self, name: u64, pinned: bool) {
            let mut entries = self.slots.iter_mut().flatten();
            let entry = entries.find(|entry| entry.name == name).unwrap();
            entry.pinned = pinned;
        }
    }

    #[test]
    fn a_scan_leaves_alone_what_is_read_often() {
        let mut model = Model::new(100);
        for _ in 0..4 {
            for name in 0..50 {
                model.read(name);
            }
        }
        for name in 1_000..3_000 {
            model.read(name);
        }
        let kept = (0..50).filter(|name| model.holds(*name)).count();
        assert!(kept >= 45, "{kept} of 50");
    }

    #[test]
    fn what_comes_back_soon_stays_longer() {
        let mut model = Model::new(20);
        for name in 0..21 {
            model.read(name);
        }
        assert!(!model.holds(0));
        model.read(0);
        for name in 100..110 {
            model.read(name);
        }
        assert!(model.holds(0));
        assert!(!model.holds(1));
    }

    #[test]
    fn the_pinned_stay_and_when_all_are_pinned_none_leaves() {
        let mut model = Model::new(10);
        for name in 0..10 {
            model.read(name);
            model.pin(name, true);
        }
        for name in 10..13 {
            assert!(!model.read(name));
            assert!(!model.holds(name));
        }
        model.pin(4, false);
        assert!(!model.read(20));
        assert!(model.holds(20) && !model.holds(4));
    }

    #[test]
    fn whatever_happens_the_one_that_is_not_pinned_is_found() {
        use rand_like::Numbers;
        let mut numbers = Numbers(1);
        for _ in 0..300 {
            let slots = 1 + numbers.below(40);
            let mut model = Model::new(slots as u32);
            for _ in 0..200 {
                let name = numbers.below(80);
                model.read(name);
                if numbers.below(8) == 0 {
                    // Forgotten by the owner: its ticket is stale.
                    let slot = numbers.below(slots) as usize;
                    model.slots[slot] = None;
                }
                let pins: Vec<bool> = (0..slots).map(|_| numbers.below(3) == 0).collect();
                for (entry, pinned) in model.slots.iter_mut().zip(pins) {
                    if let Some(entry) = entry {
                        entry.pinned = pinned;
                    }
                }
                let can = model.slots.iter().flatten().any(|entry| !entry.pinned);
                let name = 1_000 + numbers.below(1_000);
                let full = model.slots.iter().all(Option::is_some);
                if full && !model.holds(name) {
                    model.read(name);
                    assert_eq!(model.holds(name), can);
                }
            }
            assert!(model.eviction.ghosts.len() <= slots as usize);
        }
    }

    mod rand_like {
        /// Numbers from a seed (SplitMix64).
        pub(super) struct Numbers(pub(super) u64);

        impl Numbers {
            pub(super) fn below(&mut self, bound: u64) -> u64 {
                self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut x = self.0;
                x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                (x ^ (x >> 31)) % bound
            }
        }
    }
}
