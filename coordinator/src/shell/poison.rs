//! Finds messages whose headers no client can parse: rejects submissions, and removes what stands where only the mesh
//! writes.
//!
//! Such a message cannot even be delivered: the client library drops its connection when it meets one, and the
//! message comes again to the next one that pulls. The stream's leader hands messages out as JSON, so a coordinator can
//! read it there. It looks before it begins its own work, when a node's connection ends, and now and then.

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
/// How long a coordinator's own work waits for the first look.
const FIRST_LOOK_LIMIT: Duration = Duration::from_secs(5);
/// Messages of one subject looked at before the others have their turn.
const TURN: usize = 500;

/// Looks again and again until `stop`; `looked` is cancelled after the first time, or when that takes too long.
pub(crate) async fn sweep(
    logs: Logs,
    client: Client,
    hint: Arc<Notify>,
    looked: CancellationToken,
    stop: CancellationToken,
) {
    let mut sweep = Sweep { logs, client, cursors: Cursors::default() };
    if tokio::time::timeout(FIRST_LOOK_LIMIT, sweep.look_both()).await.is_err() {
        tracing::info!(reason = "it takes long", "first sweep for poisoned headers not finished");
    }
    looked.cancel();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = hint.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sweep.look_both() => {}
        }
    }
}

/// Up to where the subjects of each consumer of each stream have been looked at. What is stored does not change, so
/// nothing is looked at twice.
#[derive(Default)]
struct Cursors(HashMap<(String, String, String), u64>);

impl Cursors {
    /// Where to go on within what a consumer has in flight; `None` when all of it has been looked at.
    fn start(&mut self, stream: &str, consumer: &InFlight, filter: &str) -> Option<u64> {
        let key = (stream.to_owned(), consumer.consumer.clone(), filter.to_owned());
        let next = self.0.entry(key).or_default();
        let (first, last) = (*consumer.range.start(), *consumer.range.end());
        // Beyond what the consumer can have given out, it is a new one under an old name.
        if *next > last + 1 {
            *next = 0;
        }
        *next = (*next).max(first);
        (*next <= last).then_some(*next)
    }

    fn set(&mut self, stream: &str, consumer: &InFlight, filter: &str, next: u64) {
        let key = (stream.to_owned(), consumer.consumer.clone(), filter.to_owned());
        self.0.insert(key, next);
    }

    /// Forgets consumers that have nothing in flight; they begin at their first unsettled message again.
    fn keep(&mut self, stream: &str, consumers: &[InFlight]) {
        self.0.retain(|(of, name, _), _| {
            of != stream || consumers.iter().any(|one| one.consumer == *name)
        });
    }
}

struct Sweep {
    logs: Logs,
    client: Client,
    cursors: Cursors,
}

impl Sweep {
    async fn look_both(&mut self) {
        let names = self.logs.bus.names().clone();
        // The log first: what stands there stops coordinators themselves.
        for stream in [&names.log, &names.inbox] {
            if let Err(error) = self.look(stream).await {
                tracing::info!(%stream, reason = %error, "sweep for poisoned headers not finished");
            }
        }
    }

    /// Looks at the deliveries that are in flight: between what every consumer has settled and what it has given
    /// out, in turns, until all have been looked at.
    async fn look(&mut self, stream: &str) -> Result<(), LogError> {
        let consumers = self.logs.bus.in_flight(stream).await?;
        self.cursors.keep(stream, &consumers);
        let mut unfinished = true;
        while unfinished {
            unfinished = false;
            for consumer in &consumers {
                for filter in &consumer.filters {
                    unfinished |= self.turn(stream, consumer, filter).await?;
                }
            }
        }
        Ok(())
    }

    /// Looks at some messages of a subject. Says whether there are more.
    async fn turn(
        &mut self,
        stream: &str,
        consumer: &InFlight,
        filter: &str,
    ) -> Result<bool, LogError> {
        let last = *consumer.range.end();
        for _ in 0..TURN {
            let Some(from) = self.cursors.start(stream, consumer, filter) else { return Ok(false) };
            let found = self.logs.bus.inspect_next(stream, filter, from).await?;
            let Some((message, readable)) = found.filter(|(message, _)| message.sequence <= last)
            else {
                self.cursors.set(stream, consumer, filter, last + 1);
                return Ok(false);
            };
            if !readable && stream == self.logs.bus.names().inbox {
                reject(&self.logs, &self.client, &message).await?;
            } else if !readable {
                remove(&self.logs, stream, &message).await?;
            }
            self.cursors.set(stream, consumer, filter, message.sequence + 1);
        }
        Ok(true)
    }
}

/// Takes a message away that the mesh has not written: its own headers can be parsed.
async fn remove(logs: &Logs, stream: &str, message: &StoredMessage) -> Result<(), LogError> {
    let (subject, sequence) = (&message.subject, message.sequence);
    tracing::warn!(%stream, subject, sequence, reason = "its headers cannot be parsed", "removed");
    logs.bus.remove(stream, sequence).await?;
    Ok(())
}

async fn reject(logs: &Logs, client: &Client, message: &StoredMessage) -> Result<(), LogError> {
    let (inbox, sequence) = (&logs.bus.names().inbox, message.sequence);
    let Some(mut envelope) = client.envelope(message) else { return Ok(()) };
    envelope.task = protocol::TaskId::from_sequence(sequence);
    envelope.keyed = false;
    let before = logs.read(&envelope.owner, &envelope.task).await?;
    if let Some(task) = before.origin.as_deref().and_then(|first| envelope.displaced_by(first)) {
        envelope.task = task;
    }
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
                cursors.set("s", &consumer, "f", next);
            }
            assert_eq!(cursors.start("s", &consumer, "f"), expected, "{range:?} {set:?}");
        }
    }
}
