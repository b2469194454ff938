//! THE LIST of A2A's operations, for the bindings that speak JSON: what each reads, and what the core does with it.

use std::convert::identity;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::query::{Field, Kind};
use super::{body, parse};
use crate::a2a::error::Error;
use crate::a2a::request::{
    CancelTaskRequest, ExtendedCardRequest, GetTaskRequest, ListPushConfigsRequest,
    ListTasksRequest, PushConfig, PushConfigRequest, SendMessageRequest, SubscribeToTaskRequest,
};
use crate::core::call::{self, Call};
use crate::core::{Core, EventStream};

/// An operation of A2A 1.0, section 3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `SendMessage`.
    SendMessage,
    /// `SendStreamingMessage`.
    SendStreamingMessage,
    /// `GetTask`.
    GetTask,
    /// `ListTasks`.
    ListTasks,
    /// `CancelTask`.
    CancelTask,
    /// `SubscribeToTask`.
    SubscribeToTask,
    /// `CreateTaskPushNotificationConfig`.
    CreatePushConfig,
    /// `GetTaskPushNotificationConfig`.
    GetPushConfig,
    /// `ListTaskPushNotificationConfigs`.
    ListPushConfigs,
    /// `DeleteTaskPushNotificationConfig`.
    DeletePushConfig,
    /// `GetExtendedAgentCard`.
    GetExtendedAgentCard,
}

/// What came of an operation.
pub enum Answer {
    /// JSON.
    Json(Vec<u8>),
    /// Events.
    Events(EventStream),
}

/// What an operation gets.
pub struct Params {
    /// An object.
    pub value: Value,
    /// How large the body was that it stood in.
    pub bytes: usize,
}

