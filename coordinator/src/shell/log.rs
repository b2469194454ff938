//! Reads and appends to logs on behalf of nobody's attempt.

use protocol::consequence;
use protocol::entry::{Entry, Event, Origin};
use protocol::header::{self, Headers};
use protocol::id::{NodeName, Owner, TaskId};
use protocol::log::TaskLog;
use runtime::bus::{Bus, Outgoing, ReadError, StoreError};
use runtime::clock::Clock;

/// Why a decision could not be carried out now. The delivery that asked for it comes again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// Somebody else has written meanwhile: look again.
    #[error("the log has moved on")]
    Moved,
    /// The bus does not answer a read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The bus does not take a write.
    #[error(transparent)]
    Store(StoreError),
    /// The log cannot be read.
    #[error("the log of task {task} cannot be read: {reason}")]
    Unreadable {
        /// The task.
        task: TaskId,
        /// What is wrong.
        reason: String,
    },
}

impl From<StoreError> for LogError {
    fn from(error: StoreError) -> Self {
        if error == StoreError::Fenced { Self::Moved } else { Self::Store(error) }
    }
}

/// The logs, as a coordinator works on them.
#[derive(Clone)]
pub(crate) struct Logs {
    pub(crate) bus: Bus,
    pub(crate) clock: Clock,
    pub(crate) by: NodeName,
}

impl Logs {
    /// Folds a task's log, all of it: the pages come from any replica, the leader says where it ends. On a log that
    /// lags, a wake would be settled before the wait that it answers is seen.
    pub(crate) async fn read(&self, owner: &Owner, task: &TaskId) -> Result<TaskLog, LogError> {
        let subject = self.bus.subjects().log(owner, task);
        let mut log = TaskLog::default();
        let last = self.bus.last_from_leader(&self.bus.names().log, &subject).await?;
        for message in self.bus.all(&self.bus.names().log, &subject).await? {
            let unreadable = |reason: String| LogError::Unreadable { task: task.clone(), reason };
            let entry: Entry = serde_json::from_slice(&message.payload)
                .map_err(|error| unreadable(error.to_string()))?;
            log.apply(message.sequence, entry).map_err(|error| unreadable(error.to_string()))?;
        }
        if log.last_sequence < last.map_or(0, |message| message.sequence) {
            return Err(LogError::Moved);
        }
        Ok(log)
    }

    /// Whether a task has ended, by the stream's leader: a stale answer would lose a wake.
    pub(crate) async fn has_ended(&self, owner: &Owner, task: &TaskId) -> Result<bool, LogError> {
        let subject = self.bus.subjects().log(owner, task);
        let last = self.bus.last_from_leader(&self.bus.names().log, &subject).await?;
        Ok(last.is_some_and(|message| {
            message
                .headers
                .get(header::ENTRY)
                .and_then(protocol::entry::Kind::from_name)
                .is_some_and(protocol::entry::Kind::is_terminal)
        }))
    }

    /// Appends an entry behind the fence and publishes what follows from it.
    pub(crate) async fn append(
        &self,
        owner: &Owner,
        task: &TaskId,
        log: &mut TaskLog,
        event: Event,
        origin: Option<Box<Origin>>,
    ) -> Result<(), LogError> {
        let entry = Entry {
            generation: log.generation + 1,
            at: self.clock.now(),
            by: self.by.clone(),
            attempt: 0,
            origin,
            agent: None,
            spent: None,
            event,
        };
        let unreadable = |reason: String| LogError::Unreadable { task: task.clone(), reason };
        let payload = serde_json::to_vec(&entry).map_err(|error| unreadable(error.to_string()))?;
        let stored = self
            .bus
            .store(Outgoing {
                subject: self.bus.subjects().log(owner, task),
                expected_last: Some(log.last_sequence),
                headers: Headers::new().with(header::ENTRY, entry.event.kind().name()),
                payload: payload.into(),
            })
            .await?;
        log.apply(stored.sequence, entry).map_err(|error| unreadable(error.to_string()))?;
        self.carry_out(task, log).await
    }

    /// Publishes what follows from a log's last entry.
    pub(crate) async fn carry_out(&self, task: &TaskId, log: &TaskLog) -> Result<(), LogError> {
        for publication in consequence::of(self.bus.subjects(), task, log) {
            let message =
                Outgoing::new(publication.subject, publication.headers, publication.payload);
            self.bus.store(message).await?;
        }
        Ok(())
    }

    /// Sends a task's end to whoever asked for it.
    pub(crate) async fn answer(&self, task: &TaskId, log: &TaskLog) {
        let reply_to = log.origin.as_ref().and_then(|origin| origin.reply_to.clone());
        if let Some(reply_to) = reply_to
            && let Ok(body) = serde_json::to_vec(&protocol::view::task(task, log, None))
        {
            self.bus.tell(reply_to, &Headers::new(), body.into()).await;
        }
    }
}
