//! Logs: human on a terminal, JSON otherwise, written by a thread of their own.
//!
//! Whoever logs only appends a line to a buffer in memory; a thread hands the buffer to standard
//! error. A reader of the log that does not keep up thus slows no request down: past the bound
//! (`log.buffer`) lines are dropped and counted (`log_dropped_lines_total`).

mod access;

use std::{
    io::{self, IsTerminal as _, Write},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use tracing::{Level, Metadata, level_filters::LevelFilter};
use tracing_subscriber::{filter::Targets, fmt::MakeWriter, layer::SubscriberExt as _, reload};

use crate::config::{LogConfig, LogFormat};

pub use access::{Access, AccessLog, access_log};

/// The target of the line that each request leaves.
pub const ACCESS: &str = "glimpse::access";

/// How long a line may wait in the buffer.
const FLUSH_EVERY: Duration = Duration::from_millis(100);

/// Lines dropped by all writers of this process, or lost on their way out.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Lines dropped since the process began.
pub fn dropped_lines() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Reads `log.level`: a level, or a list of `target=level` with perhaps a level for the rest.
pub fn parse_level(text: &str) -> Result<Targets, String> {
    if text.trim().is_empty() {
        return Err("must not be empty".to_owned());
    }
    // `Targets` takes any word for a target, so a misspelt level would mean "everything of that
    // target".
    for part in text.split(',') {
        let level = part
            .rsplit_once('=')
            .map_or(part, |(_, level)| level)
            .trim();
        let word = !level.is_empty() && level.bytes().all(|c| c.is_ascii_alphabetic());
        if !word || level.parse::<LevelFilter>().is_err() {
            return Err(format!(
                "{level:?} is no level: off, error, warn, info, debug or trace"
            ));
        }
    }
    text.parse()
        .map_err(|_| format!("{text:?} is not understood"))
}

/// Sets the logs of this process up. Dropping the guard writes what is buffered. A second call in
/// one process keeps the first's set-up.
pub fn start(config: &LogConfig) -> Result<Guard, String> {
    let human = match config.format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => io::stderr().is_terminal(),
    };
    let filter = filter(config)?;
    let accesses = filter.would_enable(ACCESS, &Level::INFO);
    let (writer, guard) = Writer::start(config.buffer, io::stderr());
    let shared = Arc::clone(&writer.0);
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let set = if human {
        let layer = layer.with_ansi(io::stderr().is_terminal());
        tracing::subscriber::set_global_default(registry.with(layer))
    } else {
        let layer = layer.json().flatten_event(true).with_current_span(false);
        tracing::subscriber::set_global_default(registry.with(layer))
    };
    if set.is_err() {
        tracing::debug!("the logs of this process are set up already");
    } else {
        access::set(shared, human, accesses);
        let _: Result<(), _> = FILTER.set(handle);
    }
    Ok(guard)
}

/// What of the events is written, of `log.level` and `log.access`.
fn filter(config: &LogConfig) -> Result<Targets, String> {
    let filter = parse_level(&config.level)?;
    Ok(match config.access {
        true => filter,
        false => filter.with_target(ACCESS, LevelFilter::OFF),
    })
}

/// The filter of this process.
static FILTER: OnceLock<reload::Handle<Targets, tracing_subscriber::Registry>> = OnceLock::new();

/// Takes `log.level` and `log.access` from now on, where they are in order.
pub fn change(config: &LogConfig) {
    if let (Ok(filter), Some(handle)) = (filter(config), FILTER.get()) {
        access_log().switch(filter.would_enable(ACCESS, &Level::INFO));
        // It fails only where the logs are gone.
        let _ = handle.reload(filter);
    }
}

#[derive(Default)]
struct Buffer {
    lines: Vec<u8>,
    /// Write at once.
    urgent: bool,
    stopping: bool,
    /// The thread is writing lines that it took out.
    writing: bool,
}

struct Shared {
    buffer: Mutex<Buffer>,
    /// To the thread: there is something urgent. From the thread: it has written.
    changed: Condvar,
    bound: usize,
}

impl Shared {
    fn new(bound: usize) -> Self {
        Self {
            buffer: Mutex::default(),
            changed: Condvar::new(),
            bound,
        }
    }

    /// Appends the line that `write` appends.
    fn append_with(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut buffer = self.buffer.lock();
        let before = buffer.lines.len();
        if before < self.bound {
            write(&mut buffer.lines);
            if buffer.lines.len() <= self.bound {
                return;
            }
            buffer.lines.truncate(before);
        }
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }

    fn append(&self, line: &[u8], urgent: bool) {
        let mut buffer = self.buffer.lock();
        if buffer.lines.len() + line.len() > self.bound {
            DROPPED.fetch_add(1, Ordering::Relaxed);
            return;
        }
        buffer.lines.extend_from_slice(line);
        if urgent && !buffer.urgent {
            buffer.urgent = true;
            self.changed.notify_all();
        }
    }
}

/// Where the formatted lines go.
#[derive(Clone)]
struct Writer(Arc<Shared>);

