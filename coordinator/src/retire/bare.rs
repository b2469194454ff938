//! What a log that is over its time still has to stand for: a submission that would begin its task anew, children, which
//! would be taken for those of the next task under this id, and webhooks that have not been told of the end.

use std::collections::HashMap;

use client::TaskError;
use futures_util::{StreamExt as _, stream};
use protocol::entry::Origin;
use protocol::journal::Journaled;
use protocol::submission::Queue;
use runtime::bus::ReadError;

use super::Retire;
use super::standing::{ASK_AHEAD, Over, Task};

/// What is asked about once for many logs.
#[derive(Clone, Copy)]
struct Around {
    /// The first sequence in the inbox.
    inbox_from: u64,
    /// Whether anybody is to be told of any task.
    has_webhooks: bool,
}

impl Retire {
    /// Of logs that are over their time those that stand for nothing any more, with the sequences of their last entries.
    pub(super) async fn bare<'a>(
        &self,
        over: Vec<(&'a Task, &'a Over)>,
    ) -> Result<HashMap<&'a Task, u64>, ReadError> {
        let bus = self.client.bus();
        let webhooks = bus.subjects().all_pushes();
        let webhook = bus.next_from_leader(&bus.names().log, &webhooks, 1);
        let around = Around {
            inbox_from: bus.stream_state(&bus.names().inbox).await?.first_seq,
            has_webhooks: webhook.await?.is_some(),
        };
        let mut asking = Vec::new();
        for (task, over) in over {
            asking.push(async move {
                let is_bare = self.is_bare(task, over, around).await?;
                Ok::<_, ReadError>(is_bare.then_some((task, over.last)))
            });
        }
        let mut asking = stream::iter(asking).buffer_unordered(ASK_AHEAD);
        let mut bare = HashMap::new();
        while let Some(answer) = asking.next().await {
            bare.extend(answer?);
        }
        Ok(bare)
    }

    async fn is_bare(&self, task: &Task, over: &Over, around: Around) -> Result<bool, ReadError> {
        if self.is_submitted(task, &over.origin, around.inbox_from).await? {
            return Ok(false);
        }
        if around.has_webhooks && self.has_webhook(task).await? {
            return Ok(false);
        }
        // Who has but one entry has handed out nothing.
        Ok(over.entries == 1 || self.lasts(self.children(task).await?.iter()).await?.is_empty())
    }

    /// Whether what began a task is still stored. In an inbox that was set back, another submission may stand in its
    /// place: what tells the two apart is this log.
    async fn is_submitted(
        &self,
        (_, id): &Task,
        origin: &Origin,
        inbox_from: u64,
    ) -> Result<bool, ReadError> {
        let (bus, source) = (self.client.bus(), origin.source);
        let (stream, is_numbered) = match source.queue {
            Queue::Inbox if source.sequence < inbox_from => return Ok(false),
            Queue::Inbox => (&bus.names().inbox, id.sequence().is_some()),
            Queue::Run => (&bus.names().log, false),
        };
        let found = self.client.at(stream, source.sequence).await?;
        Ok(found.is_some_and(|found| is_numbered || found.at == origin.submitted_at))
    }

    async fn has_webhook(&self, (owner, task): &Task) -> Result<bool, ReadError> {
        let bus = self.client.bus();
        let jobs = bus.subjects().push(owner, task, "*");
        Ok(bus.next_from_leader(&bus.names().log, &jobs, 1).await?.is_some())
    }

    async fn children(&self, (owner, task): &Task) -> Result<Vec<Task>, ReadError> {
        let log = match self.client.log(owner, task).await {
            Ok(log) => log,
            Err(TaskError::Read(error)) => return Err(error),
            // Nobody goes on by a log that cannot be read.
            Err(TaskError::Unreadable { .. } | TaskError::Broken { .. }) => return Ok(Vec::new()),
        };
        let children = log.journal.into_iter().filter_map(|piece| match piece {
            Journaled::Delegated { children, .. } => Some(children),
            Journaled::Step { .. } | Journaled::Answered { .. } => None,
        });
        Ok(children.flatten().map(|child| (owner.clone(), child.task)).collect())
    }
}
