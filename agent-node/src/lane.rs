//! Keeps a task's place in its lane: before it begins, and after it has ended.
//!
//! A task whose turn has not come is suspended at once, without an attempt, and holds no slot. Suspending it wakes it
//! too, so an end that came in between is not missed; and whoever writes an end wakes the next one.

use std::sync::Arc;

use protocol::consequence;
use protocol::entry::Event;
use protocol::fault::{Failure, Fault, code};
use protocol::id::{Lane, Owner, Skill, TaskId};
use protocol::log::TaskLog;
use protocol::submission::{Envelope, Queue};
use protocol::wait::WaitingFor;
use runtime::bus::{Outgoing, ReadError};

use crate::agent::Stop;
use crate::context::bus_stop;
use crate::core::Core;
use crate::engine::Settle;
use crate::execute::{self, Work};
use crate::hand::InHand;
use crate::refuse;
use crate::served::Served;

/// Runs a task whose turn has come; one that keeps its place in a lane may have to wait for it.
pub(crate) async fn in_turn(
    core: &Arc<Core>,
    served: &Served,
    work: Box<Work>,
    refusal: Option<Fault>,
    hand: InHand,
) {
    let waits = match &work.envelope.lane {
        None => Ok(None),
        Some(_) => Box::pin(wait(core, &work.envelope, &work.log)).await,
    };
    match waits {
        Ok(None) => execute::run(core, served, work, refusal, hand).await,
        Ok(Some(event)) => {
            served.metrics.tasks_received.inc();
            let scribe =
                core.scribe(&work.envelope.task, &work.origin, work.log.clone()).without_attempt();
            match scribe.append(event).await {
                Ok(()) => execute::finish(core, &work, &scribe, Settle::Ack, hand).await,
                Err(stop) => execute::unwritten(core, served, &work, &stop, hand).await,
            }
        }
        Err(stop) => {
            tracing::warn!(reason = ?stop, "its place in the lane is not known yet");
            refuse::nak(hand).await;
        }
    }
}

/// The entry that lets a task wait for its turn; `None` when it may begin. Only the submission of a task that has no
/// log is asked about: what has begun once has had its turn.
async fn wait(core: &Core, envelope: &Envelope, log: &TaskLog) -> Result<Option<Event>, Stop> {
    let Some(lane) = &envelope.lane else { return Ok(None) };
    if log.generation > 0 || envelope.source.queue != Queue::Inbox {
        return Ok(None);
    }
    let sequence = envelope.source.sequence;
    let ahead = core
        .bus
        .ahead_in_lane(&envelope.skill, &envelope.owner, lane, sequence)
        .await
        .map_err(unread)?;
    Ok(ahead.map(|ahead| Event::Suspended {
        waiting_for: WaitingFor::Lane { predecessor: ahead.sequence },
        until: None,
    }))
}

/// Wakes whoever is behind an ended task.
pub(crate) async fn pass_on(core: &Core, task: &TaskId, log: &TaskLog) -> Result<(), Stop> {
    let Some(origin) = log.origin.as_deref().filter(|_| log.is_ended()) else { return Ok(()) };
    let Some(lane) = origin.lane.as_ref().filter(|_| origin.source.queue == Queue::Inbox) else {
        return Ok(());
    };
    wake_behind(core, (&origin.skill, &origin.owner, lane), origin.source.sequence, task).await
}

/// Wakes whoever is behind a submission that was dropped as a copy: it may have waited for this very message.
pub(crate) async fn pass_on_copy(core: &Core, envelope: &Envelope) -> Result<(), Stop> {
    let Some(lane) = envelope.lane.as_ref().filter(|_| envelope.source.queue == Queue::Inbox)
    else {
        return Ok(());
    };
    let sequence = envelope.source.sequence;
    // Under the task's own id this wake would be taken for the one after its end.
    let copy = TaskId::from_sequence(sequence);
    wake_behind(core, (&envelope.skill, &envelope.owner, lane), sequence, &copy).await
}

async fn wake_behind(
    core: &Core,
    (skill, owner, lane): (&Skill, &Owner, &Lane),
    sequence: u64,
    ended: &TaskId,
) -> Result<(), Stop> {
    let behind = core.bus.behind_in_lane(skill, owner, lane, sequence).await.map_err(unread)?;
    let Some(next) = behind else { return Ok(()) };
    let wake = consequence::lane_wake(core.bus.subjects(), owner, ended, &next);
    let message = Outgoing::new(wake.subject, wake.headers, wake.payload);
    core.ledger.append(vec![message]).await.map(drop).map_err(bus_stop)
}

fn unread(error: ReadError) -> Stop {
    Stop::Failed {
        failure: Failure::Transient { retry_after: None },
        fault: Fault::new(code::BUS_UNAVAILABLE, error.to_string()),
    }
}
