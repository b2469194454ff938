//! Everything that a door may answer instead of a result: one list, with its name in each binding.
//!
//! Codes and reasons are those of A2A 1.0, section 5.4; what lies outside of A2A (authentication, rates, sizes) has the
//! canonical gRPC status of its kind and the HTTP status that belongs to it.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::TaskId;

/// The domain of A2A's own reasons.
pub const A2A_DOMAIN: &str = "a2a-protocol.org";
/// The domain of reasons that A2A does not have.
pub const WEFT_DOMAIN: &str = "weft";

/// A field that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its place, as in `message.parts[0].raw`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub description: String,
}

/// Why a request has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody knows the task, or it is somebody else's.
    #[error("there is no task {0:?}")]
    TaskNotFound(String),
    /// It has ended.
    #[error("task {task} cannot be canceled: it is {state}")]
    TaskNotCancelable {
        /// The task.
        task: TaskId,
        /// Its state.
        state: &'static str,
    },
    /// This gateway calls no webhooks.
    #[error("push notifications are not supported: {0}")]
    PushNotificationNotSupported(String),
    /// It cannot be done here, or not in this state.
    #[error("{0}")]
    UnsupportedOperation(String),
    /// The agent does not read this.
    #[error("{media_type} is not supported by {agent}; it reads {}", .supported.join(", "))]
    ContentTypeNotSupported {
        /// What came.
        media_type: String,
        /// Who was asked.
        agent: String,
        /// What would do.
        supported: Vec<String>,
    },
    /// The agent answered with something that is no answer.
    #[error("the agent's answer cannot be used: {0}")]
    InvalidAgentResponse(String),
    /// There is no further card.
    #[error("there is no extended agent card")]
    ExtendedAgentCardNotConfigured,
    /// An extension has to be named and was not.
    #[error("the extension {0} is required; name it in A2A-Extensions")]
    ExtensionSupportRequired(String),
    /// Another version of A2A.
    #[error("A2A version {0:?} is not supported; this is 1.0, send A2A-Version: 1.0")]
    VersionNotSupported(String),
    /// The draft of 1.1: the task has changed since the client looked.
    #[error("task {task} is at generation {current}, not {expected}")]
    GenerationMismatch {
        /// The task.
        task: TaskId,
        /// Where it is.
        current: u64,
        /// Where the client believed it to be.
        expected: u64,
    },

    /// The body is no JSON.
    #[error("the body is no JSON: {0}")]
    Parse(String),
    /// It is JSON and no request.
    #[error("{0}")]
    InvalidRequest(String),
    /// There is no such operation, or nothing at this path.
    #[error("{0}")]
    MethodNotFound(String),
    /// There is something at this path, for other HTTP methods.
    #[error("{method} cannot be used here; allowed are {}", .allowed.join(", "))]
    WrongMethod {
        /// What came.
        method: String,
        /// What would do.
        allowed: Vec<&'static str>,
    },
    /// Fields that are missing or wrong.
    #[error("{}", said(.0))]
    InvalidParams(Vec<Violation>),

    /// Nobody serves the agent or skill that the address names.
    #[error("nobody serves {skill:?}; the skills are {}", listed(.served))]
    NobodyServes {
        /// What was named.
        skill: String,
        /// What the caller may name.
        served: Vec<String>,
        /// The field that names it, as a request of A2A has it.
        fields: Vec<Violation>,
    },
    /// The same where the address is the skill's own, as it is in plain REST.
    #[error("there is no skill {skill:?}; the skills are {}", listed(.served))]
    SkillNotFound {
        /// What was named.
        skill: String,
        /// What the caller may name.
        served: Vec<String>,
    },

    /// No credentials, or none that are good.
    #[error("{0}")]
    Unauthenticated(String),
    /// Good credentials that do not allow this.
    #[error("{0}")]
    PermissionDenied(String),
    /// Too many requests.
    #[error("too many requests; try again in {} ms", retry_after.as_millis())]
    RateLimited {
        /// How long to wait.
        retry_after: Duration,
    },
    /// Over a limit of size, depth or number.
    #[error("{0}")]
    TooLarge(String),
    /// The mesh does not answer. Whatever was asked may have happened.
    #[error("not available now: {0}")]
    Unavailable(String),
    /// The message is stored and its task goes on; only this request has no further answer.
    #[error("{why}; task {task} goes on, ask for it with GetTask")]
    GoesOn {
        /// The task.
        task: String,
        /// Why nobody waits for it any more.
        why: String,
    },
    /// The time that the client gave the call is over. What was asked may have happened.
    #[error("the deadline of the call has passed{}", .task.as_ref().map_or_else(String::new, |task| format!("; task {task} goes on, ask for it with GetTask")))]
    DeadlineExceeded {
        /// The task that it is about, as far as it is known.
        task: Option<String>,
    },
    /// A fault of this gateway.
    #[error("{0}")]
    Internal(String),
}

