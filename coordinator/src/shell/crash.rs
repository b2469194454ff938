//! Gives a killed node's deliveries back at once.
//!
//! Nodes say what they hold; the server says whose connection has ended. A false alarm, such as a node that moves to
//! another server, costs a second attempt whose commit the fence refuses. Where the system account is out of reach
//! the leases do the same, later.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use protocol::holding::Holding;
use runtime::bus::{Bus, SubscribeError, SystemBus};
use runtime::metric::Metrics;
use tokio_util::sync::CancellationToken;

/// Nodes remembered at most; beyond that their leases do the work.
const NODES_MAX: usize = 10_000;
/// Deliveries remembered of one node.
const HELD_MAX: usize = 20_000;
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

/// Gives back what vanished clients held, until `stop`. `gone` gets the name of each client that is gone.
pub(crate) async fn give_back(
    bus: Bus,
    system: SystemBus,
    board: std::sync::Arc<Board>,
    metrics: Metrics,
    poison: std::sync::Arc<tokio::sync::Notify>,
    stop: CancellationToken,
) -> Result<(), SubscribeError> {
    let mut ends = system.disconnects().await?;
    loop {
        let gone = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            gone = ends.next() => gone,
        };
        let Some(gone) = gone else { return Ok(()) };
        if MOVING.iter().any(|reason| gone.reason.contains(reason)) {
            continue;
        }
        let held = board.take(&gone.client);
        if gone.client.starts_with("node-") {
            poison.notify_one();
        }
        if held.is_empty() {
            continue;
        }
        tracing::warn!(
            client = gone.client,
            reason = gone.reason,
            deliveries = held.len(),
            "node gone, giving its work back"
        );
        for ack in held {
            bus.nak(&ack, Duration::ZERO).await;
            metrics.coordinator.crash_naks.inc();
        }
    }
}

#[cfg(test)]
mod tests {
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
}
