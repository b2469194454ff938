//! A task as its submitter sees it: the A2A Task that a log stands for.

use serde_json::{Map, Value, json};

use crate::id::TaskId;

use crate::log::{AttemptOutcome, TaskLog};
use crate::message::Message;
use crate::submission::Envelope;
use crate::task::{Task, TaskState, TaskStatus};
use crate::time::Timestamp;

/// The A2A Task of a log; `input` is what was submitted, if it is at hand.
#[must_use]
pub fn task(id: &TaskId, log: &TaskLog, input: Option<Message>) -> Task {
    let context_id = log
        .origin
        .as_ref()
        .and_then(|origin| origin.context_id.as_ref())
        .map_or_else(|| id.to_string(), ToString::to_string);
    Task {
        id: id.to_string(),
        context_id,
        status: TaskStatus {
            state: log.state,
            message: log.status_message.clone(),
            timestamp: log.changed_at,
        },
        artifacts: log.artifacts.clone(),
        history: input.into_iter().collect(),
        metadata: Some(metadata(log)),
    }
}

fn metadata(log: &TaskLog) -> Map<String, Value> {
    let mut facts = Map::new();
    let mut put = |key: &str, value: Value| facts.insert(format!("weft/{key}"), value);
    put("generation", json!(log.generation));
    let count = log.attempts.iter().filter(|a| a.outcome != AttemptOutcome::Released).count();
    put("attempts", json!(count));
    if let Some(last) = log.attempts.last() {
        put("node", json!(last.node));
    }
    if let Some(origin) = &log.origin {
        put("skill", json!(origin.skill));
        put("owner", json!(origin.owner));
        put("submittedAt", json!(origin.submitted_at));
        put("inputHash", json!(origin.input_hash));
        if let Some(parent) = &origin.parent {
            put("parent", json!(parent.task));
        }
        if let Some(dead) = &origin.redrive_of {
            put("redriveOf", json!(dead));
        }
    }
    if let Some((class, fault)) = &log.failure {
        put("failure", json!(class));
        put("error", json!(fault));
    }
    if let Some(at) = log.not_before {
        put("notBefore", json!(at));
    }
    if let Some(waiting_for) = &log.waiting_for {
        put("waitingFor", json!(waiting_for));
    }
    if let Some(at) = log.until {
        put("until", json!(at));
    }
    facts
}

/// The A2A Task of a submission that no log mentions yet.
#[must_use]
pub fn submitted(envelope: &Envelope, input: Option<Message>, at: Timestamp) -> Task {
    let mut task = task(&envelope.task, &TaskLog::default(), input);
    task.status.state = TaskState::Submitted;
    task.status.timestamp = Some(at);
    if let Some(context) = &envelope.context {
        task.context_id = context.to_string();
    }
    if let Some(facts) = &mut task.metadata {
        facts.insert("weft/skill".to_owned(), json!(envelope.skill));
        facts.insert("weft/owner".to_owned(), json!(envelope.owner));
        facts.insert("weft/submittedAt".to_owned(), json!(envelope.stored_at));
    }
    task
}
