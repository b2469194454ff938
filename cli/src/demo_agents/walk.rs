//! Lists the files of a folder that are worth inspecting.
//!
//! Everything is looked at in the order of its name, so that the same folder is always the same list. Links are
//! not followed and nothing but plain files is opened: a pipe would never end. What is left out is counted.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use walkdir::{DirEntry, WalkDir};

/// Directories that are not entered: what tools keep and make.
pub(crate) const NOT_ENTERED: &[&str] = &[".git", "target", "node_modules"];
/// A file with a zero byte this near to its beginning is binary, as git has it.
const BINARY_WITHIN: u64 = 8000;

/// What a demo calls its report unless told otherwise.
pub(crate) const REPORT_NAME: &str = "report.json";
/// How such a report begins.
const REPORT_BEGINS: &[u8] = b"{\n  \"check\": {\n    \"changedMeanwhile\":";

/// What to leave out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// More files than this are refused.
    pub(crate) files_max: usize,
    /// Larger files are left out.
    pub(crate) bytes_max: u64,
    /// A file to leave out: where the demo writes its report.
    pub(crate) except: Option<PathBuf>,
}

/// What was left out, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Skipped {
    /// Files with zero bytes.
    pub(crate) binary: u64,
    /// Files over the limit.
    pub(crate) too_large: u64,
    /// Symbolic links.
    pub(crate) links: u64,
    /// Pipes, sockets, devices.
    pub(crate) special: u64,
    /// Files and directories that this user may not read.
    pub(crate) unreadable: u64,
}

/// The files of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Listing {
    /// Relative to the folder, in order.
    pub(crate) files: Vec<PathBuf>,
    /// What was left out.
    pub(crate) skipped: Skipped,
}

/// Why a folder cannot be listed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WalkError {
    /// It is not there, or may not be read.
    #[error("cannot read folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It holds too much.
    #[error("{} holds more than {files_max} files to inspect", path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
        /// The limit.
        files_max: usize,
    },
}

/// Lists the files of a folder.
pub(crate) fn walk(root: &Path, bounds: &Bounds) -> Result<Listing, WalkError> {
    let folder = |source| WalkError::Folder { path: root.to_owned(), source };
    drop(std::fs::read_dir(root).map_err(folder)?);
    let mut listing = Listing::default();
    let entries = WalkDir::new(root).sort_by_file_name().into_iter().filter_entry(is_entered);
    for entry in entries {
        let Ok(entry) = entry else {
            listing.skipped.unreadable += 1;
            continue;
        };
        let kind = entry.file_type();
        if kind.is_dir() || bounds.except.as_deref() == Some(entry.path()) {
            continue;
        }
        if kind.is_file() && is_report(&entry) {
            continue;
        }
        if kind.is_symlink() {
            listing.skipped.links += 1;
        } else if !kind.is_file() {
            listing.skipped.special += 1;
        } else if let Some(path) = judge(&entry, root, bounds.bytes_max, &mut listing.skipped) {
            if listing.files.len() >= bounds.files_max {
                let (path, files_max) = (root.to_owned(), bounds.files_max);
                return Err(WalkError::TooMany { path, files_max });
            }
            listing.files.push(path);
        }
    }
    Ok(listing)
}

/// Whether it is what an earlier demo on this folder wrote.
fn is_report(entry: &DirEntry) -> bool {
    let begins_so = || {
        let mut beginning = Vec::new();
        let file = std::fs::File::open(entry.path())?;
        file.take(REPORT_BEGINS.len() as u64).read_to_end(&mut beginning)?;
        Ok::<_, io::Error>(beginning == REPORT_BEGINS)
    };
    entry.depth() == 1 && entry.file_name() == REPORT_NAME && begins_so().unwrap_or(false)
}

fn is_entered(entry: &DirEntry) -> bool {
    let left_out = NOT_ENTERED.iter().any(|name| entry.file_name() == *name);
    entry.depth() == 0 || !entry.file_type().is_dir() || !left_out
}

