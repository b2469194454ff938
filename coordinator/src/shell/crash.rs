//! Gives a killed node's deliveries back at once, and takes its agents out of the registry.
//!
//! Nodes say what they hold; the server says whose connection has ended, to one coordinator of the mesh. A client that
//! comes back under its name within a moment has only changed its connection and keeps everything. One that takes
//! longer is taken for dead; if it is not, it gets its own deliveries back or meets the fence. Where the system account
//! is out of reach the leases do the same, later.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use protocol::NodeName;
use protocol::holding::Holding;
use protocol::subject::Subject;
use runtime::bus::{
    Bus, BusSettings, ClientEvent, ClientGone, ClientLink, ConnectError, SubscribeError, SystemBus,
};
use runtime::health::CheckHandle;
use runtime::metric::Metrics;
use runtime::supervisor::{Kind, Supervisor};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::board::{Board, NODES_MAX};
use super::care::Closed;

/// How the connections of nodes are named.
const NODE_CLIENT: &str = "node-";
/// How long a client may take to come back whose connection just ended, as a killed process's does. A live one
/// tries at once.
const BACK_AT_ONCE: Duration = Duration::from_millis(25);
/// How long one may take that the server has thrown out: it is alive, as a rule, or was frozen for seconds.
const BACK_SOON: Duration = Duration::from_millis(250);
/// What the server says of connections that just ended.
const ENDED: &[&str] = &["Client Closed", "Read Error", "Write Error"];
/// Reasons for which a node is not given up: it is about to connect to another server.
const MOVING: &[&str] = &["Server Shutdown", "Lame Duck"];
/// When a dead client is looked at once more: its end is told on another connection than its last words,
/// which may therefore come after it.
const LATE_WORD: Duration = Duration::from_millis(100);
/// How often the connection to the system account is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Hears what nodes hold until `stop`.
pub(crate) async fn hear(
    bus: Bus,
    board: Arc<Board>,
    stop: CancellationToken,
) -> Result<(), HearError> {
    let mut told = bus.subscribe(bus.subjects().all_holding(), None).await?;
    loop {
        let message = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            message = told.next() => message.ok_or(Closed)?,
        };
        let Some(Subject::Holding(node)) = bus.subjects().parse(&message.subject) else { continue };
        match serde_json::from_slice::<Holding>(&message.payload) {
            Ok(holding) => board.note(node, holding),
            Err(error) => tracing::debug!(reason = %error, "unreadable holding"),
        }
    }
}

/// Why connections cannot be watched at the moment. The job is started again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HearError {
    /// The system account is out of reach.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It does not let us listen.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    /// A connection is closed for good.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// What giving back needs.
#[derive(Clone)]
pub(crate) struct Giving {
    pub(crate) bus: Bus,
    pub(crate) board: Arc<Board>,
    pub(crate) metrics: Metrics,
    pub(crate) jobs: Supervisor,
    /// Told about each node whose connection ends.
    pub(crate) poison: Arc<Notify>,
    /// How the connection to the system account stands.
    pub(crate) check: CheckHandle,
}

impl Giving {
    /// Connects to the system account, unless `system` is such a connection, and gives back what vanished clients
    /// held, until `stop`.
    pub(crate) async fn serve(
        self,
        settings: BusSettings,
        system: Option<SystemBus>,
        stop: CancellationToken,
    ) -> Result<(), HearError> {
        let watched = tokio::select! {
            () = stop.cancelled() => Ok(()),
            watched = self.watch(settings, system) => watched,
        };
        self.metrics.coordinator.system_connected.set(0);
        if let Err(error) = &watched {
            self.check.degraded(format!("{error}; killed nodes are noticed by their leases alone"));
        }
        watched
    }

