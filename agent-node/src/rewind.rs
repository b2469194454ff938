//! Tells a submission from an earlier one that had its place in the inbox.
//!
//! A task without a chosen id is named by its sequence. An inbox that was restored from an older copy, or made anew under
//! the old name, gives sequences a second time, and a log under such a name may be another task's. The time at which a
//! submission was stored is in its message and in the first entry of its log; where the two differ, the newcomer gets
//! another id, which every node derives alike.

use protocol::entry::Origin;
use protocol::log::TaskLog;
use protocol::submission::{Envelope, Queue};
use runtime::bus::StoredMessage;

use crate::agent::Stop;
use crate::core::Core;
use crate::ledger::AppendError;
use crate::served::Served;

/// Reads the log of a submission, which gets another id first where its own is taken.
pub(crate) async fn own_log(
    core: &Core,
    served: &Served,
    envelope: &mut Envelope,
    delivered: u64,
) -> Result<TaskLog, Stop> {
    let log = core.log_of(envelope, delivered).await?;
    let Some(task) = log.origin.as_deref().and_then(|first| envelope.displaced_by(first)) else {
        return Ok(log);
    };
    let earlier = std::mem::replace(&mut envelope.task, task);
    tracing::Span::current().record("task_id", envelope.task.as_str());
    let log = core.read_log(&envelope.owner, &envelope.task).await?;
    if log.generation == 0 {
        served.metrics.tasks_renamed.inc();
        tracing::warn!(
            task_id = %envelope.task,
            earlier = %earlier,
            reason = "its sequence had another submission before: the inbox was set back",
            "task gets another id"
        );
    }
    Ok(log)
}

/// Whether the log that an append was refused by is an earlier submission's.
pub(crate) async fn is_displaced(core: &Core, envelope: &Envelope) -> bool {
    let log = core.read_log(&envelope.owner, &envelope.task).await;
    log.is_ok_and(|log| log.origin.is_some_and(|first| envelope.displaced_by(&first).is_some()))
}

/// A task's input; `None` when it is gone, or another submission stands in its place.
pub(crate) async fn input(
    core: &Core,
    origin: &Origin,
) -> Result<Option<StoredMessage>, AppendError> {
    let found = core.ledger.input(origin.source).await?;
    let is_its_own = |message: &StoredMessage| {
        origin.source.queue == Queue::Run || message.at == origin.submitted_at
    };
    Ok(found.filter(is_its_own))
}
