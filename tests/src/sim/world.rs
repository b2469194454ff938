//! Everything that a run of the simulation shares: the server, the time, the processes, and what has been seen.
//!
//! Time is a number that moves from one event to the next. What goes wrong, and when, is drawn from the seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use agent_node::inputs::Inputs;
use bytes::Bytes;
use protocol::entry::{Entry, Kind};
use protocol::id::{NodeName, Owner, TaskId};
use protocol::input::Input;
use protocol::lifecycle::Phase;
use protocol::log::{AttemptOutcome, TaskLog};
use protocol::subject::{Subject, Subjects};
use protocol::submission::{Envelope, Stored};
use protocol::{Skill, Timestamp};
use runtime::bus::Outgoing;
use runtime::clock::{Clock, ManualClock};

use super::bus::{Bus, Fenced, Stream};
use super::dice::Dice;
use super::plan::Workload;
use super::sabotage::Sabotage;

/// A task among those of all owners.
pub(super) type Key = (Owner, TaskId);

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Node,
    Coordinator,
    Client,
}

/// A process as the world sees it.
pub(super) struct Process {
    pub(super) role: Role,
    pub(super) name: NodeName,
    pub(super) up: bool,
    pub(super) frozen_until: i64,
    /// Whether it gives its tasks back and takes no further ones.
    pub(super) draining: bool,
    /// How many actors it has.
    pub(super) busy: usize,
    /// When a killed or drained process is replaced.
    pub(super) back_at: Option<i64>,
    /// The cancels that it has heard of.
    pub(super) heard: BTreeSet<Key>,
    /// The attempts that want to hear what is said to their tasks.
    pub(super) inputs: Inputs,
}

/// A task's log as it was written, and the fold that everybody reads.
#[derive(Debug, Default)]
pub(super) struct Chronicle {
    pub(super) entries: Vec<(u64, i64, Entry)>,
    pub(super) fold: TaskLog,
    /// The actor of the attempt that wrote last.
    writer: Option<usize>,
    pub(super) broken: Option<String>,
}

/// How often things go wrong, in cases of a thousand turns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Faults {
    pub(super) crash: usize,
    pub(super) freeze: usize,
    pub(super) drain: usize,
    pub(super) slow: usize,
    pub(super) lost: usize,
    pub(super) stale: usize,
}

/// What is shared.
pub(super) struct World {
    pub(super) now: i64,
    pub(super) dice: Dice,
    pub(super) bus: Bus,
    pub(super) faults: Faults,
    pub(super) healed_at: i64,
    pub(super) sabotage: Option<Sabotage>,
    pub(super) subjects: Arc<Subjects>,
    pub(super) skill: Skill,
    pub(super) workload: Arc<Workload>,
    pub(super) processes: Vec<Process>,
    /// The process of each actor that is alive.
    pub(super) owners: Vec<Option<usize>>,
    pub(super) current: usize,
    pub(super) logs: BTreeMap<String, Chronicle>,
    pub(super) seen: Seen,
    pub(super) trace: Option<Vec<String>>,
    pub(super) clock: Clock,
    hand: ManualClock,
    /// Results kept for later, by their key.
    pub(super) results: BTreeMap<String, Bytes>,
    /// The entry that each actor has stored and whose consequences it may still owe.
    pub(super) owes: BTreeMap<usize, Kind>,
    wakes: BinaryHeap<Reverse<(i64, u64, usize)>>,
    ties: u64,
}

/// What the oracle gets to know besides the streams.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Every arrow of the lifecycle that was taken.
    pub(super) arrows: BTreeSet<(Phase, Kind)>,
    /// What a parent's last look at its children showed: each child and whether it had a result.
    pub(super) ends: BTreeMap<Key, Vec<(TaskId, bool)>>,
    /// How often what happened.
    pub(super) counts: BTreeMap<&'static str, usize>,
    /// Who was found for needs: the tag, the skill, and why.
    pub(super) resolved: Vec<(String, Skill, String)>,
    /// Messages that were kept when a coordinator looked at them.
    pub(super) kept: Vec<u64>,
    /// Tasks that somebody wanted to end.
    pub(super) canceled: BTreeSet<Key>,
    /// Every effect of a step that was carried out, in order.
    pub(super) effects: Vec<Effect>,
    /// Everything that was said to tasks, also what was taken out of the stream again.
    pub(super) said: Vec<Said>,
    /// Actors whose lease ran out because the server did not hear of them in time.
    pub(super) unheard: BTreeSet<usize>,
    /// Attempts that were given up while their worker was well.
    pub(super) robbed: Vec<String>,
    /// Submitters that have not finished.
    pub(super) submitting: usize,
}

