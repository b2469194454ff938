//! Flags of a process that plays a role in the mesh, alone or inside `weft`.

use std::path::PathBuf;

use protocol::id::NodeName;

use super::{ArgsError, ConnectionArgs};
use crate::config::Settings;
use crate::telemetry::{LogFormat, TelemetryOptions};

/// The settings file.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ConfigArgs {
    /// Settings file (weft.toml)
    #[arg(long, value_name = "FILE", env = "WEFT_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
}

/// How logs look.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Logs")]
pub struct TelemetryArgs {
    /// Which log lines are written, such as `info` or `warn,weft_runtime=debug`; `RUST_LOG` says the same
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// How they look: text or json
    #[arg(long, value_name = "FORMAT", env = "WEFT_LOG_FORMAT", hide_env_values = true)]
    pub log_format: Option<LogFormat>,
}

/// What every role can be told.
#[derive(Clone, Default, clap::Args)]
pub struct RoleArgs {
    /// Name of this process, unique in the mesh [default: made up]
    #[arg(long)]
    pub name: Option<NodeName>,
    /// Serve /livez, /readyz and /metrics there, such as 127.0.0.1:9100; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", env = "WEFT_HTTP", hide_env_values = true)]
    pub http: Option<String>,
    /// Write name, address and process id there as JSON once ready; removed at the end
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// The settings file.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// How logs look.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    /// Where to connect.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

impl ConfigArgs {
    /// Reads the file; without one, the defaults.
    ///
    /// # Errors
    /// With everything that is wrong with it.
    pub fn load(&self) -> Result<Settings, ArgsError> {
        match self.config.as_ref().filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => Ok(Settings::load(path)?),
            None => Ok(Settings::without_file()),
        }
    }

    /// Where relative paths in the file start: its directory, or the current one.
    #[must_use]
    pub fn base(&self) -> PathBuf {
        let parent = self.config.as_ref().and_then(|path| path.parent());
        match parent.filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => parent.to_owned(),
            None => PathBuf::from("."),
        }
    }
}

impl TelemetryArgs {
    /// The environment's options with what the flags say; `filter` stands where neither names a log filter.
    #[must_use]
    pub fn options(&self, role: &str, filter: Option<&str>) -> TelemetryOptions {
        let mut options = TelemetryOptions::from_environment(role);
        options.log_filter = self.log.clone().or(options.log_filter);
        options.log_filter = options.log_filter.or_else(|| filter.map(str::to_owned));
        options.log_format = self.log_format.unwrap_or(options.log_format);
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_start_at_the_file() {
        for (config, base) in [
            (None, "."),
            (Some("weft.toml"), "."),
            (Some("a/weft.toml"), "a"),
            (Some("/weft.toml"), "/"),
        ] {
            let args = ConfigArgs { config: config.map(PathBuf::from) };
            assert_eq!(args.base(), PathBuf::from(base), "{config:?}");
        }
    }
}
