//! A process from start to exit: signals, the ready file, the exit code of an error.
//!
//! The first SIGINT or SIGTERM asks the work to end in good order; the second ends the waiting. Nothing here
//! exits: the caller does, so that what must be dropped is dropped.

use std::error::Error;
use std::future::Future;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::OnceLock;
use std::time::Duration;

use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::telemetry::{self, TelemetryError, TelemetryOptions};

/// How long the last spans may take.
const FLUSH_LIMIT: Duration = Duration::from_secs(3);

/// Exit codes. Append-only: scripts depend on them.
pub mod exit {
    /// All went well.
    pub const OK: u8 = 0;
    /// Something failed.
    pub const FAILURE: u8 = 1;
    /// Flags, settings or input that cannot be used.
    pub const USAGE: u8 = 2;
    /// No server answers, or none lets us in.
    pub const CANNOT_CONNECT: u8 = 3;
    /// A second Ctrl-C: ended without waiting.
    pub const FORCED: u8 = 130;
}

/// Why a process ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError<E: Error> {
    /// Logs or traces cannot be set up.
    #[error("logs and traces cannot be set up")]
    Telemetry(#[from] TelemetryError),
    /// Signals cannot be heard.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// The user asked twice.
    #[error("ended at once; what was under way goes on after its lease")]
    Forced,
    /// The work failed.
    #[error(transparent)]
    Work(E),
}

/// SIGINT and SIGTERM.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From now on these signals no longer end the process by themselves.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Does the work; the first signal cancels `stop`, the second gives up on the work (`None`).
    pub async fn guard<F: Future>(
        &mut self,
        stop: &CancellationToken,
        work: F,
    ) -> Option<F::Output> {
        let mut work = pin!(work);
        tokio::select! {
            output = &mut work => return Some(output),
            () = self.next() => stop.cancel(),
        }
        tracing::info!("stopping; once more ends at once");
        tokio::select! {
            output = &mut work => Some(output),
            () = self.next() => None,
        }
    }
}

/// Runs a role: telemetry first, then the work until a signal ends it, then the last spans.
///
/// # Errors
/// See [`ProcessError`].
pub async fn run<E, F>(
    options: &TelemetryOptions,
    work: impl FnOnce(CancellationToken) -> F,
) -> Result<(), ProcessError<E>>
where
    E: Error,
    F: Future<Output = Result<(), E>>,
{
    let guard = telemetry::init(options)?;
    let mut signals = Signals::listen().map_err(ProcessError::Signals)?;
    let stop = CancellationToken::new();
    let done = signals.guard(&stop, work(stop.clone())).await;
    let Some(done) = done else { return Err(ProcessError::Forced) };
    if let Err(error) = guard.shutdown(FLUSH_LIMIT).await {
        tracing::warn!(reason = %error, "the last spans are lost");
    }
    done.map_err(ProcessError::Work)
}

/// An error and its causes, from the outermost to the innermost.
#[must_use]
pub fn causes(error: &dyn Error) -> Vec<String> {
    let mut found = vec![error.to_string()];
    let mut next = error.source();
    while let Some(error) = next {
        let text = error.to_string();
        if found.last() != Some(&text) {
            found.push(text);
        }
        next = error.source();
    }
    found
}

/// A file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", path.display())]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// A file that tells others that this process is ready, and where. It does not exist before, and goes with this value.
#[derive(Debug)]
pub struct ReadyFile {
    path: PathBuf,
    /// What was written: another process may have put its own there since.
    written: OnceLock<Vec<u8>>,
}

impl ReadyFile {
    /// Will be written there; what an earlier process left is removed now.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        // Usually there is none; one that cannot be removed is told by the write.
        drop(std::fs::remove_file(&path));
        Self { path, written: OnceLock::new() }
    }

    /// Writes facts as JSON in one step, for the owner's eyes only: a reader sees all of it or no file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, facts: &impl Serialize) -> Result<(), WriteError> {
        let path = &self.path;
        let fail = |source| WriteError { path: path.clone(), source };
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", std::process::id()));
        let beside = path.with_file_name(name);
        let text = serde_json::to_vec(facts).map_err(|error| fail(error.into()))?;
        write_private(&beside, &text).and_then(|()| std::fs::rename(&beside, path)).map_err(
            |error| {
                drop(std::fs::remove_file(&beside));
                fail(error)
            },
        )?;
        self.written.get_or_init(|| text);
        Ok(())
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        let there = std::fs::read(&self.path).ok();
        if there.is_some() && there.as_ref() == self.written.get() {
            drop(std::fs::remove_file(&self.path));
        }
    }
}

fn write_private(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).write(true).truncate(true).mode(0o600);
    options.open(path)?.write_all(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_ready_file_is_private_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ready.json");
        let first = ReadyFile::new(path.clone());
        first.write(&[1, 2]).unwrap();
        let second = ReadyFile::new(path.clone());
        assert!(!path.exists(), "a stale file says that somebody is ready");
        second.write(&[3]).unwrap();
        drop(first);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "[3]");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(dir.path().read_dir().unwrap().count(), 1);
        drop(second);
        assert!(!path.exists(), "nobody is ready any more");
        let error = ReadyFile::new(dir.path().join("no/ready.json")).write(&[1]).unwrap_err();
        assert!(error.to_string().contains("no/ready.json"));
    }

    #[test]
    fn causes_come_once_each() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] Inner);
        #[derive(Debug, thiserror::Error)]
        #[error("inner")]
        struct Inner;
        assert_eq!(causes(&Outer(Inner)), ["outer", "inner"]);
    }
}
