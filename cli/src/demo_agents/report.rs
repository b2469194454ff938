//! `report`: folds what was found in files into a report.

use std::sync::Arc;

use agent_node::agent::{About, Agent, AnyAgent, Stop, Typed};
use agent_node::agents::{AgentKind, BuildError, Surroundings};
use agent_node::context::Context;
use runtime::config::AgentSection;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fold::{FileFacts, Report, Trouble, fold};
use super::no_options;

/// The kind.
pub(super) const KIND: AgentKind =
    AgentKind { name: "report", about: "folds the facts of files, for weft demo", build };

fn build(section: &AgentSection, _around: &Surroundings) -> Result<Arc<dyn AnyAgent>, BuildError> {
    no_options(section)?;
    Ok(Arc::new(Typed(Reporter)))
}

/// What was found.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReportInput {
    /// In files that were inspected.
    pub(super) files: Vec<FileFacts>,
    /// About the others.
    pub(super) trouble: Vec<Trouble>,
}

struct Reporter;

impl Agent for Reporter {
    type Input = ReportInput;
    type Output = Report;

    fn about(&self) -> About {
        About {
            kind: KIND.name.to_owned(),
            name: "Report".to_owned(),
            description: "Folds the facts of files into a report.".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            tags: vec!["demo".to_owned()],
            ..About::default()
        }
    }

    async fn run(&self, _context: &Context, input: ReportInput) -> Result<Report, Stop> {
        Ok(fold(input.files, input.trouble))
    }
}
