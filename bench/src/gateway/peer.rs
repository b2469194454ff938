//! The reference server that the gateway is compared with: a2a-sdk for Python, everything in memory.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::BenchError;

/// What is installed, exactly.
const PACKAGES: [&str; 2] = ["a2a-sdk[http-server]==1.3.0", "uvicorn==0.54.0"];
const SCRIPT: &str = include_str!("../../python/a2a_peer.py");

/// A running server; dropping it kills the process.
pub(super) struct Peer {
    _child: Child,
    /// Where it listens.
    pub(super) address: String,
}

async fn succeed(command: &mut Command) -> Result<(), BenchError> {
    let told = format!("{command:?}");
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(BenchError::Role { what: "a2a-sdk server", reason: format!("{told}: {said}") })
}

impl Peer {
    /// Installs it under `place` and starts it.
    pub(super) async fn start(place: &Path) -> Result<Self, BenchError> {
        let home = place.join("python");
        succeed(Command::new("python3").args(["-m", "venv"]).arg(&home)).await?;
        let python = home.join("bin/python");
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        succeed(Command::new(&python).args(pip).args(PACKAGES)).await?;
        let mut child = Command::new(&python)
            .args(["-c", SCRIPT])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().ok_or(BenchError::NotReady { what: "a2a-sdk server" })?;
        let mut port = String::new();
        BufReader::new(output).read_line(&mut port).await?;
        Ok(Self { _child: child, address: format!("127.0.0.1:{}", port.trim()) })
    }
}
