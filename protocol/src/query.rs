//! What a list of tasks is asked with, and what comes back: the contract of `weft.query` and of the read model.

use serde::{Deserialize, Serialize};

use crate::task::TaskState;
use crate::time::Timestamp;

/// Rows of a page, at most.
pub const PAGE_MAX: usize = 1000;
/// Rows of a page that does not say how many.
pub const PAGE_DEFAULT: usize = 50;

/// Which tasks to list. Everything left out is not asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Query {
    /// Only this owner's.
    pub owner: Option<String>,
    /// Only this skill's.
    pub skill: Option<String>,
    /// Only those of any of these skills; none at all when the list is empty.
    pub skills: Option<Vec<String>>,
    /// Only those of this conversation.
    pub context_id: Option<String>,
    /// Only those in this state.
    pub state: Option<TaskState>,
    /// Only the children of this task.
    pub parent: Option<String>,
    /// Only those that wait for this, in a word.
    pub waiting_for: Option<String>,
    /// Only those that changed at this time or later.
    pub changed_since: Option<Timestamp>,
    /// Rows of the page; [`PAGE_DEFAULT`] without it, [`PAGE_MAX`] at most.
    pub limit: Option<usize>,
    /// Where the last page ended.
    pub cursor: Option<String>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    /// The tasks.
    pub tasks: Vec<Row>,
    /// Where the next page begins; nothing when this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How many there are over all pages.
    pub total: u64,
}

/// One task, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The task.
    pub id: String,
    /// Who it belongs to.
    pub owner: String,
    /// What is to be done.
    pub skill: String,
    /// The conversation: the one that the submitter named, or the task's own.
    pub context_id: String,
    /// Its state.
    pub state: TaskState,
    /// What it waits for, in a word: `children`, `timer`, `input`, `signal`, `approval`, `lane`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// How often it was tried; a run that goes on after a wait or a drain is no further try.
    pub attempts: u32,
    /// The node of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The task that delegated it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// When it last changed.
    pub changed_at: Timestamp,
    /// What went wrong, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The generation of its last entry, 0 while there is none.
    pub generation: u64,
}
