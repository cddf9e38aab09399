//! The pipeline over a store in memory, which stands in for one that fails when told to.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use glimpse_cache::ManifestBuilder;
use glimpse_store::{Result as StoreResult, StoreError, Stored, Write, buffer::DIRECT_ALIGNMENT};
use http_body::{Body, Frame};
use parking_lot::Mutex;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    data::{
        hashes::{Algorithm, hex},
        pipeline::{Bounds, Broken, PIECE, Received, Room, TooSlow, WINDOW, receive},
    },
    format::{Inspector, Rules},
};

/// A body of given frames; what comes after them is the last item.
struct Frames {
    frames: VecDeque<Bytes>,
    end: End,
    next: Option<Pin<Box<tokio::time::Sleep>>>,
    given: Arc<AtomicU64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Clean,
    Cut,
    Silence,
    /// A byte now and then, for ever.
    Drip,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        match self.frames.pop_front() {
            Some(data) => {
                self.given.fetch_add(data.len() as u64, Ordering::SeqCst);
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            None => match self.end {
                End::Clean => Poll::Ready(None),
                End::Cut => Poll::Ready(Some(Err("connection reset"))),
                End::Silence => Poll::Pending,
                End::Drip => {
                    let soon = || Box::pin(tokio::time::sleep(Duration::from_millis(10)));
                    std::task::ready!(self.next.get_or_insert_with(soon).as_mut().poll(cx));
                    self.next = None;
                    self.given.fetch_add(1, Ordering::SeqCst);
                    Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
                }
            },
        }
    }
}

/// A store that keeps what it is given until `full_at`, one write per permit of `gate`.
#[derive(Clone)]
struct Memory {
    written: Arc<Mutex<Vec<Bytes>>>,
    full_at: usize,
    gate: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

impl Memory {
    fn new() -> Self {
        Self {
            written: Arc::default(),
            full_at: usize::MAX,
            gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            waiting: Arc::default(),
        }
    }
    fn content(&self) -> Vec<u8> {
        self.written.lock().concat()
    }
}

#[async_trait]
impl Write for Memory {
    async fn write(&mut self, data: Bytes) -> StoreResult<()> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        let mut written = self.written.lock();
        assert!(data.as_ptr().addr().is_multiple_of(DIRECT_ALIGNMENT));
        // A copy: the piece's memory is needed for the next.
        written.push(Bytes::copy_from_slice(&data));
        let len: usize = written.iter().map(Bytes::len).sum();
        if len > self.full_at {
            return Err(StoreError::Full);
        }
        Ok(())
    }
    async fn finish(self: Box<Self>) -> StoreResult<Stored> {
        unreachable!("the pipeline does not commit")
    }
    async fn abort(self: Box<Self>) -> StoreResult<()> {
        Ok(())
    }
}

/// Room for so many bytes.
struct Up(u64);

impl Room for Up {
    async fn reserve(&self, total: u64) -> Result<(), Broken> {
        match total <= self.0 {
            true => Ok(()),
            false => Err(Broken::Fault("no room".to_owned())),
        }
    }
}

struct Run {
    frames: Vec<Bytes>,
    end: End,
    declared: Option<u64>,
    cap: u64,
    idle: Duration,
    min_rate: u64,
    room: u64,
    algorithm: Algorithm,
    store: Memory,
    lost: CancellationToken,
    given: Arc<AtomicU64>,
}

impl Run {
    fn of(frames: Vec<Bytes>) -> Self {
        Self {
            frames,
            end: End::Clean,
            declared: None,
            cap: u64::MAX,
            idle: Duration::from_secs(60),
            min_rate: 1024,
            room: u64::MAX,
            algorithm: Algorithm::Sha512,
            store: Memory::new(),
            lost: CancellationToken::new(),
            given: Arc::default(),
        }
    }

