//! Keeps lanes going: the end of a task wakes the one behind it, and a waiting one looks at those before it.

use protocol::consequence;
use protocol::entry::Origin;
use protocol::id::{Lane, Owner, TaskId};
use protocol::log::TaskLog;
use protocol::submission::Queue;
use runtime::bus::Outgoing;

use super::log::{LogError, Logs};

/// Wakes the task behind an ended one in its lane.
pub(crate) async fn wake_next(
    logs: &Logs,
    owner: &Owner,
    task: &TaskId,
    log: &TaskLog,
) -> Result<(), LogError> {
    let Some((origin, lane)) = place(log).filter(|_| log.is_ended()) else { return Ok(()) };
    let behind =
        logs.bus.behind_in_lane(&origin.skill, owner, lane, origin.source.sequence).await?;
    if let Some(next) = behind {
        let wake = consequence::lane_wake(logs.bus.subjects(), owner, task, &next);
        logs.bus.store(Outgoing::new(wake.subject, wake.headers, wake.payload)).await?;
    }
    Ok(())
}

/// Whether it is a waiting task's turn.
pub(crate) async fn is_free(logs: &Logs, owner: &Owner, log: &TaskLog) -> Result<bool, LogError> {
    let Some((origin, lane)) = place(log) else { return Ok(true) };
    let ahead = logs.bus.ahead_in_lane(&origin.skill, owner, lane, origin.source.sequence).await?;
    Ok(ahead.is_none())
}

/// A task's place in a lane, if it has one.
fn place(log: &TaskLog) -> Option<(&Origin, &Lane)> {
    let origin = log.origin.as_deref()?;
    let lane = origin.lane.as_ref()?;
    (origin.source.queue == Queue::Inbox).then_some((origin, lane))
}
