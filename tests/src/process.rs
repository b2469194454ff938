//! A node or a coordinator as a process of its own, and the signals it can be sent.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// How long a process may take until it is ready. One that starts without a leader waits for as long.
const READY_LIMIT: Duration = runtime::bus::START_PATIENCE;

/// What a process is told to be, as JSON in its only argument.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Orders {
    /// `node`, `coordinator` or `gateway`.
    pub role: String,
    /// Its name.
    pub name: String,
    /// URL of the bus.
    pub server: String,
    /// URL of the system account, for a coordinator that may see it.
    pub system: Option<String>,
    /// The text of a `weft.toml`.
    pub config: String,
}

/// What a process says once it is ready.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReadyLine {
    /// Where health and metrics are served.
    pub http: Option<String>,
    /// Where a gateway's doors are, as `127.0.0.1:8080`.
    pub listen: Option<String>,
}

/// A running process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    program: String,
    /// What it was told to be.
    pub orders: Orders,
    /// Where it serves health and metrics.
    pub http: Option<String>,
    /// Where a gateway's doors are, as `127.0.0.1:8080`.
    pub listen: Option<String>,
    /// Where its log goes.
    pub log: PathBuf,
}

impl Process {
    /// Starts `program` with the orders and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready; the message holds its log.
    pub async fn start(program: &str, orders: Orders, log: PathBuf) -> Self {
        Self::start_with(program, orders, log, &[]).await
    }

    /// As [`Process::start`], with environment variables beyond the test's own.
    ///
    /// # Panics
    /// As [`Process::start`].
    pub async fn start_with(
        program: &str,
        orders: Orders,
        log: PathBuf,
        environment: &[(&str, &str)],
    ) -> Self {
        match Self::launch(program, orders, log, environment).await {
            Ok(process) => process,
            Err(reason) => panic!("{reason}"),
        }
    }

    /// Starts it again after its end, with the same orders. `false` when it ended before it was ready.
    pub async fn restart(&mut self) -> bool {
        let (program, orders, log) = (self.program.clone(), self.orders.clone(), self.log.clone());
        match Self::launch(&program, orders, log, &[]).await {
            Ok(process) => {
                *self = process;
                true
            }
            Err(_) => false,
        }
    }

    async fn launch(
        program: &str,
        orders: Orders,
        log: PathBuf,
        environment: &[(&str, &str)],
    ) -> Result<Self, String> {
        let errors = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut child = Command::new(program)
            .arg(serde_json::to_string(&orders).unwrap())
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = tokio::time::timeout(READY_LIMIT, lines.next_line()).await;
        let line = match first {
            Ok(Ok(Some(line))) => line,
            other => {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("{} is not ready: {other:?}\n{said}", orders.name));
            }
        };
        let ready: ReadyLine = serde_json::from_str(&line).unwrap();
        let program = program.to_owned();
        Ok(Self { child, program, orders, http: ready.http, listen: ready.listen, log })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        let pid = self.child.id().expect("it runs");
        Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
    }

    /// SIGKILL, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGSTOP.
    pub fn freeze(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        self.child.wait().await.unwrap()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has logged.
    #[must_use]
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}
