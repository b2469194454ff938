//! The role of a node, from settings to exit: what `weft node`, `weft dev` and `agent-node` run.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use protocol::id::{NodeName, Role};
use runtime::bus::{Bus, BusSettings, ConnectError};
use runtime::clock::Clock;
use runtime::config::{AgentSection, Settings};
use runtime::health::server::ServeError;
use runtime::health::{Health, server};
use runtime::link;
use runtime::metric::Metrics;
use runtime::supervisor::{JobFailed, Kind, Supervisor};
use tokio_util::sync::CancellationToken;

use crate::agents::{self, AgentKind, BuildError, Surroundings};
use crate::node::{DrainError, GroupCommit, Node, NodeSettings, StartError};
use crate::served::{Served, Terms};

/// What a node is run with.
pub struct NodeRole {
    /// Where and how to connect.
    pub bus: BusSettings,
    /// The settings of all roles.
    pub settings: Settings,
    /// Its name, before the one in the settings.
    pub name: Option<NodeName>,
    /// Where health and metrics are served, before the one in the settings.
    pub http: Option<String>,
    /// Where relative paths in the agents' options start.
    pub base: PathBuf,
    /// Kinds of agents beside those of the list.
    pub kinds: &'static [AgentKind],
}

/// A node is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Its name.
    pub name: NodeName,
    /// Where health and metrics are served.
    pub http: Option<SocketAddr>,
}

/// Why a node ended badly.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// The bus cannot be reached or used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// An agent cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// An agent's schema cannot be used.
    #[error("agent for skill {skill}: its schema cannot be used")]
    Schema {
        /// The skill.
        skill: String,
        /// Why.
        #[source]
        source: protocol::schema::SchemaError,
    },
    /// There is nothing to serve.
    #[error("no agents to run: name some under [[agents]] in weft.toml")]
    NoAgents,
    /// The node cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Health and metrics cannot be served.
    #[error(transparent)]
    Http(#[from] ServeError),
    /// A part that the node cannot do without failed.
    #[error("the node cannot go on")]
    Failed(#[source] JobFailed),
    /// It did not stop in good order.
    #[error(transparent)]
    Drain(#[from] DrainError),
}

/// Runs a node until `stop`, then drains it.
///
/// # Errors
/// See [`RoleError`].
pub async fn run(
    role: NodeRole,
    stop: CancellationToken,
    ready: impl FnOnce(Ready) + Send,
) -> Result<(), RoleError> {
    let settings = &role.settings;
    if settings.agents.is_empty() {
        return Err(RoleError::NoAgents);
    }
    let name = role
        .name
        .clone()
        .or_else(|| settings.node.name.clone())
        .unwrap_or_else(|| NodeName::made_up(Role::Node, rand::random()));
    let metrics = Metrics::new("node");
    // The node's jobs and its health server end at different times: the server goes on while the node drains.
    let jobs = Supervisor::new(metrics.clone());
    let outer = Supervisor::new(metrics.clone());
    let health = Health::new();
    let skills = build(&role, &jobs, &metrics)?;
    let bus = tokio::select! {
        bus = Bus::connect_patiently(role.bus.clone()) => bus?,
        () = stop.cancelled() => return Ok(()),
    };
    let on_bus = health.check("bus");
    let http = match role.http.as_ref().or(settings.node.http.as_ref()) {
        None => None,
        Some(text) => {
            let address = server::parse_address(text)?;
            Some(server::serve(address, health.clone(), metrics.clone(), &outer).await?.local_addr)
        }
    };
    let watching = link::watch(bus.clone(), on_bus, metrics.clone(), outer.shutdown_token());
    outer.spawn("bus watch", Kind::Critical, watching);
    let node_settings = NodeSettings {
        name: name.clone(),
        group_commit: match settings.node.group_commit.as_str() {
            "on" => GroupCommit::On,
            "off" => GroupCommit::Off,
            _ => GroupCommit::Auto,
        },
        provision: settings.node.provision.then(|| settings.capacity.clone()),
        bytes_in_flight_max: settings.node.bytes_in_flight_max,
    };
    let clock = Clock::system();
    let pulling = health.check("intake");
    let starting = Node::start(bus.clone(), node_settings, skills, jobs.clone(), metrics, clock);
    let node = tokio::select! {
        node = starting => node?,
        () = stop.cancelled() => return Ok(()),
    };
    pulling.ok();
    tracing::info!(node = %name, "ready");
    ready(Ready { name, http });
    let (failed, died) = (jobs.shutdown_token(), outer.shutdown_token());
    tokio::select! {
        () = stop.cancelled() => {}
        () = failed.cancelled() => {}
        () = died.cancelled() => {}
    }
    if let Some(failure) = outer.failure().or_else(|| jobs.failure())
        && !bus.is_alive().await
    {
        // Nothing can be given back over a dead connection; the leases do it.
        return Err(RoleError::Failed(failure));
    }
    pulling.leaving("draining");
    let drained = node.drain(settings.node.drain_grace).await;
    outer.shutdown();
    drop(outer.wait(Duration::from_secs(1)).await);
    match jobs.failure() {
        Some(failure) => Err(RoleError::Failed(failure)),
        None => Ok(drained?),
    }
}

fn build(role: &NodeRole, jobs: &Supervisor, metrics: &Metrics) -> Result<Vec<Served>, RoleError> {
    let surroundings = Surroundings {
        base: role.base.clone(),
        environment: std::env::vars_os().collect(),
        supervisor: jobs.clone(),
    };
    let one = |section: &AgentSection| {
        let agent = agents::build(section, &surroundings, role.kinds)?;
        let terms = Terms {
            skill: section.skill.clone(),
            concurrency: section.concurrency,
            timeout: section.timeout,
            cancel_grace: section.cancel_grace,
            on_message: section.on_message,
            order: section.order,
            retry: section.retry.clone(),
            guard: Arc::new(section.guard.clone()),
        };
        Served::new(terms, agent, metrics)
            .map_err(|source| RoleError::Schema { skill: section.skill.to_string(), source })
    };
    role.settings.agents.iter().map(one).collect()
}
