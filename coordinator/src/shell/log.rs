//! Reads and appends to logs on behalf of nobody's attempt.

use std::sync::Arc;

use futures_util::StreamExt as _;
use protocol::dead::DeadLetter;
use protocol::entry::{Entry, Event, Kind, Origin};
use protocol::fault::{FailureClass, Fault};
use protocol::header::{self, Headers};
use protocol::id::{NodeName, Owner, TaskId};
use protocol::log::TaskLog;
use protocol::message::Message;
use protocol::submission::{Queue, Source};
use protocol::{codec, consequence};
use runtime::bus::{Bus, Outgoing, ReadError, StoreError, StoredMessage};
use runtime::clock::Clock;

use super::kept::{Kept, Known};
use super::lane;
use crate::engine::wake;

/// Consequences on their way at once.
const PUBLISH_AHEAD: usize = 64;

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
    /// A name of our own is none.
    #[error("{0}")]
    Name(String),
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

fn unreadable(task: &TaskId, reason: &impl ToString) -> LogError {
    LogError::Unreadable { task: task.clone(), reason: reason.to_string() }
}

/// Whether the cancels that follow from an entry are published with the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancels {
    /// They are.
    Publish,
    /// They were, by whoever wrote the entry.
    LeaveOut,
}

/// The logs, as a coordinator works on them.
#[derive(Clone)]
pub(crate) struct Logs {
    pub(crate) bus: Bus,
    pub(crate) clock: Clock,
    pub(crate) by: NodeName,
    pub(crate) kept: Kept,
}

impl Logs {
    /// Folds a task's log, all of it: the pages come from any replica, the leader says where it ends. On a log that
    /// lags, a wake would be settled before the wait that it answers is seen.
    pub(crate) async fn read(
        &self,
        owner: &Owner,
        task: &TaskId,
    ) -> Result<Arc<TaskLog>, LogError> {
        let subject = self.bus.subjects().log(owner, task);
        let last = self.bus.last_from_leader(&self.bus.names().log, &subject).await?;
        let kept = self.kept.get(&subject).unwrap_or_default();
        let known = match &last {
            Some(last) if kept.ends_with(last) => kept,
            Some(_) | None => self.read_on(task, &subject, kept).await?,
        };
        let log = Arc::clone(&known.log);
        self.kept.put(subject, known);
        if log.last_sequence < last.map_or(0, |message| message.sequence) {
            return Err(LogError::Moved);
        }
        Ok(log)
    }

    /// Reads what comes behind what is known of a log; all of it, where that is not there any more.
    async fn read_on(
        &self,
        task: &TaskId,
        subject: &str,
        mut known: Known,
    ) -> Result<Known, LogError> {
        let from = known.last.as_ref().map_or(1, |last| last.sequence);
        let mut stored = self.all_from(subject, from).await?.into_iter();
        if known.last.is_some() && !stored.next().is_some_and(|first| known.ends_with(&first)) {
            known = Known::default();
            stored = self.all_from(subject, 1).await?.into_iter();
        }
        let log = Arc::make_mut(&mut known.log);
        for message in stored {
            let entry = serde_json::from_slice(&message.payload);
            let entry = entry.map_err(|error| unreadable(task, &error))?;
            log.apply(message.sequence, entry).map_err(|error| unreadable(task, &error))?;
            known.bytes += message.payload.len();
            known.last = Some(message);
        }
        Ok(known)
    }

    async fn all_from(&self, subject: &str, from: u64) -> Result<Vec<StoredMessage>, ReadError> {
        let mut found = Vec::new();
        let take = |message| {
            found.push(message);
            std::ops::ControlFlow::Continue(())
        };
        self.bus.scan(&self.bus.names().log, subject, from, take).await?;
        Ok(found)
    }

    /// The type of the last entry of a task's log, by the stream's leader: a stale answer would lose a wake.
    pub(crate) async fn last_kind(
        &self,
        owner: &Owner,
        task: &TaskId,
    ) -> Result<Option<Kind>, LogError> {
        let subject = self.bus.subjects().log(owner, task);
        let last = self.bus.last_from_leader(&self.bus.names().log, &subject).await?;
        Ok(last.as_ref().and_then(StoredMessage::entry_kind))
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
        let entry = self.entry(task, log, event, origin)?;
        let stored = self.bus.store(self.outgoing(owner, task, log, &entry)?).await?;
        self.took(owner, task, log, stored.sequence, entry).await
    }

