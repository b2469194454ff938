//! `weft agent`: who serves what.

use protocol::Skill;

use crate::failure::Failure;
use crate::print::agents;
use crate::session::{ClientArgs, Session};

/// Show the agents of the mesh
#[derive(clap::Args)]
pub(crate) struct Agent {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    List(List),
}

/// List the agents in the registry: skill, node, load, last seen
#[derive(clap::Args)]
struct List {
    /// Only this skill's
    #[arg(long)]
    skill: Option<Skill>,
    #[command(flatten)]
    client: ClientArgs,
}

impl Agent {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let Action::List(List { skill, client }) = self.action;
        let Session { client, mut printer, .. } = Session::open(&client).await?;
        let mut found = client.agents().await?;
        found.retain(|agent| skill.as_ref().is_none_or(|skill| agent.skill == *skill));
        Ok(agents::list(&mut printer, &found)?)
    }
}
