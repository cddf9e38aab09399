//! The group without thread, clock or sleep: input goes in, [`Core::step`] does what follows from
//! it, answers and messages come out. The driver runs one on a thread; a simulation runs several
//! in one thread, from one seed. Time is a number of ticks.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use protobuf::Message as _;
use raft::{
    ProgressState, RawNode, SnapshotStatus, StateRole,
    eraftpb::{Entry, Message, MessageType, Snapshot},
};

use crate::{
    Config, Fault, LogIndex, StartError, StateMachine, Status, Unavailable,
    disk::Disk,
    election::Timeouts,
    log::{Log, Options},
    logger,
    proposals::{Answer, Origin, Proposals},
    random::Random,
    read::Reads,
    transport::{self, Transport},
};

/// Append messages under way to one follower.
const MAX_INFLIGHT: usize = 256;
/// Rounds of elections that a made snapshot is kept for followers, and that a sent one may take
/// before it counts as lost.
const SNAPSHOT_ELECTIONS: u64 = 3;

/// One member of a group, driven from outside.
pub struct Core<M: StateMachine> {
    pub(crate) config: Config,
    pub(crate) raw: RawNode<Log>,
    pub(crate) machine: M,
    pub(crate) transport: Box<dyn Transport>,
    pub(crate) proposals: Proposals<M::Outcome>,
    pub(crate) reads: Reads,
    timeouts: Timeouts,
    /// Ticks since the start.
    now: u64,
    checkpoint: Checkpoint,
    /// The disk is as good as full; see [`Status::tight`].
    tight: bool,
    /// Whether the disk is to be looked at, which a tick or a new segment causes.
    look: bool,
    /// When the snapshot that lies ready was made.
    snapshot_made: Option<u64>,
    /// When snapshots were sent, and to whom.
    pub(crate) snapshots_sent: BTreeMap<u64, u64>,
}

/// When the last checkpoint was.
struct Checkpoint {
    tick: u64,
    written: u64,
    durable: LogIndex,
}

/// What a core is made of.
pub struct Parts<M> {
    /// Settings.
    pub config: Config,
    /// Where the log lives.
    pub disk: Arc<dyn Disk>,
    /// How messages reach the peers.
    pub transport: Box<dyn Transport>,
    /// What the group replicates to.
    pub machine: M,
    /// Raft ids of the members, should the log have to be made. The same on each of them.
    pub voters: Vec<u64>,
    /// Of every random choice.
    pub seed: u64,
}

