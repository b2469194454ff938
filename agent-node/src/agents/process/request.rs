//! What a program asks of the node while it does a task, and what it is answered.
//!
//! One member of [`Call`] a call of the context. A step is two of them, since its effect runs in the program. Names are
//! append-only, unknown fields are ignored, and what cannot be read is told with the request's id.

use protocol::approval::Level;
use protocol::budget::{Account, Grant, Unit, Usage};
use protocol::fault::{Failure, FailureClass, Fault};
use protocol::need::Need;
use protocol::{Skill, TaskId};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// A request line.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(try_from = "Value")]
pub struct RequestLine {
    /// The program's number for it; the reply has the same.
    pub id: u64,
    /// The task.
    pub task: Option<String>,
    /// What is asked for.
    pub call: Call,
}

#[derive(Deserialize)]
struct Head {
    id: u64,
    task: Option<String>,
}

impl TryFrom<Value> for RequestLine {
    type Error = String;

    fn try_from(line: Value) -> Result<Self, String> {
        let Head { id, task } =
            Head::deserialize(&line).map_err(|error| format!("a request: {error}"))?;
        let call = Call::deserialize(&line).map_err(|error| format!("request {id}: {error}"))?;
        Ok(Self { id, task, call })
    }
}

/// What a program may ask for.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Call {
    /// May this step be done, or has it been?
    #[serde(rename = "step.begin")]
    StepBegin(StepBegin),
    /// The step that was begun is done.
    #[serde(rename = "step.end")]
    StepEnd {
        /// Its name.
        name: String,
        /// What it returned.
        #[serde(deserialize_with = "present")]
        output: Option<Value>,
        /// What it used.
        usage: Option<Usage>,
    },
    /// The step that was begun is not done and leaves nothing behind.
    #[serde(rename = "step.abandon")]
    StepAbandon {
        /// Its name.
        name: String,
    },
    /// Hand work to others and wait for it.
    Delegate {
        /// The name of the delegation.
        name: String,
        /// The work.
        work: Vec<WorkLine>,
        /// When the task goes on.
        #[serde(default)]
        join: JoinLine,
    },
    /// Wait for a time.
    Sleep {
        /// The name of the wait.
        name: String,
        /// How long.
        ms: u64,
    },
    /// Wait for a message, with a question.
    Ask {
        /// The name of the wait.
        name: String,
        /// What is asked.
        question: String,
        /// How long at most.
        limit_ms: Option<u64>,
        /// Whether credentials are asked for.
        #[serde(default)]
        auth: bool,
    },
    /// Wait for a message, without a question.
    Message {
        /// The name of the wait.
        name: String,
        /// How long at most; 0: only what has come already.
        limit_ms: Option<u64>,
    },
    /// Wait for a signal.
    Signal {
        /// Its name, and that of the wait.
        name: String,
        /// How long at most.
        limit_ms: Option<u64>,
    },
    /// Wait until somebody allows an action.
    Approve {
        /// The name of the approval.
        name: String,
        /// What is to be done.
        action: Value,
        /// How it is asked for.
        #[serde(default)]
        approval: ApprovalLine,
    },
    /// The budget as of now.
    Budget {},
}

/// A step that is to begin. With any field but the name it is a call, which is watched over.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepBegin {
    /// The name of the step.
    pub name: String,
    /// What it is done with.
    #[serde(default, deserialize_with = "present")]
    pub arguments: Option<Value>,
    /// The most that it may use.
    pub reserve: Option<Usage>,
    /// Somebody's approval is needed.
    pub approval: Option<ApprovalLine>,
    /// The name of an approval that it uses up.
    pub allowed_by: Option<String>,
    /// Whether a message to the task may cut it short.
    #[serde(default)]
    pub or_message: bool,
}

/// How an approval is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApprovalLine {
    /// What people are asked.
    pub question: String,
    /// Who may decide.
    pub chain: Vec<Level>,
    /// How many have to approve.
    pub quorum: u32,
    /// How long the request stands.
    pub expires_ms: Option<u64>,
}

/// A piece of work for somebody else.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkLine {
    /// What is to be done.
    pub skill: Option<Skill>,
    /// What whoever does it has to be able to do, when the skill is not named.
    pub need: Option<Need>,
    /// Its input.
    #[serde(default)]
    pub input: Value,
    /// What it may spend.
    pub budget: Option<Grant>,
    /// What happens when it does not complete.
    #[serde(default)]
    pub on_failure: OnFailureLine,
}

