//! Decides what a delivery means and what the end of an attempt becomes.
//!
//! Pure: the log, the message and the time come in, a value goes out. The node carries it out against the real
//! bus, the simulator against one that loses, repeats and reorders.

use std::time::Duration;

use protocol::entry::Event;
use protocol::fault::{Failure, Fault, code};
use protocol::id::Skill;
use protocol::limits::{DELIVERIES_MAX, NAK_DELAY_MAX};
use protocol::log::{Driver, TaskLog};
use protocol::message::Part;
use protocol::retry::{RetryPolicy, Verdict};
use protocol::submission::Source;
use protocol::time::Timestamp;

use crate::agent::Stop;

/// How long a delivery rests when the log that was read is older than the message.
const LAG_REST: Duration = Duration::from_millis(50);
/// How long a delivery rests when the log cannot be read or written right now.
const REST: Duration = Duration::from_secs(2);
/// How long it rests at most when that has been so many times.
const REST_MAX: Duration = Duration::from_secs(3600);

/// What a delivery brings, as far as the decision depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// The skill that it was sent to.
    pub skill: &'a Skill,
    /// Where the message is stored.
    pub source: Source,
    /// On re-queued work: the generation of the entry that asked for it.
    pub requeued_by: Option<u64>,
    /// Hash of the input as submitted.
    pub input_hash: &'a str,
    /// The task's deadline.
    pub deadline: Option<Timestamp>,
}

/// What to do with a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Run the agent.
    Run,
    /// The log is past this message: publish the consequences of its last entry again, then settle.
    CarryOut,
    /// Another message stands for the task.
    Duplicate {
        /// Whether the task has ended, so that its result can be sent.
        ended: bool,
        /// Whether this message asked for something else under the same id, and lost.
        conflict: bool,
    },
    /// Its time has not come.
    TooEarly {
        /// How long to wait.
        wait: Duration,
    },
    /// End the task without running it.
    Fail {
        /// The class of the failure.
        failure: Failure,
        /// What to say.
        fault: Fault,
    },
}

/// Decides what a delivery means, given the task's log.
#[must_use]
pub fn admit(
    log: &TaskLog,
    arrival: Arrival<'_>,
    policy: &RetryPolicy,
    now: Timestamp,
) -> Admission {
    if let Some(duplicate) = duplicate(log, arrival) {
        return duplicate;
    }
    if arrival.requeued_by.is_some_and(|generation| generation > log.generation) {
        // The entry that asked for this message is not in the log that was read: a replica lags.
        return Admission::TooEarly { wait: LAG_REST };
    }
    let drives = match log.driver {
        Driver::Any => arrival.requeued_by.is_none(),
        Driver::Source(source) => arrival.requeued_by.is_none() && source == arrival.source,
        Driver::Requeue { generation, sequence } => {
            arrival.requeued_by == Some(generation)
                && sequence.is_none_or(|sequence| sequence == arrival.source.sequence)
        }
    };
    let open = matches!(
        log.phase,
        protocol::lifecycle::Phase::Queued | protocol::lifecycle::Phase::Running
    );
    if !drives || !open {
        return Admission::CarryOut;
    }
    if let Some(at) = log.not_before.filter(|at| *at > now) {
        return Admission::TooEarly { wait: at.since(now) };
    }
    if arrival.deadline.is_some_and(|deadline| deadline <= now) {
        return Admission::Fail { failure: Failure::Permanent, fault: too_late() };
    }
    if log.failures() >= policy.attempts_max {
        let fault = Fault::new(
            code::ATTEMPTS_EXHAUSTED,
            format!("{} attempts failed or vanished, the last one without a word", log.failures()),
        )
        .hint("see the node's log at the time of the last attempt, then redrive");
        return Admission::Fail { failure: Failure::Lost, fault };
    }
    Admission::Run
}

/// A submission whose task id belongs to an earlier message.
fn duplicate(log: &TaskLog, arrival: Arrival<'_>) -> Option<Admission> {
    let origin = log.origin.as_ref()?;
    // A stream that lost its tail gives a sequence twice: what is stored there now is another submission.
    let is_the_same = origin.source == arrival.source && origin.input_hash == arrival.input_hash;
    if arrival.requeued_by.is_some() || is_the_same {
        return None;
    }
    Some(Admission::Duplicate {
        ended: log.is_ended(),
        conflict: origin.input_hash != arrival.input_hash || origin.skill != *arrival.skill,
    })
}

