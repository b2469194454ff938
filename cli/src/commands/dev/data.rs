//! Where the server of `weft dev` keeps its data.

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

const TAIL_LINES: usize = 8;
const TAIL_BYTES: u64 = 16 * 1024;

/// The directory cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a data directory in {}", path.display())]
pub(super) struct DataError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// A data directory.
pub(super) enum Data {
    /// The user's.
    Kept(PathBuf),
    /// Removed when this is dropped, after the server has ended.
    Temporary(TempDir),
}

impl Data {
    /// The directory that the user named, or a temporary one.
    pub(super) fn open(kept: Option<&Path>) -> Result<Self, DataError> {
        match kept {
            Some(path) => {
                let fail = |source| DataError { path: path.to_owned(), source };
                std::fs::create_dir_all(path).map_err(fail)?;
                path.canonicalize().map(Self::Kept).map_err(fail)
            }
            None => tempfile::Builder::new()
                .prefix("weft-dev-")
                .tempdir()
                .map(Self::Temporary)
                .map_err(|source| DataError { path: std::env::temp_dir(), source }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(dir) => dir.path(),
        }
    }

    pub(super) fn is_temporary(&self) -> bool {
        matches!(self, Self::Temporary(_))
    }

    /// The last lines of the server's log.
    pub(super) fn log_tail(&self) -> String {
        let read = || {
            let mut file = std::fs::File::open(self.path().join("nats-server.log"))?;
            let end = file.metadata()?.len();
            file.seek(SeekFrom::Start(end.saturating_sub(TAIL_BYTES)))?;
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
