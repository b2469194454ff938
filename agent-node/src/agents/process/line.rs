//! What the node and an agent's program say to each other: JSON lines.
//!
//! One object a line in UTF-8; `type` tells the lines apart, unknown fields are ignored, and an unknown type is
//! an error that names the known ones. Every name is append-only. What a program may request of the node, and
//! how it is answered, stands in [`super::request`].

use std::time::Duration;

use protocol::fault::{Failure, Fault, code};
use protocol::limits::PARTS_MAX;
use protocol::message::{Part, part_of};
use protocol::task::Artifact;
use protocol::{Owner, Skill, TaskId, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::request::{Reply, RequestLine};

/// The latest version of these lines, as `hello` gives it.
pub const PROTOCOL_VERSION: u32 = 2;
/// The version of a program that says nothing about it.
pub const PROTOCOL_VERSION_FIRST: u32 = 1;
/// The version that requests came with.
pub const REQUESTS_SINCE: u32 = 2;

/// Characters of a bad line that an error quotes.
const QUOTE_CHARS: usize = 200;
/// Characters of an error code that a program chooses.
const CODE_CHARS_MAX: usize = 64;

/// A line to the program.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum ToProgram<'a> {
    /// Do this. The next one comes after the answer.
    Task {
        /// The task.
        task: &'a TaskId,
        /// What is asked for.
        skill: &'a Skill,
        /// Who it belongs to.
        owner: &'a Owner,
        /// Which attempt at it, from 1.
        attempt: u32,
        /// The conversation.
        context_id: &'a str,
        /// The id that the submitter gave the message; left out when it gave none.
        #[serde(skip_serializing_if = "str::is_empty")]
        message_id: &'a str,
        /// When the attempt will be ended by force.
        deadline: Option<Timestamp>,
        /// The same for every attempt: what makes effects elsewhere idempotent.
        idempotency_key: &'a str,
        /// The input as one JSON value.
        input: &'a Value,
        /// The input as A2A parts.
        parts: &'a [Part],
    },
    /// Somebody asked for the end of the task: answer soon.
    Cancel {
        /// The task.
        task: &'a TaskId,
    },
    /// A message has come that cuts the open step short: end it soon.
    Interrupt {
        /// The task.
        task: &'a TaskId,
        /// How soon, in ms; the program is ended then.
        grace_ms: u64,
    },
    /// The answer to a request.
    Reply(&'a Reply),
}

/// A line from the program. Lines about a task may name it; a wrong name is an error, so that a late
/// line can never pass for one about the next task.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum FromProgram {
    /// Who speaks, and in which version. The first line, if it comes at all.
    Hello(Hello),
    /// How far the work is.
    Status {
        /// For people.
        text: String,
        /// The task.
        task: Option<String>,
    },
    /// Something produced, whole or in pieces.
    Artifact {
        /// The artifact, or a piece of it.
        artifact: Artifact,
        /// Whether its parts go after those already there.
        #[serde(default)]
        append: bool,
        /// Whether nothing follows.
        #[serde(default = "yes", alias = "last_chunk")]
        last_chunk: bool,
        /// The task.
        task: Option<String>,
    },
    /// What the task was for. Ends it.
    Result(ResultLine),
    /// Why there is no result. Ends the task.
    Error(ErrorLine),
    /// Something is asked of the node; a reply follows.
    Request(RequestLine),
    /// The task has been given up until what it waits for has come.
    Suspended {
        /// The task.
        task: Option<String>,
    },
    /// Something for the node's own log. Allowed at any time.
    Log {
        /// `trace`, `debug`, `info`, `warn` or `error`.
        #[serde(default)]
        level: LogLevel,
        /// For people.
        message: String,
    },
}

/// What a program says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// The version of these lines that it speaks.
    pub protocol: u32,
    /// Its name for people.
    pub name: Option<String>,
    /// What it does.
    pub description: Option<String>,
    /// Its own version.
    pub version: Option<String>,
    /// Words to find it by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Inputs that work.
    #[serde(default)]
    pub examples: Vec<String>,
    /// Media types it reads.
    #[serde(default)]
    pub input_modes: Vec<String>,
    /// Media types it writes.
    #[serde(default)]
    pub output_modes: Vec<String>,
    /// Whether its results may be direct replies.
    #[serde(default)]
    pub replies: bool,
}

/// How important a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Trace,
    Debug,
    #[default]
    Info,
    Warn,
    Error,
}

/// A result: one JSON value or A2A parts.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(try_from = "ResultWire")]
pub struct ResultLine {
    /// The parts.
    pub parts: Vec<Part>,
    /// Whether it is a direct reply: a message rather than what a task was for.
    pub reply: bool,
    /// The task.
    pub task: Option<String>,
}

#[derive(Deserialize)]
struct ResultWire {
    #[serde(default, deserialize_with = "present")]
    output: Option<Value>,
    parts: Option<Vec<Part>>,
    #[serde(default)]
    reply: bool,
    task: Option<String>,
}

