//! The disk tier: verified chunks in mapped slots, under a hard bound.
//!
//! A slot is free, or it holds a chunk, or it is being filled, and only its one [`Place`] can write
//! it. The place lies in the free list, or in a [`Slot`] that all readers of the chunk share (which
//! after a start is made only when its chunk is first asked for). The last who lets go of a slot, be
//! it the pool or a reader, returns the place to the free list. More
//! places than the bound allows are never made. When the bytes of a slot are good enough to serve
//! is told in `slot`.

mod contents;
mod index;
mod layout;
mod map;
mod mappings;
mod slot;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, hash_map::Entry},
    io, mem,
    panic::resume_unwind,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
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
pub use self::{
    layout::{POOL_FORMAT, SEGMENT_SIZE, check_pool},
    mappings::Mappings,
};
use crate::{
    chunk::ChunkName,
    errors::{Error, passes},
    eviction::{Candidate, Eviction, Ticket, Uses},
};

/// After the disk refused to make room for another segment, how long it is not asked again.
const GROW_AGAIN: Duration = Duration::from_secs(60);

/// Slots that the kernel still sends from are passed over for one fill at most; then there is none.
const MOST_BUSY: usize = 8;

/// The pool of one cache.
pub(crate) struct Pool {
    layout: Layout,
    index: Index,
    free: Arc<FreeList>,
    growth: Mutex<Growth>,
    state: RwLock<State>,
    evictions: AtomicU64,
    refused_growth: AtomicU64,
    busy_slots: AtomicU64,
    checks: Checks,
}

/// Settings, as in [`crate::Config`].
pub(crate) struct Settings {
    pub(crate) dir: PathBuf,
    pub(crate) size: u64,
    pub(crate) keep_free: u64,
    pub(crate) sendfile: bool,
    pub(crate) checks: Checks,
}

struct Growth {
    next_segment: u32,
    refused: Option<Instant>,
}

struct State {
    by_name: HashMap<ChunkName, u32>,
    /// Up to the last number that was ever used.
    by_number: Vec<Content>,
    eviction: Eviction,
    stays: u32,
}

/// What a number of the pool stands for.
#[derive(Default)]
enum Content {
    /// Nothing that could be found.
    #[default]
    Nothing,
    /// What the index says, since the start: most chunks of a large pool are not asked for soon, and
    /// a start should not wait until a slot is made for each.
    Said {
        place: Place,
        held: Held,
        uses: Uses,
    },
    Slot(Arc<Slot>),
}

/// The stay of what was here before the start. Those that begin later count from one.
const RESTORED: u32 = 0;

