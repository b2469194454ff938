//! A model node: takes a delivery from admission to its end, in the order in which `agent_node::execute` does.
//!
//! Decisions, journal, fence and delegation are the real ones; only the I/O around them is the model's.

use std::sync::Arc;
use std::time::Duration;

use agent_node::agent::Stop;
use agent_node::engine::{self, Admission, Arrival, Circumstance, Settle};
use agent_node::ledger::{AppendError, Ledger};
use agent_node::scribe::{Scribe, Start};
use agent_node::wakes::Wakes;
use protocol::dead::{Cause, DeadLetter};
use protocol::entry::{Event, Origin};
use protocol::fault::{Failure, FailureClass, Fault, code};
use protocol::header::{self, Headers};
use protocol::id::{NodeName, TaskId};
use protocol::log::{Driver, TaskLog};
use protocol::message::Message;
use protocol::submission::{Envelope, Stored};
use protocol::wait::WaitingFor;
use protocol::{codec, consequence, submission};
use runtime::bus::Outgoing;

use super::bus::Delivery;
use super::hold::Hold;
use super::lane;
use super::ledger::SimLedger;
use super::plan::Workload;
use super::sabotage::Sabotage;

const REST: Duration = Duration::from_secs(2);

/// What all attempts of a model node share.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) hold: Hold,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) process: usize,
    pub(super) name: NodeName,
    pub(super) load: Arc<Workload>,
    wakes: Wakes,
}

/// A task as a delivery brought it.
pub(super) struct Delivered {
    pub(super) envelope: Envelope,
    pub(super) origin: Arc<Origin>,
    pub(super) log: TaskLog,
    pub(super) fresh: bool,
    pub(super) delivery: Delivery,
    body: (Option<String>, bytes::Bytes),
}

impl Node {
    pub(super) fn new(
        hold: Hold,
        process: usize,
        name: NodeName,
        load: Arc<Workload>,
        wakes: Wakes,
    ) -> Self {
        Self { ledger: Arc::new(SimLedger(hold.clone())), hold, process, name, load, wakes }
    }

    /// Takes a delivery to its end.
    pub(super) async fn deliver(self, delivery: Delivery) {
        let message = &delivery.message;
        let stored = Stored {
            subject: &message.subject,
            headers: &message.headers,
            sequence: message.sequence,
            at: message.at,
        };
        let subjects = self.hold.with(|world| Arc::clone(&world.subjects));
        let (envelope, refusal) = match Envelope::read(&subjects, stored) {
            None => return self.ack(&delivery).await,
            Some(Ok(envelope)) => (envelope, None),
            Some(Err(refused)) => (*refused.envelope, Some(refused.fault)),
        };
        self.hold.with(|world| {
            world.note(|| {
                format!("takes {} ({}) x{}", envelope.task, message.subject, delivery.delivered)
            });
        });
        match self.prepare(envelope, delivery.clone()).await {
            Ok(work) => Box::pin(self.act(work, refusal)).await,
            Err(_) => self.nak(&delivery, REST).await,
        }
    }

    async fn prepare(
        &self,
        envelope: Envelope,
        delivery: Delivery,
    ) -> Result<Delivered, AppendError> {
        let inbox = envelope.source.queue == submission::Queue::Inbox;
        let fresh = inbox && delivery.delivered == 1 && !envelope.keyed;
        let log = if fresh { TaskLog::default() } else { self.read_log(&envelope).await };
        let message = &delivery.message;
        let mut body = (envelope.content_type.clone(), message.payload.clone());
        let origin = match &log.origin {
            None => Arc::new(envelope.origin(&body.1)),
            Some(origin) => Arc::new((**origin).clone()),
        };
        if envelope.requeued_by.is_some() && !log.is_ended() {
            let input = self.ledger.input(origin.source).await?.ok_or(AppendError::Gone)?;
            body = (input.headers.get(header::CONTENT_TYPE).map(str::to_owned), input.payload);
        }
        Ok(Delivered { envelope, origin, log, fresh, delivery, body })
    }

    async fn read_log(&self, envelope: &Envelope) -> TaskLog {
        self.hold.turn().await;
        let task = (envelope.owner.clone(), envelope.task.clone());
        self.hold.with(|world| world.read_log(&task, false))
    }

