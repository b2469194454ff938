//! The agent kind `play`: does the acts that its input lists, one after the other. For drills of durable agents.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent_node::agent::{About, AnyAgent, Stop};
use agent_node::agents::{AgentKind, BuildError, Surroundings};
use agent_node::context::{Allowed, ApprovalOptions, Call, Context, Decided, Interrupted};
use agent_node::delegate::{ChildEnd, Join, OnFailure, Work};
use futures_util::future::BoxFuture;
use protocol::Skill;
use protocol::approval::Level;
use protocol::budget::Usage;
use protocol::message::{Part, part_of, value_of};
use protocol::task::Artifact;
use runtime::config::AgentSection;
use serde::Deserialize;
use serde_json::{Value, json};

/// The kind, and the other kinds of the suites, for those who embed a node.
pub const KINDS: &[AgentKind] = &[
    AgentKind { name: "play", about: "does the acts that its input lists", build },
    crate::conform::KIND,
];

fn build(_: &AgentSection, _: &Surroundings) -> Result<Arc<dyn AnyAgent>, BuildError> {
    Ok(Arc::new(Play))
}

/// A mesh whose nodes play, with a short lease.
pub const PLAYERS: &str = r#"
[bus]
lease = "2s"
[node]
drain_grace = "5s"
http = "127.0.0.1:0"
[coordinator]
http = "127.0.0.1:0"
[[agents]]
skill = "play"
kind = "play"
concurrency = 8
timeout = "60s"
cancel_grace = "1s"
[agents.retry]
attempts_max = 50
backoff_first = "50ms"
[[agents]]
skill = "strict"
kind = "play"
concurrency = 4
on_message = "reject"
[[agents]]
skill = "echo"
kind = "echo"
concurrency = 16
"#;

/// What to do. Each act returns a value; the values in a list are the result.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Script {
    /// Effects append a line with task, attempt, name and process id to this file.
    mark: Option<PathBuf>,
    acts: Vec<Act>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case", rename_all_fields = "camelCase")]
enum Act {
    /// A journaled effect that takes a time.
    Step {
        name: String,
        #[serde(default)]
        ms: u64,
    },
    /// Takes a time, unjournaled and deaf to nothing but a cancel.
    Work { ms: u64 },
    /// Sleeps without a worker.
    Sleep { name: String, ms: u64 },
    /// Asks; returns the answer.
    Ask { name: String, question: String, limit_ms: Option<u64> },
    /// Waits for a signal.
    Signal { name: String, limit_ms: Option<u64> },
    /// Waits for a decision about an action and, when it is allowed, makes the call `effect <name>` that it allows.
    Approve {
        name: String,
        action: Value,
        #[serde(default)]
        chain: Vec<Level>,
        #[serde(default)]
        quorum: u32,
        expires_ms: Option<u64>,
        /// How long the effect takes.
        #[serde(default)]
        ms: u64,
    },
    /// Hands a list of inputs to a skill.
    Delegate {
        name: String,
        skill: String,
        inputs: Vec<Value>,
        enough: Option<u32>,
        /// Fails with the first child that does.
        #[serde(default)]
        essential: bool,
        /// Takes an earlier result of this age at most when a child does not complete.
        cached_ms: Option<u64>,
    },
    /// A journaled effect that a message cuts short; returns the message, or the name.
    StepOrMessage { name: String, ms: u64 },
    /// Says how far it is.
    Say { text: String },
    /// Hands over a further piece of the artifact `text`.
    Chunk {
        text: String,
        #[serde(default)]
        append: bool,
        #[serde(default)]
        last: bool,
    },
    /// Fails for good.
    Fail { message: String },
    /// Fails for good if this file is there.
    FailIf { path: PathBuf },
}

struct Play;

impl AnyAgent for Play {
    fn about(&self) -> About {
        About {
            kind: "play".to_owned(),
            name: "Play".to_owned(),
            description: "Does the acts that its input lists.".to_owned(),
            version: "1".to_owned(),
            tags: vec!["drill".to_owned(), "play".to_owned()],
            ..About::default()
        }
    }

    fn input_schema(&self) -> Option<Value> {
        None
    }

    fn output_schema(&self) -> Option<Value> {
        None
    }

    fn run<'a>(
        &'a self,
        context: &'a Context,
        input: Vec<Part>,
    ) -> BoxFuture<'a, Result<Vec<Part>, Stop>> {
        Box::pin(async move {
            let script: Script = serde_json::from_value(value_of(&input))
                .map_err(|error| Stop::permanent(error.to_string()))?;
            let mut results = Vec::new();
            for act in script.acts {
                results.push(play(context, script.mark.as_ref(), act).await?);
            }
            Ok(vec![part_of(Value::Array(results))])
        })
    }
}

