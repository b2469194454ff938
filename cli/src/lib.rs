//! The `weft` command: every role of the mesh, and the tools around it.
//!
//! A command gathers what is asked for and hands it to [`print`], the only place that writes to stdout and
//! stderr; a command that cannot go on returns a [`failure::Failure`], which says what, why and what to do and
//! carries the exit code.

mod commands;
mod demo_agents;
mod failure;
mod input;
mod large;
mod print;
mod session;
mod usage;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use commands::Command;
use failure::{Exit, Failure};

/// How long what still runs may take once the command is over.
const LEAVE_LIMIT: Duration = Duration::from_millis(200);

/// A durable mesh of agents on NATS JetStream
#[derive(Parser)]
#[command(
    name = "weft",
    version,
    disable_help_subcommand = true,
    after_help = "More: weft help exit-codes, weft help environment, weft help commands"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Runs the command line and returns its exit code.
pub fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| usage::said(error).exit());
    let done = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let done = runtime.block_on(Box::pin(cli.command.run()));
            runtime.shutdown_timeout(LEAVE_LIMIT);
            done
        }
        Err(error) => Err(Failure::new(Exit::Failure, &error)),
    };
    match done {
        Ok(()) => ExitCode::from(Exit::Ok.code()),
        Err(failure) => {
            print::failure(&failure);
            ExitCode::from(failure.exit.code())
        }
    }
}
