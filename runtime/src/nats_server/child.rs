//! Runs one nats-server as a child process, and does to it what operators and accidents do.
//!
//! A start is over when the server itself has written where it listens and says that it is healthy;
//! nothing is read off its log, which goes to a file in the data directory. The server has its own
//! process group: Ctrl-C reaches the parent, which can drain before it stops its server.

use std::{
    io::{self, ErrorKind},
    path::PathBuf,
    process::ExitStatus,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{sleep, timeout};

use super::{
    config::{HOST, Port, SYSTEM_USER, ServerSettings},
    find::Found,
    monitor,
    port::{self, Bound},
    spawn::{self, Running},
};

/// How long a server may take to end by itself after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(15);

pub(super) const POLL: Duration = Duration::from_millis(5);

/// How often other free ports are tried when somebody was quicker.
const PORT_TRIES: u32 = 5;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data directory cannot be made or written.
    #[error("cannot write {}: {error}", path.display())]
    DataDir {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A config file can only name UTF-8 paths.
    #[error("the data directory {} is not UTF-8", .0.display())]
    NotUtf8(PathBuf),
    /// Another server lives there. Two would destroy each other's streams.
    #[error("the data directory {} is in use by another nats-server", .0.display())]
    InUse(PathBuf),
    /// No port could be bound.
    #[error("no free port found on {HOST}")]
    NoFreePort,
    /// The binary, or the shell that watches over it, could not be started.
    #[error("cannot start {}: {error}", path.display())]
    Spawn {
        /// The program.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The server gave up: a taken port, a damaged store.
    #[error("nats-server ended while starting ({status}); {} ends with:\n{tail}", log.display())]
    Exited {
        /// How it ended.
        status: ExitStatus,
        /// Its log file.
        log: PathBuf,
        /// The last lines of this start.
        tail: String,
    },
    /// The server runs but is not ready.
    #[error("nats-server was not ready after {} s; {} ends with:\n{tail}",
        limit.as_secs(), log.display())]
    Slow {
        /// How long was waited.
        limit: Duration,
        /// Its log file.
        log: PathBuf,
        /// The last lines of this start.
        tail: String,
    },
}

impl StartError {
    fn is_taken_port(&self) -> bool {
        matches!(self, Self::Exited { tail, .. } if tail.contains("address already in use"))
    }
}

/// Why a signal did not reach the server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignalError {
    /// It was killed or stopped, or died by itself.
    #[error("the nats-server is not running")]
    NotRunning,
    /// The system refused.
    #[error("cannot send a signal to the nats-server: {0}")]
    Refused(io::Error),
}

/// A nats-server that dies with this value, and with this process.
///
/// Dropping it kills the server and waits a moment for its end, so that the data directory can be
/// removed; [`ServerChild::stop`] is the gentle way.
#[derive(Debug)]
pub struct ServerChild {
    binary: PathBuf,
    settings: ServerSettings,
    bound: Bound,
    running: Option<Running>,
}

/// Starts a server and waits until it is healthy.
///
/// # Errors
/// The data directory cannot be used, a port is taken, or the server ends or is not healthy in time;
/// nothing is left running then.
pub async fn start(found: &Found, settings: ServerSettings) -> Result<ServerChild, StartError> {
    let mut server = ServerChild::launch(found, settings).await?;
    server.wait_healthy().await?;
    Ok(server)
}

