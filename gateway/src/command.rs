//! The command that runs a gateway: flags in, exit code out.

use runtime::args::RoleArgs;
use runtime::process::exit;
use runtime::role::{Facts, WorkError, play};

use crate::role::{self, GatewayRole, Ready, RoleError};

/// Opens the mesh to A2A clients, and to anybody who speaks HTTP
///
/// Any number of gateways may run at once, and each answers for all.
#[derive(Clone, Default, clap::Args)]
pub struct GatewayArgs {
    /// Where the doors are [default: gateway.listen of the settings file, or 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR:PORT", env = "WEFT_GATEWAY_LISTEN", hide_env_values = true)]
    pub listen: Option<String>,
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
            Self::Gate(_) | Self::Tls(_) | Self::SealKey(_) => exit::USAGE,
            Self::Http(_) | Self::Listen(_) | Self::SignKey(_) | Self::Failed(_) => exit::FAILURE,
        }
    }
}

/// Runs a gateway until a signal.
///
/// # Errors
/// See [`CommandError`].
pub async fn run(args: GatewayArgs) -> Result<(), CommandError> {
    let RoleArgs { name, http, ready_file, config, telemetry, connection } = args.role;
    let mut settings = connection.with_prefix(config.load()?)?;
    settings.gateway.start_paths_at(&config.base());
    let bus = connection.bus(&settings, "gateway")?;
    let role = GatewayRole { bus, settings, name, listen: args.listen.into_iter().collect(), http };
    let options = telemetry.options("gateway", None);
    let facts = |ready: Ready| {
        let scheme = if ready.is_secure { "https" } else { "http" };
        Facts::new(ready.name, ready.http).listening_at(format!("{scheme}://{}", ready.listen))
    };
    play(&options, ready_file, facts, |stop, ready| role::run(role, stop, ready)).await
}
