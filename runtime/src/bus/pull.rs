//! Pulls deliveries from a durable consumer, exactly as many as were asked for.
//!
//! One long-lived inbox takes the answers of all pull requests, so asking costs one message and no
//! subscription. What is outstanding is counted over all requests together, since a delivery does not say which
//! one it answers; a request that ends unfilled says how much it leaves. A server or leader that vanished takes its
//! waiting requests along without a word: silence where heartbeats are due, or a new connection, starts afresh.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use protocol::Timestamp;
use protocol::header::Headers;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::message::AskError;
use super::{Bus, Delivery, REQUEST_TIMEOUT, ReadError};

/// How long a pull request waits at the server. Shorter than the lease: a frozen worker's open request
/// swallows deliveries for no longer than this.
const EXPIRES: Duration = Duration::from_secs(5);
const HEARTBEAT: Duration = Duration::from_secs(1);
const HEARTBEAT_STATUS: u16 = 100;
const SILENCE_MAX: Duration = Duration::from_millis(2_500);
/// How long a consumer that is gone, or has no leader, is not asked again.
const GONE_REST: Duration = Duration::from_millis(250);
/// How long what is on its way may take to arrive when a puller is closed.
const CLOSE_LIMIT: Duration = Duration::from_millis(500);
/// Answers other than deliveries that may be on their way then.
const STATUSES_MAX: usize = 16;

/// What a consumer says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerFacts {
    /// How long a delivery stays with a worker that gives no sign of life.
    pub ack_wait: Duration,
    /// Whether the server syncs every write, as the provisioner noted it.
    pub sync_always: bool,
    /// Messages that wait.
    pub pending: u64,
    /// Deliveries in flight.
    pub ack_pending: u64,
    /// The stream sequence up to which nothing is left to hand out or in flight.
    pub done_to: u64,
    /// When the server said so, by its clock.
    pub at: Timestamp,
}

/// Why a consumer cannot be pulled from.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// There is none of this name.
    #[error("consumer {consumer} does not exist on stream {stream}")]
    NoConsumer {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
    },
    /// The server did not answer, or this user may not ask.
    #[error("cannot read consumer {consumer} on stream {stream}: {reason}")]
    NoAnswer {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// What is known.
        reason: String,
    },
}

impl PullError {
    /// Whether the same may succeed later without anybody changing anything: a cluster elects a leader.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NoAnswer { reason, .. } => super::may_pass(reason),
            Self::NoConsumer { .. } => false,
        }
    }
}

/// What a pull brought.
#[derive(Debug)]
pub enum Pulled {
    /// A delivery.
    Delivery(Box<Delivery>),
    /// Requests have ended unfilled: less is outstanding than before.
    Fewer,
    /// The connection is closed for good.
    Closed,
}

/// Pulls from one consumer.
pub struct Puller {
    bus: Bus,
    subscriber: async_nats::Subscriber,
    inbox: String,
    request_subject: String,
    outstanding: usize,
    /// When the last request ends at the latest.
    ends_at: Instant,
    heard_at: Instant,
    connections: watch::Receiver<u64>,
    /// Messages that came over the inbox.
    heard: u64,
    restarts: u64,
    /// Until when the consumer is not asked, since it is gone.
    rests_until: Option<Instant>,
}

#[derive(Deserialize)]
struct InfoAnswer {
    error: Option<InfoError>,
    config: Option<InfoConfig>,
    #[serde(default)]
    num_pending: u64,
    #[serde(default)]
    num_ack_pending: u64,
    #[serde(default)]
    ack_floor: InfoFloor,
    #[serde(default)]
    ts: String,
}

#[derive(Default, Deserialize)]
struct InfoFloor {
    #[serde(default)]
    stream_seq: u64,
}

#[derive(Deserialize)]
struct InfoError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
struct InfoConfig {
    #[serde(default)]
    ack_wait: u64,
    #[serde(default)]
    metadata: std::collections::HashMap<String, String>,
}

