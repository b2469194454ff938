//! Throughput, latency and what they cost, beside the floor.
//!
//! Rounds of the two sides take turns, and a ratio is taken between neighbours: what disturbs the machine for
//! longer than a round disturbs both.

use runtime::nats_server::Found;
use tempfile::TempDir;

use crate::child::{Again, RoleChild};
use crate::floor::{self, Floor};
use crate::load::{self, Sample};
use crate::mesh::{Mesh, one_agent};
use crate::meter::Meter;
use crate::report::{Cost, Row, SpeedReport};
use crate::role::Order;
use crate::weft::Weft;
use crate::{BenchArgs, BenchError, floor_worker};

/// Everything that a round needs.
struct Stage {
    mesh: Mesh,
    floor_worker: RoleChild,
    floor: Floor,
    weft: Weft,
    sync_always: bool,
}

/// Measures one table.
pub(crate) async fn measure(
    args: &BenchArgs,
    found: &Found,
    again: &Again,
    place: &TempDir,
    sync_always: bool,
) -> Result<SpeedReport, BenchError> {
    let stage = Stage::set(args, found, again, place, sync_always).await?;
    let mut rows = Vec::new();
    for &in_flight in &args.in_flight {
        let tasks = args.tasks_of_round(in_flight, sync_always);
        stage.floor_round(tasks.div_ceil(4), in_flight).await?;
        stage.weft_round(tasks.div_ceil(4), in_flight).await?;
        let (mut floor, mut weft) = (Vec::new(), Vec::new());
        for round in 0..args.rounds {
            // Whoever comes second finds the machine as the first one left it, so they take turns at that too.
            if round % 2 == 0 {
                floor.push(stage.floor_round(tasks, in_flight).await?);
                weft.push(stage.weft_round(tasks, in_flight).await?);
            } else {
                weft.push(stage.weft_round(tasks, in_flight).await?);
                floor.push(stage.floor_round(tasks, in_flight).await?);
            }
        }
        rows.push(Row::of(in_flight, tasks, &floor, &weft));
    }
    stage.strike().await;
    Ok(SpeedReport { sync_always, rows })
}

impl Stage {
    async fn set(
        args: &BenchArgs,
        found: &Found,
        again: &Again,
        place: &TempDir,
        sync_always: bool,
    ) -> Result<Self, BenchError> {
        let name = if sync_always { "sync" } else { "speed" };
        let node = one_agent("echo", floor_worker::SLOTS, sync_always);
        let mesh = Mesh::start(found, again, place, name, sync_always, Some(node)).await?;
        let server = mesh.server.client_url();
        floor::provision(&server).await?;
        let floor_worker = again.start(&Order::FloorWorker { server: server.clone() }).await?;
        let floor = Floor::open(&server, args.bytes, &mesh.jobs).await?;
        let weft = Weft::open(&server, "echo", args.bytes, &mesh.jobs).await?;
        Ok(Self { mesh, floor_worker, floor, weft, sync_always })
    }

    async fn strike(self) {
        self.floor_worker.stop().await;
        self.mesh.stop().await;
    }

    async fn floor_round(
        &self,
        tasks: usize,
        in_flight: usize,
    ) -> Result<(Sample, Cost), BenchError> {
        let before = self.meter(self.floor_worker.pid).await?;
        let sample = load::single(tasks, in_flight, || self.floor.once()).await?;
        Ok((sample, self.meter(self.floor_worker.pid).await?.since(&before, tasks)))
    }

    async fn weft_round(
        &self,
        tasks: usize,
        in_flight: usize,
    ) -> Result<(Sample, Cost), BenchError> {
        let node = self.mesh.node.as_ref().ok_or(BenchError::NotReady { what: "node" })?;
        let before = self.meter(node.pid).await?;
        let sample = if self.sync_always && in_flight > 1 {
            let wait = |receipt| self.weft.end_of(receipt);
            load::gathered(tasks, in_flight, |many| self.weft.submit(many), wait).await?
        } else {
            load::single(tasks, in_flight, || self.weft.once()).await?
        };
        Ok((sample, self.meter(node.pid).await?.since(&before, tasks)))
    }

    async fn meter(&self, worker: u32) -> Result<Meter, BenchError> {
        Meter::read(&self.mesh, worker, self.weft.client.bus()).await
    }
}
