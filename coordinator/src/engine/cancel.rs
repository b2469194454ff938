//! Decides what a cancel leads to.
//!
//! A running attempt hears of it by itself and ends in its own time; the coordinator ends what nobody runs, and
//! what has not ended long after its grace.

use std::time::Duration;

use protocol::entry::{Child, Event};
use protocol::journal::Journaled;
use protocol::lifecycle::Phase;
use protocol::limits::CANCEL_GRACE_MAX;
use protocol::log::TaskLog;
use protocol::time::Timestamp;
use protocol::{Skill, TaskId};

/// What a cancel leads to.
#[derive(Debug, Clone, PartialEq)]
pub enum Cancel {
    /// Nothing is left to do.
    Done,
    /// Look again later: its worker may be ending it.
    Later {
        /// When.
        wait: Duration,
    },
    /// End it with this entry.
    End(Box<Event>),
    /// No log mentions it: end it as the submission, or the child, that it is.
    EndUnbegun,
}

/// What a takeover may take, on top of the grace that a skill gives its canceled attempts.
pub const TAKEOVER: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How long a running attempt may take to end by itself, counted from the cancel. The skill's nodes may say
/// different graces: the longest counts. Without any, it is the longest that there can be.
#[must_use]
pub fn force_after(graces_ms: impl IntoIterator<Item = Option<u64>>) -> Duration {
    let longest = |grace: Option<u64>| grace.map_or(CANCEL_GRACE_MAX, Duration::from_millis);
    let grace = graces_ms.into_iter().map(longest).max().unwrap_or(CANCEL_GRACE_MAX);
    grace.min(CANCEL_GRACE_MAX) + TAKEOVER
}

/// Decides what a cancel leads to, `asked_at` being when it was stored.
#[must_use]
pub fn cancel(
    log: &TaskLog,
    asked_at: Timestamp,
    now: Timestamp,
    force_after: impl FnOnce(&Skill) -> Duration,
) -> Cancel {
    let Some(origin) = &log.origin else { return Cancel::EndUnbegun };
    match log.phase {
        Phase::Ended => Cancel::Done,
        Phase::Queued | Phase::Waiting => {
            Cancel::End(Box::new(canceled("canceled while nobody was running it")))
        }
        Phase::Running if now.since(asked_at) < force_after(&origin.skill) => {
            Cancel::Later { wait: LOOK_AGAIN }
        }
        Phase::Running => {
            Cancel::End(Box::new(canceled("canceled by force: its worker did not end it")))
        }
    }
}

/// The entry that cancels a task.
#[must_use]
pub fn canceled(reason: &str) -> Event {
    Event::Canceled { reason: reason.to_owned() }
}

/// A task's child of this id.
#[must_use]
pub fn child_of<'a>(parent: &'a TaskLog, task: &TaskId) -> Option<&'a Child> {
    parent.journal.iter().rev().find_map(|journaled| match journaled {
        Journaled::Delegated { children, .. } => children.iter().find(|child| child.task == *task),
        Journaled::Step { .. } | Journaled::Answered { .. } => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phase_and_the_time_decide() {
        let at = Timestamp::from_millis;
        for (phase, now, expected) in [
            (Phase::Queued, 0, "end"),
            (Phase::Waiting, 0, "end"),
            (Phase::Running, 14_999, "later"),
            (Phase::Running, 15_000, "end"),
            (Phase::Ended, 0, "done"),
        ] {
            let mut log = crate::engine::tests_support::log();
            log.phase = phase;
            let grace = |_: &Skill| Duration::from_secs(15);
            let word = match cancel(&log, at(0), at(now), grace) {
                Cancel::Done => "done",
                Cancel::Later { .. } => "later",
                Cancel::End(_) => "end",
                Cancel::EndUnbegun => "end unbegun",
            };
            assert_eq!(word, expected, "{phase:?} {now}");
        }
        let never = |_: &Skill| Duration::MAX;
        assert_eq!(cancel(&TaskLog::default(), at(0), at(0), never), Cancel::EndUnbegun);
    }

    #[test]
    fn the_longest_grace_of_a_skill_counts() {
        let max = CANCEL_GRACE_MAX.as_secs() + 10;
        for (graces, expected) in [
            (vec![], max),
            (vec![None], max),
            (vec![Some(5_000)], 15),
            (vec![Some(1_000), Some(20_000), Some(3_000)], 30),
            (vec![Some(1_000), None], max),
            (vec![Some(u64::MAX)], max),
        ] {
            assert_eq!(force_after(graces.clone()).as_secs(), expected, "{graces:?}");
        }
    }
}
