//! What has to be published because of what a log says.
//!
//! Entries decide, publications follow. Whoever holds a task publishes the consequences of the entry it has
//! just appended; whoever finds the task after a crash publishes them again. Each has an id derived from the
//! task and the generation, so a repetition is dropped by the stream or recognised by the reader.

use bytes::Bytes;

use crate::entry::Child;
use crate::entry::Origin;
use crate::header::{self, Headers};
use crate::id::{Owner, TaskId};
use crate::lifecycle::Phase;
use crate::log::{Driver, TaskLog};
use crate::message::Message;
use crate::subject::Subjects;
use crate::submission::{ParentRef, Queue, Source, input_hash};
use crate::task::TaskState;
use crate::time::Timestamp;

/// A message that must be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The subject.
    pub subject: String,
    /// The headers, `Nats-Msg-Id` included.
    pub headers: Headers,
    /// The body.
    pub payload: Bytes,
}

/// The consequences of a log's last entry, but for those of a delegation (see [`dispatch`]) and the wake of whoever is
/// behind it in its lane, for which the inbox has to be read (see [`lane_wake`]).
#[must_use]
pub fn of(subjects: &Subjects, task: &TaskId, log: &TaskLog) -> Vec<Publication> {
    let Some(origin) = &log.origin else { return Vec::new() };
    let owner = &origin.owner;
    match log.phase {
        Phase::Running => Vec::new(),
        Phase::Queued => {
            let losers = log.losers().map(|child| cancel(subjects, owner, task, &child.task));
            requeue(subjects, task, log).into_iter().chain(losers).collect()
        }
        Phase::Waiting => std::iter::once(wake(
            subjects,
            owner,
            task,
            &format!("wait-{owner}-{task}-{}", log.generation),
        ))
        .chain(timed_wake(subjects, task, log))
        .collect(),
        Phase::Ended => {
            let parent = origin
                .parent
                .iter()
                .map(|parent| wake(subjects, owner, &parent.task, &end_id(owner, task.as_str())));
            // Whoever resumed it may have died before the losers' cancels, and a completed attempt has seen to them.
            let abandons = log.state != TaskState::Completed;
            let left = log.unjoined().iter().chain(log.losers()).filter(|_| abandons);
            parent.chain(left.map(|child| cancel(subjects, owner, task, &child.task))).collect()
        }
    }
}

/// The message id of the wake that tells a parent of a child's end.
fn end_id(owner: &Owner, child: &str) -> String {
    format!("end-{owner}-{child}")
}

/// The child whose end a wake with this message id tells of; `None` for other wakes.
#[must_use]
pub fn ended_child(owner: &Owner, id: &str) -> Option<TaskId> {
    TaskId::parse(id.strip_prefix(&end_id(owner, ""))?).ok()
}

/// Wakes a waiting task when something is due.
#[must_use]
pub fn timed_wake(subjects: &Subjects, task: &TaskId, log: &TaskLog) -> Option<Publication> {
    let (owner, generation) = (&log.origin.as_ref()?.owner, log.generation);
    Some(Publication {
        subject: subjects.timer(owner, task, &format!("wait-{generation}")),
        headers: Headers::new()
            .with(header::MSG_ID, format!("time-{owner}-{task}-{generation}"))
            .with(header::SCHEDULE, format!("@at {}", log.due()?))
            .with(header::SCHEDULE_TARGET, subjects.wake(owner, task)),
        payload: Bytes::new(),
    })
}

/// The message that ends a child whose result nobody wants any more.
#[must_use]
pub fn cancel(subjects: &Subjects, owner: &Owner, parent: &TaskId, child: &TaskId) -> Publication {
    Publication {
        subject: subjects.cancel(owner, child),
        headers: Headers::new()
            .with(header::MSG_ID, format!("cancel-{owner}-{child}"))
            .with(header::PARENT, parent.as_str()),
        payload: Bytes::new(),
    }
}

