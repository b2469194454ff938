//! Input of a command: from the command line, a file or stdin, within the limit.
//!
//! The limit is checked before all of it is read, so that a huge file costs nothing.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use protocol::limits::OBJECT_BYTES_MAX;

use crate::failure::{Exit, Failure};

/// Stands for stdin.
const STDIN: &str = "-";

/// An input and what it is.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct InputArgs {
    /// The input itself, or - for stdin; without it and --file, stdin if that is no terminal
    #[arg(value_name = "INPUT|-")]
    pub(crate) input: Option<String>,
    /// Take the input from this file
    #[arg(long, short, value_name = "PATH", conflicts_with = "input")]
    pub(crate) file: Option<PathBuf>,
    /// What the input is, such as application/json, text/markdown, application/a2a+json, image/png
    ///
    /// Without it a JSON object or array is data, other UTF-8 is text, and the rest is bytes.
    #[arg(long, value_name = "TYPE")]
    pub(crate) content_type: Option<String>,
}

/// Why there is no input.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    /// Nothing was given and nothing is piped in.
    #[error("there is no input")]
    Nothing,
    /// A file or stdin cannot be read.
    #[error("cannot read {from}")]
    Unreadable {
        from: String,
        #[source]
        source: io::Error,
    },
    /// It is over the limit.
    #[error(
        "the input from {from} is larger than {OBJECT_BYTES_MAX} bytes, the most that a part may have"
    )]
    TooLarge { from: String },
}

impl From<InputError> for Failure {
    fn from(error: InputError) -> Self {
        let failure = Self::new(Exit::Usage, &error);
        match error {
            InputError::Nothing => failure
                .todo("give it as INPUT, with --file PATH, or as - and through a pipe; \"\" is an empty input"),
            InputError::TooLarge { .. } => failure
                .todo("put it where agents can fetch it, and send its address"),
            InputError::Unreadable { .. } => failure,
        }
    }
}

impl InputArgs {
    /// Reads the input.
    pub(crate) fn read(&self) -> Result<Bytes, InputError> {
        match (self.input.as_deref(), &self.file) {
            (Some(STDIN), _) => from_stdin(),
            (Some(text), _) => Ok(Bytes::from(text.to_owned())),
            (None, Some(path)) => from_file(path),
            (None, None) if io::stdin().is_terminal() => Err(InputError::Nothing),
            (None, None) => from_stdin(),
        }
    }
}

fn from_stdin() -> Result<Bytes, InputError> {
    limited(io::stdin().lock(), "stdin", OBJECT_BYTES_MAX)
}

/// Reads a file, or stdin for `-`.
pub(crate) fn from_file(path: &Path) -> Result<Bytes, InputError> {
    if path == Path::new(STDIN) {
        return from_stdin();
    }
    let from = path.display().to_string();
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    match opened {
        Ok((facts, _)) if facts.is_file() && over(facts.len(), OBJECT_BYTES_MAX) => {
            Err(InputError::TooLarge { from })
        }
        Ok((_, file)) => limited(file, &from, OBJECT_BYTES_MAX),
        Err(source) => Err(InputError::Unreadable { from, source }),
    }
}

fn over(bytes: u64, max: usize) -> bool {
    usize::try_from(bytes).map_or(true, |bytes| bytes > max)
}

fn limited(reader: impl Read, from: &str, max: usize) -> Result<Bytes, InputError> {
    let mut bytes = Vec::new();
    let one_more = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    reader
        .take(one_more)
        .read_to_end(&mut bytes)
        .map_err(|source| InputError::Unreadable { from: from.to_owned(), source })?;
    if bytes.len() > max {
        return Err(InputError::TooLarge { from: from.to_owned() });
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_stops_at_the_limit() {
        assert_eq!(limited(&b"abc"[..], "x", 3).unwrap(), "abc");
        assert!(matches!(limited(&b"abcd"[..], "x", 3), Err(InputError::TooLarge { .. })));
        let endless = limited(io::repeat(0), "x", 1024);
        assert!(matches!(endless, Err(InputError::TooLarge { .. })));
    }

    #[test]
    fn a_large_file_is_refused_unread() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large");
        File::create(&path).unwrap().set_len(OBJECT_BYTES_MAX as u64 + 1).unwrap();
        assert!(matches!(from_file(&path), Err(InputError::TooLarge { .. })));
        assert!(matches!(from_file(dir.path()), Err(InputError::Unreadable { .. })));
    }
}
