//! A Python with pinned packages, for clients that know nothing of Weft.
//!
//! The virtual environment is made once under the target directory and kept. Tests that start together make it
//! once: the first one takes a file lock, and a half-made one has no mark that it is complete.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

/// What is installed, exactly.
const PACKAGES: [&str; 2] = ["nats-py==2.16.0", "msgpack==1.2.4"];
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
        let name = PACKAGES.join("_").replace("==", "-");
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
            succeed(Command::new(&interpreter).args(pip).args(PACKAGES), INSTALL_LIMIT).await;
            std::fs::write(&complete, "").unwrap();
        }
        Self { interpreter }
    }

    /// Runs a function of a script in `tests/python` and returns what it printed, one JSON value.
    ///
    /// # Panics
    /// When it fails or takes too long.
    pub async fn run(&self, script: &str, arguments: &[&str]) -> Value {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(script);
        let mut command = Command::new(&self.interpreter);
        let printed = succeed(command.arg(path).args(arguments), SCRIPT_LIMIT).await;
        serde_json::from_slice(&printed).unwrap()
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
