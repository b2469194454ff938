//! Everything that a run of the simulation shares: the server, the time, the processes, and what has been seen.
//!
//! Whoever acts does so in turns, and between any two turns anything can happen to it: its process is killed, is
//! frozen for longer than a lease, or is slow. Messages on the way to the server and answers on the way back get lost.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use protocol::entry::{Entry, Kind};
use protocol::id::{NodeName, TaskId};
use protocol::lifecycle::Phase;
use protocol::log::TaskLog;
use protocol::subject::Subjects;
use protocol::{Skill, Timestamp};
use runtime::bus::Outgoing;
use runtime::clock::{Clock, ManualClock};

use super::bus::{Bus, Fenced};
use super::dice::Dice;
use super::plan::Workload;
use super::sabotage::Sabotage;

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Node,
    Coordinator,
    Client,
}

/// A process as the world sees it.
#[derive(Debug)]
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
    pub(super) heard: BTreeSet<TaskId>,
}

/// A task's log as it was written, and the fold that everybody reads.
#[derive(Debug, Default)]
pub(super) struct Chronicle {
    pub(super) entries: Vec<(u64, i64, Entry)>,
    pub(super) fold: TaskLog,
    pub(super) broken: Option<String>,
}

/// How often things go wrong, in cases of a thousand turns.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    pub(super) crash: usize,
    pub(super) freeze: usize,
    pub(super) drain: usize,
    pub(super) slow: usize,
    pub(super) lost: usize,
    pub(super) stale: usize,
}

/// What is shared.
#[derive(Debug)]
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
    wakes: BinaryHeap<Reverse<(i64, u64, usize)>>,
    ties: u64,
}

/// What the oracle gets to know besides the streams.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Every arrow of the lifecycle that was taken.
    pub(super) arrows: BTreeSet<(Phase, Kind)>,
    /// What a parent's last look at its children showed: each child and whether it had completed.
    pub(super) ends: BTreeMap<TaskId, Vec<(TaskId, bool)>>,
    /// Tasks that somebody wanted to end.
    pub(super) canceled: BTreeSet<TaskId>,
    /// How often a step's effect was carried out, over all tasks.
    pub(super) effects: u64,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Stored(u64),
    Fenced,
    NoAnswer,
}

/// A hold on the world.
#[derive(Debug, Clone)]
pub(super) struct Hold(Arc<Mutex<World>>);

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
        }
        stored
    }

    fn take_in(&mut self, sequence: u64, message: &Outgoing) {
        let now = self.now;
        let chronicle = self.logs.entry(message.subject.clone()).or_default();
        let entry = match serde_json::from_slice::<Entry>(&message.payload) {
            Ok(entry) => entry,
            Err(error) => {
                chronicle.broken = Some(error.to_string());
                return;
            }
        };
        self.seen.arrows.insert((chronicle.fold.phase, entry.event.kind()));
        if let Err(error) = chronicle.fold.apply(sequence, entry.clone()) {
            chronicle.broken.get_or_insert(error.to_string());
        }
        chronicle.entries.push((sequence, now, entry.clone()));
        self.note(|| {
            let kind = entry.event.kind().name();
            let (generation, attempt) = (entry.generation, entry.attempt);
            format!("{} at {sequence}: {kind} g{generation} a{attempt}", message.subject)
        });
    }

    /// A task's log as a replica shows it, which may lag where `stale` reads happen.
    pub(super) fn read_log(&mut self, task: &TaskId, from_leader: bool) -> TaskLog {
        let subject = self.subjects.log(&protocol::Owner::default(), task);
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

impl Hold {
    pub(super) fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    /// Does something to the world, in one piece.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets the others go on for a moment.
    pub(super) fn turn(&self) -> Until {
        let at = self.with(|world| {
            let slow = world.mishap(world.faults.slow);
            world.now + if slow { world.dice.ms(1, 8_000) } else { world.dice.ms(0, 3) }
        });
        Until { hold: self.clone(), at, called: false }
    }

    /// Waits.
    pub(super) fn sleep(&self, wait: Duration) -> Until {
        let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        let at = self.with(|world| world.now + wait);
        Until { hold: self.clone(), at, called: false }
    }

    /// Sends messages to the server and waits for its answer, either of which may be lost.
    pub(super) async fn publish(&self, messages: &[Outgoing]) -> Sent {
        self.turn().await;
        let stored = self.with(|world| {
            if world.mishap(world.faults.lost) {
                world.note(|| "a publish is lost".to_owned());
                return None;
            }
            Some(world.store(messages))
        });
        self.turn().await;
        let silent = self.with(|world| {
            let lost = world.mishap(world.faults.lost);
            if lost {
                world.note(|| "an answer is lost".to_owned());
            }
            lost
        });
        match stored {
            None => Sent::NoAnswer,
            Some(_) if silent => Sent::NoAnswer,
            Some(Ok(sequence)) => Sent::Stored(sequence),
            Some(Err(Fenced)) => Sent::Fenced,
        }
    }
}

/// Ready once it is time.
#[derive(Debug)]
pub(super) struct Until {
    hold: Hold,
    at: i64,
    called: bool,
}

impl Future for Until {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let (at, called) = (self.at, self.called);
        let ready = self.hold.with(|world| {
            if world.now >= at && called {
                return true;
            }
            if !called {
                world.wake(world.current, at);
            }
            false
        });
        self.called = true;
        if ready { Poll::Ready(()) } else { Poll::Pending }
    }
}
