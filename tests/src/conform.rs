//! The agent kind `conform`: behaves as the beginning of the message's id asks, the way A2A's public conformance kit
//! tells an agent what to play.

use std::sync::Arc;
use std::time::Duration;

use agent_node::agent::{About, AnyAgent, Stop};
use agent_node::agents::{AgentKind, BuildError, Surroundings};
use agent_node::context::Context;
use futures_util::future::BoxFuture;
use protocol::fault::{Failure, Fault, code};
use protocol::message::{Message, Part, part_of, value_of};
use protocol::task::Artifact;
use runtime::config::AgentSection;
use serde_json::{Value, json};

/// The kind.
pub const KIND: AgentKind =
    AgentKind { name: "conform", about: "behaves as the message's id asks", build };

/// How long what takes time takes: longer than a client that does not wait, shorter than one that gives up.
const DELAY: Duration = Duration::from_secs(2);

fn build(_: &AgentSection, _: &Surroundings) -> Result<Arc<dyn AnyAgent>, BuildError> {
    Ok(Arc::new(Conform))
}

/// What a message asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Play {
    Delay,
    Chunks,
    Text,
    File,
    Url,
    Data,
    Input,
    Credentials,
    Reject,
    Reply,
    Fail,
    Complete,
}

/// THE LIST of beginnings; the first that fits counts.
const PLAYS: &[(&str, Play)] = &[
    ("tck-delayed-complete", Play::Delay),
    ("test-resubscribe", Play::Delay),
    ("tck-stream-artifact-chunked", Play::Chunks),
    ("tck-stream-artifact-file", Play::File),
    ("tck-stream-002", Play::Reply),
    ("tck-stream", Play::Text),
    ("tck-artifact-file-url", Play::Url),
    ("tck-artifact-file", Play::File),
    ("tck-artifact-data", Play::Data),
    ("tck-artifact-text", Play::Text),
    ("tck-input-required", Play::Input),
    ("tck-auth-required", Play::Credentials),
    ("tck-message-response", Play::Reply),
    ("tck-reject-task", Play::Reject),
    ("tck-fail", Play::Fail),
];

struct Conform;

impl AnyAgent for Conform {
    fn about(&self) -> About {
        About {
            kind: "conform".to_owned(),
            name: "Conform".to_owned(),
            description: "Behaves as the beginning of the message's id asks.".to_owned(),
            version: "1".to_owned(),
            tags: vec!["drill".to_owned()],
            replies: true,
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
            let id = context.message_id();
            let play = PLAYS.iter().find(|(beginning, _)| id.starts_with(beginning));
            play_it(context, play.map_or(Play::Complete, |(_, play)| *play), &input).await
        })
    }
}

async fn play_it(context: &Context, play: Play, input: &[Part]) -> Result<Vec<Part>, Stop> {
    let named = |part: Part| Part { filename: Some("output.txt".to_owned()), ..part };
    let typed = |part: Part| Part { media_type: Some("text/plain".to_owned()), ..part };
    Ok(match play {
        Play::Complete => vec![Part::text("Hello from TCK")],
        Play::Delay => {
            context.status("working").await?;
            tokio::select! {
                () = tokio::time::sleep(DELAY) => vec![Part::text("Done after delay")],
                () = context.canceled() => return Err(Stop::Canceled),
            }
        }
        Play::Chunks => {
            for (text, append, last) in [("chunk-1 ", false, false), ("chunk-2", true, true)] {
                context.artifact(chunk(text), append, last).await?;
            }
            vec![Part::text("2 chunks")]
        }
        Play::Text => {
            context.status("working").await?;
            vec![Part::text("Generated text content")]
        }
        Play::File => vec![named(typed(Part::raw(b"tck".to_vec(), None)))],
        Play::Url => vec![named(typed(Part::url("https://example.com/output.txt")))],
        Play::Data => vec![Part::data(json!({"key": "value", "count": 42}))],
        Play::Input => vec![said(context.ask("input", "What else?", None).await?, input)],
        Play::Credentials => {
            vec![said(context.ask_for_credentials("who", "Who are you?", None).await?, input)]
        }
        Play::Reject => {
            let fault = Fault::new(code::INVALID_INPUT, "rejected");
            return Err(Stop::Failed { failure: Failure::Permanent, fault });
        }
        Play::Reply => {
            context.reply_directly();
            vec![Part::text("Direct message response")]
        }
        Play::Fail => return Err(Stop::permanent("failed")),
    })
}

fn chunk(text: &str) -> Artifact {
    Artifact {
        artifact_id: "chunked".to_owned(),
        name: None,
        description: None,
        parts: vec![Part::text(text)],
        metadata: None,
    }
}

/// What was asked and what was answered.
fn said(answer: Option<Message>, input: &[Part]) -> Part {
    let answer = answer.map(|message| value_of(&message.parts));
    part_of(json!({ "asked": value_of(input), "answered": answer }))
}
