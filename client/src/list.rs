//! Lists tasks by reading the streams: the newest logs, and submissions that no log mentions yet.
//!
//! This needs no read model and so works on a mesh without coordinators. It looks at a window of the newest
//! messages and says when there is more behind it. A log that cannot be read is one line of the list, never its end.

use std::collections::HashMap;
use std::ops::ControlFlow;

use protocol::lifecycle;
use protocol::log::TaskLog;
use protocol::subject::Subject;
use protocol::task::TaskState;
use protocol::{Owner, Skill, TaskId, Timestamp};
use runtime::bus::{ReadError, StoredMessage};
use serde::Serialize;

use crate::Client;
use crate::read::{TaskError, read_entry};

/// Messages of each stream that are looked at.
const WINDOW: u64 = 50_000;
/// The same when each is asked for on its own.
const WINDOW_ONE_BY_ONE: u64 = 2_000;
/// Logs before the window that are looked up at once.
const LOOKED_UP_AT_ONCE: usize = 256;

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
    /// How the messages are fetched.
    pub fetch: Fetch,
}

/// How messages are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fetch {
    /// Many at once, from any replica. A message whose headers no client can parse ends the connection.
    #[default]
    Pages,
    /// One by one, from the stream's leader: slower and so fewer, but nothing in a message does harm.
    OneByOne,
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
    /// Its state; `None` when its log cannot be read.
    pub state: Option<TaskState>,
    /// How often it was tried; a run that goes on after a wait or a drain is no further try.
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
    /// Whether more tasks than the limit allows are as asked for.
    pub more: bool,
    /// Whether older messages were not looked at.
    pub older_not_read: bool,
}

type Key = (Owner, TaskId);

/// A task that was found, and whether its log has been looked at.
struct Row {
    summary: Summary,
    is_read: bool,
}

/// What the log stream says about a task.
struct Seen {
    log: TaskLog,
    /// An entry could not be read, or did not follow from those before it in the window.
    is_broken: bool,
    changed_at: Timestamp,
}

impl Client {
    /// Lists tasks.
    ///
    /// # Errors
    /// When the bus does not answer. A log that cannot be read is a task without a state.
    pub async fn list(&self, query: &ListQuery) -> Result<Listing, TaskError> {
        let (mut found, logs_cut) = self.logs_in_window(query.fetch).await?;
        let inbox_cut = self.add_submissions(&mut found, query.fetch, logs_cut).await?;
        let mut rows: Vec<Row> = found
            .into_values()
            .filter(|Row { summary, .. }| {
                query.skill.as_ref().is_none_or(|skill| summary.skill.as_ref() == Some(skill))
                    && query.owner.as_ref().is_none_or(|owner| summary.owner == *owner)
            })
            .collect();
        rows.sort_by(|a, b| newest_first(&a.summary, &b.summary));
        // One more than asked for tells whether there is more.
        let enough = query.limit.saturating_add(1);
        let mut tasks = Vec::new();
        for some in rows.chunks_mut(LOOKED_UP_AT_ONCE) {
            if tasks.len() >= enough {
                break;
            }
            self.look_up(some, query).await?;
            let fits =
                |row: &&mut Row| query.state.is_none_or(|state| row.summary.state == Some(state));
            tasks.extend(some.iter_mut().filter(fits).map(|row| row.summary.clone()));
        }
        tasks.sort_by(newest_first);
        let more = tasks.len() > query.limit;
        tasks.truncate(query.limit);
        Ok(Listing { tasks, more, older_not_read: logs_cut || inbox_cut })
    }

    async fn logs_in_window(&self, fetch: Fetch) -> Result<(HashMap<Key, Row>, bool), TaskError> {
        let stream = &self.bus().names().log;
        let (from, cut) = self.window(stream, fetch).await?;
        let mut logs: HashMap<Key, Seen> = HashMap::new();
        let subject = self.bus().subjects().all_logs();
        self.each(stream, &subject, from, fetch, |message| {
            if let Some(Subject::Log(owner, task)) = self.bus().subjects().parse(&message.subject) {
                let seen = logs.entry((owner, task.clone())).or_insert_with(|| Seen {
                    log: TaskLog::default(),
                    is_broken: false,
                    changed_at: message.at,
                });
                let applied = read_entry(&task, &message)
                    .map(|(sequence, entry)| seen.log.apply(sequence, entry).is_ok());
                seen.is_broken |= !applied.unwrap_or(false);
                seen.changed_at = message.at;
            }
            ControlFlow::Continue(())
        })
        .await?;
        let mut found = HashMap::new();
        for ((owner, task), Seen { log, is_broken, changed_at }) in logs {
            let summary = if is_broken {
                // Its first entries may lie before the window.
                self.summary_of(&owner, &task, changed_at, fetch).await?
            } else {
                summary(&owner, &task, &log)
            };
            found.insert((owner, task), Row { summary, is_read: true });
        }
        Ok((found, cut))
    }

    async fn add_submissions(
        &self,
        found: &mut HashMap<Key, Row>,
        fetch: Fetch,
        logs_cut: bool,
    ) -> Result<bool, TaskError> {
        let stream = &self.bus().names().inbox;
        let (from, cut) = self.window(stream, fetch).await?;
        let subject = self.bus().subjects().all_tasks();
        self.each(stream, &subject, from, fetch, |message| {
            if let Some(envelope) = self.envelope(&message) {
                let key = (envelope.owner.clone(), envelope.task.clone());
                found.entry(key).or_insert_with(|| {
                    let log = TaskLog::default();
                    let mut summary = summary(&envelope.owner, &envelope.task, &log);
                    summary.skill = Some(envelope.skill.clone());
                    summary.submitted_at = Some(message.at);
                    summary.changed_at = Some(message.at);
                    Row { summary, is_read: !logs_cut }
                });
            }
            ControlFlow::Continue(())
        })
        .await?;
        Ok(cut)
    }

