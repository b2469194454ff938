//! A server with Weft's node and coordinator as processes of their own, and the floor's worker beside them.

use runtime::metric::Metrics;
use runtime::nats_server::{Found, ServerChild, ServerSettings, SyncInterval, start};
use runtime::supervisor::Supervisor;
use tempfile::TempDir;

use crate::BenchError;
use crate::child::{Again, RoleChild};
use crate::role::Order;

/// A server and the processes of a mesh.
pub(crate) struct Mesh {
    pub(crate) server: ServerChild,
    pub(crate) coordinator: RoleChild,
    pub(crate) node: Option<RoleChild>,
    pub(crate) jobs: Supervisor,
}

impl Mesh {
    /// Starts a server and a coordinator, and with a configuration a node.
    pub(crate) async fn start(
        found: &Found,
        again: &Again,
        place: &TempDir,
        name: &str,
        sync_always: bool,
        node: Option<String>,
    ) -> Result<Self, BenchError> {
        Self::start_with(found, again, place, (name, sync_always), String::new(), node).await
    }

    /// Starts a server and a coordinator that keeps a read model, and no node.
    pub(crate) async fn start_with_lists(
        found: &Found,
        again: &Again,
        place: &TempDir,
        name: &str,
    ) -> Result<Self, BenchError> {
        let model = place.path().join(format!("{name}.sqlite"));
        let config = format!("[coordinator]\nread_model = {model:?}\n");
        Self::start_with(found, again, place, (name, false), config, None).await
    }

    async fn start_with(
        found: &Found,
        again: &Again,
        place: &TempDir,
        (name, sync_always): (&str, bool),
        config: String,
        node: Option<String>,
    ) -> Result<Self, BenchError> {
        let mut settings = ServerSettings::new(place.path().join(name));
        if sync_always {
            settings.sync_interval = SyncInterval::Always;
        }
        let server = start(found, settings).await?;
        let coordinator = again
            .start(&Order::Coordinator {
                server: server.client_url(),
                password: server.settings().passwords.system.expose().to_owned(),
                sync_always,
                config,
            })
            .await?;
        let node = match node {
            None => None,
            Some(config) => {
                Some(again.start(&Order::Node { server: server.client_url(), config }).await?)
            }
        };
        let jobs = Supervisor::new(Metrics::new("bench"));
        Ok(Self { server, coordinator, node, jobs })
    }

    /// Starts a gateway.
    pub(crate) async fn gateway(&self, again: &Again) -> Result<RoleChild, BenchError> {
        again.start(&Order::Gateway { server: self.server.client_url() }).await
    }

    /// The server's process.
    pub(crate) fn server_pid(&self) -> Result<u32, BenchError> {
        self.server.pid().ok_or(BenchError::NotReady { what: "nats-server" })
    }

    /// Ends all of it.
    pub(crate) async fn stop(mut self) {
        self.jobs.shutdown();
        if let Some(node) = self.node {
            node.stop().await;
        }
        self.coordinator.stop().await;
        // What it stored is of no use any more.
        self.server.kill().await;
    }
}

/// A node's configuration: one skill and its slots. A node that finds no consumers makes them, and would not know
/// then how the server syncs.
pub(crate) fn one_agent(kind: &str, slots: usize, sync_always: bool) -> String {
    let group_commit = if sync_always { "on" } else { "off" };
    format!(
        "[node]\ngroup_commit = \"{group_commit}\"\n[[agents]]\nskill = \"{kind}\"\nkind = \"{kind}\"\nconcurrency = {slots}\n"
    )
}
