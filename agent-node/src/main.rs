//! The program `agent-node`: a node and nothing else, for hosts that only run agents.

use std::process::ExitCode;

use agent_node::command::{NodeArgs, run};
use clap::Parser;

/// Tasks allocate much and briefly, often on one thread to free on another; the system's allocator is slow at that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "agent-node", version)]
struct Cli {
    #[command(flatten)]
    args: NodeArgs,
}

#[tokio::main]
async fn main() -> ExitCode {
    runtime::role::end(Box::pin(run(Cli::parse().args, &[])).await)
}
