//! The handle on a running registry: typed calls that propose a command and give back its outcome,
//! and views to read from.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    time::Duration,
};

use bytes::Bytes;
use glimpse_replication::{Clock, Handle, Seams, Unavailable, disk::RealDisk, transport::NoPeers};

use crate::{
    Config, Error, OpenError, Result,
    command::{Bounds, Command, CommandId, Envelope, ImageData, UploadedData},
    encoding::{encode_envelope, fault},
    image::{Attributes, Image, ImageId, Member, MemberStatus, Timestamp, UploadId, Version},
    metadef::{Definition, MetadefCommand, Namespace},
    outcome::{Outcome, Rejection},
    status::Status,
    store::{Reader, Remember, Store},
    task::{NewTask, Step, Task, TaskCommand, TaskId},
    view::View,
};

/// How often a long replay says how far it is.
const SAY_EVERY: Duration = Duration::from_secs(3);

/// A handle on the registry; cheap to clone.
#[derive(Clone)]
pub struct Registry {
    group: Handle<Outcome>,
    reader: Reader,
    proposer: Arc<Proposer>,
    bounds: Bounds,
}

/// What envelopes are made of.
struct Proposer {
    clock: Arc<dyn Clock>,
    raft_id: u64,
    incarnation: u128,
    sequence: AtomicU64,
    upload_lease: Duration,
}

impl Registry {
    /// Opens or makes the registry of a node on real disks, replays what the tables lack, and
    /// starts its group.
    pub fn open(config: Config, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let log = config.dir.join("log");
        let disk = RealDisk::new(&log).map_err(|error| OpenError::Io { path: log, error })?;
        let store = Store::open(
            &config.dir.join("tables.redb"),
            config.table_cache_bytes,
            Remember::STANDARD,
        )?;
        let seams = Seams {
            clock,
            // The incarnation is random, and another one at every start.
            seed: config.incarnation as u64,
            disk: Arc::new(disk),
            transport: Box::new(NoPeers),
        };
        // A long replay is not silent. The thread ends with it.
        std::thread::scope(|scope| {
            let (done, ended) = mpsc::channel::<()>();
            let reader = store.reader();
            let tell = move || {
                let from = reader.view().applied_index();
                while ended.recv_timeout(SAY_EVERY) == Err(RecvTimeoutError::Timeout) {
                    let applied = reader.view().applied_index();
                    tracing::info!(from, applied, "opening the registry: replaying its log");
                }
            };
            let thread = std::thread::Builder::new().name("progress".to_owned());
            // Without it nothing is said.
            let _ = thread.spawn_scoped(scope, tell);
            let opened = Self::start(config, seams, store);
            drop(done);
            opened
        })
    }

    /// Starts the registry of a node on whatever clock, log, transport and tables are given.
    pub fn start(config: Config, seams: Seams, store: Store) -> Result<Self, OpenError> {
        let reader = store.reader();
        let proposer = Proposer {
            clock: Arc::clone(&seams.clock),
            raft_id: config.replication.raft_id,
            incarnation: config.incarnation,
            sequence: AtomicU64::new(0),
            upload_lease: config.upload_lease,
        };
        let group = glimpse_replication::start(config.replication, seams, store)?;
        Ok(Self {
            group,
            reader,
            proposer: Arc::new(proposer),
            bounds: Bounds::default(),
        })
    }

    /// Ends it in order: pending answers, checkpoint, thread.
    pub async fn stop(&self) -> Result<()> {
        Ok(self.group.stop().await?)
    }

    /// Resolves when the registry has stopped on a fault, with the reason.
    pub async fn faulted(&self) -> String {
        self.group.faulted().await
    }

    /// What the group says of itself.
    pub fn status(&self) -> glimpse_replication::Status {
        self.group.status()
    }

