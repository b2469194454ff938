//! Everything a context does, over a ledger in memory: attempts, crashes and a coordinator are played by hand.

mod calls;
mod delegations;
mod steps;
mod waits;

use std::sync::Arc;

use protocol::approval::{ApprovalRequest, Decision, Verdict};
use protocol::budget::{Grant, Usage};
use protocol::card::OnMessage;
use protocol::entry::{Child, Entry, Event, Origin};
use protocol::fault::FailureClass;
use protocol::header::{self, Headers};
use protocol::input::Input;
use protocol::journal::Journaled;
use protocol::log::TaskLog;
use protocol::message::{Message, Part};
use protocol::subject::Subjects;
use protocol::submission::{Queue, Source};
use protocol::wait::{self, Answer, Arrived, WaitingFor};
use protocol::{Fault, NodeName, Owner, Skill, TaskId, Timestamp};
use runtime::bus::{Outgoing, StoredMessage};
use runtime::clock::{Clock, ManualClock};
use runtime::config::GuardSection;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Around, Context};
use crate::agent::Stop;
use crate::inputs::Inputs;
use crate::ledger::{Ledger, MemoryLedger};
use crate::mesh::MemoryMesh;
use crate::scribe::{Scribe, Start};

/// A task with everything around it.
pub(super) struct Stage {
    pub(super) ledger: Arc<MemoryLedger>,
    pub(super) mesh: Arc<MemoryMesh>,
    pub(super) guard: GuardSection,
    pub(super) inputs: Option<Inputs>,
    pub(super) on_message: OnMessage,
    pub(super) origin: Origin,
    pub(super) task: TaskId,
    pub(super) hand: ManualClock,
    clock: Clock,
    subjects: Arc<Subjects>,
}

impl Stage {
    pub(super) fn new() -> Self {
        let (clock, hand) = Clock::manual(Timestamp::from_millis(0));
        let source = Source { queue: Queue::Inbox, sequence: 7 };
        let skill = Skill::parse("research").unwrap();
        Self {
            ledger: Arc::default(),
            mesh: Arc::default(),
            guard: GuardSection::default(),
            inputs: None,
            on_message: OnMessage::default(),
            origin: Origin::bare(skill, source, Timestamp::from_millis(0)),
            task: TaskId::from_sequence(7),
            hand,
            clock,
            subjects: Arc::new(Subjects::default()),
        }
    }

    pub(super) fn granted(grant: Grant) -> Self {
        let mut stage = Self::new();
        stage.origin.budget = Some(grant);
        stage
    }

    fn owner() -> Owner {
        Owner::default()
    }

    pub(super) fn messages_on(&self, subject: &str) -> Vec<StoredMessage> {
        let all = self.ledger.messages().into_iter();
        all.filter(|message| message.subject == subject).collect()
    }

    pub(super) fn entries(&self) -> Vec<(u64, Entry)> {
        let stored = self.messages_on(&self.subjects.log(&Self::owner(), &self.task)).into_iter();
        stored.map(|one| (one.sequence, serde_json::from_slice(&one.payload).unwrap())).collect()
    }

