//! Direct replies: results that a client gets as a message, with no task around them.
//!
//! The task is there all the same, stored and listed. A stream that may end so holds back what says only that there is a
//! task, until it is clear which of the two the client gets: A2A wants a stream to be one message and nothing else,
//! or to begin with the task.

use async_stream::try_stream;
use futures_util::StreamExt as _;
use protocol::Skill;
use protocol::card::Registration;
use protocol::message::{Message, REPLY, Role, is_reply};
use protocol::task::{Artifact, RESULT_ARTIFACT, Task, TaskState};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::a2a::response::StreamResponse;
use crate::core::{EventStream, StreamEvent};

/// Facts of a task that its direct reply has too.
const GENERATION: &str = "weft/generation";

/// Whether agents of a skill say that their results may be direct replies.
pub(super) fn may_come(agents: &[Registration], skill: &Skill) -> bool {
    agents.iter().any(|agent| agent.replies && agent.skill == *skill)
}

/// The message that a finished task is, if it is one: its only artifact is a direct reply, and nothing was said before.
pub(super) fn of(task: &Task) -> Option<Message> {
    let [result] = task.artifacts.as_slice() else { return None };
    let quiet = task.status.state == TaskState::Completed && task.status.message.is_none();
    let facts = task.metadata.as_ref();
    (quiet && is_result(result)).then(|| message(&task.id, &task.context_id, result, facts))
}

/// The events of a new task, or its direct reply as the only one. Once `closing`, whoever waits for the reply learns
/// which task it is that goes on.
pub(super) fn or_task(mut events: EventStream, closing: CancellationToken) -> EventStream {
    Box::pin(try_stream! {
        let mut held = Vec::new();
        let mut reply = None;
        while let Some(Some(next)) = closing.run_until_cancelled(events.next()).await {
            match next {
                Ok(event) if says_little(&event.response) => held.push(event),
                Ok(StreamEvent { cursor, response }) => {
                    match in_event(&response) {
                        Some(message) => reply = Some((cursor, message)),
                        None => held.push(StreamEvent { cursor, response }),
                    }
                    break;
                }
                Err(error) => {
                    for event in held.drain(..) {
                        yield event;
                    }
                    Err(error)?;
                }
            }
        }
        if let Some((cursor, message)) = reply {
            yield StreamEvent { cursor, response: StreamResponse::Message(message) };
        } else {
            for event in held {
                yield event;
            }
            for await event in events {
                yield event?;
            }
        }
    })
}

/// Whether an event says no more than that there is a task and that somebody works at it.
fn says_little(event: &StreamResponse) -> bool {
    let open = |state| matches!(state, TaskState::Submitted | TaskState::Working);
    match event {
        StreamResponse::Task(task) => open(task.status.state) && task.artifacts.is_empty(),
        StreamResponse::StatusUpdate(update) => {
            open(update.status.state) && update.status.message.is_none()
        }
        StreamResponse::Message(_) | StreamResponse::ArtifactUpdate(_) => false,
    }
}

fn in_event(event: &StreamResponse) -> Option<Message> {
    let StreamResponse::ArtifactUpdate(update) = event else { return None };
    let facts = update.metadata.as_ref();
    is_result(&update.artifact)
        .then(|| message(&update.task_id, &update.context_id, &update.artifact, facts))
}

fn is_result(artifact: &Artifact) -> bool {
    artifact.artifact_id == RESULT_ARTIFACT && is_reply(&artifact.parts)
}

/// The reply. It names no task: a client that keeps none would otherwise go on with one that has ended.
fn message(
    task: &str,
    context: &str,
    result: &Artifact,
    facts: Option<&Map<String, Value>>,
) -> Message {
    let generation = facts.and_then(|facts| facts.get(GENERATION)).cloned().unwrap_or_default();
    let mut parts = result.parts.clone();
    if let Some(facts) = parts.first_mut().and_then(|first| first.metadata.as_mut()) {
        facts.remove(REPLY);
    }
    for part in &mut parts {
        part.metadata.take_if(|facts| facts.is_empty());
    }
    Message {
        message_id: format!("{task}-{generation}"),
        role: Role::Agent,
        context_id: Some(context.to_owned()),
        parts,
        metadata: Some(Map::from_iter([
            ("weft/task".to_owned(), json!(task)),
            (GENERATION.to_owned(), generation),
        ])),
        ..Message::default()
    }
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
