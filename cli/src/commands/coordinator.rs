//! `weft coordinator`: a coordinator alone.

use coordinator::command::{self, CoordinatorArgs};

use crate::failure::Failure;

/// Run a coordinator: looks after tasks that nobody is running, creates streams and consumers
///
/// Any number may run at once. With a connection to the system account the work of a crashed node is taken over
/// within milliseconds, otherwise when its lease ends.
#[derive(clap::Args)]
pub(crate) struct Coordinator {
    #[command(flatten)]
    args: CoordinatorArgs,
}

impl Coordinator {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        Ok(command::run(self.args).await?)
    }
}