    async fn act(&self, work: Delivered, refusal: Option<Fault>) {
        let hash = submission::input_hash(work.body.0.as_deref(), &work.body.1);
        let arrival = Arrival {
            skill: &work.envelope.skill,
            source: work.envelope.source,
            requeued_by: work.envelope.requeued_by,
            input_hash: if work.envelope.requeued_by.is_some() { "" } else { &hash },
            deadline: work.origin.deadline,
        };
        let (now, sabotage) = self.hold.with(|world| (world.clock.now(), world.sabotage));
        let mut log = work.log.clone();
        if sabotage == Some(Sabotage::SecondDriver)
            && let Driver::Requeue { sequence, .. } = &mut log.driver
        {
            *sequence = None;
        }
        let mut admission = engine::admit(&log, arrival, &self.load.policy, now);
        if sabotage == Some(Sabotage::Duplicates)
            && matches!(admission, Admission::Duplicate { .. })
        {
            admission = Admission::Run;
        }
        match admission {
            Admission::Run => Box::pin(self.in_turn(work, refusal)).await,
            Admission::Fail { failure, fault } => {
                let scribe = self.scribe(&work).without_attempt();
                self.conclude(&work, &scribe, Err(Stop::Failed { failure, fault })).await;
            }
            Admission::TooEarly { wait } => self.nak(&work.delivery, wait).await,
            Admission::CarryOut => {
                if sabotage == Some(Sabotage::Consequences) {
                    return self.ack(&work.delivery).await;
                }
                match self.carry_out(&work.envelope.task, &work.log).await {
                    Ok(()) => self.ack(&work.delivery).await,
                    Err(_) => self.nak(&work.delivery, REST).await,
                }
            }
            Admission::Duplicate { conflict, .. } => self.duplicate(&work, &hash, conflict).await,
        }
    }

    async fn duplicate(&self, work: &Delivered, hash: &str, conflict: bool) {
        if conflict && self.conflict_letter(work, hash).await.is_err() {
            return self.nak(&work.delivery, REST).await;
        }
        let envelope = &work.envelope;
        if let (Some(lane), submission::Queue::Inbox) = (&envelope.lane, envelope.source.queue) {
            let sequence = envelope.source.sequence;
            let place = (&envelope.skill, &envelope.owner, lane, sequence);
            let copy = TaskId::from_sequence(sequence);
            if self.wake_behind(place, &copy).await.is_err() {
                return self.nak(&work.delivery, REST).await;
            }
        }
        self.ack(&work.delivery).await;
    }

    async fn wake_behind(&self, place: lane::Place<'_>, ended: &TaskId) -> Result<(), AppendError> {
        match lane::wake_behind(&self.hold, place, ended).await {
            None => Ok(()),
            Some(wake) => self.ledger.append(vec![wake]).await.map(drop),
        }
    }

    /// Runs a task whose turn has come; one that keeps its place in a lane may have to wait for it.
    async fn in_turn(&self, work: Delivered, refusal: Option<Fault>) {
        let envelope = &work.envelope;
        let asks = work.log.generation == 0 && envelope.source.queue == submission::Queue::Inbox;
        let ignores = self.hold.with(|world| world.sabotage) == Some(Sabotage::Lane);
        let ahead = match &envelope.lane {
            Some(lane) if asks && !ignores => {
                let sequence = envelope.source.sequence;
                let place = (&envelope.skill, &envelope.owner, lane, sequence);
                lane::ahead(&self.hold, place).await
            }
            Some(_) | None => None,
        };
        let Some(predecessor) = ahead else { return self.run(work, refusal).await };
        let waiting_for = WaitingFor::Lane { predecessor };
        let scribe = self.scribe(&work).without_attempt();
        match scribe.append(Event::Suspended { waiting_for, until: None }).await {
            Ok(()) => self.finish(&work, &scribe, Settle::Ack).await,
            Err(stop) => self.unwritten(&work, &stop).await,
        }
    }

    async fn run(&self, work: Delivered, refusal: Option<Fault>) {
        let mut scribe = self.scribe(&work);
        if work.envelope.requeued_by.is_some() {
            scribe = scribe.driven_by(work.envelope.source.sequence);
        }
        let scribe = Arc::new(scribe);
        let judged = match refusal {
            Some(fault) => Err(fault),
            None => codec::decode_body(work.body.0.as_deref(), &work.body.1),
        };
        let message = match judged {
            Ok(message) => message,
            Err(fault) => return self.reject(&work, &scribe, fault).await,
        };
        match self.attempt(&work, &scribe, &message.parts).await {
            Err(Stop::Failed { failure: Failure::Permanent, fault })
                if fault.code == code::INVALID_INPUT =>
            {
                self.reject(&work, &scribe, fault).await;
            }
            outcome => self.conclude(&work, &scribe, outcome).await,
        }
    }

    async fn reject(&self, work: &Delivered, scribe: &Scribe, fault: Fault) {
        match scribe.append(Event::Rejected { fault }).await {
            Ok(()) => self.finish(work, scribe, Settle::Ack).await,
            Err(stop) => self.unwritten(work, &stop).await,
        }
    }

    async fn unwritten(&self, work: &Delivered, stop: &Stop) {
        if *stop != Stop::Fenced {
            self.nak(&work.delivery, REST).await;
        }
    }

