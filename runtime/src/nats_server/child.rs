//! Runs one nats-server as a child process, and does to it what operators and accidents do.
//!
//! A start is over when the server itself has written where it listens and says that it is healthy;
//! nothing is read off its log, which goes to a file in the data directory. The server has its own
//! process group: Ctrl-C reaches the parent, which can drain before it stops its server.

use std::{io, path::PathBuf, process::ExitStatus, time::Duration};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid},
};
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
        let (limit, monitor) = (self.settings.start_limit, self.bound.monitor);
        let Some(running) = &mut self.running else { return Ok(()) };
        let healthy = async {
            while !monitor::is_healthy(monitor).await {
                running.still_starting()?;
                sleep(POLL).await;
            }
            Ok(())
        };
        let failure = match timeout(limit, healthy).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_elapsed) => running.slow(limit),
        };
        self.kill().await;
        Err(failure)
    }

    /// Where clients connect. Without credentials they land in account `WEFT`.
    #[must_use]
    pub fn client_url(&self) -> String {
        format!("nats://{HOST}:{}", self.bound.client)
    }

    /// Where those connect who watch the server itself (account `SYS`). Holds the password, which
    /// async-nats does not read from a URL: give it [`SYSTEM_USER`] and the password of
    /// [`ServerChild::settings`] as options, or it lands in account `WEFT` without an error.
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

    /// SIGSTOP: connections stay open and nothing answers. Returns when all threads have stopped,
    /// which is a moment after the signal was sent.
    ///
    /// # Errors
    /// The server is not running.
    pub async fn freeze(&self) -> Result<(), SignalError> {
        self.signal(Signal::STOP)?;
        while !self.is_stopped()? {
            sleep(POLL).await;
        }
        Ok(())
    }

    fn is_stopped(&self) -> Result<bool, SignalError> {
        // `NOWAIT` leaves the process for its owner to wait for.
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        let stopped = waitid(WaitId::Pid(self.raw_pid()?), options);
        stopped.map(|status| status.is_some()).map_err(refusal)
    }

    /// SIGCONT: undoes [`ServerChild::freeze`].
    ///
    /// # Errors
    /// The server is not running.
    pub fn thaw(&self) -> Result<(), SignalError> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), SignalError> {
        kill_process(self.raw_pid()?, signal).map_err(refusal)
    }

    fn raw_pid(&self) -> Result<Pid, SignalError> {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        pid.ok_or(SignalError::NotRunning)
    }

    pub(super) fn bound(&self) -> Bound {
        self.bound
    }

    pub(super) fn running_mut(&mut self) -> Option<&mut Running> {
        self.running.as_mut()
    }
}

fn refusal(errno: Errno) -> SignalError {
    match errno {
        Errno::SRCH | Errno::CHILD => SignalError::NotRunning,
        errno => SignalError::Refused(errno.into()),
    }
}

fn chosen(port: Port) -> Result<u16, StartError> {
    match port {
        Port::Fixed(port) => Ok(port),
        Port::Any => port::free().ok_or(StartError::NoFreePort),
    }
}