fn ticks(time: Duration, tick: Duration) -> u64 {
    let ticks = time.as_nanos().div_ceil(tick.as_nanos().max(1));
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// With one of these at zero nothing would ever be done, and nobody would be told.
fn check(config: &Config) -> Result<(), StartError> {
    let bounds = [
        ("tick", config.tick.is_zero()),
        ("queue", config.queue == 0),
        ("max_batch", config.max_batch == 0),
        ("max_batch_bytes", config.max_batch_bytes == 0),
        ("segment_bytes", config.segment_bytes == 0),
    ];
    match bounds.iter().find(|(_, is_zero)| *is_zero) {
        Some((name, _)) => Err(StartError::Config(format!("{name} is zero"))),
        None => Ok(()),
    }
}

fn raft_config(config: &Config, applied: LogIndex) -> raft::Config {
    raft::Config {
        id: config.raft_id,
        election_tick: config.election_ticks,
        heartbeat_tick: config.heartbeat_ticks,
        max_election_tick: config.election_ticks.saturating_mul(2),
        applied,
        max_size_per_msg: config.max_batch_bytes as u64,
        max_committed_size_per_ready: config.max_batch_bytes as u64,
        max_inflight_msgs: MAX_INFLIGHT,
        check_quorum: true,
        pre_vote: true,
        ..raft::Config::default()
    }
}

impl<M: StateMachine> Core<M> {
    /// Opens the log and replays what the machine lacks of it. A sole member leads on return, and
    /// everything in its log is applied.
    pub fn new(parts: Parts<M>) -> Result<Self, StartError> {
        let Parts {
            config,
            disk,
            transport,
            machine,
            voters,
            seed,
        } = parts;
        check(&config)?;
        let mut random = Random::new(seed);
        let applied = machine.applied_index();
        let raft_config = raft_config(&config, applied);
        raft_config
            .validate()
            .map_err(|error| StartError::Config(error.to_string()))?;
        let options = Options {
            segment_bytes: config.segment_bytes,
            applied,
            voters: &voters,
            id: random.next_u64(),
        };
        let log = Log::open(disk, &options)?;
        let origin = Origin {
            raft_id: config.raft_id,
            run: log.run(),
        };
        let raw = RawNode::new(&raft_config, log, &logger::logger())
            .map_err(|error| StartError::Config(error.to_string()))?;
        let mut core = Self {
            checkpoint: Checkpoint {
                tick: 0,
                written: 0,
                durable: machine.durable_index(),
            },
            config,
            raw,
            machine,
            transport,
            proposals: Proposals::new(origin),
            reads: Reads::new(origin),
            timeouts: Timeouts::new(random.next_u64()),
            now: 0,
            tight: false,
            look: true,
            snapshot_made: None,
            snapshots_sent: BTreeMap::new(),
        };
        core.step()?;
        // Nobody else could become leader meanwhile: there is nothing to wait for.
        if core.is_sole_voter() {
            core.raw
                .campaign()
                .map_err(|error| StartError::Config(error.to_string()))?;
            core.step()?;
        }
        Ok(core)
    }

    /// Whether there is no other member, not even a learner.
    fn is_alone(&self) -> bool {
        let mut members = self.raw.raft.prs().iter();
        members.all(|(id, _)| *id == self.config.raft_id)
    }

    fn is_sole_voter(&self) -> bool {
        let voters = self.raw.raft.prs().conf().voters();
        voters.ids().iter().eq([self.config.raft_id])
    }

    fn deadline(&self) -> u64 {
        let patience = ticks(self.config.timeout, self.config.tick);
        self.now.saturating_add(patience.max(1))
    }

    /// Takes a command. It is held until there is a leader; the answer comes once it is applied
    /// here. [`Unavailable::NoLeader`] means that it will surely not be applied;
    /// [`Unavailable::Timeout`], that it may have been, or may be.
    pub fn propose(&mut self, command: Bytes, answer: Answer<M::Outcome>) {
        let deadline = self.deadline();
        self.proposals.hold(command, answer, deadline);
    }

    /// Takes a linearizable read; the answer is an index that is applied here and that no write
    /// acknowledged before this call is above.
    pub fn read(&mut self, answer: Answer<LogIndex>) {
        let deadline = self.deadline();
        self.reads.hold(answer, deadline);
    }

    /// Proposals and reads without an answer.
    pub fn waiting(&self) -> usize {
        self.proposals.len() + self.reads.len()
    }

    /// Takes a message from a peer. What is not for this node, or no message, is dropped.
    pub fn receive(&mut self, message: &transport::Message) {
        let parsed = match Message::parse_from_bytes(&message.body) {
            Ok(parsed) => parsed,
            Err(error) => {
                tracing::warn!(peer.id = message.from, %error, "dropped a message that is none");
                return;
            }
        };
        if parsed.to != self.config.raft_id || parsed.from != message.from {
            tracing::warn!(peer.id = message.from, "dropped a message for another node");
            return;
        }
        if let Err(error) = self.raw.step(parsed) {
            tracing::debug!(peer.id = message.from, %error, "dropped a message");
        }
    }

    /// One tick of time has passed.
    pub fn tick(&mut self) {
        self.now += 1;
        self.look = true;
        self.timeouts.set(&mut self.raw.raft);
        self.raw.tick();
        self.proposals.expire(self.now);
        let why = if self.leader() == 0 {
            Unavailable::NoLeader
        } else {
            Unavailable::Timeout
        };
        let patience = self.config.heartbeat_ticks.saturating_mul(2) as u64;
        self.reads.tick(self.now, patience, &why);
        self.tick_snapshots();
    }

    fn tick_snapshots(&mut self) {
        let patience = (self.config.election_ticks as u64).saturating_mul(SNAPSHOT_ELECTIONS);
        let now = self.now;
        let old = |since: u64| now.saturating_sub(since) >= patience;
        self.snapshot_made.take_if(|made| old(*made)).inspect(|_| {
            self.raw.store().snapshot_slot().put(None);
        });
        let lost: Vec<u64> = self
            .snapshots_sent
            .extract_if(.., |_, sent| old(*sent))
            .map(|(peer, _)| peer)
            .collect();
        for peer in lost {
            let progress = self.raw.raft.prs().get(peer);
            if progress.is_some_and(|progress| progress.state == ProgressState::Snapshot) {
                self.raw.report_snapshot(peer, SnapshotStatus::Failure);
            }
        }
    }

    fn leader(&self) -> u64 {
        self.raw.raft.leader_id
    }

    /// Does everything that follows from the input so far. After a fault the core must not be
    /// used again, except to [`Core::fail`] who waits.
    pub fn step(&mut self) -> Result<(), Fault> {
        loop {
            self.offer();
            if !self.raw.has_ready() {
                break;
            }
            self.handle_ready()?;
            self.make_snapshot()?;
        }
        self.reads.applied(self.machine.applied_index());
        self.maybe_checkpoint()?;
        self.look_at_disk()
    }

    /// Preallocates the next segment and looks how much room there is. Where it ends, the machine is
    /// made durable while that is still possible: a restart then needs no room to catch up, and old
    /// segments go.
    fn look_at_disk(&mut self) -> Result<(), Fault> {
        if !std::mem::take(&mut self.look) && (self.tight || self.raw.store().room().is_none()) {
            return Ok(());
        }
        let log = self.raw.mut_store();
        log.prepare()?;
        let reserve = self.config.checkpoint_bytes.min(self.config.segment_bytes);
        let tight = log.room().is_some() || log.available()? < reserve;
        let changed = tight != self.tight;
        self.tight = tight;
        match (changed, tight) {
            (true, true) => {
                tracing::warn!("the disk of the registry is full: it takes only what frees room");
            }
            (true, false) => tracing::info!("the disk of the registry has room again"),
            (false, _) => {}
        }
        let news = self.machine.applied_index() > self.checkpoint.durable;
        if news && tight && changed {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Gives Raft what waits for it, now that there is a leader.
    fn offer(&mut self) {
        if self.leader() == 0 {
            return;
        }
        let mut max_bytes = self.config.max_batch_bytes;
        if let Some(room) = self.raw.store().room().filter(|_| self.tight) {
            // An eighth of a segment is left for what Raft itself writes.
            let room = room.saturating_sub(self.config.segment_bytes / 8);
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            if room <= self.config.max_command_bytes {
                self.proposals.refuse_held(&Unavailable::Full);
            }
            max_bytes = max_bytes.min(room);
        }
        let entries = self.proposals.batch(self.config.max_batch, max_bytes);
        if !entries.is_empty() {
            self.offer_entries(entries);
        }
        // A leader that has committed nothing in its term would drop the read without a word.
        let raft = &self.raw.raft;
        if (raft.state != StateRole::Leader || raft.commit_to_current_term())
            && let Some(context) = self.reads.begin(self.now)
        {
            self.raw.read_index(context);
        }
    }

    fn offer_entries(&mut self, entries: Vec<Entry>) {
        let contexts: Vec<Bytes> = entries.iter().map(|entry| entry.context.clone()).collect();
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.config.raft_id;
        message.set_entries(entries.into());
        if let Err(error) = self.raw.raft.step(message) {
            tracing::debug!(%error, "commands were not proposed");
            self.proposals.refused(contexts);
        }
    }

    /// Makes the snapshot that Raft asked for; it asks again.
    fn make_snapshot(&mut self) -> Result<(), Fault> {
        if !self.raw.store().snapshot_slot().take_wanted() {
            return Ok(());
        }
        let data = self.machine.snapshot()?;
        let index = self.machine.applied_index();
        let log = self.raw.store();
        let state = log.state();
        let Some(term) = state.term(index) else {
            return Ok(());
        };
        let mut snapshot = Snapshot {
            data: data.into(),
            ..Snapshot::default()
        };
        let metadata = snapshot.mut_metadata();
        metadata.index = index;
        metadata.term = term;
        metadata.set_conf_state(state.members_at(index));
        log.snapshot_slot().put(Some(snapshot));
        self.snapshot_made = Some(self.now);
        Ok(())
    }

    pub(crate) fn note_snapshot_sent(&mut self, peer: u64) {
        self.snapshots_sent.insert(peer, self.now);
    }

    fn maybe_checkpoint(&mut self) -> Result<(), Fault> {
        let bytes = self.raw.store().written() - self.checkpoint.written;
        let age = self.now - self.checkpoint.tick;
        let interval = ticks(self.config.checkpoint_interval, self.config.tick);
        let news = self.machine.applied_index() > self.checkpoint.durable;
        if news && (bytes >= self.config.checkpoint_bytes || age >= interval) {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Makes the machine durable and cuts the log below it.
    pub fn checkpoint(&mut self) -> Result<(), Fault> {
        if self.tight {
            // The tables need some room for it; what they leave is taken back.
            self.raw.mut_store().release_spare()?;
        }
        let durable = self.machine.checkpoint()?;
        let target = if self.is_alone() {
            durable
        } else {
            let (entries, bytes) = (self.config.keep_entries, self.config.keep_bytes);
            self.raw.store().state().keeping(durable, entries, bytes)
        };
        self.raw.mut_store().compact(target)?;
        self.checkpoint = Checkpoint {
            tick: self.now,
            written: self.raw.store().written(),
            durable,
        };
        Ok(())
    }

    /// Answers everyone who waits with `why`.
    pub fn fail(&mut self, why: &Unavailable) {
        self.proposals.fail(why);
        self.reads.fail(why);
    }

    /// What the group says of itself.
    pub fn status(&self) -> Status {
        let raft = &self.raw.raft;
        Status {
            term: raft.term,
            leader: raft.leader_id,
            leads: raft.state == StateRole::Leader,
            committed: raft.raft_log.committed,
            applied: self.machine.applied_index(),
            durable: self.machine.durable_index(),
            first: self.raw.store().state().base.index + 1,
            tight: self.tight,
            stopped: None,
        }
    }

    /// The machine, to read from.
    pub fn machine(&self) -> &M {
        &self.machine
    }
}
