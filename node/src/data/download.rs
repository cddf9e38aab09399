//! Image data on its way out: the chunks of a range as one body.
//!
//! Bytes are slices of the cache's mapping and are never copied here. While one chunk goes to the
//! socket the next ones are fetched, within a bound. A chunk that cannot be had or proved ends the
//! body with an error: the connection breaks, and the client sees a broken transfer.

use std::{
    collections::VecDeque,
    future::Future,
    ops::Range,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use glimpse_cache::{CHUNK_SIZE, Cache, Cause, ChunkRef, Error, Found, Turn};
use http_body::{Body, Frame, SizeHint};
use tokio_util::task::AbortOnDropHandle;

use super::{
    manifests::Known,
    slots::Slot,
    source::{ChunkSource, Locations},
};
use crate::app::App;

/// Why chunks of one download were not at hand, for the log.
#[derive(Debug, Default)]
pub struct ChunkUse {
    asked: AtomicBool,
    missed: AtomicU32,
    /// Of [`CAUSES`].
    worst: AtomicU8,
}

/// `hit`: all were; `pending`: the answer ended before they came; then in the order of [`Cause`];
/// `failed`: one that was due could not be had.
const CAUSES: [&str; 9] = [
    "hit", "pending", "check", "shared", "absent", "evicted", "stale", "damaged", "failed",
];

impl ChunkUse {
    /// Chunks are asked for.
    pub(crate) fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// A chunk was not at hand.
    pub(crate) fn miss(&self) {
        self.missed.fetch_add(1, Ordering::Relaxed);
        self.worst.fetch_max(1, Ordering::Relaxed);
    }

    /// And this was why; `None`: it could not be had.
    pub(crate) fn because(&self, cause: Option<Cause>) {
        let cause = match cause {
            // Another's fill ended in between.
            Some(Cause::Hit) => Cause::Shared as u8 + 1,
            Some(cause) => cause as u8 + 1,
            None => CAUSES.len() as u8 - 1,
        };
        self.worst.fetch_max(cause, Ordering::Relaxed);
    }

    /// Whether nothing of the answer had to come from a store.
    fn is_hit(&self) -> bool {
        // Held, and verified first at most.
        self.worst.load(Ordering::Relaxed) <= Cause::Check as u8 + 1
    }

    /// The worst cause, one of `CAUSES`, and how many chunks were not at hand. None if none was
    /// asked for.
    pub fn seen(&self) -> Option<(&'static str, u32)> {
        if !self.asked.load(Ordering::Relaxed) {
            return None;
        }
        let missed = self.missed.load(Ordering::Relaxed);
        let worst = usize::from(self.worst.load(Ordering::Relaxed));
        Some((CAUSES.get(worst).copied().unwrap_or_default(), missed))
    }
}

type Fetch = Pin<Box<dyn Future<Output = Result<Found, Error>> + Send>>;

enum Chunk {
    Fetching(Fetch, Turn),
    Ready(Bytes),
    /// Failed before its turn. It is asked for again when its turn comes: what fails ahead (every
    /// slot of the cache in use, say) may go well then.
    Failed,
}

/// A range of an image as a body. It holds its download slot for as long as it lives.
pub struct ChunkBody {
    app: Arc<App>,
    known: Arc<Known>,
    locations: Arc<Locations>,
    chunks: Arc<ChunkUse>,
    /// What is still to be sent.
    range: Range<u64>,
    /// The chunk after the last of `queue`.
    next: u32,
    /// The chunk after the last of the range.
    end: u32,
    /// The chunks from the start of `range` on, as far as they were asked for.
    queue: VecDeque<Chunk>,
    /// The pool had no slot for the last chunk that came: nothing is fetched ahead.
    cramped: bool,
    /// The first chunk was there: an answer with a body has begun.
    begun: bool,
    failed: bool,
    _slot: Slot,
}

impl ChunkBody {
    /// A body for `range`, which must lie within the image. Nothing is fetched yet.
    pub fn new(
        app: Arc<App>,
        known: Arc<Known>,
        locations: Arc<Locations>,
        chunks: Arc<ChunkUse>,
        range: Range<u64>,
        slot: Slot,
    ) -> Self {
        let (next, end) = if range.is_empty() {
            (0, 0)
        } else {
            let last = chunk_index(range.end - 1);
            (chunk_index(range.start), last.saturating_add(1))
        };
        Self {
            app,
            known,
            locations,
            chunks,
            range,
            next,
            end,
            queue: VecDeque::new(),
            cramped: false,
            begun: false,
            failed: false,
            _slot: slot,
        }
    }

    /// Waits until the first chunk is there, so that what fails at once still gets a status.
    pub async fn first(&mut self) -> Result<(), Error> {
        if !self.range.is_empty() {
            self.chunks.ask();
            std::future::poll_fn(|cx| self.poll_front(cx))
                .await
                .inspect_err(|error| self.fail(error))?;
        }
        self.begun = true;
        self.app.data.counters.downloads.add(1);
        Ok(())
    }

    /// Brings the chunk at the start of the range to the front of the queue, ready, and meanwhile
    /// fetches ahead.
    fn poll_front(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match self.queue.front() {
            Some(Chunk::Fetching(..) | Chunk::Ready(_)) => {}
            Some(Chunk::Failed) => self.front_again(),
            None if self.next < self.end => {
                self.queue.push_back(self.chunk(self.next, Turn::Due));
                self.next += 1;
            }
            None => return Poll::Ready(Err(Error::BadManifest)),
        }
        let ahead = matches!(self.queue.front(), Some(Chunk::Fetching(_, Turn::Ahead)));
        let mut result = self.poll_due(cx);
        // It was fetched ahead, and its turn came before its failure.
        if ahead && matches!(result, Poll::Ready(Err(_))) {
            self.front_again();
            result = self.poll_due(cx);
        }
        for chunk in self.queue.iter_mut().skip(1) {
            poll_ahead(chunk, cx, &mut self.cramped);
        }
        let ahead = self.app.config.cache.read_ahead;
        while !self.cramped && self.next < self.end && self.queue.len() <= ahead {
            let mut chunk = self.chunk(self.next, Turn::Ahead);
            self.next += 1;
            poll_ahead(&mut chunk, cx, &mut self.cramped);
            self.queue.push_back(chunk);
        }
        result
    }

    /// Asks once more for the chunk at the front.
    fn front_again(&mut self) {
        let again = self.chunk(chunk_index(self.range.start), Turn::Due);
        self.queue.pop_front();
        self.queue.push_front(again);
    }

    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match self.queue.front_mut() {
            Some(front) => poll_chunk(front, cx, &mut self.cramped),
            None => Poll::Pending,
        }
    }

    fn chunk(&self, index: u32, turn: Turn) -> Chunk {
        let len = self.known.manifest.chunk_len(index);
        match self.known.manifest.chunk(index) {
            ChunkRef::Zero => {
                Chunk::Ready(Cache::zeros(usize::try_from(len).unwrap_or(usize::MAX)))
            }
            ChunkRef::Data(name) => {
                // The warm case: no source, no future.
                if let Some(bytes) = self.app.cache.get(name) {
                    return Chunk::Ready(bytes);
                }
                let offset = u64::from(index) * u64::from(CHUNK_SIZE);
                self.chunks.miss();
                let chunks = Arc::clone(&self.chunks);
                let locations = Arc::clone(&self.locations);
                let source = ChunkSource::new(Arc::clone(&self.app), locations, offset);
                let cache = Arc::clone(&self.app.cache);
                let fetch = async move {
                    let found = cache.chunk(name, len, Arc::new(source), turn).await;
                    if let Ok(found) = &found {
                        chunks.because(Some(found.cause));
                    }
                    found
                };
                let fetch: Fetch = match turn {
                    Turn::Due => Box::pin(fetch),
                    Turn::Ahead => Box::pin(by_itself(fetch)),
                };
                Chunk::Fetching(fetch, turn)
            }
        }
    }

    /// Takes the front chunk, which is ready, and gives the part of it that lies in the range.
    fn take(&mut self) -> Result<Bytes, Error> {
        let Some(Chunk::Ready(chunk)) = self.queue.pop_front() else {
            return Err(Error::BadManifest);
        };
        let expected = self.known.manifest.chunk_len(chunk_index(self.range.start));
        let part = within_chunk(&self.range, chunk.len());
        if chunk.len() as u64 != u64::from(expected) || part.is_empty() {
            return Err(Error::Damaged);
        }
        self.range.start += part.len() as u64;
        Ok(chunk.slice(part))
    }

    fn fail(&mut self, error: &Error) {
        self.failed = true;
        self.chunks.because(None);
        self.queue.clear();
        let (image, offset) = (self.locations.image(), self.range.start);
        let said = &self.app.data.said;
        if self.begun {
            self.app.data.counters.downloads_broken.add(1);
            if said.first(image, "broken off") {
                tracing::error!(image.id = %image, offset, %error, "download broken off");
            }
        } else if said.first(image, "not begun") {
            tracing::error!(
                image.id = %image,
                offset,
                %error,
                "download refused: its first chunk cannot be had"
            );
        }
    }
}