    async fn go(self) -> Result<Received, Broken> {
        let mut body = Frames {
            frames: self.frames.into(),
            end: self.end,
            next: None,
            given: self.given,
        };
        let mut writer = self.store;
        let bounds = Bounds {
            declared: self.declared,
            cap: self.cap,
            idle: self.idle,
            min_rate: self.min_rate,
            window: WINDOW,
            algorithm: self.algorithm,
        };
        let inspector = Inspector::new(Rules {
            disk_format: "raw".to_owned(),
            // Not inspected.
            container_format: "docker".to_owned(),
            vmdk_allowed_types: Vec::new(),
            require_match: false,
            gpt_nonfatal: Vec::new(),
        });
        let room = Up(self.room);
        receive(&mut body, &mut writer, inspector, bounds, &room, &self.lost).await
    }
}

fn digest(algorithm: Algorithm, data: &[u8]) -> String {
    use sha2::Digest;
    match algorithm {
        Algorithm::Md5 => hex(&md5::Md5::digest(data)),
        Algorithm::Sha1 => hex(&sha1::Sha1::digest(data)),
        Algorithm::Sha224 => hex(&sha2::Sha224::digest(data)),
        Algorithm::Sha256 => hex(&sha2::Sha256::digest(data)),
        Algorithm::Sha384 => hex(&sha2::Sha384::digest(data)),
        Algorithm::Sha512 => hex(&sha2::Sha512::digest(data)),
    }
}

fn ten(length: usize) -> Vec<Bytes> {
    vec![Bytes::from(vec![7u8; length]); 10]
}

