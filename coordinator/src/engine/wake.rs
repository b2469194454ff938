//! Decides whether a waiting task goes on.
//!
//! What has to be looked at depends on the wait: children, the task before it in its lane, or what has been said to
//! it. A timed wait is due once a wake that was stored at that time is at hand, so that no clock but the server's has
//! to be right.

use std::time::Duration;

use protocol::TaskId;
use protocol::consequence::{self, Publication};
use protocol::entry::Event;
use protocol::fault::{FailureClass, Fault, code};
use protocol::lifecycle::Phase;
use protocol::log::TaskLog;
use protocol::subject::{Subject, Subjects};
use protocol::time::Timestamp;
use protocol::wait::{self, Answer, Arrived, WaitingFor};

/// What a wake leads to, before anything but the log has been looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wake {
    /// The task does not wait: publish the consequences of its last entry again, in case their publisher died.
    CarryOut,
    /// Nobody knows the task.
    Unknown,
    /// Its deadline has passed while it waited.
    TooLate,
    /// It waits for the children of the delegation at this position.
    LookAtChildren {
        /// The position in the journal.
        position: u32,
        /// How many have to complete; all of them have to end when it is left out.
        enough: Option<u32>,
    },
    /// It waits for its turn in its lane.
    LookAtLane,
    /// It waits for something that is said to it, or for a time.
    LookAtInputs,
}

/// What the messages that came for a waiting task, and the time, lead to.
#[derive(Debug, Clone, PartialEq)]
pub enum Look {
    /// It goes on with this entry.
    Resume(Box<Event>),
    /// It goes on waiting, and this entry tells further people that they may decide.
    Escalate(Box<Event>),
    /// It goes on waiting, and whatever ends the wait brings a wake of its own.
    Wait,
    /// It is due in a moment: look again then.
    Soon {
        /// When.
        wait: Duration,
    },
}

/// A wake of a task that is due within this time is kept until then. A later one is settled: a scheduled message
/// stands for that time.
const SOON: Duration = Duration::from_millis(500);

/// Decides what a wake leads to.
#[must_use]
pub fn wake(log: &TaskLog, now: Timestamp) -> Wake {
    let Some(origin) = &log.origin else { return Wake::Unknown };
    let (Phase::Waiting, Some(waiting_for)) = (log.phase, &log.waiting_for) else {
        return Wake::CarryOut;
    };
    if origin.deadline.is_some_and(|deadline| deadline <= now) {
        return Wake::TooLate;
    }
    match waiting_for {
        WaitingFor::Children { position, enough } => {
            Wake::LookAtChildren { position: *position, enough: *enough }
        }
        WaitingFor::Lane { .. } => Wake::LookAtLane,
        WaitingFor::Timer { .. }
        | WaitingFor::Input { .. }
        | WaitingFor::Signal { .. }
        | WaitingFor::Approval { .. } => Wake::LookAtInputs,
    }
}

/// Decides whether what has come for a task ends its wait. `arrived` holds everything that was ever said to it.
#[must_use]
pub fn look(log: &TaskLog, arrived: &[Arrived], now: Timestamp) -> Look {
    let Some(waiting_for) = &log.waiting_for else { return Look::Wait };
    let since = log.waiting_since.unwrap_or(now);
    match wait::answer(waiting_for, log.until, since, arrived, &log.used, now) {
        Some(answer) => {
            let reason = reason(&answer, waiting_for);
            Look::Resume(Box::new(Event::Resumed { reason, answer: Some(answer) }))
        }
        None => match escalation(waiting_for, log.escalated_ms, now.since(since)) {
            Some(event) => Look::Escalate(Box::new(event)),
            None => soon(log, now),
        },
    }
}

/// The entry that puts an approval to further people, if the time of a level has come that is not in the log.
fn escalation(waiting_for: &WaitingFor, escalated_ms: u64, age: Duration) -> Option<Event> {
    let WaitingFor::Approval { name, request } = waiting_for else { return None };
    let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    let (after_ms, to) = request.escalated(escalated_ms, age_ms)?;
    let asked = request.deciders(escalated_ms).join(", ");
    let reason = match request.quorum {
        _ if asked.is_empty() => format!("nobody could decide for {after_ms} ms"),
        1 => format!("{asked} did not decide within {after_ms} ms"),
        quorum => format!("{asked} did not make the quorum of {quorum} within {after_ms} ms"),
    };
    Some(Event::Escalated { name: name.clone(), after_ms, to, reason })
}

/// Whether a task that goes on waiting is due in a moment.
#[must_use]
pub fn soon(log: &TaskLog, now: Timestamp) -> Look {
    match log.due() {
        Some(due) if due > now && due.since(now) <= SOON => Look::Soon { wait: due.since(now) },
        Some(_) | None => Look::Wait,
    }
}

fn reason(answer: &Answer, waiting_for: &WaitingFor) -> String {
    let name = waiting_for.name().unwrap_or_default();
    match (answer, waiting_for) {
        (Answer::Time, WaitingFor::Timer { .. }) => format!("the time of {name} has come"),
        (Answer::Time, _) => format!("nothing came for {name} in time"),
        (Answer::Message { .. }, _) => format!("a message answers {name}"),
        (Answer::Signal { .. }, _) => format!("signal {name} came"),
        (Answer::Approval { ruling, .. }, _) => match ruling.verdict {
            None => format!("nobody decided about {name} in time"),
            Some(_) => format!("{name} is decided by {}", ruling.by.join(", ")),
        },
        (Answer::Children { ended }, _) => format!("{} children ended", ended.len()),
    }
}

/// The entry that ends a task whose deadline has passed while it waited.
#[must_use]
pub fn too_late(log: &TaskLog) -> (FailureClass, Fault) {
    let what = log.waiting_for.as_ref().and_then(WaitingFor::name);
    let message = match what {
        Some(name) => format!("the deadline has passed while it waited for {name}"),
        None => "the deadline has passed while it waited".to_owned(),
    };
    let fault = Fault::new(code::DEADLINE_EXCEEDED, message).at("header Weft-Deadline");
    (FailureClass::Permanent, fault)
}

/// The entry that lets a task go on after the one before it in its lane.
#[must_use]
pub fn lane_is_free() -> Event {
    Event::Resumed { reason: "the task before it in its lane has ended".to_owned(), answer: None }
}

/// What is published again for a task that goes on waiting for people: whoever wrote that it has escalated may have died
/// before the next time was set.
#[must_use]
pub fn next_time(subjects: &Subjects, task: &TaskId, log: &TaskLog) -> Option<Publication> {
    let has_levels = matches!(&log.waiting_for, Some(WaitingFor::Approval { request, .. })
        if !request.chain.is_empty());
    consequence::timed_wake(subjects, task, log).filter(|_| has_levels)
}

/// Whether a consequence is a cancel, which on the first wake by a child's end is left out: else a thousand canceled
/// children would each cancel a thousand. Whoever wrote the entry published them, or its own delivery comes again.
#[must_use]
pub fn is_cancel(subjects: &Subjects, publication: &Publication) -> bool {
    matches!(subjects.parse(&publication.subject), Some(Subject::Cancel(..)))
}

#[cfg(test)]
#[path = "wake_tests.rs"]
mod tests;
