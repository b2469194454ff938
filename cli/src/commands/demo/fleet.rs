//! The demo's fleet: a nats-server, a coordinator and three nodes, each a process of its own.

use std::io;
use std::path::{Path, PathBuf};

use runtime::bus::{BusSettings, Credentials, TlsFiles};
use runtime::clock::Clock;
use runtime::nats_server::{Found, ServerChild, ServerSettings, StartError, start};
use tempfile::TempDir;

use super::process::{Launch, Process, ProcessError};
use super::settings::{self, COORDINATOR, NODES};

/// Why there is no fleet.
#[derive(Debug, thiserror::Error)]
pub(super) enum FleetError {
    /// Settings and logs cannot be written.
    #[error("cannot write to {}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server did not start.
    #[error("nats-server did not start")]
    Server(#[from] StartError),
    /// A role did not start, or ended.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The server ended.
    #[error("nats-server ended by itself; its log is {}", .0.display())]
    ServerEnded(PathBuf),
}

/// The running processes. Dropping it kills them.
pub(super) struct Fleet {
    // Before the directory, so that nobody writes there any more when that is removed.
    nodes: Vec<Process>,
    coordinator: Option<Process>,
    server: Option<ServerChild>,
    dir: TempDir,
}

impl Fleet {
    /// An empty fleet with a directory for its files.
    pub(super) fn new() -> Result<Self, FleetError> {
        let dir = tempfile::Builder::new()
            .prefix("weft-demo-")
            .tempdir()
            .map_err(|source| FleetError::Write { path: std::env::temp_dir(), source })?;
        Ok(Self { nodes: Vec::new(), coordinator: None, server: None, dir })
    }

    /// Where logs, settings and the server's data are.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts everything and waits until all are ready.
    pub(super) async fn start(&mut self, found: &Found, python: bool) -> Result<(), FleetError> {
        let data = self.dir().join("nats");
        let server = self.server.insert(start(found, ServerSettings::new(data)).await?);
        let (url, system) = (server.client_url(), server.system_url());
        let dir = self.dir.path();
        let launch = |name: &str, command: &str, system: Option<&str>| {
            let config = settings::write(dir, name, python)
                .map_err(|source| FleetError::Write { path: dir.to_owned(), source })?;
            let config = &config;
            Ok::<_, FleetError>(Process::start(&Launch {
                name,
                command,
                config,
                server: &url,
                system,
                dir,
            })?)
        };
        let coordinator = launch(COORDINATOR, "coordinator", Some(&system))?;
        self.coordinator.insert(coordinator).ready().await?;
        for name in NODES {
            self.nodes.push(launch(name, "node", None)?);
        }
        for node in &mut self.nodes {
            node.ready().await?;
        }
        Ok(())
    }

    /// How the demo itself connects.
    pub(super) fn bus(&self) -> BusSettings {
        BusSettings {
            servers: self.server.as_ref().map(ServerChild::client_url).unwrap_or_default(),
            credentials: Credentials::None,
            tls: TlsFiles::default(),
            role: "demo".to_owned(),
            subjects: protocol::subject::Subjects::default(),
        }
    }

    /// Process ids by name.
    pub(super) fn pids(&self) -> Vec<(String, u32)> {
        let roles = self.coordinator.iter().chain(&self.nodes);
        let named = roles.filter_map(|role| Some((role.name().to_owned(), role.pid()?)));
        let server = self.server.as_ref().and_then(ServerChild::pid);
        server.map(|pid| ("nats-server".to_owned(), pid)).into_iter().chain(named).collect()
    }

    /// An error once somebody has ended without being killed.
    pub(super) fn check(&mut self) -> Result<(), FleetError> {
        if self.server.as_ref().is_some_and(|server| server.pid().is_none()) {
            return Err(FleetError::ServerEnded(self.dir().join("nats/nats-server.log")));
        }
        for role in self.coordinator.iter_mut().chain(&mut self.nodes) {
            role.check()?;
        }
        Ok(())
    }

    /// A node, by its name.
    pub(super) fn node(&self, name: &str) -> Option<&Process> {
        self.nodes.iter().find(|process| process.name() == name)
    }

    /// Kills a node with SIGKILL; returns its process id and the time right before.
    pub(super) async fn kill(
        &mut self,
        node: &str,
        clock: &Clock,
    ) -> Option<(u32, protocol::Timestamp)> {
        let at = self.nodes.iter().position(|process| process.name() == node)?;
        let mut process = self.nodes.remove(at);
        let pid = process.pid()?;
        let killed_at = clock.now();
        process.kill().await;
        Some((pid, killed_at))
    }

    /// Ends everything: in good order, or at once.
    pub(super) async fn stop(&mut self, in_order: bool) {
        let mut roles: Vec<_> = self.nodes.drain(..).chain(self.coordinator.take()).collect();
        if in_order {
            for role in &roles {
                role.ask_to_stop();
            }
            for role in &mut roles {
                role.stopped().await;
            }
        }
        for role in &mut roles {
            role.kill().await;
        }
        if let Some(mut server) = self.server.take() {
            server.kill().await;
        }
    }

    /// Leaves logs and settings where they are, and says where.
    pub(super) fn keep_files(self) -> PathBuf {
        self.dir.keep()
    }
}