/// An effect of a step, as the world outside has seen it.
#[derive(Debug)]
pub(super) struct Effect {
    pub(super) task: Key,
    pub(super) name: String,
    /// Who did it.
    pub(super) actor: usize,
    /// The last entry that the attempt knew when it began.
    pub(super) knew: u64,
    /// The last message of the log stream when it happened.
    pub(super) at: u64,
    /// What it cost, in tokens.
    pub(super) tokens: u64,
    /// What it gave.
    pub(super) gave: u64,
    /// The hash of the action, where one was approved.
    pub(super) action: Option<String>,
}

/// Something that was said to a task.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) task: Key,
    pub(super) sequence: u64,
    pub(super) at: i64,
    pub(super) input: Input,
}

/// How many attempts a log knows as lost.
fn lost(log: &TaskLog) -> usize {
    log.attempts.iter().filter(|attempt| attempt.outcome == AttemptOutcome::Lost).count()
}

impl World {
    pub(super) fn new(seed: u64, workload: Workload, bus: Bus, sabotage: Option<Sabotage>) -> Self {
        let (clock, hand) = Clock::manual(Timestamp::from_millis(0));
        Self {
            now: 0,
            dice: Dice::new(seed ^ 0xA5A5),
            bus,
            faults: workload.faults,
            healed_at: workload.healed_at,
            sabotage,
            subjects: Arc::new(Subjects::default()),
            skill: workload.skill.clone(),
            workload: Arc::new(workload),
            processes: Vec::new(),
            owners: Vec::new(),
            current: 0,
            logs: BTreeMap::new(),
            seen: Seen::default(),
            trace: None,
            clock,
            hand,
            results: BTreeMap::new(),
            owes: BTreeMap::new(),
            wakes: BinaryHeap::new(),
            ties: 0,
        }
    }

