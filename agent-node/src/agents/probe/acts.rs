//! What a probe can be told to do beyond steps and children: wait, ask, be allowed, spend, die at an exact point.

use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::approval::Level;
use protocol::budget::Usage;
use protocol::message::{Message, value_of};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::agent::Stop;
use crate::context::{ApprovalOptions, Call, Context, Decided, Interrupted};

/// One thing to do; what came of it is in `results`, in order.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Act {
    /// Sleep without a worker.
    Sleep {
        /// Its name.
        name: String,
        /// How long, in ms.
        ms: u64,
    },
    /// Ask, and wait for a message.
    Ask {
        /// Its name.
        name: String,
        /// The question.
        question: String,
        /// For how long, in ms.
        limit_ms: Option<u64>,
        /// Ask for credentials.
        #[serde(default)]
        auth: bool,
    },
    /// Wait for a message without asking.
    NextMessage {
        /// Its name.
        name: String,
        /// For how long, in ms.
        limit_ms: Option<u64>,
    },
    /// Wait for a signal.
    Signal {
        /// Its name, and the wait's.
        name: String,
        /// For how long, in ms.
        limit_ms: Option<u64>,
    },
    /// Ask for an approval, then do what was approved as one marked call.
    Approve {
        /// Its name.
        name: String,
        /// What is to be approved.
        action: Value,
        /// Who may decide, and from when on, in ms.
        #[serde(default)]
        chain: Vec<(Vec<String>, u64)>,
        /// How many have to.
        #[serde(default)]
        quorum: u32,
        /// For how long, in ms.
        expires_ms: Option<u64>,
    },
    /// Make a marked call.
    Call {
        /// Its name.
        name: String,
        /// Its arguments.
        #[serde(default)]
        arguments: Value,
        /// Tokens to set aside.
        #[serde(default)]
        reserve: u64,
        /// Tokens to use.
        #[serde(default)]
        tokens: u64,
    },
    /// Make a marked step that a message may cut short.
    Interruptible {
        /// Its name.
        name: String,
        /// How long it takes, in ms.
        ms: u64,
    },
}

/// Where to kill the probe's own process, as `kill -9` does; once, as long as the file is there.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProbeKill {
    /// At which of the steps.
    pub step: u32,
    /// At which moment of it.
    pub when: When,
    /// Created by the one that dies.
    pub file: PathBuf,
}

/// A moment of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Before its effect.
    Before,
    /// Between its effect and its entry.
    Inside,
    /// After its entry.
    After,
}

impl ProbeKill {
    /// Kills the process if this is the place and nobody has died there.
    pub(super) fn at(&self, step: u32, when: When) {
        let first = || std::fs::File::create_new(&self.file).is_ok();
        if self.step == step && self.when == when && first() {
            let me = rustix::process::getpid();
            if rustix::process::kill_process(me, rustix::process::Signal::KILL).is_err() {
                std::process::abort();
            }
        }
    }
}

/// Tokens, and nothing else.
pub(super) fn tokens(tokens: u64) -> Usage {
    Usage { tokens, ..Usage::default() }
}

fn span(ms: Option<u64>) -> Option<Duration> {
    ms.map(Duration::from_millis)
}

fn said(message: Option<Message>) -> Value {
    message.map_or(Value::Null, |message| value_of(&message.parts))
}

/// Does it.
pub(super) async fn act(context: &Context, act: &Act, mark: Option<&Path>) -> Result<Value, Stop> {
    match act {
        Act::Sleep { name, ms } => {
            context.sleep(name, Duration::from_millis(*ms)).await.map(|()| Value::Null)
        }
        Act::Ask { name, question, limit_ms, auth } => {
            let question = Message::from_agent(question.as_str());
            context.ask_with(name, question, *auth, span(*limit_ms)).await.map(said)
        }
        Act::NextMessage { name, limit_ms } => {
            context.next_message(name, span(*limit_ms)).await.map(said)
        }
        Act::Signal { name, limit_ms } => {
            let payload = context.signal(name, span(*limit_ms)).await?;
            Ok(payload.map_or(Value::Null, |payload| json!({ "payload": payload })))
        }
        Act::Approve { name, action, chain, quorum, expires_ms } => {
            let level = |(approvers, after_ms): &(Vec<String>, u64)| Level {
                approvers: approvers.clone(),
                after_ms: *after_ms,
            };
            let options = ApprovalOptions {
                question: String::new(),
                chain: chain.iter().map(level).collect(),
                quorum: *quorum,
                expires: span(*expires_ms),
            };
            match context.decide(name, action.clone(), options).await? {
                Decided::Approved(approved) => {
                    call(context, Call::new(format!("do {name}")).allowed_by(approved), 0, mark)
                        .await
                }
                Decided::Denied { by, .. } => Ok(json!({ "denied": by })),
                Decided::Expired => Ok(json!("expired")),
            }
        }
        Act::Call { name, arguments, reserve, tokens: used } => {
            let wanted =
                Call::new(name.as_str()).with(arguments.clone()).reserving(tokens(*reserve));
            call(context, wanted, *used, mark).await
        }
        Act::Interruptible { name, ms } => {
            let effect = async {
                super::leave_mark(mark, context, name)?;
                tokio::time::sleep(Duration::from_millis(*ms)).await;
                Ok(Value::Null)
            };
            Ok(match context.step_or_message(name, effect).await? {
                Interrupted::Done(_) => json!("done"),
                Interrupted::Message(message) => said(Some(message)),
            })
        }
    }
}

async fn call(
    context: &Context,
    call: Call,
    used: u64,
    mark: Option<&Path>,
) -> Result<Value, Stop> {
    context
        .call(call, |allowed| async move {
            let what = allowed.key.split_once('/').map_or("call", |(_, name)| name);
            super::leave_mark(mark, context, &what.replace(' ', "-"))?;
            Ok((allowed.arguments, tokens(used)))
        })
        .await
}
