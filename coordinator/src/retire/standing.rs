//! Where the logs of tasks stand: gone, over their time, or kept.
//!
//! The answers come from any replica. One that lags may say that a log stands which is over its time, never the
//! reverse: an end is the last that is ever written. That there is no log has to be asked of the leader.

use std::collections::HashMap;

use futures_util::{StreamExt as _, stream};
use protocol::Timestamp;
use protocol::entry::{Entry, Origin};
use protocol::id::{Owner, TaskId};
use runtime::bus::{ReadError, StoredMessage};

use super::Retire;

/// Questions on their way at once.
pub(super) const ASK_AHEAD: usize = 32;

/// A task by its owner and its id.
pub(super) type Task = (Owner, TaskId);

/// Where a task's log stands.
#[derive(Clone)]
pub(super) enum Standing {
    /// There is none.
    Gone,
    /// The task goes on, or has not ended long enough ago, or its parent has not.
    Kept,
    /// It is over its time.
    Over(Box<Over>),
}

/// A log that is over its time.
#[derive(Clone)]
pub(super) struct Over {
    /// The sequence of its last entry.
    pub(super) last: u64,
    /// How many entries it has.
    pub(super) entries: u64,
    /// How the task began.
    pub(super) origin: Box<Origin>,
}

impl Over {
    fn parent(&self) -> Option<Task> {
        let parent = self.origin.parent.as_ref()?;
        Some((self.origin.owner.clone(), parent.task.clone()))
    }
}

impl Retire {
    /// Where the logs of tasks stand.
    ///
    /// # Errors
    /// When the log stream cannot be read.
    pub(super) async fn standings(
        &self,
        tasks: &[Task],
        before: Timestamp,
    ) -> Result<HashMap<Task, Standing>, ReadError> {
        let lasts = self.lasts(tasks.iter()).await?;
        let mut standings: HashMap<Task, Standing> =
            tasks.iter().map(|task| (task.clone(), Standing::Gone)).collect();
        let is_over = |last: &StoredMessage| last.at < before && last.ends_task();
        for task in lasts.keys() {
            standings.insert(task.clone(), Standing::Kept);
        }
        let mut asking = Vec::new();
        for (task, last) in lasts.iter().filter(|(_, last)| is_over(last)) {
            asking.push(async move { Ok::<_, ReadError>((task, self.over(last).await?)) });
        }
        let mut asking = stream::iter(asking).buffer_unordered(ASK_AHEAD);
        let mut ended = Vec::new();
        while let Some(answer) = asking.next().await {
            let (task, over) = answer?;
            ended.extend(over.map(|over| (task, over)));
        }
        let parents: Vec<Task> = ended.iter().filter_map(|(_, over)| over.parent()).collect();
        let parents = self.lasts(parents.iter()).await?;
        for (task, over) in ended {
            let goes = match over.parent() {
                None => true,
                Some(parent) => match parents.get(&parent) {
                    Some(last) => is_over(last),
                    None => self.last(&parent).await?.is_none_or(|last| is_over(&last)),
                },
            };
            if goes {
                standings.insert(task.clone(), Standing::Over(Box::new(over)));
            }
        }
        Ok(standings)
    }

    /// The last entry of a log, by the stream's leader.
    pub(super) async fn last(&self, task: &Task) -> Result<Option<StoredMessage>, ReadError> {
        let bus = self.client.bus();
        bus.last_from_leader(&bus.names().log, &bus.subjects().log(&task.0, &task.1)).await
    }

    /// The last entries of the logs of tasks that have one.
    pub(super) async fn lasts(
        &self,
        tasks: impl Iterator<Item = &Task>,
    ) -> Result<HashMap<Task, StoredMessage>, ReadError> {
        let bus = self.client.bus();
        let by_subject: HashMap<String, &Task> =
            tasks.map(|task| (bus.subjects().log(&task.0, &task.1), task)).collect();
        let subjects: Vec<String> = by_subject.keys().cloned().collect();
        let lasts = bus.last_of_each(&bus.names().log, &subjects).await?;
        let of = |last: StoredMessage| Some(((*by_subject.get(&last.subject)?).clone(), last));
        Ok(lasts.into_iter().filter_map(of).collect())
    }

    /// What is needed of a log that has ended; how the task began stands in its first entry.
    async fn over(&self, last: &StoredMessage) -> Result<Option<Over>, ReadError> {
        let Some(end) = entry(last) else { return Ok(None) };
        let origin = if end.origin.is_some() {
            end.origin
        } else {
            let bus = self.client.bus();
            let first = bus.page(&bus.names().log, &last.subject, 1, 1).await?.messages.pop();
            first.as_ref().and_then(entry).and_then(|first| first.origin)
        };
        let (last, entries) = (last.sequence, end.generation);
        Ok(origin.map(|origin| Over { last, entries, origin }))
    }
}

fn entry(message: &StoredMessage) -> Option<Entry> {
    serde_json::from_slice(&message.payload).ok()
}