    pub(super) fn kinds(&self) -> Vec<&'static str> {
        self.entries().iter().map(|(_, entry)| entry.event.kind().name()).collect()
    }

    pub(super) fn log(&self) -> TaskLog {
        TaskLog::fold(self.entries()).unwrap()
    }

    fn scribe(&self, node: &str) -> Scribe {
        Scribe::new(
            Arc::clone(&self.ledger) as Arc<dyn Ledger>,
            Arc::clone(&self.subjects),
            self.clock.clone(),
            Start {
                task: self.task.clone(),
                origin: Box::new(self.origin.clone()),
                log: self.log(),
                node: NodeName::parse(node).unwrap(),
            },
        )
    }

    /// The next attempt: what was not in the log before is forgotten.
    pub(super) fn attempt(&self) -> Context {
        let cancel = CancellationToken::new();
        let origin = Arc::new(self.origin.clone());
        let ear = self.inputs.as_ref().map(|inputs| inputs.listen(&Self::owner(), &self.task));
        let guard = Arc::new(self.guard.clone());
        let mesh = Arc::clone(&self.mesh) as Arc<dyn crate::mesh::Mesh>;
        Context::new(Arc::new(self.scribe("n1")), origin, None, cancel).within(Around {
            mesh,
            guard,
            on_message: self.on_message,
            ear,
        })
    }

    /// Writes the end of an attempt that waits.
    pub(super) async fn suspend(&self, context: &Context, stop: Stop) -> WaitingFor {
        let Stop::Suspended { waiting_for, until } = stop else { panic!("{stop:?}") };
        let event = Event::Suspended { waiting_for: (*waiting_for).clone(), until };
        context.scribe.append(event).await.unwrap();
        *waiting_for
    }

    /// Does what a coordinator does when it looks; `false` when there is no answer yet.
    pub(super) async fn look(&self) -> bool {
        let log = self.log();
        let waiting_for = log.waiting_for.clone().expect("it waits");
        let answer = match &waiting_for {
            WaitingFor::Children { position, enough } => {
                let ended = self.ended(log.children_at(*position));
                let done = ended.iter().filter(|(_, ok)| *ok).count();
                let all = ended.len() == log.children_at(*position).len();
                match enough {
                    None if all => None,
                    Some(enough) if all || done >= *enough as usize => {
                        let ended = ended.into_iter().map(|(at, _)| at).collect();
                        Some(Answer::Children { ended })
                    }
                    _ => return false,
                }
            }
            waiting_for @ (WaitingFor::Timer { .. }
            | WaitingFor::Input { .. }
            | WaitingFor::Signal { .. }
            | WaitingFor::Approval { .. }
            | WaitingFor::Lane { .. }) => {
                let since = log.waiting_since.unwrap();
                let now = self.clock.now();
                let arrived = self.arrived();
                let found = wait::answer(waiting_for, log.until, since, &arrived, &log.used, now);
                let Some(answer) = found else { return false };
                Some(answer)
            }
        };
        let event = Event::Resumed { reason: "it is there".to_owned(), answer };
        self.scribe("c1").without_attempt().append(event).await.unwrap();
        true
    }

    fn ended(&self, children: &[Child]) -> Vec<(u32, bool)> {
        let end = |child: &Child| {
            let stored = self.messages_on(&self.subjects.log(&Self::owner(), &child.task));
            let last: Entry = serde_json::from_slice(&stored.last()?.payload).unwrap();
            let kind = last.event.kind();
            kind.is_terminal().then_some(kind == protocol::entry::Kind::Completed)
        };
        (0..).zip(children).filter_map(|(at, child)| Some((at, end(child)?))).collect()
    }

    fn arrived(&self) -> Vec<Arrived> {
        let stored = self.messages_on(&self.subjects.input(&Self::owner(), &self.task));
        let read = |one: StoredMessage| {
            let input = Input::read(&one.headers, &one.payload).ok()?;
            Some(Arrived { sequence: one.sequence, at: one.at, input })
        };
        stored.into_iter().filter_map(read).collect()
    }

    /// Says something to the task.
    pub(super) async fn say(&self, input: Input) {
        let (headers, body) = input.write();
        let subject = self.subjects.input(&Self::owner(), &self.task);
        self.ledger.append(vec![Outgoing::new(subject, headers, body.into())]).await.unwrap();
        if let Some(inputs) = &self.inputs {
            inputs.hear(Self::owner(), self.task.clone());
        }
    }

    pub(super) async fn tell(&self, text: &str) {
        self.say(Input::Message(Message::from_user(vec![Part::text(text)]))).await;
    }

    pub(super) async fn rule(&self, hash: &str, verdict: Verdict, action: Option<Value>) {
        let (hash, by) = (hash.to_owned(), "ann".to_owned());
        let decision = Decision { hash, verdict, by, comment: None, action };
        self.say(Input::Decision(Box::new(decision))).await;
    }

    /// What the task asks to be approved.
    pub(super) fn request(&self) -> ApprovalRequest {
        match self.log().waiting_for {
            Some(WaitingFor::Approval { request, .. }) => *request,
            other => panic!("it waits for {other:?}"),
        }
    }

    /// The children of the delegation at a position.
    pub(super) fn children(&self, position: usize) -> Vec<Child> {
        match self.log().journal.get(position) {
            Some(Journaled::Delegated { children, .. }) => children.clone(),
            other => panic!("at {position} there is {other:?}"),
        }
    }

    /// Ends a child.
    pub(super) async fn end(&self, child: &Child, event: Event, spent: Option<Usage>) {
        let source = Source { queue: Queue::Run, sequence: 1 };
        let origin = Origin::bare(child.skill.clone(), source, self.clock.now());
        let entry = Entry {
            generation: 1,
            at: self.clock.now(),
            by: NodeName::parse("n2").unwrap(),
            attempt: 1,
            origin: Some(Box::new(origin)),
            agent: None,
            driver: None,
            spent,
            raised: None,
            event,
        };
        let subject = self.subjects.log(&Self::owner(), &child.task);
        let headers = Headers::new().with(header::ENTRY, entry.event.kind().name());
        let payload = serde_json::to_vec(&entry).unwrap().into();
        self.ledger.append(vec![Outgoing::new(subject, headers, payload)]).await.unwrap();
    }

    pub(super) async fn complete(&self, child: &Child, value: Value) {
        self.end(child, Event::Completed { output: vec![protocol::message::part_of(value)] }, None)
            .await;
    }

    pub(super) async fn fail(&self, child: &Child, message: &str) {
        let fault = Fault::new("broken", message);
        self.end(child, Event::Failed { failure: FailureClass::Permanent, fault }, None).await;
    }

    /// The tasks that were dispatched to a skill, in order.
    pub(super) fn dispatched(&self, skill: &str) -> Vec<String> {
        let subject = self.subjects.run(&Skill::parse(skill).unwrap());
        let ids = self.messages_on(&subject).into_iter();
        ids.map(|one| one.headers.get(header::TASK_ID).unwrap().to_owned()).collect()
    }

    pub(super) fn canceled(&self, child: &Child) -> usize {
        self.messages_on(&self.subjects.cancel(&Self::owner(), &child.task)).len()
    }
}

/// The code of a failure.
pub(super) fn code_of<T: std::fmt::Debug>(result: Result<T, Stop>) -> String {
    match result {
        Err(Stop::Failed { fault, .. }) => fault.code,
        other => format!("{other:?}"),
    }
}

/// The message of a failure, with its place.
pub(super) fn fault_of<T: std::fmt::Debug>(result: Result<T, Stop>) -> String {
    match result {
        Err(Stop::Failed { fault, .. }) => fault.to_string(),
        other => format!("{other:?}"),
    }
}

/// An effect that counts how often it ran.
#[derive(Default, Clone)]
pub(super) struct Counter(Arc<std::sync::atomic::AtomicU32>);

impl Counter {
    pub(super) fn more(&self) -> u32 {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1
    }

    pub(super) fn count(&self) -> u32 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}
