//! `inspect`: looks at one file.
//!
//! The rules speak of bytes, so that a file has one answer whatever its encoding, and in every language the
//! same: lines are line feeds, plus one if something follows the last; words are runs of bytes other than
//! space, tab, LF, VT, FF and CR; a TODO is that word in capitals with no ASCII letter, digit or underscore
//! beside it.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_node::agent::{About, Agent, AnyAgent, Stop, Typed};
use agent_node::agents::{AgentKind, BuildError, Surroundings};
use agent_node::context::Context;
use protocol::fault::{Failure, Fault};
use runtime::config::AgentSection;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::fold::FileFacts;
use super::path::unescape;
use super::{language, no_options};

/// The kind.
pub(super) const KIND: AgentKind =
    AgentKind { name: "inspect", about: "looks at one file, for weft demo", build };

/// What facts from this implementation say about who found them.
pub(crate) const BY_RUST: &str = "rust";

fn build(section: &AgentSection, _around: &Surroundings) -> Result<Arc<dyn AnyAgent>, BuildError> {
    no_options(section)?;
    Ok(Arc::new(Typed(Inspect)))
}

/// A file to look at. Paths are escaped.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InspectInput {
    /// The folder.
    pub(crate) root: String,
    /// The file in it.
    pub(crate) path: String,
    /// How long to rest first, in milliseconds, so that there is something to watch.
    #[serde(default)]
    pub(crate) rest_ms: u64,
}

struct Inspect;

impl Agent for Inspect {
    type Input = InspectInput;
    type Output = FileFacts;

    fn about(&self) -> About {
        About {
            kind: KIND.name.to_owned(),
            name: "Inspect".to_owned(),
            description: "Counts lines, words and TODOs of a file.".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            tags: vec!["demo".to_owned()],
            ..About::default()
        }
    }

    async fn run(&self, context: &Context, input: InspectInput) -> Result<FileFacts, Stop> {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(input.rest_ms)) => {}
            () = context.canceled() => return Err(Stop::Canceled),
        }
        let path = unescape(&input.path);
        let content =
            tokio::fs::read(unescape(&input.root).join(&path)).await.map_err(|error| {
                Stop::Failed {
                    failure: Failure::Permanent,
                    fault: Fault::new("unreadable_file", format!("{}: {error}", input.path)),
                }
            })?;
        Ok(facts(&path, &content))
    }
}

/// What there is to say about a file.
pub(crate) fn facts(path: &Path, content: &[u8]) -> FileFacts {
    let name = path.file_name().unwrap_or_default().as_bytes();
    FileFacts {
        path: super::escape(path),
        language: language::of(name).to_owned(),
        bytes: count(content.len()),
        lines: lines(content),
        words: count(content.split(|byte| is_blank(*byte)).filter(|run| !run.is_empty()).count()),
        todos: count(content.split(|byte| !is_word(*byte)).filter(|word| word == b"TODO").count()),
        sha256: Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect(),
        by: BY_RUST.to_owned(),
    }
}

fn lines(content: &[u8]) -> u64 {
    let ends = content.iter().filter(|byte| **byte == b'\n').count();
    count(ends) + u64::from(content.last().is_some_and(|last| *last != b'\n'))
}

/// As Python's `bytes.split()` has it; `is_ascii_whitespace` leaves VT out.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | 0x09..=0x0d)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "inspect_tests.rs"]
mod tests;