fn said(violations: &[Violation]) -> String {
    let each: Vec<String> =
        violations.iter().map(|one| format!("{}: {}", one.field, one.description)).collect();
    each.join("; ")
}

fn listed(skills: &[String]) -> String {
    if skills.is_empty() { "none".to_owned() } else { skills.join(", ") }
}

/// An error's name in every binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// JSON-RPC `error.code`.
    pub jsonrpc: i32,
    /// HTTP status.
    pub http: u16,
    /// The canonical status, as `google.rpc.Code` numbers it.
    pub grpc: i32,
    /// Its name.
    pub status: &'static str,
    /// `google.rpc.ErrorInfo.reason`.
    pub reason: &'static str,
    /// `google.rpc.ErrorInfo.domain`.
    pub domain: &'static str,
}

const fn a2a(
    jsonrpc: i32,
    http: u16,
    grpc: i32,
    status: &'static str,
    reason: &'static str,
) -> Names {
    Names { jsonrpc, http, grpc, status, reason, domain: A2A_DOMAIN }
}

const fn weft(
    jsonrpc: i32,
    http: u16,
    grpc: i32,
    status: &'static str,
    reason: &'static str,
) -> Names {
    Names { jsonrpc, http, grpc, status, reason, domain: WEFT_DOMAIN }
}

