//! A whole mesh on this machine: nats-server, coordinators and nodes, each a process of its own.

use std::time::Duration;

use client::{Client, Results};
use protocol::entry::Entry;
use protocol::id::{Owner, Skill, TaskId};
use protocol::subject::Subject;
use runtime::bus::{Bus, BusSettings, Credentials, TlsFiles};
use runtime::metric::Metrics;
use runtime::nats_server::{FindOptions, Found, ServerChild, ServerSettings, find, start};
use runtime::supervisor::Supervisor;
use tempfile::TempDir;

use crate::process::{Orders, Process};

/// The agents of a mesh unless a suite names others: `echo` and `probe`, with a short lease.
pub const AGENTS: &str = r#"
[bus]
lease = "2s"
[node]
drain_grace = "5s"
http = "127.0.0.1:0"
[coordinator]
http = "127.0.0.1:0"
[gateway]
http = "127.0.0.1:0"
listen = "127.0.0.1:0"
open = true
[[agents]]
skill = "echo"
kind = "echo"
concurrency = 64
[[agents]]
skill = "probe"
kind = "probe"
concurrency = 16
timeout = "30s"
cancel_grace = "1s"
[agents.retry]
attempts_max = 4
backoff_first = "50ms"
"#;

/// A mesh.
pub struct Mesh {
    /// The server.
    pub server: ServerChild,
    /// A client.
    pub client: Client,
    /// The ends of the default owner's tasks.
    pub results: Results,
    /// The text of the `weft.toml` that processes get.
    pub config: String,
    program: String,
    directory: TempDir,
    supervisor: Supervisor,
}

/// Settings for a connection without credentials.
#[must_use]
pub fn bus_settings(url: &str, role: &str) -> BusSettings {
    BusSettings {
        servers: url.to_owned(),
        credentials: Credentials::None,
        tls: TlsFiles::default(),
        role: role.to_owned(),
        subjects: protocol::subject::Subjects::default(),
    }
}

/// The nats-server of these tests.
pub async fn nats_server() -> Found {
    find(&FindOptions::from_environment()).await.unwrap()
}

impl Mesh {
    /// Starts a server and one coordinator. `program` is the test's `mesh-process` binary:
    /// `env!("CARGO_BIN_EXE_mesh-process")`.
    pub async fn start(program: &str, config: &str) -> (Self, Process) {
        Self::start_with(program, config, |settings| settings).await
    }

    /// As [`Mesh::start`], with a say in the server's settings.
    pub async fn start_with(
        program: &str,
        config: &str,
        adjust: impl FnOnce(ServerSettings) -> ServerSettings,
    ) -> (Self, Process) {
        let directory = tempfile::tempdir().unwrap();
        let settings = adjust(ServerSettings::new(directory.path().join("nats")));
        let server = start(&nats_server().await, settings).await.unwrap();
        let url = server.client_url();
        let orders = Orders {
            role: "coordinator".to_owned(),
            name: "c0".to_owned(),
            server: url.clone(),
            system: Some(server.system_url()),
            config: config.to_owned(),
        };
        let coordinator = Process::start(program, orders, directory.path().join("c0.log")).await;
        let client = Client::new(Bus::connect(bus_settings(&url, "test")).await.unwrap());
        let supervisor = Supervisor::new(Metrics::new("test"));
        let results = Results::open(client.clone(), Owner::default(), &supervisor).await.unwrap();
        let mesh = Self {
            server,
            client,
            results,
            config: config.to_owned(),
            program: program.to_owned(),
            directory,
            supervisor,
        };
        (mesh, coordinator)
    }

    /// Starts a further node.
    pub async fn node(&self, name: &str) -> Process {
        self.process("node", name, None).await
    }