    /// Proposes a command under a fresh id and waits for its outcome. A rejection is an error.
    ///
    /// A command whose answer does not come in time may be applied all the same. It is proposed
    /// once more under the same id, so that it is applied once, whichever attempt is answered.
    pub async fn propose(&self, command: Command) -> Result<Outcome> {
        if command.grows() && self.group.status().tight {
            return Err(Unavailable::Full.into());
        }
        let proposer = &self.proposer;
        let envelope = Envelope {
            id: CommandId {
                client: proposer.incarnation,
                sequence: proposer.sequence.fetch_add(1, Ordering::Relaxed),
            },
            proposer: proposer.raft_id,
            time: proposer.now(),
            command,
            bounds: self.bounds,
        };
        let bytes = Bytes::from(encode_envelope(&envelope)?);
        let answer = match self.group.propose(bytes.clone()).await {
            Err(Unavailable::Timeout) => self.group.propose(bytes).await,
            answer => answer,
        };
        let outcome = answer?;
        if let Outcome::Rejected(rejection) = outcome {
            return Err(rejection.into());
        }
        Ok(outcome)
    }

    /// The same registry, where what this handle does leaves no owner with more than that.
    pub fn within(&self, bounds: Bounds) -> Self {
        Self {
            bounds,
            ..self.clone()
        }
    }

    /// Makes a queued image.
    pub async fn create_image(&self, id: ImageId, attributes: Attributes) -> Result<Image> {
        self.image(Command::CreateImage { id, attributes }).await
    }

    /// Replaces the attributes of an image that is still at `expected`.
    pub async fn update_image(
        &self,
        id: ImageId,
        expected: Version,
        attributes: Attributes,
    ) -> Result<Image> {
        self.image(Command::UpdateImage {
            id,
            expected,
            attributes,
        })
        .await
    }

    /// Replaces the attributes of an image that is still at `expected`, and what is known of its data.
    pub async fn set_data(
        &self,
        id: ImageId,
        expected: Version,
        attributes: Attributes,
        data: ImageData,
        quota: Option<u64>,
    ) -> Result<Image> {
        self.image(Command::SetData {
            id,
            expected,
            attributes,
            data,
            quota,
        })
        .await
    }

    /// Deletes an image.
    pub async fn delete_image(&self, id: ImageId, expected: Option<Version>) -> Result<()> {
        self.done(Command::DeleteImage { id, expected }).await
    }

    /// Deactivates or reactivates.
    pub async fn set_status(&self, id: ImageId, to: Status) -> Result<Image> {
        self.image(Command::SetStatus { id, to }).await
    }

    /// Adds a tag.
    pub async fn add_tag(&self, id: ImageId, tag: String, quota: Option<u64>) -> Result<()> {
        self.done(Command::AddTag { id, tag, quota }).await
    }

    /// Removes a tag.
    pub async fn remove_tag(&self, id: ImageId, tag: String) -> Result<()> {
        self.done(Command::RemoveTag { id, tag }).await
    }

    /// Adds a member.
    pub async fn add_member(
        &self,
        id: ImageId,
        member: String,
        quota: Option<u64>,
    ) -> Result<Member> {
        self.member(Command::AddMember { id, member, quota }).await
    }

    /// Answers for a member.
    pub async fn set_member_status(
        &self,
        id: ImageId,
        member: String,
        status: MemberStatus,
    ) -> Result<Member> {
        self.member(Command::SetMemberStatus { id, member, status })
            .await
    }

    /// Removes a member.
    pub async fn remove_member(&self, id: ImageId, member: String) -> Result<()> {
        self.done(Command::RemoveMember { id, member }).await
    }

    /// Starts an upload on this node: queued → saving. The lease is `lease` from the machine's time.
    pub async fn begin_upload(
        &self,
        id: ImageId,
        upload: UploadId,
        store: String,
        reserve: u64,
        quota: Option<u64>,
    ) -> Result<Image> {
        self.image(Command::BeginUpload {
            id,
            upload,
            node: self.proposer.raft_id,
            incarnation: self.proposer.incarnation,
            store,
            reserve,
            quota,
            lease_until: self.lease(),
        })
        .await
    }

    /// Raises the reservation to `reserve` bytes in all and renews the lease. To be called well
    /// within each lease, also when nothing more is to be reserved. A lease that is over, because a
    /// clock jumped, is renewed too, unless the upload was condemned meanwhile.
    pub async fn extend_upload(
        &self,
        id: ImageId,
        upload: UploadId,
        reserve: u64,
        quota: Option<u64>,
    ) -> Result<()> {
        self.done(Command::ExtendUpload {
            id,
            upload,
            reserve,
            quota,
            lease_until: self.lease(),
        })
        .await
    }