/// What the first entry of a child's log says when the child is ended before anybody has begun it; the message that
/// stands for it may not even be in its queue.
#[must_use]
pub fn origin_of_child(
    subjects: &Subjects,
    origin: &Origin,
    parent: &TaskId,
    child: &Child,
    at: Timestamp,
) -> Origin {
    let publication = dispatch(subjects, origin, parent, child);
    let source = Source { queue: Queue::Run, sequence: 0 };
    Origin {
        owner: origin.owner.clone(),
        input_hash: input_hash(Some(crate::codec::A2A_JSON), &publication.payload),
        context_id: origin.context_id.clone(),
        deadline: origin.deadline,
        parent: Some(ParentRef { task: parent.clone() }),
        traceparent: origin.traceparent.clone(),
        budget: child.budget,
        depth: origin.depth.saturating_add(1),
        ..Origin::bare(child.skill.clone(), source, at)
    }
}

/// Wakes the task behind an ended one in its lane.
#[must_use]
pub fn lane_wake(subjects: &Subjects, owner: &Owner, ended: &TaskId, next: &TaskId) -> Publication {
    wake(subjects, owner, next, &format!("lane-{owner}-{ended}-{next}"))
}

fn requeue(subjects: &Subjects, task: &TaskId, log: &TaskLog) -> Option<Publication> {
    let origin = log.origin.as_ref()?;
    // A later entry means that the message has been delivered: a second one would be a second driver.
    let Driver::Requeue { generation, .. } = log.driver else { return None };
    if generation != log.generation {
        return None;
    }
    let target = subjects.run(&origin.skill);
    let headers = Headers::new()
        .with(header::MSG_ID, format!("run-{}-{task}-{generation}", origin.owner))
        .with(header::TASK_ID, task.as_str())
        .with(header::OWNER, origin.owner.as_str())
        .with(header::GENERATION, generation.to_string());
    let headers = match &origin.traceparent {
        Some(traceparent) => headers.with(header::TRACEPARENT, traceparent.as_str()),
        None => headers,
    };
    Some(match log.not_before {
        None => Publication { subject: target, headers, payload: Bytes::new() },
        Some(at) => Publication {
            subject: subjects.timer(&origin.owner, task, &format!("retry-{generation}")),
            headers: headers
                .with(header::SCHEDULE, format!("@at {at}"))
                .with(header::SCHEDULE_TARGET, target),
            payload: Bytes::new(),
        },
    })
}

fn wake(subjects: &Subjects, owner: &Owner, task: &TaskId, id: &str) -> Publication {
    Publication {
        subject: subjects.wake(owner, task),
        headers: Headers::new().with(header::MSG_ID, id),
        payload: Bytes::new(),
    }
}

/// The message that puts a child into its skill's queue.
#[must_use]
pub fn dispatch(
    subjects: &Subjects,
    origin: &Origin,
    parent: &TaskId,
    child: &Child,
) -> Publication {
    let message = Message::from_user(vec![child.input.clone()]);
    // A message of this crate's own types always is JSON.
    let payload = serde_json::to_vec(&message).unwrap_or_default();
    let mut headers = Headers::new()
        .with(header::MSG_ID, format!("child-{}-{}", origin.owner, child.task))
        .with(header::TASK_ID, child.task.as_str())
        .with(header::OWNER, origin.owner.as_str())
        .with(header::PARENT, parent.as_str())
        .with(header::DEPTH, origin.depth.saturating_add(1).to_string())
        .with(header::CONTENT_TYPE, crate::codec::A2A_JSON);
    if let Some(context) = &origin.context_id {
        headers.push(header::CONTEXT_ID, context.as_str());
    }
    if let Some(deadline) = origin.deadline {
        headers.push(header::DEADLINE, deadline.to_string());
    }
    if let Some(budget) = &child.budget {
        headers.push(header::BUDGET, serde_json::to_string(budget).unwrap_or_default());
    }
    if let Some(node) = &child.avoid {
        headers.push(header::AVOID, node.as_str());
    }
    Publication { subject: subjects.run(&child.skill), headers, payload: payload.into() }
}
