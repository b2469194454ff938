//! The command that runs a node: flags in, exit code out. `weft node` and the program `agent-node` are both it.

use runtime::args::{ArgsError, RoleArgs};
use runtime::process::{self, ProcessError, ReadyFile, WriteError, exit};

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
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Flags, variables or files.
    #[error(transparent)]
    Args(#[from] ArgsError),
    /// The process around the node.
    #[error(transparent)]
    Process(#[from] ProcessError<RoleError>),
    /// The ready file.
    #[error(transparent)]
    ReadyFile(#[from] WriteError),
}

impl CommandError {
    /// The exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Args(_) | Self::Process(ProcessError::Telemetry(_)) => exit::USAGE,
            Self::Process(ProcessError::Forced) => exit::FORCED,
            Self::Process(ProcessError::Work(error)) => match error {
                RoleError::Connect(_) => exit::CANNOT_CONNECT,
                RoleError::Build(_) | RoleError::Schema { .. } | RoleError::NoAgents => exit::USAGE,
                RoleError::Start(_)
                | RoleError::Http(_)
                | RoleError::Failed(_)
                | RoleError::StillRunning(_) => exit::FAILURE,
            },
            Self::Process(ProcessError::Signals(_)) | Self::ReadyFile(_) => exit::FAILURE,
        }
    }
}

fn facts(ready: &Ready) -> serde_json::Value {
    serde_json::json!({
        "name": ready.name,
        "http": ready.http.map(|address| format!("http://{address}")),
        "pid": std::process::id(),
    })
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
    let ready_file = ready_file.map(ReadyFile::new);
    let options = telemetry.options("node", None);
    let mut written = Ok(());
    let done = process::run(&options, |stop| {
        let ready = {
            let (stop, written) = (stop.clone(), &mut written);
            move |ready: Ready| {
                if let Some(file) = &ready_file {
                    *written = file.write(&facts(&ready));
                }
                if written.is_err() {
                    stop.cancel();
                }
            }
        };
        role::run(role, stop, ready)
    });
    Box::pin(done).await?;
    Ok(written?)
}
