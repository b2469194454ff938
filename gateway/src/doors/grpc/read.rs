//! Requests off the wire: protobuf to the types that all doors share.
//!
//! What those types cannot hold (a part that is nothing, a role that is no role) is a violation, named by the path that
//! the JSON doors use. Whether a value that they can hold makes sense is the core's to judge, for all doors alike.

use prost_types::Timestamp as WireTime;
use protocol::Timestamp;
use protocol::message::{Content, Message, Part, Role};

use super::pb;
use super::pb::part::Content as WireContent;
use crate::a2a::error::{Error, Violation};
use crate::a2a::request::{
    AuthenticationInfo, CancelTaskRequest, ExtendedCardRequest, GetTaskRequest,
    ListPushConfigsRequest, ListTasksRequest, PushConfig, PushConfigRequest,
    SendMessageConfiguration, SendMessageRequest, SubscribeToTaskRequest,
};
use crate::doors::operation::Operation;

/// Faults that one answer names: a request may be full of them.
const FAULTS_MAX: usize = 16;

/// Reads one request and gathers what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Reader {
    faults: Vec<Violation>,
}

/// Reads `wire` with `reading`.
///
/// # Errors
/// With every field that cannot be what it is.
pub(super) fn read<W, T>(wire: W, reading: fn(&mut Reader, W) -> T) -> Result<T, Error> {
    let mut reader = Reader::default();
    let read = reading(&mut reader, wire);
    if reader.faults.is_empty() { Ok(read) } else { Err(Error::InvalidParams(reader.faults)) }
}

/// Proto3 has no absent strings: empty means absent.
fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

impl Reader {
    pub(super) fn fault(&mut self, field: &str, description: impl Into<String>) {
        if self.faults.len() == FAULTS_MAX {
            return;
        }
        self.faults.push(Violation { field: field.to_owned(), description: description.into() });
    }

    /// A field that has to be there; protobuf leaves one that was not set empty.
    fn required(&mut self, field: &str, is_missing: bool) {
        if is_missing {
            self.fault(field, "is required");
        }
    }

    pub(super) fn send(&mut self, wire: pb::SendMessageRequest) -> SendMessageRequest {
        if wire.message.is_none() {
            for field in Operation::SendMessage.required() {
                self.required(field, true);
            }
        }
        SendMessageRequest {
            tenant: some(wire.tenant),
            message: wire.message.map(|message| self.message("message", message)),
            configuration: wire.configuration.map(|wire| self.configuration(wire)),
            metadata: wire.metadata.map(|metadata| self.map("metadata", metadata)),
        }
    }

    fn configuration(&mut self, wire: pb::SendMessageConfiguration) -> SendMessageConfiguration {
        SendMessageConfiguration {
            accepted_output_modes: wire.accepted_output_modes,
            task_push_notification_config: wire
                .task_push_notification_config
                .map(|config| self.push_config(config)),
            history_length: wire.history_length,
            return_immediately: wire.return_immediately,
        }
    }

    /// A message at the path `at`.
    pub(super) fn message(&mut self, at: &str, wire: pb::Message) -> Message {
        self.required(&format!("{at}.messageId"), wire.message_id.is_empty());
        let role = match pb::Role::try_from(wire.role) {
            Ok(pb::Role::User) => Role::User,
            Ok(pb::Role::Agent) => Role::Agent,
            Ok(pb::Role::Unspecified) => {
                self.required(&format!("{at}.role"), true);
                Role::User
            }
            Err(unknown) => {
                self.fault(&format!("{at}.role"), unknown.to_string());
                Role::User
            }
        };
        self.required(&format!("{at}.parts"), wire.parts.is_empty());
        let parts = (0..).zip(wire.parts);
        let parts =
            parts.filter_map(|(i, part): (usize, _)| self.part(&format!("{at}.parts[{i}]"), part));
        let parts = parts.collect();
        Message {
            message_id: wire.message_id,
            context_id: some(wire.context_id),
            task_id: some(wire.task_id),
            role,
            parts,
            metadata: wire.metadata.map(|map| self.map(&format!("{at}.metadata"), map)),
            extensions: wire.extensions,
            reference_task_ids: wire.reference_task_ids,
        }
    }

    fn part(&mut self, at: &str, wire: pb::Part) -> Option<Part> {
        let content = match wire.content {
            Some(WireContent::Text(text)) => Content::Text(text),
            Some(WireContent::Raw(bytes)) => Content::Raw(bytes),
            Some(WireContent::Url(url)) => Content::Url(url),
            Some(WireContent::Data(value)) => {
                Content::Data(self.value(&format!("{at}.data"), value))
            }
            None => {
                self.fault(at, "a part needs one of text, raw, url, data and has none");
                return None;
            }
        };
        Some(Part {
            content,
            media_type: some(wire.media_type),
            filename: some(wire.filename),
            metadata: wire.metadata.map(|map| self.map(&format!("{at}.metadata"), map)),
        })
    }

