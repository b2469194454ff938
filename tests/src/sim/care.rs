//! A model coordinator: wakes, cancels and inputs, in the order in which `coordinator::shell::care` does it.

use std::time::Duration;

use coordinator::engine::cancel::{self, Cancel};
use coordinator::engine::children::{self, Child, Join};
use coordinator::engine::wake::{self, Look, Wake};
use protocol::approval::{RAISE_BUDGET, Verdict};
use protocol::consequence;
use protocol::dead::DeadLetter;
use protocol::entry::{Entry, Event, Origin};
use protocol::fault::{FailureClass, Fault};
use protocol::header::{self, Headers};
use protocol::id::NodeName;
use protocol::input::Input;
use protocol::log::TaskLog;
use protocol::message::Message;
use protocol::subject::Subject;
use protocol::time::Timestamp;
use protocol::wait::{Answer, Arrived};
use runtime::bus::{Outgoing, StoredMessage};

use super::bus::{Delivery, Stream};
use super::hold::{Hold, Sent};
use super::lane;
use super::sabotage::Sabotage;
use super::world::Key;

pub(super) const REST: Duration = Duration::from_millis(500);

/// The decision could not be carried out now.
pub(super) enum Undone {
    Moved,
    NoAnswer,
}

/// What becomes of a delivery: nothing more, or again after a time.
pub(super) type Settled = Result<Option<Duration>, Undone>;

