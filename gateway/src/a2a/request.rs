//! What clients ask, in the shape of A2A's protobuf messages. JSON doors read them with serde, the gRPC door converts.

use std::fmt;

use protocol::Timestamp;
use protocol::message::Message;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `SendMessageRequest`: of `SendMessage` and `SendStreamingMessage`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SendMessageRequest {
    /// Whose; see [`crate::core::call::Call::tenant`].
    pub tenant: Option<String>,
    /// What is said. Required.
    pub message: Option<Message>,
    /// How it is to be answered.
    pub configuration: Option<SendMessageConfiguration>,
    /// Anything else: `weft/skill` names the skill where the address does not.
    pub metadata: Option<Map<String, Value>>,
}

/// `SendMessageConfiguration`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SendMessageConfiguration {
    /// Media types that the client can use.
    #[serde(alias = "accepted_output_modes")]
    pub accepted_output_modes: Vec<String>,
    /// A webhook for the new task.
    #[serde(alias = "task_push_notification_config")]
    pub task_push_notification_config: Option<PushConfig>,
    /// Messages of history in the answer, the latest; all without it.
    #[serde(alias = "history_length", deserialize_with = "super::request::number")]
    pub history_length: Option<i32>,
    /// Answer as soon as the task exists.
    #[serde(alias = "return_immediately")]
    pub return_immediately: bool,
}

/// `TaskPushNotificationConfig`: a webhook, and the request that creates one.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PushConfig {
    /// Whose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Unique within the task; made up when it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The task.
    #[serde(alias = "task_id", skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// Where to. Required.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// Sent along, so that the receiver knows the sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// How the sender proves itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<AuthenticationInfo>,
}

/// `AuthenticationInfo`: becomes `Authorization: <scheme> <credentials>`.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthenticationInfo {
    /// `Bearer`, `Basic` and so on. Required.
    pub scheme: String,
    /// What follows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<String>,
}

/// Without what is secret: the URL may hold a key as well.
impl fmt::Debug for PushConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushConfig")
            .field("tenant", &self.tenant)
            .field("id", &self.id)
            .field("task_id", &self.task_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AuthenticationInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticationInfo").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

/// `GetTaskRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GetTaskRequest {
    /// Whose.
    pub tenant: Option<String>,
    /// The task. Required.
    pub id: String,
    /// Messages of history, the latest; all without it.
    #[serde(alias = "history_length", deserialize_with = "super::request::number")]
    pub history_length: Option<i32>,
}

/// `ListTasksRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListTasksRequest {
    /// Whose.
    pub tenant: Option<String>,
    /// Only those of this conversation.
    #[serde(alias = "context_id")]
    pub context_id: Option<String>,
    /// Only those in this state: the name or the number of a `TaskState`.
    #[serde(deserialize_with = "super::request::enumerated")]
    pub status: Option<String>,
    /// 1 to 100; 50 without it.
    #[serde(alias = "page_size", deserialize_with = "super::request::number")]
    pub page_size: Option<i32>,
    /// Where the last page ended.
    #[serde(alias = "page_token")]
    pub page_token: Option<String>,
    /// Messages of history for each task; none without it.
    #[serde(alias = "history_length", deserialize_with = "super::request::number")]
    pub history_length: Option<i32>,
    /// Only those whose status is from this time or later.
    #[serde(alias = "status_timestamp_after")]
    pub status_timestamp_after: Option<Timestamp>,
    /// With their artifacts.
    #[serde(alias = "include_artifacts")]
    pub include_artifacts: Option<bool>,
}

/// `CancelTaskRequest`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CancelTaskRequest {
    /// Whose.
    pub tenant: Option<String>,
    /// The task. Required.
    pub id: String,
    /// Anything else: `reason` is kept.
    pub metadata: Option<Map<String, Value>>,
}

/// `SubscribeToTaskRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscribeToTaskRequest {
    /// Whose.
    pub tenant: Option<String>,
    /// The task. Required.
    pub id: String,
}

/// `GetTaskPushNotificationConfigRequest` and `DeleteTaskPushNotificationConfigRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PushConfigRequest {
    /// Whose.
    pub tenant: Option<String>,
    /// The task. Required.
    #[serde(alias = "task_id")]
    pub task_id: String,
    /// The configuration. Required.
    pub id: String,
}

/// `ListTaskPushNotificationConfigsRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListPushConfigsRequest {
    /// Whose.
    pub tenant: Option<String>,
    /// The task. Required.
    #[serde(alias = "task_id")]
    pub task_id: String,
    /// Configurations of a page.
    #[serde(alias = "page_size", deserialize_with = "super::request::number")]
    pub page_size: Option<i32>,
    /// Where the last page ended.
    #[serde(alias = "page_token")]
    pub page_token: Option<String>,
}

/// `GetExtendedAgentCardRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct ExtendedCardRequest {
    /// Whose.
    pub tenant: Option<String>,
}

/// Reads an enum as ProtoJSON allows it: its name, or its number.
fn enumerated<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    use serde::de::Error as _;
    match Value::deserialize(from)? {
        Value::Null => Ok(None),
        Value::String(name) => Ok(Some(name)),
        Value::Number(number) if number.is_i64() => Ok(Some(number.to_string())),
        other @ (Value::Number(_) | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
            Err(D::Error::custom(format!("{other} is no name or number of an enum")))
        }
    }
}

/// Reads an int32 as ProtoJSON allows it: a number, or a number in a string.
pub(crate) fn number<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<i32>, D::Error> {
    use serde::de::Error as _;
    match Value::deserialize(from)? {
        Value::Null => Ok(None),
        Value::Number(number) => {
            let whole = number.as_i64().or_else(|| {
                number.as_f64().filter(|float| float.fract() == 0.0).map(|float| float as i64)
            });
            whole
                .and_then(|whole| i32::try_from(whole).ok())
                .map(Some)
                .ok_or_else(|| D::Error::custom(format!("{number} is no 32-bit whole number")))
        }
        Value::String(text) => text
            .parse()
            .map(Some)
            .map_err(|_| D::Error::custom(format!("{text:?} is no 32-bit whole number"))),
        other @ (Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
            Err(D::Error::custom(format!("{other} is no 32-bit whole number")))
        }
    }
}
