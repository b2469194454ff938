//! One run of a task, as its log tells it.

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::id::NodeName;
use crate::time::Timestamp;

/// One run of a task by one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// From 1, never reused within a task.
    pub number: u32,
    /// Who ran it.
    pub node: NodeName,
    /// When its first entry was written.
    pub started_at: Timestamp,
    /// When its last entry was written.
    pub seen_at: Timestamp,
    /// How it went.
    pub outcome: AttemptOutcome,
    /// What went wrong, if something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// The agent's version, where the log says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

impl AttemptOutcome {
    /// Whether a run after it goes on where it stopped, rather than trying again.
    #[must_use]
    pub fn is_pause(self) -> bool {
        match self {
            Self::Suspended | Self::Released => true,
            Self::Running | Self::Lost | Self::Failed | Self::Ended => false,
        }
    }
}

/// How an attempt went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// Under way, as far as the log knows.
    Running,
    /// Another one began before it ended.
    Lost,
    /// It failed.
    Failed,
    /// It was given back; costs nothing.
    Released,
    /// It waits without a worker.
    Suspended,
    /// It ended the task.
    Ended,
}
