//! `weft task tree`: a task with everything that it delegated.

use protocol::TaskId;

use super::get::unknown;
use crate::failure::Failure;
use crate::print::tree;
use crate::session::{ClientArgs, OwnerArgs, Session};

/// Show a task with everything it delegated: states, attempts, waits, budgets
#[derive(clap::Args)]
pub(crate) struct Tree {
    /// The task
    id: TaskId,
    #[command(flatten)]
    owner: OwnerArgs,
    /// At most so many tasks, those nearest to the root first
    #[arg(long, default_value_t = 500)]
    limit: usize,
    #[command(flatten)]
    client: ClientArgs,
}

impl Tree {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let Session { client, mut printer, .. } = Session::open(&self.client).await?;
        let owner = &self.owner.owner;
        match client.tree(owner, &self.id, self.limit.max(1)).await? {
            Some(root) => Ok(tree::show(&mut printer, &root)?),
            None => Err(unknown(owner, &self.id)),
        }
    }
}
