//! The first page of a very long list of tasks.

use std::time::Duration;

use client::{Client, Submission};
use protocol::Skill;
use runtime::bus::Bus;
use runtime::nats_server::Found;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use super::GatewayReport;
use super::door::{self, Door};
use crate::child::Again;
use crate::mesh::Mesh;
use crate::role::bus_settings;
use crate::{BenchArgs, BenchError};

const PAGES: usize = 100;
const LIMIT: Duration = Duration::from_millis(20);
/// How long the read model may take to see all tasks.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(250);

pub(super) async fn measure(
    args: &BenchArgs,
    found: &Found,
    again: &Again,
    place: &TempDir,
    report: &mut GatewayReport,
) -> Result<(), BenchError> {
    let mesh = Mesh::start_with_lists(found, again, place, "lists").await?;
    let fail = BenchError::weft("fill the lists");
    let bus = Bus::connect(bus_settings(&mesh.server.client_url(), "bench")).await;
    let client = Client::new(bus.map_err(|error| fail(&error))?);
    let skill = Skill::parse("nobody").map_err(|error| fail(&error))?;
    let tasks = (0..args.depth).map(|_| Submission::new(skill.clone(), "x")).collect();
    client.submit_all(tasks).await.map_err(|error| fail(&error))?;
    let gateway = mesh.gateway(again).await?;
    let mut door = Door::open(&gateway.address, &mesh.jobs).await?;
    let began = Instant::now();
    while page(&mut door).await?.1 < args.depth {
        if began.elapsed() > PATIENCE {
            let reason = "the read model does not see all tasks".to_owned();
            return Err(BenchError::Weft { doing: "list", reason });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let mut times = Vec::with_capacity(PAGES);
    for _ in 0..PAGES {
        times.push(page(&mut door).await?.0);
    }
    times.sort_unstable();
    let at = |index: usize| times.get(index).copied().unwrap_or_default();
    let (p50, p99) = (at(PAGES / 2), at(PAGES * 99 / 100));
    report.add(
        format!("ListTasks, first page of {} tasks, p50", args.depth),
        format!("{:.2} ms (p99 {:.2} ms)", p50.as_secs_f64() * 1e3, p99.as_secs_f64() * 1e3),
        "under 20 ms",
        p50 < LIMIT,
    );
    gateway.stop().await;
    mesh.stop().await;
    Ok(())
}

/// How long a first page took, and how many tasks there are.
async fn page(door: &mut Door) -> Result<(Duration, usize), BenchError> {
    let began = Instant::now();
    let answer = door.call("/", door::request("ListTasks", &json!({}))).await?;
    let took = began.elapsed();
    let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
    let total = answer.pointer("/result/totalSize").and_then(Value::as_u64);
    let total = total.and_then(|total| usize::try_from(total).ok());
    total
        .map(|total| (took, total))
        .ok_or_else(|| BenchError::Weft { doing: "list", reason: answer.to_string() })
}
