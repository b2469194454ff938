//! Why a benchmark gave no result.

use std::io;
use std::path::PathBuf;

use runtime::nats_server::{FindError, StartError};

/// Why a benchmark gave no result.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// No nats-server is at hand.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The server does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// There is no directory for its streams.
    #[error("cannot make a directory for the streams")]
    Place {
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// This program cannot be started again.
    #[error("cannot start {}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A child process ended before it was ready.
    #[error("the {what} process did not get ready")]
    NotReady {
        /// Which one.
        what: &'static str,
    },
    /// What a child process was told cannot be read.
    #[error("a role needs one line of JSON on its input")]
    Order {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A child process's work failed.
    #[error("the {what} process failed: {reason}")]
    Role {
        /// Which one.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// Weft's side failed.
    #[error("Weft's side, {doing}: {reason}")]
    Weft {
        /// Doing what.
        doing: &'static str,
        /// Why.
        reason: String,
    },
    /// The floor's side failed.
    #[error("the floor's side, {doing}: {reason}")]
    Floor {
        /// Doing what.
        doing: &'static str,
        /// Why.
        reason: String,
    },
    /// A process's figures cannot be read.
    #[error("cannot read the figures of process {pid}")]
    Figures {
        /// The process.
        pid: u32,
    },
    /// The table cannot be written.
    #[error("cannot write the table")]
    Write(#[from] io::Error),
}

impl BenchError {
    pub(crate) fn weft(doing: &'static str) -> impl Fn(&dyn std::error::Error) -> Self {
        move |error| Self::Weft { doing, reason: runtime::process::causes(error).join(": ") }
    }

    pub(crate) fn floor(doing: &'static str) -> impl Fn(&dyn std::fmt::Display) -> Self {
        move |error| Self::Floor { doing, reason: error.to_string() }
    }
}
