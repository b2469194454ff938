//! What only the system account sees: clients that vanish, and how the servers store.

use std::time::Duration;

use bytes::Bytes;
use protocol::header::Headers;
use serde::Deserialize;

use super::message::SubscribeError;
use super::{Bus, BusSettings, ConnectError, Subscription};

/// A connection to the system account.
#[derive(Clone)]
pub struct SystemBus(Bus);

/// A client's connection has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientGone {
    /// The connection's name.
    pub client: String,
    /// What the server says about the reason, for example `Client Closed` or `Stale Connection`.
    pub reason: String,
}

#[derive(Deserialize)]
struct DisconnectEvent {
    client: EventClient,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
struct EventClient {
    #[serde(default)]
    name: String,
}

impl SystemBus {
    /// Connects to the system account.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(settings: BusSettings) -> Result<Self, ConnectError> {
        Bus::connect_plain(settings).await.map(Self)
    }

    /// Subscribes to the ends of all accounts' connections.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn disconnects(&self) -> Result<Disconnects, SubscribeError> {
        let subscription = self.0.subscribe("$SYS.ACCOUNT.*.DISCONNECT".to_owned(), None).await?;
        self.0.flush().await;
        Ok(Disconnects(subscription))
    }

    /// Whether the server syncs every write; `None` when it does not say.
    pub async fn sync_always(&self) -> Option<bool> {
        let limit = Duration::from_secs(2);
        let answer = self
            .0
            .ask("$SYS.REQ.SERVER.PING.JSZ".to_owned(), &Headers::new(), Bytes::new(), limit)
            .await
            .ok()?;
        let value: serde_json::Value = serde_json::from_slice(&answer.payload).ok()?;
        let config = value.pointer("/data/config")?;
        Some(config.get("sync_always").and_then(serde_json::Value::as_bool).unwrap_or(false))
    }
}

/// The ends of connections, as they happen.
#[derive(Debug)]
pub struct Disconnects(Subscription);

impl Disconnects {
    /// The next one; `None` once the connection is closed for good.
    pub async fn next(&mut self) -> Option<ClientGone> {
        loop {
            let message = self.0.next().await?;
            match serde_json::from_slice::<DisconnectEvent>(&message.payload) {
                Ok(event) => {
                    return Some(ClientGone { client: event.client.name, reason: event.reason });
                }
                Err(error) => tracing::debug!(reason = %error, "unreadable disconnect event"),
            }
        }
    }
}
