//! A model coordinator: wakes and cancels, in the order in which `coordinator::shell::care` does it.

use std::time::Duration;

use coordinator::engine::cancel::{self, Cancel};
use coordinator::engine::wake::{self, Wake};
use protocol::consequence;
use protocol::entry::{Entry, Event, Origin};
use protocol::header::{self, Headers};
use protocol::id::{NodeName, Owner, TaskId};
use protocol::log::TaskLog;
use protocol::subject::Subject;
use protocol::submission::{Envelope, Stored};
use runtime::bus::{Outgoing, StoredMessage};

use super::bus::{Delivery, Stream};
use super::hold::{Hold, Sent};
use super::sabotage::Sabotage;

const REST: Duration = Duration::from_millis(500);
const UNKNOWN_FOR: Duration = Duration::from_secs(10);

/// The decision could not be carried out now.
enum Undone {
    Moved,
    NoAnswer,
}

/// One coordinator.
pub(super) struct Care {
    pub(super) hold: Hold,
    pub(super) by: NodeName,
}

impl Care {
    /// Takes a delivery to its end.
    pub(super) async fn deliver(self, delivery: Delivery) {
        let subject = self.hold.with(|world| world.subjects.parse(&delivery.message.subject));
        self.hold.with(|world| world.note(|| format!("cares for {}", delivery.message.subject)));
        let done = match subject {
            Some(Subject::Wake(_, task)) => self.wake(&task).await,
            Some(Subject::Cancel(_, task)) => self.cancel(&task, &delivery.message).await,
            Some(_) | None => Ok(None),
        };
        let again_after = match done {
            Ok(wait) => wait,
            Err(Undone::Moved) => Some(Duration::ZERO),
            Err(Undone::NoAnswer) => Some(REST),
        };
        self.hold.turn().await;
        self.hold.with(|world| world.settle(&delivery, again_after));
    }

    /// The pages come from any replica; the leader, asked first, says where the log ends.
    async fn read(&self, task: &TaskId) -> Result<TaskLog, Undone> {
        self.hold.turn().await;
        let last = self.hold.with(|world| world.read_log(task, true).last_sequence);
        self.hold.turn().await;
        let log = self.hold.with(|world| world.read_log(task, false));
        if log.last_sequence < last { Err(Undone::Moved) } else { Ok(log) }
    }

    async fn wake(&self, task: &TaskId) -> Result<Option<Duration>, Undone> {
        let mut log = self.read(task).await?;
        match wake::wake(&log) {
            Wake::Unknown => Ok(None),
            Wake::CarryOut => {
                if self.hold.with(|world| world.sabotage) != Some(Sabotage::Consequences) {
                    self.carry_out(task, &log).await?;
                }
                Ok(None)
            }
            Wake::LookAtChildren { position } => {
                if self.witness(&log, position).await.is_none() {
                    let event = wake::children_ended(log.children_at(position).len());
                    self.append(task, &mut log, event, None).await?;
                }
                Ok(None)
            }
        }
    }

    async fn witness(&self, log: &TaskLog, position: u32) -> Option<TaskId> {
        for child in log.children_at(position).iter().rev() {
            self.hold.turn().await;
            let ended = self.hold.with(|world| {
                let stale = world.sabotage == Some(Sabotage::Witness) && world.dice.permille(300);
                !stale && world.read_log(&child.task, true).is_ended()
            });
            if !ended {
                return Some(child.task.clone());
            }
        }
        None
    }

    async fn cancel(
        &self,
        task: &TaskId,
        message: &StoredMessage,
    ) -> Result<Option<Duration>, Undone> {
        let mut log = self.read(task).await?;
        let now = self.hold.with(|world| world.clock.now());
        match cancel::cancel(&log, message.at, now) {
            Cancel::Done => {
                self.carry_out(task, &log).await?;
                Ok(None)
            }
            Cancel::Later { wait } => Ok(Some(wait)),
            Cancel::End(event) => {
                self.append(task, &mut log, event, None).await?;
                Ok(None)
            }
            Cancel::EndSubmission => self.cancel_submission(task, message).await,
        }
    }

    async fn cancel_submission(
        &self,
        task: &TaskId,
        message: &StoredMessage,
    ) -> Result<Option<Duration>, Undone> {
        let named = message.headers.get(header::SOURCE).and_then(|text| text.parse().ok());
        self.hold.turn().await;
        let found = task.sequence().or(named).and_then(|sequence| self.submission(sequence));
        let found = found.filter(|(envelope, _)| envelope.task == *task);
        let Some((envelope, payload)) = found else {
            let now = self.hold.with(|world| world.clock.now());
            return Ok((now.since(message.at) < UNKNOWN_FOR).then_some(REST));
        };
        let origin = Box::new(envelope.origin(&payload));
        let mut log = TaskLog::default();
        let event = cancel::canceled("canceled before it was begun");
        self.append(task, &mut log, event, Some(origin)).await?;
        if task.sequence().is_some() {
            self.hold.turn().await;
            self.hold.with(|world| world.bus.remove(envelope.source.sequence));
        }
        Ok(None)
    }

    fn submission(&self, sequence: u64) -> Option<(Envelope, bytes::Bytes)> {
        self.hold.with(|world| {
            let message = world.bus.at(Stream::Inbox, sequence)?;
            let stored = Stored {
                subject: &message.subject,
                headers: &message.headers,
                sequence,
                at: message.at,
            };
            let envelope = match Envelope::read(&world.subjects, stored)? {
                Ok(envelope) => envelope,
                Err(refused) => *refused.envelope,
            };
            Some((envelope, message.payload.clone()))
        })
    }

    async fn append(
        &self,
        task: &TaskId,
        log: &mut TaskLog,
        event: Event,
        origin: Option<Box<Origin>>,
    ) -> Result<(), Undone> {
        let (now, subject) = self
            .hold
            .with(|world| (world.clock.now(), world.subjects.log(&Owner::default(), task)));
        let entry = Entry {
            generation: log.generation + 1,
            at: now,
            by: self.by.clone(),
            attempt: 0,
            origin,
            agent: None,
            spent: None,
            event,
        };
        let payload = serde_json::to_vec(&entry).map_err(|_| Undone::NoAnswer)?;
        let sequence = self
            .store(Outgoing {
                subject,
                expected_last: Some(log.last_sequence),
                headers: Headers::new().with(header::ENTRY, entry.event.kind().name()),
                payload: payload.into(),
            })
            .await?;
        log.apply(sequence, entry).map_err(|_| Undone::NoAnswer)?;
        self.carry_out(task, log).await
    }

    async fn carry_out(&self, task: &TaskId, log: &TaskLog) -> Result<(), Undone> {
        let publications = self.hold.with(|world| consequence::of(&world.subjects, task, log));
        for publication in publications {
            let (subject, headers) = (publication.subject, publication.headers);
            let cancel = self.hold.with(|world| world.subjects.parse(&subject));
            self.store(Outgoing::new(subject, headers, publication.payload)).await?;
            if let Some(Subject::Cancel(_, child)) = cancel {
                self.hold.with(|world| world.tell_cancel(&child));
            }
        }
        Ok(())
    }

    async fn store(&self, message: Outgoing) -> Result<u64, Undone> {
        match self.hold.publish(&[message]).await {
            Sent::Stored(sequence) => Ok(sequence),
            Sent::Fenced => Err(Undone::Moved),
            Sent::NoAnswer => Err(Undone::NoAnswer),
        }
    }
}
