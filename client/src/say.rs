//! Says something to a task that exists: a message, a signal, a decision.
//!
//! What is said is stored, and used up by the task's log exactly once. What can be seen to be of no use is refused here;
//! what turns out to be so later is refused by a coordinator, with a dead letter.

use protocol::header::{self, Headers};
use protocol::input::Input;
use protocol::limits::TASK_BYTES_MAX;
use protocol::{Owner, TaskId};
use runtime::bus::{Outgoing, StoreError};

use crate::Client;
use crate::read::TaskError;

/// Why something was not said.
#[derive(Debug, thiserror::Error)]
pub enum SayError {
    /// Nobody knows the task.
    #[error("there is no task {task} of owner {owner}")]
    Unknown {
        /// The task.
        task: TaskId,
        /// The owner.
        owner: Owner,
    },
    /// It has ended.
    #[error("task {task} has already ended: {state}")]
    Ended {
        /// The task.
        task: TaskId,
        /// Its state.
        state: &'static str,
    },
    /// It is over the limit.
    #[error("what is said has {bytes} bytes, at most {TASK_BYTES_MAX} are allowed")]
    TooLarge {
        /// How large it is.
        bytes: usize,
    },
    /// The task cannot be read.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// It was not stored.
    #[error("what was said to task {task} was not stored")]
    Store {
        /// The task.
        task: TaskId,
        /// Why.
        #[source]
        source: StoreError,
    },
}

impl Client {
    /// Says something to a task, and answers with its place in the log stream. `reply_to` is a subject that hears of a
    /// later refusal.
    ///
    /// # Errors
    /// See [`SayError`].
    pub async fn say(
        &self,
        owner: &Owner,
        task: &TaskId,
        input: &Input,
        reply_to: Option<&str>,
    ) -> Result<u64, SayError> {
        let log = self.log(owner, task).await?;
        if log.is_ended() {
            return Err(SayError::Ended { task: task.clone(), state: log.state.word() });
        }
        if log.origin.is_none() && self.submission(owner, task).await?.is_none() {
            return Err(SayError::Unknown { task: task.clone(), owner: owner.clone() });
        }
        self.tell_task(owner, task, input, reply_to).await
    }

    /// Stores something for a task that is known to be there, and answers with its place in the log stream.
    ///
    /// # Errors
    /// See [`SayError`].
    pub async fn tell_task(
        &self,
        owner: &Owner,
        task: &TaskId,
        input: &Input,
        reply_to: Option<&str>,
    ) -> Result<u64, SayError> {
        self.tell_task_as(owner, task, input, reply_to, None).await
    }

    /// As [`Client::tell_task`]. What is told twice under one `id` within the stream's window is stored once.
    ///
    /// # Errors
    /// See [`SayError`].
    pub async fn tell_task_as(
        &self,
        owner: &Owner,
        task: &TaskId,
        input: &Input,
        reply_to: Option<&str>,
        id: Option<&str>,
    ) -> Result<u64, SayError> {
        let (headers, body) = input.write();
        self.store_said(owner, task, headers, body, reply_to, id).await
    }

    /// Stores what is said as it is written.
    pub(crate) async fn store_said(
        &self,
        owner: &Owner,
        task: &TaskId,
        mut headers: Headers,
        body: Vec<u8>,
        reply_to: Option<&str>,
        id: Option<&str>,
    ) -> Result<u64, SayError> {
        if let Some(id) = id {
            headers.push(header::MSG_ID, id);
        }
        if body.len() > TASK_BYTES_MAX {
            return Err(SayError::TooLarge { bytes: body.len() });
        }
        if let Some(subject) = reply_to {
            headers.push(header::REPLY_TO, subject);
        }
        let subject = self.bus().subjects().input(owner, task);
        self.bus()
            .store(Outgoing::new(subject, headers, body.into()))
            .await
            .map(|stored| stored.sequence)
            .map_err(|source| SayError::Store { task: task.clone(), source })
    }
}
