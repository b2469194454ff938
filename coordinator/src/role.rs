//! The role of a coordinator, from settings to exit: what `weft coordinator`, `weft dev` and `coordinator` run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use client::Client;
use projection::{OpenError, Projection};
use protocol::id::{NodeName, Role};
use protocol::topology::Capacity;
use runtime::bus::{
    Bus, BusSettings, ConnectError, Patience, ProvisionError, Provisioned, SYNC_ALWAYS,
    SYNC_INTERVAL, SystemBus,
};
use runtime::clock::Clock;
use runtime::config::Settings;
use runtime::health::server::ServeError;
use runtime::health::{CheckHandle, Health, server};
use runtime::link;
use runtime::metric::Metrics;
use runtime::supervisor::{Backoff, JobFailed, Kind, Supervisor};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::retire::{Retire, UnusedFiles};
use crate::shell::agents::Agents;
use crate::shell::board::Board;
use crate::shell::care::Care;
use crate::shell::crash::{self, Giving};
use crate::shell::kept::Kept;
use crate::shell::log::Logs;
use crate::shell::{calls, lists, poison, resolve, skills};

/// What a coordinator is run with.
pub struct CoordinatorRole {
    /// Where and how to connect.
    pub bus: BusSettings,
    /// The system account, which sees connections end.
    pub system: Option<BusSettings>,
    /// The settings of all roles.
    pub settings: Settings,
    /// Its name, before the one in the settings.
    pub name: Option<NodeName>,
    /// Where health and metrics are served, before the one in the settings.
    pub http: Option<String>,
    /// Whether the server syncs every write, if the caller knows.
    pub sync_always: Option<bool>,
}

/// A coordinator is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Its name.
    pub name: NodeName,
    /// Where health and metrics are served.
    pub http: Option<SocketAddr>,
}

