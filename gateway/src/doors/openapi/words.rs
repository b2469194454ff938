//! What the `OpenAPI` document says about each endpoint.

use super::super::answer::{A2A_JSON, JSON};
use super::super::operation::Operation;
use super::super::plain::FILTERS;
use super::super::query::{Field, Kind};
use super::super::rest;
use super::super::rows::Endpoint;
use crate::doors::Door;

/// What a request or an answer carries.
pub(super) enum Body {
    /// Nothing.
    Nothing,
    /// JSON of these media types and this schema.
    Json(&'static [&'static str], &'static str),
    /// Any bytes.
    Anything,
    /// Server-sent events.
    Events,
}

/// A name or a status, and what is said about it.
type Said = (&'static str, &'static str);

/// What is said about an endpoint.
pub(super) struct Words {
    pub(super) endpoint: Endpoint,
    pub(super) summary: &'static str,
    pub(super) request: Body,
    pub(super) needs_body: bool,
    pub(super) query: &'static [Field],
    pub(super) headers: &'static [Said],
    pub(super) response: Body,
    pub(super) statuses: &'static [Said],
    /// Those of refusals that have a meaning of their own here.
    pub(super) refusals: &'static [Said],
}

impl Words {
    pub(super) fn is_a2a(&self) -> bool {
        matches!(self.endpoint.door(), Door::Rest | Door::JsonRpc)
    }

    pub(super) fn tag(&self) -> &'static str {
        match self.endpoint.door() {
            Door::Rest | Door::JsonRpc | Door::Grpc => "a2a",
            Door::Plain => "plain",
            Door::Card | Door::File | Door::Description => "gateway",
        }
    }

    /// The media type of its errors.
    pub(super) fn json(&self) -> &'static str {
        if self.endpoint.door() == Door::Rest { A2A_JSON } else { JSON }
    }
}

const PLAIN: &[&str] = &[JSON];
const A2A: &[&str] = &[A2A_JSON];
const OK: &[Said] = &[("200", "Done")];
const VERSION: &[Said] =
    &[("A2A-Version", "1.0"), ("A2A-Extensions", "URIs of extensions, with commas between them.")];
const OWNER: &[Said] = &[("Weft-Owner", "Whose tasks, for callers with several owners.")];
const SUBMIT: &[Said] = &[
    ("Weft-Owner", "Whose task it will be, for callers with several owners."),
    (
        "Weft-Dedup-Key",
        "Asking twice with one key does the work once; Idempotency-Key means the same.",
    ),
    ("Weft-Context-Id", "The conversation."),
    ("Weft-Deadline", "An RFC 3339 time, or a duration such as 30s."),
    ("Weft-Budget", "What the task may spend, as JSON."),
];
const RESUME: &[Said] =
    &[("Last-Event-ID", "The id of the last event that was seen: goes on behind it.")];
const RANGE: &[Said] = &[("Range", "The part of the file that is wanted.")];
const STORED: &[Said] = &[("202", "Stored")];
const DECIDED: &[Said] = &[
    ("200", "It counted"),
    ("202", "Stored; more have to agree"),
    ("400", "Nothing is asked, or something else"),
];
const WAIT: &[Field] = &[Field {
    name: "wait",
    kind: Kind::Text,
    about: "How long to wait until the task has ended or asks for something, as in 30s.",
}];

/// What a place in a path stands for.
pub(super) fn place(name: &str) -> &'static str {
    match name {
        "id" => "The task; for POST /v1/tasks/{id} the skill.",
        "config" => "The webhook.",
        "name" => "The signal's name.",
        "object" => "The file.",
        _ => "See the summary.",
    }
}

