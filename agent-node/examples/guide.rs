//! A conversation of any length that is one task. Between two messages it holds no worker, and a crash in the middle costs
//! nothing: every answer that was given is in the log.
//!
//! `examples/conversation-rust/run.sh` starts a mesh and talks to it. Beside `weft dev`:
//! `cargo run -p agent-node --example guide -- --config examples/conversation-rust/guide.toml`

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use agent_node::agent::{About, Agent, Stop, Typed};
use agent_node::agents::AgentKind;
use agent_node::command::{NodeArgs, run};
use agent_node::context::Context;
use clap::Parser as _;
use protocol::message::value_of;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long somebody may think about an answer.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What the guide makes of a message.
#[derive(Serialize, Deserialize)]
struct Thought {
    pack: Option<String>,
    say: String,
}

/// What a conversation came to.
#[derive(Serialize, JsonSchema)]
struct Packed {
    turns: usize,
    packed: Vec<String>,
}

struct Guide;

/// Stands for a language model: what it says is not the same twice, which is why it is called in a step.
fn think(message: &str, packed: &[String]) -> Thought {
    if message.contains('?') {
        let list = if packed.is_empty() { "nothing".to_owned() } else { packed.join(", ") };
        return Thought { pack: None, say: format!("You have packed {list}. What else?") };
    }
    Thought { pack: Some(message.to_owned()), say: format!("Packed: {message}. What else?") }
}

impl Agent for Guide {
    type Input = String;
    type Output = Packed;

    fn about(&self) -> About {
        About {
            kind: "guide".to_owned(),
            name: "guide".to_owned(),
            description: "Helps to pack, message by message.".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..About::default()
        }
    }

    async fn run(&self, context: &Context, first: String) -> Result<Packed, Stop> {
        let (mut message, mut packed) = (first, Vec::new());
        for turn in 1.. {
            let name = format!("think-{turn}");
            let thought = context.step(&name, async { Ok(think(&message, &packed)) }).await?;
            packed.extend(thought.pack);
            // The task waits here, for a day if need be; the answer is in the log when the agent runs again.
            let said = context.ask(&format!("turn {turn}"), thought.say, Some(A_DAY)).await?;
            message = match said.map(|said| value_of(&said.parts)) {
                Some(value) => value.as_str().unwrap_or_default().to_owned(),
                None => return Ok(Packed { turns: turn, packed }),
            };
            if message == "done" {
                return Ok(Packed { turns: turn, packed });
            }
        }
        Err(Stop::permanent("a conversation has an end"))
    }
}

const GUIDE: AgentKind = AgentKind {
    name: "guide",
    about: "helps to pack, message by message",
    build: |_section, _surroundings| Ok(Arc::new(Typed(Guide))),
};

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    node: NodeArgs,
}

#[tokio::main]
async fn main() -> ExitCode {
    match Box::pin(run(Cli::parse().node, &[GUIDE])).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when stderr is closed.
            drop(writeln!(std::io::stderr(), "error: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}
