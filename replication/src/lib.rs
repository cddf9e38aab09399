//! A Raft group over raft-rs that knows nothing of images.
//!
//! It takes opaque commands, makes them durable in one append-only log (one fdatasync per group of
//! commands), replicates them, and applies them in order to a [`StateMachine`]. A group of one
//! voter runs exactly as a group of three: there is no shortcut for a single node.
//!
//! The way of a command: [`Handle::propose`] → the inbox → the Raft thread (`driver`) → [`core`] →
//! Raft → one frame of the `log`, durable → committed → [`StateMachine::apply`] → the answer. A
//! read is a round of ReadIndex (`read`), shared by all who wait. `ready` has the order of it all.
//!
//! Time, disk and network reach this crate through seams ([`Clock`], [`disk::Disk`],
//! [`transport::Transport`]), so that a whole cluster can run in one thread from one seed.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

pub mod core;
pub mod disk;
mod driver;
mod election;
mod handle;
mod inbox;
mod log;
mod logger;
mod proposals;
pub mod random;
mod read;
mod ready;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod transport;

pub use crate::{
    handle::{Handle, start},
    log::{LOG_FORMAT, found_format as found_log_format},
};

/// A position in the replicated log. The first entry is 1; 0 means "nothing yet".
pub type LogIndex = u64;

/// The source of time of this crate and those above it.
pub trait Clock: Send + Sync + 'static {
    /// Time since an arbitrary fixed point; never goes backwards.
    fn monotonic(&self) -> Duration;
    /// Time since the Unix epoch; may jump.
    fn wall(&self) -> Duration;
}

/// One committed command, as handed to [`StateMachine::apply`].
#[derive(Debug, Clone)]
pub struct Committed {
    /// Where it stands in the log.
    pub index: LogIndex,
    /// The command as it was proposed. Empty for entries that Raft itself wrote: the machine
    /// only notes the index.
    pub command: Bytes,
}

/// The local disk or the program failed while applying: the node must stop before the entry
/// counts as applied. (A command that is *refused* is not a fault but an outcome.)
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what}: {cause}")]
pub struct Fault {
    /// What was being done.
    pub what: &'static str,
    /// Why it failed.
    pub cause: String,
}

/// What the group replicates to. Owned by the Raft thread; every call comes from there.
pub trait StateMachine: Send + 'static {
    /// The answer to one command: an outcome or a rejection, the same on every node.
    type Outcome: Send + 'static;

    /// Applies `entries` in order, all or nothing, in one transaction that also records the index
    /// of the last one. Returns one outcome per entry, in order. Not necessarily durable: after a
    /// crash the log is replayed from [`StateMachine::durable_index`].
    fn apply(&mut self, entries: &[Committed]) -> Result<Vec<Self::Outcome>, Fault>;

    /// The index of the last entry applied, durable or not.
    fn applied_index(&self) -> LogIndex;

    /// The index of the last entry that survives a power cut now. The log is cut only below it.
    fn durable_index(&self) -> LogIndex;

    /// Makes everything applied so far durable and returns the new durable index.
    fn checkpoint(&mut self) -> Result<LogIndex, Fault>;

    /// The whole state at the applied index, for a follower that is too far behind.
    fn snapshot(&mut self) -> Result<Vec<u8>, Fault>;

    /// Replaces the whole state by a snapshot taken at `index`; durable on return.
    fn restore(&mut self, index: LogIndex, snapshot: &[u8]) -> Result<(), Fault>;
}

/// Why a proposal or a linearizable read has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unavailable {
    /// The queue to the Raft thread is at its bound; try again later.
    #[error("the registry is overloaded")]
    Overloaded,
    /// No leader is known, or the one that had the proposal lost its place: a proposal was not
    /// applied and will not be.
    #[error("the registry has no leader")]
    NoLeader,
    /// The disk of the log is full; nothing was applied.
    #[error("the disk of the registry is full")]
    Full,
    /// No answer came in time. A proposal may still be applied later.
    #[error("the registry did not answer in time")]
    Timeout,
    /// The command is larger than [`Config::max_command_bytes`].
    #[error("the command is too large ({size} bytes, at most {limit})")]
    TooLarge {
        /// Bytes of the command.
        size: usize,
        /// The bound.
        limit: usize,
    },
    /// The node is stopping, or stopped on a fault.
    #[error("the registry has stopped: {0}")]
    Stopped(Arc<str>),
}

/// Settings of the group; every queue and batch has its bound here.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node's never-reused raft id; not 0.
    pub raft_id: u64,
    /// Whether a group of this one voter may be begun where there is no log. Once a group was begun
    /// this is false for good: a log that is missing then is lost, and so are acknowledged writes.
    pub bootstrap: bool,
    /// Length of one Raft tick.
    pub tick: Duration,
    /// Ticks without a leader before an election.
    pub election_ticks: usize,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: usize,
    /// Proposals and reads that may wait for the Raft thread; one more is refused as overloaded.
    pub queue: usize,
    /// Commands that share one fsync at most.
    pub max_batch: usize,
    /// Bytes of commands that share one fsync at most.
    pub max_batch_bytes: usize,
    /// Largest single command.
    pub max_command_bytes: usize,
    /// How long a proposal or read waits for its answer.
    pub timeout: Duration,
    /// Bytes of log since the last checkpoint that cause the next one. What is written since is in
    /// memory as well.
    pub checkpoint_bytes: u64,
    /// Time since the last checkpoint that causes the next one (if anything was applied).
    pub checkpoint_interval: Duration,
    /// Entries kept in the log below the durable index at most, for slow followers. A group whose
    /// only member is this node keeps none.
    pub keep_entries: u64,
    /// Bytes of those entries at most. They are in memory as well.
    pub keep_bytes: u64,
    /// Size of one log segment; preallocated.
    pub segment_bytes: u64,
}

/// The seams through which the world reaches the group.
pub struct Seams {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where randomness comes from: the times of elections and the id of a new log are drawn from
    /// it. Another one at every start.
    pub seed: u64,
    /// Where the log lives.
    pub disk: Arc<dyn disk::Disk>,
    /// How messages reach the peers. May drop, never blocks.
    pub transport: Box<dyn transport::Transport>,
}

/// Why a group does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log cannot be read or written.
    #[error("log: {0}")]
    Io(#[from] std::io::Error),
    /// The log is damaged in a place where no power cut can damage it: acknowledged writes may be
    /// lost, so nothing is touched.
    #[error("the log is damaged: {0}")]
    Damaged(String),
    /// The log is of a format that this program does not know; untouched.
    #[error("log format version {found} is unknown (this program knows {known})")]
    Format {
        /// On disk.
        found: u32,
        /// Known.
        known: u32,
    },
    /// A setting that Raft cannot work with.
    #[error("settings of the group: {0}")]
    Config(String),
    /// The machine failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// What a group says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Raft term.
    pub term: u64,
    /// Raft id of the leader; 0: none known.
    pub leader: u64,
    /// Whether this node leads.
    pub leads: bool,
    /// Committed up to here.
    pub committed: LogIndex,
    /// Applied up to here.
    pub applied: LogIndex,
    /// Durable in the machine up to here.
    pub durable: LogIndex,
    /// First index still in the log.
    pub first: LogIndex,
    /// The disk is as good as full: there is no room for the next segment, or less than a segment
    /// or a checkpoint is left beside it. Who proposes should only propose what frees room; once the
    /// current segment is all but full, everything is refused ([`Unavailable::Full`]).
    pub tight: bool,
    /// Why it has stopped, if it has.
    pub stopped: Option<String>,
}
