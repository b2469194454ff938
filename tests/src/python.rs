//! A Python with pinned packages, for clients that know nothing of Weft.
//!
//! The virtual environment is made once under the target directory and kept. Tests that start together make it
//! once: the first one takes a file lock, and a half-made one has no mark that it is complete.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// What strangers on the bus have, exactly.
const PACKAGES: &[&str] = &["nats-py==2.16.0", "msgpack==1.2.4"];
/// What strangers in front of a gateway have, exactly: the reference SDK of A2A.
pub const A2A_SDK: &[&str] = &["a2a-sdk[grpc]==1.3.0", "grpcio==1.85.1", "protobuf==7.36.2"];
/// How long making the environment may take.
const INSTALL_LIMIT: Duration = Duration::from_secs(300);
/// How long one script may run.
const SCRIPT_LIMIT: Duration = Duration::from_secs(30);

/// A Python interpreter that has the packages.
#[derive(Debug, Clone)]
pub struct Python {
    interpreter: PathBuf,
}

impl Python {
    /// Makes the environment in `target` (`env!("CARGO_TARGET_TMPDIR")`) unless it is there.
    ///
    /// # Panics
    /// When there is no `python3` with `venv`, or the packages cannot be installed.
    pub async fn ready(target: &str) -> Self {
        Self::with(target, PACKAGES).await
    }

    /// As [`Python::ready`], with other packages.
    ///
    /// # Panics
    /// As [`Python::ready`].
    pub async fn with(target: &str, packages: &[&str]) -> Self {
        let name = packages.join("_").replace("==", "-").replace(['[', ']'], "-");
        let home = Path::new(target).join(format!("python-{name}"));
        let complete = home.join("complete");
        let interpreter = home.join("bin/python");
        std::fs::create_dir_all(target).unwrap();
        let lock = std::fs::File::create(Path::new(target).join(format!("python-{name}.lock")));
        let lock = lock.unwrap();
        let locked = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await.unwrap();
        let _held = locked.unwrap();
        if !complete.exists() {
            let venv = ["-m", "venv", "--clear"];
            succeed(Command::new("python3").args(venv).arg(&home), INSTALL_LIMIT).await;
            let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
            succeed(Command::new(&interpreter).args(pip).args(packages), INSTALL_LIMIT).await;
            std::fs::write(&complete, "").unwrap();
        }
        Self { interpreter }
    }

    /// Runs a function of a script in `tests/python` and returns what it printed, one JSON value.
    ///
    /// # Panics
    /// When it fails or takes too long.
    pub async fn run(&self, script: &str, arguments: &[&str]) -> Value {
        let printed = succeed(&mut self.command(script, arguments), SCRIPT_LIMIT).await;
        serde_json::from_slice(&printed).unwrap()
    }

    /// Starts a script that prints one JSON value a line, and is broken something under meanwhile.
    #[must_use]
    pub fn start(&self, script: &str, arguments: &[&str]) -> Script {
        let mut command = self.command(script, arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Script { child, lines }
    }

    fn command(&self, script: &str, arguments: &[&str]) -> Command {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(script);
        let mut command = Command::new(&self.interpreter);
        command.arg(path).args(arguments);
        command
    }
}

/// A script under way.
#[derive(Debug)]
pub struct Script {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Script {
    /// The next value that it prints.
    ///
    /// # Panics
    /// When it ends or takes too long; the message holds what it says.
    pub async fn next(&mut self) -> Value {
        let line = tokio::time::timeout(SCRIPT_LIMIT, self.lines.next_line()).await;
        if let Ok(Ok(Some(line))) = line {
            return serde_json::from_str(&line).unwrap();
        }
        self.child.start_kill().ok();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
        panic!("the script says no more: {line:?}\n{said}");
    }
}

async fn succeed(command: &mut Command, limit: Duration) -> Vec<u8> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(limit, command.output()).await;
    let output =
        ended.unwrap_or_else(|_| panic!("{command:?} takes longer than {limit:?}")).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}:\n{said}", output.status);
    output.stdout
}
