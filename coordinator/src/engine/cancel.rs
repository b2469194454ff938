//! Decides what a cancel leads to.
//!
//! A running attempt hears of it by itself and ends in its own time; the coordinator ends what nobody runs, and
//! what has not ended long after its grace.

use std::time::Duration;

use protocol::entry::Event;
use protocol::lifecycle::Phase;
use protocol::log::TaskLog;
use protocol::time::Timestamp;

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
    End(Event),
    /// No log mentions it: end it as the submission that it is.
    EndSubmission,
}

/// How long a running attempt may take to end by itself, counted from the cancel: the longest grace in the mesh
/// and some time for a takeover.
pub const FORCE_AFTER: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Decides what a cancel leads to, `asked_at` being when it was stored.
#[must_use]
pub fn cancel(log: &TaskLog, asked_at: Timestamp, now: Timestamp) -> Cancel {
    if log.origin.is_none() {
        return Cancel::EndSubmission;
    }
    match log.phase {
        Phase::Ended => Cancel::Done,
        Phase::Queued | Phase::Waiting => {
            Cancel::End(canceled("canceled while nobody was running it"))
        }
        Phase::Running if now.since(asked_at) < FORCE_AFTER => Cancel::Later { wait: LOOK_AGAIN },
        Phase::Running => Cancel::End(canceled("canceled by force: its worker did not end it")),
    }
}

/// The entry that cancels a task.
#[must_use]
pub fn canceled(reason: &str) -> Event {
    Event::Canceled { reason: reason.to_owned() }
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
            let word = match cancel(&log, at(0), at(now)) {
                Cancel::Done => "done",
                Cancel::Later { .. } => "later",
                Cancel::End(_) => "end",
                Cancel::EndSubmission => "end submission",
            };
            assert_eq!(word, expected, "{phase:?} {now}");
        }
        assert_eq!(cancel(&TaskLog::default(), at(0), at(0)), Cancel::EndSubmission);
    }
}
