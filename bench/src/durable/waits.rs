//! How soon a waiting task goes on, and what many waiting tasks cost.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use runtime::nats_server::Found;
use tempfile::TempDir;
use tokio::time::Instant;

use super::agent::Order;
use super::stage::{Stage, millis, p50};
use super::{DurableReport, Growth};
use crate::child::Again;
use crate::{BenchArgs, BenchError, load, proc};

const WAKES: usize = 200;

pub(super) async fn measure(
    args: &BenchArgs,
    found: &Found,
    again: &Again,
    place: &TempDir,
    report: &mut DurableReport,
) -> Result<(), BenchError> {
    let stage = Stage::set(found, again, place, "waits").await?;
    let signal = p50(wakes(&stage, WAKES).await?);
    report.add(
        "from a signal to the end of its waiter, p50",
        format!("{:.2} ms", millis(signal)),
        "under 10 ms",
        signal < Duration::from_millis(10),
    );
    let parents = stream::iter(0..WAKES)
        .then(|_| stage.run(Order { children: 1, ..Order::default() }))
        .try_collect()
        .await?;
    let parent = p50(parents);
    report.add(
        "a parent of one child, from submission to end, p50",
        format!("{:.2} ms", millis(parent)),
        "under 10 ms",
        parent < Duration::from_millis(10),
    );
    let mut rows = Vec::new();
    let mut waiting = 0;
    for size in [10, 100, 1_000, 10_000, 100_000] {
        if size > args.waiting {
            break;
        }
        let began = Instant::now();
        let order = Order { wait: true, ..Order::default() };
        let new: Vec<_> = stream::iter(waiting..size)
            .map(|_| stage.submit(order))
            .buffer_unordered(64)
            .try_collect()
            .await?;
        if let Some(last) = new.last() {
            stage.waiting(last).await?;
        }
        let each = began.elapsed().as_secs_f64() * 1e6 / load::count(size - waiting);
        waiting = size;
        let wake = p50(wakes(&stage, 50).await?);
        let node =
            stage.mesh.node.as_ref().map(|node| proc::resident_bytes(node.pid)).transpose()?;
        let server = proc::resident_bytes(stage.mesh.server_pid()?)?;
        rows.push(vec![
            size.to_string(),
            format!("{each:.0}"),
            format!("{:.2}", millis(wake)),
            format!("{}", node.unwrap_or_default() / 1_000_000),
            format!("{}", server / 1_000_000),
        ]);
    }
    report.growth.push(Growth {
        title: "What waiting tasks cost",
        columns: &[
            "waiting",
            "us to begin a wait",
            "ms from signal to end",
            "node MB",
            "server MB",
        ],
        rows,
    });
    stage.mesh.stop().await;
    Ok(())
}

/// Single tasks that wait and are woken, one after the other.
async fn wakes(stage: &Stage, count: usize) -> Result<Vec<Duration>, BenchError> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let task = stage.submit(Order { wait: true, ..Order::default() }).await?;
        stage.waiting(&task).await?;
        times.push(stage.wake(&task).await?);
    }
    Ok(times)
}
