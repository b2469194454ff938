//! Reads everything that is known about one task at once: its input, its log, and what was said to it.

use protocol::entry::Entry;
use protocol::message::Message;
use protocol::submission::Envelope;
use protocol::{Owner, TaskId, Timestamp};
use runtime::bus::StoredMessage;

use crate::Client;
use crate::read::{TaskError, decode};

/// What the streams have of a task.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Story {
    /// What was submitted, as far as it can be read.
    pub input: Option<Message>,
    /// The submission, where it was looked for: always while there is no log.
    pub submission: Option<(Box<Envelope>, Timestamp)>,
    /// The log with its stream sequences, oldest first.
    pub entries: Vec<(u64, Entry)>,
    /// Messages that were said to it, used up or not, with their places in the log stream, oldest first.
    pub said: Vec<(u64, Message)>,
}

impl Client {
    /// Everything about a task; `None` when neither a log nor a recent submission knows it.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub async fn story(&self, owner: &Owner, task: &TaskId) -> Result<Option<Story>, TaskError> {
        // An id that names its submission's place: one more read at the same time instead of one behind the others.
        let by_place = async {
            match task.sequence() {
                Some(_) => self.submission(owner, task).await,
                None => Ok(None),
            }
        };
        let (entries, said, submission) =
            tokio::try_join!(self.entries(owner, task), self.said(owner, task), by_place)?;
        let origin = entries.first().and_then(|(_, first)| first.origin.as_ref());
        // What stands there may be another submission, in an inbox that was set back.
        let submission = submission.filter(|(envelope, _)| {
            origin.is_none_or(|first| envelope.stored_at == first.submitted_at)
        });
        let submission = match (&submission, origin) {
            (None, None) if task.sequence().is_none() => self.submission(owner, task).await?,
            _ => submission,
        };
        let input = match (&submission, origin) {
            (Some((_, message)), _) => decode(message),
            (None, Some(origin)) => self.submitted(origin).await?,
            (None, None) => return Ok(None),
        };
        let whence =
            |(envelope, message): (Envelope, StoredMessage)| (Box::new(envelope), message.at);
        Ok(Some(Story { input, submission: submission.map(whence), entries, said }))
    }
}
