//! What the command of every role does around its work: a ready file, telemetry, signals, an exit code.
//!
//! A role says what it is ready for, how it can fail and which exit code a failure has; the rest is the same for all.

use std::error::Error;
use std::future::Future;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use protocol::id::NodeName;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::args::ArgsError;
use crate::process::{self, ProcessError, ReadyFile, WriteError, causes, exit};
use crate::telemetry::TelemetryOptions;

/// A failure of a role's work.
pub trait WorkError: Error + 'static {
    /// The exit code, one of [`exit`].
    fn exit_code(&self) -> u8;
}

/// Why the command of a role failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError<E: Error + 'static> {
    /// Flags, variables or files.
    #[error(transparent)]
    Args(#[from] ArgsError),
    /// The process around the work, or the work itself.
    #[error(transparent)]
    Process(#[from] ProcessError<E>),
    /// The ready file.
    #[error(transparent)]
    ReadyFile(#[from] WriteError),
}

impl<E: WorkError> CommandError<E> {
    /// The exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Args(_) | Self::Process(ProcessError::Telemetry(_)) => exit::USAGE,
            Self::Process(ProcessError::Forced) => exit::FORCED,
            Self::Process(ProcessError::Work(error)) => error.exit_code(),
            Self::Process(ProcessError::Signals(_)) | Self::ReadyFile(_) => exit::FAILURE,
        }
    }
}

/// What a ready file tells of a process.
#[derive(Debug, Serialize)]
pub struct Facts {
    name: NodeName,
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<String>,
    http: Option<String>,
    pid: u32,
}

impl Facts {
    /// Of this process: its name, and where health and metrics are served.
    #[must_use]
    pub fn new(name: NodeName, http: Option<SocketAddr>) -> Self {
        let http = http.map(|address| format!("http://{address}"));
        Self { name, listen: None, http, pid: std::process::id() }
    }

    /// Where its doors are.
    #[must_use]
    pub fn listening_at(self, url: String) -> Self {
        Self { listen: Some(url), ..self }
    }
}

/// Told once, when a role is ready.
pub type OnReady<R> = Box<dyn FnOnce(R) + Send>;

/// Does a role's work until a signal. A ready file that cannot be written ends it: whoever waits for the file would
/// wait for ever.
///
/// # Errors
/// See [`CommandError`].
pub async fn play<R, E, F>(
    options: &TelemetryOptions,
    ready_file: Option<PathBuf>,
    facts: impl FnOnce(R) -> Facts + Send + 'static,
    work: impl FnOnce(CancellationToken, OnReady<R>) -> F,
) -> Result<(), CommandError<E>>
where
    R: 'static,
    E: WorkError,
    F: Future<Output = Result<(), E>>,
{
    let ready_file = Arc::new(ready_file.map(ReadyFile::new));
    let unwritten = Arc::new(OnceLock::new());
    let done = process::run(options, |stop| {
        let (ending, unwritten) = (stop.clone(), Arc::clone(&unwritten));
        let ready_file = Arc::clone(&ready_file);
        let ready: OnReady<R> = Box::new(move |ready| {
            let written = (*ready_file).as_ref().map_or(Ok(()), |file| file.write(&facts(ready)));
            if let Err(error) = written {
                unwritten.get_or_init(|| error);
                ending.cancel();
            }
        });
        work(stop, ready)
    });
    Box::pin(done).await?;
    match Arc::into_inner(unwritten).and_then(OnceLock::into_inner) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// The end of a program that plays one role and nothing else: a failure and its causes on stderr, the exit code.
#[must_use]
pub fn end<E: WorkError>(done: Result<(), CommandError<E>>) -> ExitCode {
    let Err(error) = done else { return ExitCode::from(exit::OK) };
    // Nobody is left to tell when stderr is closed.
    drop(writeln!(std::io::stderr(), "error: {}", causes(&error).join("\n  because: ")));
    ExitCode::from(error.exit_code())
}