impl Params {
    async fn read<T: DeserializeOwned + Send + 'static>(
        self,
        core: &Core,
        required: &'static [&'static str],
    ) -> Result<T, Error> {
        let Self { value, bytes } = self;
        parse::beside(&core.jobs, bytes, move || body::request(value, required), identity).await
    }
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 11] = [
        Self::SendMessage,
        Self::SendStreamingMessage,
        Self::GetTask,
        Self::ListTasks,
        Self::CancelTask,
        Self::SubscribeToTask,
        Self::CreatePushConfig,
        Self::GetPushConfig,
        Self::ListPushConfigs,
        Self::DeletePushConfig,
        Self::GetExtendedAgentCard,
    ];

    /// The name that JSON-RPC and gRPC call it by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SendMessage => "SendMessage",
            Self::SendStreamingMessage => "SendStreamingMessage",
            Self::GetTask => "GetTask",
            Self::ListTasks => "ListTasks",
            Self::CancelTask => "CancelTask",
            Self::SubscribeToTask => "SubscribeToTask",
            Self::CreatePushConfig => "CreateTaskPushNotificationConfig",
            Self::GetPushConfig => "GetTaskPushNotificationConfig",
            Self::ListPushConfigs => "ListTaskPushNotificationConfigs",
            Self::DeletePushConfig => "DeleteTaskPushNotificationConfig",
            Self::GetExtendedAgentCard => "GetExtendedAgentCard",
        }
    }

    /// The operation with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }

    /// The permission that it needs.
    #[must_use]
    pub fn asks(self) -> call::Operation {
        match self {
            Self::SendMessage | Self::SendStreamingMessage => call::Operation::Send,
            Self::GetTask | Self::ListTasks | Self::SubscribeToTask => call::Operation::Read,
            Self::CancelTask => call::Operation::Cancel,
            Self::CreatePushConfig
            | Self::GetPushConfig
            | Self::ListPushConfigs
            | Self::DeletePushConfig => call::Operation::Push,
            Self::GetExtendedAgentCard => call::Operation::Card,
        }
    }

    /// Fields that have to be there.
    #[must_use]
    pub fn required(self) -> &'static [&'static str] {
        match self {
            Self::SendMessage | Self::SendStreamingMessage => {
                &["message", "message.messageId", "message.role", "message.parts"]
            }
            Self::GetTask | Self::CancelTask | Self::SubscribeToTask => &["id"],
            Self::ListTasks | Self::GetExtendedAgentCard => &[],
            Self::CreatePushConfig => &["taskId", "url"],
            Self::GetPushConfig | Self::DeletePushConfig => &["taskId", "id"],
            Self::ListPushConfigs => &["taskId"],
        }
    }

    /// Fields that a query may give, where HTTP has no body for them.
    #[must_use]
    pub fn in_query(self) -> &'static [Field] {
        const fn field(name: &'static str, kind: Kind, about: &'static str) -> Field {
            Field { name, kind, about }
        }
        const TENANT: Field = field("tenant", Kind::Text, "Whose tasks.");
        const HISTORY: Field =
            field("historyLength", Kind::Number, "Messages of history, the latest; 0 for none.");
        const SIZE: Field = field("pageSize", Kind::Number, "Items of a page.");
        const TOKEN: Field = field("pageToken", Kind::Text, "Where the last page ended.");
        const GET: &[Field] = &[TENANT, HISTORY];
        const LIST: &[Field] = &[
            TENANT,
            field("contextId", Kind::Text, "Only those of this conversation."),
            field("status", Kind::State, "Only those in this state."),
            SIZE,
            TOKEN,
            HISTORY,
            field("statusTimestampAfter", Kind::Time, "Only those that changed then or later."),
            field("includeArtifacts", Kind::Bool, "With their artifacts."),
        ];
        const CONFIGS: &[Field] = &[TENANT, SIZE, TOKEN];
        match self {
            Self::GetTask => GET,
            Self::ListTasks => LIST,
            Self::ListPushConfigs => CONFIGS,
            Self::SubscribeToTask
            | Self::GetPushConfig
            | Self::DeletePushConfig
            | Self::GetExtendedAgentCard => &[TENANT],
            Self::SendMessage
            | Self::SendStreamingMessage
            | Self::CancelTask
            | Self::CreatePushConfig => &[],
        }
    }

    /// Carries it out. `after` is the cursor of the last event that the client saw.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn perform(
        self,
        core: &Core,
        call: &mut Call,
        params: Params,
        after: Option<&str>,
    ) -> Result<Answer, Error> {
        if call.tenant.is_none() {
            let tenant = params.value.get("tenant").and_then(Value::as_str);
            call.tenant = tenant.filter(|tenant| !tenant.is_empty()).map(str::to_owned);
        }
        let required = self.required();
        match self {
            Self::SendMessage => {
                let request: SendMessageRequest = params.read(core, required).await?;
                json(&core.send(call, request).await?)
            }
            Self::SendStreamingMessage => {
                let request: SendMessageRequest = params.read(core, required).await?;
                core.stream(call, request).await.map(Answer::Events)
            }
            Self::GetTask => {
                let request: GetTaskRequest = params.read(core, required).await?;
                json(&core.get(call, request).await?)
            }
            Self::ListTasks => {
                let request: ListTasksRequest = params.read(core, required).await?;
                json(&core.list(call, request).await?)
            }
            Self::CancelTask => {
                let request: CancelTaskRequest = params.read(core, required).await?;
                json(&core.cancel(call, request).await?)
            }
            Self::SubscribeToTask => {
                let request: SubscribeToTaskRequest = params.read(core, required).await?;
                core.subscribe(call, request, after).await.map(Answer::Events)
            }
            Self::CreatePushConfig
            | Self::GetPushConfig
            | Self::ListPushConfigs
            | Self::DeletePushConfig => self.push(core, call, params).await,
            Self::GetExtendedAgentCard => {
                let request: ExtendedCardRequest = params.read(core, required).await?;
                json(&core.extended_card(call, request).await?)
            }
        }
    }

    async fn push(self, core: &Core, call: &Call, params: Params) -> Result<Answer, Error> {
        let required = self.required();
        if self == Self::CreatePushConfig {
            let config: PushConfig = params.read(core, required).await?;
            return json(&core.create_push(call, config).await?);
        }
        if self == Self::ListPushConfigs {
            let request: ListPushConfigsRequest = params.read(core, required).await?;
            return json(&core.list_push(call, request).await?);
        }
        let request: PushConfigRequest = params.read(core, required).await?;
        if self == Self::GetPushConfig {
            return json(&core.get_push(call, request).await?);
        }
        core.delete_push(call, request).await?;
        json(&Map::<String, Value>::new())
    }
}

fn json(answer: &impl Serialize) -> Result<Answer, Error> {
    serde_json::to_vec(answer).map(Answer::Json).map_err(|error| Error::Internal(error.to_string()))
}
