//! `GetTask`.

use protocol::task::Task;

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
