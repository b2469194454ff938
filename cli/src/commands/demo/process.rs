//! A role of the demo as a process of its own, which can be killed like one on another machine.
//!
//! It is this same program, started again. It has its own process group, so that Ctrl-C reaches the demo alone,
//! and a guard that ends it when the demo itself is killed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use runtime::nats_server::Guard;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// How long a role may take to be ready; Python and a busy machine included.
const READY_LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);
/// How long a role may take to end in good order.
const STOP_LIMIT: Duration = Duration::from_secs(3);
const TAIL_LINES: usize = 8;

/// Why a role is not running.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProcessError {
    /// It cannot be started.
    #[error("cannot start {name}")]
    Start {
        /// The role's name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended although nobody asked it to.
    #[error("{name} ended by itself ({status}); its log ends with:\n{tail}")]
    Ended {
        /// The role's name.
        name: String,
        /// How.
        status: ExitStatus,
        /// The end of its log.
        tail: String,
    },
    /// It runs but does not get ready.
    #[error("{name} was not ready after {} s; its log ends with:\n{tail}", READY_LIMIT.as_secs())]
    Slow {
        /// The role's name.
        name: String,
        /// The end of its log.
        tail: String,
    },
}

/// A running role.
pub(super) struct Process {
    name: String,
    log: PathBuf,
    ready_file: PathBuf,
    guard: Option<Guard>,
    child: Child,
}

/// What a role is started with.
pub(super) struct Launch<'a> {
    /// Its name in the mesh.
    pub(super) name: &'a str,
    /// `node` or `coordinator`.
    pub(super) command: &'a str,
    /// Its settings file.
    pub(super) config: &'a Path,
    /// The bus.
    pub(super) server: &'a str,
    /// The system account, with its password.
    pub(super) system: Option<&'a str>,
    /// Where its log and its ready file go.
    pub(super) dir: &'a Path,
}

impl Process {
    /// Starts a role.
    pub(super) fn start(launch: &Launch<'_>) -> Result<Self, ProcessError> {
        let name = launch.name.to_owned();
        let start = || {
            let log = launch.dir.join(format!("{}.log", launch.name));
            let ready_file = launch.dir.join(format!("{}.ready.json", launch.name));
            let output = File::create(&log)?;
            let mut command = Command::new(std::env::current_exe()?);
            // Settings of the user's own mesh are none of this one's.
            for (key, _) in std::env::vars_os() {
                let text = key.to_string_lossy();
                if text.starts_with("NATS_") || text.starts_with("WEFT_") {
                    command.env_remove(&key);
                }
            }
            if let Some(system) = launch.system {
                // Not as a flag: everybody may read those.
                command.env("WEFT_SYSTEM_URL", system);
            }
            command.args([launch.command, "--name", launch.name, "--server", launch.server]);
            command.arg("--config").arg(launch.config).arg("--ready-file").arg(&ready_file);
            command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
            command.process_group(0).kill_on_drop(true);
            let mut guard = Guard::start()?;
            let child = command.spawn()?;
            child.id().map_or(Ok(()), |pid| guard.watch(pid))?;
            Ok(Self { name: name.clone(), log, ready_file, guard: Some(guard), child })
        };
        start().map_err(|source| ProcessError::Start { name: launch.name.to_owned(), source })
    }

    /// Its name in the mesh.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its process id, while it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it says that it is ready.
    pub(super) async fn ready(&mut self) -> Result<(), ProcessError> {
        let until = Instant::now() + READY_LIMIT;
        while !self.ready_file.exists() {
            self.check()?;
            if Instant::now() >= until {
                return Err(ProcessError::Slow { name: self.name.clone(), tail: self.tail() });
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// An error once it has ended.
    pub(super) fn check(&mut self) -> Result<(), ProcessError> {
        let Ok(Some(status)) = self.child.try_wait() else { return Ok(()) };
        self.guard = None;
        Err(ProcessError::Ended { name: self.name.clone(), status, tail: self.tail() })
    }

    /// SIGKILL. It has no moment to say goodbye.
    pub(super) async fn kill(&mut self) {
        // First, while the process id is ours.
        self.guard = None;
        // The only error is that it has already ended.
        drop(self.child.kill().await);
    }

    /// SIGTERM.
    pub(super) fn ask_to_stop(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGSTOP: it does nothing until [`Process::thaw`].
    pub(super) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(super) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if pid.is_some_and(|pid| kill_process(pid, signal).is_err()) {
            tracing::debug!(role = self.name, "ended already");
        }
    }

    /// Waits until it has ended after [`Process::ask_to_stop`], and kills it if that takes too long.
    pub(super) async fn stopped(&mut self) {
        drop(timeout(STOP_LIMIT, self.child.wait()).await);
        self.kill().await;
    }

    fn tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().join("\n")
    }
}
