//! Turns settings into files and a process, up to the moment when the server listens.
//!
//! Everything about a server lives in its data directory: streams (`jetstream/`), config, log, ports
//! file. The server itself holds the lock on that directory, as its standard input, so that the
//! lock ends exactly when the process does and never while a dying server still writes.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

use super::{
    child::{POLL, StartError},
    config::{self, Launch, ServerSettings},
    guard::Guard,
    port::{self, Bound},
};

/// A server whose parent has just died is killed within milliseconds.
const LOCK_LIMIT: Duration = Duration::from_secs(3);

const TAIL_LINES: usize = 8;
const TAIL_BYTES_MAX: u64 = 64 * 1024;

/// How long `Drop` waits for a killed process, in milliseconds.
const DROP_WAIT_MS: u32 = 500;

/// A server's process with what belongs to it.
#[derive(Debug)]
pub(super) struct Running {
    guard: Option<Guard>,
    child: Child,
    log: PathBuf,
    log_offset: u64,
}

/// Starts the server and waits until it listens.
pub(super) async fn spawn(
    binary: &Path,
    settings: &ServerSettings,
    ports: Bound,
) -> Result<(Running, Bound), StartError> {
    let data_dir = &settings.data_dir;
    let ports_dir = data_dir.join("ports");
    let launch = Launch {
        store_dir: utf8(data_dir)?,
        ports_dir: utf8(&ports_dir)?,
        client_port: ports.client,
        monitor_port: ports.monitor,
    };
    std::fs::create_dir_all(&ports_dir).map_err(data_dir_error(&ports_dir))?;
    let lock = lock(data_dir).await?;
    remove_files(&ports_dir).map_err(data_dir_error(&ports_dir))?;
    let config = data_dir.join("nats-server.conf");
    write_private(&config, &config::text(settings, &launch)).map_err(data_dir_error(&config))?;

    let mut running = Running::start(binary, &config, lock, data_dir.join("nats-server.log"))?;
    let limit = settings.start_limit;
    let listening = async {
        loop {
            if let Some(pid) = running.pid()
                && let Some(bound) = port::read(&ports_dir, pid).await
            {
                return Ok(bound);
            }
            running.still_starting()?;
            sleep(POLL).await;
        }
    };
    let result = timeout(limit, listening).await;
    let failure = match result {
        Ok(Ok(bound)) => return Ok((running, bound)),
        Ok(Err(error)) => error,
        Err(_elapsed) => running.slow(limit),
    };
    running.kill().await;
    Err(failure)
}

impl Running {
    fn start(binary: &Path, config: &Path, lock: File, log: PathBuf) -> Result<Self, StartError> {
        let opened = File::options().create(true).append(true).open(&log).and_then(|file| {
            let offset = file.metadata()?.len();
            Ok((offset, file.try_clone()?, file))
        });
        let (log_offset, stdout, stderr) = opened.map_err(data_dir_error(&log))?;
        let spawn_error = |path: &Path| {
            let path = path.to_owned();
            move |error| StartError::Spawn { path, error }
        };
        let mut guard = Guard::start().map_err(spawn_error(Path::new("/bin/sh")))?;
        let mut command = Command::new(binary);
        command.arg("--config").arg(config).process_group(0).kill_on_drop(true);
        command.stdin(lock).stdout(stdout).stderr(stderr);
        let child = command.spawn().map_err(spawn_error(binary))?;
        let watched = child.id().map_or(Ok(()), |pid| guard.watch(pid));
        let running = Self { guard: Some(guard), child, log, log_offset };
        watched.map_err(spawn_error(Path::new("/bin/sh")))?;
        Ok(running)
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// An error once the process has ended.
    pub(super) fn still_starting(&mut self) -> Result<(), StartError> {
        let Ok(Some(status)) = self.child.try_wait() else { return Ok(()) };
        Err(StartError::Exited { status, log: self.log.clone(), tail: self.tail() })
    }

    /// The error of a server that runs but is not ready.
    pub(super) fn slow(&self, limit: Duration) -> StartError {
        StartError::Slow { limit, log: self.log.clone(), tail: self.tail() }
    }

    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    pub(super) async fn kill(&mut self) {
        // First, while the process id is ours: see `Guard`.
        self.guard = None;
        // The only error is that it has already ended.
        drop(self.child.kill().await);
    }

    /// The last lines that the server wrote since this start.
    fn tail(&self) -> String {
        let read = || {
            let mut file = File::open(&self.log)?;
            let end = file.metadata()?.len();
            file.seek(SeekFrom::Start(self.log_offset.max(end.saturating_sub(TAIL_BYTES_MAX))))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok::<_, io::Error>(bytes)
        };
        let bytes = read().unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.guard = None;
        if self.child.start_kill().is_err() {
            return;
        }
        for _ in 0..DROP_WAIT_MS {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Takes the directory's lock; the file must be kept open as long as it is used.
async fn lock(data_dir: &Path) -> Result<File, StartError> {
    let path = data_dir.join("nats-server.lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(data_dir_error(&path))?;
    let take = async {
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => sleep(POLL).await,
                Err(TryLockError::Error(error)) => return Err(data_dir_error(&path)(error)),
            }
        }
    };
    match timeout(LOCK_LIMIT, take).await {
        Ok(taken) => taken.map(|()| file),
        Err(_elapsed) => Err(StartError::InUse(data_dir.to_owned())),
    }
}

/// The config holds passwords.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(true).mode(0o600);
    options.open(path)?.write_all(text.as_bytes())
}

/// A ports file of a killed server could carry the process id of the next one.
fn remove_files(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        std::fs::remove_file(entry?.path())?;
    }
    Ok(())
}

fn utf8(path: &Path) -> Result<&str, StartError> {
    path.to_str().ok_or_else(|| StartError::NotUtf8(path.to_owned()))
}

fn data_dir_error(path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let path = path.to_owned();
    move |error| StartError::DataDir { path, error }
}
