//! A mesh that serves `echo` and the benchmark's own agent, and one client of it.

use std::time::Duration;

use client::{Client, Results, Submission};
use protocol::entry::Event;
use protocol::input::Input;
use protocol::{Owner, Skill, TaskId};
use runtime::bus::Bus;
use runtime::nats_server::Found;
use tempfile::TempDir;
use tokio::time::Instant;

use super::agent::{Order, SIGNAL};
use crate::BenchError;
use crate::child::Again;
use crate::mesh::Mesh;
use crate::meter::Meter;
use crate::role::bus_settings;

const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) struct Stage {
    pub(crate) mesh: Mesh,
    pub(crate) client: Client,
    results: Results,
    skill: Skill,
}

fn weft(doing: &'static str) -> impl Fn(&dyn std::error::Error) -> BenchError {
    BenchError::weft(doing)
}

impl Stage {
    pub(crate) async fn set(
        found: &Found,
        again: &Again,
        place: &TempDir,
        name: &str,
    ) -> Result<Self, BenchError> {
        let agents = "[node]\ngroup_commit = \"off\"\n\
            [[agents]]\nskill = \"echo\"\nkind = \"echo\"\nconcurrency = 256\n\
            [[agents]]\nskill = \"durable\"\nkind = \"durable\"\nconcurrency = 64\n";
        let mesh = Mesh::start(found, again, place, name, false, Some(agents.to_owned())).await?;
        let bus = Bus::connect(bus_settings(&mesh.server.client_url(), "bench"))
            .await
            .map_err(|error| weft("connect")(&error))?;
        let client = Client::new(bus);
        let results = Results::open(client.clone(), Owner::default(), &mesh.jobs)
            .await
            .map_err(|error| weft("listen")(&error))?;
        let skill = Skill::parse("durable").map_err(|error| weft("name a skill")(&error))?;
        Ok(Self { mesh, client, results, skill })
    }

    pub(crate) async fn submit(&self, order: Order) -> Result<TaskId, BenchError> {
        let body = serde_json::to_vec(&order).unwrap_or_default();
        let receipt = self.client.submit(Submission::new(self.skill.clone(), body)).await;
        receipt.map(|receipt| receipt.task).map_err(|error| weft("submit")(&error))
    }

    /// Submits one `echo`.
    pub(super) async fn echo(&self) -> Result<(), BenchError> {
        let echo = Skill::parse("echo").map_err(|error| weft("name a skill")(&error))?;
        let receipt = self
            .client
            .submit(Submission::new(echo, "x"))
            .await
            .map_err(|error| weft("submit")(&error))?;
        self.completed(&receipt.task).await
    }

    /// Waits until a task has completed.
    pub(super) async fn completed(&self, task: &TaskId) -> Result<(), BenchError> {
        let end = self.results.end_of(task, PATIENCE).await;
        let end = end.map_err(|error| weft("await the end")(&error))?;
        if matches!(end.event, Event::Completed { .. }) {
            return Ok(());
        }
        Err(BenchError::Weft {
            doing: "await the result",
            reason: format!("task {task} ended otherwise: {:?}", end.event),
        })
    }

    /// What the processes have used so far.
    pub(super) async fn meter(&self) -> Result<Meter, BenchError> {
        let node = self.mesh.node.as_ref().ok_or(BenchError::NotReady { what: "node" })?;
        Meter::read(&self.mesh, node.pid, self.client.bus()).await
    }

    /// The time from submission to end.
    pub(super) async fn run(&self, order: Order) -> Result<Duration, BenchError> {
        let began = Instant::now();
        let task = self.submit(order).await?;
        self.completed(&task).await?;
        Ok(began.elapsed())
    }

    /// Waits until a task waits.
    pub(super) async fn waiting(&self, task: &TaskId) -> Result<(), BenchError> {
        let began = Instant::now();
        loop {
            let log = self.client.log(&Owner::default(), task).await;
            if log.map_err(|error| weft("read a log")(&error))?.waiting_for.is_some() {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                return Err(BenchError::Weft {
                    doing: "wait until a task waits",
                    reason: format!("task {task} does not"),
                });
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The time from the signal to the end.
    pub(super) async fn wake(&self, task: &TaskId) -> Result<Duration, BenchError> {
        let signal = Input::Signal { name: SIGNAL.to_owned(), payload: Vec::new() };
        let began = Instant::now();
        self.client
            .say(&Owner::default(), task, &signal, None)
            .await
            .map_err(|error| weft("signal")(&error))?;
        self.completed(task).await?;
        Ok(began.elapsed())
    }
}

/// The median.
pub(super) fn p50(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