fn limit(ms: Option<u64>) -> Option<Duration> {
    ms.map(Duration::from_millis)
}

async fn work(context: &Context, ms: u64) -> Result<(), Stop> {
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(ms)) => Ok(()),
        () = context.canceled() => Err(Stop::Canceled),
    }
}

/// Leaves a mark and takes a time.
async fn effect(
    context: &Context,
    file: Option<&PathBuf>,
    name: &str,
    ms: u64,
) -> Result<Value, Stop> {
    mark(context, file, name)?;
    work(context, ms).await?;
    Ok(json!(name))
}

async fn play(context: &Context, file: Option<&PathBuf>, act: Act) -> Result<Value, Stop> {
    match act {
        Act::Step { name, ms } => context.step(&name, effect(context, file, &name, ms)).await,
        Act::Work { ms } => work(context, ms).await.map(|()| Value::Null),
        Act::Sleep { name, ms } => {
            context.sleep(&name, Duration::from_millis(ms)).await.map(|()| json!(name))
        }
        Act::Ask { name, question, limit_ms } => {
            let said = context.ask(&name, question, limit(limit_ms)).await?;
            Ok(said.map_or(Value::Null, |message| value_of(&message.parts)))
        }
        Act::Signal { name, limit_ms } => {
            let came = context.signal(&name, limit(limit_ms)).await?;
            Ok(json!({ "came": came.is_some(), "payload": came }))
        }
        Act::Approve { name, action, chain, quorum, expires_ms, ms } => {
            let question = format!("May {name} be done?");
            let options = ApprovalOptions { question, chain, quorum, expires: limit(expires_ms) };
            let approved = match context.decide(&name, action, options).await? {
                Decided::Approved(approved) => approved,
                Decided::Denied { by, .. } => return Ok(json!({ "denied": by })),
                Decided::Expired => return Ok(json!("expired")),
            };
            let call = Call::new(format!("effect {name}")).allowed_by(approved);
            let effect = async |allowed: Allowed| {
                mark(context, file, &name)?;
                work(context, ms).await?;
                Ok((json!({ "done": allowed.arguments }), Usage::default()))
            };
            context.call(call, effect).await
        }
        Act::Delegate { name, skill, inputs, enough, essential, cached_ms } => {
            let skill = Skill::parse(&skill).map_err(|e| Stop::permanent(e.to_string()))?;
            let on_failure = match limit(cached_ms) {
                Some(no_older_than) => OnFailure::Cached { no_older_than },
                None if essential => OnFailure::Fail,
                None => OnFailure::Report,
            };
            let piece = |input| Work::new(skill.clone(), input).on_failure(on_failure.clone());
            let work = inputs.into_iter().map(piece).collect();
            let join = enough.map_or(Join::All, Join::Quorum);
            let ends = context.delegate_with(&name, work, join).await?;
            Ok(ends.into_iter().map(end).collect())
        }
        Act::StepOrMessage { name, ms } => {
            let effect = effect(context, file, &name, ms);
            Ok(match context.step_or_message(&name, effect).await? {
                Interrupted::Done(value) => value,
                Interrupted::Message(message) => json!({ "said": value_of(&message.parts) }),
            })
        }
        Act::Say { text } => context.status(text).await.map(|()| Value::Null),
        Act::Chunk { text, append, last } => {
            let artifact = Artifact {
                artifact_id: "text".to_owned(),
                name: None,
                description: None,
                parts: vec![Part::text(text)],
                metadata: None,
            };
            context.artifact(artifact, append, last).await.map(|()| Value::Null)
        }
        Act::Fail { message } => Err(Stop::permanent(message)),
        Act::FailIf { path } if path.exists() => Err(Stop::permanent("the file is there")),
        Act::FailIf { .. } => Ok(json!("fine")),
    }
}

fn end(end: ChildEnd) -> Value {
    end.result.unwrap_or_else(|fault| json!({ "fault": fault.code }))
}

fn mark(context: &Context, file: Option<&PathBuf>, what: &str) -> Result<(), Stop> {
    let Some(path) = file else { return Ok(()) };
    let line = format!("{} {} {what} {}\n", context.task(), context.attempt(), std::process::id());
    let written = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    written.map_err(|error| Stop::permanent(format!("{}: {error}", path.display())))
}
