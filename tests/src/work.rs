//! Work for a mesh, and what its log says about it.

use std::path::Path;
use std::time::Duration;

use client::Submission;
use protocol::entry::{Entry, Event};
use protocol::fault::Fault;
use protocol::id::{Skill, TaskId};
use serde_json::Value;

use crate::mesh::Mesh;
use crate::wait::wait_until;

/// How long anything that should happen soon may take on a loaded machine.
pub const SOON: Duration = Duration::from_secs(20);

/// A line that the probe has left in its file: proof that it ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The task.
    pub task: String,
    /// The attempt.
    pub attempt: u32,
    /// `run`, or the step's name.
    pub what: String,
    /// The process.
    pub pid: u32,
}

/// The marks in a file, oldest first; none when there is no file.
#[must_use]
pub fn marks(path: &Path) -> Vec<Mark> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let read = |line: &str| {
        let mut words = line.split(' ');
        Some(Mark {
            task: words.next()?.to_owned(),
            attempt: words.next()?.parse().ok()?,
            what: words.next()?.to_owned(),
            pid: words.next()?.parse().ok()?,
        })
    };
    text.lines().filter_map(read).collect()
}

/// The names of the entries, in order.
#[must_use]
pub fn kinds(entries: &[Entry]) -> Vec<&'static str> {
    entries.iter().map(|entry| entry.event.kind().name()).collect()
}

/// The fault that an entry reports.
///
/// # Panics
/// When it reports none.
#[must_use]
pub fn fault(entry: &Entry) -> &Fault {
    match &entry.event {
        Event::AttemptFailed { fault, .. }
        | Event::Failed { fault, .. }
        | Event::Rejected { fault } => fault,
        other => panic!("no fault in {other:?}"),
    }
}

/// What a completed task returned, as one JSON value.
///
/// # Panics
/// When it did not complete.
#[must_use]
pub fn output(entry: &Entry) -> Value {
    match &entry.event {
        Event::Completed { output } => protocol::message::value_of(output),
        other => panic!("not completed: {other:?}"),
    }
}

/// A submission to a skill.
#[must_use]
pub fn submission(skill: &str, body: impl Into<bytes::Bytes>) -> Submission {
    Submission::new(Skill::parse(skill).unwrap(), body)
}

impl Mesh {
    /// Submits a JSON value, or a text as it is.
    pub async fn submit(&self, skill: &str, input: Value) -> TaskId {
        let body = match input {
            Value::String(text) => text,
            other => other.to_string(),
        };
        self.client.submit(submission(skill, body)).await.unwrap().task
    }

    /// Waits until a task's log satisfies `is_there`, and returns it.
    pub async fn until(
        &self,
        task: &TaskId,
        what: &str,
        is_there: impl Fn(&[Entry]) -> bool,
    ) -> Vec<Entry> {
        wait_until(&format!("task {task}: {what}"), SOON, || async {
            let entries = self.entries(task).await;
            is_there(&entries).then_some(entries)
        })
        .await
    }

    /// Waits until a task's log holds an entry of this name, and returns the log.
    pub async fn until_kind(&self, task: &TaskId, kind: &str) -> Vec<Entry> {
        self.until(task, kind, |entries| kinds(entries).contains(&kind)).await
    }

    /// Waits until nothing is left to hand out or to settle of a skill, in either stream.
    pub async fn until_settled(&self, skill: &str) {
        let bus = self.client.bus();
        let consumer = protocol::topology::Names::skill_consumer(&Skill::parse(skill).unwrap());
        for stream in [&bus.names().inbox, &bus.names().log] {
            wait_until(&format!("{consumer} of {stream} settled"), SOON, || async {
                let facts = bus.consumer(stream, &consumer).await.ok()?;
                (facts.pending == 0 && facts.ack_pending == 0).then_some(())
            })
            .await;
        }
    }
}
