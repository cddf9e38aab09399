//! The bytes of one upload on their way: body → inspector → hashes and store, side by side.
//!
//! What is under way (read, but not yet hashed and stored) is bounded in bytes by a window; the
//! slowest consumer holds the client back through TCP. Nothing is committed here: the writer comes
//! back unfinished, or is aborted.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use glimpse_store::{
    StoreError, Write,
    buffer::{BLOCK, Buffer, Buffers, DIRECT_ALIGNMENT},
};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::hashes::{Algorithm, Digests, Hashers};
use crate::format::{Inspector, Refused, Verdict};

/// Bytes of one upload under way at most, where `limits.upload_window` says nothing else.
pub const WINDOW: usize = 4 << 20;

/// What hashes and store get at once, where the window is wide enough for four of them. No
/// key: it is what the store writes best.
pub const PIECE: usize = BLOCK;

/// The window in pieces, at least: one fills, one is hashed, one is stored, one waits.
const PIECES: usize = 4;

/// What may come in.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The size that the client announced.
    pub declared: Option<u64>,
    /// `limits.image_size_cap`
    pub cap: u64,
    /// `limits.upload_idle_timeout`
    pub idle: Duration,
    /// `limits.upload_min_rate`
    pub min_rate: u64,
    /// `limits.upload_window`
    pub window: usize,
    /// `api.hashing_algorithm`
    pub algorithm: Algorithm,
}

/// Room for bytes of unknown number: the quota. A trait so that the pipeline runs without a registry.
pub trait Room {
    /// Makes sure that `total` bytes are reserved.
    fn reserve(&self, total: u64) -> impl Future<Output = Result<(), Broken>> + Send;
}

/// Everything arrived and may be kept.
#[derive(Debug)]
pub struct Received {
    /// Bytes.
    pub size: u64,
    /// What the data is.
    pub verdict: Verdict,
    /// Hashes and chunk names.
    pub digests: Digests,
}

/// A client that holds an upload up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooSlow {
    /// `limits.upload_idle_timeout`
    #[error("no data arrived for {0:?}")]
    Silent(Duration),
    /// `limits.upload_min_rate`
    #[error("only {bytes} bytes arrived within {time:?}; at least {min_rate} in a second must")]
    Drip {
        /// That came,
        bytes: u64,
        /// in this time.
        time: Duration,
        /// Bytes per second.
        min_rate: u64,
    },
}

/// Why the data did not arrive whole, or must not be kept.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The client sent less or more than it had announced: 400.
    #[error("the size of the data is not the declared size of {declared} bytes (received {received}{})", if *.more { " and more" } else { "" })]
    WrongSize {
        /// Announced.
        declared: u64,
        /// Arrived.
        received: u64,
        /// Cut off there.
        more: bool,
    },
    /// Over the cap: 413.
    #[error("the image exceeds the largest allowed size of {cap} bytes")]
    TooLarge {
        /// `limits.image_size_cap`
        cap: u64,
    },
    /// Not what it was declared, or unsafe: 415.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The connection broke.
    #[error("the upload was cut off after {received} bytes: {cause}")]
    Cut {
        /// Arrived.
        received: u64,
        /// As the connection says.
        cause: String,
    },
    /// Nothing came for too long, or too little: 408.
    #[error(transparent)]
    Idle(#[from] TooSlow),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry refused more room or has given the upload up.
    #[error(transparent)]
    Registry(#[from] glimpse_registry::Error),
    /// The image was deleted, or the lease lost, while data came in.
    #[error("the image was deleted during the upload")]
    Lost,
    /// The node failed.
    #[error("{0}")]
    Fault(String),
}

/// Moves a whole body past inspector and hashes into `writer`. `lost` breaks it off.
///
/// The body is borrowed: after an early end the caller may drain what is left of it.
pub async fn receive<B>(
    body: &mut B,
    writer: &mut dyn Write,
    mut inspector: Inspector,
    bounds: Bounds,
    room: &impl Room,
    lost: &CancellationToken,
) -> Result<Received, Broken>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let hashers = Hashers::start(bounds.algorithm)
        .map_err(|error| Broken::Fault(format!("cannot start hash threads: {error}")))?;
    let buffers = buffers(&bounds);
    let (pieces, mut queue) = mpsc::channel::<Bytes>(PIECES);
    let mut store_error = None;

    let writing = async {
        while let Some(piece) = queue.recv().await {
            if lost.is_cancelled() {
                break;
            }
            if let Err(error) = writer.write(piece).await {
                store_error = Some(error);
                // Closes the queue, which ends the reading.
                break;
            }
        }
        drop(queue);
    };
    // Also while it waits for the store or the registry.
    let reading = lost.run_until_cancelled(async {
        let mut out = Out {
            buffers,
            filling: None,
            hashers,
            pieces,
        };
        let size = intake(body, &mut inspector, bounds, room, &mut out).await?;
        out.flush().await?;
        Ok::<_, Broken>((size, out.hashers))
    });
    let (read, ()) = tokio::join!(reading, writing);
    // First, since the one may have failed because the other has ended for this.
    if lost.is_cancelled() {
        return Err(Broken::Lost);
    }
    if let Some(error) = store_error {
        return Err(error.into());
    }
    let (size, hashers) = read.unwrap_or(Err(Broken::Lost))?;
    let verdict = inspector.finish()?;
    let digests = hashers
        .finish()
        .await
        .map_err(|error| Broken::Fault(error.to_string()))?;
    Ok(Received {
        size,
        verdict,
        digests,
    })
}

