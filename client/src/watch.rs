//! Follows one task: what its log holds already, then every further entry, without a gap or a repeat.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::entry::Entry;
use protocol::{Owner, TaskId};
use runtime::bus::{SubscribeError, Subscription};
use tokio::time::{Instant, timeout_at};

use crate::Client;
use crate::read::TaskError;

/// How often the log is looked at although no event came.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Why a task cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The subscription cannot be made.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    /// The log cannot be read.
    #[error(transparent)]
    Task(#[from] TaskError),
}

/// A task's entries, in order.
pub struct Watch {
    client: Client,
    owner: Owner,
    task: TaskId,
    events: Subscription,
    ready: VecDeque<Entry>,
    generation: u64,
    ended: bool,
}

impl Client {
    /// Follows a task from its first entry. A task named by its sequence is the one that stands there now, though an
    /// earlier one had its id: see [`Client::successor`].
    ///
    /// # Errors
    /// See [`WatchError`].
    pub async fn watch(&self, owner: &Owner, task: &TaskId) -> Result<Watch, WatchError> {
        let watch = self.watch_log(owner, task).await?;
        let first = watch.ready.front().and_then(|first| first.origin.as_deref());
        match self.successor(task, first).await? {
            Some(successor) => self.watch_log(owner, &successor).await,
            None => Ok(watch),
        }
    }

    async fn watch_log(&self, owner: &Owner, task: &TaskId) -> Result<Watch, WatchError> {
        let events = self.bus().subscribe(self.bus().subjects().event(owner, task), None).await?;
        self.bus().flush().await;
        let mut watch = Watch {
            client: self.clone(),
            owner: owner.clone(),
            task: task.clone(),
            events,
            ready: VecDeque::new(),
            generation: 0,
            ended: false,
        };
        watch.look().await?;
        Ok(watch)
    }
}

impl Watch {
    /// The task that is followed.
    #[must_use]
    pub fn task(&self) -> &TaskId {
        &self.task
    }

    /// The next entry; `None` after the one that ended the task.
    ///
    /// # Errors
    /// See [`WatchError`].
    pub async fn next(&mut self) -> Result<Option<Entry>, WatchError> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                self.ended = entry.event.kind().is_terminal();
                return Ok(Some(entry));
            }
            if self.ended {
                return Ok(None);
            }
            match timeout_at(Instant::now() + LOOK_EVERY, self.events.next()).await {
                Ok(Some(event)) => match serde_json::from_slice::<Entry>(&event.payload) {
                    Ok(entry) if entry.generation == self.generation + 1 => self.push(entry),
                    Ok(entry) if entry.generation <= self.generation => {}
                    Ok(_) | Err(_) => self.look().await?,
                },
                Ok(None) | Err(_) => self.look().await?,
            }
        }
    }

    fn push(&mut self, entry: Entry) {
        self.generation = entry.generation;
        self.ready.push_back(entry);
    }

    async fn look(&mut self) -> Result<(), WatchError> {
        for (_, entry) in self.client.entries(&self.owner, &self.task).await? {
            if entry.generation == self.generation + 1 {
                self.push(entry);
            }
        }
        Ok(())
    }
}
