//! The kinds of agents that `weft demo` adds to a node: `survey` splits a folder, `inspect` looks at one file,
//! `report` folds what was found.
//!
//! What they compute can be checked: [`walk`], [`inspect::facts`] and [`fold::fold`] are plain functions, and
//! the demo runs them once more, one file after the other, to compare. `examples/agents/inspect_file.py` serves
//! `inspect` by the same rules.

pub(crate) mod fold;
pub(crate) mod inspect;
mod language;
mod path;
mod report;
mod survey;
pub(crate) mod walk;

use agent_node::agents::{AgentKind, BuildError};
use runtime::config::AgentSection;

pub(crate) use fold::{FileFacts, Report, Row, Trouble};
pub(crate) use path::escape;
pub(crate) use survey::{SurveyInput, SurveyOutput};

/// The kinds.
pub(crate) const KINDS: &[AgentKind] = &[survey::KIND, inspect::KIND, report::KIND];

fn no_options(section: &AgentSection) -> Result<(), BuildError> {
    match section.options.as_object() {
        Some(options) if !options.is_empty() => {
            Err(BuildError::options(section, "this kind has no options"))
        }
        Some(_) | None => Ok(()),
    }
}
