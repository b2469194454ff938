//! A node with an agent of its own kind: the shortest whole program. `docs/add-an-agent.md` explains it.
//!
//! `cargo run -p agent-node --example shout -- --config agent-node/examples/shout.toml`

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use agent_node::agent::{About, Agent, Stop, Typed};
use agent_node::agents::AgentKind;
use agent_node::command::{NodeArgs, run};
use agent_node::context::Context;
use clap::Parser as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What it takes. Input that does not fit is REJECTED before the agent sees it.
#[derive(Deserialize, JsonSchema)]
struct Input {
    text: String,
    #[serde(default)]
    times: u32,
}

/// What it gives.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Output {
    loud: String,
}

struct Shout;

impl Agent for Shout {
    type Input = Input;
    type Output = Output;

    fn about(&self) -> About {
        About {
            kind: KIND.name.to_owned(),
            name: "Shout".to_owned(),
            description: "Repeats a text in capitals.".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            tags: Vec::new(),
            ..About::default()
        }
    }

    async fn run(&self, context: &Context, input: Input) -> Result<Output, Stop> {
        context.status("shouting").await?;
        // A step is journaled: after a crash the next attempt gets its result without running it again.
        let capitals = async {
            if input.text.is_empty() {
                return Err(Stop::permanent("there is nothing to shout"));
            }
            Ok(input.text.to_uppercase())
        };
        let loud = context.step("capitals", capitals).await?;
        Ok(Output { loud: vec![loud; input.times.max(1) as usize].join(" ") })
    }
}

/// What `kind = "shout"` in `weft.toml` builds.
const KIND: AgentKind = AgentKind {
    name: "shout",
    about: "repeats a text in capitals",
    build: |_section, _surroundings| Ok(Arc::new(Typed(Shout))),
};

const KINDS: &[AgentKind] = &[KIND];

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