/// Whether the cancels that follow from an entry are published with the rest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cancels {
    Publish,
    LeaveOut,
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
        let now = self.hold.with(|world| world.clock.now()).max(delivery.message.at);
        let done = match subject {
            Some(Subject::Wake(owner, task)) => {
                let looked = self.look(&(owner, task), cancels(&delivery), now, &delivery).await;
                looked.map(|(_, wait)| wait)
            }
            Some(Subject::Input(owner, task)) => {
                let task = (owner, task);
                match self.look(&task, Cancels::LeaveOut, now, &delivery).await {
                    Ok((log, _)) => self.judge(&task, &log, &delivery.message).await,
                    Err(undone) => Err(undone),
                }
            }
            Some(Subject::Cancel(owner, task)) => self.cancel(&(owner, task), &delivery).await,
            Some(_) | None => Ok(None),
        };
        let again_after = match done {
            Ok(wait) => wait,
            Err(Undone::Moved) => {
                self.hold.with(|world| world.count("coordinator came second"));
                Some(Duration::ZERO)
            }
            Err(Undone::NoAnswer) => Some(REST),
        };
        self.hold.turn().await;
        self.hold.with(|world| world.settle(&delivery, again_after));
    }

    /// The pages come from any replica; the leader, asked first, says where the log ends.
    pub(super) async fn read(&self, task: &Key) -> Result<TaskLog, Undone> {
        self.hold.turn().await;
        let last = self.hold.with(|world| world.read_log(task, true).last_sequence);
        self.hold.turn().await;
        let log = self.hold.with(|world| world.read_log(task, false));
        if log.last_sequence < last { Err(Undone::Moved) } else { Ok(log) }
    }

    async fn look(
        &self,
        task: &Key,
        cancels: Cancels,
        now: Timestamp,
        delivery: &Delivery,
    ) -> Result<(TaskLog, Option<Duration>), Undone> {
        let mut log = self.read(task).await?;
        let sabotage = self.hold.with(|world| world.sabotage);
        let event = match wake::wake(&log, now) {
            Wake::Unknown => None,
            Wake::CarryOut => {
                if sabotage != Some(Sabotage::Consequences) {
                    self.carry_out(task, &log, cancels).await?;
                }
                None
            }
            Wake::TooLate => {
                let fault = wake::too_late(&log);
                self.fail(task, &mut log, fault).await?;
                None
            }
            Wake::LookAtChildren { position, enough } => {
                let asked = enough.map(|enough| match sabotage {
                    Some(Sabotage::Enough) => enough.saturating_sub(1),
                    Some(_) | None => enough,
                });
                self.children(task, &log, (position, asked), delivery).await
            }
            Wake::LookAtLane => match lane::place(&log) {
                Some(place) => lane::ahead(&self.hold, place).await.is_none(),
                None => true,
            }
            .then(wake::lane_is_free),
            Wake::LookAtInputs => {
                let mut arrived = self.arrived(task).await?;
                let on_message = self.on_message();
                arrived.retain(|one| !log.refuses(one.sequence, &one.input, on_message));
                match wake::look(&sabotaged(&log, sabotage), &arrived, now) {
                    Look::Escalate(_) if sabotage == Some(Sabotage::Escalation) => None,
                    Look::Resume(event) | Look::Escalate(event) => Some(*event),
                    Look::Wait => {
                        self.next_time(task, &log).await?;
                        None
                    }
                    Look::Soon { wait } => return Ok((log, Some(wait))),
                }
            }
        };
        if let Some(event) = event {
            self.append(task, &mut log, event, None).await?;
        } else if let Look::Soon { wait } = wake::soon(&log, now) {
            return Ok((log, Some(wait)));
        }
        Ok((log, None))
    }

    async fn arrived(&self, task: &Key) -> Result<Vec<Arrived>, Undone> {
        self.hold.turn().await;
        let subject = self.hold.with(|world| world.subjects.input(&task.0, &task.1));
        let (stored, lags) = self.hold.with(|world| {
            let all = world.bus.all(Stream::Log).filter(|message| message.subject == subject);
            let stored: Vec<StoredMessage> = all.cloned().collect();
            (stored, world.mishap(world.faults.stale))
        });
        if lags && !stored.is_empty() {
            return Err(Undone::Moved);
        }
        let hash = self.hold.with(|world| {
            let log = world.read_log(task, true);
            (world.sabotage == Some(Sabotage::Hash)).then(|| asked_hash(&log)).flatten()
        });
        let denied = self.hold.with(|world| world.sabotage) == Some(Sabotage::Verdict);
        let read = stored.into_iter().filter_map(|message| {
            let mut input = Input::read(&message.headers, &message.payload).ok()?;
            if let (Input::Decision(decision), true) = (&mut input, denied)
                && decision.verdict == Verdict::Deny
            {
                decision.verdict = Verdict::Approve;
            }
            if let (Input::Decision(decision), Some(hash)) = (&mut input, &hash) {
                decision.hash.clone_from(hash);
            }
            Some(Arrived { sequence: message.sequence, at: message.at, input })
        });
        Ok(read.collect())
    }

    async fn next_time(&self, task: &Key, log: &TaskLog) -> Result<(), Undone> {
        let wake = self.hold.with(|world| wake::next_time(&world.subjects, &task.1, log));
        match wake {
            Some(wake) => {
                let message = Outgoing::new(wake.subject, wake.headers, wake.payload);
                self.store(&[message]).await.map(drop)
            }
            None => Ok(()),
        }
    }

    async fn children(
        &self,
        task: &Key,
        log: &TaskLog,
        (position, enough): (u32, Option<u32>),
        delivery: &Delivery,
    ) -> Option<Event> {
        let children = log.children_at(position);
        let mut known = vec![Child::Unknown; children.len()];
        let forgets = self.hold.with(|world| world.sabotage) == Some(Sabotage::Missed);
        if enough.is_some() || !forgets && children.iter().any(|child| child.essential) {
            self.hold.turn().await;
            for (slot, child) in known.iter_mut().zip(children) {
                let key = (task.0.clone(), child.task.clone());
                let told = wake_id(delivery).and_then(|id| consequence::ended_child(&task.0, id));
                let leader = told.as_ref() == Some(&child.task);
                let log = self.hold.with(|world| world.read_log(&key, leader));
                *slot = ended(child, &log).unwrap_or(Child::Unknown);
            }
        }
        loop {
            match children::join(&known, enough) {
                Join::Resume(event) => return Some(*event),
                Join::Wait => return None,
                Join::Ask => {}
            }
            let asked = known.iter().rposition(|one| *one == Child::Unknown)?;
            let child = children.get(asked)?;
            let key = (task.0.clone(), child.task.clone());
            self.hold.turn().await;
            let state = self.hold.with(|world| {
                let stale = world.sabotage == Some(Sabotage::Witness) && world.dice.permille(300);
                if stale { None } else { ended(child, &world.read_log(&key, true)) }
            });
            if let Some(slot) = known.get_mut(asked) {
                *slot = state.unwrap_or(Child::Open);
            }
        }
    }

    async fn cancel(&self, task: &Key, delivery: &Delivery) -> Settled {
        let mut log = self.read(task).await?;
        let now = self.hold.with(|world| world.clock.now());
        let grace = |_: &protocol::Skill| cancel::force_after([Some(5_000)]);
        match cancel::cancel(&log, delivery.message.at, now, grace) {
            Cancel::Done => {
                let cancels = match delivery.delivered {
                    1 => Cancels::LeaveOut,
                    _ => Cancels::Publish,
                };
                self.carry_out(task, &log, cancels).await?;
                Ok(None)
            }
            Cancel::Later { wait } => Ok(Some(wait)),
            Cancel::End(event) => {
                self.append(task, &mut log, *event, None).await?;
                Ok(None)
            }
            Cancel::EndUnbegun => self.cancel_unbegun(task, &delivery.message).await,
        }
    }

    pub(super) async fn append(
        &self,
        task: &Key,
        log: &mut TaskLog,
        event: Event,
        origin: Option<Box<Origin>>,
    ) -> Result<(), Undone> {
        let sabotage = self.hold.with(|world| world.sabotage);
        let (entry, message) = self.entry(task, log, generous(log, event, sabotage), origin)?;
        let sequence = self.store(&[message]).await?;
        log.apply(sequence, entry).map_err(|_| Undone::NoAnswer)?;
        self.carry_out(task, log, Cancels::Publish).await
    }

    async fn fail(
        &self,
        task: &Key,
        log: &mut TaskLog,
        (failure, fault): (FailureClass, Fault),
    ) -> Result<(), Undone> {
        self.hold.turn().await;
        let event = Event::Failed { failure, fault: fault.clone() };
        let (entry, message) = self.entry(task, log, event, None)?;
        let mut after = log.clone();
        after.apply(0, entry.clone()).map_err(|_| Undone::NoAnswer)?;
        let input = Message::from_user(Vec::new());
        let letter = DeadLetter::of(&task.1, &after, failure, &fault, input, entry.at);
        let letter = letter.ok_or(Undone::NoAnswer)?;
        let sequence = self.store(&[message, self.letter(&letter)?]).await?;
        log.apply(sequence, entry).map_err(|_| Undone::NoAnswer)?;
        self.carry_out(task, log, Cancels::Publish).await
    }

    pub(super) fn letter(&self, letter: &DeadLetter) -> Result<Outgoing, Undone> {
        let payload = serde_json::to_vec(letter).map_err(|_| Undone::NoAnswer)?;
        let subject = self.hold.with(|world| world.subjects.dead(&letter.origin.skill));
        let headers = Headers::new().with(header::TASK_ID, letter.task.as_str());
        Ok(Outgoing::new(subject, headers, payload.into()))
    }

    fn entry(
        &self,
        task: &Key,
        log: &TaskLog,
        event: Event,
        origin: Option<Box<Origin>>,
    ) -> Result<(Entry, Outgoing), Undone> {
        let (now, subject, sabotage) = self.hold.with(|world| {
            (world.clock.now(), world.subjects.log(&task.0, &task.1), world.sabotage)
        });
        let mut entry = Entry {
            generation: log.generation + 1,
            at: now,
            by: self.by.clone(),
            attempt: 0,
            origin,
            agent: None,
            spent: None,
            raised: None,
            driver: None,
            event,
        };
        if entry.event.kind().is_terminal() {
            let mut after = log.clone();
            after.apply(0, entry.clone()).map_err(|_| Undone::NoAnswer)?;
            after.close_account(&mut entry);
            if sabotage == Some(Sabotage::Carry) {
                entry.raised = None;
            }
        }
        let payload = serde_json::to_vec(&entry).map_err(|_| Undone::NoAnswer)?;
        let message = Outgoing {
            subject,
            expected_last: Some(log.last_sequence),
            headers: Headers::new().with(header::ENTRY, entry.event.kind().name()),
            payload: payload.into(),
        };
        Ok((entry, message))
    }

    async fn carry_out(&self, task: &Key, log: &TaskLog, cancels: Cancels) -> Result<(), Undone> {
        let publications = self.hold.with(|world| consequence::of(&world.subjects, &task.1, log));
        for one in publications {
            let cancel = self.hold.with(|world| wake::is_cancel(&world.subjects, &one));
            let silent = self.hold.with(|world| world.sabotage) == Some(Sabotage::Losers);
            if cancel && (silent || cancels == Cancels::LeaveOut) {
                continue;
            }
            self.hold.with(|world| world.pass_on_cancel(&one.subject));
            self.store(&[Outgoing::new(one.subject, one.headers, one.payload)]).await?;
        }
        if let Some(place) = lane::place(log).filter(|_| log.is_ended())
            && let Some(wake) = lane::wake_behind(&self.hold, place, &task.1).await
        {
            self.store(&[wake]).await?;
        }
        Ok(())
    }

    pub(super) async fn store(&self, messages: &[Outgoing]) -> Result<u64, Undone> {
        match self.hold.publish(messages).await {
            Sent::Stored(sequence) => Ok(sequence),
            Sent::Fenced => Err(Undone::Moved),
            Sent::NoAnswer => Err(Undone::NoAnswer),
        }
    }
}