/// A plain file's path in its folder, if it is worth inspecting.
fn judge(entry: &DirEntry, root: &Path, bytes_max: u64, skipped: &mut Skipped) -> Option<PathBuf> {
    let bytes = entry.metadata().ok().map(|metadata| metadata.len());
    if bytes.is_some_and(|bytes| bytes > bytes_max) {
        skipped.too_large += 1;
        return None;
    }
    match is_binary(entry.path()) {
        Err(_) => skipped.unreadable += 1,
        Ok(true) => skipped.binary += 1,
        Ok(false) => return entry.path().strip_prefix(root).ok().map(Path::to_owned),
    }
    None
}

fn is_binary(path: &Path) -> io::Result<bool> {
    let mut beginning = Vec::new();
    std::fs::File::open(path)?.take(BINARY_WITHIN).read_to_end(&mut beginning)?;
    Ok(beginning.contains(&0))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    const BOUNDS: Bounds = Bounds { files_max: 6, bytes_max: 100, except: None };

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for path in ["src", ".git", "target", "node_modules", "deep/target", "deep/er"] {
            std::fs::create_dir_all(at(path)).unwrap();
        }
        for path in ["b.rs", "src/a b.rs", ".git/x", "target/x", "node_modules/x", "deep/target/x"]
        {
            std::fs::write(at(path), "x").unwrap();
        }
        for (path, content) in [
            ("deep/er/empty", vec![]),
            ("binary", b"x\0".to_vec()),
            ("limit", vec![b'x'; 100]),
            ("huge", vec![b'x'; 101]),
        ] {
            std::fs::write(at(path), content).unwrap();
        }
        std::fs::write(dir.path().join(OsStr::from_bytes(b"bad\xff")), "x").unwrap();
        std::os::unix::fs::symlink("b.rs", at("link")).unwrap();
        std::os::unix::fs::symlink(".", at("loop")).unwrap();
        std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        dir
    }

    #[test]
    fn a_folder_is_listed_in_order_without_what_cannot_be_inspected() {
        let dir = folder();
        let listing = walk(dir.path(), &BOUNDS).unwrap();
        let files: Vec<_> = listing.files.iter().map(|path| super::super::escape(path)).collect();
        assert_eq!(files, ["b.rs", "bad\\xff", "deep/er/empty", "limit", "src/a b.rs"]);
        let skipped = Skipped { binary: 1, too_large: 1, links: 2, special: 1, unreadable: 0 };
        assert_eq!(listing.skipped, skipped);
    }

    #[test]
    fn the_report_of_an_earlier_demo_is_left_out_and_no_other_file_of_that_name() {
        for (content, count) in [(REPORT_BEGINS, 0), (b"{\"check\": 1}", 1), (b"", 1)] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(REPORT_NAME), content).unwrap();
            assert_eq!(walk(dir.path(), &BOUNDS).unwrap().files.len(), count);
        }
    }

    #[test]
    fn one_file_can_be_left_out_and_too_many_are_refused() {
        let dir = folder();
        let except = Some(dir.path().join("b.rs"));
        assert_eq!(walk(dir.path(), &Bounds { except, ..BOUNDS }).unwrap().files.len(), 4);
        let error = walk(dir.path(), &Bounds { files_max: 4, ..BOUNDS }).unwrap_err();
        assert!(error.to_string().contains("more than 4 files"), "{error}");
    }

    #[test]
    fn a_folder_by_a_name_that_is_not_entered_is_entered_when_it_is_asked_for() {
        let dir = folder();
        assert_eq!(walk(&dir.path().join("target"), &BOUNDS).unwrap().files.len(), 1);
        for missing in ["no", "b.rs"] {
            let error = walk(&dir.path().join(missing), &BOUNDS).unwrap_err();
            assert!(matches!(error, WalkError::Folder { .. }), "{error}");
        }
    }
}