/// Lets a fetch go on while nobody polls it: whatever memory it has must not wait for a client that
/// takes nothing. It ends with its handle.
fn by_itself(
    fetch: impl Future<Output = Result<Found, Error>> + Send + 'static,
) -> impl Future<Output = Result<Found, Error>> + Send {
    let task = AbortOnDropHandle::new(tokio::spawn(fetch));
    async move {
        let ended = |_| Err(Error::Source("a fetch ahead did not end".into()));
        task.await.unwrap_or_else(ended)
    }
}

/// Moves a chunk on that is not needed yet. Without a slot for it nothing more is fetched ahead.
fn poll_ahead(chunk: &mut Chunk, cx: &mut Context<'_>, cramped: &mut bool) {
    let mut outside = false;
    if let Poll::Ready(Err(Error::NoRoom)) = poll_chunk(chunk, cx, &mut outside) {
        *cramped = true;
    }
}

/// Moves a chunk on; a failed one stays failed until it is replaced. One that has come now says
/// whether the pool had no slot for it.
fn poll_chunk(
    chunk: &mut Chunk,
    cx: &mut Context<'_>,
    outside: &mut bool,
) -> Poll<Result<(), Error>> {
    let Chunk::Fetching(fetch, _) = chunk else {
        return Poll::Ready(Ok(()));
    };
    fetch.as_mut().poll(cx).map(|result| match result {
        Ok(found) => {
            *outside = !found.pooled;
            *chunk = Chunk::Ready(found.bytes);
            Ok(())
        }
        Err(error) => {
            *chunk = Chunk::Failed;
            Err(error)
        }
    })
}