impl Error {
    /// One field that is wrong.
    #[must_use]
    pub fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::InvalidParams(vec![Violation {
            field: field.into(),
            description: description.into(),
        }])
    }

    /// Nobody serves what the address names.
    #[must_use]
    pub fn nobody_serves(skill: &str, served: Vec<String>) -> Self {
        let description = format!("nobody serves {skill:?}; the skills are {}", listed(&served));
        let fields = vec![Violation { field: "agent".to_owned(), description }];
        Self::NobodyServes { skill: skill.to_owned(), served, fields }
    }

    /// What went wrong once the message of a task was stored.
    #[must_use]
    pub fn goes_on(task: &TaskId, why: &Self) -> Self {
        Self::GoesOn { task: task.to_string(), why: why.to_string() }
    }

    /// Its name in every binding.
    #[must_use]
    pub fn names(&self) -> Names {
        const PRECONDITION: &str = "FAILED_PRECONDITION";
        const ARGUMENT: &str = "INVALID_ARGUMENT";
        match self {
            Self::TaskNotFound(_) => a2a(-32001, 404, 5, "NOT_FOUND", "TASK_NOT_FOUND"),
            Self::TaskNotCancelable { .. } => {
                a2a(-32002, 400, 9, PRECONDITION, "TASK_NOT_CANCELABLE")
            }
            Self::PushNotificationNotSupported(_) => {
                a2a(-32003, 400, 9, PRECONDITION, "PUSH_NOTIFICATION_NOT_SUPPORTED")
            }
            Self::UnsupportedOperation(_) => {
                a2a(-32004, 400, 9, PRECONDITION, "UNSUPPORTED_OPERATION")
            }
            Self::ContentTypeNotSupported { .. } => {
                a2a(-32005, 400, 3, ARGUMENT, "CONTENT_TYPE_NOT_SUPPORTED")
            }
            Self::InvalidAgentResponse(_) => {
                a2a(-32006, 500, 13, "INTERNAL", "INVALID_AGENT_RESPONSE")
            }
            Self::ExtendedAgentCardNotConfigured => {
                a2a(-32007, 400, 9, PRECONDITION, "EXTENDED_AGENT_CARD_NOT_CONFIGURED")
            }
            Self::ExtensionSupportRequired(_) => {
                a2a(-32008, 400, 9, PRECONDITION, "EXTENSION_SUPPORT_REQUIRED")
            }
            Self::VersionNotSupported(_) => {
                a2a(-32009, 400, 9, PRECONDITION, "VERSION_NOT_SUPPORTED")
            }
            Self::GenerationMismatch { .. } => {
                a2a(-32010, 409, 10, "ABORTED", "GENERATION_MISMATCH")
            }
            Self::Parse(_) => a2a(-32700, 400, 3, ARGUMENT, "INVALID_REQUEST"),
            Self::InvalidRequest(_) => a2a(-32600, 400, 3, ARGUMENT, "INVALID_REQUEST"),
            Self::MethodNotFound(_) => a2a(-32601, 404, 5, "NOT_FOUND", "METHOD_NOT_FOUND"),
            Self::WrongMethod { .. } => a2a(-32601, 405, 12, "UNIMPLEMENTED", "METHOD_NOT_ALLOWED"),
            Self::InvalidParams(_) | Self::NobodyServes { .. } => {
                a2a(-32602, 400, 3, ARGUMENT, "INVALID_PARAMS")
            }
            Self::SkillNotFound { .. } => weft(-32602, 404, 5, "NOT_FOUND", "SKILL_NOT_FOUND"),
            Self::Unauthenticated(_) => weft(-32050, 401, 16, "UNAUTHENTICATED", "UNAUTHENTICATED"),
            Self::PermissionDenied(_) => {
                weft(-32051, 403, 7, "PERMISSION_DENIED", "PERMISSION_DENIED")
            }
            Self::RateLimited { .. } => weft(-32052, 429, 8, "RESOURCE_EXHAUSTED", "RATE_LIMITED"),
            Self::TooLarge(_) => weft(-32600, 413, 8, "RESOURCE_EXHAUSTED", "TOO_LARGE"),
            Self::Unavailable(_) | Self::GoesOn { .. } => {
                weft(-32053, 503, 14, "UNAVAILABLE", "UNAVAILABLE")
            }
            Self::DeadlineExceeded { .. } => {
                weft(-32054, 504, 4, "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
            }
            Self::Internal(_) => a2a(-32603, 500, 13, "INTERNAL", "INTERNAL_ERROR"),
        }
    }

    /// What `ErrorInfo.metadata` says.
    #[must_use]
    pub fn metadata(&self) -> BTreeMap<&'static str, String> {
        let mut facts = BTreeMap::new();
        match self {
            Self::TaskNotFound(task)
            | Self::GoesOn { task, .. }
            | Self::DeadlineExceeded { task: Some(task) } => {
                facts.insert("taskId", task.clone());
            }
            Self::TaskNotCancelable { task, state } => {
                facts.insert("taskId", task.to_string());
                facts.insert("state", (*state).to_owned());
            }
            Self::ContentTypeNotSupported { media_type, supported, .. } => {
                facts.insert("mediaType", media_type.clone());
                facts.insert("supported", supported.join(","));
            }
            Self::NobodyServes { served, .. } | Self::SkillNotFound { served, .. } => {
                facts.insert("skills", served.join(","));
            }
            Self::VersionNotSupported(_) => {
                facts.insert("supportedVersions", super::VERSION.to_owned());
            }
            Self::ExtensionSupportRequired(uri) => {
                facts.insert("extension", uri.clone());
            }
            Self::GenerationMismatch { task, current, .. } => {
                facts.insert("taskId", task.to_string());
                facts.insert("generation", current.to_string());
            }
            Self::RateLimited { retry_after } => {
                facts.insert("retryAfterMs", retry_after.as_millis().to_string());
            }
            Self::WrongMethod { allowed, .. } => {
                facts.insert("allowed", allowed.join(","));
            }
            Self::PushNotificationNotSupported(_)
            | Self::UnsupportedOperation(_)
            | Self::InvalidAgentResponse(_)
            | Self::ExtendedAgentCardNotConfigured
            | Self::Parse(_)
            | Self::InvalidRequest(_)
            | Self::MethodNotFound(_)
            | Self::InvalidParams(_)
            | Self::Unauthenticated(_)
            | Self::PermissionDenied(_)
            | Self::TooLarge(_)
            | Self::Unavailable(_)
            | Self::DeadlineExceeded { task: None }
            | Self::Internal(_) => {}
        }
        facts
    }

    /// The fields that are wrong, for `google.rpc.BadRequest`.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        if let Self::InvalidParams(fields) | Self::NobodyServes { fields, .. } = self {
            fields
        } else {
            &[]
        }
    }
}
