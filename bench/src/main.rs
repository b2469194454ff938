//! The program `weft-bench`: the benchmark alone, as `cargo bench-weft` runs it.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use runtime::process::{causes, exit};
use weft_bench::{BenchArgs, run};

/// Tasks allocate much and briefly, often on one thread to free on another; the system's allocator is slow at that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "weft-bench", version, about = "Measures Weft beside the bare bus")]
struct Cli {
    #[command(flatten)]
    args: BenchArgs,
}

#[tokio::main]
async fn main() -> ExitCode {
    match Box::pin(run(Cli::parse().args, &[], &mut std::io::stdout())).await {
        Ok(_) => ExitCode::from(exit::OK),
        Err(error) => {
            // Nobody is left to tell when stderr is closed.
            drop(writeln!(std::io::stderr(), "error: {}", causes(&error).join("\n  because: ")));
            ExitCode::from(exit::FAILURE)
        }
    }
}
