//! Sends what many jobs have to say in few writes.
//!
//! The scheduler runs the client's connection right after the job that gave it something to send, so each message of
//! many jobs would be a write of its own, here and at the server. What is put into the outbox waits until no other job
//! can go on, and then goes out together; a lone question goes by itself. The answers to what is asked come over one
//! inbox.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::StatusCode;
use async_nats::client::traits::Publisher as _;
use async_nats::message::OutboundMessage;
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::message::SubscribeError;
use super::{Bus, REQUEST_TIMEOUT};
use crate::supervisor::{Kind, Supervisor};

/// Messages that may wait; beyond that whoever has more to say waits for the connection itself.
const WAITING_MAX: usize = 4096;
/// Larger messages go by themselves: the client checks them against the server's limit before it sends them.
const BYTES_MAX: usize = 16 * 1024;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    /// Nobody takes this subject.
    #[error("no responders")]
    NoResponders,
    /// It cannot be sent.
    #[error("{0}")]
    Unsendable(String),
    /// The client does not send a message of this size.
    #[error("{0}")]
    TooLarge(String),
    /// No answer came in time.
    #[error("{0}")]
    Silence(String),
}

impl From<async_nats::RequestError> for Unanswered {
    fn from(error: async_nats::RequestError) -> Self {
        use async_nats::RequestErrorKind as Kind;
        match error.kind() {
            Kind::NoResponders => Self::NoResponders,
            Kind::MaxPayloadExceeded => Self::TooLarge(error.to_string()),
            Kind::InvalidSubject => Self::Unsendable(error.to_string()),
            Kind::TimedOut | Kind::Other => Self::Silence(error.to_string()),
        }
    }
}

type Answer = Result<async_nats::Message, Unanswered>;

/// Messages on their way to the connection, and who waits for answers.
pub(super) struct Outbox {
    client: async_nats::Client,
    /// Where answers go, but for the last token.
    inbox: String,
    state: Mutex<State>,
    filled: Notify,
    /// Held by whoever empties the queue, so that a flush comes behind what was taken out before.
    sending: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    closed: bool,
    /// Whether a question is on its way past the queue.
    alone: bool,
    queue: VecDeque<(Option<u64>, OutboundMessage)>,
    last: u64,
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
}

/// Takes a question that nobody waits for any more off the list.
struct Waiting<'a> {
    outbox: &'a Outbox,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.outbox.state();
        state.waiting.remove(&self.number);
        if state.closed && state.waiting.is_empty() {
            self.outbox.filled.notify_one();
        }
    }
}

/// Leave to ask past the outbox; dropping it gives it back.
struct Alone<'a>(&'a Outbox);

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.state().alone = false;
    }
}