    /// Reads the logs that lie before the window: a submission without a log in the window may have ended long ago.
    async fn look_up(&self, rows: &mut [Row], query: &ListQuery) -> Result<(), TaskError> {
        let subjects = self.bus().subjects();
        let subject = |row: &Row| subjects.log(&row.summary.owner, &row.summary.id);
        let unread: Vec<String> = rows.iter().filter(|row| !row.is_read).map(subject).collect();
        if unread.is_empty() {
            return Ok(());
        }
        let stream = &self.bus().names().log;
        let mut last = HashMap::new();
        match query.fetch {
            Fetch::Pages => {
                for message in self.bus().last_of_each(stream, &unread).await? {
                    last.insert(message.subject.clone(), message);
                }
            }
            Fetch::OneByOne => {
                for one in unread {
                    if let Some(message) = self.bus().last_from_leader(stream, &one).await? {
                        last.insert(one, message);
                    }
                }
            }
        }
        for row in rows.iter_mut().filter(|row| !row.is_read) {
            row.is_read = true;
            let Some(message) = last.remove(&subject(row)) else { continue };
            let ended_as = end_state(&message);
            if let (Some(wanted), Some(found)) = (query.state, ended_as)
                && wanted != found
            {
                // It will not be shown, and so its log need not be read.
                row.summary.state = Some(found);
                continue;
            }
            let Summary { owner, id, skill, .. } = row.summary.clone();
            row.summary = self.summary_of(&owner, &id, message.at, query.fetch).await?;
            row.summary.skill = row.summary.skill.take().or(skill);
        }
        Ok(())
    }

    /// One task by its whole log.
    async fn summary_of(
        &self,
        owner: &Owner,
        task: &TaskId,
        changed_at: Timestamp,
        fetch: Fetch,
    ) -> Result<Summary, TaskError> {
        let log = match fetch {
            Fetch::Pages => self.log(owner, task).await,
            Fetch::OneByOne => self.log_one_by_one(owner, task).await,
        };
        match log {
            Ok(log) => Ok(summary(owner, task, &log)),
            Err(TaskError::Read(error)) => Err(error.into()),
            Err(error @ (TaskError::Unreadable { .. } | TaskError::Broken { .. })) => Ok(Summary {
                state: None,
                changed_at: Some(changed_at),
                error: Some(error.to_string()),
                ..summary(owner, task, &TaskLog::default())
            }),
        }
    }

    async fn log_one_by_one(&self, owner: &Owner, task: &TaskId) -> Result<TaskLog, TaskError> {
        let (stream, subject) = (&self.bus().names().log, self.bus().subjects().log(owner, task));
        let mut entries = Vec::new();
        self.each(stream, &subject, 1, Fetch::OneByOne, |message| {
            entries.push(read_entry(task, &message));
            ControlFlow::Continue(())
        })
        .await?;
        let entries = entries.into_iter().collect::<Result<Vec<_>, _>>()?;
        TaskLog::fold(entries).map_err(|source| TaskError::Broken { task: task.clone(), source })
    }

    async fn each(
        &self,
        stream: &str,
        subject: &str,
        from: u64,
        fetch: Fetch,
        mut visit: impl FnMut(StoredMessage) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        if fetch == Fetch::Pages {
            return self.bus().scan(stream, subject, from, visit).await;
        }
        let mut next = from.max(1);
        while let Some(message) = self.bus().next_from_leader(stream, subject, next).await? {
            next = message.sequence + 1;
            if visit(message).is_break() {
                break;
            }
        }
        Ok(())
    }

    async fn window(&self, stream: &str, fetch: Fetch) -> Result<(u64, bool), TaskError> {
        let window = match fetch {
            Fetch::Pages => WINDOW,
            Fetch::OneByOne => WINDOW_ONE_BY_ONE,
        };
        let state = self.bus().stream_state(stream).await?;
        let from = state.last_seq.saturating_sub(window) + 1;
        Ok((from, from > state.first_seq.max(1)))
    }
}

fn newest_first(a: &Summary, b: &Summary) -> std::cmp::Ordering {
    b.changed_at.cmp(&a.changed_at).then_with(|| b.id.cmp(&a.id))
}

/// The state that the last message of a log ended its task with, as its header tells.
fn end_state(message: &StoredMessage) -> Option<TaskState> {
    message.entry_kind().and_then(lifecycle::end_state)
}

fn summary(owner: &Owner, task: &TaskId, log: &TaskLog) -> Summary {
    Summary {
        id: task.clone(),
        owner: owner.clone(),
        skill: log.origin.as_ref().map(|origin| origin.skill.clone()),
        state: Some(log.state),
        attempts: log.tries(),
        node: log.attempts.last().map(|attempt| attempt.node.to_string()),
        submitted_at: log.origin.as_ref().map(|origin| origin.submitted_at),
        changed_at: log.changed_at,
        error: log.failure.as_ref().map(|(_, fault)| fault.to_string()),
    }
}
