//! A whole cluster in one thread, from one seed: cores, their disks, and a network that loses,
//! delays, reorders and cuts.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{Random, SimDisk};
use crate::{
    Config, Fault, LogIndex, StartError, StateMachine, Unavailable,
    core::{Core, Parts},
    transport::{Message, Transport},
};

/// Where cores put what they send.
#[derive(Debug, Clone, Default)]
pub struct Wire(Arc<Mutex<Vec<Message>>>);

impl Wire {
    /// Takes what was sent.
    pub fn take(&self) -> Vec<Message> {
        mem::take(&mut self.0.lock())
    }
}

impl Transport for Wire {
    fn send(&mut self, messages: Vec<Message>) {
        self.0.lock().extend(messages);
    }
}

/// One node.
pub struct Member<M: StateMachine> {
    /// Its log's disk.
    pub disk: SimDisk,
    /// The running core; `None` while it is down.
    pub core: Option<Core<M>>,
    /// What it stopped on, if on a fault.
    pub fault: Option<Fault>,
}

/// Where an answer arrives.
pub type Answered<T> = oneshot::Receiver<Result<T, Unavailable>>;

/// Several nodes and the network between them. Each [`Cluster::step`] is one tick of time.
pub struct Cluster<M: StateMachine> {
    /// The nodes by raft id.
    pub members: BTreeMap<u64, Member<M>>,
    /// All randomness of the run.
    pub random: Random,
    /// Of a hundred messages, how many are lost.
    pub loss: u64,
    /// Steps that a message takes at most; more than one reorders.
    pub delay: u64,
    /// Pairs (from, to) between which nothing passes.
    pub cut: BTreeSet<(u64, u64)>,
    wire: Wire,
    under_way: Vec<(u64, Message)>,
    now: u64,
    config: Box<dyn Fn(u64) -> Config>,
    open: Box<dyn FnMut(u64) -> M>,
}

impl<M: StateMachine> Cluster<M> {
    /// Starts nodes 1 to `size`. `open` gives a node's machine as it stands after a power cut.
    pub fn new(
        seed: u64,
        size: u64,
        config: impl Fn(u64) -> Config + 'static,
        open: impl FnMut(u64) -> M + 'static,
    ) -> Result<Self, StartError> {
        let mut cluster = Self {
            members: BTreeMap::new(),
            random: Random::new(seed),
            loss: 0,
            delay: 1,
            cut: BTreeSet::new(),
            wire: Wire::default(),
            under_way: Vec::new(),
            now: 0,
            config: Box::new(config),
            open: Box::new(open),
        };
        for id in 1..=size {
            let member = Member {
                disk: SimDisk::default(),
                core: None,
                fault: None,
            };
            cluster.members.insert(id, member);
        }
        for id in 1..=size {
            cluster.start(id)?;
        }
        Ok(cluster)
    }

    /// Starts a node that is down.
    pub fn start(&mut self, id: u64) -> Result<(), StartError> {
        let voters = self.members.keys().copied().collect();
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        member.fault = None;
        member.core = Some(Core::new(Parts {
            config: (self.config)(id),
            disk: Arc::new(member.disk.clone()),
            transport: Box::new(self.wire.clone()),
            machine: (self.open)(id),
            voters,
            seed: self.random.next_u64(),
        })?);
        Ok(())
    }

    /// Cuts a node's power. Its disk keeps what it likes of the unsynced.
    pub fn power_cut(&mut self, id: u64) {
        if let Some(member) = self.members.get_mut(&id) {
            member.core = None;
            member.fault = None;
            member.disk.power_cut(&mut self.random);
        }
    }

    /// Cuts a node off from all others.
    pub fn isolate(&mut self, id: u64) {
        for other in self.members.keys() {
            self.cut.insert((id, *other));
            self.cut.insert((*other, id));
        }
    }

    /// Makes the network whole.
    pub fn heal(&mut self) {
        self.cut.clear();
        self.loss = 0;
        self.delay = 1;
    }

    /// The core of a node that runs.
    pub fn core(&mut self, id: u64) -> Option<&mut Core<M>> {
        self.members.get_mut(&id)?.core.as_mut()
    }

    /// A node that says it leads; with several, one of the highest term.
    pub fn leader(&self) -> Option<u64> {
        self.members
            .iter()
            .filter_map(|(id, member)| Some((*id, member.core.as_ref()?.status())))
            .filter(|(_, status)| status.leads)
            .max_by_key(|(_, status)| status.term)
            .map(|(id, _)| id)
    }

    /// Proposes at a node; `None` if it is down.
    pub fn propose(&mut self, id: u64, command: Bytes) -> Option<Answered<M::Outcome>> {
        let (answer, answered) = oneshot::channel();
        self.core(id)?.propose(command, answer);
        Some(answered)
    }

    /// Reads at a node; `None` if it is down.
    pub fn read(&mut self, id: u64) -> Option<Answered<LogIndex>> {
        let (answer, answered) = oneshot::channel();
        self.core(id)?.read(answer);
        Some(answered)
    }

    fn deliver(&mut self) {
        let (now, mut arrived) = (self.now, Vec::new());
        arrived.extend(self.under_way.extract_if(.., |(due, _)| *due <= now));
        while !arrived.is_empty() {
            let next = if self.delay > 1 {
                self.random.below(arrived.len() as u64) as usize
            } else {
                0
            };
            let (_, message) = arrived.remove(next);
            if !self.cut.contains(&(message.from, message.to))
                && let Some(core) = self.core(message.to)
            {
                core.receive(&message);
            }
        }
    }

    fn carry(&mut self) {
        for message in self.wire.take() {
            if self.random.below(100) < self.loss {
                continue;
            }
            let due = self.now + 1 + self.random.below(self.delay.max(1));
            self.under_way.push((due, message));
        }
    }

    /// One tick everywhere: messages arrive, cores do their work, messages leave. A core that
    /// meets a fault is down from then on.
    pub fn step(&mut self) {
        self.now += 1;
        self.deliver();
        for member in self.members.values_mut() {
            if let Some(core) = &mut member.core {
                core.tick();
                if let Err(fault) = core.step() {
                    core.fail(&Unavailable::Stopped(fault.to_string().into()));
                    member.fault = Some(fault);
                    member.core = None;
                }
            }
        }
        self.carry();
    }
}
