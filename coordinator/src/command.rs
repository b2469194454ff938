//! The command that runs a coordinator: flags in, exit code out. `weft coordinator` and the program
//! `coordinator` are both it.

use runtime::args::{RoleArgs, SystemArgs};
use runtime::process::exit;
use runtime::role::{Facts, WorkError, play};

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
pub type CommandError = runtime::role::CommandError<RoleError>;

impl WorkError for RoleError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Connect(_) => exit::CANNOT_CONNECT,
            Self::Provision(_) | Self::Http(_) | Self::ReadModel(_) | Self::Failed(_) => {
                exit::FAILURE
            }
        }
    }
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
    let options = telemetry.options("coordinator", None);
    let facts = |ready: Ready| Facts::new(ready.name, ready.http);
    play(&options, ready_file, facts, |stop, ready| role::run(role, stop, ready)).await
}
