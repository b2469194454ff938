//! What has to be published because of what a log says.
//!
//! Entries decide, publications follow. Whoever holds a task publishes the consequences of the entry it has
//! just appended; whoever finds the task after a crash publishes them again. Each has an id derived from the
//! task and the generation, so a repetition is dropped by the stream or recognised by the reader.

use bytes::Bytes;

use crate::entry::Child;
use crate::header::{self, Headers};
use crate::id::{Owner, TaskId};
use crate::lifecycle::Phase;
use crate::log::{Driver, TaskLog};
use crate::message::Message;
use crate::subject::Subjects;

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

/// The consequences of a log's last entry, but for those of a delegation: see [`dispatch`].
#[must_use]
pub fn of(subjects: &Subjects, task: &TaskId, log: &TaskLog) -> Vec<Publication> {
    let Some(origin) = &log.origin else { return Vec::new() };
    let owner = &origin.owner;
    match log.phase {
        Phase::Running => Vec::new(),
        Phase::Queued => requeue(subjects, task, log).into_iter().collect(),
        Phase::Waiting => {
            vec![wake(subjects, owner, task, &format!("wait-{task}-{}", log.generation))]
        }
        Phase::Ended => origin
            .parent
            .iter()
            .map(|parent| wake(subjects, owner, &parent.task, &format!("end-{task}")))
            .collect(),
    }
}

fn requeue(subjects: &Subjects, task: &TaskId, log: &TaskLog) -> Option<Publication> {
    let origin = log.origin.as_ref()?;
    let Driver::Requeue(generation) = log.driver else { return None };
    let target = subjects.run(&origin.skill);
    let headers = Headers::new()
        .with(header::MSG_ID, format!("run-{task}-{generation}"))
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
pub fn dispatch(subjects: &Subjects, owner: &Owner, parent: &TaskId, child: &Child) -> Publication {
    let message = Message::from_user(vec![child.input.clone()]);
    // A message of this crate's own types always is JSON.
    let payload = serde_json::to_vec(&message).unwrap_or_default();
    Publication {
        subject: subjects.run(&child.skill),
        headers: Headers::new()
            .with(header::MSG_ID, child.task.as_str())
            .with(header::TASK_ID, child.task.as_str())
            .with(header::OWNER, owner.as_str())
            .with(header::PARENT, parent.as_str())
            .with(header::CONTENT_TYPE, crate::codec::A2A_JSON),
        payload: payload.into(),
    }
}
