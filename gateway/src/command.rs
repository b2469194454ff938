//! The command that runs a gateway: flags in, exit code out.

use runtime::args::{ArgsError, RoleArgs};
use runtime::process::{self, ProcessError, ReadyFile, WriteError, exit};

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
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Flags, variables or files.
    #[error(transparent)]
    Args(#[from] ArgsError),
    /// The process around the gateway.
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
            Self::Process(ProcessError::Work(RoleError::Gate(_) | RoleError::Tls(_))) => {
                exit::USAGE
            }
            Self::Process(ProcessError::Work(_) | ProcessError::Signals(_))
            | Self::ReadyFile(_) => exit::FAILURE,
        }
    }
}

fn facts(ready: &Ready) -> serde_json::Value {
    serde_json::json!({
        "name": ready.name,
        "listen": format!("{}://{}", if ready.is_secure { "https" } else { "http" }, ready.listen),
        "http": ready.http.map(|address| format!("http://{address}")),
        "pid": std::process::id(),
    })
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
    let ready_file = ready_file.map(ReadyFile::new);
    let options = telemetry.options("gateway", None);
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
