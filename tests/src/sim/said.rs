//! The model coordinator's answers to what was said to tasks, and to cancels of tasks that nobody has begun, in the order
//! of `coordinator::shell::said` and `coordinator::shell::cancel`.

use std::time::Duration;

use coordinator::engine::cancel;
use coordinator::engine::input::{self, Judgement, Said};
use protocol::card::OnMessage;
use protocol::consequence;
use protocol::dead::{Cause, DeadLetter};
use protocol::entry::Origin;
use protocol::fault::{FailureClass, Fault};
use protocol::header;
use protocol::id::TaskId;
use protocol::input::Input;
use protocol::log::TaskLog;
use protocol::message::Message;
use protocol::submission::{Envelope, Queue, Source, Stored};
use runtime::bus::StoredMessage;

use super::bus::Stream;
use super::care::{Care, REST, Settled};
use super::sabotage::Sabotage;
use super::world::Key;

const UNKNOWN_FOR: Duration = Duration::from_secs(10);
const UNBEGUN: &str = "canceled before it was begun";

impl Care {
    /// What the skill does with messages while a task runs, as a coordinator has it from the registry.
    pub(super) fn on_message(&self) -> OnMessage {
        self.hold.with(|world| match world.sabotage {
            Some(Sabotage::Reject) => OnMessage::Enqueue,
            Some(Sabotage::Rude) => OnMessage::Reject,
            Some(_) | None => world.workload.on_message,
        })
    }

    pub(super) async fn judge(&self, task: &Key, log: &TaskLog, said: &StoredMessage) -> Settled {
        let read = Input::read(&said.headers, &said.payload);
        let about = Said { sequence: said.sequence, at: said.at, place: 1, input: read.as_ref() };
        match input::judge(log, about, self.on_message()) {
            Judgement::Keep => {
                self.hold.with(|world| world.seen.kept.push(said.sequence));
                Ok(None)
            }
            Judgement::Refuse(fault) => self.refuse(task, log, said, fault).await,
            Judgement::Unknown => {
                self.hold.turn().await;
                let (submitted, age) = self.hold.with(|world| {
                    let submitted = world.submission_of(task).is_some();
                    (submitted, world.clock.now().since(said.at))
                });
                match submitted {
                    true => Ok(None),
                    false if age >= input::UNKNOWN_FOR => {
                        self.refuse(task, log, said, input::nobody_there()).await
                    }
                    false => Ok(Some(REST)),
                }
            }
        }
    }

    async fn refuse(
        &self,
        task: &Key,
        log: &TaskLog,
        said: &StoredMessage,
        fault: Fault,
    ) -> Settled {
        let (now, skill, sabotage) =
            self.hold.with(|world| (world.clock.now(), world.skill.clone(), world.sabotage));
        if sabotage == Some(Sabotage::Silence) {
            return Ok(None);
        }
        let source = Source { queue: Queue::Run, sequence: said.sequence };
        let nobody =
            || Box::new(Origin { owner: task.0.clone(), ..Origin::bare(skill, source, said.at) });
        let letter = DeadLetter {
            task: task.1.clone(),
            cause: Cause::Refused,
            failure: FailureClass::Permanent,
            fault,
            origin: log.origin.clone().unwrap_or_else(nobody),
            input: Message::from_user(Vec::new()),
            attempts: Vec::new(),
            died_at: now,
        };
        let mut message = self.letter(&letter)?;
        message.headers.push(header::MSG_ID, format!("refused-{}", said.sequence));
        self.store(&[message]).await?;
        self.hold.turn().await;
        self.hold.with(|world| world.bus.remove(Stream::Log, said.sequence));
        Ok(None)
    }

    pub(super) async fn cancel_unbegun(&self, task: &Key, message: &StoredMessage) -> Settled {
        match message.headers.get(header::PARENT).map(TaskId::parse) {
            Some(Ok(parent)) => self.cancel_child(task, &parent, message).await,
            Some(Err(_)) | None => self.cancel_submission(task, message).await,
        }
    }

    async fn cancel_child(&self, task: &Key, parent: &TaskId, message: &StoredMessage) -> Settled {
        let above = self.read(&(task.0.clone(), parent.clone())).await?;
        let (Some(origin), Some(child)) = (&above.origin, cancel::child_of(&above, &task.1)) else {
            return self.unknown(message);
        };
        let origin = self.hold.with(|world| {
            consequence::origin_of_child(&world.subjects, origin, parent, child, message.at)
        });
        let mut log = TaskLog::default();
        let event = cancel::canceled(UNBEGUN);
        self.append(task, &mut log, event, Some(Box::new(origin))).await?;
        self.hold.with(|world| world.count_unbegun(task));
        Ok(None)
    }

    async fn cancel_submission(&self, task: &Key, message: &StoredMessage) -> Settled {
        let named = message.headers.get(header::SOURCE).and_then(|text| text.parse().ok());
        self.hold.turn().await;
        let found = task.1.sequence().or(named).and_then(|sequence| self.submission(sequence));
        let found =
            found.filter(|(envelope, _)| envelope.task == task.1 && envelope.owner == task.0);
        let Some((envelope, payload)) = found else { return self.unknown(message) };
        let origin = Box::new(envelope.origin(&payload));
        let mut log = TaskLog::default();
        let event = cancel::canceled(UNBEGUN);
        self.append(task, &mut log, event, Some(origin)).await?;
        if task.1.sequence().is_some() {
            self.hold.turn().await;
            self.hold.with(|world| world.bus.remove(Stream::Inbox, envelope.source.sequence));
        }
        Ok(None)
    }

    fn unknown(&self, message: &StoredMessage) -> Settled {
        let age = self.hold.with(|world| world.clock.now()).since(message.at);
        Ok((age < UNKNOWN_FOR).then_some(REST))
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
}
