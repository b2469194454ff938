//! A research crew with a budget: work is shared out, paid for, put together, approved and published, and every
//! part of it survives a crash. `docs/durable-agents.md` explains it. Beside `weft dev`:
//!
//! `cargo run -p agent-node --example crew -- --config agent-node/examples/crew.toml`

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use agent_node::agent::{About, Agent, Stop, Typed};
use agent_node::agents::AgentKind;
use agent_node::command::{NodeArgs, run};
use agent_node::context::{Call, Context};
use agent_node::delegate::{Join, OnFailure, Work};
use clap::Parser as _;
use protocol::Skill;
use protocol::budget::Usage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// What the crew is asked.
#[derive(Deserialize, JsonSchema)]
struct Topic {
    topic: String,
    questions: Vec<String>,
}

/// What it publishes.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Report {
    title: String,
    findings: Vec<String>,
}

struct Crew {
    researcher: Skill,
}

impl Agent for Crew {
    type Input = Topic;
    type Output = Report;

    fn about(&self) -> About {
        about("crew", "Has questions researched, and publishes a report once that is allowed.")
    }

    async fn run(&self, context: &Context, input: Topic) -> Result<Report, Stop> {
        // A finding of the last day will do for a researcher that fails.
        let day = OnFailure::Cached { no_older_than: Duration::from_secs(86_400) };
        let piece = |question: &String| {
            Work::new(self.researcher.clone(), json!(question)).on_failure(day.clone())
        };
        let work = input.questions.iter().map(piece).collect();
        let ends = context.delegate_with("research", work, Join::All).await?;
        let findings = ends.into_iter().map(|end| match end.result {
            Ok(finding) => finding.as_str().unwrap_or_default().to_owned(),
            Err(fault) => format!("not found out: {}", fault.message),
        });
        let report = Report { title: input.topic, findings: findings.collect() };
        // The settings want an approval for this call: the task waits for it here.
        let publish = Call::new("publish").with(json!(report));
        context
            .call(publish, |allowed| async move {
                let report = serde_json::from_value(allowed.arguments)
                    .map_err(|error| Stop::permanent(format!("edited beyond use: {error}")))?;
                Ok((report, Usage::default()))
            })
            .await
    }
}

struct Researcher;

impl Agent for Researcher {
    type Input = String;
    type Output = String;

    fn about(&self) -> About {
        about("researcher", "Answers one question, more briefly when the budget is low.")
    }

    async fn run(&self, context: &Context, question: String) -> Result<String, Stop> {
        let tokens = Usage { tokens: 500, ..Usage::default() };
        let ask = Call::new("model").with(json!({ "question": question })).reserving(tokens);
        context
            .call(ask, |allowed| async move {
                // A model would be called here, with `allowed.key` as its idempotency key.
                tokio::time::sleep(Duration::from_millis(200)).await;
                let words = if allowed.degraded { "in short, yes" } else { "yes, and at length" };
                let used =
                    Usage { tokens: if allowed.degraded { 100 } else { 400 }, ..Usage::default() };
                Ok((format!("{question} {words}"), used))
            })
            .await
    }
}

fn about(kind: &str, description: &str) -> About {
    About {
        kind: kind.to_owned(),
        name: kind.to_owned(),
        description: description.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        tags: vec!["research".to_owned()],
        ..About::default()
    }
}

const CREW: AgentKind = AgentKind {
    name: "crew",
    about: "has questions researched and publishes a report",
    build: |section, _surroundings| {
        let researcher = Skill::parse("researcher")
            .map_err(|error| agent_node::agents::BuildError::options(section, error))?;
        Ok(Arc::new(Typed(Crew { researcher })))
    },
};

const RESEARCHER: AgentKind = AgentKind {
    name: "researcher",
    about: "answers one question",
    build: |_section, _surroundings| Ok(Arc::new(Typed(Researcher))),
};

const KINDS: &[AgentKind] = &[CREW, RESEARCHER];

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    node: NodeArgs,
}

#[tokio::main]
async fn main() -> ExitCode {
    match Box::pin(run(Cli::parse().node, KINDS)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when stderr is closed.
            drop(writeln!(std::io::stderr(), "error: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}
