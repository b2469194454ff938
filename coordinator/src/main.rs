//! The program `coordinator`: a coordinator and nothing else.

use std::process::ExitCode;

use clap::Parser;
use coordinator::command::{CoordinatorArgs, run};

#[derive(Parser)]
#[command(name = "coordinator", version)]
struct Cli {
    #[command(flatten)]
    args: CoordinatorArgs,
}

#[tokio::main]
async fn main() -> ExitCode {
    runtime::role::end(Box::pin(run(Cli::parse().args)).await)
}
