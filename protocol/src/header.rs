//! Every header that Weft reads or writes, and a small map to carry them.
//!
//! Names are append-only. Lookups ignore case, as stock clients differ in it.

use std::borrow::Cow;

/// `Nats-Msg-Id`: transport dedup within the stream's window.
pub const MSG_ID: &str = "Nats-Msg-Id";
/// The fence: the append is refused unless the subject's last sequence is this.
pub const EXPECTED_LAST: &str = "Nats-Expected-Last-Subject-Sequence";
/// On what a stream republishes: the stream sequence of the message.
pub const SEQUENCE: &str = "Nats-Sequence";
/// Time to live of one stored message.
pub const TTL: &str = "Nats-TTL";
/// When a scheduled message is due: `@at <RFC 3339>`.
pub const SCHEDULE: &str = "Nats-Schedule";
/// Where a scheduled message goes.
pub const SCHEDULE_TARGET: &str = "Nats-Schedule-Target";
/// The id of an atomic batch.
pub const BATCH_ID: &str = "Nats-Batch-Id";
/// The place of a message in its atomic batch, from 1.
pub const BATCH_SEQUENCE: &str = "Nats-Batch-Sequence";
/// Commits the atomic batch; value `1`.
pub const BATCH_COMMIT: &str = "Nats-Batch-Commit";

/// The task's id, chosen by the submitter; on re-queued and delegated work, given by Weft.
pub const TASK_ID: &str = "Weft-Task-Id";
/// Asking twice with one key does the work once.
pub const DEDUP_KEY: &str = "Weft-Dedup-Key";
/// The conversation.
pub const CONTEXT_ID: &str = "Weft-Context-Id";
/// RFC 3339 time after which the result is of no use, or a duration such as `30s` from submission.
pub const DEADLINE: &str = "Weft-Deadline";
/// A subject that gets the finished task.
pub const REPLY_TO: &str = "Weft-Reply-To";
/// What the body is; see `codec`.
pub const CONTENT_TYPE: &str = "Content-Type";
/// The dead letter that this task repeats, as `<task id>`.
pub const REDRIVE_OF: &str = "Weft-Redrive-Of";
/// The task that delegated this one.
pub const PARENT: &str = "Weft-Parent";
/// Who a re-queued or delegated task belongs to.
pub const OWNER: &str = "Weft-Owner";
/// On re-queued work: the generation of the log entry that asked for it.
pub const GENERATION: &str = "Weft-Generation";
/// Keeps order: tasks of one skill and owner in the same lane run one after the other, in the order of the inbox.
/// The lane is the last token of the subject; the header may repeat it.
pub const LANE: &str = "Weft-Lane";
/// What the task may spend, as JSON: see `budget`.
pub const BUDGET: &str = "Weft-Budget";
/// On delegated work: how many delegations are above it.
pub const DEPTH: &str = "Weft-Depth";
/// On delegated work: a node that should not run it if another can.
pub const AVOID: &str = "Weft-Avoid";
/// On what is said to a task: `message`, `signal` or `decision`.
pub const INPUT: &str = "Weft-Input";
/// On a signal: its name.
pub const NAME: &str = "Weft-Name";
/// On a cancel of a task that no log mentions: the inbox sequence of its submission.
pub const SOURCE: &str = "Weft-Source";
/// On a log entry: its type, so that readers can choose without decoding.
pub const ENTRY: &str = "Weft-Entry";
/// On a log entry: a number that its writer made up for itself, by which it knows its own entries again.
pub const WRITER: &str = "Weft-Writer";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// W3C trace state.
pub const TRACESTATE: &str = "tracestate";
/// W3C baggage.
pub const BAGGAGE: &str = "baggage";

/// The headers of one message, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers(Vec<(Cow<'static, str>, String)>);

impl Headers {
    /// No headers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The first value under this name, in any case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Adds a header.
    pub fn push(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    /// Adds a header, as a chain.
    #[must_use]
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.push(name, value);
        self
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, value.as_str()))
    }

    /// All of them, with the names as they are held: those that the code names cost nothing to hand on.
    pub fn held(&self) -> impl Iterator<Item = (&Cow<'static, str>, &str)> {
        self.0.iter().map(|(name, value)| (name, value.as_str()))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values together, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len() + 4).sum()
    }
}

impl FromIterator<(String, String)> for Headers {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}
