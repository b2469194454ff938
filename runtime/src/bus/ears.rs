//! Hears what anybody may publish, on a connection of its own.
//!
//! One message with a broken header ends the client library's connection, or makes it panic (async-nats 0.51). What
//! strangers publish is therefore heard on a connection that carries nothing else: when it dies it is made again, a
//! few messages are missed, and whatever the process is doing goes on.

use std::time::Duration;

use async_nats::Subscriber;
use futures_util::StreamExt as _;
use futures_util::stream::{self, SelectAll};

use super::message::{Message, SubscribeError};
use super::{Bus, BusSettings, ConnectError};

/// How long it rests before it connects again.
const REST: Duration = Duration::from_millis(100);

/// A subject to listen to, alone or as a member of a queue group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// The subject.
    pub subject: String,
    /// The queue group.
    pub group: Option<&'static str>,
}

/// Why nothing can be heard.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// No connection is to be had.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A subscription is refused.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
}

/// Some core subscriptions on a connection of their own.
pub struct Ears {
    settings: BusSettings,
    topics: Vec<Topic>,
    /// The connection lives as long as its subscriptions are read.
    heard: Option<(Bus, SelectAll<Subscriber>)>,
}

impl Bus {
    /// Listens to these subjects on a connection of their own.
    ///
    /// # Errors
    /// See [`ListenError`]. Later on it connects again by itself.
    pub async fn listen(&self, topics: Vec<Topic>) -> Result<Ears, ListenError> {
        let role = format!("{}-ears", self.shared.settings.role);
        let settings = BusSettings { role, ..self.shared.settings.clone() };
        let heard = Some(open(&settings, &topics).await?);
        Ok(Ears { settings, topics, heard })
    }
}

async fn open(
    settings: &BusSettings,
    topics: &[Topic],
) -> Result<(Bus, SelectAll<Subscriber>), ListenError> {
    let bus = Bus::connect_plain(settings.clone()).await?;
    let mut all = Vec::with_capacity(topics.len());
    for Topic { subject, group } in topics {
        all.push(bus.subscribe_uncopied(subject.clone(), *group).await?);
    }
    Ok((bus, stream::select_all(all)))
}

impl Ears {
    /// The next message. Never ends: a connection that is lost for good is replaced.
    pub async fn next(&mut self) -> Message {
        loop {
            if let Some((_, all)) = &mut self.heard {
                if let Some(message) = all.next().await {
                    return Message::from(message);
                }
                tracing::warn!(reason = "the connection ended", "listening on another one");
                self.heard = None;
            }
            match open(&self.settings, &self.topics).await {
                Ok(heard) => self.heard = Some(heard),
                Err(error) => {
                    tracing::debug!(reason = %error, "nothing is heard for now");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }
}
