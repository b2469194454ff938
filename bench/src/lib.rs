//! Measures Weft beside the bare bus, in one run: `cargo bench-weft` and `weft bench` are both this.
//!
//! The floor ([`floor`]) is what a good engineer would write on the client library alone: publish, pull in
//! another process, durable fenced result, receive, ack. The other side is the same work through Weft with its
//! node and coordinator in processes of their own. Both run on one server and in turn, so that a noisy machine
//! is noisy for both, and what is reported are ratios of rounds that stood side by side.

mod args;
mod child;
mod depth;
mod durable;
mod error;
mod floor;
mod floor_worker;
mod gateway;
mod load;
mod memory;
mod mesh;
mod meter;
mod proc;
mod report;
mod role;
mod speed;
mod weft;

use std::io::Write;

pub use args::{BenchArgs, Part};
pub use durable::{DurableReport, Figure, Growth};
pub use error::BenchError;
pub use gateway::{CallersRow, GatewayReport};
pub use report::{DepthReport, MemoryReport, Report, Row, SpeedReport, Spread};

use child::Again;
use runtime::nats_server::{FindOptions, find};

/// Runs what the arguments name and prints a table for each part to `out` as soon as it is there. `again` are
/// the arguments that bring a new process of this program back to this function.
///
/// # Errors
/// When a server, a process or a task fails: a benchmark with failures measures nothing.
pub async fn run(
    args: BenchArgs,
    again: &[&str],
    out: &mut (dyn Write + Send),
) -> Result<Report, BenchError> {
    if args.role {
        role::run().await?;
        return Ok(Report::default());
    }
    let found = find(&FindOptions::from_environment()).await?;
    let place = args.place()?;
    let again = Again::this_program(again, place.path().join("children.log"))?;
    let mut report = Report::default();
    writeln!(out, "{}", report::heading(&args))?;
    if args.has(Part::Speed) {
        let speed = speed::measure(&args, &found, &again, &place, false).await?;
        speed.print(out)?;
        report.speed = Some(speed);
    }
    if args.has(Part::Sync) {
        let sync = speed::measure(&args, &found, &again, &place, true).await?;
        sync.print(out)?;
        report.sync = Some(sync);
    }
    if args.has(Part::Memory) {
        let memory = memory::measure(&args, &found, &again, &place).await?;
        memory.print(out)?;
        report.memory = Some(memory);
    }
    if args.has(Part::Depth) {
        let depth = depth::measure(&args, &found, &again, &place).await?;
        depth.print(out)?;
        report.depth = Some(depth);
    }
    if args.has(Part::Durable) {
        let durable = durable::measure(&args, &found, &again, &place).await?;
        durable.print(out)?;
        report.durable = Some(durable);
    }
    if args.has(Part::FanOut) {
        durable::measure_fan_out(&found, &again, &place).await?.print(out)?;
    }
    if args.has(Part::Gateway) {
        let gateway = gateway::measure(&args, &found, &again, &place).await?;
        gateway.print(out)?;
        report.gateway = Some(gateway);
    }
    Ok(report)
}
