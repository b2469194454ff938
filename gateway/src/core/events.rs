//! From the entries of a log to the events of a stream. Pure: the same log is the same events for everybody, from any
//! gateway, so a cursor means the same everywhere.
//!
//! An entry that changes nothing a client can see makes no event: steps, reservations, delegations, waits for children.

use std::fmt;

use protocol::TaskId;
use protocol::entry::{Entry, Event};
use protocol::lifecycle::{self, Phase};
use protocol::message::Message;
use protocol::task::{Artifact, RESULT_ARTIFACT, TaskState, TaskStatus};
use protocol::view;
use protocol::wait::WaitingFor;
use serde_json::{Map, Value, json};

use crate::a2a::response::{ArtifactUpdate, StatusUpdate, StreamResponse};
use crate::core::StreamEvent;

/// The place of an event: the generation of its entry, and which of that entry's events it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Cursor {
    /// The entry's generation; 0 before the first entry.
    pub generation: u64,
    /// From 0.
    pub index: u32,
}

impl Cursor {
    /// Reads what [`fmt::Display`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (generation, index) = text.split_once('.')?;
        if !digits(generation) || !digits(index) {
            return None;
        }
        Some(Self { generation: generation.parse().ok()?, index: index.parse().ok()? })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation, self.index)
    }
}

/// Tells a task's story: takes its entries in, gives events out. Holds no more than the last entry's consequences, so
/// that thousands of them cost nothing.
#[derive(Debug, Clone)]
pub struct Narrator {
    task: String,
    context: String,
    phase: Phase,
    begun: bool,
    state: TaskState,
    /// The approval that it waits for, which is put to further people later, and the generation that asked.
    asked: Option<(u64, WaitingFor)>,
    /// The last event that was told.
    last: Cursor,
}

impl Narrator {
    /// Before the first entry. `context` is what the task's conversation is called if the log does not say.
    #[must_use]
    pub fn new(task: &TaskId, context: String) -> Self {
        Self {
            task: task.to_string(),
            context,
            phase: Phase::Queued,
            begun: false,
            state: TaskState::Submitted,
            asked: None,
            last: Cursor::default(),
        }
    }

    /// Behind the entries that are there already; `None` when there is none.
    #[must_use]
    pub fn behind(task: &TaskId, entries: &[(u64, Entry)]) -> Option<Self> {
        let mut narrator = Self::new(task, task.to_string());
        for (_, entry) in entries {
            narrator.tell(entry);
        }
        (!entries.is_empty()).then_some(narrator)
    }

