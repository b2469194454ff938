//! `weft task watch`: a task's log entries as they are stored.

use protocol::TaskId;
use runtime::config::Span;

use super::get::unknown;
use super::wait;
use crate::failure::Failure;
use crate::print::entry;
use crate::session::{ClientArgs, OwnerArgs, Session};

/// Follow a task: its log so far and every further entry, until it ends
#[derive(clap::Args)]
pub(crate) struct Watch {
    /// The task
    id: TaskId,
    #[command(flatten)]
    owner: OwnerArgs,
    /// How long to follow it at most, such as 30s or 5m
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,
    #[command(flatten)]
    client: ClientArgs,
}

impl Watch {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let Session { client, mut printer, .. } = Session::open(&self.client).await?;
        let owner = &self.owner.owner;
        let known = client.task(owner, &self.id).await?;
        known.ok_or_else(|| unknown(owner, &self.id))?;
        let limit = self.timeout.map(|span| span.0);
        let print = |entry: &_| Ok(entry::line(&mut printer, entry)?);
        let task = wait::to_the_end(&client, owner, &self.id, limit, print).await?;
        wait::require_completed(&task)
    }
}
