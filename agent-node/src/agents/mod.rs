//! THE LIST of agent kinds: what `kind = "..."` in `weft.toml` may say.
//!
//! Adding a kind is one file and one line here. A kind builds an agent from the options that only it
//! understands; everything else about an agent is the same for all kinds.

pub mod echo;
pub mod probe;
pub mod process;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use runtime::config::AgentSection;
use runtime::supervisor::Supervisor;

use crate::agent::AnyAgent;

/// What a kind may use to build an agent.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Where relative paths in the options start.
    pub base: PathBuf,
    /// The node's environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Sees to what outlives an attempt.
    pub supervisor: Supervisor,
}

/// How a kind builds an agent.
pub type Build = fn(&AgentSection, &Surroundings) -> Result<Arc<dyn AnyAgent>, BuildError>;

/// A kind of agent.
pub struct AgentKind {
    /// What `weft.toml` calls it.
    pub name: &'static str,
    /// What it is, for people.
    pub about: &'static str,
    /// Builds an agent.
    pub build: Build,
}

/// The kinds.
pub const KINDS: &[AgentKind] = &[echo::KIND, probe::KIND, process::KIND];

/// Why an agent cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is no such kind.
    #[error("agent for skill {skill}: there is no kind {kind:?}; there are {}", names())]
    UnknownKind {
        /// The skill.
        skill: String,
        /// The kind asked for.
        kind: String,
    },
    /// The options do not fit the kind.
    #[error("agent for skill {skill}: options do not fit kind {kind:?}: {reason}")]
    Options {
        /// The skill.
        skill: String,
        /// The kind.
        kind: String,
        /// What is wrong.
        reason: String,
    },
}

impl BuildError {
    /// The options of an agent do not fit its kind.
    pub fn options(section: &AgentSection, reason: impl std::fmt::Display) -> Self {
        Self::Options {
            skill: section.skill.to_string(),
            kind: section.kind.clone(),
            reason: reason.to_string(),
        }
    }
}

fn names() -> String {
    KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ")
}

/// Builds the agent of a section, from the list and from further kinds that an embedding program brings.
///
/// # Errors
/// See [`BuildError`].
pub fn build(
    section: &AgentSection,
    surroundings: &Surroundings,
    further: &[AgentKind],
) -> Result<Arc<dyn AnyAgent>, BuildError> {
    let found = KINDS.iter().chain(further).find(|kind| kind.name == section.kind);
    match found {
        Some(kind) => (kind.build)(section, surroundings),
        None => Err(BuildError::UnknownKind {
            skill: section.skill.to_string(),
            kind: section.kind.clone(),
        }),
    }
}

/// Refuses options where a kind has none.
fn no_options(section: &AgentSection) -> Result<(), BuildError> {
    match section.options.as_object() {
        Some(options) if !options.is_empty() => {
            Err(BuildError::options(section, "this kind has no options"))
        }
        Some(_) | None => Ok(()),
    }
}
