//! `weft bench`: Weft beside the bare bus, on this machine.

use weft_bench::{BenchArgs, BenchError, run};

use crate::failure::{Exit, Failure};

/// Measure Weft beside the bare bus on this machine
///
/// Starts servers and processes of its own, runs the same work with and without Weft in turn, and prints a table
/// for each part with the targets. Takes some minutes; a quiet machine gives better figures.
#[derive(clap::Args)]
pub(crate) struct Bench {
    #[command(flatten)]
    args: BenchArgs,
}

impl Bench {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match run(self.args, &["bench"], &mut std::io::stdout()).await {
            Ok(_) => Ok(()),
            Err(BenchError::Find(error)) => {
                Err(Failure::new(Exit::Failure, &error).todo("name one with WEFT_NATS_SERVER"))
            }
            Err(error) => Err(Failure::new(Exit::Failure, &error)),
        }
    }
}