    /// Makes the image active.
    pub async fn finish_upload(
        &self,
        id: ImageId,
        upload: UploadId,
        data: UploadedData,
        quota: Option<u64>,
    ) -> Result<Image> {
        self.image(Command::FinishUpload {
            id,
            upload,
            data,
            quota,
        })
        .await
    }

    /// Makes sure that an upload whose lease was seen to end at `lease_seen` never finishes, so that
    /// its bytes may be removed. Refused if it has renewed its lease.
    pub async fn condemn_upload(
        &self,
        id: ImageId,
        upload: UploadId,
        lease_seen: Timestamp,
    ) -> Result<()> {
        self.done(Command::CondemnUpload {
            id,
            upload,
            lease_seen,
        })
        .await
    }

    /// Gives an upload up: saving → queued. Also ends the upload of a deleted image.
    pub async fn abort_upload(&self, id: ImageId, upload: UploadId) -> Result<()> {
        self.done(Command::AbortUpload { id, upload }).await
    }

    /// Tells that the reaper has removed data.
    pub async fn data_reaped(&self, sequences: Vec<u64>) -> Result<()> {
        self.done(Command::DataReaped { sequences }).await
    }

    /// Makes or changes a namespace of metadata definitions, with a command that answers with it.
    pub async fn change_namespace(&self, command: MetadefCommand) -> Result<Namespace> {
        match self.propose(Command::Metadef(command)).await? {
            Outcome::Namespace(namespace) => Ok(*namespace),
            // Done by the first of two attempts, and gone before the second.
            Outcome::Done => Err(Rejection::NamespaceNotFound.into()),
            outcome @ (Outcome::Image(_)
            | Outcome::Member(_)
            | Outcome::Definition(..)
            | Outcome::Task(_)
            | Outcome::Rejected(_)) => Err(unexpected(&outcome)),
        }
    }

    /// Makes or changes one metadata definition, with a command that answers with it.
    pub async fn change_definition(&self, command: MetadefCommand) -> Result<Definition> {
        match self.propose(Command::Metadef(command)).await? {
            Outcome::Definition(_, _, definition) => Ok(*definition),
            Outcome::Done => Err(Rejection::DefinitionNotFound.into()),
            outcome @ (Outcome::Image(_)
            | Outcome::Member(_)
            | Outcome::Namespace(_)
            | Outcome::Task(_)
            | Outcome::Rejected(_)) => Err(unexpected(&outcome)),
        }
    }

    /// Changes metadata definitions, with a command that answers with nothing.
    pub async fn change_metadefs(&self, command: MetadefCommand) -> Result<()> {
        self.done(Command::Metadef(command)).await
    }

    /// Makes a task and takes the lock of its image. See [`TaskCommand::Begin`].
    pub async fn begin_task(
        &self,
        id: TaskId,
        image: ImageId,
        task: NewTask,
        quota: Option<u64>,
        steal_after: Duration,
        most: u64,
    ) -> Result<Task> {
        let begin = TaskCommand::Begin {
            image,
            task: Box::new(task),
            quota,
            steal_after: micros(steal_after),
            most,
        };
        self.task(id, begin).await
    }

    /// Takes a task over for this process.
    pub async fn claim_task(&self, id: TaskId) -> Result<Task> {
        let claim = TaskCommand::Claim {
            node: self.proposer.raft_id,
            incarnation: self.proposer.incarnation,
            lease_until: self.lease(),
        };
        self.task(id, claim).await
    }

    /// Records a step of a task that this process has, and renews its lease.
    pub async fn step_task(&self, id: TaskId, step: Step) -> Result<Task> {
        let step = TaskCommand::Step {
            incarnation: self.proposer.incarnation,
            lease_until: self.lease(),
            step,
        };
        self.task(id, step).await
    }

    /// Ends a task that this process has: commits it, or says that all of it is undone.
    pub async fn end_task(&self, id: TaskId, success: bool, message: String) -> Result<Task> {
        let end = TaskCommand::End {
            incarnation: self.proposer.incarnation,
            success,
            message,
        };
        self.task(id, end).await
    }

