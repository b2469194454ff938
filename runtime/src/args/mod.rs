//! The flags and environment variables that all programs of the mesh share.
//!
//! `weft`, `agent-node` and `coordinator` read the same ones into the same settings; a flag goes before its
//! variable, both before `weft.toml`, and that before the NATS context that the user has selected.

mod connection;
mod nats_context;
mod role;

use std::path::PathBuf;

use protocol::subject::PrefixError;

pub use connection::{ConnectionArgs, SERVER_DEFAULT, SystemArgs};
pub use role::{ConfigArgs, RoleArgs, TelemetryArgs};

use crate::config::ConfigError;

/// What the flags, variables and files say cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArgsError {
    /// The settings file is unreadable or wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The subject prefix is none.
    #[error("--prefix cannot be used")]
    Prefix(#[from] PrefixError),
    /// A server is none that NATS clients can connect to.
    #[error("{url:?} is no address of a NATS server: {reason}")]
    Server {
        /// What was given, without user and password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such NATS context.
    #[error("there is no NATS context {name:?} ({})", path.display())]
    ContextUnknown {
        /// Its name.
        name: String,
        /// Where it would be.
        path: PathBuf,
    },
    /// The NATS context cannot be read.
    #[error("NATS context {name:?} ({}) cannot be used: {reason}", path.display())]
    ContextUnreadable {
        /// Its name.
        name: String,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The NATS context asks for something that Weft does not do.
    #[error("NATS context {name:?} sets {setting:?}, which weft does not support")]
    ContextUnsupported {
        /// Its name.
        name: String,
        /// The setting.
        setting: &'static str,
    },
    /// A file with an nkey seed cannot be read.
    #[error("cannot read the nkey seed in {}", path.display())]
    Nkey {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A client certificate without its key, or the other way round.
    #[error(
        "a client certificate and its key belong together: one of --tlscert and --tlskey is missing"
    )]
    HalfIdentity,
}
