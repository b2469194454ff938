//! Starts this program again as one of the roles.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::BenchError;
use crate::role::Order;

/// Lines of the children's logs that an error shows.
const LINES_SHOWN: usize = 10;

/// How to start this program again.
#[derive(Debug, Clone)]
pub(crate) struct Again {
    program: PathBuf,
    arguments: Vec<String>,
    /// Where the children's logs go: they log as they would in production, and nobody reads it.
    log: PathBuf,
}

impl Again {
    pub(crate) fn this_program(arguments: &[&str], log: PathBuf) -> Result<Self, BenchError> {
        let program = std::env::current_exe()
            .map_err(|source| BenchError::Spawn { program: PathBuf::new(), source })?;
        let arguments = arguments.iter().map(|&word| word.to_owned()).collect();
        Ok(Self { program, arguments, log })
    }

    fn log(&self) -> Result<std::fs::File, BenchError> {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&self.log);
        file.map_err(|source| BenchError::Place { source })
    }

    /// What the children said last.
    fn tail(&self) -> String {
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().rev().take(LINES_SHOWN).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Starts a role and waits until it is ready.
    pub(crate) async fn start(&self, order: &Order) -> Result<RoleChild, BenchError> {
        let fail = |source| BenchError::Spawn { program: self.program.clone(), source };
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .arg("--role")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(self.log()?)
            .kill_on_drop(true)
            .spawn()
            .map_err(fail)?;
        let what = order.name();
        let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(BenchError::NotReady { what });
        };
        let mut line =
            serde_json::to_string(order).map_err(|source| BenchError::Order { source })?;
        line.push('\n');
        input.write_all(line.as_bytes()).await.map_err(fail)?;
        let mut ready = String::new();
        BufReader::new(output).read_line(&mut ready).await.map_err(fail)?;
        match (ready.trim().strip_prefix("ready"), child.id()) {
            (Some(address), Some(pid)) => {
                Ok(RoleChild { child, input, pid, address: address.trim().to_owned() })
            }
            _ => Err(BenchError::Role { what, reason: self.tail() }),
        }
    }
}

/// A running role; dropping it kills the process.
#[derive(Debug)]
pub(crate) struct RoleChild {
    child: Child,
    input: ChildStdin,
    pub(crate) pid: u32,
    /// Where it listens, if clients connect to it.
    pub(crate) address: String,
}

impl RoleChild {
    /// Ends the role in good order.
    pub(crate) async fn stop(self) {
        let Self { mut child, input, .. } = self;
        drop(input);
        // How it ended was written to stderr.
        drop(child.wait().await);
    }
}
