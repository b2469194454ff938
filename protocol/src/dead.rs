//! Dead letters: the whole story of a task that failed for good.
//!
//! A letter is stored in the same atomic batch as the entry that ends the task, so there is exactly one.

use serde::{Deserialize, Serialize};

use crate::entry::Origin;
use crate::fault::{FailureClass, Fault};
use crate::id::TaskId;
use crate::log::{Attempt, TaskLog};
use crate::message::Message;
use crate::time::Timestamp;

/// Why a letter was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The task failed: permanently, or its attempts are used up.
    Failed,
    /// A submission under a known key or id had another body; the first one counts.
    Conflict,
    /// A message in the run queue that names no task.
    Malformed,
    /// What was said to a task cannot be used by it. The letter's input is what was said.
    Refused,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// The task. For a conflict, the task that won.
    pub task: TaskId,
    /// Why there is a letter.
    pub cause: Cause,
    /// The class of the last failure.
    pub failure: FailureClass,
    /// What went wrong last.
    pub fault: Fault,
    /// What the task is and where it came from.
    pub origin: Box<Origin>,
    /// Its input as it came.
    pub input: Message,
    /// All of its attempts, with node, times and error.
    pub attempts: Vec<Attempt>,
    /// When it was given up.
    pub died_at: Timestamp,
}

impl DeadLetter {
    /// The letter of a task that fails now, or `None` when its log has no origin.
    #[must_use]
    pub fn of(
        task: &TaskId,
        log: &TaskLog,
        failure: FailureClass,
        fault: &Fault,
        input: Message,
        died_at: Timestamp,
    ) -> Option<Self> {
        Some(Self {
            task: task.clone(),
            cause: Cause::Failed,
            failure,
            fault: fault.clone(),
            origin: log.origin.clone()?,
            input,
            attempts: log.attempts.clone(),
            died_at,
        })
    }
}
