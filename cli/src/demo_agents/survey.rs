//! `survey`: splits a folder into files, has each inspected by whoever serves `inspect`, and has a report made
//! of what they say.
//!
//! It runs three times and holds no worker in between: the list is a step in its journal, and each delegation
//! suspends it until the children have ended. A node killed between any two of its entries costs nothing.

use std::sync::Arc;

use agent_node::agent::{About, Agent, AnyAgent, Stop, Typed};
use agent_node::agents::{AgentKind, BuildError, Surroundings};
use agent_node::context::Context;
use agent_node::delegate::{ChildEnd, Delegation};
use protocol::Skill;
use runtime::config::AgentSection;
use runtime::process::causes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fold::{FileFacts, Report, Trouble};
use super::inspect::InspectInput;
use super::no_options;
use super::path::{escape, unescape};
use super::report::ReportInput;
use super::walk::{Bounds, Skipped, walk};

/// The kind.
pub(super) const KIND: AgentKind =
    AgentKind { name: "survey", about: "splits a folder into files, for weft demo", build };

fn build(section: &AgentSection, _around: &Surroundings) -> Result<Arc<dyn AnyAgent>, BuildError> {
    no_options(section)?;
    Ok(Arc::new(Typed(Survey)))
}

/// A folder to survey. Paths are escaped.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SurveyInput {
    /// The folder.
    pub(crate) root: String,
    /// More files are refused.
    pub(crate) files_max: usize,
    /// Larger files are left out.
    pub(crate) bytes_max: u64,
    /// A file that is left out.
    pub(crate) except: Option<String>,
    /// How long each inspection rests, in milliseconds.
    pub(crate) rest_ms: u64,
}

/// What is in the folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SurveyOutput {
    /// What was inspected.
    pub(crate) report: Report,
    /// What was not.
    pub(crate) skipped: Skipped,
}

/// The list of files, as the journal keeps it.
#[derive(Serialize, Deserialize)]
struct Listed {
    files: Vec<String>,
    skipped: Skipped,
}

struct Survey;

impl Agent for Survey {
    type Input = SurveyInput;
    type Output = SurveyOutput;

    fn about(&self) -> About {
        About {
            kind: KIND.name.to_owned(),
            name: "Survey".to_owned(),
            description: "Splits a folder into files and has each inspected.".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            tags: vec!["demo".to_owned()],
            ..About::default()
        }
    }

    async fn run(&self, context: &Context, input: SurveyInput) -> Result<SurveyOutput, Stop> {
        let Listed { files, skipped } = context.step("list", list(&input)).await?;
        let inspect =
            Skill::parse("inspect").map_err(|error| Stop::permanent(error.to_string()))?;
        let mut work = Vec::with_capacity(files.len());
        for path in &files {
            let (root, path) = (input.root.clone(), path.clone());
            let input = json(&InspectInput { root, path, rest_ms: input.rest_ms })?;
            work.push(Delegation { skill: inspect.clone(), input });
        }
        let ends = context.delegate("inspect", work).await?;
        let (files, trouble) = sorted_out(files, ends);
        let input = json(&ReportInput { files, trouble })?;
        let report = Skill::parse("report").map_err(|error| Stop::permanent(error.to_string()))?;
        let ends = context.delegate("report", vec![Delegation { skill: report, input }]).await?;
        let report = ends.into_iter().next().map(|end| end.result);
        match report {
            Some(Ok(value)) => {
                let report = serde_json::from_value(value)
                    .map_err(|error| Stop::permanent(format!("the report is none: {error}")))?;
                Ok(SurveyOutput { report, skipped })
            }
            Some(Err(fault)) => Err(Stop::permanent(format!("no report: {fault}"))),
            None => Err(Stop::permanent("no report")),
        }
    }
}

async fn list(input: &SurveyInput) -> Result<Listed, Stop> {
    let root = unescape(&input.root);
    let bounds = Bounds {
        files_max: input.files_max,
        bytes_max: input.bytes_max,
        except: input.except.as_deref().map(unescape),
    };
    let listing = tokio::task::spawn_blocking(move || walk(&root, &bounds))
        .await
        .map_err(|error| Stop::transient(error.to_string()))?
        .map_err(|error| Stop::permanent(causes(&error).join(": ")))?;
    let files = listing.files.iter().map(|path| escape(path)).collect();
    Ok(Listed { files, skipped: listing.skipped })
}

fn json(value: &impl Serialize) -> Result<Value, Stop> {
    serde_json::to_value(value).map_err(|error| Stop::permanent(error.to_string()))
}

/// What the children said, and about which files nobody said anything useful.
fn sorted_out(paths: Vec<String>, ends: Vec<ChildEnd>) -> (Vec<FileFacts>, Vec<Trouble>) {
    let (mut files, mut trouble) = (Vec::new(), Vec::new());
    for (path, end) in paths.into_iter().zip(ends) {
        let said = end.result.map_err(|fault| fault.to_string());
        let facts = said.and_then(|value| {
            serde_json::from_value::<FileFacts>(value).map_err(|error| error.to_string())
        });
        match facts {
            Ok(facts) if facts.path == path => files.push(facts),
            Ok(facts) => {
                trouble.push(Trouble { path, error: format!("the facts of {:?}", facts.path) });
            }
            Err(error) => trouble.push(Trouble { path, error }),
        }
    }
    (files, trouble)
}
