//! `weft task get`: one task as it stands.

use protocol::Owner;
use protocol::TaskId;

use crate::failure::{Exit, Failure};
use crate::print::tasks;
use crate::session::{ClientArgs, OwnerArgs, Session};

/// Show a task: state, attempts, input, results, errors
#[derive(clap::Args)]
pub(crate) struct Get {
    /// The task
    id: TaskId,
    #[command(flatten)]
    owner: OwnerArgs,
    #[command(flatten)]
    client: ClientArgs,
}

impl Get {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let Session { client, mut printer, .. } = Session::open(&self.client).await?;
        let owner = &self.owner.owner;
        match client.task(owner, &self.id).await? {
            Some(task) => Ok(tasks::one(&mut printer, &task)?),
            None => Err(unknown(owner, &self.id)),
        }
    }
}

/// Nobody knows this task.
pub(super) fn unknown(owner: &Owner, task: &TaskId) -> Failure {
    Failure::say(Exit::NotFound, format!("there is no task {task} of owner {owner}"))
        .todo("weft task list shows the tasks there are; --owner names whose")
}