    /// Appends the entry that fails a task together with its dead letter, as one.
    pub(crate) async fn fail(
        &self,
        owner: &Owner,
        task: &TaskId,
        log: &mut TaskLog,
        (failure, fault): (FailureClass, Fault),
    ) -> Result<(), LogError> {
        let input = self.input(log).await?;
        let event = Event::Failed { failure, fault: fault.clone() };
        let entry = self.entry(task, log, event, None)?;
        let mut messages = vec![self.outgoing(owner, task, log, &entry)?];
        let mut after = log.clone();
        after.apply(0, entry.clone()).map_err(|error| unreadable(task, &error))?;
        if let Some(letter) = DeadLetter::of(task, &after, failure, &fault, input, entry.at) {
            messages.push(self.letter(&letter)?);
        }
        let stored = self.bus.store_batch(messages).await?;
        self.took(owner, task, log, stored.sequence, entry).await
    }

    /// Stores a dead letter of its own, once under this id.
    pub(crate) async fn store_letter(&self, letter: &DeadLetter, id: &str) -> Result<(), LogError> {
        let mut message = self.letter(letter)?;
        message.headers.push(header::MSG_ID, id);
        self.bus.store(message).await?;
        Ok(())
    }

    fn letter(&self, letter: &DeadLetter) -> Result<Outgoing, LogError> {
        let payload =
            serde_json::to_vec(letter).map_err(|error| unreadable(&letter.task, &error))?;
        Ok(Outgoing::new(
            self.bus.subjects().dead(&letter.origin.skill),
            Headers::new().with(header::TASK_ID, letter.task.as_str()),
            payload.into(),
        ))
    }

    fn entry(
        &self,
        task: &TaskId,
        log: &TaskLog,
        event: Event,
        origin: Option<Box<Origin>>,
    ) -> Result<Entry, LogError> {
        let mut entry = Entry {
            generation: log.generation + 1,
            at: self.clock.now(),
            by: self.by.clone(),
            attempt: 0,
            origin,
            agent: None,
            spent: None,
            raised: None,
            driver: None,
            event,
        };
        if entry.event.kind().is_terminal() {
            let mut after = log.clone();
            after.apply(0, entry.clone()).map_err(|error| unreadable(task, &error))?;
            after.close_account(&mut entry);
        }
        Ok(entry)
    }

    fn outgoing(
        &self,
        owner: &Owner,
        task: &TaskId,
        log: &TaskLog,
        entry: &Entry,
    ) -> Result<Outgoing, LogError> {
        let payload = serde_json::to_vec(entry).map_err(|error| unreadable(task, &error))?;
        Ok(Outgoing {
            subject: self.bus.subjects().log(owner, task),
            expected_last: Some(log.last_sequence),
            headers: Headers::new().with(header::ENTRY, entry.event.kind().name()),
            payload: payload.into(),
        })
    }

    async fn took(
        &self,
        owner: &Owner,
        task: &TaskId,
        log: &mut TaskLog,
        sequence: u64,
        entry: Entry,
    ) -> Result<(), LogError> {
        log.apply(sequence, entry).map_err(|error| unreadable(task, &error))?;
        self.carry_out(owner, task, log, Cancels::Publish).await?;
        if log.is_ended() {
            self.answer(task, log).await;
        }
        Ok(())
    }

    /// What the task was asked to do, as far as it can be read.
    async fn input(&self, log: &TaskLog) -> Result<Message, LogError> {
        let names = self.bus.names();
        let stored = match log.origin.as_ref().map(|origin| origin.source) {
            None => None,
            Some(Source { queue: Queue::Inbox, sequence }) => {
                self.bus.at_from_leader(&names.inbox, sequence).await?
            }
            Some(Source { queue: Queue::Run, sequence }) => {
                self.bus.at_from_leader(&names.log, sequence).await?
            }
        };
        let read = stored.and_then(|stored| {
            codec::decode_body(stored.headers.get(header::CONTENT_TYPE), &stored.payload).ok()
        });
        Ok(read.unwrap_or_else(|| Message::from_user(Vec::new())))
    }

    /// Publishes what follows from a log's last entry.
    pub(crate) async fn carry_out(
        &self,
        owner: &Owner,
        task: &TaskId,
        log: &TaskLog,
        cancels: Cancels,
    ) -> Result<(), LogError> {
        let subjects = self.bus.subjects();
        let published = consequence::of(subjects, task, log)
            .into_iter()
            .filter(|one| cancels == Cancels::Publish || !wake::is_cancel(subjects, one))
            .map(|one| async move {
                let message = Outgoing::new(one.subject, one.headers, one.payload);
                self.bus.store(message).await.map(drop)
            });
        let mut published = futures_util::stream::iter(published).buffered(PUBLISH_AHEAD);
        while let Some(stored) = published.next().await {
            stored?;
        }
        lane::wake_next(self, owner, task, log).await
    }

    /// Sends a task's end to whoever asked for it.
    pub(crate) async fn answer(&self, task: &TaskId, log: &TaskLog) {
        let reply_to = log.origin.as_ref().and_then(|origin| origin.reply_to.clone());
        if let Some(reply_to) = reply_to
            && let Ok(body) = serde_json::to_vec(&protocol::view::task(task, log, None))
        {
            self.bus.answer(reply_to, task, body.into()).await;
        }
    }
}
