//! Decides which nats-server binary is used.
//!
//! The order is: the one the user named, `nats-server` on `PATH`, the copy in the user's cache, a
//! download into that cache. A binary that the user named and that does not fit is an error; one
//! that merely lies around is passed over, and the answer says so.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{
    download::{self, DownloadError},
    version::{self, MINIMUM, PINNED, Unusable, Version},
};

/// Names the binary to use; wins over everything except a flag.
const EXPLICIT_VARIABLE: &str = "WEFT_NATS_SERVER";

/// Where to look. All of it is given, so that two callers with different settings can run side by
/// side and a test can show an empty machine.
#[derive(Debug, Clone, Default)]
pub struct FindOptions {
    /// The binary the user named (a flag, or else `WEFT_NATS_SERVER`). No other is then considered.
    pub explicit: Option<PathBuf>,
    /// Directories to search for `nats-server` and `python3`, in the form of `PATH`.
    pub search_path: Option<OsString>,
    /// The user's cache directory, such as `~/.cache`. Without it nothing is downloaded.
    pub cache_dir: Option<PathBuf>,
}

impl FindOptions {
    /// What the environment says: `WEFT_NATS_SERVER`, `PATH`, `XDG_CACHE_HOME` or else `HOME`.
    #[must_use]
    pub fn from_environment() -> Self {
        let absolute = |path: &PathBuf| path.is_absolute();
        Self {
            explicit: variable(EXPLICIT_VARIABLE).map(PathBuf::from),
            search_path: variable("PATH").map(OsString::from),
            // A relative XDG path is invalid and ignored, says the XDG base directory spec.
            cache_dir: variable("XDG_CACHE_HOME").map(PathBuf::from).filter(absolute).or_else(
                || variable("HOME").map(PathBuf::from).filter(absolute).map(|h| h.join(".cache")),
            ),
        }
    }

    /// The same, with the binary that a flag named, if it named one.
    #[must_use]
    pub fn with_explicit(mut self, flag: Option<PathBuf>) -> Self {
        self.explicit = flag.or(self.explicit);
        self
    }

    /// Every executable file of this name on the search path, in its order.
    pub(super) fn executables<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Iterator<Item = PathBuf> + use<'a> {
        let path = self.search_path.as_deref().unwrap_or(OsStr::new(""));
        std::env::split_paths(path)
            .filter(|directory| directory.is_absolute())
            .map(move |directory| directory.join(name))
            .filter(|file| is_executable(file))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the finder also serves the test harness, which has no settings of its own to read"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Where a binary came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A flag or `WEFT_NATS_SERVER`.
    Explicit,
    /// A directory of `PATH`.
    SearchPath,
    /// The user's cache, where an earlier run put it.
    Cache,
    /// Downloaded just now; the next run finds it in the cache.
    Download,
}

/// A binary that was looked at and passed over.
#[derive(Debug)]
pub struct Skipped {
    /// The binary.
    pub path: PathBuf,
    /// Why it cannot be used.
    pub reason: Unusable,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}

/// A binary that can be used.
#[derive(Debug)]
pub struct Found {
    /// The binary.
    pub path: PathBuf,
    /// What it says it is; at least [`MINIMUM`].
    pub version: Version,
    /// How it was found.
    pub place: Place,
    /// What was passed over on the way: worth a note to the user.
    pub skipped: Vec<Skipped>,
}

/// Why there is no nats-server to run. The text says what was tried and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// The user named a binary that does not fit.
    #[error(
        "{}, named by a flag or {EXPLICIT_VARIABLE}, cannot be used as nats-server: {reason}",
        path.display()
    )]
    Explicit {
        /// What the user named.
        path: PathBuf,
        /// What is wrong with it.
        reason: Unusable,
    },
    /// Neither the machine nor the download gave one.
    #[error(
        "no usable nats-server: {}; downloading {PINNED} failed: {reason}; install nats-server \
         {MINIMUM} or newer, or set {EXPLICIT_VARIABLE} to the path of one",
        Looked(skipped)
    )]
    Nowhere {
        /// Binaries that were there and did not fit.
        skipped: Vec<Skipped>,
        /// Why the download did not help.
        reason: DownloadError,
    },
}

struct Looked<'a>(&'a [Skipped]);

impl fmt::Display for Looked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, others)) = self.0.split_first() else {
            return f.write_str("none on PATH and none in the cache");
        };
        write!(f, "{first}")?;
        others.iter().try_for_each(|other| write!(f, "; {other}"))
    }
}

/// Finds a nats-server, downloading one if need be. When one is at hand this costs one `--version`.
///
/// # Errors
/// The binary the user named does not fit, or there is none and it cannot be downloaded.
pub async fn find(options: &FindOptions) -> Result<Found, FindError> {
    if let Some(path) = options.explicit.clone() {
        return match version::check(&path).await {
            Ok(version) => Ok(Found { path, version, place: Place::Explicit, skipped: Vec::new() }),
            Err(reason) => Err(FindError::Explicit { path, reason }),
        };
    }
    let cached = options.cache_dir.as_deref().map(download::cached).filter(|p| is_executable(p));
    let installed = options.executables("nats-server").map(|path| (Place::SearchPath, path));
    let candidates = installed.chain(cached.map(|path| (Place::Cache, path)));
    let mut skipped = Vec::new();
    for (place, path) in candidates {
        match version::check(&path).await {
            Ok(version) => return Ok(Found { path, version, place, skipped }),
            Err(reason) => skipped.push(Skipped { path, reason }),
        }
    }
    match download::download(options).await {
        Ok((path, version)) => Ok(Found { path, version, place: Place::Download, skipped }),
        Err(reason) => Err(FindError::Nowhere { skipped, reason }),
    }
}
