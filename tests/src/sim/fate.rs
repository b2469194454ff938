//! What happens to processes: killed, frozen, drained, restarted; who has room, who hears a cancel, who is settled.

use std::time::Duration;

use protocol::entry::Kind;
use protocol::id::NodeName;

use super::bus::Delivery;
use super::consumer::Queue;
use super::world::{Key, Process, Role, World};

/// Some time after a drain begins the process is replaced, whatever it still does.
const DRAIN_MS: i64 = 2_000;

/// What becomes of an actor that is called.
pub(super) enum Fate {
    /// Its process was killed.
    Gone,
    /// Its process is frozen.
    Later,
    /// Its process is killed now.
    Killed(usize),
    /// It goes on.
    Turn,
}

impl Process {
    /// A process that is up.
    pub(super) fn new(role: Role, name: NodeName) -> Self {
        Self {
            role,
            name,
            up: true,
            frozen_until: 0,
            draining: false,
            busy: 0,
            back_at: None,
            heard: std::collections::BTreeSet::new(),
            inputs: agent_node::inputs::Inputs::default(),
        }
    }
}

impl World {
    /// What happens next, and to whom: an actor's turn, or something that the server or a process does by itself.
    pub(super) fn next_event(&mut self) -> Option<(i64, Option<usize>)> {
        let now = self.now;
        let process = self.processes.iter().filter_map(|process| process.back_at).min();
        let alone = [self.bus.next_due(now), process.map(|at| at.max(now + 1))];
        let alone = alone.into_iter().flatten().min();
        match (self.next_wake(), alone) {
            (Some(wake), alone) if alone.is_none_or(|at| wake <= at) => {
                Some((wake, self.pop_wake()))
            }
            (_, Some(at)) => Some((at, None)),
            (_, None) => None,
        }
    }

    /// What the server and the processes do by themselves; the queues that have something to hand out then.
    pub(super) fn serve(&mut self) -> Vec<Queue> {
        let (now, healed) = (self.now, self.healed());
        for process in &mut self.processes {
            if process.back_at.is_some_and(|at| at <= now) {
                process.back_at = None;
                process.up = true;
                process.draining = false;
                process.heard.clear();
            }
        }
        if !self.bus.is_busy(now) {
            return Vec::new();
        }
        let dice = &mut self.dice;
        self.bus.fire(now, || match dice.below(20) {
            0 if !healed => dice.ms(1_000, 10_000),
            1..6 => dice.ms(1, 200),
            _ => 0,
        });
        // Who is well would have renewed its lease in time, unless that was lost on the way.
        for queue in [Queue::Run, Queue::Task] {
            for (sequence, holder) in self.bus.consumer(queue).overdue(now) {
                if self.is_well(holder) && !self.mishap(20) {
                    let due = now + self.bus.lease;
                    self.bus.consumer(queue).renew(sequence, due);
                } else {
                    self.seen.unheard.insert(holder);
                }
            }
        }
        Queue::ALL.into_iter().filter(|queue| self.bus.is_ready(*queue, now)).collect()
    }

    /// Decides whether an actor that is called has its turn.
    pub(super) fn fate_of(&mut self, actor: usize) -> Fate {
        let Some(process) = self.owners.get(actor).copied().flatten() else { return Fate::Gone };
        self.current = actor;
        if self.put_off(actor, process) {
            return Fate::Later;
        }
        if self.may_crash(process) {
            return Fate::Killed(process);
        }
        Fate::Turn
    }

    /// A process of this role that has room for a delivery.
    pub(super) fn free_process(&mut self, role: Role, slots: usize) -> Option<usize> {
        let free: Vec<usize> = (0..self.processes.len())
            .filter(|at| {
                self.processes.get(*at).is_some_and(|process| {
                    let takes = process.up && !process.draining && process.busy < slots;
                    process.role == role && takes
                })
            })
            .collect();
        self.dice.pick(&free)
    }

    pub(super) fn name_of(&self, process: usize) -> Option<NodeName> {
        self.processes.get(process).map(|process| process.name.clone())
    }

    /// Whether a call has to wait until its process is thawed.
    fn put_off(&mut self, actor: usize, process: usize) -> bool {
        let freezes = self.mishap(self.faults.freeze);
        let (now, for_ms) = (self.now, self.dice.ms(100, 25_000));
        let Some(owner) = self.processes.get_mut(process) else { return false };
        if freezes && owner.role != Role::Client && owner.frozen_until <= now {
            owner.frozen_until = now + for_ms;
            let name = owner.name.clone();
            self.note(|| format!("{name} freezes for {for_ms} ms"));
        }
        let until = self.processes.get(process).map_or(0, |owner| owner.frozen_until);
        if until <= now {
            return false;
        }
        self.wake(actor, until);
        true
    }

