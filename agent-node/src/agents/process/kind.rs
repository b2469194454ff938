//! The kind `process`, from options to agent.

use std::sync::Arc;

use runtime::config::AgentSection;

use super::{ProcessAgent, ProcessSettings, Provided};
use crate::agent::AnyAgent;
use crate::agents::{AgentKind, BuildError, Surroundings};

/// The kind.
pub const KIND: AgentKind = AgentKind {
    name: "process",
    about: "any program in any language, over JSON lines on stdin and stdout",
    build,
};

fn build(
    section: &AgentSection,
    surroundings: &Surroundings,
) -> Result<Arc<dyn AnyAgent>, BuildError> {
    let settings: ProcessSettings = serde_json::from_value(section.options.clone())
        .map_err(|error| BuildError::options(section, error))?;
    let provided = Provided {
        base: surroundings.base.clone(),
        environment: surroundings.environment.clone(),
        concurrency: section.concurrency,
        supervisor: surroundings.supervisor.clone(),
    };
    let agent = ProcessAgent::new(section.skill.as_str(), &settings, provided)
        .map_err(|error| BuildError::options(section, error))?;
    agent.check().map_err(|error| BuildError::options(section, error))?;
    Ok(Arc::new(agent))
}