impl Bus {
    /// What a consumer says about itself.
    ///
    /// # Errors
    /// See [`PullError`].
    pub async fn consumer(&self, stream: &str, consumer: &str) -> Result<ConsumerFacts, PullError> {
        let fail = |reason: String| PullError::NoAnswer {
            stream: stream.to_owned(),
            consumer: consumer.to_owned(),
            reason,
        };
        let subject = format!("$JS.API.CONSUMER.INFO.{stream}.{consumer}");
        let answer = self
            .ask(subject, &Headers::new(), Bytes::new(), REQUEST_TIMEOUT)
            .await
            .map_err(|AskError { subject, reason }| {
                fail(self.shared.watch.violation(&subject).unwrap_or(reason))
            })?;
        let info: InfoAnswer =
            serde_json::from_slice(&answer.payload).map_err(|error| fail(error.to_string()))?;
        match (info.error, info.config) {
            // 10014 and 10059: no such consumer, no such stream.
            (Some(error), _) if matches!(error.err_code, 10_014 | 10_059) => {
                Err(PullError::NoConsumer {
                    stream: stream.to_owned(),
                    consumer: consumer.to_owned(),
                })
            }
            (Some(error), _) => Err(fail(error.description)),
            (None, None) => Err(fail("an answer without a configuration".to_owned())),
            (None, Some(config)) => Ok(ConsumerFacts {
                ack_wait: Duration::from_nanos(config.ack_wait),
                sync_always: config
                    .metadata
                    .get(super::provision::SYNC_KEY)
                    .is_some_and(|sync| sync == super::SYNC_ALWAYS),
                pending: info.num_pending,
                ack_pending: info.num_ack_pending,
                done_to: info.ack_floor.stream_seq,
                at: Timestamp::parse(&info.ts).map_err(|error| fail(error.to_string()))?,
            }),
        }
    }

    /// Up to which stream sequence a consumer is done: nothing is left to hand out or in flight. 0 when it does not exist.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn done_to(&self, stream: &str, consumer: &str) -> Result<u64, ReadError> {
        match self.consumer(stream, consumer).await {
            Ok(facts) => Ok(facts.done_to),
            Err(PullError::NoConsumer { .. }) => Ok(0),
            Err(PullError::NoAnswer { stream, reason, .. }) => {
                Err(ReadError::NoAnswer { stream, reason })
            }
        }
    }

    /// Opens a puller on a consumer that exists.
    ///
    /// # Errors
    /// When the inbox cannot be subscribed to.
    pub async fn puller(&self, stream: &str, consumer: &str) -> Result<Puller, PullError> {
        let inbox = self.client.new_inbox();
        let subscriber =
            self.client.subscribe(inbox.clone()).await.map_err(|error| PullError::NoAnswer {
                stream: stream.to_owned(),
                consumer: consumer.to_owned(),
                reason: error.to_string(),
            })?;
        Ok(Puller {
            bus: self.clone(),
            subscriber,
            inbox,
            request_subject: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"),
            outstanding: 0,
            ends_at: Instant::now(),
            heard_at: Instant::now(),
            connections: self.connections(),
            heard: 0,
            restarts: 0,
            rests_until: None,
        })
    }
}

impl Puller {
    /// How many deliveries have been asked for and have not come.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// When the last message came.
    #[must_use]
    pub fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// How often the other side was, or may have been, replaced by one that knows less: a new connection, a
    /// leader that fell silent or stepped down.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Stops and returns what was on its way; it belongs to this process until it is given back.
    ///
    /// A server keeps delivering until it has read the UNSUB, and the client library drops what comes after it has
    /// sent it. So the subscription is told to end after a number of messages, and answers to requests that ask
    /// for nothing make up that number.
    pub async fn close(mut self) -> Vec<Delivery> {
        let filling = self.outstanding + STATUSES_MAX;
        let last = self.heard + u64::try_from(filling).unwrap_or(u64::MAX);
        // The two sides count alike over one connection only.
        let counted = self.restarts == 0 && self.subscriber.unsubscribe_after(last).await.is_ok();
        let mut left = Vec::new();
        if !counted {
            self.subscriber.drain().await.ok();
        }
        let publish = async {
            for _ in 0..if counted { filling } else { 0 } {
                let (subject, inbox) = (self.request_subject.clone(), self.inbox.clone());
                let bad = Bytes::from_static(b"{");
                self.bus.client.publish_with_reply(subject, inbox, bad).await.ok();
            }
        };
        let receive = async {
            while let Some(message) = self.subscriber.next().await {
                if message.status.is_none() {
                    left.extend(Delivery::read(message));
                }
            }
        };
        let both = async { tokio::join!(publish, receive) };
        if timeout(CLOSE_LIMIT, both).await.is_err() {
            tracing::debug!(reason = "not all answers came", "puller closed");
        }
        left
    }