/// The chunk that holds the byte at `offset`.
fn chunk_index(offset: u64) -> u32 {
    u32::try_from(offset / u64::from(CHUNK_SIZE)).unwrap_or(u32::MAX)
}

/// The bytes of a chunk of `len` bytes that `range`, which starts in that chunk, wants of it.
fn within_chunk(range: &Range<u64>, len: usize) -> Range<usize> {
    let start = usize::try_from(range.start % u64::from(CHUNK_SIZE)).unwrap_or(usize::MAX);
    let wanted = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
    let end = start.saturating_add(wanted).min(len);
    start.min(end)..end
}

impl Body for ChunkBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if this.failed || this.range.is_empty() {
            return Poll::Ready(None);
        }
        let ready = match this.poll_front(cx) {
            Poll::Ready(result) => result,
            Poll::Pending => return Poll::Pending,
        };
        Poll::Ready(Some(match ready.and_then(|()| this.take()) {
            Ok(part) => {
                this.app.data.counters.download_bytes.add(part.len() as u64);
                Ok(Frame::data(part))
            }
            Err(error) => {
                this.fail(&error);
                Err(error)
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        !self.failed && self.range.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.range.end - self.range.start)
    }
}

impl Drop for ChunkBody {
    fn drop(&mut self) {
        if !self.begun {
            return;
        }
        if !self.failed && !self.range.is_empty() {
            self.app.data.counters.downloads_left.add(1);
        }
        let (image, now) = (self.locations.image(), self.app.registry.clock());
        self.app
            .data
            .cached
            .note_read(image, self.chunks.is_hit(), now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_parts_of_the_chunks_make_up_the_range(
            length in 1..(5 * u64::from(CHUNK_SIZE)),
            a: u64,
            b: u64,
        ) {
            let (a, b) = (a % length, b % length);
            let wanted = a.min(b)..a.max(b) + 1;
            let mut rest = wanted.clone();
            while !rest.is_empty() {
                let index = chunk_index(rest.start);
                let begin = u64::from(index) * u64::from(CHUNK_SIZE);
                let len = (length - begin).min(u64::from(CHUNK_SIZE));
                let part = within_chunk(&rest, usize::try_from(len).unwrap());
                prop_assert!(!part.is_empty());
                prop_assert_eq!(begin + part.start as u64, rest.start);
                prop_assert!(part.end as u64 <= len);
                rest.start += part.len() as u64;
                prop_assert!(rest.start <= wanted.end);
            }
            prop_assert_eq!(rest.start, wanted.end);
        }
    }

    #[test]
    fn a_short_chunk_gives_no_bytes_beyond_it() {
        let size = u64::from(CHUNK_SIZE);
        assert_eq!(within_chunk(&(10..20), 15), 10..15);
        assert!(within_chunk(&(10..20), 10).is_empty());
        assert!(within_chunk(&(10..20), 3).is_empty());
        assert_eq!(within_chunk(&(size + 1..size + 3), 1 << 20), 1..3);
    }
}
