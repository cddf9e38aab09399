//! The disk tier: verified chunks in mapped slots, under a hard bound.
//!
//! A slot is free, or it holds a chunk, or it is being filled, and only its one [`Place`] can write
//! it. The place lies in the free list, or in a [`Slot`] that all readers of the chunk share. The
//! last who lets go of a slot, be it the pool or a reader, returns the place to the free list. More
//! places than the bound allows are never made. When the bytes of a slot are good enough to serve
//! is told in `slot`.

mod index;
mod layout;
mod map;
mod slot;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

pub(crate) use self::slot::{Checks, Slot};
use self::{
    index::{Held, Index},
    layout::Layout,
    map::{Place, open_segment},
    slot::FreeList,
};
use crate::{
    chunk::ChunkName,
    errors::Error,
    eviction::{Candidate, Eviction, Ticket},
};

/// After the disk refused to make room for another segment, how long it is not asked again.
const GROW_AGAIN: Duration = Duration::from_secs(60);

/// The pool of one cache.
pub(crate) struct Pool {
    layout: Layout,
    index: Index,
    free: Arc<FreeList>,
    growth: Mutex<Growth>,
    state: RwLock<State>,
    evictions: AtomicU64,
    refused_growth: AtomicU64,
    checks: Checks,
}

/// Settings, as in [`crate::Config`].
pub(crate) struct Settings {
    pub(crate) dir: PathBuf,
    pub(crate) size: u64,
    pub(crate) keep_free: u64,
    pub(crate) checks: Checks,
}

struct Growth {
    next_segment: u32,
    refused: Option<Instant>,
}

struct State {
    by_name: HashMap<ChunkName, u32>,
    by_number: Vec<Option<Arc<Slot>>>,
    eviction: Eviction,
    stays: u32,
}

impl Pool {
    /// Opens or makes the pool: the index is read, no chunk is.
    pub(crate) fn open(settings: Settings) -> Result<Self, Error> {
        let Settings {
            dir,
            size,
            keep_free,
            checks,
        } = settings;
        let layout = Layout::open(dir, size, keep_free)?;
        let (index, held) = Index::open(&layout.index())?;
        let slots = layout.slots();
        let free = Arc::new(FreeList::default());
        let mut state = State {
            by_name: HashMap::with_capacity(held.len()),
            by_number: (0..slots).map(|_| None).collect(),
            eviction: Eviction::new(slots),
            stays: 0,
        };
        let mut next_segment = 0;
        while layout.slots_of(next_segment) > 0 && layout.segment(next_segment).exists() {
            let disk = |error: io::Error| Error::disk("segment", &error);
            let slots = layout.slots_that_fit(next_segment).map_err(disk)?;
            if slots == 0 {
                break;
            }
            for place in open_segment_of(&layout, next_segment, slots).map_err(disk)? {
                match held.get(&place.number()) {
                    // Of two slots said to hold one chunk, the second is as good as free.
                    Some(held) if !state.by_name.contains_key(&held.name) => {
                        state.restore(place, *held, &free);
                    }
                    _ => free.lock().push_front(place),
                }
            }
            next_segment += 1;
        }
        layout
            .remove_segments_from(next_segment)
            .map_err(|error| Error::disk("segments", &error))?;
        Ok(Self {
            layout,
            index,
            free,
            growth: Mutex::new(Growth {
                next_segment,
                refused: None,
            }),
            state: RwLock::new(state),
            evictions: AtomicU64::new(0),
            refused_growth: AtomicU64::new(0),
            checks,
        })
    }

    /// The slot that holds, or is said to hold, the chunk; counts as a read.
    pub(crate) fn find(&self, name: ChunkName) -> Option<Arc<Slot>> {
        let state = self.state.read();
        let slot = state.at(*state.by_name.get(&name)?)?;
        slot.uses().count();
        Some(Arc::clone(slot))
    }