    /// The last event that was told: who has seen the task as it stands has seen everything up to here.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.last
    }

    /// The state that the task is in.
    #[must_use]
    pub fn state(&self) -> TaskState {
        self.state
    }

    /// What clients are told about the next entry.
    pub fn tell(&mut self, entry: &Entry) -> Vec<StreamEvent> {
        if let Some(named) = entry.origin.as_ref().and_then(|origin| origin.context_id.as_ref()) {
            self.context = named.to_string();
        }
        let before = self.state;
        self.advance(entry);
        let mut told = Vec::new();
        let ends = self.phase == Phase::Ended;
        let artifact = artifact_of(&entry.event);
        let status = self.status_of(entry);
        // A change of state comes before what was made in it, an end behind it.
        let changed = (self.state != before).then_some((None, Map::new()));
        if let Some((message, facts)) = status.or(changed).filter(|_| !ends) {
            told.push(self.status_update(entry, message, facts));
        }
        if let Some((artifact, append, last_chunk)) = artifact {
            told.push(StreamResponse::ArtifactUpdate(ArtifactUpdate {
                task_id: self.task.clone(),
                context_id: self.context.clone(),
                artifact,
                append,
                last_chunk,
                metadata: Some(facts(entry)),
            }));
        }
        if ends {
            let (message, facts) = self.status_of(entry).unwrap_or_default();
            told.push(self.status_update(entry, message, facts));
        }
        self.number(entry.generation, told)
    }

    fn advance(&mut self, entry: &Entry) {
        self.begun |= entry.attempt > 0;
        let kind = entry.event.kind();
        self.phase = lifecycle::next(self.phase, kind).unwrap_or(self.phase);
        self.state = match (&entry.event, lifecycle::end_state(kind)) {
            (_, Some(end)) => end,
            (Event::Suspended { waiting_for, .. }, None) => {
                lifecycle::waiting_state(waiting_for, self.begun)
            }
            (Event::Escalated { .. }, None) => self.state,
            (_, None) => lifecycle::open_state(self.phase, self.begun),
        };
        if let Event::Suspended { waiting_for: asked, .. } = &entry.event {
            let escalates = matches!(asked, WaitingFor::Approval { request, .. }
                if request.next_level(0).is_some());
            self.asked = escalates.then(|| (entry.generation, asked.clone()));
        } else if self.phase != Phase::Waiting {
            self.asked = None;
        }
    }

    fn number(&mut self, generation: u64, told: Vec<StreamResponse>) -> Vec<StreamEvent> {
        self.last = Cursor { generation, index: 0 };
        let numbered = told.into_iter().zip(0..).map(|(response, index)| {
            self.last = Cursor { generation, index };
            StreamEvent { cursor: self.last.to_string(), response }
        });
        numbered.collect()
    }

    /// What an entry says about the task's status, and further facts; `None` when it says nothing by itself.
    fn status_of(&self, entry: &Entry) -> Option<(Option<Message>, Map<String, Value>)> {
        let fact = |name: &str, value: Value| Map::from_iter([(format!("weft/{name}"), value)]);
        let fault = |fault: &protocol::Fault| {
            (Some(Message::from_agent(fault.to_string())), fact("error", json!(fault)))
        };
        match &entry.event {
            Event::Status { message } => Some((Some(message.clone()), Map::new())),
            Event::Suspended { waiting_for, .. } => {
                let question = view::question(waiting_for, 0)?;
                Some((Some(question), fact("waitingFor", waiting_for_fact(waiting_for))))
            }
            Event::Escalated { after_ms, to, reason, .. } => {
                let (asked_at, asked) = self.asked.as_ref()?;
                let question = view::question(asked, *after_ms)?;
                // The same question as before, put to others: it keeps its id.
                let question = view::addressed(question, &self.task, &self.context, *asked_at);
                let mut facts = fact("waitingFor", waiting_for_fact(asked));
                facts.extend(fact("escalated", json!({ "to": to, "reason": reason })));
                Some((Some(question), facts))
            }
            Event::AttemptFailed { fault: why, retry_at, .. } => {
                let (message, mut facts) = fault(why);
                facts.extend(fact("notBefore", json!(retry_at)));
                Some((message, facts))
            }
            Event::Failed { failure, fault: why } => {
                let (message, mut facts) = fault(why);
                facts.extend(fact("failure", json!(failure)));
                Some((message, facts))
            }
            Event::Rejected { fault: why } => Some(fault(why)),
            Event::Canceled { reason } => Some((Some(Message::from_agent(reason)), Map::new())),
            Event::Claimed { .. }
            | Event::Artifact { .. }
            | Event::Reserved { .. }
            | Event::Step { .. }
            | Event::Received { .. }
            | Event::Refunded { .. }
            | Event::Delegated { .. }
            | Event::Resumed { .. }
            | Event::Released { .. }
            | Event::Completed { .. } => None,
        }
    }

    fn status_update(
        &self,
        entry: &Entry,
        message: Option<Message>,
        further: Map<String, Value>,
    ) -> StreamResponse {
        let mut metadata = facts(entry);
        metadata.extend(further);
        let message =
            message.map(|one| view::addressed(one, &self.task, &self.context, entry.generation));
        StreamResponse::StatusUpdate(StatusUpdate {
            task_id: self.task.clone(),
            context_id: self.context.clone(),
            status: TaskStatus { state: self.state, message, timestamp: Some(entry.at) },
            metadata: Some(metadata),
        })
    }
}

/// What every event says.
fn facts(entry: &Entry) -> Map<String, Value> {
    Map::from_iter([("weft/generation".to_owned(), json!(entry.generation))])
}

/// What is waited for, in a word and a name: the question itself is the status message.
fn waiting_for_fact(waiting_for: &WaitingFor) -> Value {
    let kind = match waiting_for {
        WaitingFor::Children { .. } => "children",
        WaitingFor::Timer { .. } => "timer",
        WaitingFor::Input { .. } => "input",
        WaitingFor::Signal { .. } => "signal",
        WaitingFor::Approval { .. } => "approval",
        WaitingFor::Lane { .. } => "lane",
    };
    json!({ "kind": kind, "name": waiting_for.name() })
}

/// What an entry adds to the task's artifacts, and whether it appends and completes.
fn artifact_of(event: &Event) -> Option<(Artifact, bool, bool)> {
    if let Event::Artifact { artifact, append, last_chunk } = event {
        return Some((artifact.clone(), *append, *last_chunk));
    }
    let Event::Completed { output } = event else { return None };
    let artifact = Artifact {
        artifact_id: RESULT_ARTIFACT.to_owned(),
        name: None,
        description: None,
        parts: output.clone(),
        metadata: None,
    };
    Some((artifact, false, true))
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
