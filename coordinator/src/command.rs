//! The command that runs a coordinator: flags in, exit code out. `weft coordinator` and the program
//! `coordinator` are both it.

use runtime::args::{ArgsError, RoleArgs, SystemArgs};
use runtime::process::{self, ProcessError, ReadyFile, WriteError, exit};

use crate::role::{self, CoordinatorRole, Ready, RoleError};

/// Looks after tasks that nobody is running, and creates what the mesh needs on the server
///
/// Any number of coordinators may run at once. With a connection to the system account a crashed node's work is
/// taken over within milliseconds, otherwise when its lease ends.
#[derive(Clone, Default, clap::Args)]
pub struct CoordinatorArgs {
    /// What every role can be told.
    #[command(flatten)]
    pub role: RoleArgs,
    /// The system account.
    #[command(flatten)]
    pub system: SystemArgs,
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Flags, variables or files.
    #[error(transparent)]
    Args(#[from] ArgsError),
    /// The process around the coordinator.
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
            Self::Process(ProcessError::Work(RoleError::Connect(_))) => exit::CANNOT_CONNECT,
            Self::Process(ProcessError::Work(_) | ProcessError::Signals(_))
            | Self::ReadyFile(_) => exit::FAILURE,
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

/// Runs a coordinator until a signal.
///
/// # Errors
/// See [`CommandError`].
pub async fn run(args: CoordinatorArgs) -> Result<(), CommandError> {
    let RoleArgs { name, http, ready_file, config, telemetry, connection } = args.role;
    let settings = connection.with_prefix(config.load()?)?;
    let bus = connection.bus(&settings, "coordinator")?;
    let system = args.system.bus(&settings, &bus);
    let role = CoordinatorRole { bus, system, settings, name, http, sync_always: None };
    let ready_file = ready_file.map(ReadyFile::new);
    let options = telemetry.options("coordinator", None);
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