    /// Writes a line of the trace, if anybody wants one.
    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        let who = self.owners.get(self.current).copied().flatten();
        let name = who.and_then(|at| self.processes.get(at)).map(|process| process.name.as_str());
        if let Some(trace) = &mut self.trace {
            trace.push(format!(
                "{now:>7} {:<8} #{:<3} {}",
                name.unwrap_or("-"),
                self.current,
                line()
            ));
        }
    }

    /// Counts a child that was canceled before anybody had begun it.
    pub(super) fn count_unbegun(&mut self, task: &Key) {
        let id = format!("child-{}-{}", task.0, task.1);
        let queued = self
            .bus
            .all(Stream::Log)
            .any(|message| message.headers.get(protocol::header::MSG_ID) == Some(&id));
        self.count(if queued { "canceled unbegun child" } else { "canceled child never queued" });
    }

    /// Counts something that happened.
    pub(super) fn count(&mut self, what: &'static str) {
        *self.seen.counts.entry(what).or_default() += 1;
    }

    pub(super) fn healed(&self) -> bool {
        self.now >= self.healed_at
    }

    /// Whether something that goes wrong so often goes wrong now.
    pub(super) fn mishap(&mut self, rate: usize) -> bool {
        !self.healed() && self.dice.permille(rate)
    }

    /// Calls an actor at a time.
    pub(super) fn wake(&mut self, actor: usize, at: i64) {
        self.ties += 1;
        self.wakes.push(Reverse((at, self.ties, actor)));
    }

    /// Who is called next, and when.
    pub(super) fn next_wake(&self) -> Option<i64> {
        self.wakes.peek().map(|Reverse((at, _, _))| *at)
    }

    pub(super) fn pop_wake(&mut self) -> Option<usize> {
        self.wakes.pop().map(|Reverse((_, _, actor))| actor)
    }

    pub(super) fn advance(&mut self, to: i64) {
        self.now = self.now.max(to);
        self.hand.set(Timestamp::from_millis(self.now));
    }

    pub(super) fn owner_of(&self, actor: usize) -> Option<&Process> {
        self.processes.get(self.owners.get(actor).copied().flatten()?)
    }

    /// Whether the process of an actor gives signs of life.
    pub(super) fn is_well(&self, actor: usize) -> bool {
        self.owner_of(actor).is_some_and(|process| process.up && process.frozen_until <= self.now)
    }

    /// Stores messages as the server does, and takes entries into their logs.
    pub(super) fn store(&mut self, messages: &[Outgoing]) -> Result<u64, Fenced> {
        let stored = self.bus.store(self.now, messages);
        let Ok(sequence) = stored else {
            let subject = messages.first().map(|message| message.subject.clone());
            self.note(|| format!("refused behind the fence: {}", subject.unwrap_or_default()));
            return stored;
        };
        for message in messages {
            if message.subject.starts_with("weft.log.") {
                self.take_in(sequence, message);
            } else {
                self.note(|| format!("stored {} at {sequence}", message.subject));
            }
            if let Some(Subject::Input(owner, task)) = self.subjects.parse(&message.subject) {
                self.hear(sequence, (owner, task), message);
            }
        }
        stored
    }

    fn take_in(&mut self, sequence: u64, message: &Outgoing) {
        let (now, writer) = (self.now, self.current);
        let chronicle = self.logs.entry(message.subject.clone()).or_default();
        let entry = match serde_json::from_slice::<Entry>(&message.payload) {
            Ok(entry) => entry,
            Err(error) => {
                chronicle.broken = Some(error.to_string());
                return;
            }
        };
        self.seen.arrows.insert((chronicle.fold.phase, entry.event.kind()));
        let (before, losses) = (chronicle.writer, lost(&chronicle.fold));
        if let Err(error) = chronicle.fold.apply(sequence, entry.clone()) {
            chronicle.broken.get_or_insert(error.to_string());
        }
        let is_lost = lost(&chronicle.fold) > losses;
        if entry.attempt > 0 {
            chronicle.writer = Some(writer);
        }
        chronicle.entries.push((sequence, now, entry.clone()));
        self.owes.insert(writer, entry.event.kind());
        // Who was frozen between a delivery and its first look at the log does not know that its lease is over.
        let late = self.seen.unheard.contains(&writer);
        let well =
            |actor: &usize| !late && self.is_well(*actor) && !self.seen.unheard.contains(actor);
        if let Some(actor) = before.filter(|actor| is_lost && well(actor)) {
            let subject = &message.subject;
            self.seen.robbed.push(format!("{subject}: lost at {sequence}, and #{actor} was well"));
        }
        self.note(|| {
            let kind = entry.event.kind().name();
            let (generation, attempt) = (entry.generation, entry.attempt);
            format!("{} at {sequence}: {kind} g{generation} a{attempt}", message.subject)
        });
    }

    /// Tells nodes of a cancel that is published to this subject, if it is one.
    pub(super) fn pass_on_cancel(&mut self, subject: &str) {
        if let Some(Subject::Cancel(owner, task)) = self.subjects.parse(subject) {
            self.tell_cancel(&(owner, task));
        }
    }

    /// Whether there is a letter for what was said at this sequence.
    pub(super) fn refusals(&self, sequence: u64) -> bool {
        let id = format!("refused-{sequence}");
        self.bus.all(Stream::Log).any(|message| {
            message.subject.starts_with("weft.dead.")
                && message.headers.get(protocol::header::MSG_ID) == Some(&id)
        })
    }

    /// The submission of a task, as far as it is in the inbox.
    pub(super) fn submission_of(&self, task: &Key) -> Option<Envelope> {
        self.bus.all(Stream::Inbox).find_map(|message| {
            let stored = Stored {
                subject: &message.subject,
                headers: &message.headers,
                sequence: message.sequence,
                at: message.at,
            };
            let envelope = match Envelope::read(&self.subjects, stored)? {
                Ok(envelope) => envelope,
                Err(refused) => *refused.envelope,
            };
            (envelope.owner == task.0 && envelope.task == task.1).then_some(envelope)
        })
    }

    fn hear(&mut self, sequence: u64, task: Key, message: &Outgoing) {
        let known = self.seen.said.iter().any(|said| said.sequence == sequence);
        match Input::read(&message.headers, &message.payload) {
            Ok(input) if !known => {
                self.tell_said(&task);
                self.seen.said.push(Said { task, sequence, at: self.now, input });
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// A task's log as a replica shows it, which may lag where `stale` reads happen.
    pub(super) fn read_log(&mut self, task: &Key, from_leader: bool) -> TaskLog {
        let subject = self.subjects.log(&task.0, &task.1);
        let lags = !from_leader && self.mishap(self.faults.stale);
        let now = self.now;
        let Some(chronicle) = self.logs.get(&subject) else { return TaskLog::default() };
        if !lags {
            return chronicle.fold.clone();
        }
        let old = chronicle.entries.iter().filter(|(_, at, _)| at + 500 < now);
        TaskLog::fold(old.map(|(sequence, _, entry)| (*sequence, entry.clone())))
            .unwrap_or_default()
    }
}
