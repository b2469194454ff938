//! A fan-out of many children and its join, beside the plain throughput of the same mesh.

use runtime::nats_server::Found;
use tempfile::TempDir;

use super::agent::Order;
use super::stage::Stage;
use super::{DurableReport, Growth};
use crate::child::Again;
use crate::report::Cost;
use crate::{BenchError, load};

const CHILDREN: u32 = 1_000;
const ROUNDS: usize = 15;
/// Plain tasks in flight, as the children are.
const IN_FLIGHT: usize = 256;
/// Plain tasks of a round.
const PLAIN: usize = 4_000;

pub(super) async fn measure(
    found: &Found,
    again: &Again,
    place: &TempDir,
    report: &mut DurableReport,
) -> Result<(), BenchError> {
    let stage = Stage::set(found, again, place, "fan-out").await?;
    let order = Order { children: CHILDREN, ..Order::default() };
    stage.run(order).await?;
    let (mut ratios, mut rates) = (Vec::new(), Vec::new());
    let (mut plain_costs, mut costs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = stage.meter().await?;
        let plain = load::single(PLAIN, IN_FLIGHT, || stage.echo()).await?.rate;
        let between = stage.meter().await?;
        let rate = f64::from(CHILDREN) / stage.run(order).await?.as_secs_f64();
        costs.push(stage.meter().await?.since(&between, load::wide(CHILDREN)));
        plain_costs.push(between.since(&begun, PLAIN));
        ratios.push(rate / plain);
        rates.push(rate);
    }
    ratios.sort_by(f64::total_cmp);
    rates.sort_by(f64::total_cmp);
    let ratio = ratios.get(ROUNDS / 2).copied().unwrap_or_default();
    let rate = rates.get(ROUNDS / 2).copied().unwrap_or_default();
    report.add(
        format!("fan-out of {CHILDREN} and join, by plain throughput"),
        format!("{ratio:.2} ({rate:.0} children/s)"),
        "at least 0.5",
        ratio >= 0.5,
    );
    report.growth.push(Growth {
        title: "What a child costs beside a plain task",
        columns: &["", "server us", "node us", "submitter us", "coordinator us", "writes"],
        rows: vec![row("a plain task", &plain_costs), row("a child", &costs)],
    });
    stage.mesh.stop().await;
    Ok(())
}

/// The means over all rounds: one round is only some steps of the clock that processor time is counted in.
fn row(name: &str, costs: &[Cost]) -> Vec<String> {
    let mean = |read: fn(&Cost) -> f64| {
        costs.iter().map(read).sum::<f64>() / load::count(costs.len().max(1))
    };
    vec![
        name.to_owned(),
        format!("{:.0}", mean(|cost| cost.server_micros)),
        format!("{:.0}", mean(|cost| cost.worker_micros)),
        format!("{:.0}", mean(|cost| cost.submitter_micros)),
        format!("{:.0}", mean(|cost| cost.coordinator_micros)),
        format!("{:.2}", mean(|cost| cost.writes)),
    ]
}
