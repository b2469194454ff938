//! Messages as they come and go on core NATS.

use std::borrow::Cow;

use async_nats::HeaderName;
use bytes::Bytes;
use futures_util::StreamExt as _;
use protocol::TaskId;
use protocol::fault::{Fault, code};
use protocol::header::Headers;

use super::Bus;

/// How long the server may take to say who this user is.
const USER_INFO_LIMIT: std::time::Duration = std::time::Duration::from_secs(1);

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its subject.
    pub subject: String,
    /// Where an answer goes.
    pub reply: Option<String>,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub payload: Bytes,
}

impl From<async_nats::Message> for Message {
    fn from(message: async_nats::Message) -> Self {
        Self {
            subject: message.subject.into_string(),
            reply: message.reply.map(async_nats::Subject::into_string),
            headers: message.headers.as_ref().map(read_headers).unwrap_or_default(),
            payload: message.payload,
        }
    }
}

/// The first value of each header.
pub(super) fn read_headers(map: &async_nats::HeaderMap) -> Headers {
    map.iter()
        .filter_map(|(name, values)| Some((name.to_string(), values.first()?.as_str().to_owned())))
        .collect()
}

pub(super) fn write_headers(headers: &Headers) -> async_nats::HeaderMap {
    let mut map = async_nats::HeaderMap::new();
    for (name, value) in headers.held() {
        match name {
            Cow::Borrowed(name) => map.append(HeaderName::from_static(name), value),
            Cow::Owned(name) => map.append(name.as_str(), value),
        }
    }
    map
}

/// A message as whoever sees many of them and reads few wants it: nothing is copied.
#[derive(Debug)]
pub struct Glimpse(async_nats::Message);

impl Glimpse {
    /// Its subject.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The first value of a header whose name is spelt as here.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let headers = self.0.headers.as_ref()?;
        let (_, values) =
            headers.iter().find(|(found, _)| AsRef::<[u8]>::as_ref(found) == name.as_bytes())?;
        values.first().map(async_nats::HeaderValue::as_str)
    }

    /// Its body.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        self.0.payload.clone()
    }
}

/// A core subscription.
#[derive(Debug)]
pub struct Subscription(async_nats::Subscriber);

impl Subscription {
    /// The next message; `None` once the connection is closed for good.
    pub async fn next(&mut self) -> Option<Message> {
        self.0.next().await.map(Message::from)
    }

    /// The next message, uncopied; `None` once the connection is closed for good.
    pub async fn glimpse(&mut self) -> Option<Glimpse> {
        self.0.next().await.map(Glimpse)
    }
}

fn too_large(task: &TaskId, bytes: usize, bytes_max: usize) -> Bytes {
    let what = format!("the answer has {bytes} bytes, the server takes {bytes_max} in one message");
    let fault = Fault::new(code::TOO_LARGE, what)
        .at(format!("task {task}"))
        .hint(format!("the task is stored: read it with `weft task get {task}`"));
    serde_json::json!({ "error": fault }).to_string().into()
}

/// A subscription could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot subscribe to {subject}: {reason}")]
pub struct SubscribeError {
    subject: String,
    reason: String,
}

/// A core request got no answer.
#[derive(Debug, thiserror::Error)]
#[error("no answer on {subject}: {reason}")]
pub struct AskError {
    /// The subject asked.
    pub subject: String,
    /// What the client says.
    pub reason: String,
}

impl Bus {
    /// Publishes on core NATS: may be lost, so only for what can be.
    pub async fn tell(&self, subject: String, headers: &Headers, payload: Bytes) {
        let sent = if headers.is_empty() {
            self.client.publish(subject, payload).await
        } else {
            self.client.publish_with_headers(subject, write_headers(headers), payload).await
        };
        if let Err(error) = sent {
            tracing::debug!(reason = %error, "core publish failed");
        }
    }

    /// Subscribes on core NATS, alone or as a member of a queue group.
    ///
    /// # Errors
    /// When the connection is closed or the subject is malformed.
    pub async fn subscribe(
        &self,
        subject: String,
        group: Option<&str>,
    ) -> Result<Subscription, SubscribeError> {
        self.subscribe_uncopied(subject, group).await.map(Subscription)
    }

    pub(super) async fn subscribe_uncopied(
        &self,
        subject: String,
        group: Option<&str>,
    ) -> Result<async_nats::Subscriber, SubscribeError> {
        let subscribed = match group {
            None => self.client.subscribe(subject.clone()).await,
            Some(group) => self.client.queue_subscribe(subject.clone(), group.to_owned()).await,
        };
        subscribed.map_err(|error| SubscribeError { subject, reason: error.to_string() })
    }

    /// Asks on core NATS and waits for one answer.
    ///
    /// # Errors
    /// When nobody answers in time.
    pub async fn ask(
        &self,
        subject: String,
        headers: &Headers,
        payload: Bytes,
        limit: std::time::Duration,
    ) -> Result<Message, AskError> {
        let request = async_nats::Request::new()
            .headers(write_headers(headers))
            .payload(payload)
            .timeout(Some(limit));
        self.client
            .send_request(subject.clone(), request)
            .await
            .map(Message::from)
            .map_err(|error| AskError { subject, reason: error.to_string() })
    }

    /// Asks everybody on core NATS; answers go to `inbox`.
    pub(super) async fn ask_all(&self, subject: String, inbox: String) {
        if let Err(error) = self.client.publish_with_reply(subject, inbox, Bytes::new()).await {
            tracing::debug!(reason = %error, "core publish failed");
        }
    }

    /// Publishes the answer that somebody waits for. What is larger than the server takes becomes `error: too_large`,
    /// which says where the task can be read.
    pub async fn answer(&self, subject: String, task: &TaskId, body: Bytes) {
        let bytes_max = self.server().payload_bytes_max;
        let body = if body.len() > bytes_max {
            tracing::warn!(task_id = %task, bytes = body.len(), bytes_max, reason = "larger than a message may be", "answered with an error");
            too_large(task, body.len(), bytes_max)
        } else {
            body
        };
        self.tell(subject, &Headers::new(), body).await;
    }

    /// The account of this connection's user; `None` when the server does not say.
    pub async fn account(&self) -> Option<String> {
        let subject = "$SYS.REQ.USER.INFO".to_owned();
        let answer =
            self.ask(subject, &Headers::new(), Bytes::new(), USER_INFO_LIMIT).await.ok()?;
        let value: serde_json::Value = serde_json::from_slice(&answer.payload).ok()?;
        Some(value.pointer("/data/account")?.as_str()?.to_owned())
    }

    /// A subject that only this connection listens on.
    #[must_use]
    pub fn new_inbox(&self) -> String {
        self.client.new_inbox()
    }
}
