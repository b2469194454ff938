//! The program `coordinator`: a coordinator and nothing else.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use coordinator::command::{CoordinatorArgs, run};
use runtime::process::{causes, exit};

#[derive(Parser)]
#[command(name = "coordinator", version)]
struct Cli {
    #[command(flatten)]
    args: CoordinatorArgs,
}

#[tokio::main]
async fn main() -> ExitCode {
    match Box::pin(run(Cli::parse().args)).await {
        Ok(()) => ExitCode::from(exit::OK),
        Err(error) => {
            // Nobody is left to tell when stderr is closed.
            drop(writeln!(std::io::stderr(), "error: {}", causes(&error).join("\n  because: ")));
            ExitCode::from(error.exit_code())
        }
    }
}
