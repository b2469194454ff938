//! The ledger on the model server: as patient as the real one, and with the same rule for recognising its own entry
//! behind the fence after an answer was lost.

use std::time::Duration;

use agent_node::ledger::{AppendError, Ledger};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use protocol::budget::Usage;
use protocol::entry::{Entry, Event};
use protocol::header::{Headers, WRITER};
use protocol::submission::{Queue, Source};
use runtime::bus::{Outgoing, StoredMessage};

use super::bus::Stream;
use super::hold::{Hold, Sent};
use super::sabotage::Sabotage;

/// How long the ledger waits for an answer and before it sends again.
const RETRY: Duration = Duration::from_millis(500);

/// Appends and reads in the model.
pub(super) struct SimLedger(pub(super) Hold);

impl SimLedger {
    async fn append_patiently(&self, messages: Vec<Outgoing>) -> Result<u64, AppendError> {
        let sabotage = self.0.with(|world| world.sabotage);
        let messages: Vec<Outgoing> =
            messages.into_iter().map(|message| sabotaged(message, sabotage)).collect();
        if let [message] = messages.as_slice() {
            self.0.with(|world| world.pass_on_cancel(&message.subject));
            if sabotage == Some(Sabotage::Losers) && message.subject.starts_with("weft.cancel.") {
                return Ok(0);
            }
        }
        loop {
            match self.0.publish(&messages).await {
                Sent::Stored(sequence) => return Ok(sequence),
                Sent::NoAnswer => self.0.sleep(RETRY).await,
                Sent::Fenced => return self.recognise(&messages).await,
            }
        }
    }

    async fn recognise(&self, messages: &[Outgoing]) -> Result<u64, AppendError> {
        self.0.turn().await;
        let first = messages.first().ok_or(AppendError::Fenced)?;
        let expected = first.expected_last.ok_or(AppendError::Fenced)?;
        let own = self.0.with(|world| {
            let entries = &world.logs.get(&first.subject)?.entries;
            let next = entries.iter().map(|(sequence, ..)| *sequence).find(|s| *s > expected)?;
            let stored = world.bus.at(Stream::Log, next)?;
            let writer = |headers: &Headers| headers.get(WRITER).map(str::to_owned);
            let own = stored.payload == first.payload
                && writer(&stored.headers) == writer(&first.headers);
            if own {
                world.note(|| format!("recognised its own entry at {next}"));
            }
            own.then_some(next)
        });
        own.ok_or(AppendError::Fenced)
    }
}

/// An entry as a node writes it that forgets something about the budget.
fn sabotaged(mut message: Outgoing, sabotage: Option<Sabotage>) -> Outgoing {
    if !matches!(sabotage, Some(Sabotage::Refund | Sabotage::Spent | Sabotage::Carry)) {
        return message;
    }
    let Ok(mut entry) = serde_json::from_slice::<Entry>(&message.payload) else { return message };
    match &mut entry.event {
        Event::Refunded { children } if sabotage == Some(Sabotage::Refund) => {
            for child in children {
                child.spent = Usage::default();
            }
        }
        _ if sabotage == Some(Sabotage::Spent) => entry.spent = None,
        _ if sabotage == Some(Sabotage::Carry) => entry.raised = None,
        _ => return message,
    }
    if let Ok(payload) = serde_json::to_vec(&entry) {
        message.payload = payload.into();
    }
    message
}

fn last_of(hold: &Hold, subject: &str) -> Option<StoredMessage> {
    hold.with(|world| {
        let (sequence, ..) = world.logs.get(subject)?.entries.last()?;
        world.bus.at(Stream::Log, *sequence).cloned()
    })
}

impl Ledger for SimLedger {
    fn append(&self, messages: Vec<Outgoing>) -> BoxFuture<'_, Result<u64, AppendError>> {
        Box::pin(self.append_patiently(messages))
    }

    fn read<'a>(
        &'a self,
        subject: &'a str,
    ) -> BoxFuture<'a, Result<Vec<StoredMessage>, AppendError>> {
        Box::pin(async move {
            self.0.turn().await;
            Ok(self.0.with(|world| {
                let all = world.bus.all(Stream::Log).filter(|message| message.subject == subject);
                all.cloned().collect()
            }))
        })
    }

    fn input(&self, source: Source) -> BoxFuture<'_, Result<Option<StoredMessage>, AppendError>> {
        Box::pin(async move {
            self.0.turn().await;
            let stream = match source.queue {
                Queue::Inbox => Stream::Inbox,
                Queue::Run => Stream::Log,
            };
            Ok(self.0.with(|world| world.bus.at(stream, source.sequence).cloned()))
        })
    }

    fn last_of<'a>(
        &'a self,
        subjects: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<StoredMessage>, AppendError>> {
        Box::pin(async move {
            self.0.turn().await;
            Ok(subjects.iter().filter_map(|subject| last_of(&self.0, subject)).collect())
        })
    }

    fn put_object(&self, _: Bytes) -> BoxFuture<'_, Result<String, AppendError>> {
        Box::pin(std::future::ready(Err(AppendError::Gone)))
    }

    fn rest(&self, wait: Duration) -> BoxFuture<'_, ()> {
        Box::pin(self.0.sleep(wait))
    }

    fn get_object<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, AppendError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}