    /// Starts a further node with settings and environment variables of its own.
    pub async fn node_with(
        &self,
        name: &str,
        config: &str,
        environment: &[(&str, &str)],
    ) -> Process {
        let orders = Orders {
            role: "node".to_owned(),
            name: name.to_owned(),
            server: self.server.client_url(),
            system: None,
            config: config.to_owned(),
        };
        let log = self.directory.path().join(format!("{name}.log"));
        Process::start_with(&self.program, orders, log, environment).await
    }

    /// Starts a further node that reaches the server another way.
    pub async fn node_at(&self, name: &str, server: &str) -> Process {
        let orders = Orders {
            role: "node".to_owned(),
            name: name.to_owned(),
            server: server.to_owned(),
            system: None,
            config: self.config.clone(),
        };
        let log = self.directory.path().join(format!("{name}.log"));
        Process::start(&self.program, orders, log).await
    }

    /// Starts a further coordinator, with or without a view of the system account.
    pub async fn coordinator(&self, name: &str, sees_system: bool) -> Process {
        let system = sees_system.then(|| self.server.system_url());
        self.process("coordinator", name, system).await
    }

    /// Starts a further gateway.
    pub async fn gateway(&self, name: &str) -> Process {
        self.process("gateway", name, None).await
    }

    /// Starts a further gateway with settings of its own.
    pub async fn gateway_with(&self, name: &str, config: &str) -> Process {
        let orders = self.gateway_orders(name, config);
        Process::start(&self.program, orders, self.directory.path().join(format!("{name}.log")))
            .await
    }

    /// What a gateway with settings of its own is told.
    #[must_use]
    pub fn gateway_orders(&self, name: &str, config: &str) -> Orders {
        Orders {
            role: "gateway".to_owned(),
            name: name.to_owned(),
            server: self.server.client_url(),
            system: None,
            config: config.to_owned(),
        }
    }

    async fn process(&self, role: &str, name: &str, system: Option<String>) -> Process {
        let orders = Orders {
            role: role.to_owned(),
            name: name.to_owned(),
            server: self.server.client_url(),
            system,
            config: self.config.clone(),
        };
        let log = self.directory.path().join(format!("{name}.log"));
        Process::start(&self.program, orders, log).await
    }

    /// A folder that lives as long as the mesh.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// A client connection of its own.
    pub async fn connect(&self, role: &str) -> Bus {
        Bus::connect(bus_settings(&self.server.client_url(), role)).await.unwrap()
    }

    /// Submits a body to a skill, waits for the end, and returns the task's id with all of its entries.
    pub async fn run(&self, skill: &str, body: impl Into<bytes::Bytes>) -> (TaskId, Vec<Entry>) {
        let submission = client::Submission::new(Skill::parse(skill).unwrap(), body);
        let receipt = self.client.submit(submission).await.unwrap();
        self.end_of(&receipt.task).await;
        let entries = self.entries(&receipt.task).await;
        (receipt.task, entries)
    }

    /// Waits for the end of a task, for a minute at most.
    pub async fn end_of(&self, task: &TaskId) -> Entry {
        self.results.end_of(task, Duration::from_secs(60)).await.unwrap()
    }

    /// The entries of a task of the default owner.
    pub async fn entries(&self, task: &TaskId) -> Vec<Entry> {
        let entries = self.client.entries(&Owner::default(), task).await.unwrap();
        entries.into_iter().map(|(_, entry)| entry).collect()
    }

    /// Every log entry in the stream, in order: the oracle's view.
    pub async fn all_entries(&self) -> Vec<(TaskId, Entry)> {
        let bus = self.client.bus();
        let mut found = Vec::new();
        bus.scan(&bus.names().log, &bus.subjects().all_logs(), 1, |message| {
            if let Some(Subject::Log(_, task)) = bus.subjects().parse(&message.subject) {
                found.push((task, serde_json::from_slice(&message.payload).unwrap()));
            }
            std::ops::ControlFlow::Continue(())
        })
        .await
        .unwrap();
        found
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.supervisor.shutdown();
    }
}
