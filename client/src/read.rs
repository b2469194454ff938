//! Reads one task: its log, or its submission while no log mentions it.
//!
//! Any replica may answer a direct get, and may lag behind what the reader has just been told. So whatever seems to
//! be missing is asked of the stream's leader: who has seen a task end never reads that it goes on.

use protocol::entry::{Entry, Origin};
use protocol::log::{FoldError, TaskLog};
use protocol::message::Message;
use protocol::submission::{Envelope, Queue, Stored};
use protocol::task::Task;
use protocol::{Owner, TaskId, codec, header, view};
use runtime::bus::{ReadError, StoredMessage};

use crate::Client;

/// How far back the inbox is searched for a submission under a chosen id.
const SEARCH_BACK: u64 = 20_000;

/// Why a task cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The bus does not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An entry is no JSON of ours.
    #[error("the log of task {task} is unreadable at sequence {sequence}: {reason}")]
    Unreadable {
        /// The task.
        task: TaskId,
        /// The stream sequence.
        sequence: u64,
        /// What is wrong.
        reason: String,
    },
    /// The log breaks the rules.
    #[error("the log of task {task} breaks the rules")]
    Broken {
        /// The task.
        task: TaskId,
        /// How.
        #[source]
        source: FoldError,
    },
}

impl Client {
    /// The entries of a task's log with their stream sequences, oldest first.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub async fn entries(
        &self,
        owner: &Owner,
        task: &TaskId,
    ) -> Result<Vec<(u64, Entry)>, TaskError> {
        let (stream, subject) = (&self.bus.names().log, self.bus.subjects().log(owner, task));
        let mut stored = self.bus.all(stream, &subject).await?;
        while !stored.last().is_some_and(StoredMessage::ends_task) {
            let next = stored.last().map_or(1, |message| message.sequence + 1);
            match self.bus.next_from_leader(stream, &subject, next).await? {
                Some(message) => stored.push(message),
                None => break,
            }
        }
        stored.iter().map(|message| read_entry(task, message)).collect()
    }

    /// Where a task stands by its log; the empty log when there is none.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub async fn log(&self, owner: &Owner, task: &TaskId) -> Result<TaskLog, TaskError> {
        let entries = self.entries(owner, task).await?;
        TaskLog::fold(entries).map_err(|source| TaskError::Broken { task: task.clone(), source })
    }

    /// A task as A2A shows it, its input included. `None` when neither a log nor a recent submission knows it.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub async fn task(&self, owner: &Owner, task: &TaskId) -> Result<Option<Task>, TaskError> {
        let log = self.log(owner, task).await?;
        if let Some(origin) = &log.origin {
            let input = self.submitted(origin).await?;
            return Ok(Some(view::task(task, &log, input)));
        }
        let Some((envelope, message)) = self.submission(owner, task).await? else {
            return Ok(None);
        };
        let at = message.at;
        Ok(Some(view::submitted(&envelope, decode(&message), at)))
    }

    /// What was submitted, as far as it can be read. `None` also when another submission stands in its place.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub async fn submitted(&self, origin: &Origin) -> Result<Option<Message>, TaskError> {
        // In an inbox that was set back, a sequence is given again.
        let (stream, given_again) = match origin.source.queue {
            Queue::Inbox => (&self.bus.names().inbox, true),
            Queue::Run => (&self.bus.names().log, false),
        };
        let stored = self.at(stream, origin.source.sequence).await?;
        let is_its_own =
            |message: &StoredMessage| !given_again || message.at == origin.submitted_at;
        Ok(stored.filter(is_its_own).as_ref().and_then(decode))
    }

    /// The id of the submission that stands now where a task's own stood, if the inbox was set back since and the task is
    /// named by its sequence. `first` is what the first entry of its log says.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub async fn successor(
        &self,
        task: &TaskId,
        first: Option<&Origin>,
    ) -> Result<Option<TaskId>, TaskError> {
        let first = first.filter(|first| first.source.queue == Queue::Inbox);
        let (Some(_), Some(first)) = (task.sequence(), first) else { return Ok(None) };
        let found = self.at(&self.bus.names().inbox, first.source.sequence).await?;
        let envelope = found.as_ref().and_then(|message| self.envelope(message));
        let successor = envelope.and_then(|envelope| envelope.displaced_by(first));
        Ok(successor.filter(|successor| successor != task))
    }

    /// The message at a sequence, by the leader where a replica has none.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn at(
        &self,
        stream: &str,
        sequence: u64,
    ) -> Result<Option<StoredMessage>, ReadError> {
        match self.bus.at(stream, sequence).await? {
            None => self.bus.at_from_leader(stream, sequence).await,
            found => Ok(found),
        }
    }

    /// What stands at a place of the inbox.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub async fn stored_submission(
        &self,
        sequence: u64,
    ) -> Result<Option<StoredMessage>, TaskError> {
        Ok(self.at(&self.bus.names().inbox, sequence).await?)
    }

    /// The submission of a task that no log mentions: at the sequence in its id, or among the latest.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub async fn submission(
        &self,
        owner: &Owner,
        task: &TaskId,
    ) -> Result<Option<(Envelope, StoredMessage)>, TaskError> {
        let inbox = &self.bus.names().inbox;
        let fits = |message: StoredMessage| {
            let envelope = self.envelope(&message)?;
            let envelope = envelope.under(task).filter(|envelope| envelope.owner == *owner)?;
            Some((envelope, message))
        };
        if let Some(sequence) = task.sequence() {
            return Ok(self.at(inbox, sequence).await?.and_then(fits));
        }
        let last = self.bus.stream_state(inbox).await?.last_seq;
        let mut found = None;
        let from = last.saturating_sub(SEARCH_BACK) + 1;
        self.bus
            .scan(inbox, &self.bus.subjects().all_tasks(), from, |message| {
                if found.is_none() {
                    found = fits(message);
                }
                match found {
                    Some(_) => std::ops::ControlFlow::Break(()),
                    None => std::ops::ControlFlow::Continue(()),
                }
            })
            .await?;
        Ok(found)
    }

    /// The envelope of a stored submission; what of it cannot be read is left out. `None` when it is none.
    #[must_use]
    pub fn envelope(&self, message: &StoredMessage) -> Option<Envelope> {
        let stored = Stored {
            subject: &message.subject,
            headers: &message.headers,
            sequence: message.sequence,
            at: message.at,
        };
        Envelope::readable(self.bus.subjects(), stored)
    }
}

pub(crate) fn decode(message: &StoredMessage) -> Option<Message> {
    codec::decode_body(message.headers.get(header::CONTENT_TYPE), &message.payload).ok()
}

pub(crate) fn read_entry(
    task: &TaskId,
    message: &StoredMessage,
) -> Result<(u64, Entry), TaskError> {
    let sequence = message.sequence;
    serde_json::from_slice(&message.payload).map(|entry| (sequence, entry)).map_err(|error| {
        TaskError::Unreadable { task: task.clone(), sequence, reason: error.to_string() }
    })
}
