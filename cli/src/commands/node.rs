//! `weft node`: a node alone.

use agent_node::command::{self, NodeArgs};

use crate::demo_agents::KINDS;
use crate::failure::Failure;

/// Run a node: the agents of a settings file
///
/// Stops in good order on Ctrl-C or SIGTERM: no new work, attempts under way reach a commit, the rest is given
/// back without costing an attempt.
#[derive(clap::Args)]
pub(crate) struct Node {
    #[command(flatten)]
    args: NodeArgs,
}

impl Node {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        Ok(command::run(self.args, KINDS).await?)
    }
}