impl Pool {
    /// Opens or makes the pool: the index is read, no chunk is.
    pub(crate) fn open(settings: Settings) -> Result<Self, Error> {
        let Settings {
            dir,
            size,
            keep_free,
            sendfile,
            checks,
        } = settings;
        let layout = Layout::open(dir, size, keep_free, sendfile)?;
        let slots = layout.slots();
        // Side by side, since both take a while for a large pool.
        let (index, segments) = thread::scope(|scope| {
            let segments = scope.spawn(|| {
                open_segments(&layout, |number, new, slots| {
                    open_segment_of(&layout, number, new, slots)
                })
            });
            (Index::open(&layout.index(), slots), segments.join())
        });
        let (index, held) = index?;
        let segments = segments.unwrap_or_else(|panic| resume_unwind(panic));
        let segments = segments.map_err(|error| Error::disk("segments", &error))?;
        let free = FreeList::default();
        let mut state = State {
            by_name: HashMap::with_capacity(held.iter().flatten().count()),
            by_number: Vec::new(),
            eviction: Eviction::new(slots),
            stays: RESTORED,
        };
        let next_segment = u32::try_from(segments.len()).unwrap_or(u32::MAX);
        // Not all of them need have all their slots.
        let last = segments.iter().filter_map(|segment| segment.places.last());
        let numbers = last.map(|place| place.number() as usize + 1).max();
        let numbers = numbers.unwrap_or(0);
        state.by_number.resize_with(numbers, Content::default);
        for Segment { places, lost } in segments {
            for place in places {
                let held = held.get(place.number() as usize).copied().flatten();
                let left = match held.filter(|_| !lost) {
                    Some(held) => state.restore(place, held),
                    None => Some(place),
                };
                if let Some(place) = left {
                    free.lock().push_front(place);
                }
            }
        }
        let free = Arc::new(free);
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
            busy_slots: AtomicU64::new(0),
            checks,
        })
    }

    /// Those of its segments that may be sent from.
    pub(crate) fn mappings(&self) -> &Mappings {
        &self.layout.shared().mappings
    }

    /// The slot that holds, or is said to hold, the chunk; counts as a read.
    pub(crate) fn find(&self, name: ChunkName) -> Option<Arc<Slot>> {
        let found = {
            let state = self.state.read();
            let number = *state.by_name.get(&name)?;
            state.at(number).map(Arc::clone)
        };
        let slot = match found {
            Some(slot) => slot,
            // Found again, since anything may have happened between the locks.
            None => {
                let mut state = self.state.write();
                let number = *state.by_name.get(&name)?;
                Arc::clone(state.slot(number, &self.free)?)
            }
        };
        slot.uses().count();
        Some(slot)
    }

    /// Puts a verified chunk into a slot. Blocks. `Ok(None)`: every slot is pinned, or
    /// still being sent from.
    pub(crate) fn store(&self, name: ChunkName, pieces: &[Bytes]) -> io::Result<Option<Arc<Slot>>> {
        let Some(mut place) = self.take_free_place()? else {
            return Ok(None);
        };
        let len = pieces.iter().map(Bytes::len).sum::<usize>();
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let written = place.write(pieces).and_then(|()| place.populate(len));
        if let Err(error) = written {
            self.free.lock().push_front(place);
            return Err(error);
        }
        let number = place.number();
        let slot = {
            let mut state = self.state.write();
            let other = state.by_name.get(&name).copied();
            if let Some(slot) = other.and_then(|number| state.slot(number, &self.free)) {
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
                Some(number) => state.remove(number, &self.free),
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

    /// Slots passed over so far because the kernel still sent from them.
    pub(crate) fn busy_slots(&self) -> u64 {
        self.busy_slots.load(Ordering::Relaxed)
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

    /// Whether the chunk left the pool lately.
    pub(crate) fn was_evicted(&self, name: ChunkName) -> bool {
        self.state.read().eviction.remembers(name.short())
    }

    /// The segment of a slot, and which one of it, for messages.
    pub(crate) fn place_of(slot: &Slot) -> (u32, u32) {
        let number = slot.number();
        (
            number / layout::SEGMENT_SLOTS,
            number % layout::SEGMENT_SLOTS,
        )
    }

    fn held(&self, number: u32) -> Option<Held> {
        match self.state.read().by_number.get(number as usize)? {
            Content::Nothing => None,
            Content::Said { held, .. } => Some(*held),
            Content::Slot(slot) => Some(slot.held()),
        }
    }

    /// A place that the kernel does not send from any more.
    fn take_free_place(&self) -> io::Result<Option<Place>> {
        let mut busy = Vec::new();
        let found = loop {
            let Some(place) = self.take_place() else {
                break Ok(None);
            };
            match place.let_go() {
                Ok(true) => break Ok(Some(place)),
                Ok(false) => busy.push(place),
                Err(error) => {
                    busy.push(place);
                    break Err(error);
                }
            }
            self.busy_slots.fetch_add(1, Ordering::Relaxed);
            if busy.len() == MOST_BUSY {
                break Ok(None);
            }
        };
        let mut free = self.free.lock();
        busy.into_iter().for_each(|place| free.push_front(place));
        drop(free);
        found
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
        let make = || {
            let found = self.layout.bytes_of(segment)?;
            let slots = self.layout.slots_that_fit(segment, found)?;
            if slots == 0 {
                let free = "no room but what has to stay free";
                return Err(io::Error::new(io::ErrorKind::StorageFull, free));
            }
            open_segment_of(&self.layout, segment, found.is_none(), slots)
        };
        match make() {
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
            let chosen = eviction.choose(|ticket| by_ticket(by_number, ticket));
            chosen.and_then(|ticket| state.remove(ticket.slot, &self.free))
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

/// A segment that was there.
struct Segment {
    places: Vec<Place>,
    /// It could not be opened and was made anew: nothing that the index says of it is true.
    lost: bool,
}

/// Opens the segments that are there, up to the first that is missing or has no room, and removes
/// the others. An error that will pass costs no segment: it is returned. `open` is
/// [`open_segment_of`] the layout.
fn open_segments(
    layout: &Layout,
    open: impl Fn(u32, bool, u32) -> io::Result<Vec<Place>>,
) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    let mut number = 0;
    while layout.slots_of(number) > 0
        && let Some(found) = layout.bytes_of(number)?
    {
        let slots = layout.slots_that_fit(number, Some(found))?;
        if slots == 0 {
            break;
        }
        let mut lost = false;
        let opened = open(number, false, slots).or_else(|error| {
            if passes(&error) {
                return Err(error);
            }
            tracing::warn!(
                segment = number,
                %error,
                "a segment of the cache cannot be opened; it is set aside, and what it held is lost"
            );
            lost = true;
            layout.set_aside(number)?;
            open(number, true, slots).inspect_err(|_| layout.put_back(number))
        });
        let places = opened?;
        segments.push(Segment { places, lost });
        number += 1;
    }
    layout.remove_segments_from(number)?;
    Ok(segments)
}

fn open_segment_of(layout: &Layout, number: u32, new: bool, slots: u32) -> io::Result<Vec<Place>> {
    let first = number.saturating_mul(layout::SEGMENT_SLOTS);
    let path = layout.segment(number);
    open_segment(&path, new, first, slots, layout.shared())
}

/// The one that a ticket stands for, while its stay lasts.
fn by_ticket(by_number: &[Content], ticket: Ticket) -> Option<Candidate<'_>> {
    let (stay, candidate) = match by_number.get(ticket.slot as usize)? {
        Content::Nothing => return None,
        Content::Said { held, uses, .. } => {
            let candidate = Candidate {
                uses,
                pinned: false,
                key: held.name.short(),
            };
            (RESTORED, candidate)
        }
        Content::Slot(slot) => {
            let candidate = Candidate {
                uses: slot.uses(),
                // Nobody can take another handle while we have the lock.
                pinned: Arc::strong_count(slot) > 1,
                key: slot.held().name.short(),
            };
            (slot.stay(), candidate)
        }
    };
    (stay == ticket.stay).then_some(candidate)
}

impl State {
    /// The slot with this number, if it is made.
    fn at(&self, number: u32) -> Option<&Arc<Slot>> {
        match self.by_number.get(number as usize)? {
            Content::Slot(slot) => Some(slot),
            Content::Nothing | Content::Said { .. } => None,
        }
    }

    /// The slot with this number, made of what the index says if need be.
    fn slot(&mut self, number: u32, free: &Arc<FreeList>) -> Option<&Arc<Slot>> {
        let content = self.by_number.get_mut(number as usize)?;
        *content = match mem::take(content) {
            Content::Said { place, held, .. } => {
                let slot = Slot::new(place, Arc::clone(free), held, RESTORED);
                Content::Slot(Arc::new(slot))
            }
            as_it_is @ (Content::Nothing | Content::Slot(_)) => as_it_is,
        };
        self.at(number)
    }

    fn insert(&mut self, place: Place, held: Held, free: &Arc<FreeList>) -> Arc<Slot> {
        let number = place.number();
        self.stays = self.stays.wrapping_add(1);
        let stay = self.stays;
        let slot = Arc::new(Slot::new(place, Arc::clone(free), held, stay));
        self.by_name.insert(held.name, number);
        let at = number as usize;
        if at >= self.by_number.len() {
            self.by_number.resize_with(at + 1, Content::default);
        }
        self.by_number[at] = Content::Slot(Arc::clone(&slot));
        let ticket = Ticket { slot: number, stay };
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

    /// Takes in what the index says. Of two places said to hold one chunk, the second is as good as
    /// free: it is given back.
    fn restore(&mut self, place: Place, held: Held) -> Option<Place> {
        let number = place.number();
        let Some(at) = self.by_number.get_mut(number as usize) else {
            return Some(place);
        };
        match self.by_name.entry(held.name) {
            Entry::Occupied(_) => return Some(place),
            Entry::Vacant(vacant) => vacant.insert(number),
        };
        let uses = Uses::default();
        *at = Content::Said { place, held, uses };
        self.eviction.restore(Ticket {
            slot: number,
            stay: RESTORED,
        });
        None
    }

    fn remove(&mut self, number: u32, free: &Arc<FreeList>) -> Option<(u32, Arc<Slot>)> {
        let slot = Arc::clone(self.slot(number, free)?);
        *self.by_number.get_mut(number as usize)? = Content::Nothing;
        self.by_name.remove(&slot.held().name);
        Some((number, slot))
    }
}