    async fn conclude(
        &self,
        work: &Delivered,
        scribe: &Scribe,
        outcome: Result<Vec<protocol::message::Part>, Stop>,
    ) {
        if scribe.settle().await == Err(Stop::Fenced) {
            return self.unwritten(work, &Stop::Fenced).await;
        }
        let begun = scribe.has_begun().await;
        let (now, chance) = self.hold.with(|world| (world.clock.now(), world.dice.unit()));
        let at = Circumstance {
            policy: &self.load.policy,
            failures: scribe.with_log(TaskLog::failures).await + u32::from(!begun),
            begun,
            delivered: work.delivery.delivered,
            now,
            chance,
        };
        let ending = engine::conclude(outcome, at);
        let Some(event) = ending.event else {
            return match ending.settle {
                Settle::Nak { after } => self.nak(&work.delivery, after).await,
                Settle::Ack | Settle::Leave => self.unwritten(work, &Stop::Fenced).await,
            };
        };
        let appended = if let (true, Event::Failed { failure, fault }) = (ending.letter, &event) {
            let (failure, fault) = (*failure, fault.clone());
            let input = Message::from_user(Vec::new());
            scribe
                .append_with_letter(event, |log| {
                    DeadLetter::of(&work.envelope.task, log, failure, &fault, input, now)
                })
                .await
        } else {
            scribe.append(event).await
        };
        match appended {
            Ok(()) => self.finish(work, scribe, ending.settle).await,
            Err(stop) => self.unwritten(work, &stop).await,
        }
    }

    async fn finish(&self, work: &Delivered, scribe: &Scribe, settle: Settle) {
        let log = scribe.log().await;
        if self.carry_out(&work.envelope.task, &log).await.is_err() {
            return self.nak(&work.delivery, REST).await;
        }
        match settle {
            Settle::Ack => self.ack(&work.delivery).await,
            Settle::Nak { after } => self.nak(&work.delivery, after).await,
            Settle::Leave => {}
        }
    }

    fn scribe(&self, work: &Delivered) -> Scribe {
        let start = Start {
            task: work.envelope.task.clone(),
            origin: Box::new((*work.origin).clone()),
            log: work.log.clone(),
            node: self.name.clone(),
        };
        let (subjects, clock) =
            self.hold.with(|world| (Arc::clone(&world.subjects), world.clock.clone()));
        Scribe::new(Arc::clone(&self.ledger), subjects, clock, start)
    }

    async fn carry_out(&self, task: &TaskId, log: &TaskLog) -> Result<(), AppendError> {
        let subjects = self.hold.with(|world| Arc::clone(&world.subjects));
        let sabotage = self.hold.with(|world| world.sabotage);
        for publication in consequence::of(&subjects, task, log) {
            let subject = &publication.subject;
            if sabotage == Some(Sabotage::Losers) && subject.starts_with("weft.cancel.") {
                continue;
            }
            self.hold.with(|world| world.pass_on_cancel(subject));
            self.wakes.store(&*self.ledger, &subjects, log, publication).await?;
        }
        match lane::place(log).filter(|_| log.is_ended()) {
            Some(place) => self.wake_behind(place, task).await,
            None => Ok(()),
        }
    }

    async fn conflict_letter(&self, work: &Delivered, hash: &str) -> Result<(), AppendError> {
        let Some(winner) = &work.log.origin else { return Ok(()) };
        let (now, subjects) =
            self.hold.with(|world| (world.clock.now(), Arc::clone(&world.subjects)));
        let mut origin = winner.clone();
        hash.clone_into(&mut origin.input_hash);
        origin.source = work.envelope.source;
        origin.skill = work.envelope.skill.clone();
        let letter = DeadLetter {
            task: work.envelope.task.clone(),
            cause: Cause::Conflict,
            failure: FailureClass::Permanent,
            fault: Fault::new(code::DEDUP_CONFLICT, "submitted before with another input"),
            origin,
            input: Message::from_user(Vec::new()),
            attempts: Vec::new(),
            died_at: now,
        };
        let id = format!("conflict-{}", work.envelope.source.sequence);
        let headers =
            Headers::new().with(header::MSG_ID, id).with(header::TASK_ID, letter.task.as_str());
        let body = serde_json::to_vec(&letter).map_err(|_| AppendError::Gone)?;
        let subject = subjects.dead(&letter.origin.skill);
        self.ledger.append(vec![Outgoing::new(subject, headers, body.into())]).await.map(drop)
    }

    async fn ack(&self, delivery: &Delivery) {
        self.settle(delivery, None).await;
    }

    async fn nak(&self, delivery: &Delivery, after: Duration) {
        self.settle(delivery, Some(after)).await;
    }

    async fn settle(&self, delivery: &Delivery, again_after: Option<Duration>) {
        self.hold.turn().await;
        self.hold.with(|world| world.settle(delivery, again_after));
    }
}

/// Whether the first run of a task may be written down late.
pub(super) fn claims_first(work: &Delivered) -> bool {
    let first_child_run = work.envelope.parent.is_some() && work.log.generation == 0;
    !(work.fresh || first_child_run && work.delivery.delivered == 1)
}