    /// Decides whether a process is killed now, and notes it. A drain may begin as well.
    fn may_crash(&mut self, process: usize) -> bool {
        let crashes = self.mishap(self.faults.crash);
        let drains = self.mishap(self.faults.drain);
        let (now, away) = (self.now, self.dice.ms(5, 8_000));
        let Some(owner) = self.processes.get_mut(process) else { return false };
        if owner.role == Role::Client || !(crashes || drains) {
            return false;
        }
        let name = owner.name.clone();
        if crashes {
            owner.up = false;
            owner.frozen_until = 0;
            owner.back_at = Some(now + away);
            self.note(|| format!("{name} is killed"));
            self.count_killed(process);
            if self.dice.permille(500) {
                let owners = self.owners.clone();
                self.bus.nak_all(now, |actor| owners.get(actor) == Some(&Some(process)));
            }
            return true;
        }
        if owner.role == Role::Node && !owner.draining {
            owner.draining = true;
            owner.back_at = Some(now + DRAIN_MS);
            self.note(|| format!("{name} gives its tasks back"));
            self.wake_all(process);
        }
        false
    }

    /// Counts what a killed process had in hand.
    fn count_killed(&mut self, process: usize) {
        for actor in self.actors_of(process) {
            let Some(kind) = self.owes.get(&actor).copied() else { continue };
            self.count(match kind {
                Kind::Delegated => "killed behind: delegated",
                Kind::Step => "killed behind: step",
                Kind::Reserved => "killed behind: reserved",
                Kind::Suspended => "killed behind: suspended",
                Kind::Escalated => "killed behind: escalated",
                Kind::Resumed => "killed behind: resumed",
                Kind::Received => "killed behind: received",
                Kind::Refunded => "killed behind: refunded",
                Kind::AttemptFailed => "killed behind: attempt_failed",
                Kind::Completed => "killed behind: completed",
                Kind::Failed => "killed behind: failed",
                Kind::Canceled => "killed behind: canceled",
                Kind::Rejected => "killed behind: rejected",
                Kind::Claimed | Kind::Status | Kind::Artifact | Kind::Released => {
                    "killed behind: another entry"
                }
            });
        }
    }

    fn wake_all(&mut self, process: usize) {
        let now = self.now;
        for actor in self.actors_of(process) {
            self.wake(actor, now);
        }
    }

    pub(super) fn actors_of(&self, process: usize) -> Vec<usize> {
        (0..self.owners.len()).filter(|at| self.owners.get(*at) == Some(&Some(process))).collect()
    }

    pub(super) fn forget(&mut self, actor: usize) {
        self.owes.remove(&actor);
        let process = self.owners.get_mut(actor).and_then(Option::take);
        if let Some(process) = process.and_then(|at| self.processes.get_mut(at)) {
            process.busy -= 1;
        }
    }

    /// Enters an actor under its process.
    pub(super) fn enter(&mut self, actor: usize, process: usize) {
        self.owners.push(Some(process));
        if let Some(process) = self.processes.get_mut(process) {
            process.busy += 1;
        }
        self.wake(actor, self.now);
    }

    pub(super) fn is_draining(&self, process: usize) -> bool {
        self.processes.get(process).is_some_and(|process| process.draining)
    }

    pub(super) fn hears_cancel(&self, process: usize, task: &Key) -> bool {
        self.processes.get(process).is_some_and(|process| process.heard.contains(task))
    }

    /// Tells nodes of a cancel; it does not reach everybody.
    pub(super) fn tell_cancel(&mut self, task: &Key) {
        for at in 0..self.processes.len() {
            let misses = self.dice.permille(200);
            let Some(process) = self.processes.get_mut(at) else { continue };
            if process.role == Role::Node && process.up && !misses {
                process.heard.insert(task.clone());
                self.wake_all(at);
            }
        }
    }

    /// Tells nodes of something that was said; it does not reach everybody.
    pub(super) fn tell_said(&mut self, task: &Key) {
        for at in 0..self.processes.len() {
            let misses = self.dice.permille(200);
            let Some(process) = self.processes.get(at) else { continue };
            if process.role == Role::Node && process.up && !misses {
                process.inputs.hear(task.0.clone(), task.1.clone());
                self.wake_all(at);
            }
        }
    }

    /// Carries an acknowledgement to the server, unless it is lost: `None` settles, a time gives back.
    pub(super) fn settle(&mut self, delivery: &Delivery, again_after: Option<Duration>) {
        if self.mishap(self.faults.lost) {
            return self.note(|| "an acknowledgement is lost".to_owned());
        }
        let (queue, sequence) = (delivery.queue, delivery.message.sequence);
        self.note(|| match again_after {
            None => format!("acks {queue:?} {sequence}"),
            Some(wait) => format!("naks {queue:?} {sequence} for {wait:?}"),
        });
        match again_after {
            None => self.bus.consumer(queue).ack(sequence),
            Some(wait) => {
                let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
                let (due, by) = (self.now + wait, self.current);
                // A word proves no ownership: one that comes late takes the delivery from whoever has it now.
                let robbed = self.bus.consumer(queue).holder(sequence).filter(|one| *one != by);
                self.seen.unheard.extend(robbed);
                self.bus.consumer(queue).nak(sequence, due);
            }
        }
    }
}