    /// Asks for this many deliveries more.
    pub async fn ask(&mut self, count: usize) {
        if count == 0 || self.rests_until.is_some_and(|until| until > Instant::now()) {
            return;
        }
        self.rests_until = None;
        if self.outstanding == 0 {
            self.heard_at = Instant::now();
        }
        let body = format!(
            "{{\"batch\":{count},\"expires\":{},\"idle_heartbeat\":{}}}",
            EXPIRES.as_nanos(),
            HEARTBEAT.as_nanos()
        );
        let sent = self
            .bus
            .client
            .publish_with_reply(self.request_subject.clone(), self.inbox.clone(), body.into())
            .await;
        match sent {
            Ok(()) => {
                self.outstanding += count;
                self.ends_at = Instant::now() + EXPIRES + HEARTBEAT;
            }
            Err(error) => tracing::debug!(reason = %error, "pull request not sent"),
        }
    }

    /// What has arrived already, if anything has.
    pub fn next_ready(&mut self) -> Option<Pulled> {
        loop {
            match self.subscriber.next().now_or_never()? {
                None => return Some(Pulled::Closed),
                Some(message) => {
                    if let Some(pulled) = self.take(message) {
                        return Some(pulled);
                    }
                }
            }
        }
    }

    /// The next thing that happens. Cancel safe.
    pub async fn next(&mut self) -> Pulled {
        loop {
            let waits = self.outstanding > 0;
            let wake_at = self.ends_at.min(self.heard_at + SILENCE_MAX);
            tokio::select! {
                biased;
                message = self.subscriber.next() => match message {
                    None => return Pulled::Closed,
                    Some(message) => if let Some(pulled) = self.take(message) {
                        return pulled;
                    },
                },
                changed = self.connections.changed() => {
                    if changed.is_err() {
                        return Pulled::Closed;
                    }
                    self.outstanding = 0;
                    self.restarts += 1;
                    return Pulled::Fewer;
                }
                () = sleep_until(wake_at), if waits => {
                    self.outstanding = 0;
                    self.restarts += 1;
                    return Pulled::Fewer;
                }
                () = sleep_until(self.rests_until.unwrap_or(wake_at)), if self.rests_until.is_some() => {
                    self.rests_until = None;
                    return Pulled::Fewer;
                }
            }
        }
    }

    fn take(&mut self, message: async_nats::Message) -> Option<Pulled> {
        self.heard_at = Instant::now();
        self.heard += 1;
        let Some(status) = message.status else {
            let delivery = Delivery::read(message)?;
            self.outstanding = self.outstanding.saturating_sub(1);
            return Some(Pulled::Delivery(Box::new(delivery)));
        };
        if status.as_u16() == HEARTBEAT_STATUS {
            return None;
        }
        let left = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get("Nats-Pending-Messages"))
            .and_then(|count| count.as_str().parse::<usize>().ok());
        // Without a count the consumer itself is gone or moves: all its requests are.
        if left.is_none() {
            self.restarts += 1;
            self.rests_until = Some(Instant::now() + GONE_REST);
        }
        self.outstanding = left.map_or(0, |left| self.outstanding.saturating_sub(left));
        Some(Pulled::Fewer)
    }
}