    /// Asks for the end of a task.
    pub async fn cancel_task(&self, id: TaskId) -> Result<Task> {
        self.task(id, TaskCommand::Cancel).await
    }

    /// Removes the record of a task whose time is over.
    pub async fn expire_task(&self, id: TaskId) -> Result<()> {
        let command = TaskCommand::Expire;
        self.done(Command::Task { id, command }).await
    }

    /// The raft id of this node.
    pub fn node(&self) -> u64 {
        self.proposer.raft_id
    }

    /// A view at least as new as every write acknowledged before this call (ReadIndex).
    pub async fn read(&self) -> Result<View> {
        self.group.read_index().await?;
        Ok(self.reader.view())
    }

    /// A view of what this node has applied, without asking the group: for workers and metrics.
    pub fn read_local(&self) -> View {
        self.reader.view()
    }

    /// The time that the next command of this node would carry. The machine's own time stands still
    /// between commands.
    pub fn clock(&self) -> Timestamp {
        self.proposer.now()
    }

    /// This process' incarnation, as uploads carry it.
    pub fn incarnation(&self) -> u128 {
        self.proposer.incarnation
    }

    async fn image(&self, command: Command) -> Result<Image> {
        match self.propose(command).await? {
            Outcome::Image(image) => Ok(*image),
            // Done by the first of two attempts, and gone before the second.
            Outcome::Done => Err(Rejection::ImageNotFound.into()),
            outcome @ (Outcome::Member(_)
            | Outcome::Namespace(_)
            | Outcome::Definition(..)
            | Outcome::Task(_)
            | Outcome::Rejected(_)) => Err(unexpected(&outcome)),
        }
    }

    async fn member(&self, command: Command) -> Result<Member> {
        match self.propose(command).await? {
            Outcome::Member(member) => Ok(member),
            Outcome::Done => Err(Rejection::MemberNotFound.into()),
            outcome @ (Outcome::Image(_)
            | Outcome::Namespace(_)
            | Outcome::Definition(..)
            | Outcome::Task(_)
            | Outcome::Rejected(_)) => Err(unexpected(&outcome)),
        }
    }

    async fn done(&self, command: Command) -> Result<()> {
        match self.propose(command).await? {
            Outcome::Done => Ok(()),
            outcome @ (Outcome::Image(_)
            | Outcome::Member(_)
            | Outcome::Namespace(_)
            | Outcome::Definition(..)
            | Outcome::Task(_)
            | Outcome::Rejected(_)) => Err(unexpected(&outcome)),
        }
    }

    async fn task(&self, id: TaskId, command: TaskCommand) -> Result<Task> {
        match self.propose(Command::Task { id, command }).await? {
            Outcome::Task(task) => Ok(*task),
            Outcome::Done => Err(Rejection::TaskNotFound.into()),
            outcome @ (Outcome::Image(_)
            | Outcome::Member(_)
            | Outcome::Namespace(_)
            | Outcome::Definition(..)
            | Outcome::Rejected(_)) => Err(unexpected(&outcome)),
        }
    }

    /// The end of a lease that begins now, in the machine's time, which may be ahead of the clock.
    fn lease(&self) -> Timestamp {
        let now = self.proposer.now().max(self.reader.view().time());
        let lease = micros(self.proposer.upload_lease);
        Timestamp(now.0.saturating_add(lease))
    }
}

impl Proposer {
    fn now(&self) -> Timestamp {
        Timestamp(micros(self.clock.wall()))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The machine gave an answer of another kind than it gives to this command.
fn unexpected(outcome: &Outcome) -> Error {
    let kind = match outcome {
        Outcome::Image(_) => "an image",
        Outcome::Member(_) => "a member",
        Outcome::Namespace(_) => "a namespace",
        Outcome::Definition(..) => "a definition",
        Outcome::Done => "nothing",
        Outcome::Rejected(_) => "a rejection",
        Outcome::Task(_) => "a task",
    };
    fault("answering a command")(format!("unexpected outcome: {kind}")).into()
}