#[tokio::test]
async fn known_digests_come_out() {
    let empty = Run::of(Vec::new()).go().await.unwrap();
    assert_eq!(empty.size, 0);
    assert_eq!(empty.digests.md5, "d41d8cd98f00b204e9800998ecf8427e");
    assert_eq!(
        empty.digests.hash,
        "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce\
         47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"
    );
    let table = [
        (Algorithm::Md5, "900150983cd24fb0d6963f7d28e17f72"),
        (Algorithm::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
        (
            Algorithm::Sha224,
            "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7",
        ),
        (
            Algorithm::Sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
    ];
    for (algorithm, hash) in table {
        let mut run = Run::of(vec![Bytes::from_static(b"a"), Bytes::from_static(b"bc")]);
        run.algorithm = algorithm;
        let received = run.go().await.unwrap();
        assert_eq!(received.digests.md5, "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(received.digests.hash, hash);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn data_in_any_pieces_gives_the_digests_of_the_whole(seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let length = random.random_range(0..3_000_000usize);
        let mut data = vec![0u8; length];
        // Zero chunks now and then.
        if random.random_bool(0.8) {
            random.fill(data.as_mut_slice());
        }
        let data = Bytes::from(data);
        let longest = [100_000, PIECE, 2_000_000][random.random_range(0..3usize)];
        let mut frames = Vec::new();
        let mut at = 0;
        while at < length {
            let end = (at + random.random_range(0..longest)).min(length);
            frames.push(data.slice(at..end));
            at = end;
        }
        let algorithm = Algorithm::ALL[random.random_range(0..Algorithm::ALL.len())];
        let mut run = Run::of(frames);
        run.algorithm = algorithm;
        run.declared = random.random_bool(0.5).then_some(length as u64);
        let store = run.store.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let received = runtime.block_on(run.go()).unwrap();

        prop_assert_eq!(received.size, length as u64);
        prop_assert_eq!(received.digests.md5, digest(Algorithm::Md5, &data));
        prop_assert_eq!(received.digests.hash, digest(algorithm, &data));
        prop_assert!(store.content() == data, "the store has other bytes");
        let mut manifest = ManifestBuilder::new();
        manifest.update(&data);
        prop_assert!(received.digests.manifest == manifest.finish(), "another manifest");
    }
}

#[tokio::test]
async fn frames_of_any_size_reach_the_store_in_large_aligned_pieces() {
    let mut frames = vec![Bytes::from(vec![1u8; 1000]); 1000];
    frames.push(Bytes::from(vec![2u8; 2 * PIECE]));
    let run = Run::of(frames);
    let store = run.store.clone();
    run.go().await.unwrap();
    let written = store.written.lock();
    let (last, full) = written.split_last().unwrap();
    assert_eq!(last.len(), 1_000_000 % PIECE);
    assert_eq!(full.len(), 2);
    assert!(full.iter().all(|piece| piece.len() == PIECE));
}

#[tokio::test]
async fn a_body_that_is_not_as_declared_is_refused() {
    for (declared, end, more) in [
        (999, End::Clean, true),
        (0, End::Clean, true),
        (1001, End::Clean, false),
        (999, End::Silence, true),
    ] {
        let mut run = Run::of(ten(100));
        run.declared = Some(declared);
        run.end = end;
        let error = run.go().await.unwrap_err();
        assert!(
            matches!(error, Broken::WrongSize { more: got, .. } if got == more),
            "{declared}: {error}"
        );
    }
    let mut run = Run::of(ten(100));
    run.declared = Some(1000);
    assert_eq!(run.go().await.unwrap().size, 1000);
}

#[tokio::test]
async fn the_cap_holds_to_the_byte() {
    for (cap, fits) in [(1000, true), (999, false), (0, false)] {
        let mut run = Run::of(ten(100));
        run.cap = cap;
        match run.go().await {
            Ok(received) => assert!(fits && received.size == 1000),
            Err(error) => assert!(!fits && matches!(error, Broken::TooLarge { .. }), "{error}"),
        }
    }
}

#[tokio::test]
async fn a_cut_a_silence_a_loss_and_a_full_quota_end_it() {
    let mut cut = Run::of(ten(100));
    cut.end = End::Cut;
    let error = cut.go().await.unwrap_err();
    assert!(
        matches!(&error, Broken::Cut { received: 1000, cause } if cause == "connection reset"),
        "{error}"
    );

    let mut silent = Run::of(ten(100));
    silent.end = End::Silence;
    silent.idle = Duration::from_millis(10);
    let error = silent.go().await.unwrap_err();
    assert!(matches!(error, Broken::Idle(_)), "{error}");

    assert!(matches!(
        error,
        Broken::Idle(TooSlow::Silent(idle)) if idle == Duration::from_millis(10)
    ));

    let mut lost = Run::of(ten(100));
    lost.end = End::Silence;
    lost.lost.cancel();
    let error = lost.go().await.unwrap_err();
    assert!(matches!(error, Broken::Lost), "{error}");

    let mut poor = Run::of(ten(100));
    poor.room = 999;
    let error = poor.go().await.unwrap_err();
    assert_eq!(error.to_string(), "no room");
}

#[tokio::test]
async fn a_client_that_drips_is_cut() {
    const IDLE: Duration = Duration::from_secs(1);
    let mut drip = Run::of(ten(100));
    drip.end = End::Drip;
    drip.idle = IDLE;
    drip.min_rate = 1 << 20;
    drip.cap = 3000;
    let given = Arc::clone(&drip.given);
    let error = drip.go().await.unwrap_err();
    let Broken::Idle(TooSlow::Drip { bytes, time, .. }) = error else {
        panic!("{error}");
    };
    assert_eq!(bytes, given.load(Ordering::SeqCst));
    assert!(time >= IDLE && bytes > 1000, "{bytes} in {time:?}");

    // A burst counts for the time that it comes in, and for no other.
    let mut burst = Run::of(vec![Bytes::from(vec![1; 64 << 20])]);
    burst.end = End::Drip;
    burst.idle = IDLE;
    burst.min_rate = 1 << 20;
    burst.cap = (64 << 20) + 2000;
    let error = burst.go().await.unwrap_err();
    assert!(
        matches!(error, Broken::Idle(TooSlow::Drip { bytes, .. }) if bytes < 64 << 20),
        "{error}"
    );

    // As fast as asked is fast enough, and so is anything where nothing is asked.
    for min_rate in [0, 1] {
        let mut drip = Run::of(Vec::new());
        drip.end = End::Drip;
        drip.idle = IDLE;
        drip.min_rate = min_rate;
        drip.cap = 200;
        let error = drip.go().await.unwrap_err();
        assert!(matches!(error, Broken::TooLarge { .. }), "{error}");
    }
}

/// The time that the store takes is not the client's.
#[tokio::test]
async fn a_slow_store_makes_no_slow_client() {
    let mut run = Run::of(vec![Bytes::from(vec![1; PIECE]); 40]);
    run.idle = Duration::from_millis(100);
    run.min_rate = 1 << 40;
    run.store.gate = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&run.store.gate);
    let feeding = async move {
        for _ in 0..40 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            gate.add_permits(1);
        }
    };
    let (result, ()) = tokio::join!(run.go(), feeding);
    assert_eq!(result.unwrap().size, 40 * PIECE as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_ends_it_also_while_the_store_takes_nothing() {
    let mut run = Run::of(vec![Bytes::from(vec![1; PIECE]); 40]);
    run.store.gate = Arc::new(Semaphore::new(0));
    let (gate, given) = (Arc::clone(&run.store.gate), Arc::clone(&run.given));
    let (lost, written) = (run.lost.clone(), Arc::clone(&run.store.written));
    let waiting = Arc::clone(&run.store.waiting);
    let task = tokio::spawn(run.go());
    let deadline = Instant::now() + Duration::from_secs(30);
    while given.load(Ordering::SeqCst) < WINDOW as u64 || waiting.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < deadline, "the body is not read");
        tokio::task::yield_now().await;
    }
    lost.cancel();
    // The piece that the store is at is not dropped half done; no other follows.
    gate.add_permits(40);
    let error = task.await.unwrap().unwrap_err();
    assert!(matches!(error, Broken::Lost), "{error}");
    assert_eq!(written.lock().len(), 1);
}

#[tokio::test]
async fn a_store_that_fails_stops_the_reading() {
    let mut run = Run::of(vec![Bytes::from(vec![1; PIECE]); 400]);
    run.store.full_at = 2 * PIECE;
    let given = Arc::clone(&run.given);
    let error = run.go().await.unwrap_err();
    assert!(matches!(error, Broken::Store(StoreError::Full)), "{error}");
    let given = given.load(Ordering::SeqCst);
    assert!(given <= (WINDOW + 4 * PIECE) as u64, "{given} bytes read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_store_holds_the_client_back_within_the_window() {
    const FRAME: usize = 1 << 20;
    let mut run = Run::of(vec![Bytes::from(vec![1; FRAME]); 40]);
    run.store.gate = Arc::new(Semaphore::new(0));
    let (gate, given) = (Arc::clone(&run.store.gate), Arc::clone(&run.given));
    let waiting = Arc::clone(&run.store.waiting);
    let task = tokio::spawn(run.go());
    let deadline = Instant::now() + Duration::from_secs(30);
    // As many as fit come in while the store takes none ...
    while given.load(Ordering::SeqCst) < WINDOW as u64 || waiting.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < deadline, "the body is not read");
        tokio::task::yield_now().await;
    }
    // ... and, whatever the store does then, never more than the window and the frame at hand.
    for written in 1..=40u64 {
        gate.add_permits(1);
        while waiting.load(Ordering::SeqCst) as u64 <= written && written < 40 {
            assert!(Instant::now() < deadline, "the store gets nothing");
            let ahead = given.load(Ordering::SeqCst) - (written - 1) * FRAME as u64;
            assert!(ahead <= (WINDOW + 2 * FRAME) as u64, "{ahead} bytes ahead");
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(task.await.unwrap().unwrap().size, 40 * FRAME as u64);
}