    /// Puts a verified chunk into a slot. Blocks. `Ok(None)`: every slot is pinned.
    pub(crate) fn store(&self, name: ChunkName, pieces: &[Bytes]) -> io::Result<Option<Arc<Slot>>> {
        let Some(mut place) = self.take_place() else {
            return Ok(None);
        };
        if let Err(error) = place.write(pieces) {
            self.free.lock().push_front(place);
            return Err(error);
        }
        let len = pieces.iter().map(Bytes::len).sum::<usize>();
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        if let Err(error) = place.populate(len) {
            self.free.lock().push_front(place);
            return Err(error);
        }
        let number = place.number();
        let slot = {
            let mut state = self.state.write();
            if let Some(slot) = state
                .by_name
                .get(&name)
                .and_then(|number| state.at(*number))
            {
                let slot = Arc::clone(slot);
                drop(state);
                self.free.lock().push_back(place);
                return Ok(Some(slot));
            }
            state.insert(place, Held { name, len }, &self.free)
        };
        slot.mark_verified(self.checks.now());
        self.index.touch(number);
        Ok(Some(slot))
    }

    /// The chunk as a slice of the mapping that pins the slot. `None`: it must be verified first.
    pub(crate) fn bytes(&self, slot: &Arc<Slot>) -> Option<Bytes> {
        slot.is_good(&self.checks).then(|| slot.pin())
    }

    /// Reads a slot whole and compares it with its name: its bytes if they are good. Blocks.
    pub(crate) fn verify(&self, slot: &Arc<Slot>) -> Option<Bytes> {
        // Until it is done nobody takes the pages that it brings in for verified ones.
        slot.mark_unverified();
        // What cannot be read is not what it should be.
        let good = slot.populate().is_ok() && ChunkName::of([slot.bytes()]) == slot.held().name;
        good.then(|| {
            slot.mark_verified(self.checks.now());
            slot.pin()
        })
    }

    /// Forgets what a slot holds, if it still is the one that holds it.
    pub(crate) fn remove(&self, slot: &Arc<Slot>) {
        let removed = {
            let mut state = self.state.write();
            let current = state.by_name.get(&slot.held().name).copied();
            match current.filter(|number| state.at(*number).is_some_and(|at| Arc::ptr_eq(at, slot)))
            {
                Some(number) => state.remove(number),
                None => None,
            }
        };
        self.note_removed(removed);
    }

    /// Writes the index durably. Blocks.
    pub(crate) fn checkpoint(&self) -> Result<(), Error> {
        self.index.write(|number| self.held(number))
    }

    /// Writes the index in the background until [`Pool::stop_indexing`]. Blocks.
    pub(crate) fn keep_index(&self) {
        self.index.run(|number| self.held(number));
    }

    pub(crate) fn stop_indexing(&self) {
        self.index.stop();
    }

    /// Slots that hold a chunk, and slots in all.
    pub(crate) fn usage(&self) -> (u64, u64) {
        let used = self.state.read().by_name.len();
        (used as u64, self.layout.slots().into())
    }

    /// Slots reused so far.
    pub(crate) fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    /// How often the pool could not grow so far.
    pub(crate) fn refused_growth(&self) -> u64 {
        self.refused_growth.load(Ordering::Relaxed)
    }

    /// Whether that a slot does not hold its chunk may be no damage: the last process was stopped
    /// before it could write down the slot's last change, and the slot was not verified since.
    pub(crate) fn may_be_stale(&self, slot: &Slot) -> bool {
        !self.index.was_clean() && !slot.is_proved()
    }

    fn held(&self, number: u32) -> Option<Held> {
        self.state.read().at(number).map(|slot| slot.held())
    }

    /// A place to write to: a free one, a new one, or that of a chunk that has to leave.
    fn take_place(&self) -> Option<Place> {
        loop {
            let free = self.free.lock().pop_back();
            if free.is_some() {
                return free;
            }
            if !self.grow() && !self.evict() {
                // Perhaps a reader let go while we looked.
                return self.free.lock().pop_back();
            }
        }
    }

