//! `weft task`: send, read, follow, talk to and end tasks.

mod cancel;
mod get;
mod list;
mod say;
mod send;
mod served;
mod signal;
mod tree;
mod wait;
mod watch;

use crate::failure::Failure;

/// Send, read, follow, talk to and cancel tasks
#[derive(clap::Args)]
pub(crate) struct Task {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    Send(Box<send::Send>),
    Get(get::Get),
    List(list::List),
    Watch(watch::Watch),
    Say(say::Say),
    Signal(signal::Signal),
    Tree(tree::Tree),
    Cancel(cancel::Cancel),
}

impl Task {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Send(command) => Box::pin(command.run()).await,
            Action::Get(command) => Box::pin(command.run()).await,
            Action::List(command) => Box::pin(command.run()).await,
            Action::Watch(command) => Box::pin(command.run()).await,
            Action::Say(command) => Box::pin(command.run()).await,
            Action::Signal(command) => Box::pin(command.run()).await,
            Action::Tree(command) => Box::pin(command.run()).await,
            Action::Cancel(command) => Box::pin(command.run()).await,
        }
    }
}
