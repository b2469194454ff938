//! The role of a gateway, from settings to exit: what `weft gateway` and `weft dev` run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::middleware::from_fn_with_state;
use client::Client;
use protocol::id::NodeName;
use runtime::bus::{Bus, BusSettings, ConnectError};
use runtime::clock::Clock;
use runtime::config::{GatewaySection, LISTEN_DEFAULT, Settings};
use runtime::health::server::ServeError;
use runtime::health::{Health, server};
use runtime::link;
use runtime::metric::Metrics;
use runtime::supervisor::{JobFailed, Kind, Supervisor};
use tokio_util::sync::CancellationToken;

use crate::auth::audit::Audit;
use crate::auth::{self, Gate, GateError, Hall};
use crate::core::Core;
use crate::core::agents::Agents;
use crate::core::hub::Hub;
use crate::doors::{self, Doors};
use crate::limits::LAST_WORDS;
use crate::push::seal::{SealKeyError, Seals};
use crate::registry::Place;
use crate::serve::tls::{Tls, TlsError};
use crate::serve::{self, ListenError, Listener, Serving};

/// What a gateway is run with.
pub struct GatewayRole {
    /// Where and how to connect.
    pub bus: BusSettings,
    /// The settings of all roles.
    pub settings: Settings,
    /// Its name, before the one in the settings.
    pub name: Option<NodeName>,
    /// Where the doors are, before the one in the settings: at the first of these that is not taken.
    pub listen: Vec<String>,
    /// Where health and metrics are served, before the one in the settings.
    pub http: Option<String>,
}

/// A gateway is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Its name.
    pub name: NodeName,
    /// Where the doors are.
    pub listen: SocketAddr,
    /// Whether they speak TLS.
    pub is_secure: bool,
    /// Where health and metrics are served.
    pub http: Option<SocketAddr>,
}

