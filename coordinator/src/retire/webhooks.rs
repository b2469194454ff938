//! Webhooks of tasks that have ended: the value in the bucket, and the job in the log stream.
//!
//! The bucket's stream has its messages in the order in which they were last written, so what is over its time stands at
//! the beginning, and a look ends at the first that is younger.

use std::ops::ControlFlow;

use protocol::subject::Subject;
use protocol::{Owner, TaskId, Timestamp};
use runtime::bus::{ReadError, StoredMessage};
use serde_json::Value;

use super::{Retire, before};

/// Webhooks looked at in one round.
const ROUND: usize = 1_000;

/// Where the next round begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WebhookPlace(u64);

/// What a value says about its webhook.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It is still told, or nobody knows.
    InUse,
    /// It was deleted, or has been told the end of its task.
    Over,
    /// It was given up; its task may go on.
    GivenUp,
}

impl Retire {
    /// One round. Returns how many webhooks were removed.
    ///
    /// # Errors
    /// When the bucket or a log cannot be read; the next round begins at the same place.
    pub async fn webhooks(&self, place: &mut WebhookPlace) -> Result<usize, ReadError> {
        let bus = self.client.bus();
        let bucket = &bus.names().push;
        let (stream, filter) = (format!("KV_{bucket}"), format!("$KV.{bucket}.*.*.*"));
        let before = before(self.clock.now(), self.webhooks_kept);
        let (mut old, mut is_full) = (Vec::new(), false);
        let look = |message: StoredMessage| {
            is_full = old.len() >= ROUND;
            if is_full || message.at >= before {
                return ControlFlow::Break(());
            }
            old.push(message);
            ControlFlow::Continue(())
        };
        bus.scan(&stream, &filter, place.0 + 1, look).await?;
        let mut removed = 0;
        for message in &old {
            removed += usize::from(self.webhook(&stream, message, before).await?);
        }
        let last = old.last().map_or(0, |message| message.sequence);
        *place = WebhookPlace(if is_full { last } else { 0 });
        Ok(removed)
    }

    /// Looks at one; whether it was removed.
    async fn webhook(
        &self,
        stream: &str,
        seen: &StoredMessage,
        before: Timestamp,
    ) -> Result<bool, ReadError> {
        let bus = self.client.bus();
        let key = seen.subject.splitn(3, '.').nth(2).unwrap_or_default();
        let job = format!("{}.push.{key}", bus.subjects().prefix());
        let Some(Subject::Push(owner, task, _)) = bus.subjects().parse(&job) else {
            return Ok(false);
        };
        match standing(seen) {
            Standing::InUse => return Ok(false),
            Standing::GivenUp if !self.has_ended(&owner, &task, before).await? => return Ok(false),
            Standing::GivenUp | Standing::Over => {}
        }
        // In this order: a webhook that is made anew has its value first and its job behind it.
        let log = &bus.names().log;
        let told = bus.last_from_leader(log, &job).await?;
        let now = bus.last_from_leader(stream, &seen.subject).await?;
        if now.is_none_or(|now| now.sequence != seen.sequence) {
            return Ok(false);
        }
        // The value goes last: after a crash it leads here again.
        if let Some(told) = told {
            bus.purge_to(log, &job, told.sequence).await?;
        }
        bus.purge_to(stream, &seen.subject, seen.sequence).await?;
        Ok(true)
    }

    /// Whether a task has ended before a time, or has no log any more.
    async fn has_ended(
        &self,
        owner: &Owner,
        task: &TaskId,
        before: Timestamp,
    ) -> Result<bool, ReadError> {
        let bus = self.client.bus();
        let last = bus.last_from_leader(&bus.names().log, &bus.subjects().log(owner, task)).await?;
        let Some(last) = last else { return Ok(true) };
        let entry = serde_json::from_slice::<protocol::entry::Entry>(&last.payload);
        Ok(last.at < before && entry.is_ok_and(|entry| entry.event.kind().is_terminal()))
    }
}

fn standing(message: &StoredMessage) -> Standing {
    if message.headers.get("KV-Operation").is_some() {
        return Standing::Over;
    }
    let record: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
    match record.pointer("/progress/state").and_then(Value::as_str) {
        Some("done") => Standing::Over,
        Some("disabled") => Standing::GivenUp,
        Some(_) | None => Standing::InUse,
    }
}
