//! What only the system account sees: clients that come and go, and how the servers store.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use protocol::Timestamp;
use protocol::header::Headers;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::diagnose::AccountFill;
use super::message::SubscribeError;
use super::{Bus, BusSettings, ConnectError, Subscription};

/// How long servers are listened to when all of them are asked at once.
const ROLL_CALL: Duration = Duration::from_millis(700);

/// A connection to the system account.
#[derive(Clone)]
pub struct SystemBus(Bus);

/// One connection of one client. A client that reconnects has another one under the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientLink {
    /// The connection's name.
    pub client: String,
    /// The server it is, or was, with.
    pub server: String,
    /// Its number at that server.
    pub number: u64,
}

/// A client's connection has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientGone {
    /// Which one.
    pub link: ClientLink,
    /// What the server says about the reason, for example `Client Closed` or `Stale Connection`.
    pub reason: String,
    /// When, by the server's clock.
    pub at: Timestamp,
}

/// Something that happened to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientEvent {
    /// It was made.
    Here(ClientLink),
    /// It has ended.
    Gone(ClientGone),
}

/// The servers, as far as they answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollCall {
    /// Servers with JetStream that answered.
    pub answered: usize,
    /// Servers that make up the cluster, as those that answered know it; 1 without a cluster.
    pub of: usize,
}

#[derive(Deserialize)]
struct Event {
    timestamp: String,
    server: EventServer,
    client: EventClient,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
struct EventServer {
    id: String,
}

#[derive(Deserialize)]
struct EventClient {
    id: u64,
    #[serde(default)]
    name: String,
}

impl Event {
    fn read(payload: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(payload)
    }

    fn link(&self) -> ClientLink {
        ClientLink {
            client: self.client.name.clone(),
            server: self.server.id.clone(),
            number: self.client.id,
        }
    }
}

impl SystemBus {
    /// Connects to the system account.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(settings: BusSettings) -> Result<Self, ConnectError> {
        Bus::connect_plain(settings).await.map(Self)
    }

    /// Whether the connection stands at this moment.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.0.is_connected()
    }

    /// Counts the connections made, the first included; changes tell of reconnects.
    #[must_use]
    pub fn connections(&self) -> watch::Receiver<u64> {
        self.0.connections()
    }

    /// Subscribes to the connections of an account, or of all accounts. Every beginning is heard; each end is heard
    /// by one member of the group only.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn clients(
        &self,
        account: Option<&str>,
        group: &str,
    ) -> Result<ClientEvents, SubscribeError> {
        let account = account.unwrap_or("*");
        let begun = self.0.subscribe(format!("$SYS.ACCOUNT.{account}.CONNECT"), None).await?;
        let subject = format!("$SYS.ACCOUNT.{account}.DISCONNECT");
        let ended = self.0.subscribe(subject, Some(group)).await?;
        // This answer comes behind the subscriptions: from here on no end is missed.
        drop(self.0.account().await);
        Ok(ClientEvents { begun, ended })
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

    /// Asks all servers whether they are there; `None` when nobody may be asked.
    pub async fn roll_call(&self) -> Option<RollCall> {
        let (mut names, mut of) = (BTreeSet::new(), 1);
        for value in self.ask_servers().await? {
            if let Some(id) = value.pointer("/server/id").and_then(serde_json::Value::as_str) {
                names.insert(id.to_owned());
            }
            let size = value.pointer("/data/meta_cluster/cluster_size");
            let size = size.and_then(serde_json::Value::as_u64).unwrap_or(1);
            of = of.max(usize::try_from(size).unwrap_or(usize::MAX));
        }
        (!names.is_empty()).then_some(RollCall { answered: names.len(), of: of.max(names.len()) })
    }

    /// How full the store is of the server that has least room left; `None` when no server tells.
    pub async fn fullest_store(&self) -> Option<AccountFill> {
        let answers = self.ask_servers().await?;
        let fills = answers.iter().filter_map(|value| AccountFill::of_server(value.get("data")?));
        fills.max_by_key(|fill| {
            let max = fill.bytes_max.unwrap_or(u64::MAX).max(1);
            u128::from(fill.bytes) * 1_000_000 / u128::from(max)
        })
    }

    /// What all servers say about their streams.
    async fn ask_servers(&self) -> Option<Vec<serde_json::Value>> {
        let inbox = self.0.new_inbox();
        let mut answers = self.0.subscribe(inbox.clone(), None).await.ok()?;
        self.0.ask_all("$SYS.REQ.SERVER.PING.JSZ".to_owned(), inbox).await;
        let (ends_at, mut found) = (Instant::now() + ROLL_CALL, Vec::new());
        while let Ok(Some(answer)) = timeout_at(ends_at, answers.next()).await {
            found.extend(serde_json::from_slice::<serde_json::Value>(&answer.payload).ok());
        }
        Some(found)
    }
}

impl AccountFill {
    /// What a server says of its own store, in the words of its `jsz`.
    #[must_use]
    pub fn of_server(jsz: &serde_json::Value) -> Option<Self> {
        let bytes = jsz.get("storage")?.as_u64()?;
        let max = jsz.pointer("/config/max_storage").and_then(serde_json::Value::as_u64);
        Some(Self { bytes, bytes_max: max.filter(|max| *max > 0) })
    }
}

/// The beginnings and ends of connections, as they happen.
#[derive(Debug)]
pub struct ClientEvents {
    begun: Subscription,
    ended: Subscription,
}

impl ClientEvents {
    /// The next one; `None` once the connection is closed for good. A beginning that has been heard goes before an
    /// end, so that a client that is back is not taken for gone. Cancel safe.
    pub async fn next(&mut self) -> Option<ClientEvent> {
        loop {
            let (message, end) = tokio::select! {
                biased;
                message = self.begun.next() => (message?, false),
                message = self.ended.next() => (message?, true),
            };
            let event = match Event::read(&message.payload) {
                Ok(event) => event,
                Err(error) => {
                    tracing::debug!(reason = %error, "unreadable connection event");
                    continue;
                }
            };
            let link = event.link();
            if !end {
                return Some(ClientEvent::Here(link));
            }
            match Timestamp::parse(&event.timestamp) {
                Ok(at) => {
                    return Some(ClientEvent::Gone(ClientGone { link, reason: event.reason, at }));
                }
                Err(error) => tracing::debug!(reason = %error, "unreadable connection event"),
            }
        }
    }
}
