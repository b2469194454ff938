//! What a stored message changes in the index. Pure.
//!
//! A row is not a fold: it keeps what lists are made of, and each entry says enough by itself to bring it up to date.

use protocol::Timestamp;
use protocol::entry::{Entry, Event, Kind, Origin};
use protocol::lifecycle;
use protocol::query::Row;
use protocol::subject::{Subject, Subjects};
use protocol::submission::{Envelope, Stored};
use protocol::task::TaskState;
use protocol::wait::WaitingFor;
use runtime::bus::StoredMessage;

/// What a message changes.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A task that no log may mention yet.
    Submitted(Box<Row>),
    /// The first entry of a log: everything about the task is known.
    Begun(Box<Row>),
    /// A later entry.
    Moved(Box<Moved>),
}

const APPROVAL: &str = "approval";

/// What a later entry of a log says.
#[derive(Debug, Clone, PartialEq)]
pub struct Moved {
    pub(crate) id: String,
    pub(crate) owner: String,
    /// `None` where it depends on whether an attempt has begun.
    pub(crate) state: Option<TaskState>,
    pub(crate) waiting_for: Option<&'static str>,
    /// The attempt that wrote it, and its node; nothing when none was running.
    pub(crate) attempt: Option<(u32, String)>,
    /// Whether a run after it goes on where it stopped.
    pub(crate) is_pause: bool,
    pub(crate) changed_at: Timestamp,
    pub(crate) error: Option<String>,
    pub(crate) generation: u64,
}

/// What a stored message changes; `None` when it says nothing about a task, or cannot be read.
#[must_use]
pub fn change(subjects: &Subjects, message: &StoredMessage) -> Option<Change> {
    match subjects.parse(&message.subject)? {
        Subject::Log(owner, task) => {
            let entry: Entry = serde_json::from_slice(&message.payload).ok()?;
            Some(of_entry(owner.as_str(), task.as_str(), &entry))
        }
        Subject::Task(..) => {
            let stored = Stored {
                subject: &message.subject,
                headers: &message.headers,
                sequence: message.sequence,
                at: message.at,
            };
            let envelope = Envelope::readable(subjects, stored)?;
            Some(Change::Submitted(Box::new(of_submission(&envelope))))
        }
        Subject::Event(..)
        | Subject::Run(_)
        | Subject::Wake(..)
        | Subject::Input(..)
        | Subject::Cancel(..)
        | Subject::Push(..)
        | Subject::Audit(_)
        | Subject::Dead(_)
        | Subject::Call(_)
        | Subject::Holding(_) => None,
    }
}

fn of_submission(envelope: &Envelope) -> Row {
    Row {
        id: envelope.task.to_string(),
        owner: envelope.owner.to_string(),
        skill: envelope.skill.to_string(),
        context_id: envelope
            .context
            .as_ref()
            .map_or_else(|| envelope.task.to_string(), ToString::to_string),
        state: TaskState::Submitted,
        waiting_for: None,
        attempts: 0,
        node: None,
        parent: None,
        submitted_at: envelope.stored_at,
        changed_at: envelope.stored_at,
        error: None,
        generation: 0,
    }
}

fn of_entry(owner: &str, task: &str, entry: &Entry) -> Change {
    let moved = Moved {
        id: task.to_owned(),
        owner: owner.to_owned(),
        state: state_after(&entry.event),
        waiting_for: if let Event::Suspended { waiting_for, .. } = &entry.event {
            Some(word(waiting_for))
        } else {
            (entry.event.kind() == Kind::Escalated).then_some(APPROVAL)
        },
        attempt: (entry.attempt > 0).then(|| (entry.attempt, entry.by.to_string())),
        is_pause: matches!(entry.event.kind(), Kind::Suspended | Kind::Released),
        changed_at: entry.at,
        error: if let Event::Failed { fault, .. } | Event::Rejected { fault } = &entry.event {
            Some(fault.to_string())
        } else {
            None
        },
        generation: entry.generation,
    };
    match &entry.origin {
        Some(origin) => Change::Begun(Box::new(begun(origin, moved))),
        None => Change::Moved(Box::new(moved)),
    }
}

fn begun(origin: &Origin, moved: Moved) -> Row {
    let (attempts, node) = moved.attempt.map_or((0, None), |(number, node)| (number, Some(node)));
    let open = if attempts > 0 { TaskState::Working } else { TaskState::Submitted };
    Row {
        context_id: origin
            .context_id
            .as_ref()
            .map_or_else(|| moved.id.clone(), ToString::to_string),
        id: moved.id,
        owner: moved.owner,
        skill: origin.skill.to_string(),
        state: moved.state.unwrap_or(open),
        waiting_for: moved.waiting_for.map(str::to_owned),
        attempts,
        node,
        parent: origin.parent.as_ref().map(|parent| parent.task.to_string()),
        submitted_at: origin.submitted_at,
        changed_at: moved.changed_at,
        error: moved.error,
        generation: moved.generation,
    }
}

/// The state that an entry leads to, as the fold of the log would say; `None` where that depends on whether an
/// attempt has begun.
fn state_after(event: &Event) -> Option<TaskState> {
    let kind = event.kind();
    if let Some(end) = lifecycle::end_state(kind) {
        return Some(end);
    }
    if let Event::Suspended { waiting_for, .. } = event {
        let in_lane = matches!(waiting_for, WaitingFor::Lane { .. });
        return (!in_lane).then(|| lifecycle::waiting_state(waiting_for, true));
    }
    if kind == Kind::Escalated {
        return Some(TaskState::InputRequired);
    }
    (kind != Kind::Resumed).then_some(TaskState::Working)
}

fn word(waiting_for: &WaitingFor) -> &'static str {
    match waiting_for {
        WaitingFor::Children { .. } => "children",
        WaitingFor::Timer { .. } => "timer",
        WaitingFor::Input { .. } => "input",
        WaitingFor::Signal { .. } => "signal",
        WaitingFor::Approval { .. } => APPROVAL,
        WaitingFor::Lane { .. } => "lane",
    }
}
