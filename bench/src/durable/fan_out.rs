//! A fan-out of many children and its join, beside the plain throughput of the same mesh.

use runtime::nats_server::Found;
use tempfile::TempDir;

use super::DurableReport;
use super::agent::Order;
use super::stage::Stage;
use crate::child::Again;
use crate::{BenchError, load};

const CHILDREN: u32 = 1_000;
const ROUNDS: usize = 5;
/// Plain tasks in flight, as the children are.
const IN_FLIGHT: usize = 256;

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
    for _ in 0..ROUNDS {
        let plain = load::single(4 * load::wide(CHILDREN), IN_FLIGHT, || stage.echo()).await?.rate;
        let rate = f64::from(CHILDREN) / stage.run(order).await?.as_secs_f64();
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
    stage.mesh.stop().await;
    Ok(())
}
