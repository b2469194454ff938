//! What clients get, in the shape of A2A's protobuf messages.

use protocol::message::Message;
use protocol::task::{Artifact, Task, TaskStatus};
use serde::Serialize;
use serde_json::{Map, Value};

use super::request::PushConfig;

/// `SendMessageResponse`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SendMessageResponse {
    /// The task that came of it.
    Task(Task),
    /// An answer without a task.
    Message(Message),
}

/// `TaskStatusUpdateEvent`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusUpdate {
    /// The task.
    pub task_id: String,
    /// Its conversation.
    pub context_id: String,
    /// How it stands now.
    pub status: TaskStatus,
    /// Weft's own facts, as in [`Task::metadata`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

/// `TaskArtifactUpdateEvent`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactUpdate {
    /// The task.
    pub task_id: String,
    /// Its conversation.
    pub context_id: String,
    /// The artifact, or a chunk of it.
    pub artifact: Artifact,
    /// Whether the parts come after those of the artifact with the same id.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub append: bool,
    /// Whether the artifact is complete.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub last_chunk: bool,
    /// Weft's own facts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

/// `StreamResponse`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum StreamResponse {
    /// The task as it stands: the first event.
    Task(Task),
    /// An answer without a task.
    Message(Message),
    /// Its status has changed.
    StatusUpdate(StatusUpdate),
    /// There is more of an artifact.
    ArtifactUpdate(ArtifactUpdate),
}

/// `ListTasksResponse`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListTasksResponse {
    /// Newest change first.
    pub tasks: Vec<Task>,
    /// Where the next page begins; empty when this is the last.
    pub next_page_token: String,
    /// Tasks on this page at most.
    pub page_size: i32,
    /// Tasks over all pages.
    pub total_size: i32,
}

/// `ListTaskPushNotificationConfigsResponse`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListPushConfigsResponse {
    /// The configurations.
    pub configs: Vec<PushConfig>,
    /// Where the next page begins; empty when this is the last.
    pub next_page_token: String,
}
