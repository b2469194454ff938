//! What the benchmark can be told.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::BenchError;

/// A part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Throughput and latency beside the floor.
    Speed,
    /// The same on a server that syncs every write.
    Sync,
    /// Memory of a node with a long queue before it.
    Memory,
    /// Submit and pull with a very long queue.
    Depth,
    /// Steps, fan-out, waits, and the rebuild of the read model.
    Durable,
    /// Of the durable part the steps and the fan-out only.
    FanOut,
    /// The gateway beside the bus and beside the reference server; open streams; lists.
    Gateway,
}

/// What is measured, and for how long.
#[derive(Debug, Clone, clap::Args)]
pub struct BenchArgs {
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["speed", "sync", "memory", "depth", "durable", "gateway"])]
    pub only: Vec<Part>,
    /// Tasks in flight, one row of the table each
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 256], value_parser = at_least_one)]
    pub in_flight: Vec<usize>,
    /// Rounds of each side of each row, in turn; the medians are reported
    #[arg(long, default_value_t = 7, value_parser = at_least_one)]
    pub rounds: usize,
    /// Tasks a round; a tenth of it with one in flight, and on a server that syncs every write
    #[arg(long, default_value_t = 20_000, value_parser = at_least_one)]
    pub tasks: usize,
    /// Bytes of a task's input and result
    #[arg(long, default_value_t = 256)]
    pub bytes: usize,
    /// Queued tasks while a node's memory is measured
    #[arg(long, default_value_t = 10_000, value_parser = at_least_one)]
    pub queued: usize,
    /// Queued tasks while submit and pull are measured
    #[arg(long, default_value_t = 1_000_000, value_parser = at_least_one)]
    pub depth: usize,
    /// The largest number of waiting tasks
    #[arg(long, default_value_t = 100_000, value_parser = at_least_one)]
    pub waiting: usize,
    /// Streams that are open at once
    #[arg(long, default_value_t = 5_000, value_parser = at_least_one)]
    pub streams: usize,
    /// Log entries that the read model is rebuilt from
    #[arg(long, default_value_t = 1_000_000, value_parser = at_least_one)]
    pub entries: usize,
    /// Where the servers keep their streams; a temporary directory unless given
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// Run as a child process of the benchmark, which reads what to do from its input
    #[arg(long, hide = true)]
    pub role: bool,
}

/// Reads a count of something that is measured: nothing cannot be.
fn at_least_one(text: &str) -> Result<usize, String> {
    let count = text.parse::<usize>().map_err(|error| error.to_string())?;
    if count == 0 { Err("at least 1".to_owned()) } else { Ok(count) }
}

impl BenchArgs {
    pub(crate) fn has(&self, part: Part) -> bool {
        self.only.contains(&part)
    }

    /// Tasks of one round.
    pub(crate) fn tasks_of_round(&self, in_flight: usize, sync_always: bool) -> usize {
        let few = in_flight == 1 || sync_always;
        let least = in_flight.saturating_mul(4);
        if few { (self.tasks / 10).max(least) } else { self.tasks.max(least) }
    }

    pub(crate) fn place(&self) -> Result<TempDir, BenchError> {
        let made = match &self.data_dir {
            Some(directory) => TempDir::with_prefix_in("weft-bench-", directory),
            None => TempDir::with_prefix("weft-bench-"),
        };
        made.map_err(|source| BenchError::Place { source })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use clap::error::ErrorKind;

    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: BenchArgs,
    }

    #[test]
    fn nothing_cannot_be_measured() {
        for flag in
            ["--in-flight", "--rounds", "--tasks", "--queued", "--depth", "--waiting", "--entries"]
        {
            for (value, good) in [("0", false), ("1", true)] {
                let parsed = Cli::try_parse_from(["bench", flag, value]);
                assert_eq!(parsed.is_ok(), good, "{flag} {value}");
                let kind = parsed.err().map(|error| error.kind());
                assert!(good || kind == Some(ErrorKind::ValueValidation), "{flag}: {kind:?}");
            }
        }
        assert!(Cli::try_parse_from(["bench", "--in-flight", "8,0"]).is_err());
    }
}
