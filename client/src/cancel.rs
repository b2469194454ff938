//! Asks for the end of a task.

use bytes::Bytes;
use protocol::header::{self, Headers};
use protocol::{Owner, TaskId};
use runtime::bus::{Outgoing, StoreError};

use crate::Client;
use crate::read::TaskError;

/// Why a cancel was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
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
    /// The task cannot be read.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The cancel was not stored.
    #[error("the cancel of task {task} was not stored")]
    Store {
        /// The task.
        task: TaskId,
        /// Why.
        #[source]
        source: StoreError,
    },
}

impl Client {
    /// Asks for the end of a task. The cancel is stored: it is carried out by the node that runs the task, or by a
    /// coordinator while nobody does.
    ///
    /// # Errors
    /// See [`CancelError`].
    pub async fn cancel(&self, owner: &Owner, task: &TaskId) -> Result<(), CancelError> {
        self.cancel_because(owner, task, None).await
    }

    /// The same for a reason, which the entry that ends the task keeps.
    ///
    /// # Errors
    /// See [`CancelError`].
    pub async fn cancel_because(
        &self,
        owner: &Owner,
        task: &TaskId,
        why: Option<&str>,
    ) -> Result<(), CancelError> {
        let body = Bytes::from(why.unwrap_or_default().to_owned());
        let log = self.log(owner, task).await?;
        if log.is_ended() {
            return Err(CancelError::Ended { task: task.clone(), state: log.state.word() });
        }
        let mut headers = Headers::new();
        if log.origin.is_none() {
            let (_, message) = self
                .submission(owner, task)
                .await?
                .ok_or_else(|| CancelError::Unknown { task: task.clone(), owner: owner.clone() })?;
            headers.push(header::SOURCE, message.sequence.to_string());
        }
        let subject = self.bus().subjects().cancel(owner, task);
        self.bus()
            .store(Outgoing::new(subject, headers, body))
            .await
            .map(drop)
            .map_err(|source| CancelError::Store { task: task.clone(), source })
    }
}