/// Why a coordinator ended badly.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// The bus cannot be reached or used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Something is missing on the server and cannot be created.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// Health and metrics cannot be served.
    #[error(transparent)]
    Http(#[from] ServeError),
    /// The read model cannot be used.
    #[error(transparent)]
    ReadModel(#[from] OpenError),
    /// A part that the coordinator cannot do without failed.
    #[error("the coordinator cannot go on")]
    Failed(#[source] JobFailed),
}

/// How long jobs may take to end.
const END_LIMIT: Duration = Duration::from_secs(3);
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(5) };

/// Runs a coordinator until `stop`.
///
/// # Errors
/// See [`RoleError`].
pub async fn run(
    role: CoordinatorRole,
    stop: CancellationToken,
    ready: impl FnOnce(Ready) + Send,
) -> Result<(), RoleError> {
    let settings = &role.settings;
    let name = role
        .name
        .clone()
        .or_else(|| settings.coordinator.name.clone())
        .unwrap_or_else(|| NodeName::made_up(Role::Coordinator, rand::random()));
    let metrics = Metrics::new("coordinator");
    let jobs = Supervisor::new(metrics.clone());
    let health = Health::new();
    let bus = tokio::select! {
        bus = Bus::connect_patiently(role.bus.clone()) => bus?,
        () = stop.cancelled() => return Ok(()),
    };
    let watching =
        link::watch(bus.clone(), health.check("bus"), metrics.clone(), jobs.shutdown_token());
    jobs.spawn("bus watch", Kind::Critical, watching);
    let http = match role.http.as_ref().or(settings.coordinator.http.as_ref()) {
        None => None,
        Some(text) => {
            let address = server::parse_address(text)?;
            Some(server::serve(address, health.clone(), metrics.clone(), &jobs).await?.local_addr)
        }
    };
    let system_check = health.check("system account");
    let system = connect_system(role.system.clone(), &system_check).await;
    let sync_always = match (role.sync_always, &system) {
        (Some(known), _) => Some(known),
        (None, Some(system)) => system.sync_always().await,
        (None, None) => None,
    };
    let sync = sync_always.map(|always| if always { SYNC_ALWAYS } else { SYNC_INTERVAL });
    let provisioned = tokio::select! {
        provisioned = provision(&bus, &settings.capacity, sync) => provisioned?,
        () = stop.cancelled() => return Ok(()),
    };
    for difference in &provisioned.differences {
        tracing::warn!(
            what = difference.what,
            setting = difference.setting,
            found = difference.found,
            wanted = difference.wanted,
            reason = "left as it is; see weft doctor",
            "a setting on the server differs"
        );
    }
    // Without it messages go one by one.
    bus.gather(&jobs).await.ok();
    let kept = Kept::default();
    let logs = Logs { bus: bus.clone(), clock: Clock::system(), by: name.clone(), kept };
    let system =
        role.system.map(|settings| System { settings, first: system, check: system_check });
    let read_model =
        settings.coordinator.read_model.as_deref().map(Projection::open).transpose()?;
    let read_model = read_model.map(Arc::new);
    let parts = Parts { bus, system, logs, metrics, read_model, jobs: jobs.clone() };
    parts.start(settings, sync);
    health.check("care").ok();
    tracing::info!(coordinator = %name, "ready");
    ready(Ready { name, http });
    let failed = jobs.shutdown_token();
    tokio::select! {
        () = stop.cancelled() => {}
        () = failed.cancelled() => {}
    }
    jobs.shutdown();
    if let Err(still) = jobs.wait(END_LIMIT).await {
        tracing::warn!(reason = %still, "ended all the same");
    }
    jobs.failure().map_or(Ok(()), |failure| Err(RoleError::Failed(failure)))
}

/// Creates what is missing, as soon as the servers can.
async fn provision(
    bus: &Bus,
    capacity: &Capacity,
    sync: Option<&str>,
) -> Result<Provisioned, ProvisionError> {
    let patience = Patience::new();
    loop {
        match bus.provision(capacity, sync).await {
            Err(error) if error.may_pass() => {
                if !patience.rest(&error).await {
                    return Err(error);
                }
            }
            done => return done,
        }
    }
}

/// The system account is a convenience: without it, leases find what it would have told. It is tried again later.
async fn connect_system(settings: Option<BusSettings>, check: &CheckHandle) -> Option<SystemBus> {
    let Some(settings) = settings else {
        check.degraded("not configured: killed nodes are noticed by their leases alone");
        return None;
    };
    match SystemBus::connect(settings).await {
        Ok(system) => {
            check.ok();
            Some(system)
        }
        Err(error) => {
            check.degraded(error.to_string());
            tracing::warn!(reason = %error, "system account out of reach");
            None
        }
    }
}

/// The connection to the system account.
struct System {
    settings: BusSettings,
    /// The one that has been made already.
    first: Option<SystemBus>,
    check: CheckHandle,
}

/// Keeps the read model up to date and answers from it.
fn keep_read_model(bus: &Bus, jobs: &Supervisor, projection: Arc<Projection>) {
    let stop = jobs.shutdown_token();
    let following = (bus.clone(), Arc::clone(&projection), stop.clone());
    jobs.spawn_restarting("read model", BACKOFF, move || {
        let (bus, projection, stop) = following.clone();
        projection::follow(bus, projection, stop)
    });
    let answering = (bus.clone(), projection, jobs.clone(), stop);
    jobs.spawn_restarting("lists", BACKOFF, move || {
        let (bus, projection, jobs, stop) = answering.clone();
        lists::serve(bus, projection, jobs, stop)
    });
}

struct Parts {
    bus: Bus,
    system: Option<System>,
    logs: Logs,
    metrics: Metrics,
    read_model: Option<Arc<Projection>>,
    jobs: Supervisor,
}

impl Parts {
    fn start(self, settings: &Settings, sync: Option<&'static str>) {
        let Self { bus, system, logs, metrics, read_model, jobs } = self;
        if let Some(projection) = &read_model {
            keep_read_model(&bus, &jobs, Arc::clone(projection));
        }
        let client = Client::new(bus.clone());
        let stop = jobs.shutdown_token();
        let agents = Agents::new(client.clone());
        let care = Care {
            logs: logs.clone(),
            client: client.clone(),
            agents: agents.clone(),
            metrics: metrics.clone(),
        };
        let resolving = (bus.clone(), agents, logs.clock.clone(), stop.clone());
        jobs.spawn_restarting("resolve", BACKOFF, move || {
            let (bus, agents, clock, stop) = resolving.clone();
            resolve::serve(bus, agents, clock, stop)
        });
        // What no client can parse would end the connection before it is found.
        let looked = CancellationToken::new();
        let caring = (looked.clone(), stop.clone());
        jobs.spawn_restarting("care", BACKOFF, move || {
            let (care, (looked, stop)) = (care.clone(), caring.clone());
            async move {
                looked.cancelled().await;
                care.serve(stop).await
            }
        });
        let calling = (client.clone(), jobs.clone(), metrics.clone(), stop.clone());
        jobs.spawn_restarting("calls", BACKOFF, move || {
            let (client, jobs, metrics, stop) = calling.clone();
            calls::serve(client, jobs, metrics, stop)
        });
        let retire = Retire {
            client: client.clone(),
            clock: logs.clock.clone(),
            metrics: metrics.clone(),
            tasks_kept: settings.coordinator.tasks_kept,
            webhooks_kept: settings.gateway.push.retention,
            read_model,
        };
        jobs.spawn("retire", Kind::Work, retire.serve(stop.clone()));
        if let Some(kept) = settings.coordinator.unused_files_kept {
            let files = UnusedFiles { client: client.clone(), kept, metrics: metrics.clone() };
            jobs.spawn("files", Kind::Work, files.serve(stop.clone()));
        }
        let hint = Arc::new(Notify::new());
        let sweeping = poison::sweep(logs, client.clone(), Arc::clone(&hint), looked, stop.clone());
        jobs.spawn("poison", Kind::Work, sweeping);
        let board = Arc::new(Board::default());
        let hearing = (bus.clone(), Arc::clone(&board), stop.clone());
        jobs.spawn_restarting("holding", BACKOFF, move || {
            let (bus, board, stop) = hearing.clone();
            crash::hear(bus, board, stop)
        });
        if let Some(System { settings, mut first, check }) = system {
            let giving = Giving { bus, board, metrics, jobs: jobs.clone(), poison: hint, check };
            let stop = stop.clone();
            jobs.spawn_restarting("crash", BACKOFF, move || {
                giving.clone().serve(settings.clone(), first.take(), stop.clone())
            });
        }
        let provisioning = skills::provision(client, settings.capacity.clone(), sync, stop);
        jobs.spawn("skills", Kind::Critical, provisioning);
    }
}
