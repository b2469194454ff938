//! Memory of a node that is busy and has a long queue before it.

use std::time::Duration;

use client::{Client, Submission};
use protocol::Skill;
use protocol::topology::Names;
use runtime::bus::Bus;
use runtime::nats_server::Found;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::child::Again;
use crate::mesh::{Mesh, one_agent};
use crate::report::MemoryReport;
use crate::role::bus_settings;
use crate::{BenchArgs, BenchError, proc};

/// Attempts at once.
const SLOTS: usize = 256;
/// How long a task takes: longer than the measurement.
const INPUT: &str = r#"{"sleepMs": 600000}"#;
/// How long the node is watched once all its slots are taken.
const WATCHED: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const START_LIMIT: Duration = Duration::from_secs(30);

/// Measures it.
pub(crate) async fn measure(
    args: &BenchArgs,
    found: &Found,
    again: &Again,
    place: &TempDir,
) -> Result<MemoryReport, BenchError> {
    let node = one_agent("probe", SLOTS, false);
    let mesh = Mesh::start(found, again, place, "memory", false, Some(node)).await?;
    let fail = BenchError::weft("fill the queue");
    let bus = Bus::connect(bus_settings(&mesh.server.client_url(), "bench"))
        .await
        .map_err(|error| fail(&error))?;
    let client = Client::new(bus.clone());
    let skill = Skill::parse("probe").map_err(|error| fail(&error))?;
    let tasks = (0..args.queued).map(|_| Submission::new(skill.clone(), INPUT)).collect();
    client.submit_all(tasks).await.map_err(|error| fail(&error))?;

    let consumer = Names::skill_consumer(&skill);
    let busy = SLOTS.min(args.queued);
    let began = Instant::now();
    let pid = mesh.node.as_ref().ok_or(BenchError::NotReady { what: "node" })?.pid;
    let mut all_taken_at = None;
    let mut peak = 0;
    let mut waiting = 0;
    while all_taken_at.is_none_or(|at: Instant| at.elapsed() < WATCHED) {
        peak = peak.max(proc::resident_bytes(pid)?);
        let facts = bus.consumer(&bus.names().inbox, &consumer).await;
        let facts = facts.map_err(|error| fail(&error))?;
        waiting = facts.pending;
        if usize::try_from(facts.ack_pending).is_ok_and(|taken| taken >= busy) {
            all_taken_at.get_or_insert_with(Instant::now);
        } else if began.elapsed() > START_LIMIT {
            let reason = format!("the node took {} of {busy} tasks", facts.ack_pending);
            return Err(BenchError::Weft { doing: "fill the slots", reason });
        }
        sleep(LOOK_EVERY).await;
    }
    // A drain would wait for the tasks; nobody needs their ends.
    drop(mesh.node);
    mesh.coordinator.stop().await;
    Ok(MemoryReport { queued: waiting, running: busy, peak_bytes: peak })
}