impl ServerChild {
    /// Starts a server and waits until it listens, which a cluster's member does before it is
    /// healthy.
    pub(super) async fn launch(
        found: &Found,
        mut settings: ServerSettings,
    ) -> Result<Self, StartError> {
        settings.data_dir = std::path::absolute(&settings.data_dir)
            .map_err(|error| StartError::DataDir { path: settings.data_dir.clone(), error })?;
        let any = [settings.client_port, settings.monitor_port].contains(&Port::Any);
        let mut tries = 1;
        loop {
            let ports = Bound {
                client: chosen(settings.client_port)?,
                monitor: chosen(settings.monitor_port)?,
            };
            match spawn::spawn(&found.path, &settings, ports).await {
                Ok((running, bound)) => {
                    let binary = found.path.clone();
                    return Ok(Self { binary, settings, bound, running: Some(running) });
                }
                Err(error) if any && error.is_taken_port() && tries < PORT_TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts the server again on the ports it had, and waits until it listens.
    pub(super) async fn relaunch(&mut self) -> Result<(), StartError> {
        self.stop().await;
        let (running, bound) = spawn::spawn(&self.binary, &self.settings, self.bound).await?;
        self.running = Some(running);
        self.bound = bound;
        Ok(())
    }

    async fn wait_healthy(&mut self) -> Result<(), StartError> {
        let limit = self.settings.start_limit;
        let (monitor, running) = (self.bound.monitor, &mut self.running);
        let healthy = async {
            while !monitor::is_healthy(monitor).await {
                match running {
                    Some(running) => running.still_starting()?,
                    None => return Ok(()),
                }
                sleep(POLL).await;
            }
            Ok(())
        };
        let result = timeout(limit, healthy).await;
        let failure = match (result, &self.running) {
            (Ok(Ok(())), _) | (Err(_), None) => return Ok(()),
            (Ok(Err(error)), _) => error,
            (Err(_), Some(running)) => running.slow(limit),
        };
        self.kill().await;
        Err(failure)
    }

    /// Where clients connect. Without credentials they land in account `WEFT`.
    #[must_use]
    pub fn client_url(&self) -> String {
        format!("nats://{HOST}:{}", self.bound.client)
    }

    /// Where those connect who watch the server itself (account `SYS`). Holds the password.
    #[must_use]
    pub fn system_url(&self) -> String {
        let password = self.settings.passwords.system.expose();
        format!("nats://{SYSTEM_USER}:{password}@{HOST}:{}", self.bound.client)
    }

    /// Where HTTP monitoring answers (`/healthz`, `/varz`, `/jsz`).
    #[must_use]
    pub fn monitor_url(&self) -> String {
        format!("http://{HOST}:{}", self.bound.monitor)
    }

    /// The settings it was started with.
    #[must_use]
    pub fn settings(&self) -> &ServerSettings {
        &self.settings
    }

    /// The process id, while it runs (or is frozen).
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().and_then(Running::pid)
    }

    /// Waits until the server ends by itself; `None` if it was not running. Cancel safe.
    pub async fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.running.as_mut()?.wait().await.ok();
        self.running = None;
        status
    }

    /// SIGKILL: what was acknowledged but not yet synced survives, for the machine lives on.
    pub async fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill().await;
        }
    }

    /// SIGTERM, or SIGKILL if that takes too long. Returns when the process has ended.
    pub async fn stop(&mut self) {
        let asked = self.signal(Signal::TERM).and_then(|()| self.signal(Signal::CONT));
        if let (Ok(()), Some(running)) = (asked, &mut self.running)
            && timeout(STOP_LIMIT, running.wait()).await.is_ok()
        {
            self.running = None;
        }
        self.kill().await;
    }

    /// Starts the server again, stopping it first if it runs: same data, same ports, same passwords.
    ///
    /// # Errors
    /// As for [`start`].
    pub async fn restart(&mut self) -> Result<(), StartError> {
        self.relaunch().await?;
        self.wait_healthy().await
    }

    /// SIGSTOP: connections stay open and nothing answers.
    ///
    /// # Errors
    /// The server is not running.
    pub fn freeze(&self) -> Result<(), SignalError> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT: undoes [`ServerChild::freeze`].
    ///
    /// # Errors
    /// The server is not running.
    pub fn thaw(&self) -> Result<(), SignalError> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), SignalError> {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        kill_process(pid.ok_or(SignalError::NotRunning)?, signal).map_err(|errno| {
            let error = io::Error::from(errno);
            if error.kind() == ErrorKind::NotFound || errno == rustix::io::Errno::SRCH {
                SignalError::NotRunning
            } else {
                SignalError::Refused(error)
            }
        })
    }

    pub(super) fn bound(&self) -> Bound {
        self.bound
    }

    pub(super) fn running_mut(&mut self) -> Option<&mut Running> {
        self.running.as_mut()
    }
}

fn chosen(port: Port) -> Result<u16, StartError> {
    match port {
        Port::Fixed(port) => Ok(port),
        Port::Any => port::free().ok_or(StartError::NoFreePort),
    }
}