/// Why a gateway ended badly.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// The bus cannot be reached or used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Health and metrics cannot be served.
    #[error(transparent)]
    Http(#[from] ServeError),
    /// The doors cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Cards cannot be signed.
    #[error(transparent)]
    SignKey(#[from] crate::cards::SignKeyError),
    /// Webhooks cannot be sealed.
    #[error(transparent)]
    SealKey(#[from] SealKeyError),
    /// Who may come in is not settled.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// Certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A part that the gateway cannot do without failed.
    #[error("the gateway cannot go on")]
    Failed(#[source] JobFailed),
}

/// How long jobs may take to end after the grace of open requests.
const END_LIMIT: Duration = Duration::from_secs(3);

/// Runs a gateway until `stop`.
///
/// # Errors
/// See [`RoleError`].
pub async fn run(
    role: GatewayRole,
    stop: CancellationToken,
    ready: impl FnOnce(Ready) + Send,
) -> Result<(), RoleError> {
    let GatewayRole { bus, settings, name, listen, http } = role;
    let section = settings.gateway;
    let name = name.or_else(|| section.name.clone()).unwrap_or_else(made_up);
    let metrics = Metrics::new("gateway");
    let jobs = Supervisor::new(metrics.clone());
    let health = Health::new();
    let grace = section.limits.grace;
    let seals = open_seals(&section)?;
    let front = Front::open(&section, listen).await?;
    let bus = tokio::select! {
        bus = Bus::connect_patiently(bus) => bus?,
        () = stop.cancelled() => return Ok(()),
    };
    let watching =
        link::watch(bus.clone(), health.check("bus"), metrics.clone(), jobs.shutdown_token());
    jobs.spawn("bus watch", Kind::Critical, watching);
    let streams = health.check("streams");
    crate::ready::first(&bus, &streams).await;
    let looking = crate::ready::watch(bus.clone(), streams, jobs.shutdown_token());
    jobs.spawn("streams watch", Kind::Work, looking);
    let http = match http.as_ref().or(section.http.as_ref()) {
        None => None,
        Some(text) => {
            let address = server::parse_address(text)?;
            Some(server::serve(address, health.clone(), metrics.clone(), &jobs).await?.local_addr)
        }
    };
    let (address, is_secure) = (front.listener.address, front.tls.is_some());
    let cards = crate::cards::Cards::open(&section, address)?;
    // Without it messages go one by one.
    bus.gather(&jobs).await.ok();
    let client = Client::new(bus);
    let base = crate::cards::base::Base::of_settings(&section, &address.to_string());
    let core = Arc::new(Core {
        files: crate::files::Files::new(client.bus().clone(), base),
        cards,
        hub: Hub::new(client.clone(), jobs.clone()),
        agents: Agents::new(client.clone(), jobs.clone()),
        seals,
        client,
        clock: Clock::system(),
        settings: section,
        metrics,
        jobs: jobs.clone(),
        hurry: CancellationToken::new(),
    });
    crate::push::serve(&core);
    Place::new(&core, name.clone(), address).keep(&jobs);
    front.serve(core, name.clone(), health);
    tracing::info!(%name, %address, "gateway is ready");
    ready(Ready { name, listen: address, is_secure, http });
    tokio::select! {
        () = stop.cancelled() => {}
        () = jobs.shutdown_token().cancelled_owned() => {}
    }
    jobs.shutdown();
    if let Err(still) = jobs.wait(grace + END_LIMIT).await {
        tracing::warn!(reason = %still, "ended without them");
    }
    jobs.failure().map_or(Ok(()), |failed| Err(RoleError::Failed(failed)))
}

/// What is settled before anybody is connected to, so that faults in the settings are told at once.
struct Front {
    listener: Listener,
    gate: Gate,
    tls: Option<Tls>,
}

impl Front {
    async fn open(section: &GatewaySection, listen: Vec<String>) -> Result<Self, RoleError> {
        let listener = match listen.as_slice() {
            [] => serve::listen(section.listen.as_deref().unwrap_or(LISTEN_DEFAULT)).await,
            some => first_free(some).await,
        }?;
        let gate = Gate::new(section, listener.address)?;
        let tls = section.tls.as_ref().map(Tls::open).transpose()?;
        let near = listener.address.ip().to_canonical().is_loopback();
        if tls.is_none() && !near && section.trusted_proxies.is_empty() {
            tracing::warn!("credentials cross the network in the clear: there is no gateway.tls");
        }
        Ok(Self { listener, gate, tls })
    }

    fn serve(self, core: Arc<Core>, name: NodeName, health: Health) {
        let (jobs, metrics) = (core.jobs.clone(), core.metrics.clone());
        let GatewaySection { audit, limits, trusted_proxies, .. } = core.settings.clone();
        let (bus, quiet) = (core.client.bus().clone(), CancellationToken::new());
        self.gate.keep_fresh(&jobs);
        jobs.spawn("last words", Kind::Work, hurry(&core, limits.grace, quiet.clone()));
        let hall = Hall {
            gate: self.gate,
            audit: Audit::open(audit.keep, name, bus, metrics.clone(), quiet.clone(), &jobs),
            metrics: metrics.clone(),
            health,
            clock: core.clock.clone(),
            limits: limits.clone(),
            closing: jobs.shutdown_token(),
        };
        let guard = from_fn_with_state(Arc::new(hall), auth::guard);
        let router = doors::router(Doors { core }).layer(guard);
        let (tls, proxies) = (self.tls, trusted_proxies);
        self.listener.serve(Serving { router, limits, tls, proxies, metrics, quiet }, &jobs);
    }
}

/// Ends the waiting of open requests shortly before the grace is over, so that their answers name their tasks.
fn hurry(
    core: &Core,
    grace: Duration,
    quiet: CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let (closing, hurry) = (core.jobs.shutdown_token(), core.hurry.clone());
    let patience = grace - LAST_WORDS.min(grace / 2);
    async move {
        closing.cancelled().await;
        tokio::select! {
            () = tokio::time::sleep(patience) => hurry.cancel(),
            // Nobody is left who waits.
            () = quiet.cancelled() => {}
        }
    }
}

/// The keys that webhooks are sealed under.
fn open_seals(section: &GatewaySection) -> Result<Seals, SealKeyError> {
    let seals = Seals::open(&section.push.seal_keys)?;
    let names = seals.names().collect::<Vec<_>>().join(" ");
    if !names.is_empty() {
        tracing::info!(names, "webhooks are sealed, under the first of these keys");
    } else if !section.push.allow_local {
        // A gateway that calls local addresses is one to try things with.
        tracing::warn!(
            "webhooks are stored with their credentials in the clear: there is no gateway.push.seal_keys"
        );
    }
    Ok(seals)
}

/// Listens at the first address that nobody has.
async fn first_free(addresses: &[String]) -> Result<Listener, ListenError> {
    let mut left = addresses.iter();
    loop {
        let Some(address) = left.next() else { return serve::listen(LISTEN_DEFAULT).await };
        match serve::listen(address).await {
            Err(taken) if taken.is_taken() && left.len() > 0 => {}
            done => return done,
        }
    }
}

/// A name for a gateway that nobody named.
fn made_up() -> NodeName {
    NodeName::made_up(protocol::id::Role::Gateway, rand::random())
}
