//! A task as its submitter sees it: the A2A Task that a log stands for.

use serde_json::{Map, Value, json};

use crate::id::{ContextId, Owner, Skill, TaskId};
use crate::log::TaskLog;
use crate::message::{Message, Part};
use crate::submission::Envelope;
use crate::task::{Task, TaskState, TaskStatus};
use crate::time::Timestamp;
use crate::wait::WaitingFor;

/// The key in a question's metadata that holds the approval which is asked for.
pub const APPROVAL: &str = "weft/approval";

/// The conversation of a task: the one that its submitter named, or the task's own.
#[must_use]
pub fn context(task: &TaskId, named: Option<&ContextId>) -> String {
    named.map_or_else(|| task.to_string(), ToString::to_string)
}

/// What a task that waits for somebody asks; `None` when it waits for something else. `escalated_ms` says which level of
/// an approval's chain has begun.
#[must_use]
pub fn question(waiting_for: &WaitingFor, escalated_ms: u64) -> Option<Message> {
    match waiting_for {
        WaitingFor::Input { question, .. } => Some(question.clone()),
        WaitingFor::Approval { name, request } => {
            let mut message = Message::from_agent(request.question.clone());
            message.parts.push(Part::data(request.action.clone()));
            let deciders = request.deciders(escalated_ms);
            let facts = json!({ "name": name, "request": request, "deciders": deciders });
            message.metadata = Some(Map::from_iter([(APPROVAL.to_owned(), facts)]));
            Some(message)
        }
        WaitingFor::Children { .. }
        | WaitingFor::Timer { .. }
        | WaitingFor::Signal { .. }
        | WaitingFor::Lane { .. } => None,
    }
}

/// A message of the task as clients get it: with the ids that A2A requires. `generation` is that of the entry that holds
/// it, 0 for what was submitted; an id of the message's own stays.
#[must_use]
pub fn addressed(mut message: Message, task: &str, context: &str, generation: u64) -> Message {
    if message.message_id.is_empty() {
        message.message_id = format!("{task}-{generation}");
    }
    message.task_id.get_or_insert_with(|| task.to_owned());
    message.context_id.get_or_insert_with(|| context.to_owned());
    message
}

/// The A2A Task of a log; `input` is what was submitted, if it is at hand.
#[must_use]
pub fn task(id: &TaskId, log: &TaskLog, input: Option<Message>) -> Task {
    let named = log.origin.as_ref().and_then(|origin| origin.context_id.as_ref());
    let (id, context_id) = (id.to_string(), context(id, named));
    let address = |message, generation| addressed(message, &id, &context_id, generation);
    let asked = log.waiting_for.as_ref().and_then(|asked| question(asked, log.escalated_ms));
    let message = match asked {
        Some(question) => Some(address(question, log.asked_at)),
        None => log.status_message.clone().map(|message| address(message, log.said_at)),
    };
    Task {
        status: TaskStatus { state: log.state, message, timestamp: log.changed_at },
        artifacts: log.artifacts.clone(),
        history: input.into_iter().map(|message| address(message, 0)).collect(),
        metadata: Some(metadata(log)),
        id,
        context_id,
    }
}

fn metadata(log: &TaskLog) -> Map<String, Value> {
    let mut facts = Map::new();
    let mut put = |key: &str, value: Value| facts.insert(format!("weft/{key}"), value);
    put("generation", json!(log.generation));
    put("attempts", json!(log.tries()));
    if log.resumes() > 0 {
        put("resumes", json!(log.resumes()));
    }
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
    let context_id = context(&envelope.task, envelope.context.as_ref());
    let (skill, owner) = (&envelope.skill, &envelope.owner);
    let mut task = queued(&envelope.task, owner, skill, context_id, at);
    let address = |message| addressed(message, &task.id, &task.context_id, 0);
    task.history = input.into_iter().map(address).collect();
    task
}

/// The same of a submission that was stored a moment ago, without its input.
#[must_use]
pub fn queued(
    id: &TaskId,
    owner: &Owner,
    skill: &Skill,
    context_id: String,
    at: Timestamp,
) -> Task {
    let mut task = task(id, &TaskLog::default(), None);
    task.status.state = TaskState::Submitted;
    task.status.timestamp = Some(at);
    task.context_id = context_id;
    if let Some(facts) = &mut task.metadata {
        facts.insert("weft/skill".to_owned(), json!(skill));
        facts.insert("weft/owner".to_owned(), json!(owner));
        facts.insert("weft/submittedAt".to_owned(), json!(at));
    }
    task
}
