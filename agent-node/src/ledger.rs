//! Where entries are appended and read: the log as the node sees it.
//!
//! One trait with two members: the bus, and a log in memory for agents' own tests. What an append promises
//! is the same in both: it is stored exactly when the expected sequence is the last one.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use protocol::fault::Fault;
use protocol::submission::Source;
use runtime::bus::{Outgoing, StoredMessage};

/// Why an append is not stored.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AppendError {
    /// Somebody else has appended: this writer does not own the log.
    #[error("another writer owns the log")]
    Fenced,
    /// The stream will never take it.
    #[error("the stream refuses the entry: {0}")]
    Refused(Fault),
    /// The process is stopping and the bus cannot be reached.
    #[error("the bus is gone")]
    Gone,
}

/// Logs that can be appended to and read.
pub trait Ledger: Send + Sync + 'static {
    /// Stores messages, all of them or none; returns the sequence of the first. Retries by itself what is
    /// worth retrying, and recognises its own entry when an acknowledgement was lost.
    fn append(&self, messages: Vec<Outgoing>) -> BoxFuture<'_, Result<u64, AppendError>>;

    /// All messages of one subject of the log stream, oldest first.
    fn read<'a>(
        &'a self,
        subject: &'a str,
    ) -> BoxFuture<'a, Result<Vec<StoredMessage>, AppendError>>;

    /// The message that a task came from.
    fn input(&self, source: Source) -> BoxFuture<'_, Result<Option<StoredMessage>, AppendError>>;

    /// The last message of each of these subjects of the log stream, those without any left out.
    fn last_of<'a>(
        &'a self,
        subjects: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<StoredMessage>, AppendError>>;

    /// Stores a large value, returns the name to refer to it by.
    fn put_object(&self, bytes: Bytes) -> BoxFuture<'_, Result<String, AppendError>>;

    /// Fetches a large value; `None` when there is none of this name.
    fn get_object<'a>(&'a self, name: &'a str)
    -> BoxFuture<'a, Result<Option<Bytes>, AppendError>>;

    /// Waits until it is worth asking again.
    fn rest(&self, wait: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(wait))
    }
}

/// A ledger in memory.
#[derive(Debug, Default)]
pub struct MemoryLedger {
    state: Mutex<MemoryState>,
}

#[derive(Debug, Default)]
struct MemoryState {
    messages: Vec<StoredMessage>,
    objects: HashMap<String, Bytes>,
}

impl MemoryLedger {
    fn with<T>(&self, act: impl FnOnce(&mut MemoryState) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Everything stored so far, in order.
    #[must_use]
    pub fn messages(&self) -> Vec<StoredMessage> {
        self.with(|state| state.messages.clone())
    }
}

impl MemoryState {
    fn last(&self, subject: &str) -> Option<&StoredMessage> {
        self.messages.iter().rev().find(|message| message.subject == subject)
    }
}

impl Ledger for MemoryLedger {
    fn append(&self, messages: Vec<Outgoing>) -> BoxFuture<'_, Result<u64, AppendError>> {
        let result = self.with(|state| {
            for message in &messages {
                let last = state.last(&message.subject).map_or(0, |stored| stored.sequence);
                if message.expected_last.is_some_and(|expected| expected != last) {
                    return Err(AppendError::Fenced);
                }
            }
            let first = state.messages.len() as u64 + 1;
            for (sequence, message) in (first..).zip(messages) {
                state.messages.push(StoredMessage {
                    sequence,
                    subject: message.subject,
                    headers: message.headers,
                    payload: message.payload,
                    at: protocol::Timestamp::default(),
                });
            }
            Ok(first)
        });
        Box::pin(std::future::ready(result))
    }

    fn read<'a>(
        &'a self,
        subject: &'a str,
    ) -> BoxFuture<'a, Result<Vec<StoredMessage>, AppendError>> {
        let found = self.with(|state| {
            state.messages.iter().filter(|message| message.subject == subject).cloned().collect()
        });
        Box::pin(std::future::ready(Ok(found)))
    }

    fn input(&self, _source: Source) -> BoxFuture<'_, Result<Option<StoredMessage>, AppendError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn last_of<'a>(
        &'a self,
        subjects: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<StoredMessage>, AppendError>> {
        let found =
            self.with(|state| subjects.iter().filter_map(|s| state.last(s)).cloned().collect());
        Box::pin(std::future::ready(Ok(found)))
    }

    fn put_object(&self, bytes: Bytes) -> BoxFuture<'_, Result<String, AppendError>> {
        let name = self.with(|state| {
            let name = format!("o{}", state.objects.len() + 1);
            state.objects.insert(name.clone(), bytes);
            name
        });
        Box::pin(std::future::ready(Ok(name)))
    }

    fn get_object<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Bytes>, AppendError>> {
        Box::pin(std::future::ready(Ok(self.with(|state| state.objects.get(name).cloned()))))
    }
}
