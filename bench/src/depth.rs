//! Submit and pull with a very long queue and with an empty one.
//!
//! Two servers stand side by side, one of them full, and single operations alternate between them.

use std::time::Duration;

use client::{Client, Submission};
use protocol::Skill;
use protocol::topology::{Capacity, Names};
use runtime::bus::{Bus, Pulled, Puller};
use runtime::nats_server::Found;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::child::Again;
use crate::mesh::Mesh;
use crate::report::{DepthReport, DepthRow};
use crate::role::bus_settings;
use crate::{BenchArgs, BenchError};

/// Operations of each kind on each server.
const OPERATIONS: usize = 3_000;
const WARM_UP: usize = 200;
/// Submissions gathered in memory at a time.
const FILL: usize = 20_000;
const BODY: &str = "a task like any other";

/// One of the two servers.
struct Side {
    mesh: Mesh,
    client: Client,
    skill: Skill,
    puller: Puller,
}

/// Measures it.
pub(crate) async fn measure(
    args: &BenchArgs,
    found: &Found,
    again: &Again,
    place: &TempDir,
) -> Result<DepthReport, BenchError> {
    let mut full = Side::open(found, again, place, "full").await?;
    let mut empty = Side::open(found, again, place, "empty").await?;
    full.fill(args.depth).await?;
    let operations = OPERATIONS.min(args.depth.max(10));
    let mut times: [[Vec<Duration>; 2]; 2] = Default::default();
    for round in 0..WARM_UP + operations {
        let warm = round >= WARM_UP;
        let mut one = async |side: &mut Side, at: usize| -> Result<(), BenchError> {
            let (submit, pull) = side.submit_and_pull().await?;
            let [submits, pulls] = &mut times;
            for (kind, time) in [(submits, submit), (pulls, pull)] {
                if let Some(list) = kind.get_mut(at).filter(|_| warm) {
                    list.push(time);
                }
            }
            Ok(())
        };
        if round % 2 == 0 {
            one(&mut full, 0).await?;
            one(&mut empty, 1).await?;
        } else {
            one(&mut empty, 1).await?;
            one(&mut full, 0).await?;
        }
    }
    full.mesh.stop().await;
    empty.mesh.stop().await;
    let [submits, pulls] = times;
    let rows = [("submit", submits), ("pull", pulls)]
        .into_iter()
        .map(|(what, [full, empty])| DepthRow::of(what, full, empty))
        .collect();
    Ok(DepthReport { queued: args.depth, rows })
}

impl Side {
    async fn open(
        found: &Found,
        again: &Again,
        place: &TempDir,
        name: &str,
    ) -> Result<Self, BenchError> {
        let mesh = Mesh::start(found, again, place, name, false, None).await?;
        let fail = BenchError::weft("prepare a queue");
        let bus = Bus::connect(bus_settings(&mesh.server.client_url(), "bench"))
            .await
            .map_err(|error| fail(&error))?;
        let skill = Skill::parse("deep").map_err(|error| fail(&error))?;
        bus.provision_skill(&skill, &Capacity::default(), None)
            .await
            .map_err(|error| fail(&error))?;
        let consumer = Names::skill_consumer(&skill);
        let puller =
            bus.puller(&bus.names().inbox, &consumer).await.map_err(|error| fail(&error))?;
        Ok(Self { mesh, client: Client::new(bus), skill, puller })
    }

    fn task(&self) -> Submission {
        Submission::new(self.skill.clone(), BODY)
    }

    async fn fill(&self, count: usize) -> Result<(), BenchError> {
        let mut left = count;
        while left > 0 {
            let some = left.min(FILL);
            let tasks = (0..some).map(|_| self.task()).collect();
            let stored = self.client.submit_all(tasks).await;
            stored.map_err(|error| BenchError::weft("fill the queue")(&error))?;
            left -= some;
        }
        Ok(())
    }

    /// Times one submission, then one pull of the oldest task, which is acknowledged.
    async fn submit_and_pull(&mut self) -> Result<(Duration, Duration), BenchError> {
        let began = Instant::now();
        let stored = self.client.submit(self.task()).await;
        let submit = began.elapsed();
        stored.map_err(|error| BenchError::weft("submit")(&error))?;
        let began = Instant::now();
        self.puller.ask(1).await;
        loop {
            match self.puller.next().await {
                Pulled::Delivery(delivery) => {
                    let pull = began.elapsed();
                    self.client.bus().ack(&delivery.ack_subject).await;
                    return Ok((submit, pull));
                }
                Pulled::Fewer => self.puller.ask(1).await,
                Pulled::Closed => {
                    return Err(BenchError::Weft {
                        doing: "pull",
                        reason: "the connection is closed".to_owned(),
                    });
                }
            }
        }
    }
}
