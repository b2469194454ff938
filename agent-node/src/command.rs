//! The command that runs a node: flags in, exit code out. `weft node` and the program `agent-node` are both it.

use runtime::args::RoleArgs;
use runtime::process::exit;
use runtime::role::{Facts, WorkError, play};

use crate::agents::AgentKind;
use crate::role::{self, NodeRole, Ready, RoleError};

/// Runs the agents of a settings file
///
/// Stops in good order on Ctrl-C or SIGTERM: no new work, attempts under way reach a commit, the rest is given
/// back.
#[derive(Clone, Default, clap::Args)]
pub struct NodeArgs {
    /// What every role can be told.
    #[command(flatten)]
    pub role: RoleArgs,
}

/// Why the command failed.
pub type CommandError = runtime::role::CommandError<RoleError>;

impl WorkError for RoleError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Connect(_) => exit::CANNOT_CONNECT,
            Self::Build(_) | Self::Schema { .. } | Self::NoAgents => exit::USAGE,
            Self::Start(_) | Self::Http(_) | Self::Failed(_) | Self::Drain(_) => exit::FAILURE,
        }
    }
}

/// Runs a node until a signal; `kinds` are further kinds of agents.
///
/// # Errors
/// See [`CommandError`].
pub async fn run(args: NodeArgs, kinds: &'static [AgentKind]) -> Result<(), CommandError> {
    let RoleArgs { name, http, ready_file, config, telemetry, connection } = args.role;
    let settings = connection.with_prefix(config.load()?)?;
    let bus = connection.bus(&settings, "node")?;
    let role = NodeRole { bus, settings, name, http, base: config.base(), kinds };
    let options = telemetry.options("node", None);
    let facts = |ready: Ready| Facts::new(ready.name, ready.http);
    play(&options, ready_file, facts, |stop, ready| role::run(role, stop, ready)).await
}
