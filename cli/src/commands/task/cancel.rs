//! `weft task cancel`: asks for the end of a task.

use std::time::Duration;

use client::CancelError;
use protocol::TaskId;
use protocol::task::TaskState;
use runtime::config::Span;

use super::wait;
use crate::failure::{Exit, Failure};
use crate::print::tasks;
use crate::session::{ClientArgs, OwnerArgs, Session};

/// How long --wait waits unless told otherwise.
const WAIT_DEFAULT: Duration = Duration::from_secs(60);

/// Ask for the end of a task, queued or running
///
/// The request is stored: the node that runs the task ends it, or a coordinator while nobody does.
#[derive(clap::Args)]
pub(crate) struct Cancel {
    /// The task
    id: TaskId,
    #[command(flatten)]
    owner: OwnerArgs,
    /// Why: kept in the task's log, and shown with its status
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Wait until it has ended
    #[arg(long, short)]
    wait: bool,
    /// With --wait: how long to wait at most [default: 60s]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,
    #[command(flatten)]
    client: ClientArgs,
}

impl Cancel {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        if self.timeout.is_some() && !self.wait {
            return Err(Failure::say(Exit::Usage, "--timeout says how long --wait waits")
                .todo("add --wait, or leave --timeout out"));
        }
        let Session { client, mut printer, .. } = Session::open(&self.client).await?;
        let limit = Some(self.timeout.map_or(WAIT_DEFAULT, |span| span.0));
        let owner = &self.owner.owner;
        match client.cancel_because(owner, &self.id, self.reason.as_deref()).await {
            Ok(()) => {}
            Err(CancelError::Ended { state, .. }) if state == TaskState::Canceled.word() => {
                return Ok(tasks::cancel(&mut printer, &self.id, state)?);
            }
            Err(error) => return Err(error.into()),
        }
        if !self.wait {
            return Ok(tasks::cancel(&mut printer, &self.id, "asked")?);
        }
        let task = wait::to_the_end(&client, owner, &self.id, limit, |_| Ok(())).await?;
        tasks::cancel(&mut printer, &self.id, task.status.state.word())?;
        if task.status.state == TaskState::Canceled {
            return Ok(());
        }
        let what = format!("task {} had ended as {} before", self.id, task.status.state.word());
        Err(Failure::say(Exit::Failure, what))
    }
}
