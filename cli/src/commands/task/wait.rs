//! Waits for the end of a task by following its log.

use std::time::Duration;

use client::Client;
use protocol::entry::Entry;
use protocol::log::TaskLog;
use protocol::task::{Task, TaskState};
use protocol::{Owner, TaskId, view};

use crate::failure::{Exit, Failure};
use crate::print::tasks::preview;

/// Characters shown of what a task says about its end.
const CHARS_MAX: usize = 2_000;

/// Follows a task to its end, at most for `limit`; `see` gets every entry.
///
/// # Errors
/// When it cannot be followed, `see` refuses, or the time is up.
pub(super) async fn to_the_end(
    client: &Client,
    owner: &Owner,
    task: &TaskId,
    limit: Option<Duration>,
    mut see: impl FnMut(&Entry) -> Result<(), Failure>,
) -> Result<Task, Failure> {
    let follow = async {
        let mut watch = client.watch(owner, task).await?;
        let mut log = TaskLog::default();
        while let Some(entry) = watch.next().await? {
            see(&entry)?;
            let generation = entry.generation;
            log.apply(generation, entry).map_err(|error| Failure::new(Exit::Failure, &error))?;
        }
        Ok::<_, Failure>(view::task(task, &log, None))
    };
    let Some(limit) = limit else { return follow.await };
    tokio::time::timeout(limit, follow).await.unwrap_or_else(|_| {
        let what = format!("task {task} has not ended within {limit:?}; it goes on");
        Err(Failure::say(Exit::TimedOut, what)
            .todo(format!("weft task watch {task} follows it, weft task cancel {task} ends it")))
    })
}

/// A failure unless the task completed.
///
/// # Errors
/// [`Exit::TaskEndedBadly`] with what the task says about it.
pub(super) fn require_completed(task: &Task) -> Result<(), Failure> {
    if task.status.state == TaskState::Completed {
        return Ok(());
    }
    let mut failure = Failure::say(
        Exit::TaskEndedBadly,
        format!("task {} ended as {}", task.id, task.status.state.word()),
    );
    let said = task.status.message.iter().map(|message| preview(&message.parts, CHARS_MAX));
    failure.causes.extend(said);
    Err(match task.status.state {
        TaskState::Failed => {
            failure.todo("weft dlq list shows the whole story; weft dlq redrive sends it again")
        }
        TaskState::Submitted
        | TaskState::Working
        | TaskState::InputRequired
        | TaskState::AuthRequired
        | TaskState::Completed
        | TaskState::Canceled
        | TaskState::Rejected => failure,
    })
}