    pub(super) fn get(&mut self, wire: pb::GetTaskRequest) -> GetTaskRequest {
        self.required("id", wire.id.is_empty());
        GetTaskRequest {
            tenant: some(wire.tenant),
            id: wire.id,
            history_length: wire.history_length,
        }
    }

    pub(super) fn list(&mut self, wire: pb::ListTasksRequest) -> ListTasksRequest {
        ListTasksRequest {
            tenant: some(wire.tenant),
            context_id: some(wire.context_id),
            status: self.state_name("status", wire.status),
            page_size: wire.page_size,
            page_token: some(wire.page_token),
            history_length: wire.history_length,
            status_timestamp_after: wire
                .status_timestamp_after
                .map(|time| self.time("statusTimestampAfter", &time)),
            include_artifacts: wire.include_artifacts,
        }
    }

    fn state_name(&mut self, at: &str, state: i32) -> Option<String> {
        match pb::TaskState::try_from(state) {
            Ok(pb::TaskState::Unspecified) => None,
            Ok(state) => Some(state.as_str_name().to_owned()),
            Err(unknown) => {
                self.fault(at, unknown.to_string());
                None
            }
        }
    }

    fn time(&mut self, at: &str, wire: &WireTime) -> Timestamp {
        let nanos = u32::try_from(wire.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
        let millis = nanos.and_then(|nanos| {
            wire.seconds.checked_mul(1000)?.checked_add(i64::from(nanos / 1_000_000))
        });
        let time = millis.map(Timestamp::from_millis).filter(|time| Some(time.millis()) == millis);
        time.unwrap_or_else(|| {
            self.fault(at, "is no time between the years 0 and 9999");
            Timestamp::default()
        })
    }

    pub(super) fn cancel(&mut self, wire: pb::CancelTaskRequest) -> CancelTaskRequest {
        self.required("id", wire.id.is_empty());
        CancelTaskRequest {
            tenant: some(wire.tenant),
            id: wire.id,
            metadata: wire.metadata.map(|metadata| self.map("metadata", metadata)),
        }
    }

    pub(super) fn subscribe(&mut self, wire: pb::SubscribeToTaskRequest) -> SubscribeToTaskRequest {
        self.required("id", wire.id.is_empty());
        SubscribeToTaskRequest { tenant: some(wire.tenant), id: wire.id }
    }

    pub(super) fn create_push(&mut self, wire: pb::TaskPushNotificationConfig) -> PushConfig {
        self.required("taskId", wire.task_id.is_empty());
        self.required("url", wire.url.is_empty());
        self.push_config(wire)
    }

    pub(super) fn push_config(&mut self, wire: pb::TaskPushNotificationConfig) -> PushConfig {
        let authentication = wire.authentication.map(|wire| AuthenticationInfo {
            scheme: wire.scheme,
            credentials: some(wire.credentials),
        });
        PushConfig {
            tenant: some(wire.tenant),
            id: some(wire.id),
            task_id: some(wire.task_id),
            url: wire.url,
            token: some(wire.token),
            authentication,
        }
    }

    pub(super) fn get_push(
        &mut self,
        wire: pb::GetTaskPushNotificationConfigRequest,
    ) -> PushConfigRequest {
        self.required("taskId", wire.task_id.is_empty());
        self.required("id", wire.id.is_empty());
        PushConfigRequest { tenant: some(wire.tenant), task_id: wire.task_id, id: wire.id }
    }

    pub(super) fn delete_push(
        &mut self,
        wire: pb::DeleteTaskPushNotificationConfigRequest,
    ) -> PushConfigRequest {
        self.required("taskId", wire.task_id.is_empty());
        self.required("id", wire.id.is_empty());
        PushConfigRequest { tenant: some(wire.tenant), task_id: wire.task_id, id: wire.id }
    }

    pub(super) fn list_push(
        &mut self,
        wire: pb::ListTaskPushNotificationConfigsRequest,
    ) -> ListPushConfigsRequest {
        self.required("taskId", wire.task_id.is_empty());
        ListPushConfigsRequest {
            tenant: some(wire.tenant),
            task_id: wire.task_id,
            page_size: Some(wire.page_size).filter(|size| *size != 0),
            page_token: some(wire.page_token),
        }
    }

    pub(super) fn extended_card(
        &mut self,
        wire: pb::GetExtendedAgentCardRequest,
    ) -> ExtendedCardRequest {
        ExtendedCardRequest { tenant: some(wire.tenant) }
    }
}
