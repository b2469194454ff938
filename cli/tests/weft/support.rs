//! Runs the real `weft` in tests, apart from whatever the user has in the environment.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tokio::time::Instant;

/// Longer than anything here takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// `weft` with these arguments and an environment of its own; NATS contexts are looked for in `config_home`.
pub(crate) fn weft(config_home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    for (name, _) in std::env::vars_os() {
        let foreign = name.to_str().is_some_and(|name| {
            let ours = ["NATS_", "OTEL_"].iter().any(|prefix| name.starts_with(prefix));
            ours || matches!(name, "RUST_LOG" | "NO_COLOR")
                || name.starts_with("WEFT_") && name != "WEFT_NATS_SERVER"
        });
        if foreign {
            command.env_remove(name);
        }
    }
    // Data of a mesh that is killed goes with the test's own directory.
    command.env("XDG_CONFIG_HOME", config_home).env("TMPDIR", config_home).stdin(Stdio::null());
    command
}

/// Asks again until the answer is there.
pub(crate) fn wait_until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < LIMIT, "waited {LIMIT:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process exists.
pub(crate) fn exists(pid: u64) -> bool {
    test_kill_process(raw(pid)).is_ok()
}

/// Sends a signal.
pub(crate) fn signal(pid: u64, signal: Signal) {
    kill_process(raw(pid), signal).unwrap();
}

fn raw(pid: u64) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The JSON it printed; panics when it failed.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A process that says in a file when it is ready. Killed when dropped.
pub(crate) struct Running {
    child: Child,
    pub(crate) ready: Value,
}

impl Running {
    /// Starts it with `--ready-file` and waits.
    pub(crate) fn start(mut command: Command, dir: &Path, name: &str) -> Self {
        let file = dir.join(format!("{name}.ready.json"));
        let log = std::fs::File::create(dir.join(format!("{name}.err"))).unwrap();
        let out = std::fs::File::create(dir.join(format!("{name}.out"))).unwrap();
        command.arg("--ready-file").arg(&file).stdout(out).stderr(log);
        let mut child = command.spawn().unwrap();
        let ready = wait_until("the ready file", || {
            if let Some(status) = child.try_wait().unwrap() {
                let said = std::fs::read_to_string(dir.join(format!("{name}.err")));
                panic!("{name} ended with {status}: {said:?}");
            }
            // Written in one step, so that half of it is never seen.
            let text = std::fs::read_to_string(&file).ok()?;
            Some(serde_json::from_str(&text).unwrap())
        });
        Self { child, ready }
    }

    pub(crate) fn pid(&self) -> u64 {
        self.child.id().into()
    }

    pub(crate) fn signal(&self, which: Signal) {
        signal(self.pid(), which);
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        wait_until("the end of a process", || self.child.try_wait().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A running `weft dev` with the skills `echo` and `probe`.
pub(crate) struct Dev {
    pub(crate) process: Running,
    pub(crate) dir: PathBuf,
    _dir: tempfile::TempDir,
}

impl Dev {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("weft.toml");
        std::fs::write(&config, "[[agents]]\nskill = \"probe\"\nkind = \"probe\"\n").unwrap();
        let mut command = weft(dir.path());
        command.args(["dev", "--nats-port", "0", "--config"]).arg(config).args(arguments);
        let process = Running::start(command, dir.path(), "dev");
        Self { process, dir: dir.path().to_owned(), _dir: dir }
    }

    /// What the ready file says about `key`.
    pub(crate) fn fact(&self, key: &str) -> String {
        let value = &self.process.ready[key];
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    }

    pub(crate) fn nats_pid(&self) -> u64 {
        self.process.ready["natsServerPid"].as_u64().unwrap()
    }

    /// What it wrote to stdout or stderr.
    pub(crate) fn wrote(&self, which: &str) -> String {
        std::fs::read_to_string(self.dir.join(format!("dev.{which}"))).unwrap()
    }

    /// A command that talks to this mesh.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = weft(&self.dir);
        command.args(arguments).env("NATS_URL", self.fact("nats"));
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        Said::from(self.command(arguments).output().unwrap())
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // A command that refuses its input closes the pipe before all of it is written.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }
}

/// Status line of a GET.
pub(crate) fn http_status(url: &str) -> String {
    let rest = url.strip_prefix("http://").unwrap();
    let (address, path) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /{path} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}
