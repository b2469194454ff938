//! Decides whether a waiting task goes on.
//!
//! A task that waits for children is held by a *witness*: one child that is known not to have ended. While the
//! witness lives nobody needs to look at the others, and when it ends its own wake comes. So a fan-out of a
//! thousand costs a thousand looks in all, not a million, and no coordinator has to remember anything.

use protocol::entry::Event;
use protocol::lifecycle::Phase;
use protocol::log::TaskLog;
use protocol::wait::WaitingFor;

/// What a wake leads to, before any child has been looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wake {
    /// The task does not wait: publish the consequences of its last entry again, in case their publisher died.
    CarryOut,
    /// Nobody knows the task.
    Unknown,
    /// It waits for the children of the delegation at this position.
    LookAtChildren {
        /// The position in the journal.
        position: u32,
    },
}

/// Decides what a wake leads to.
#[must_use]
pub fn wake(log: &TaskLog) -> Wake {
    if log.origin.is_none() {
        return Wake::Unknown;
    }
    match (log.phase, &log.waiting_for) {
        (Phase::Waiting, Some(WaitingFor::Children { position, .. })) => {
            Wake::LookAtChildren { position: *position }
        }
        (Phase::Queued | Phase::Running | Phase::Waiting | Phase::Ended, _) => Wake::CarryOut,
    }
}

/// The entry that lets a task go on after its children.
#[must_use]
pub fn children_ended(count: usize) -> Event {
    Event::Resumed { reason: format!("all {count} children ended"), answer: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_waiting_task_is_looked_at() {
        assert_eq!(wake(&TaskLog::default()), Wake::Unknown);
        let mut log = crate::engine::tests_support::log();
        assert_eq!(wake(&log), Wake::CarryOut);
        log.phase = Phase::Waiting;
        log.waiting_for = Some(WaitingFor::Children { position: 2, enough: None });
        assert_eq!(wake(&log), Wake::LookAtChildren { position: 2 });
        log.phase = Phase::Ended;
        assert_eq!(wake(&log), Wake::CarryOut);
    }
}
