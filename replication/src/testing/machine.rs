//! A state machine that remembers the commands it was given, and forgets in a power cut what it
//! did not checkpoint.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::{Committed, Fault, LogIndex, StateMachine};

/// A command and its place in the log.
pub type Applied = (LogIndex, Vec<u8>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct State {
    commands: Vec<Applied>,
    index: LogIndex,
}

/// What of a [`ListMachine`] survives a power cut.
#[derive(Debug, Clone, Default)]
pub struct Durable(Arc<Mutex<State>>);

/// Appends every command to a list. Its outcome is the command's index.
#[derive(Debug)]
pub struct ListMachine {
    state: State,
    durable: Durable,
}

impl ListMachine {
    /// The machine as it stands after a power cut.
    pub fn open(durable: &Durable) -> Self {
        Self {
            state: durable.0.lock().clone(),
            durable: durable.clone(),
        }
    }

    /// The commands so far, in order.
    pub fn commands(&self) -> &[Applied] {
        &self.state.commands
    }
}

impl StateMachine for ListMachine {
    type Outcome = LogIndex;

    fn apply(&mut self, entries: &[Committed]) -> Result<Vec<LogIndex>, Fault> {
        let mut outcomes = Vec::with_capacity(entries.len());
        for entry in entries {
            if entry.index != self.state.index + 1 {
                return Err(Fault {
                    what: "applying",
                    cause: format!("{} follows {}", entry.index, self.state.index),
                });
            }
            self.state.index = entry.index;
            outcomes.push(entry.index);
            // Entries of Raft itself are empty.
            if !entry.command.is_empty() {
                let command = (entry.index, entry.command.to_vec());
                self.state.commands.push(command);
            }
        }
        Ok(outcomes)
    }

    fn applied_index(&self) -> LogIndex {
        self.state.index
    }

    fn durable_index(&self) -> LogIndex {
        self.durable.0.lock().index
    }

    fn checkpoint(&mut self) -> Result<LogIndex, Fault> {
        self.durable.0.lock().clone_from(&self.state);
        Ok(self.state.index)
    }

    fn snapshot(&mut self) -> Result<Vec<u8>, Fault> {
        let mut out = Vec::new();
        for (index, command) in &self.state.commands {
            out.extend_from_slice(&index.to_le_bytes());
            out.extend_from_slice(&(command.len() as u64).to_le_bytes());
            out.extend_from_slice(command);
        }
        Ok(out)
    }

    fn restore(&mut self, index: LogIndex, snapshot: &[u8]) -> Result<(), Fault> {
        let commands = parse(snapshot).ok_or_else(|| Fault {
            what: "restoring",
            cause: "the snapshot ends early".to_owned(),
        })?;
        self.state = State { commands, index };
        self.checkpoint()?;
        Ok(())
    }
}

fn parse(mut rest: &[u8]) -> Option<Vec<Applied>> {
    let mut commands = Vec::new();
    while !rest.is_empty() {
        let (index, after) = rest.split_first_chunk()?;
        let (len, after) = after.split_first_chunk()?;
        let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
        let (command, after) = after.split_at_checked(len)?;
        commands.push((u64::from_le_bytes(*index), command.to_vec()));
        rest = after;
    }
    Some(commands)
}
