//! One slot that holds a chunk: who may read it, and when its bytes were verified.
//!
//! The promise: bytes leave the pool only if they were compared with the chunk's name
//!
//! - since the program started (a fill counts),
//! - within the audit interval, which bounds how long damage can go unseen that comes while the
//!   pages are in memory (another process that writes the file, a bad DIMM), and
//! - since the pages were last found missing from memory, that is since they were read from disk.
//!
//! The last is looked up with mincore(2), at most once per slot within the residency interval,
//! because the call costs more than all the rest of a hit. The limits: pages that leave memory and
//! come back within one residency interval, and those of bytes that are already on their way to a
//! slow client, are read again unseen, until the audit interval is over. A disk that fails while
//! the kernel takes them for a socket is an error of that write, which ends the connection. Where
//! this program itself reads the mapping it would be a SIGBUS, which ends the process; so
//! [`Slot::populate`] brings all pages in first, and gets an error instead.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{index::Held, map::Place};
use crate::eviction::Uses;

/// Places that hold nothing. Taken at the back; those that a write failed on go to the front.
pub(super) type FreeList = Mutex<VecDeque<Place>>;

/// Milliseconds after the pool was opened, plus one; 0: never.
type Moment = u64;

/// How often slots are looked after.
pub(crate) struct Checks {
    opened: Instant,
    audit: Moment,
    residency: Moment,
}

/// A slot that holds a chunk; who has one may read it.
pub(crate) struct Slot {
    place: Option<Place>,
    free: Arc<FreeList>,
    held: Held,
    stay: u32,
    uses: Uses,
    /// When its bytes were compared with its name.
    verified: AtomicU64,
    /// When its pages were last known to be in memory.
    resident: AtomicU64,
    /// Whether it was ever verified; else only the index says what it holds.
    proved: AtomicBool,
}

impl Checks {
    /// From now on.
    pub(crate) fn new(audit: Duration, residency: Duration) -> Self {
        let milliseconds = |time: Duration| Moment::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            opened: Instant::now(),
            audit: milliseconds(audit),
            residency: milliseconds(residency),
        }
    }

    pub(super) fn now(&self) -> Moment {
        Moment::try_from(self.opened.elapsed().as_millis()).map_or(u64::MAX, |now| now + 1)
    }
}

impl Slot {
    /// One whose bytes nobody has verified yet.
    pub(super) fn new(place: Place, free: Arc<FreeList>, held: Held, stay: u32) -> Self {
        Self {
            place: Some(place),
            free,
            held,
            stay,
            uses: Uses::default(),
            verified: AtomicU64::new(0),
            resident: AtomicU64::new(0),
            proved: AtomicBool::new(false),
        }
    }

    pub(super) fn held(&self) -> Held {
        self.held
    }

    pub(super) fn stay(&self) -> u32 {
        self.stay
    }

    pub(super) fn uses(&self) -> &Uses {
        &self.uses
    }

    /// The chunk's bytes; of a slot that was not verified, whatever lies there.
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.place {
            Some(place) => place.bytes(self.held.len),
            None => &[],
        }
    }

    pub(super) fn populate(&self) -> io::Result<()> {
        match &self.place {
            Some(place) => place.populate(self.held.len),
            None => Ok(()),
        }
    }

    /// The bytes as a slice of the mapping that pins this slot.
    pub(super) fn pin(self: &Arc<Self>) -> Bytes {
        Bytes::from_owner(Pin(Arc::clone(self)))
    }

    /// Whether the bytes may be served without verifying them now.
    pub(super) fn is_good(&self, checks: &Checks) -> bool {
        let now = checks.now();
        let verified = self.verified.load(Ordering::Acquire);
        if verified == 0 || now.saturating_sub(verified) >= checks.audit {
            return false;
        }
        let resident = self.resident.load(Ordering::Relaxed);
        if resident != 0 && now.saturating_sub(resident) < checks.residency {
            return true;
        }
        let in_memory = self
            .place
            .as_ref()
            .is_some_and(|place| place.is_resident(self.held.len));
        // Pages may be here because another reader has just begun to verify them; then the first
        // thing it did was to withdraw what we read above.
        if !in_memory || self.verified.load(Ordering::Acquire) != verified {
            return false;
        }
        self.resident.store(now, Ordering::Relaxed);
        true
    }

    pub(super) fn mark_verified(&self, now: Moment) {
        self.proved.store(true, Ordering::Relaxed);
        self.resident.store(now, Ordering::Relaxed);
        self.verified.store(now, Ordering::Release);
    }

    pub(super) fn is_proved(&self) -> bool {
        self.proved.load(Ordering::Relaxed)
    }

    /// In the whole pool.
    pub(super) fn number(&self) -> u32 {
        self.place.as_ref().map_or(u32::MAX, Place::number)
    }

    #[cfg(test)]
    pub(super) fn page_out(&self) {
        self.place.as_ref().unwrap().page_out();
    }

    pub(super) fn mark_unverified(&self) {
        self.verified.store(0, Ordering::SeqCst);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.free.lock().push_back(place);
        }
    }
}

/// What keeps a slot while bytes of it are on their way.
struct Pin(Arc<Slot>);

impl AsRef<[u8]> for Pin {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}
