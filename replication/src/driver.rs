//! The thread that owns the group: waits for input or the next tick, whichever comes first, and
//! lets the [`Core`] do what follows. It sleeps when there is nothing to do.

use std::{sync::Arc, time::Duration};

use crate::{Clock, Fault, StateMachine, Unavailable, core::Core, handle::Shared, inbox::Input};

/// What ends a thread.
pub(crate) const STOPPED: &str = "the node is stopping";

/// Runs until it is told to stop, or a fault.
pub(crate) fn run<M: StateMachine>(
    mut core: Core<M>,
    shared: &Shared<M::Outcome>,
    clock: &Arc<dyn Clock>,
) -> Result<(), Fault> {
    let result = drive(&mut core, shared, clock.as_ref());
    let why: Arc<str> = match &result {
        Ok(()) => STOPPED.into(),
        Err(fault) => fault.to_string().into(),
    };
    let left = shared.inbox.close(why.clone());
    let why = Unavailable::Stopped(why);
    core.fail(&why);
    refuse(left, &why);
    // After a fault nobody knows what a checkpoint would make durable.
    let result = result.and_then(|()| core.checkpoint());
    shared.publish(core.status());
    result
}

fn refuse<O>(input: Input<O>, why: &Unavailable) {
    for (_, answer) in input.proposals {
        // Nobody may be waiting any more.
        let _ = answer.send(Err(why.clone()));
    }
    for answer in input.reads {
        let _ = answer.send(Err(why.clone()));
    }
}

fn drive<M: StateMachine>(
    core: &mut Core<M>,
    shared: &Shared<M::Outcome>,
    clock: &dyn Clock,
) -> Result<(), Fault> {
    let tick = core.config.tick.max(Duration::from_millis(1));
    // A disk that stalls makes this thread late. To count the whole time at once would start an
    // election while the leader's messages lie in the inbox.
    let most_ticks = u32::try_from(core.config.election_ticks / 2)
        .unwrap_or(u32::MAX)
        .max(1);
    let mut last_tick = clock.monotonic();
    loop {
        let passed = clock.monotonic().saturating_sub(last_tick);
        let input = shared
            .inbox
            .take(tick.saturating_sub(passed), core.waiting());
        let stop = input.stop;
        for message in &input.messages {
            core.receive(message);
        }
        for (command, answer) in input.proposals {
            core.propose(command, answer);
        }
        for answer in input.reads {
            core.read(answer);
        }
        let now = clock.monotonic();
        let mut ticks = 0;
        while now.saturating_sub(last_tick) >= tick {
            if ticks == most_ticks {
                last_tick = now;
                break;
            }
            core.tick();
            last_tick += tick;
            ticks += 1;
        }
        core.step()?;
        shared.publish(core.status());
        if stop {
            return Ok(());
        }
    }
}
