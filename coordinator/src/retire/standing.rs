//! Where the logs of tasks stand: gone, over their time, or kept.
//!
//! The answers come from any replica. One that lags may say that a log stands which is over its time, never the
//! reverse: an end is the last that is ever written. That there is no log has to be asked of the leader.

use std::collections::HashMap;

use futures_util::{StreamExt as _, stream};
use protocol::Timestamp;
use protocol::entry::{Entry, Kind, Origin};
use protocol::header;
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
    Over {
        /// The sequence of its last entry.
        last: u64,
        /// How the task began.
        origin: Box<Origin>,
    },
}

/// A task that has ended.
struct Ended<'a> {
    task: &'a Task,
    last: u64,
    origin: Box<Origin>,
}

impl Ended<'_> {
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
        let is_over = |last: &StoredMessage| last.at < before && ends(last);
        for task in lasts.keys() {
            standings.insert(task.clone(), Standing::Kept);
        }
        let mut asking = Vec::new();
        for (task, last) in lasts.iter().filter(|(_, last)| is_over(last)) {
            asking.push(async move {
                let origin = self.origin(last).await?;
                Ok::<_, ReadError>(origin.map(|origin| Ended { task, last: last.sequence, origin }))
            });
        }
        let mut asking = stream::iter(asking).buffer_unordered(ASK_AHEAD);
        let mut ended = Vec::new();
        while let Some(answer) = asking.next().await {
            ended.extend(answer?);
        }
        let parents: Vec<Task> = ended.iter().filter_map(Ended::parent).collect();
        let parents = self.lasts(parents.iter()).await?;
        for one in ended {
            let waits = one.parent().and_then(|parent| parents.get(&parent));
            if waits.is_none_or(is_over) {
                let over = Standing::Over { last: one.last, origin: one.origin };
                standings.insert(one.task.clone(), over);
            }
        }
        Ok(standings)
    }

    /// The last entries of the logs of tasks that have one.
    async fn lasts(
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

    /// How a task began, which the first entry of its log says.
    async fn origin(&self, last: &StoredMessage) -> Result<Option<Box<Origin>>, ReadError> {
        let Some(entry) = entry(last) else { return Ok(None) };
        if entry.origin.is_some() {
            return Ok(entry.origin);
        }
        let bus = self.client.bus();
        let first = bus.page(&bus.names().log, &last.subject, 1, 1).await?.messages.pop();
        Ok(first.as_ref().and_then(self::entry).and_then(|entry| entry.origin))
    }
}

fn ends(last: &StoredMessage) -> bool {
    last.headers.get(header::ENTRY).and_then(Kind::from_name).is_some_and(Kind::is_terminal)
}

fn entry(message: &StoredMessage) -> Option<Entry> {
    serde_json::from_slice(&message.payload).ok()
}
