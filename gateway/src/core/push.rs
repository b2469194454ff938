//! Which task a webhook is for.

use protocol::{Owner, TaskId};

use crate::a2a::error::Error;
use crate::core::Core;
use crate::core::call::Call;
use crate::core::check;
use crate::core::follower::unreadable;
use crate::core::standing::Standing;
use crate::core::submit::see;

impl Core {
    /// A task that the caller may see, and the generation behind which a webhook is told about it: what there is of it
    /// now, but for the end of a task that has ended, of which whoever asks for a webhook has not heard.
    pub(crate) async fn push_task(
        &self,
        call: &Call,
        id: &str,
    ) -> Result<(Owner, TaskId, u64), Error> {
        call.about(id);
        let owner = call.owner()?;
        let task = check::task(id)?;
        let story = self.client.story(&owner, &task).await.map_err(|error| unreadable(&error))?;
        let story = story.ok_or_else(|| Error::TaskNotFound(id.to_owned()))?;
        let standing = Standing::read(&owner, &task, story)?;
        see(call, &standing)?;
        let generation = standing.log.generation;
        let from = if standing.log.is_ended() { generation.saturating_sub(1) } else { generation };
        Ok((owner, task, from))
    }
}
