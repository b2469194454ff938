//! Weft's submitter: the client crate, as an application would use it.

use std::time::Duration;

use bytes::Bytes;
use client::{Client, Receipt, Results, Submission};
use protocol::entry::Event;
use protocol::message::Part;
use protocol::{Owner, Skill};
use runtime::bus::Bus;
use runtime::supervisor::Supervisor;

use crate::BenchError;
use crate::role::bus_settings;

const PATIENCE: Duration = Duration::from_secs(30);

/// Weft's submitter.
#[derive(Clone)]
pub(crate) struct Weft {
    pub(crate) client: Client,
    results: Results,
    skill: Skill,
    payload: Bytes,
    expected: Part,
}

impl Weft {
    pub(crate) async fn open(
        server: &str,
        skill: &str,
        bytes: usize,
        jobs: &Supervisor,
    ) -> Result<Self, BenchError> {
        let fail = BenchError::weft("connect");
        let bus =
            Bus::connect(bus_settings(server, "bench")).await.map_err(|error| fail(&error))?;
        let client = Client::new(bus);
        let results = Results::open(client.clone(), Owner::default(), jobs)
            .await
            .map_err(|error| fail(&error))?;
        let skill = Skill::parse(skill).map_err(|error| fail(&error))?;
        let text = "x".repeat(bytes);
        let expected = Part::text(text.as_str());
        Ok(Self { client, results, skill, payload: text.into(), expected })
    }

    pub(crate) fn submission(&self) -> Submission {
        Submission::new(self.skill.clone(), self.payload.clone())
    }

    /// Submits a task and waits for its result.
    pub(crate) async fn once(&self) -> Result<(), BenchError> {
        let receipt = self
            .client
            .submit(self.submission())
            .await
            .map_err(|error| BenchError::weft("submit")(&error))?;
        self.end_of(receipt).await
    }

    /// Submits tasks together.
    pub(crate) async fn submit(&self, count: usize) -> Result<Vec<Receipt>, BenchError> {
        self.client
            .submit_all((0..count).map(|_| self.submission()).collect())
            .await
            .map_err(|error| BenchError::weft("submit together")(&error))
    }

    /// Waits for the end of a task and checks it.
    pub(crate) async fn end_of(&self, receipt: Receipt) -> Result<(), BenchError> {
        let end = self
            .results
            .end_of(&receipt.task, PATIENCE)
            .await
            .map_err(|error| BenchError::weft("await the result")(&error))?;
        if let Event::Completed { output } = &end.event
            && output.first() == Some(&self.expected)
        {
            return Ok(());
        }
        let reason = format!("task {} ended as {}", receipt.task, end.event.kind().name());
        Err(BenchError::Weft { doing: "check the result", reason })
    }
}