/// Nobody repeats cancels for the ends of children that come for the first time.
fn cancels(wake: &Delivery) -> Cancels {
    let first_end = wake.delivered == 1 && wake_id(wake).is_some_and(|id| id.starts_with("end-"));
    if first_end { Cancels::LeaveOut } else { Cancels::Publish }
}

fn wake_id(wake: &Delivery) -> Option<&str> {
    wake.message.headers.get(header::MSG_ID)
}

fn ended(child: &protocol::entry::Child, log: &TaskLog) -> Option<Child> {
    let state = log.is_ended().then_some(log.state)?;
    Some(Child::ended(child, state == protocol::task::TaskState::Completed))
}

fn asked_hash(log: &TaskLog) -> Option<String> {
    match log.waiting_for.as_ref()? {
        protocol::wait::WaitingFor::Approval { request, .. } => Some(request.hash.clone()),
        _ => None,
    }
}

/// What a coordinator writes that adds more to a budget than somebody allowed.
fn generous(log: &TaskLog, event: Event, sabotage: Option<Sabotage>) -> Event {
    let Some(protocol::wait::WaitingFor::Approval { request, .. }) = &log.waiting_for else {
        return event;
    };
    match event {
        Event::Resumed { reason, answer: Some(Answer::Approval { sequences, mut ruling }) }
            if sabotage == Some(Sabotage::Raise) && request.raise(&ruling).is_some() =>
        {
            ruling.verdict = Some(Verdict::Edit);
            ruling.action = Some(serde_json::json!({ RAISE_BUDGET: { "tokens": 1_000 } }));
            Event::Resumed { reason, answer: Some(Answer::Approval { sequences, ruling }) }
        }
        event => event,
    }
}

/// The log as a coordinator sees it that forgets something.
fn sabotaged(log: &TaskLog, sabotage: Option<Sabotage>) -> TaskLog {
    let mut log = log.clone();
    match sabotage {
        Some(Sabotage::Used) => log.used.clear(),
        Some(Sabotage::Late) => {
            if !matches!(log.waiting_for, Some(protocol::wait::WaitingFor::Timer { .. })) {
                log.until = None;
            }
        }
        Some(Sabotage::Level) => {
            if let Some(protocol::wait::WaitingFor::Approval { request, .. }) = &mut log.waiting_for
            {
                request.chain.clear();
            }
        }
        Some(_) | None => {}
    }
    log
}