/// An error that the program reports.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorLine {
    /// Whether it may pass.
    #[serde(default)]
    pub class: ErrorClass,
    /// For programs.
    pub code: Option<String>,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// How long not to try again.
    #[serde(alias = "retry_after_ms")]
    pub retry_after_ms: Option<u64>,
    /// The task.
    pub task: Option<String>,
}

/// Whether an error may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// It may: the policy decides when to try again.
    Transient,
    /// It will not.
    #[default]
    Permanent,
}

/// Why a line is none of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It is not UTF-8.
    #[error("a line that is not UTF-8 at byte {byte}")]
    NotUtf8 {
        /// The first bad byte.
        byte: usize,
    },
    /// It is something other than an object, or no JSON at all.
    #[error("a line that is not a JSON object")]
    NotAnObject,
    /// It nests too deep.
    #[error("a line that nests too deep")]
    TooDeep,
    /// Its JSON is broken, its type unknown, or a field is missing or of the wrong kind.
    #[error("a line that is none of the protocol: {reason}")]
    Unknown {
        /// What the parser says.
        reason: String,
    },
}

fn yes() -> bool {
    true
}

/// Keeps `"output": null` apart from no `output` at all.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl TryFrom<ResultWire> for ResultLine {
    type Error = String;

    fn try_from(wire: ResultWire) -> Result<Self, String> {
        let parts = match (wire.output, wire.parts) {
            (Some(output), None) => vec![part_of(output)],
            (None, Some(parts)) => parts,
            (None, None) => return Err("a result needs output or parts and has neither".to_owned()),
            (Some(_), Some(_)) => {
                return Err("a result needs output or parts and has both".to_owned());
            }
        };
        if parts.is_empty() || parts.len() > PARTS_MAX {
            return Err(format!("a result has 1 to {PARTS_MAX} parts, not {}", parts.len()));
        }
        Ok(Self { parts, reply: wire.reply, task: wire.task })
    }
}

impl ErrorLine {
    /// The failure and its fault, the code in `snake_case` whatever the program wrote.
    #[must_use]
    pub fn failure(self) -> (Failure, Fault) {
        let failure = match self.class {
            ErrorClass::Transient => {
                Failure::Transient { retry_after: self.retry_after_ms.map(Duration::from_millis) }
            }
            ErrorClass::Permanent => Failure::Permanent,
        };
        let chosen = self.code.as_deref().map(snake_case).unwrap_or_default();
        let name = if chosen.is_empty() { code::AGENT_ERROR } else { &chosen };
        let fault = Fault::new(name, self.message);
        (
            failure,
            match self.hint {
                Some(hint) => fault.hint(hint),
                None => fault,
            },
        )
    }
}

fn snake_case(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    text.trim().chars().take(CODE_CHARS_MAX).map(plain).collect()
}

impl FromProgram {
    /// The task that it says it is about.
    #[must_use]
    pub fn task(&self) -> Option<&str> {
        match self {
            Self::Hello(_) | Self::Log { .. } => None,
            Self::Status { task, .. } | Self::Artifact { task, .. } | Self::Suspended { task } => {
                task.as_deref()
            }
            Self::Result(line) => line.task.as_deref(),
            Self::Error(line) => line.task.as_deref(),
            Self::Request(line) => line.task.as_deref(),
        }
    }

    /// Its `type`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Status { .. } => "status",
            Self::Artifact { .. } => "artifact",
            Self::Result(_) => "result",
            Self::Error(_) => "error",
            Self::Request(_) => "request",
            Self::Suspended { .. } => "suspended",
            Self::Log { .. } => "log",
        }
    }

    /// Reads a line, without its newline.
    ///
    /// # Errors
    /// When it is none of the protocol.
    pub fn read(line: &[u8]) -> Result<Self, LineError> {
        std::str::from_utf8(line)
            .map_err(|error| LineError::NotUtf8 { byte: error.valid_up_to() })?;
        if line.trim_ascii_start().first() != Some(&b'{') {
            return Err(LineError::NotAnObject);
        }
        protocol::codec::json(line).map_err(|fault| {
            if fault.code == code::TOO_DEEP {
                return LineError::TooDeep;
            }
            let reason = match serde_json::from_slice::<Self>(line) {
                Ok(_) => fault.message,
                Err(error) => error.to_string(),
            };
            LineError::Unknown { reason }
        })
    }
}

impl ToProgram<'_> {
    /// The line, newline included.
    ///
    /// # Errors
    /// When a value in it cannot be JSON; none of ours cannot.
    pub fn write(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }
}

/// The beginning of a line, in quotes, for an error.
#[must_use]
pub fn quote(line: &[u8]) -> String {
    // A character has at most four bytes.
    let head = String::from_utf8_lossy(line.get(..QUOTE_CHARS * 4).unwrap_or(line));
    let text: String = head.chars().take(QUOTE_CHARS).collect();
    let more = if text.len() < line.len() { "..." } else { "" };
    format!("{text:?}{more}")
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