/// Reads the body to its end and gives its size.
async fn intake<B>(
    body: &mut B,
    inspector: &mut Inspector,
    bounds: Bounds,
    room: &impl Room,
    out: &mut Out,
) -> Result<u64, Broken>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut received = 0u64;
    let mut pace = Pace::default();
    loop {
        let asked = Instant::now();
        let frame = tokio::time::timeout(bounds.idle, body.frame()).await;
        let waited = asked.elapsed();
        let data = match frame {
            Err(_) => return Err(TooSlow::Silent(bounds.idle).into()),
            Ok(None) => break,
            Ok(Some(Err(error))) => {
                return Err(Broken::Cut {
                    received,
                    cause: error.to_string(),
                });
            }
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => data,
                // Trailers say nothing that is asked for.
                Err(_) => continue,
            },
        };
        received = received.saturating_add(data.len() as u64);
        pace.check(waited, data.len() as u64, &bounds)?;
        if let Some(declared) = bounds.declared.filter(|declared| received > *declared) {
            return Err(Broken::WrongSize {
                declared,
                received: declared,
                more: true,
            });
        }
        if received > bounds.cap {
            return Err(Broken::TooLarge { cap: bounds.cap });
        }
        room.reserve(received).await?;
        inspector.update(&data)?;
        out.push(data).await?;
    }
    match bounds.declared.filter(|declared| received != *declared) {
        Some(declared) => Err(Broken::WrongSize {
            declared,
            received,
            more: false,
        }),
        None => Ok(received),
    }
}

/// What came while the client was waited for. Time that goes to the store or the registry is not
/// the client's.
#[derive(Default)]
struct Pace {
    bytes: u64,
    time: Duration,
}

impl Pace {
    /// Averages over as long as a client may be silent.
    fn check(&mut self, waited: Duration, bytes: u64, bounds: &Bounds) -> Result<(), TooSlow> {
        self.bytes = self.bytes.saturating_add(bytes);
        self.time = self.time.saturating_add(waited);
        if self.time < bounds.idle {
            return Ok(());
        }
        let Self { bytes, time } = std::mem::take(self);
        let least = u128::from(bounds.min_rate) * time.as_millis();
        match u128::from(bytes) * 1000 < least {
            true => Err(TooSlow::Drip {
                bytes,
                time,
                min_rate: bounds.min_rate,
            }),
            false => Ok(()),
        }
    }
}

/// As many as the window holds; smaller ones where it is narrow or the data is announced as small.
fn buffers(bounds: &Bounds) -> Buffers {
    let longest = (bounds.window / PIECES).min(PIECE);
    let size = match bounds.declared.map(usize::try_from) {
        Some(Ok(declared)) => longest.min(declared),
        _ => longest,
    };
    let size = size.max(1).next_multiple_of(DIRECT_ALIGNMENT);
    Buffers::new((bounds.window / size).max(PIECES), size)
}

/// The way out of the intake: collects frames in buffers, and hands each full one to the hash
/// threads and the store. Where no buffer is free, it waits for the slowest of them.
struct Out {
    buffers: Buffers,
    filling: Option<Buffer>,
    hashers: Hashers,
    pieces: mpsc::Sender<Bytes>,
}

impl Out {
    async fn push(&mut self, mut data: Bytes) -> Result<(), Broken> {
        while !data.is_empty() {
            let mut buffer = match self.filling.take() {
                Some(buffer) => buffer,
                None => self.buffers.take().await,
            };
            buffer.fill(&mut data);
            match buffer.is_full() {
                true => self.send(buffer).await?,
                false => self.filling = Some(buffer),
            }
        }
        Ok(())
    }

    /// Sends what is left in the last buffer.
    async fn flush(&mut self) -> Result<(), Broken> {
        match self.filling.take() {
            Some(buffer) => self.send(buffer).await,
            None => Ok(()),
        }
    }

    async fn send(&self, buffer: Buffer) -> Result<(), Broken> {
        let piece = buffer.freeze();
        let hashed = self.hashers.update(&piece).await;
        hashed.map_err(|error| Broken::Fault(error.to_string()))?;
        let stored = self.pieces.send(piece).await;
        stored.map_err(|_| Broken::Fault("the store has stopped".to_owned()))
    }
}
