//! THE LIST of addresses: the router reads it, and the `OpenAPI` document is written from it.

use super::Door;
use crate::core::call::Operation;

/// What can be asked over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A JSON-RPC request, whatever its method.
    JsonRpc,
    /// A call of the gRPC service.
    Grpc,
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
    ExtendedCard,
    /// The public card of the mesh or of an agent.
    PublicCard,
    /// The keys that cards are signed with.
    KeySet,
    /// A part that is over the inline limit.
    File,
    /// Brings a file, for a message to refer to.
    BringFile,
    /// The `OpenAPI` document.
    Description,
    /// Submits to a skill.
    PlainSubmit,
    /// A task.
    PlainTask,
    /// Tasks.
    PlainTasks,
    /// Ends a task.
    PlainCancel,
    /// Says something to a task.
    PlainSay,
    /// Sends a signal to a task.
    PlainSignal,
    /// Decides about an approval.
    PlainDecide,
    /// The events of a task.
    PlainEvents,
    /// A task and those that it has started.
    PlainTree,
    /// How a task's webhooks do.
    PlainPush,
    /// What waits for a decision.
    PlainApprovals,
    /// Who serves what.
    PlainAgents,
}

impl Endpoint {
    /// The door it belongs to.
    #[must_use]
    pub fn door(self) -> Door {
        match self {
            Self::JsonRpc => Door::JsonRpc,
            Self::Grpc => Door::Grpc,
            Self::SendMessage
            | Self::SendStreamingMessage
            | Self::GetTask
            | Self::ListTasks
            | Self::CancelTask
            | Self::SubscribeToTask
            | Self::CreatePushConfig
            | Self::GetPushConfig
            | Self::ListPushConfigs
            | Self::DeletePushConfig
            | Self::ExtendedCard => Door::Rest,
            Self::PublicCard | Self::KeySet => Door::Card,
            Self::File | Self::BringFile => Door::File,
            Self::Description => Door::Description,
            Self::PlainSubmit
            | Self::PlainTask
            | Self::PlainTasks
            | Self::PlainCancel
            | Self::PlainSay
            | Self::PlainSignal
            | Self::PlainDecide
            | Self::PlainEvents
            | Self::PlainTree
            | Self::PlainPush
            | Self::PlainApprovals
            | Self::PlainAgents => Door::Plain,
        }
    }

    /// What an address asks for; what is asked at the other ones stands in their bodies, or in the name of a gRPC method.
    #[must_use]
    pub fn asks(self) -> Option<Operation> {
        use Endpoint as E;
        match self {
            E::JsonRpc | E::Grpc | E::Description => None,
            E::SendMessage
            | E::SendStreamingMessage
            | E::PlainSubmit
            | E::PlainSay
            | E::PlainSignal
            | E::BringFile => Some(Operation::Send),
            E::GetTask
            | E::ListTasks
            | E::SubscribeToTask
            | E::File
            | E::PlainTask
            | E::PlainTasks
            | E::PlainEvents
            | E::PlainTree => Some(Operation::Read),
            E::CancelTask | E::PlainCancel => Some(Operation::Cancel),
            E::CreatePushConfig
            | E::GetPushConfig
            | E::ListPushConfigs
            | E::DeletePushConfig
            | E::PlainPush => Some(Operation::Push),
            E::PlainDecide | E::PlainApprovals => Some(Operation::Decide),
            E::ExtendedCard | E::PublicCard | E::KeySet | E::PlainAgents => Some(Operation::Card),
        }
    }

    /// Whether the answer is a stream of events.
    #[must_use]
    pub fn streams(self) -> bool {
        matches!(self, Self::SendStreamingMessage | Self::SubscribeToTask | Self::PlainEvents)
    }
}

/// Where an address exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At the root only.
    Root,
    /// There and below `/agents/<name>`.
    Agents,
    /// There, and below `/<tenant>` and `/agents/<name>/<tenant>`.
    Everywhere,
}

/// An address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The method.
    pub method: &'static str,
    /// Its pattern. `{x...}` is all that follows.
    pub path: &'static str,
    /// Where it exists.
    pub place: Place,
    /// What is there.
    pub endpoint: Endpoint,
}

const fn row(method: &'static str, path: &'static str, place: Place, endpoint: Endpoint) -> Row {
    Row { method, path, place, endpoint }
}

/// THE LIST. Of two patterns that fit, the first counts.
pub const ROWS: [Row; 31] = {
    use Endpoint as E;
    use Place::{Agents, Everywhere, Root};
    const CONFIGS: &str = "/tasks/{id}/pushNotificationConfigs";
    const CONFIG: &str = "/tasks/{id}/pushNotificationConfigs/{config}";
    [
        row("POST", "/", Agents, E::JsonRpc),
        row("POST", "/lf.a2a.v1.A2AService/{method}", Root, E::Grpc),
        row("POST", "/message:send", Everywhere, E::SendMessage),
        row("POST", "/message:stream", Everywhere, E::SendStreamingMessage),
        row("GET", "/tasks", Everywhere, E::ListTasks),
        row("POST", "/tasks/{id}:cancel", Everywhere, E::CancelTask),
        row("GET", "/tasks/{id}:subscribe", Everywhere, E::SubscribeToTask),
        row("POST", "/tasks/{id}:subscribe", Everywhere, E::SubscribeToTask),
        row("GET", "/tasks/{id}", Everywhere, E::GetTask),
        row("POST", CONFIGS, Everywhere, E::CreatePushConfig),
        row("GET", CONFIGS, Everywhere, E::ListPushConfigs),
        row("GET", CONFIG, Everywhere, E::GetPushConfig),
        row("DELETE", CONFIG, Everywhere, E::DeletePushConfig),
        row("GET", "/extendedAgentCard", Everywhere, E::ExtendedCard),
        row("GET", "/.well-known/agent-card.json", Agents, E::PublicCard),
        row("GET", "/.well-known/jwks.json", Root, E::KeySet),
        row("GET", "/files/{object...}", Root, E::File),
        row("POST", "/files", Root, E::BringFile),
        row("GET", "/openapi.json", Root, E::Description),
        row("GET", "/v1/tasks", Root, E::PlainTasks),
        row("POST", "/v1/tasks/{id}:cancel", Root, E::PlainCancel),
        row("GET", "/v1/tasks/{id}", Root, E::PlainTask),
        row("POST", "/v1/tasks/{id}", Root, E::PlainSubmit),
        row("POST", "/v1/tasks/{id}/messages", Root, E::PlainSay),
        row("POST", "/v1/tasks/{id}/signals/{name}", Root, E::PlainSignal),
        row("POST", "/v1/tasks/{id}/decision", Root, E::PlainDecide),
        row("GET", "/v1/tasks/{id}/events", Root, E::PlainEvents),
        row("GET", "/v1/tasks/{id}/tree", Root, E::PlainTree),
        row("GET", "/v1/tasks/{id}/push", Root, E::PlainPush),
        row("GET", "/v1/approvals", Root, E::PlainApprovals),
        row("GET", "/v1/agents", Root, E::PlainAgents),
    ]
};
