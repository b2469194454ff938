//! `weft task`: send, read, follow and end tasks.

mod cancel;
mod get;
mod list;
mod send;
mod wait;
mod watch;

use crate::failure::Failure;

/// Send, read, follow and cancel tasks
#[derive(clap::Args)]
pub(crate) struct Task {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    Send(send::Send),
    Get(get::Get),
    List(list::List),
    Watch(watch::Watch),
    Cancel(cancel::Cancel),
}

impl Task {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Send(command) => Box::pin(command.run()).await,
            Action::Get(command) => Box::pin(command.run()).await,
            Action::List(command) => Box::pin(command.run()).await,
            Action::Watch(command) => Box::pin(command.run()).await,
            Action::Cancel(command) => Box::pin(command.run()).await,
        }
    }
}
