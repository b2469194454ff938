//! Errors as the wire carries them, and the one question every error answers.
//!
//! Retry depends on [`Failure`] and on nothing else; the rest of a [`Fault`] is for people and for
//! programs that must tell one error from another by its stable code.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::FAULT_CHARS_MAX;

/// Why an attempt failed, as far as the next step depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The worker vanished or timed out. The task itself may be fine.
    Lost,
    /// The agent reported an error that may pass: a rate limit, a broken connection.
    Transient {
        /// What the peer asked us to wait, if it said so.
        retry_after: Option<Duration>,
    },
    /// The agent reported an error that will not pass: bad input, a refused tool.
    Permanent,
}

/// [`Failure`] without its details, as the log writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// See [`Failure::Lost`].
    Lost,
    /// See [`Failure::Transient`].
    Transient,
    /// See [`Failure::Permanent`].
    Permanent,
}

impl FailureClass {
    /// The word for it, as the wire writes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Transient => "transient",
            Self::Permanent => "permanent",
        }
    }
}

impl Failure {
    /// The class that the log records.
    #[must_use]
    pub fn class(self) -> FailureClass {
        match self {
            Self::Lost => FailureClass::Lost,
            Self::Transient { .. } => FailureClass::Transient,
            Self::Permanent => FailureClass::Permanent,
        }
    }
}

/// An error on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// Stable and for programs, `snake_case`. Append-only; the list is [`code`].
    pub code: String,
    /// One sentence for people.
    pub message: String,
    /// Where: a JSON path, a header's name, a subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Fault {
    /// A fault with a code from [`code`] or an agent's own.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: shorten(message.into()), place: None, hint: None }
    }

    /// Says where.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(shorten(place.into()));
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(shorten(hint.into()));
        self
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        if let Some(place) = &self.place {
            write!(f, " (at {place})")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

/// Cuts a text to the log's limit and says how much is gone.
fn shorten(text: String) -> String {
    let Some((end, _)) = text.char_indices().nth(FAULT_CHARS_MAX) else { return text };
    let (cut, gone) = text.split_at(end);
    format!("{cut}... ({} more bytes)", gone.len())
}

/// The codes that Weft itself gives; agents may give their own. Append-only.
pub mod code {
    /// The body is no JSON, MessagePack or UTF-8 though it says so.
    pub const MALFORMED_BODY: &str = "malformed_body";
    /// The `Content-Type` is none that Weft reads.
    pub const UNSUPPORTED_CONTENT_TYPE: &str = "unsupported_content_type";
    /// A body, a header block or a part is over its limit.
    pub const TOO_LARGE: &str = "too_large";
    /// JSON or MessagePack nests deeper than the limit.
    pub const TOO_DEEP: &str = "too_deep";
    /// A submission's subject holds tokens that are no names.
    pub const BAD_SUBJECT: &str = "bad_subject";
    /// A `Weft-*` header holds a value that it may not hold.
    pub const BAD_HEADER: &str = "bad_header";
    /// The input does not fit the skill's JSON Schema.
    pub const INVALID_INPUT: &str = "invalid_input";
    /// A value does not fit the schema that Weft publishes for it.
    pub const SCHEMA_MISMATCH: &str = "schema_mismatch";
    /// The agent's output does not fit its JSON Schema.
    pub const INVALID_OUTPUT: &str = "invalid_output";
    /// The deadline has passed.
    pub const DEADLINE_EXCEEDED: &str = "deadline_exceeded";
    /// The attempt took longer than the skill allows.
    pub const ATTEMPT_TIMEOUT: &str = "attempt_timeout";
    /// Every attempt that the policy allows has been used.
    pub const ATTEMPTS_EXHAUSTED: &str = "attempts_exhausted";
    /// The worker vanished in the middle.
    pub const WORKER_LOST: &str = "worker_lost";
    /// The agent's code panicked.
    pub const AGENT_PANICKED: &str = "agent_panicked";
    /// The agent reported an error without a code of its own.
    pub const AGENT_ERROR: &str = "agent_error";
    /// The agent's process ended before it gave a result.
    pub const AGENT_CRASHED: &str = "agent_crashed";
    /// The agent's process wrote what is no line of the protocol.
    pub const AGENT_PROTOCOL: &str = "agent_protocol";
    /// Another body was submitted under the same dedup key or task id; the first one counts.
    pub const DEDUP_CONFLICT: &str = "dedup_conflict";
    /// A child that the task waited for did not complete.
    pub const CHILD_FAILED: &str = "child_failed";
    /// On resume the agent asked for another step than the log holds at that position.
    pub const NONDETERMINISTIC: &str = "nondeterministic";
    /// A step, wait or delegation has a name that it may not have.
    pub const BAD_NAME: &str = "bad_name";
    /// Calls of one attempt overlap: one was made before the one before it had ended.
    pub const OVERLAPPING_CALLS: &str = "overlapping_calls";
    /// A task asked for more entries in its journal than it may have.
    pub const JOURNAL_FULL: &str = "journal_full";
    /// A task's log has as many entries as it may have.
    pub const LOG_FULL: &str = "log_full";
    /// A child that the task went on without.
    pub const NOT_AWAITED: &str = "not_awaited";
    /// A call would cross the task's budget.
    pub const BUDGET_EXCEEDED: &str = "budget_exceeded";
    /// The same call was made too often in a row.
    pub const LOOP_DETECTED: &str = "loop_detected";
    /// A delegation goes deeper, or starts more children, than is allowed.
    pub const DELEGATION_LIMIT: &str = "delegation_limit";
    /// Nobody serves the skill or the need that work was delegated to.
    pub const NOBODY_SERVES: &str = "nobody_serves";
    /// An action was denied, or nobody allowed it in time.
    pub const APPROVAL_DENIED: &str = "approval_denied";
    /// The action that was approved is not the one that is to be done.
    pub const APPROVAL_MISMATCH: &str = "approval_mismatch";
    /// What was said to a task cannot be used by it: it has ended, or takes no messages now.
    pub const INPUT_REFUSED: &str = "input_refused";
    /// A task that keeps its place in a lane came without the lane in its subject.
    pub const LANE_MISSING: &str = "lane_missing";
    /// A referenced object is not in the object store.
    pub const OBJECT_MISSING: &str = "object_missing";
    /// Too much of this is under way here; nothing has been begun.
    pub const BUSY: &str = "busy";
    /// The bus did not take a write or a read.
    pub const BUS_UNAVAILABLE: &str = "bus_unavailable";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        for (text, rest) in [
            ("x".repeat(FAULT_CHARS_MAX), ""),
            ("x".repeat(FAULT_CHARS_MAX + 1), "... (1 more bytes)"),
            ("\u{1F980}".repeat(FAULT_CHARS_MAX), ""),
            ("\u{1F980}".repeat(FAULT_CHARS_MAX + 1), "... (4 more bytes)"),
        ] {
            let kept = text.chars().take(FAULT_CHARS_MAX).collect::<String>();
            let fault = Fault::new("c", text.clone()).at(text.clone()).hint(text);
            for cut in [Some(fault.message), fault.place, fault.hint] {
                assert_eq!(cut, Some(format!("{kept}{rest}")));
            }
        }
    }
}