/// What happens when a piece of work does not complete: a word, or an object with one member.
#[derive(Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum OnFailureLine {
    /// The program gets its fault.
    #[default]
    Report,
    /// The task fails.
    Fail,
    /// The program gets null.
    Ignore,
    /// It is handed out again.
    Retry {
        /// How often.
        times: u32,
        /// To another node, if there is one.
        #[serde(default)]
        elsewhere: bool,
    },
    /// It is handed to another skill.
    Fallback {
        /// Which.
        skill: Skill,
    },
    /// The program gets an earlier result.
    Cached {
        /// How old it may be.
        no_older_than_ms: u64,
    },
}

/// When a task goes on that waits for children.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinLine {
    /// Once all have ended.
    #[default]
    All,
    /// Once one has completed.
    First,
    /// Once so many have completed.
    Quorum(u32),
}

/// Keeps `null` apart from nothing at all.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Call {
    /// For people: the call and the name that the program gave it.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::StepBegin(StepBegin { name, .. }) => format!("step.begin {name:?}"),
            Self::StepEnd { name, .. } => format!("step.end {name:?}"),
            Self::StepAbandon { name } => format!("step.abandon {name:?}"),
            Self::Delegate { name, .. } => format!("delegate {name:?}"),
            Self::Sleep { name, .. } => format!("sleep {name:?}"),
            Self::Ask { name, .. } => format!("ask {name:?}"),
            Self::Message { name, .. } => format!("message {name:?}"),
            Self::Signal { name, .. } => format!("signal {name:?}"),
            Self::Approve { name, .. } => format!("approve {name:?}"),
            Self::Budget {} => "budget".to_owned(),
        }
    }
}

/// What a request is answered: one of `run`, `value`, `message`, `suspend` and `error`, or nothing where there is nothing to say.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reply {
    /// The request's number.
    pub id: u64,
    /// The step is to be done now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<bool>,
    /// With `run`: what makes its effect idempotent at whoever carries it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// With `run`, for a call: what it is to be done with, after whatever an approval has changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Value>,
    /// With `run`: little of the budget is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub degraded: Option<bool>,
    /// The answer, which is in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// What the message says that has cut the step short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Value>,
    /// With a `value` of null: nothing came in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timed_out: Option<bool>,
    /// The task is to be given up until what it waits for has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// It cannot be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReply>,
}

/// Why a request cannot be met; the fields are those of an `error` line.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorReply {
    class: &'static str,
    code: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl Reply {
    /// With a value.
    #[must_use]
    pub fn value(value: Value) -> Self {
        Self { value: Some(value), ..Self::default() }
    }

    /// With what came, or with null when nothing came in time.
    #[must_use]
    pub fn waited(value: Option<Value>) -> Self {
        let timed_out = value.is_none().then_some(true);
        Self { value: Some(value.unwrap_or_default()), timed_out, ..Self::default() }
    }

    /// With an error.
    #[must_use]
    pub fn error(failure: Failure, fault: Fault) -> Self {
        let retry_after_ms = match failure {
            Failure::Transient { retry_after: Some(after) } => {
                u64::try_from(after.as_millis()).ok()
            }
            Failure::Transient { retry_after: None } | Failure::Lost | Failure::Permanent => None,
        };
        let class = match failure.class() {
            FailureClass::Permanent => "permanent",
            FailureClass::Transient | FailureClass::Lost => "transient",
        };
        let Fault { code, message, place, hint, .. } = fault;
        let error = ErrorReply { class, code, message, place, hint, retry_after_ms };
        Self { error: Some(error), ..Self::default() }
    }
}

/// A budget: what was granted and is left of each unit that is limited, and what was spent and is set aside.
#[must_use]
pub fn budget_value(account: &Account, degraded: bool) -> Value {
    let left: Map<String, Value> = Unit::ALL
        .into_iter()
        .filter_map(|unit| Some((unit.name().to_owned(), account.left(unit)?.into())))
        .collect();
    serde_json::json!({
        "granted": account.granted,
        "spent": account.spent,
        "reserved": account.reserved,
        "left": left,
        "degraded": degraded,
    })
}

/// How a child ended: `output`, or `error`.
#[must_use]
pub fn child_value(task: &TaskId, result: Result<Value, Fault>) -> Value {
    match result {
        Ok(output) => serde_json::json!({"task": task, "output": output}),
        Err(fault) => serde_json::json!({"task": task, "error": fault}),
    }
}
