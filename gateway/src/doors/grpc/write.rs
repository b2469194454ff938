//! Answers onto the wire: the types that all doors share to protobuf.

use prost_types::Timestamp as WireTime;
use protocol::Timestamp;
use protocol::message::{Content, Message, Part, Role};
use protocol::task::{Artifact, Task, TaskState, TaskStatus};

use super::pb;
use super::pb::part::Content as WireContent;
use super::struct_value::{to_struct, to_wire};
use crate::a2a::request::{AuthenticationInfo, PushConfig};
use crate::a2a::response::{
    ArtifactUpdate, ListPushConfigsResponse, ListTasksResponse, SendMessageResponse, StatusUpdate,
    StreamResponse,
};

impl From<Task> for pb::Task {
    fn from(task: Task) -> Self {
        Self {
            id: task.id,
            context_id: task.context_id,
            status: Some(task.status.into()),
            artifacts: task.artifacts.into_iter().map(Into::into).collect(),
            history: task.history.into_iter().map(Into::into).collect(),
            metadata: task.metadata.map(to_struct),
        }
    }
}

impl From<TaskStatus> for pb::TaskStatus {
    fn from(status: TaskStatus) -> Self {
        Self {
            state: pb::TaskState::from(status.state).into(),
            message: status.message.map(Into::into),
            timestamp: status.timestamp.map(time),
        }
    }
}

impl From<TaskState> for pb::TaskState {
    fn from(state: TaskState) -> Self {
        match state {
            TaskState::Submitted => Self::Submitted,
            TaskState::Working => Self::Working,
            TaskState::InputRequired => Self::InputRequired,
            TaskState::AuthRequired => Self::AuthRequired,
            TaskState::Completed => Self::Completed,
            TaskState::Failed => Self::Failed,
            TaskState::Canceled => Self::Canceled,
            TaskState::Rejected => Self::Rejected,
        }
    }
}

fn time(time: Timestamp) -> WireTime {
    let millis = i32::try_from(time.millis().rem_euclid(1000)).unwrap_or_default();
    WireTime { seconds: time.millis().div_euclid(1000), nanos: millis * 1_000_000 }
}

impl From<Message> for pb::Message {
    fn from(message: Message) -> Self {
        let role = match message.role {
            Role::User => pb::Role::User,
            Role::Agent => pb::Role::Agent,
        };
        Self {
            message_id: message.message_id,
            context_id: message.context_id.unwrap_or_default(),
            task_id: message.task_id.unwrap_or_default(),
            role: role.into(),
            parts: message.parts.into_iter().map(Into::into).collect(),
            metadata: message.metadata.map(to_struct),
            extensions: message.extensions,
            reference_task_ids: message.reference_task_ids,
        }
    }
}

impl From<Part> for pb::Part {
    fn from(part: Part) -> Self {
        let content = match part.content {
            Content::Text(text) => WireContent::Text(text),
            Content::Raw(bytes) => WireContent::Raw(bytes),
            Content::Url(url) => WireContent::Url(url),
            Content::Data(value) => WireContent::Data(to_wire(value)),
        };
        Self {
            content: Some(content),
            metadata: part.metadata.map(to_struct),
            filename: part.filename.unwrap_or_default(),
            media_type: part.media_type.unwrap_or_default(),
        }
    }
}

impl From<Artifact> for pb::Artifact {
    fn from(artifact: Artifact) -> Self {
        Self {
            artifact_id: artifact.artifact_id,
            name: artifact.name.unwrap_or_default(),
            description: artifact.description.unwrap_or_default(),
            parts: artifact.parts.into_iter().map(Into::into).collect(),
            metadata: artifact.metadata.map(to_struct),
            extensions: Vec::new(),
        }
    }
}

impl From<SendMessageResponse> for pb::SendMessageResponse {
    fn from(response: SendMessageResponse) -> Self {
        use pb::send_message_response::Payload;
        let payload = match response {
            SendMessageResponse::Task(task) => Payload::Task(task.into()),
            SendMessageResponse::Message(message) => Payload::Message(message.into()),
        };
        Self { payload: Some(payload) }
    }
}

impl From<StreamResponse> for pb::StreamResponse {
    fn from(response: StreamResponse) -> Self {
        use pb::stream_response::Payload;
        let payload = match response {
            StreamResponse::Task(task) => Payload::Task(task.into()),
            StreamResponse::Message(message) => Payload::Message(message.into()),
            StreamResponse::StatusUpdate(update) => Payload::StatusUpdate(update.into()),
            StreamResponse::ArtifactUpdate(update) => Payload::ArtifactUpdate(update.into()),
        };
        Self { payload: Some(payload) }
    }
}

impl From<StatusUpdate> for pb::TaskStatusUpdateEvent {
    fn from(update: StatusUpdate) -> Self {
        Self {
            task_id: update.task_id,
            context_id: update.context_id,
            status: Some(update.status.into()),
            metadata: update.metadata.map(to_struct),
        }
    }
}

impl From<ArtifactUpdate> for pb::TaskArtifactUpdateEvent {
    fn from(update: ArtifactUpdate) -> Self {
        Self {
            task_id: update.task_id,
            context_id: update.context_id,
            artifact: Some(update.artifact.into()),
            append: update.append,
            last_chunk: update.last_chunk,
            metadata: update.metadata.map(to_struct),
        }
    }
}

impl From<ListTasksResponse> for pb::ListTasksResponse {
    fn from(page: ListTasksResponse) -> Self {
        Self {
            tasks: page.tasks.into_iter().map(Into::into).collect(),
            next_page_token: page.next_page_token,
            page_size: page.page_size,
            total_size: page.total_size,
        }
    }
}

impl From<PushConfig> for pb::TaskPushNotificationConfig {
    fn from(config: PushConfig) -> Self {
        Self {
            tenant: config.tenant.unwrap_or_default(),
            id: config.id.unwrap_or_default(),
            task_id: config.task_id.unwrap_or_default(),
            url: config.url,
            token: config.token.unwrap_or_default(),
            authentication: config.authentication.map(Into::into),
        }
    }
}

impl From<AuthenticationInfo> for pb::AuthenticationInfo {
    fn from(info: AuthenticationInfo) -> Self {
        Self { scheme: info.scheme, credentials: info.credentials.unwrap_or_default() }
    }
}

impl From<ListPushConfigsResponse> for pb::ListTaskPushNotificationConfigsResponse {
    fn from(page: ListPushConfigsResponse) -> Self {
        Self {
            configs: page.configs.into_iter().map(Into::into).collect(),
            next_page_token: page.next_page_token,
        }
    }
}
