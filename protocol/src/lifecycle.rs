//! What may follow what in a task's log: one table.
//!
//! A log that breaks it is refused by the fold, so a writer that would break it finds out before it
//! writes. Every arrow is taken by some test.

use crate::entry::Kind;
use crate::task::TaskState;
use crate::wait::WaitingFor;

/// Where a task stands between two entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Nobody works on it; a message in a queue stands for it.
    Queued,
    /// An attempt is under way, or was when its worker vanished.
    Running,
    /// It waits and holds no worker; a wake will look at it.
    Waiting,
    /// Nothing can follow.
    Ended,
}

/// The table: in this phase, this entry leads to that phase.
pub const ARROWS: &[(Phase, Kind, Phase)] = &[
    (Phase::Queued, Kind::Claimed, Phase::Running),
    (Phase::Queued, Kind::Status, Phase::Running),
    (Phase::Queued, Kind::Artifact, Phase::Running),
    (Phase::Queued, Kind::Reserved, Phase::Running),
    (Phase::Queued, Kind::Step, Phase::Running),
    (Phase::Queued, Kind::Received, Phase::Running),
    (Phase::Queued, Kind::Refunded, Phase::Running),
    (Phase::Queued, Kind::Delegated, Phase::Running),
    (Phase::Queued, Kind::Suspended, Phase::Waiting),
    (Phase::Queued, Kind::AttemptFailed, Phase::Queued),
    (Phase::Queued, Kind::Completed, Phase::Ended),
    (Phase::Queued, Kind::Failed, Phase::Ended),
    (Phase::Queued, Kind::Canceled, Phase::Ended),
    (Phase::Queued, Kind::Rejected, Phase::Ended),
    (Phase::Running, Kind::Claimed, Phase::Running),
    (Phase::Running, Kind::Status, Phase::Running),
    (Phase::Running, Kind::Artifact, Phase::Running),
    (Phase::Running, Kind::Reserved, Phase::Running),
    (Phase::Running, Kind::Step, Phase::Running),
    (Phase::Running, Kind::Received, Phase::Running),
    (Phase::Running, Kind::Refunded, Phase::Running),
    (Phase::Running, Kind::Delegated, Phase::Running),
    (Phase::Running, Kind::Suspended, Phase::Waiting),
    (Phase::Running, Kind::AttemptFailed, Phase::Queued),
    (Phase::Running, Kind::Released, Phase::Queued),
    (Phase::Running, Kind::Completed, Phase::Ended),
    (Phase::Running, Kind::Failed, Phase::Ended),
    (Phase::Running, Kind::Canceled, Phase::Ended),
    (Phase::Running, Kind::Rejected, Phase::Ended),
    (Phase::Waiting, Kind::Escalated, Phase::Waiting),
    (Phase::Waiting, Kind::Resumed, Phase::Queued),
    (Phase::Waiting, Kind::Failed, Phase::Ended),
    (Phase::Waiting, Kind::Canceled, Phase::Ended),
];

/// The phase after an entry, or `None` when the entry may not stand there.
#[must_use]
pub fn next(phase: Phase, kind: Kind) -> Option<Phase> {
    ARROWS.iter().find(|(from, by, _)| *from == phase && *by == kind).map(|(_, _, to)| *to)
}

/// The A2A state of a task that is not `Ended`.
#[must_use]
pub fn open_state(phase: Phase, begun: bool) -> TaskState {
    match phase {
        Phase::Queued if !begun => TaskState::Submitted,
        Phase::Queued | Phase::Running | Phase::Waiting | Phase::Ended => TaskState::Working,
    }
}

/// The A2A state of a task that waits.
#[must_use]
pub fn waiting_state(waiting_for: &WaitingFor, begun: bool) -> TaskState {
    match waiting_for {
        WaitingFor::Input { auth: true, .. } => TaskState::AuthRequired,
        WaitingFor::Input { auth: false, .. } | WaitingFor::Approval { .. } => {
            TaskState::InputRequired
        }
        WaitingFor::Lane { .. } => open_state(Phase::Queued, begun),
        WaitingFor::Children { .. } | WaitingFor::Timer { .. } | WaitingFor::Signal { .. } => {
            TaskState::Working
        }
    }
}

/// The A2A state that a terminal entry leads to.
#[must_use]
pub fn end_state(kind: Kind) -> Option<TaskState> {
    match kind {
        Kind::Completed => Some(TaskState::Completed),
        Kind::Failed => Some(TaskState::Failed),
        Kind::Canceled => Some(TaskState::Canceled),
        Kind::Rejected => Some(TaskState::Rejected),
        Kind::Claimed
        | Kind::Status
        | Kind::Artifact
        | Kind::Reserved
        | Kind::Step
        | Kind::Received
        | Kind::Refunded
        | Kind::Delegated
        | Kind::Suspended
        | Kind::Escalated
        | Kind::Resumed
        | Kind::AttemptFailed
        | Kind::Released => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_a_function_and_nothing_leaves_the_end() {
        for (index, (from, by, to)) in ARROWS.iter().enumerate() {
            assert_ne!(*from, Phase::Ended);
            assert_eq!(by.is_terminal(), *to == Phase::Ended, "{from:?} {by:?}");
            assert!(ARROWS[index + 1..].iter().all(|(f, b, _)| (f, b) != (from, by)));
        }
    }

    #[test]
    fn every_type_has_its_name_and_its_way_to_the_end() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
            assert_eq!(kind.is_terminal(), end_state(kind).is_some());
            assert!(ARROWS.iter().any(|(_, by, _)| *by == kind), "{kind:?} is never allowed");
        }
    }
}