/// The fault of a task whose deadline has passed.
#[must_use]
pub fn too_late() -> Fault {
    Fault::new(code::DEADLINE_EXCEEDED, "the deadline has passed").at("header Weft-Deadline")
}

/// What becomes of the delivery once the entry is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// It is done with.
    Ack,
    /// It comes back by itself after the wait.
    Nak {
        /// The wait.
        after: Duration,
    },
    /// Nothing is said: somebody else owns the log, and a word from here would be taken for theirs. If they are
    /// gone too, the lease brings it back.
    Leave,
}

/// The end of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// The entry to append; `None` when nothing may be written.
    pub event: Option<Event>,
    /// Whether a dead letter goes with it.
    pub letter: bool,
    /// What becomes of the delivery.
    pub settle: Settle,
}

/// What the end of an attempt depends on besides its outcome.
#[derive(Debug, Clone, Copy)]
pub struct Circumstance<'a> {
    /// The skill's policy.
    pub policy: &'a RetryPolicy,
    /// Failed and lost attempts so far, this one included.
    pub failures: u32,
    /// Whether the log holds an entry of this attempt.
    pub begun: bool,
    /// How often the message in hand has been delivered.
    pub delivered: u64,
    /// The present.
    pub now: Timestamp,
    /// A random number from 0 to 1.
    pub chance: f64,
}

/// Decides what the end of an attempt becomes.
#[must_use]
pub fn conclude(outcome: Result<Vec<Part>, Stop>, at: Circumstance<'_>) -> Ending {
    let ending = |event, letter, settle| Ending { event, letter, settle };
    match outcome {
        Ok(output) => ending(Some(Event::Completed { output }), false, Settle::Ack),
        Err(Stop::Suspended { waiting_for, until }) => {
            ending(Some(Event::Suspended { waiting_for: *waiting_for, until }), false, Settle::Ack)
        }
        Err(Stop::Canceled) => ending(
            Some(Event::Canceled { reason: "canceled on request".to_owned() }),
            false,
            Settle::Ack,
        ),
        Err(Stop::Released) => {
            let requeued = at.begun && worn_out(at.delivered);
            let reason = "the node is stopping".to_owned();
            let settle = if requeued { Settle::Ack } else { Settle::Nak { after: Duration::ZERO } };
            ending(at.begun.then_some(Event::Released { reason, requeued }), false, settle)
        }
        Err(Stop::Fenced) => ending(None, false, Settle::Leave),
        Err(Stop::Failed { failure, fault }) => fail(failure, fault, at),
    }
}

/// Whether a message has been delivered so often that a new one should take its place before the server drops it.
#[must_use]
pub fn worn_out(delivered: u64) -> bool {
    i64::try_from(delivered).unwrap_or(i64::MAX) >= DELIVERIES_MAX / 2
}

/// How long a delivery rests that nothing can be done with now: the longer, the fewer are left.
#[must_use]
pub fn rest(delivered: u64) -> Duration {
    if !worn_out(delivered) {
        return REST;
    }
    let over = delivered.saturating_sub(u64::try_from(DELIVERIES_MAX / 2).unwrap_or(u64::MAX));
    let doubled = 2_u32.saturating_pow(u32::try_from(over).unwrap_or(u32::MAX));
    REST.saturating_mul(doubled).min(REST_MAX)
}

fn fail(failure: Failure, fault: Fault, at: Circumstance<'_>) -> Ending {
    let class = failure.class();
    match at.policy.verdict(failure, at.failures, at.chance) {
        Verdict::GiveUp => Ending {
            event: Some(Event::Failed { failure: class, fault }),
            letter: true,
            settle: Settle::Ack,
        },
        Verdict::Retry { after } => {
            let requeued = after > NAK_DELAY_MAX || worn_out(at.delivered);
            Ending {
                event: Some(Event::AttemptFailed {
                    failure: class,
                    fault,
                    retry_at: at.now.after(after),
                    requeued,
                }),
                letter: false,
                settle: if requeued { Settle::Ack } else { Settle::Nak { after } },
            }
        }
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