    async fn watch(
        &self,
        settings: BusSettings,
        system: Option<SystemBus>,
    ) -> Result<(), HearError> {
        let system = match system {
            Some(system) => system,
            None => SystemBus::connect(settings).await?,
        };
        let group = format!("{}-coordinators", self.bus.subjects().prefix());
        let account = self.bus.account().await;
        let mut events = system.clients(account.as_deref(), &group).await?;
        let mut watched = Watched::new(Arc::clone(&self.board));
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = watched.next_due();
            tokio::select! {
                event = events.next() => match event.ok_or(Closed)? {
                    ClientEvent::Here(link) => watched.here(link),
                    ClientEvent::Gone(gone) => {
                        if gone.link.client.starts_with(NODE_CLIENT) {
                            self.poison.notify_one();
                        }
                        watched.gone(gone);
                    }
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    while let Some(gone) = watched.take_due() {
                        self.give(&gone).await;
                    }
                }
                _ = look.tick() => self.show(system.is_connected()),
            }
        }
    }

    fn show(&self, connected: bool) {
        self.metrics.coordinator.system_connected.set(i64::from(connected));
        if connected {
            self.check.ok();
        } else {
            self.check.degraded("not connected: killed nodes are noticed by their leases alone");
        }
    }

    /// Gives back what is known of a dead client now.
    async fn give(&self, gone: &ClientGone) {
        let left = self.board.take(&gone.link.client);
        if !left.acks.is_empty() {
            tracing::warn!(
                client = gone.link.client,
                reason = gone.reason,
                deliveries = left.acks.len(),
                passed_on = left.passed_on,
                "node gone, giving its work back"
            );
        }
        for ack in left.acks {
            self.bus.nak(&ack, Duration::ZERO).await;
            self.metrics.coordinator.crash_naks.inc();
        }
        if let Some(node) = left.node {
            let forgetting = forget(self.bus.clone(), node, gone.at);
            self.jobs.spawn("forget node", Kind::Work, forgetting);
        }
    }
}

/// Takes a dead node's agents out of the registry: all that it announced before its end.
async fn forget(bus: Bus, node: NodeName, gone_at: protocol::Timestamp) {
    let keys = format!("*.{node}");
    match bus.remove_keys_before(&bus.names().agents, &keys, gone_at).await {
        Ok(0) => {}
        Ok(agents) => {
            tracing::warn!(%node, agents, reason = "its connection has ended", "agents removed");
        }
        Err(error) => {
            tracing::info!(%node, reason = %error, "agents not removed, their keys will expire");
        }
    }
}

/// Which clients are here, and which have to be looked at when.
struct Watched {
    board: Arc<Board>,
    /// The latest connection of each node.
    links: HashMap<String, ClientLink>,
    due: BTreeMap<(Instant, u64), Look>,
    number: u64,
}

/// A look at a client whose connection has ended.
struct Look {
    gone: ClientGone,
    /// Whether it has been found dead before.
    again: bool,
}

impl Watched {
    fn new(board: Arc<Board>) -> Self {
        Self { board, links: HashMap::new(), due: BTreeMap::new(), number: 0 }
    }

    fn here(&mut self, link: ClientLink) {
        if !link.client.starts_with(NODE_CLIENT) {
            return;
        }
        if self.links.len() >= NODES_MAX {
            // Of most ends only another coordinator hears.
            let board = &self.board;
            self.links.retain(|client, _| board.knows(client));
        }
        self.links.insert(link.client.clone(), link);
    }

    fn gone(&mut self, gone: ClientGone) {
        let moving = MOVING.iter().any(|reason| gone.reason.contains(reason));
        if moving || self.is_back(&gone.link) {
            return;
        }
        let ended = ENDED.iter().any(|reason| gone.reason.contains(reason));
        self.look_in(if ended { BACK_AT_ONCE } else { BACK_SOON }, Look { gone, again: false });
    }

    /// Whether the client has another connection than this one.
    fn is_back(&self, link: &ClientLink) -> bool {
        self.links.get(&link.client).is_some_and(|known| known != link)
    }

    fn look_in(&mut self, wait: Duration, look: Look) {
        if self.due.len() < NODES_MAX {
            self.number += 1;
            self.due.insert((Instant::now() + wait, self.number), look);
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next client that is due and still gone.
    fn take_due(&mut self) -> Option<ClientGone> {
        while self.next_due().is_some_and(|at| at <= Instant::now()) {
            let (_, Look { gone, again }) = self.due.pop_first()?;
            if self.is_back(&gone.link) {
                tracing::info!(client = gone.link.client, reason = gone.reason, "node is back");
                continue;
            }
            self.links.remove(&gone.link.client);
            if !again {
                self.look_in(LATE_WORD, Look { gone: gone.clone(), again: true });
            }
            return Some(gone);
        }
        None
    }
}

#[cfg(test)]
#[path = "crash_tests.rs"]
mod tests;
