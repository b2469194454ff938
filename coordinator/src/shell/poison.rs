//! Finds submissions whose headers no client can parse, and rejects them.
//!
//! Such a message cannot even be delivered: the client library drops its connection when it meets one, and the
//! message comes again to the next node. The stream's leader hands messages out as JSON, so a coordinator can read
//! it there. It looks when a node's connection ends, and now and then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::Client;
use protocol::entry::Event;
use protocol::fault::{Fault, code};
use protocol::log::TaskLog;
use runtime::bus::{InFlight, StoredMessage};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::log::{LogError, Logs};

const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Messages of one subject looked at before the others have their turn.
const TURN: usize = 500;

/// Looks again and again until `stop`.
pub(crate) async fn sweep(logs: Logs, client: Client, hint: Arc<Notify>, stop: CancellationToken) {
    let mut sweep = Sweep { logs, client, cursors: Cursors::default() };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = hint.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let looked = tokio::select! {
            () = stop.cancelled() => return,
            looked = sweep.look() => looked,
        };
        if let Err(error) = looked {
            tracing::info!(reason = %error, "sweep for poisoned headers not finished");
        }
    }
}

/// Up to where each consumer's subjects have been looked at. What is stored does not change, so nothing is looked at
/// twice.
#[derive(Default)]
struct Cursors(HashMap<(String, String), u64>);

impl Cursors {
    /// Where to go on within what a consumer has in flight; `None` when all of it has been looked at.
    fn start(&mut self, consumer: &InFlight, filter: &str) -> Option<u64> {
        let key = (consumer.consumer.clone(), filter.to_owned());
        let next = self.0.entry(key).or_default();
        let (first, last) = (*consumer.range.start(), *consumer.range.end());
        // Beyond what the consumer can have given out, it is a new one under an old name.
        if *next > last + 1 {
            *next = 0;
        }
        *next = (*next).max(first);
        (*next <= last).then_some(*next)
    }

    fn set(&mut self, consumer: &InFlight, filter: &str, next: u64) {
        self.0.insert((consumer.consumer.clone(), filter.to_owned()), next);
    }

    /// Forgets consumers that have nothing in flight; they begin at their first unsettled message again.
    fn keep(&mut self, consumers: &[InFlight]) {
        self.0.retain(|(name, _), _| consumers.iter().any(|one| one.consumer == *name));
    }
}

struct Sweep {
    logs: Logs,
    client: Client,
    cursors: Cursors,
}

impl Sweep {
    /// Looks at the deliveries that are in flight: between what every consumer has settled and what it has given
    /// out, in turns, until all have been looked at.
    async fn look(&mut self) -> Result<(), LogError> {
        let consumers = self.logs.bus.in_flight(&self.logs.bus.names().inbox).await?;
        self.cursors.keep(&consumers);
        let mut unfinished = true;
        while unfinished {
            unfinished = false;
            for consumer in &consumers {
                for filter in &consumer.filters {
                    unfinished |= self.turn(consumer, filter).await?;
                }
            }
        }
        Ok(())
    }

    /// Looks at some messages of a subject. Says whether there are more.
    async fn turn(&mut self, consumer: &InFlight, filter: &str) -> Result<bool, LogError> {
        let inbox = &self.logs.bus.names().inbox;
        let last = *consumer.range.end();
        for _ in 0..TURN {
            let Some(from) = self.cursors.start(consumer, filter) else { return Ok(false) };
            let found = self.logs.bus.inspect_next(inbox, filter, from).await?;
            let Some((message, readable)) = found.filter(|(message, _)| message.sequence <= last)
            else {
                self.cursors.set(consumer, filter, last + 1);
                return Ok(false);
            };
            if !readable {
                reject(&self.logs, &self.client, &message).await?;
            }
            self.cursors.set(consumer, filter, message.sequence + 1);
        }
        Ok(true)
    }
}

async fn reject(logs: &Logs, client: &Client, message: &StoredMessage) -> Result<(), LogError> {
    let (inbox, sequence) = (&logs.bus.names().inbox, message.sequence);
    let Some(mut envelope) = client.envelope(message) else { return Ok(()) };
    envelope.task = protocol::TaskId::from_sequence(sequence);
    tracing::warn!(task_id = %envelope.task, reason = "its headers cannot be parsed", "rejected");
    let origin = Box::new(envelope.origin(&message.payload));
    let fault = Fault::new(code::BAD_HEADER, "the headers are not valid UTF-8 or not well-formed")
        .at("headers")
        .hint("publish with a NATS client that writes headers as UTF-8");
    let mut log = TaskLog::default();
    let rejected = logs.append(
        &envelope.owner,
        &envelope.task,
        &mut log,
        Event::Rejected { fault },
        Some(origin),
    );
    match rejected.await {
        Ok(()) | Err(LogError::Moved) => {}
        Err(error) => return Err(error),
    }
    logs.bus.remove(inbox, sequence).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_goes_on_where_it_was_and_starts_anew_with_a_new_consumer() {
        let mut cursors = Cursors::default();
        for (range, set, expected) in [
            (5..=9, None, Some(5)),
            (5..=9, Some(8), Some(8)),
            (5..=9, Some(10), None),
            (5..=12, None, Some(10)),
            (20..=30, None, Some(20)),
            // The stream was made anew.
            (1..=3, None, Some(1)),
        ] {
            let consumer = InFlight {
                consumer: "c".to_owned(),
                filters: vec!["f".to_owned()],
                range: range.clone(),
            };
            if let Some(next) = set {
                cursors.set(&consumer, "f", next);
            }
            assert_eq!(cursors.start(&consumer, "f"), expected, "{range:?} {set:?}");
        }
    }
}
