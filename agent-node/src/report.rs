//! Says in the node's log that an attempt failed, and what happens next.

use protocol::TaskId;
use protocol::entry::Event;
use protocol::fault::{FailureClass, Fault};
use protocol::time::Timestamp;

/// An attempt that failed.
pub(crate) struct Failed {
    class: FailureClass,
    fault: Fault,
    /// When the next one is due; `None`: there is none.
    retry_at: Option<Timestamp>,
}

impl Failed {
    /// What an entry says about a failed attempt; `None` when it says nothing of the kind.
    pub(crate) fn told_by(event: &Event) -> Option<Self> {
        let (class, fault, retry_at) = match event {
            Event::AttemptFailed { failure, fault, retry_at, .. } => {
                (failure, fault, Some(*retry_at))
            }
            Event::Failed { failure, fault } => (failure, fault, None),
            Event::Claimed { .. }
            | Event::Status { .. }
            | Event::Artifact { .. }
            | Event::Reserved { .. }
            | Event::Step { .. }
            | Event::Received { .. }
            | Event::Refunded { .. }
            | Event::Delegated { .. }
            | Event::Suspended { .. }
            | Event::Escalated { .. }
            | Event::Resumed { .. }
            | Event::Released { .. }
            | Event::Completed { .. }
            | Event::Canceled { .. }
            | Event::Rejected { .. } => return None,
        };
        Some(Self { class: *class, fault: fault.clone(), retry_at })
    }

    /// Writes the line. `attempt` is the one that failed, 0 when the task ended before the first.
    pub(crate) fn tell(&self, task: &TaskId, attempt: u32) {
        let (class, reason) = (self.class.word(), &self.fault);
        match self.retry_at {
            Some(at) => tracing::warn!(
                task_id = %task, attempt, class, reason = %reason, retry_at = %at,
                "attempt failed, another one follows"
            ),
            None => tracing::warn!(
                task_id = %task, attempt, class, reason = %reason, next = "dead letter",
                "attempt failed, the task is given up"
            ),
        }
    }
}
