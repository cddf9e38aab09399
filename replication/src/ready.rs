//! One Ready of Raft, in its one right order:
//!
//! 1. messages that need nothing durable go out (a leader's appends: the followers write while
//!    this node does);
//! 2. a snapshot is installed;
//! 3. entries and hard state become durable, in one frame. A moved commit index alone need not:
//!    it goes with the next frame, and what the machine applied counts as committed at a restart;
//! 4. messages that speak of what is durable now go out (votes, acknowledgements);
//! 5. the Ready is advanced, which yields what was committed by it;
//! 6. everything committed is applied in one transaction, and who waits is answered.

use bytes::Bytes;
use protobuf::Message as _;
use raft::{
    Ready, StateRole,
    eraftpb::{ConfChangeV2, Entry, EntryType, Message, MessageType, Snapshot},
};

use crate::{
    Committed, Fault, StateMachine, Unavailable,
    core::Core,
    log::{Log, record::Record},
    transport,
};

fn fault(what: &'static str, cause: impl ToString) -> Fault {
    Fault {
        what,
        cause: cause.to_string(),
    }
}

impl<M: StateMachine> Core<M> {
    /// Handles what Raft has ready.
    pub(crate) fn handle_ready(&mut self) -> Result<(), Fault> {
        let mut ready = self.raw.ready();
        let messages = ready.take_messages();
        self.send(messages)?;

        self.persist(&mut ready)?;

        if let Some(soft) = ready.ss() {
            tracing::info!(
                raft.term = self.raw.raft.term,
                raft.leader = soft.leader_id,
                raft.leads = soft.raft_state == StateRole::Leader,
                "the leader changed"
            );
            // A round of reads dies with the leader that knew of it.
            self.reads.restart();
        }
        for state in ready.take_read_states() {
            self.reads.ended(&state.request_ctx, state.index);
        }
        let messages = ready.take_persisted_messages();
        self.send(messages)?;

        let mut committed = ready.take_committed_entries();
        let mut light = self.raw.advance_append(ready);
        if let Some(commit) = light.commit_index() {
            self.raw.mut_store().note_commit(commit);
        }
        let messages = light.take_messages();
        self.send(messages)?;

        committed.append(&mut light.take_committed_entries());
        self.apply(committed)?;
        self.raw.advance_apply();
        Ok(())
    }

    fn persist(&mut self, ready: &mut Ready) -> Result<(), Fault> {
        let snapshot = ready.snapshot();
        let installed = if snapshot.is_empty() {
            None
        } else {
            let snapshot = snapshot.clone();
            self.install(&snapshot)?;
            Some(Log::installed(&snapshot))
        };
        let entries = ready.take_entries();
        for entry in &entries {
            self.proposals.placed(entry.index, &entry.context);
        }
        let log = self.raw.mut_store();
        if let Some(hard) = ready.hs() {
            log.note(hard.clone());
        }
        if ready.must_sync() {
            log.append(installed.into_iter().chain(Log::entries(entries)).collect())?;
        }
        Ok(())
    }

    /// Replaces the machine by a snapshot. The log follows in the frame of this Ready.
    fn install(&mut self, snapshot: &Snapshot) -> Result<(), Fault> {
        let index = snapshot.get_metadata().index;
        tracing::info!(raft.index = index, "installing a snapshot");
        self.raw.mut_store().begin_install(snapshot)?;
        self.machine.restore(index, snapshot.get_data())?;
        // Those may be part of the snapshot; their outcomes are not.
        self.proposals.passed(index, &Unavailable::Timeout);
        Ok(())
    }

    fn apply(&mut self, entries: Vec<Entry>) -> Result<(), Fault> {
        let Some(last) = entries.last().map(|entry| entry.index) else {
            return Ok(());
        };
        let mut committed = Vec::with_capacity(entries.len());
        let mut tickets = Vec::with_capacity(entries.len());
        for entry in entries {
            let command = match entry.entry_type {
                EntryType::EntryNormal => entry.data,
                EntryType::EntryConfChangeV2 => {
                    self.change_members(&entry)?;
                    Bytes::new()
                }
                // No version of this program proposes these.
                EntryType::EntryConfChange => {
                    return Err(fault(
                        "changing the membership",
                        "an entry of an unknown kind",
                    ));
                }
            };
            tickets.push(entry.context);
            committed.push(Committed {
                index: entry.index,
                command,
            });
        }
        let outcomes = self.machine.apply(&committed)?;
        if outcomes.len() != committed.len() || self.machine.applied_index() != last {
            return Err(fault(
                "applying",
                format!(
                    "{} outcomes for {} entries up to {last}, applied index {}",
                    outcomes.len(),
                    committed.len(),
                    self.machine.applied_index()
                ),
            ));
        }
        for (ticket, outcome) in tickets.iter().zip(outcomes) {
            self.proposals.answer(ticket, || Ok(outcome));
        }
        self.proposals.passed(last, &Unavailable::NoLeader);
        Ok(())
    }

    /// The new membership is durable before the machine passes its entry: a machine that is
    /// durable beyond it would never see the change again.
    fn change_members(&mut self, entry: &Entry) -> Result<(), Fault> {
        let change = ConfChangeV2::parse_from_bytes(&entry.data)
            .map_err(|error| fault("reading a change of membership", error))?;
        match self.raw.apply_conf_change(&change) {
            Ok(members) => self
                .raw
                .mut_store()
                .append(vec![Record::Membership(entry.index, members)]),
            // Every node refuses the same changes.
            Err(error) => {
                tracing::warn!(raft.index = entry.index, %error, "refused a change of membership");
                Ok(())
            }
        }
    }

    fn send(&mut self, messages: Vec<Message>) -> Result<(), Fault> {
        if messages.is_empty() {
            return Ok(());
        }
        let mut encoded = Vec::with_capacity(messages.len());
        for message in messages {
            if message.get_msg_type() == MessageType::MsgSnapshot {
                self.note_snapshot_sent(message.to);
            }
            encoded.push(transport::Message {
                from: message.from,
                to: message.to,
                body: message
                    .write_to_bytes()
                    .map_err(|error| fault("encoding a message", error))?,
            });
        }
        self.transport.send(encoded);
        Ok(())
    }
}