impl Writer {
    fn start(bound: usize, sink: impl Write + Send + 'static) -> (Self, Guard) {
        let shared = Arc::new(Shared::new(bound));
        let thread = std::thread::Builder::new().name("log".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || write_out(&shared, sink)
        });
        let guard = Guard {
            shared: Arc::clone(&shared),
            // Without a thread (the machine has none to give) nothing is ever logged.
            thread: thread.ok(),
        };
        (Self(shared), guard)
    }
}

fn write_out(shared: &Shared, mut sink: impl Write) {
    let mut lines = Vec::new();
    loop {
        let stopping = {
            let mut buffer = shared.buffer.lock();
            if !buffer.urgent && !buffer.stopping {
                shared.changed.wait_for(&mut buffer, FLUSH_EVERY);
            }
            std::mem::swap(&mut lines, &mut buffer.lines);
            buffer.urgent = false;
            buffer.writing = !lines.is_empty();
            buffer.stopping
        };
        if !lines.is_empty() {
            // A broken standard error leaves nobody to tell but the metric.
            let lost = unwritten(&mut sink, &lines);
            DROPPED.fetch_add(lost, Ordering::Relaxed);
            lines.clear();
            shared.buffer.lock().writing = false;
            shared.changed.notify_all();
        } else if stopping {
            return;
        }
    }
}

/// Writes lines; gives how many did not get out whole.
fn unwritten(sink: &mut impl Write, mut lines: &[u8]) -> u64 {
    while !lines.is_empty() {
        match sink.write(lines) {
            Ok(count) if count > 0 => lines = lines.get(count..).unwrap_or_default(),
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => break,
        }
    }
    // What is flushed cannot be told apart any more; standard error has no buffer.
    let _ = sink.flush();
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// One event's line.
struct Line<'a> {
    shared: &'a Shared,
    urgent: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.shared.append(line, self.urgent);
        Ok(line.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Writer {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            shared: &self.0,
            urgent: false,
        }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        Line {
            shared: &self.0,
            urgent: *metadata.level() <= Level::WARN,
        }
    }
}

/// Writes what is buffered when it is dropped.
pub struct Guard {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Guard {
    /// Waits until what has been logged so far is written, at most `patience`.
    pub fn flush(&self, patience: Duration) {
        if self.thread.is_none() {
            return;
        }
        let mut buffer = self.shared.buffer.lock();
        buffer.urgent = true;
        self.shared.changed.notify_all();
        let deadline = std::time::Instant::now() + patience;
        while buffer.writing || !buffer.lines.is_empty() {
            if self
                .shared
                .changed
                .wait_until(&mut buffer, deadline)
                .timed_out()
            {
                return;
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.flush(Duration::from_secs(5));
        self.shared.buffer.lock().stopping = true;
        self.shared.changed.notify_all();
        // A thread that is stuck in a full pipe must not keep the process from its end.
        if let Some(thread) = self.thread.take()
            && !self.shared.buffer.lock().writing
        {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sink that shows what it was given, once it is let go.
    #[derive(Clone, Default)]
    struct Sink(Arc<(Mutex<Vec<u8>>, Mutex<()>)>);

    impl Write for Sink {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            let _gate = self.0.1.lock();
            self.0.0.lock().extend_from_slice(data);
            Ok(data.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn everything_logged_is_written_before_the_guard_is_gone() {
        let sink = Sink::default();
        let (writer, guard) = Writer::start(1 << 20, sink.clone());
        for number in 0..1000 {
            writer.0.append(format!("{number}\n").as_bytes(), false);
        }
        drop(guard);
        let written = String::from_utf8(sink.0.0.lock().clone()).unwrap();
        assert_eq!(written.lines().count(), 1000);
        assert!(written.starts_with("0\n1\n") && written.ends_with("999\n"));
    }

    #[test]
    fn a_reader_that_is_stuck_costs_lines_and_no_memory() {
        let sink = Sink::default();
        let (writer, guard) = Writer::start(1000, sink.clone());
        let before = dropped_lines();
        let gate = sink.0.1.lock();
        for _ in 0..1000 {
            writer.0.append(b"0123456789\n", true);
            assert!(writer.0.buffer.lock().lines.len() <= 1000);
        }
        let dropped = dropped_lines() - before;
        drop(gate);
        drop(guard);
        let written = sink.0.0.lock().len() as u64 / 11;
        assert!(dropped > 0);
        assert_eq!(written + dropped, 1000);
    }

    /// Takes so many bytes, then its reader is gone.
    struct Closing(usize);

    impl Write for Closing {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let count = data.len().min(self.0);
            self.0 -= count;
            Ok(count)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_find_no_reader_are_counted() {
        for (taken, lost) in [(0, 3), (3, 2), (4, 2), (9, 0), (99, 0)] {
            assert_eq!(
                unwritten(&mut Closing(taken), b"a1\nb2\nc3\n"),
                lost,
                "{taken}"
            );
        }
    }

    #[test]
    fn levels_are_words_and_misspelt_ones_are_refused() {
        for good in ["info", "warn,glimpse_registry=debug", "off", "TRACE"] {
            assert!(parse_level(good).is_ok(), "{good}");
        }
        for bad in ["", "inof", "info,glimpse=loud", "3", "glimpse="] {
            assert!(parse_level(bad).is_err(), "{bad}");
        }
    }
}
