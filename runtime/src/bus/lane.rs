//! Who stands before and behind a submission in its lane.
//!
//! A lane is one subject of the inbox, and its order is that of the stream. Everything here is asked of the leaders
//! of the streams: a replica that lags might not have the neighbour yet, and the order would be lost. A direct get
//! only saves looking through the lane from its start. A submission without a log waits to be begun: where a log is removed,
//! its submission goes before it, and a copy in a lane goes when it is dropped.

use protocol::entry::Entry;
use protocol::id::{Lane, Owner, Skill, TaskId};
use protocol::submission::{Envelope, Stored};

use super::{Bus, ReadError, StoredMessage};

/// The task that another one has to wait for in its lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ahead {
    /// Where its submission is stored in the inbox.
    pub sequence: u64,
    /// The task.
    pub task: TaskId,
}

/// What has become of a submission, as far as its lane is concerned.
enum Turn {
    /// It has not ended: whoever is behind it waits.
    Open,
    /// It ended after an attempt at it, so everything before it had ended.
    Taken,
    /// It ended, or was dropped as a copy, without an attempt: what stands before it may still be open.
    Skipped,
}

impl Bus {
    /// The nearest task before a submission in its lane that has not ended; `None`: it is the submission's turn.
    /// `sequence` is the submission's place in the inbox.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn ahead_in_lane(
        &self,
        skill: &Skill,
        owner: &Owner,
        lane: &Lane,
        sequence: u64,
    ) -> Result<Option<Ahead>, ReadError> {
        let subject = self.subjects().task_in_lane(skill, owner, lane);
        let mut behind = sequence;
        while let Some(message) = self.before(&subject, behind).await? {
            let Some(mut envelope) = self.envelope_of(&message) else { return Ok(None) };
            match self.turn_of(&mut envelope).await? {
                Turn::Open => {
                    return Ok(Some(Ahead { sequence: message.sequence, task: envelope.task }));
                }
                Turn::Taken => return Ok(None),
                Turn::Skipped => behind = message.sequence,
            }
        }
        Ok(None)
    }

    /// The first task behind a submission in its lane that has not ended, if it has begun to wait: the one to wake
    /// when the submission has ended or was dropped. One without a log needs no wake: it looks for itself.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn behind_in_lane(
        &self,
        skill: &Skill,
        owner: &Owner,
        lane: &Lane,
        sequence: u64,
    ) -> Result<Option<TaskId>, ReadError> {
        let subject = self.subjects().task_in_lane(skill, owner, lane);
        let mut from = sequence + 1;
        loop {
            let found = self.next_from_leader(&self.names().inbox, &subject, from).await?;
            let Some(message) = found else { return Ok(None) };
            from = message.sequence + 1;
            let Some(mut envelope) = self.envelope_of(&message) else { continue };
            match self.last_entry(&mut envelope).await? {
                None => return Ok(None),
                Some(last) if last.ends_task() => {}
                Some(_) => return Ok(Some(envelope.task)),
            }
        }
    }

    /// The last message of a subject of the inbox before a sequence.
    async fn before(
        &self,
        subject: &str,
        sequence: u64,
    ) -> Result<Option<StoredMessage>, ReadError> {
        let inbox = &self.names().inbox;
        let mut last = self.last_before(inbox, subject, sequence).await?;
        loop {
            // What the leader has next behind it: the submission itself, or what the replica lacked.
            let from = last.as_ref().map_or(1, |last| last.sequence + 1);
            match self.next_from_leader(inbox, subject, from).await? {
                Some(next) if next.sequence < sequence => last = Some(next),
                Some(_) | None => return Ok(last),
            }
        }
    }

    fn envelope_of(&self, message: &StoredMessage) -> Option<Envelope> {
        let stored = Stored {
            subject: &message.subject,
            headers: &message.headers,
            sequence: message.sequence,
            at: message.at,
        };
        match Envelope::read(self.subjects(), stored)? {
            Ok(envelope) => Some(envelope),
            Err(refused) => Some(*refused.envelope),
        }
    }

    /// The last entry of a submission's log. Where the log is an earlier submission's, in an inbox that was set back,
    /// the submission gets its other id first.
    async fn last_entry(
        &self,
        envelope: &mut Envelope,
    ) -> Result<Option<StoredMessage>, ReadError> {
        let stream = &self.names().log;
        let subject = self.subjects().log(&envelope.owner, &envelope.task);
        let Some(last) = self.last_from_leader(stream, &subject).await? else { return Ok(None) };
        if envelope.keyed {
            return Ok(Some(last));
        }
        let first = match read_entry(&last).and_then(|entry| entry.origin) {
            Some(origin) => Some(origin),
            None => {
                let first = self.next_from_leader(stream, &subject, 1).await?;
                first.as_ref().and_then(read_entry).and_then(|entry| entry.origin)
            }
        };
        let Some(task) = first.and_then(|first| envelope.displaced_by(&first)) else {
            return Ok(Some(last));
        };
        envelope.task = task;
        let subject = self.subjects().log(&envelope.owner, &envelope.task);
        self.last_from_leader(stream, &subject).await
    }

    async fn turn_of(&self, envelope: &mut Envelope) -> Result<Turn, ReadError> {
        let stream = &self.names().log;
        let subject = self.subjects().log(&envelope.owner, &envelope.task);
        if envelope.keyed {
            let first = self.next_from_leader(stream, &subject, 1).await?;
            let origin = first.as_ref().and_then(read_entry).and_then(|entry| entry.origin);
            if origin.is_some_and(|origin| origin.source != envelope.source) {
                return Ok(Turn::Skipped);
            }
        }
        let Some(last) = self.last_entry(envelope).await? else {
            // A replica may still have a submission that was removed, long after its end.
            let inbox = &self.names().inbox;
            let is_there = self.at_from_leader(inbox, envelope.source.sequence).await?.is_some();
            return Ok(if is_there { Turn::Open } else { Turn::Skipped });
        };
        if !last.ends_task() {
            return Ok(Turn::Open);
        }
        let attempt = read_entry(&last).map_or(0, |entry| entry.attempt);
        Ok(if attempt > 0 { Turn::Taken } else { Turn::Skipped })
    }
}

fn read_entry(message: &StoredMessage) -> Option<Entry> {
    serde_json::from_slice(&message.payload).ok()
}