pub(super) fn words(endpoint: Endpoint) -> Words {
    use Endpoint as E;
    let say = |summary, response| said(endpoint, summary, response);
    match endpoint {
        E::SendMessage
        | E::SendStreamingMessage
        | E::GetTask
        | E::ListTasks
        | E::CancelTask
        | E::SubscribeToTask
        | E::CreatePushConfig
        | E::GetPushConfig
        | E::ListPushConfigs
        | E::DeletePushConfig
        | E::ExtendedCard => of_a2a(endpoint),
        E::JsonRpc | E::Grpc => say("A2A over JSON-RPC 2.0; streams are events", "Object")
            .takes(Body::Json(PLAIN, "JsonRpcRequest"), true)
            .with(&[], VERSION),
        E::PublicCard => say("The public agent card", "AgentCard").with(&[], &[]),
        E::KeySet => say("The keys that agent cards are signed with", "Object").with(&[], &[]),
        E::Description => say("This document", "Object").with(&[], &[]),
        E::File => say("A file of a task", "Object")
            .with(&[], RANGE)
            .gives(Body::Anything, &[("200", "The file"), ("206", "A part of it")]),
        E::BringFile => say("Brings a file; its address may stand in a message", "Object")
            .takes(Body::Anything, true)
            .answers(&[("201", "The file is stored")]),
        E::PlainSubmit => say("Submits work to a skill: text, JSON, a message or bytes", "Task")
            .takes(Body::Anything, false)
            .with(WAIT, SUBMIT)
            .answers(&[("202", "Stored: it will not be lost"), ("200", "Waited for, and settled")])
            .refuses(&[("404", "Nobody serves the skill; the error names those that are served")]),
        E::PlainSay => {
            say("Says something to a task", "Task").takes(Body::Anything, true).answers(STORED)
        }
        E::PlainSignal => {
            say("Sends a signal to a task", "Object").takes(Body::Anything, false).answers(STORED)
        }
        E::PlainDecide => say("Decides about what a task asks approval for", "Object")
            .takes(Body::Json(PLAIN, "Decision"), true)
            .answers(DECIDED),
        E::PlainTask => say("A task as it stands", "Task").with(WAIT, OWNER),
        E::PlainTasks => {
            say("Tasks, the newest change first", "ListTasksResponse").with(FILTERS, OWNER)
        }
        E::PlainEvents => say("The events of a task, as StreamResponse objects", "Object")
            .with(&[], RESUME)
            .gives(Body::Events, OK),
        E::PlainTree => say("A task with all that it has delegated", "Object"),
        E::PlainPush => say("How the webhooks of a task do", "Object"),
        E::PlainCancel => say("Ends a task", "Task"),
        E::PlainApprovals => say("The tasks that wait for a decision", "Object"),
        E::PlainAgents => say("Who serves what", "Object"),
    }
}

/// Words with nothing in them but what nearly all have.
fn said(endpoint: Endpoint, summary: &'static str, response: &'static str) -> Words {
    Words {
        endpoint,
        summary,
        request: Body::Nothing,
        needs_body: false,
        query: &[],
        headers: OWNER,
        response: Body::Json(PLAIN, response),
        statuses: OK,
        refusals: &[],
    }
}

impl Words {
    fn takes(mut self, body: Body, needs_body: bool) -> Self {
        (self.request, self.needs_body) = (body, needs_body);
        self
    }

    fn with(mut self, query: &'static [Field], headers: &'static [Said]) -> Self {
        (self.query, self.headers) = (query, headers);
        self
    }

    fn answers(mut self, statuses: &'static [Said]) -> Self {
        self.statuses = statuses;
        self
    }

    fn refuses(mut self, refusals: &'static [Said]) -> Self {
        self.refusals = refusals;
        self
    }

    fn gives(mut self, body: Body, statuses: &'static [Said]) -> Self {
        (self.response, self.statuses) = (body, statuses);
        self
    }
}

fn of_a2a(endpoint: Endpoint) -> Words {
    let (operation, _) = rest::operation(endpoint).unwrap_or((Operation::ListTasks, &[]));
    let (request, response) = match operation {
        Operation::SendMessage => (Some("SendMessageRequest"), "SendMessageResponse"),
        Operation::SendStreamingMessage => (Some("SendMessageRequest"), "StreamResponse"),
        Operation::GetTask => (None, "Task"),
        Operation::ListTasks => (None, "ListTasksResponse"),
        Operation::CancelTask => (Some("Object"), "Task"),
        Operation::SubscribeToTask => (None, "StreamResponse"),
        Operation::CreatePushConfig => {
            (Some("TaskPushNotificationConfig"), "TaskPushNotificationConfig")
        }
        Operation::GetPushConfig => (None, "TaskPushNotificationConfig"),
        Operation::ListPushConfigs | Operation::DeletePushConfig => (None, "Object"),
        Operation::GetExtendedAgentCard => (None, "AgentCard"),
    };
    let takes = request.map_or(Body::Nothing, |schema| Body::Json(&[A2A_JSON, JSON], schema));
    let gives = if endpoint.streams() { Body::Events } else { Body::Json(A2A, response) };
    said(endpoint, operation.name(), response)
        .takes(takes, request.is_some() && operation != Operation::CancelTask)
        .with(operation.in_query(), VERSION)
        .gives(gives, OK)
}
