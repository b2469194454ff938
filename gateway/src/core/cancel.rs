//! `CancelTask`: asks for the end of a task, and for that of what it has delegated, and waits a little for it.

use client::CancelError;
use protocol::task::Task;
use tokio::time::Instant;

use crate::a2a::error::Error;
use crate::a2a::request::CancelTaskRequest;
use crate::core::Core;
use crate::core::call::{Call, Operation};
use crate::core::check;
use crate::core::follower::unreadable;
use crate::limits::CANCEL_WAIT_MAX;

impl Core {
    /// `CancelTask`. The answer is the task after its end, or as it stands when that takes long.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn cancel(&self, call: &Call, request: CancelTaskRequest) -> Result<Task, Error> {
        call.about(&request.id);
        call.may(Operation::Cancel, None)?;
        let owner = call.owner()?;
        let expected = check::generation(request.metadata.as_ref())?;
        let why = check::reason(request.metadata.as_ref())?;
        let (mut standing, _, mut follower) = self.find(call, &owner, &request.id).await?;
        check::is_at(&standing, expected)?;
        let ended = |state| Error::TaskNotCancelable { task: standing.task.clone(), state };
        if standing.log.is_ended() {
            return Err(ended(standing.log.state.word()));
        }
        let canceling = self.client.cancel_because(&owner, &standing.task, why);
        canceling.await.map_err(|error| match error {
            CancelError::Unknown { task, .. } => Error::TaskNotFound(task.to_string()),
            CancelError::Ended { state, .. } => ended(state),
            CancelError::Task(error) => unreadable(&error),
            CancelError::Store { .. } => Error::Unavailable(error.to_string()),
        })?;
        follower.skip_to(standing.log.generation, standing.log.last_sequence);
        let until = Instant::now() + CANCEL_WAIT_MAX;
        while let Some((sequence, entry)) = follower.next_in_time(until, &self.hurry).await? {
            standing.apply(sequence, entry)?;
        }
        self.files.task(&call.viewer()?, standing.view(None)).await
    }
}