    /// Makes another segment. `false`: the bound is reached, or the disk has no room that need not
    /// stay free.
    fn grow(&self) -> bool {
        let mut growth = self.growth.lock();
        if !self.free.lock().is_empty() {
            // Another did while we waited.
            return true;
        }
        let segment = growth.next_segment;
        let asked = growth.refused.is_some_and(|at| at.elapsed() < GROW_AGAIN);
        if asked || self.layout.slots_of(segment) == 0 {
            return false;
        }
        let made = self.layout.slots_that_fit(segment).and_then(|slots| {
            if slots == 0 {
                let free = "no room but what has to stay free";
                return Err(io::Error::new(io::ErrorKind::StorageFull, free));
            }
            open_segment_of(&self.layout, segment, slots)
        });
        match made {
            Ok(places) => {
                growth.next_segment += 1;
                self.free.lock().extend(places.into_iter().rev());
                true
            }
            Err(error) => {
                tracing::warn!(%error, segment, "the cache cannot grow; it makes do with what it has");
                growth.refused = Some(Instant::now());
                self.refused_growth.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }

    /// Makes the chunk that is worth least leave. `false`: all are pinned.
    fn evict(&self) -> bool {
        let removed = {
            let mut state = self.state.write();
            let State {
                eviction,
                by_number,
                ..
            } = &mut *state;
            let chosen = eviction.choose(|ticket| {
                let slot = by_ticket(by_number, ticket)?;
                Some(Candidate {
                    uses: slot.uses(),
                    // Nobody can take another handle while we have the lock.
                    pinned: Arc::strong_count(slot) > 1,
                    key: slot.held().name.short(),
                })
            });
            chosen.and_then(|ticket| state.remove(ticket.slot))
        };
        if removed.is_none() {
            return false;
        }
        self.evictions.fetch_add(1, Ordering::Relaxed);
        self.note_removed(removed);
        true
    }

    fn note_removed(&self, removed: Option<(u32, Arc<Slot>)>) {
        if let Some((number, slot)) = removed {
            self.index.touch(number);
            // Returns the place to the free list, unless readers still have it.
            drop(slot);
        }
    }
}

fn open_segment_of(layout: &Layout, number: u32, slots: u32) -> io::Result<Vec<Place>> {
    let first = number.saturating_mul(layout::SEGMENT_SLOTS);
    open_segment(&layout.segment(number), first, slots, layout.lock())
}

/// The slot that a ticket stands for, while its stay lasts.
fn by_ticket(by_number: &[Option<Arc<Slot>>], ticket: Ticket) -> Option<&Arc<Slot>> {
    let slot = by_number.get(ticket.slot as usize)?.as_ref()?;
    (slot.stay() == ticket.stay).then_some(slot)
}

impl State {
    fn at(&self, number: u32) -> Option<&Arc<Slot>> {
        self.by_number.get(number as usize)?.as_ref()
    }

    fn insert(&mut self, place: Place, held: Held, free: &Arc<FreeList>) -> Arc<Slot> {
        let (slot, ticket) = self.put(place, held, free);
        self.eviction.insert(ticket, held.name.short());
        // Of slots that were forgotten, not evicted, the tickets are still there.
        if self.eviction.len() > 2 * self.by_number.len() {
            let Self {
                eviction,
                by_number,
                ..
            } = self;
            eviction.sweep(|ticket| by_ticket(by_number, ticket).is_some());
        }
        slot
    }

    fn restore(&mut self, place: Place, held: Held, free: &Arc<FreeList>) {
        let (_, ticket) = self.put(place, held, free);
        self.eviction.restore(ticket);
    }

    fn put(&mut self, place: Place, held: Held, free: &Arc<FreeList>) -> (Arc<Slot>, Ticket) {
        let number = place.number();
        self.stays = self.stays.wrapping_add(1);
        let stay = self.stays;
        let slot = Arc::new(Slot::new(place, Arc::clone(free), held, stay));
        self.by_name.insert(held.name, number);
        if let Some(at) = self.by_number.get_mut(number as usize) {
            *at = Some(Arc::clone(&slot));
        }
        (slot, Ticket { slot: number, stay })
    }

    fn remove(&mut self, number: u32) -> Option<(u32, Arc<Slot>)> {
        let slot = self.by_number.get_mut(number as usize)?.take()?;
        self.by_name.remove(&slot.held().name);
        Some((number, slot))
    }
}
