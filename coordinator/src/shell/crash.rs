//! Gives a killed node's deliveries back at once.
//!
//! Nodes say what they hold; the server says whose connection has ended. A false alarm, such as a node that moves to
//! another server, costs a second attempt whose commit the fence refuses. Where the system account is out of reach
//! the leases do the same, later.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use protocol::holding::Holding;
use runtime::bus::{Bus, ClientGone, SubscribeError, SystemBus};
use runtime::metric::Metrics;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Nodes remembered at most; beyond that their leases do the work.
const NODES_MAX: usize = 10_000;
/// Deliveries remembered of one node.
const HELD_MAX: usize = 20_000;
/// When a vanished client is looked at once more: its end is told on another connection than its last words,
/// which may therefore come after it.
const LATE_WORD: Duration = Duration::from_millis(100);
/// Reasons for which a node is not given up: it is about to connect to another server.
const MOVING: &[&str] = &["Server Shutdown", "Lame Duck"];

/// What nodes hold, by connection name.
#[derive(Default)]
pub(crate) struct Board(Mutex<HashMap<String, HashMap<u64, String>>>);

impl Board {
    pub(crate) fn note(&self, holding: Holding) {
        let mut nodes = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if nodes.len() >= NODES_MAX && !nodes.contains_key(&holding.client) {
            return;
        }
        let held = nodes.entry(holding.client).or_default();
        if holding.complete {
            held.clear();
        }
        for number in holding.settled {
            held.remove(&number);
        }
        let room = HELD_MAX.saturating_sub(held.len());
        held.extend(holding.taken.into_iter().take(room));
    }

    fn take(&self, client: &str) -> Vec<String> {
        let mut nodes = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        nodes.remove(client).map(|held| held.into_values().collect()).unwrap_or_default()
    }
}

/// Hears what nodes hold until `stop`.
pub(crate) async fn hear(
    bus: Bus,
    board: std::sync::Arc<Board>,
    stop: CancellationToken,
) -> Result<(), SubscribeError> {
    let mut told = bus.subscribe(bus.subjects().all_holding(), None).await?;
    loop {
        let message = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            message = told.next() => message,
        };
        let Some(message) = message else { return Ok(()) };
        match serde_json::from_slice::<Holding>(&message.payload) {
            Ok(holding) => board.note(holding),
            Err(error) => tracing::debug!(reason = %error, "unreadable holding"),
        }
    }
}

/// Gives back what vanished clients held, until `stop`. `poison` is told about each node that is gone.
pub(crate) async fn give_back(
    bus: Bus,
    system: SystemBus,
    board: std::sync::Arc<Board>,
    metrics: Metrics,
    poison: std::sync::Arc<tokio::sync::Notify>,
    stop: CancellationToken,
) -> Result<(), SubscribeError> {
    let mut ends = system.disconnects().await?;
    let giving = Giving { bus, board, metrics };
    let mut looked_at: VecDeque<(Instant, ClientGone)> = VecDeque::new();
    loop {
        let again_at = looked_at.front().map(|(at, _)| *at + LATE_WORD);
        let gone = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            gone = ends.next() => gone,
            () = sleep_until(again_at.unwrap_or_else(Instant::now)), if again_at.is_some() => {
                if let Some((_, gone)) = looked_at.pop_front() {
                    giving.give(&gone).await;
                }
                continue;
            }
        };
        let Some(gone) = gone else { return Ok(()) };
        if MOVING.iter().any(|reason| gone.reason.contains(reason)) {
            continue;
        }
        if gone.client.starts_with("node-") {
            poison.notify_one();
        }
        giving.give(&gone).await;
        if looked_at.len() < NODES_MAX {
            looked_at.push_back((Instant::now(), gone));
        }
    }
}

struct Giving {
    bus: Bus,
    board: std::sync::Arc<Board>,
    metrics: Metrics,
}

impl Giving {
    /// Gives back what is known of a client now.
    async fn give(&self, gone: &ClientGone) {
        let held = self.board.take(&gone.client);
        if held.is_empty() {
            return;
        }
        tracing::warn!(
            client = gone.client,
            reason = gone.reason,
            deliveries = held.len(),
            "node gone, giving its work back"
        );
        for ack in held {
            self.bus.nak(&ack, Duration::ZERO).await;
            self.metrics.coordinator.crash_naks.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use runtime::bus::{BusSettings, Credentials, TlsFiles};
    use runtime::nats_server::{FindOptions, SYSTEM_USER, ServerSettings, find, start};

    use super::*;

    fn holding(complete: bool, taken: &[u64], settled: &[u64]) -> Holding {
        Holding {
            client: "n".to_owned(),
            complete,
            taken: taken.iter().map(|number| (*number, format!("ack{number}"))).collect(),
            settled: settled.to_vec(),
        }
    }

    #[test]
    fn a_node_holds_what_it_took_and_did_not_settle() {
        let board = Board::default();
        board.note(holding(false, &[1, 2, 3], &[]));
        board.note(holding(false, &[4], &[1, 2]));
        let mut held = board.take("n");
        held.sort();
        assert_eq!(held, ["ack3", "ack4"]);
        assert!(board.take("n").is_empty());
        board.note(holding(false, &[1, 2], &[]));
        board.note(holding(true, &[7], &[]));
        assert_eq!(board.take("n"), ["ack7"]);
    }

    fn settings(url: &str, role: &str, credentials: Credentials) -> BusSettings {
        BusSettings {
            servers: url.to_owned(),
            credentials,
            tls: TlsFiles::default(),
            role: role.to_owned(),
            subjects: protocol::subject::Subjects::default(),
        }
    }

    /// The end of a connection is told on another connection than what the client said last.
    #[tokio::test]
    async fn what_a_node_said_last_may_come_after_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let found = find(&FindOptions::from_environment()).await.unwrap();
        let server = start(&found, ServerSettings::new(dir.path())).await.unwrap();
        let url = server.client_url();
        let password = server.settings().passwords.system.expose().to_owned();
        let user = Credentials::User { user: SYSTEM_USER.to_owned(), password };
        let system = SystemBus::connect(settings(&url, "system", user)).await.unwrap();
        let bus = Bus::connect(settings(&url, "coordinator", Credentials::None)).await.unwrap();
        let mut naks = bus.subscribe("acks.*".to_owned(), None).await.unwrap();
        let mut ends = system.disconnects().await.unwrap();
        let (board, stop) = (Arc::new(Board::default()), CancellationToken::new());
        let giving = give_back(
            bus.clone(),
            system,
            Arc::clone(&board),
            Metrics::new("test"),
            Arc::default(),
            stop.clone(),
        );
        let told = async {
            let node = Bus::connect(settings(&url, "node", Credentials::None)).await.unwrap();
            let client = node.client_name().to_owned();
            let held = |number: u64| Holding {
                client: client.clone(),
                taken: vec![(number, format!("acks.{number}"))],
                ..Holding::default()
            };
            board.note(held(1));
            bus.flush().await;
            drop(node);
            while ends.next().await.unwrap().client != client {}
            let first = naks.next().await.unwrap().subject;
            board.note(held(2));
            let late = naks.next().await.unwrap().subject;
            stop.cancel();
            [first, late]
        };
        let limit = Duration::from_secs(10);
        let both = Box::pin(async { tokio::join!(giving, told) });
        let both = tokio::time::timeout(limit, both);
        let (given, naked) = both.await.unwrap();
        assert_eq!(naked, ["acks.1", "acks.2"]);
        given.unwrap();
    }
}
