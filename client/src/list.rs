//! Lists tasks by reading the streams: the newest logs, and submissions that no log mentions yet.
//!
//! This needs no read model and so works on a mesh without coordinators. It looks at a window of the newest
//! messages and says when there is more behind it.

use std::collections::HashMap;

use protocol::log::TaskLog;
use protocol::subject::Subject;
use protocol::task::TaskState;
use protocol::{Owner, Skill, TaskId, Timestamp};
use serde::Serialize;

use crate::Client;
use crate::read::{TaskError, read_entry};

/// Messages of each stream that are looked at.
const WINDOW: u64 = 50_000;

/// Which tasks to list.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// Only this skill's.
    pub skill: Option<Skill>,
    /// Only this owner's.
    pub owner: Option<Owner>,
    /// Only those in this state.
    pub state: Option<TaskState>,
    /// At most so many, newest first.
    pub limit: usize,
}

/// One task in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The task.
    pub id: TaskId,
    /// Who it belongs to.
    pub owner: Owner,
    /// What is to be done.
    pub skill: Option<Skill>,
    /// Its state.
    pub state: TaskState,
    /// Attempts so far.
    pub attempts: usize,
    /// The node of the last attempt.
    pub node: Option<String>,
    /// When it was submitted.
    pub submitted_at: Option<Timestamp>,
    /// When it last changed.
    pub changed_at: Option<Timestamp>,
    /// What went wrong, if something did.
    pub error: Option<String>,
}

/// A list of tasks.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    /// Newest change first.
    pub tasks: Vec<Summary>,
    /// Whether older messages were not looked at.
    pub older_not_read: bool,
}

impl Client {
    /// Lists tasks.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub async fn list(&self, query: &ListQuery) -> Result<Listing, TaskError> {
        let (mut found, logs_cut) = self.logs_in_window().await?;
        let inbox_cut = self.add_submissions(&mut found).await?;
        let mut tasks = found
            .into_values()
            .map(|(_, summary)| summary)
            .filter(|task| {
                query.skill.as_ref().is_none_or(|skill| task.skill.as_ref() == Some(skill))
                    && query.owner.as_ref().is_none_or(|owner| task.owner == *owner)
                    && query.state.is_none_or(|state| task.state == state)
            })
            .collect::<Vec<_>>();
        tasks.sort_by(|a, b| b.changed_at.cmp(&a.changed_at).then_with(|| b.id.cmp(&a.id)));
        tasks.truncate(query.limit);
        Ok(Listing { tasks, older_not_read: logs_cut || inbox_cut })
    }

    async fn logs_in_window(&self) -> Result<(Found, bool), TaskError> {
        let stream = &self.bus().names().log;
        let (from, cut) = self.window(stream).await?;
        let mut logs: HashMap<Key, (TaskLog, bool)> = HashMap::new();
        self.bus()
            .scan(stream, &self.bus().subjects().all_logs(), from, |message| {
                if let Some(Subject::Log(owner, task)) =
                    self.bus().subjects().parse(&message.subject)
                {
                    let (log, broken) = logs.entry((owner, task.clone())).or_default();
                    let applied = read_entry(&task, &message)
                        .map(|(sequence, entry)| log.apply(sequence, entry).is_ok());
                    *broken |= !applied.unwrap_or(false);
                }
                std::ops::ControlFlow::Continue(())
            })
            .await?;
        let mut found = Found::new();
        for ((owner, task), (mut log, broken)) in logs {
            if broken {
                // Its first entries lie before the window.
                log = self.log(&owner, &task).await?;
            }
            let summary = summary(&owner, &task, &log);
            found.insert((owner, task), (log, summary));
        }
        Ok((found, cut))
    }

    async fn add_submissions(&self, found: &mut Found) -> Result<bool, TaskError> {
        let stream = &self.bus().names().inbox;
        let (from, cut) = self.window(stream).await?;
        self.bus()
            .scan(stream, &self.bus().subjects().all_tasks(), from, |message| {
                if let Some(envelope) = self.envelope(&message) {
                    let key = (envelope.owner.clone(), envelope.task.clone());
                    found.entry(key).or_insert_with(|| {
                        let log = TaskLog::default();
                        let mut summary = summary(&envelope.owner, &envelope.task, &log);
                        summary.skill = Some(envelope.skill.clone());
                        summary.submitted_at = Some(message.at);
                        summary.changed_at = Some(message.at);
                        (log, summary)
                    });
                }
                std::ops::ControlFlow::Continue(())
            })
            .await?;
        Ok(cut)
    }

    async fn window(&self, stream: &str) -> Result<(u64, bool), TaskError> {
        let state = self.bus().stream_state(stream).await?;
        let from = state.last_seq.saturating_sub(WINDOW) + 1;
        Ok((from, from > state.first_seq.max(1)))
    }
}

type Key = (Owner, TaskId);
type Found = HashMap<Key, (TaskLog, Summary)>;

fn summary(owner: &Owner, task: &TaskId, log: &TaskLog) -> Summary {
    Summary {
        id: task.clone(),
        owner: owner.clone(),
        skill: log.origin.as_ref().map(|origin| origin.skill.clone()),
        state: log.state,
        attempts: log.attempts.len(),
        node: log.attempts.last().map(|attempt| attempt.node.to_string()),
        submitted_at: log.origin.as_ref().map(|origin| origin.submitted_at),
        changed_at: log.changed_at,
        error: log.failure.as_ref().map(|(_, fault)| fault.to_string()),
    }
}
