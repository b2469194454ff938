//! Runs one seed: calls the actors in the order of their time, kills and freezes processes between turns, hands out
//! deliveries, and stops when nothing is left to happen.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

use agent_node::wakes::Wakes;
use protocol::id::NodeName;

use super::bus::Bus;
use super::care::Care;
use super::consumer::Queue;
use super::fate::Fate;
use super::hold::Hold;
use super::node::Node;
use super::people;
use super::plan::Workload;
use super::sabotage::Sabotage;
use super::submitter;
use super::world::{Process, Role, World};

/// Calls of actors in one run; more means that it goes round in circles.
const CALLS_MAX: usize = 60_000;
const LEASE: i64 = 10_000;
/// Deliveries that a coordinator works on at once.
const CARE_SLOTS: usize = 8;

type Doing = Pin<Box<dyn Future<Output = ()>>>;

/// Notes that an actor was woken from inside, as by a lock that was freed, or by another actor.
struct Bell {
    rang: AtomicBool,
    actor: usize,
    rung: Rung,
}

/// The actors that were woken since the last look.
type Rung = Arc<Mutex<BTreeSet<usize>>>;

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rang.store(true, Ordering::Relaxed);
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).insert(self.actor);
    }
}

/// A run under way.
pub(super) struct Run {
    hold: Hold,
    actors: Vec<Option<Doing>>,
    load: Arc<Workload>,
    rung: Rung,
    /// What the attempts of each process share.
    wakes: BTreeMap<usize, Wakes>,
}

/// The end of a run.
pub(super) struct Ended {
    pub(super) hold: Hold,
    /// Whether nothing was left to happen.
    pub(super) quiet: bool,
}

/// Runs a seed to its end.
pub(super) fn run(seed: u64, workload: Workload, sabotage: Option<Sabotage>, trace: bool) -> Ended {
    let mut bus = Bus::new(workload.window, LEASE, sabotage != Some(Sabotage::Fence));
    bus.shares_ids = sabotage == Some(Sabotage::Owners);
    bus.loses_timers = sabotage == Some(Sabotage::Timer);
    let mut world = World::new(seed, workload, bus, sabotage);
    world.trace = trace.then(Vec::new);
    let load = Arc::clone(&world.workload);
    let client = add_process(&mut world, Role::Client, 0);
    for number in 0..load.nodes {
        add_process(&mut world, Role::Node, number);
    }
    for number in 0..load.coordinators {
        add_process(&mut world, Role::Coordinator, number);
    }
    let hold = Hold::new(world);
    let (rung, wakes) = (Rung::default(), BTreeMap::new());
    let mut run = Run { hold, actors: Vec::new(), load, rung, wakes };
    run.spawn(client, Box::pin(people::talk(run.hold.clone())));
    run.hold.with(|world| world.seen.submitting = run.load.submissions.len());
    for submission in run.load.submissions.clone() {
        let doing = submitter::submit(run.hold.clone(), submission);
        run.spawn(client, Box::pin(doing));
    }
    let quiet = run.play();
    Ended { hold: run.hold, quiet }
}

fn add_process(world: &mut World, role: Role, number: usize) -> usize {
    let word = match role {
        Role::Node => "node",
        Role::Coordinator => "coord",
        Role::Client => "client",
    };
    if let Ok(name) = NodeName::parse(&format!("{word}-{number}")) {
        world.processes.push(Process::new(role, name));
    }
    world.processes.len() - 1
}

impl Run {
    fn spawn(&mut self, process: usize, doing: Doing) {
        let actor = self.actors.len();
        self.actors.push(Some(doing));
        self.hold.with(|world| world.enter(actor, process));
    }

    fn play(&mut self) -> bool {
        for _ in 0..CALLS_MAX {
            self.hand_out();
            let next = self.hold.with(World::next_event);
            let Some((at, actor)) = next else { return self.settled() };
            self.hold.with(|world| world.advance(at));
            if let Some(actor) = actor {
                self.call(actor);
                self.answer_bells(actor);
            }
        }
        false
    }

    fn settled(&self) -> bool {
        self.hold.with(|world| world.bus.unsettled() == 0)
    }

    /// Hands out what is ready to processes that have room.
    fn hand_out(&mut self) {
        for queue in self.hold.with(World::serve) {
            while self.hold.with(|world| world.bus.is_ready(queue, world.now)) {
                let (role, slots) = match queue {
                    Queue::Care => (Role::Coordinator, CARE_SLOTS),
                    Queue::Run | Queue::Task => (Role::Node, self.load.slots),
                };
                let Some(process) = self.hold.with(|world| world.free_process(role, slots)) else {
                    break;
                };
                let holder = self.actors.len();
                let delivery = self.hold.with(|world| {
                    let now = world.now;
                    world.bus.deliver(queue, now, &mut world.dice, holder)
                });
                let Some(delivery) = delivery else { continue };
                let (hold, load) = (self.hold.clone(), Arc::clone(&self.load));
                let Some(name) = hold.with(|world| world.name_of(process)) else { continue };
                let doing: Doing = match role {
                    Role::Coordinator => Box::pin(Care { hold, by: name }.deliver(delivery)),
                    Role::Node | Role::Client => {
                        let wakes = self.wakes.entry(process).or_default().clone();
                        Box::pin(Node::new(hold, process, name, load, wakes).deliver(delivery))
                    }
                };
                self.spawn(process, doing);
            }
        }
    }

    fn call(&mut self, actor: usize) {
        match self.hold.with(|world| world.fate_of(actor)) {
            Fate::Gone | Fate::Later => return,
            Fate::Killed(process) => return self.bury(process),
            Fate::Turn => {}
        }
        let Some(doing) = self.actors.get_mut(actor).and_then(Option::as_mut) else { return };
        let (rang, rung) = (AtomicBool::new(true), Arc::clone(&self.rung));
        let bell = Arc::new(Bell { rang, actor, rung });
        let waker = Waker::from(Arc::clone(&bell));
        while bell.rang.swap(false, Ordering::Relaxed) {
            if doing.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                self.forget(actor);
                return;
            }
        }
    }

    /// Lets those go on whom an actor has woken.
    fn answer_bells(&self, by: usize) {
        let rung = std::mem::take(&mut *self.rung.lock().unwrap_or_else(PoisonError::into_inner));
        self.hold.with(|world| {
            let now = world.now;
            for actor in rung.into_iter().filter(|actor| *actor != by) {
                world.wake(actor, now);
            }
        });
    }

    fn forget(&mut self, actor: usize) {
        if let Some(slot) = self.actors.get_mut(actor) {
            *slot = None;
        }
        self.hold.with(|world| world.forget(actor));
    }

    /// Drops everything that a killed process was doing.
    fn bury(&mut self, process: usize) {
        for actor in self.hold.with(|world| world.actors_of(process)) {
            self.forget(actor);
        }
    }
}
