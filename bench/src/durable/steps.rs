//! What a journaled step costs beside one awaited publish, how that grows with the journal, and what a resume costs.

use std::time::Duration;

use protocol::header::Headers;
use runtime::bus::Outgoing;
use runtime::nats_server::Found;
use tempfile::TempDir;
use tokio::time::Instant;

use super::agent::Order;
use super::stage::{Stage, millis, p50};
use super::{DurableReport, Growth};
use crate::BenchError;
use crate::child::Again;

/// Steps of the task that is compared with bare publishes.
const STEPS: u32 = 1_000;
const ROUNDS: usize = 5;
/// Tasks of these many steps each, for the table.
const SIZES: [u32; 4] = [10, 100, 1_000, 10_000];

pub(super) async fn measure(
    found: &Found,
    again: &Again,
    place: &TempDir,
    report: &mut DurableReport,
) -> Result<(), BenchError> {
    let stage = Stage::set(found, again, place, "steps").await?;
    stage.run(Order { steps: 50, ..Order::default() }).await?;
    let mut ratios = Vec::new();
    let (mut steps, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(publishes(&stage).await? / STEPS);
        steps.push(stage.run(Order { steps: STEPS, ..Order::default() }).await? / STEPS);
        if let (Some(step), Some(publish)) = (steps.last(), bare.last()) {
            ratios.push(step.as_secs_f64() / publish.as_secs_f64());
        }
    }
    ratios.sort_by(f64::total_cmp);
    let ratio = ratios.get(ratios.len() / 2).copied().unwrap_or_default();
    report.add(
        "a journaled step by one awaited publish",
        format!("{ratio:.2} ({:.3} ms by {:.3} ms)", millis(p50(steps)), millis(p50(bare))),
        "at most 1.3",
        ratio <= 1.3,
    );
    resume(&stage, report).await?;
    growth(&stage, report).await?;
    stage.mesh.stop().await;
    Ok(())
}

/// The time of so many publishes of an entry's size, each awaited.
async fn publishes(stage: &Stage) -> Result<Duration, BenchError> {
    let bus = stage.client.bus();
    let payload = bytes::Bytes::from(vec![b'x'; 160]);
    let began = Instant::now();
    for _ in 0..STEPS {
        let message = Outgoing::new("weft.dead.bare".to_owned(), Headers::new(), payload.clone());
        bus.store(message).await.map_err(|error| BenchError::weft("publish")(&error))?;
    }
    Ok(began.elapsed())
}

/// A task of many steps and one of none wait for the same signal: the difference is the journal's.
async fn resume(stage: &Stage, report: &mut DurableReport) -> Result<(), BenchError> {
    let (mut long, mut short) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (steps, times) in [(STEPS, &mut long), (0, &mut short)] {
            let task = stage.submit(Order { steps, wait: true, ..Order::default() }).await?;
            stage.waiting(&task).await?;
            times.push(stage.wake(&task).await?);
        }
    }
    let (long, short) = (p50(long), p50(short));
    let took = long.saturating_sub(short);
    report.add(
        format!("resume of a task with {STEPS} steps"),
        format!(
            "{:.1} ms ({:.1} ms from signal to end, {:.1} ms without steps)",
            millis(took),
            millis(long),
            millis(short)
        ),
        "under 50 ms",
        took < Duration::from_millis(50),
    );
    Ok(())
}

async fn growth(stage: &Stage, report: &mut DurableReport) -> Result<(), BenchError> {
    let mut rows = Vec::new();
    for steps in SIZES {
        let took = stage.run(Order { steps, ..Order::default() }).await?;
        let each = took.as_secs_f64() * 1e6 / f64::from(steps);
        rows.push(vec![steps.to_string(), format!("{:.0}", millis(took)), format!("{each:.0}")]);
    }
    report.growth.push(Growth {
        title: "How a task's cost grows with its steps",
        columns: &["steps", "ms a task", "us a step"],
        rows,
    });
    Ok(())
}
