//! `GetTask`.

use std::time::Duration;

use protocol::task::Task;
use tokio::time::Instant;

use crate::a2a::error::Error;
use crate::a2a::request::GetTaskRequest;
use crate::core::Core;
use crate::core::call::{Call, Operation};
use crate::core::check;
use crate::core::follower::unreadable;
use crate::core::standing::{Standing, latest};
use crate::core::submit::see;

impl Core {
    /// `GetTask`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get(&self, call: &Call, request: GetTaskRequest) -> Result<Task, Error> {
        let latest = latest(request.history_length, "historyLength")?;
        let task = self.look_up(call, &request.id).await?.view(latest);
        self.files.task(&call.viewer()?, task).await
    }

    /// Waits until a task has ended or waits for somebody, for `limit` at most, or until this gateway stops.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn settle(&self, call: &Call, id: &str, limit: Duration) -> Result<(), Error> {
        let until = Instant::now() + limit;
        let (mut standing, _, mut follower) = self.find(call, &call.owner()?, id).await?;
        follower.skip_to(standing.log.generation, standing.log.last_sequence);
        while !standing.log.is_ended() && !standing.is_interrupted() {
            let next = follower.next_in_time(until, &self.hurry).await?;
            let Some((sequence, entry)) = next else { return Ok(()) };
            standing.apply(sequence, entry)?;
        }
        Ok(())
    }

    /// A task that the caller may see, as it stands.
    pub(super) async fn look_up(&self, call: &Call, id: &str) -> Result<Standing, Error> {
        call.about(id);
        call.may(Operation::Read, None)?;
        let owner = call.owner()?;
        let task = check::task(id)?;
        let story = self.client.story(&owner, &task).await.map_err(|error| unreadable(&error))?;
        let story = story.ok_or_else(|| Error::TaskNotFound(id.to_owned()))?;
        let standing = Standing::read(&owner, &task, story)?;
        see(call, &standing)?;
        Ok(standing)
    }
}