impl Outbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether questions are answered.
    fn is_open(&self) -> bool {
        !self.state().closed
    }

    /// While nothing else is on its way, a question has no company to wait for, and the way through two more jobs is all
    /// that the outbox would add to it.
    fn alone(&self) -> Option<Alone<'_>> {
        let mut state = self.state();
        let is_busy = state.alone || !state.queue.is_empty() || !state.waiting.is_empty();
        if is_busy {
            return None;
        }
        state.alone = true;
        Some(Alone(self))
    }

    /// Sends a message soon.
    pub(super) async fn tell(&self, subject: String, payload: Bytes) -> Result<(), String> {
        let subject = subject.into();
        let message = OutboundMessage { subject, reply: None, payload, headers: None };
        match self.put(None, message) {
            None => Ok(()),
            Some(message) => {
                self.client.publish_message(message).await.map_err(|error| error.to_string())
            }
        }
    }

    /// Sends a message soon and waits for its answer.
    async fn ask(&self, subject: String, headers: async_nats::HeaderMap, payload: Bytes) -> Answer {
        let (sender, answer) = oneshot::channel();
        let Some(waiting) = self.wait(sender) else {
            return ask_alone(&self.client, subject, headers, payload).await;
        };
        let reply = format!("{}{}", self.inbox, waiting.number);
        let message = OutboundMessage {
            subject: subject.into(),
            reply: Some(reply.into()),
            payload,
            headers: Some(headers).filter(|headers| !headers.is_empty()),
        };
        if let Some(message) = self.put(Some(waiting.number), message) {
            let sent = self.client.publish_message(message).await;
            sent.map_err(|error| Unanswered::Unsendable(error.to_string()))?;
        }
        match timeout(REQUEST_TIMEOUT, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(Unanswered::Silence("timed out".to_owned())),
        }
    }

    /// A place for an answer; none once answers are no longer taken in.
    fn wait(&self, sender: oneshot::Sender<Answer>) -> Option<Waiting<'_>> {
        let mut state = self.state();
        if state.closed {
            return None;
        }
        state.last += 1;
        let number = state.last;
        state.waiting.insert(number, sender);
        Some(Waiting { outbox: self, number })
    }

    /// Gives the message back when it cannot wait here.
    fn put(&self, number: Option<u64>, message: OutboundMessage) -> Option<OutboundMessage> {
        let mut state = self.state();
        if state.closed || state.queue.len() >= WAITING_MAX {
            return Some(message);
        }
        state.queue.push_back((number, message));
        let first = state.queue.len() == 1;
        drop(state);
        if first {
            self.filled.notify_one();
        }
        None
    }

    /// Gives everything that waits to the connection.
    pub(super) async fn send(&self) {
        let _sending = self.sending.lock().await;
        loop {
            let next = self.state().queue.pop_front();
            let Some((number, message)) = next else { return };
            if let Err(error) = self.client.publish_message(message).await {
                tracing::debug!(reason = %error, "message not sent");
                if let Some(number) = number {
                    self.answer(number, Err(Unanswered::Unsendable(error.to_string())));
                }
            }
        }
    }

    fn answer(&self, number: u64, answer: Answer) {
        if let Some(sender) = self.state().waiting.remove(&number) {
            // Whoever asked may have given up.
            drop(sender.send(answer));
        }
    }

    fn take(&self, message: async_nats::Message) {
        let number = message.subject.rsplit_once('.').and_then(|(_, last)| last.parse().ok());
        let Some(number) = number else { return };
        let nobody = message.status == Some(StatusCode::NO_RESPONDERS);
        self.answer(number, if nobody { Err(Unanswered::NoResponders) } else { Ok(message) });
    }

    async fn serve(self: Arc<Self>, mut answers: async_nats::Subscriber, stop: CancellationToken) {
        let mut stopped = pin!(stop.cancelled());
        loop {
            tokio::select! {
                biased;
                message = answers.next() => {
                    let Some(message) = message else { break };
                    self.take(message);
                    while let Some(Some(message)) = answers.next().now_or_never() {
                        self.take(message);
                    }
                }
                () = self.filled.notified() => {
                    // Comes back when no other job can go on.
                    tokio::task::yield_now().await;
                    self.send().await;
                }
                () = &mut stopped => break,
            }
        }
        self.state().closed = true;
        self.send().await;
        // What is asked from now on goes by itself; what was asked before may still be answered.
        while !self.state().waiting.is_empty() {
            tokio::select! {
                message = answers.next() => {
                    let Some(message) = message else { break };
                    self.take(message);
                }
                () = self.filled.notified() => {}
            }
        }
        self.state().waiting.clear();
    }
}

/// Asks past the outbox.
async fn ask_alone(
    client: &async_nats::Client,
    subject: String,
    headers: async_nats::HeaderMap,
    payload: Bytes,
) -> Answer {
    let mut request = async_nats::Request::new().payload(payload).timeout(Some(REQUEST_TIMEOUT));
    if !headers.is_empty() {
        request = request.headers(headers);
    }
    Ok(client.send_request(subject, request).await?)
}

impl Bus {
    /// Asks, and waits for the answer. A small question goes together with what else is to be sent.
    pub(super) async fn question(
        &self,
        subject: String,
        headers: async_nats::HeaderMap,
        payload: Bytes,
    ) -> Result<async_nats::Message, Unanswered> {
        let outbox = self.shared.outbox.get().filter(|outbox| outbox.is_open());
        let outbox = outbox.filter(|_| payload.len() <= BYTES_MAX);
        let alone = outbox.and_then(|outbox| outbox.alone());
        if let (Some(outbox), None) = (outbox, &alone) {
            return outbox.ask(subject, headers, payload).await;
        }
        ask_alone(&self.client, subject, headers, payload).await
    }

    /// From now on, what the jobs of this process store, ask and acknowledge at the same moment is sent together.
    /// Ends with the supervisor; then everything goes by itself again.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn gather(&self, supervisor: &Supervisor) -> Result<(), SubscribeError> {
        let inbox = format!("{}.", self.client.new_inbox());
        let answers = self.subscribe_uncopied(format!("{inbox}*"), None).await?;
        let outbox = Arc::new(Outbox {
            client: self.client.clone(),
            inbox,
            state: Mutex::default(),
            filled: Notify::new(),
            sending: tokio::sync::Mutex::default(),
        });
        if self.shared.outbox.set(Arc::clone(&outbox)).is_ok() {
            let serving = outbox.serve(answers, supervisor.shutdown_token());
            supervisor.spawn("outbox", Kind::Critical, serving);
        }
        Ok(())
    }
}
