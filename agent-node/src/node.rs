//! A node: a process's worth of agents, from start to drain.

use std::sync::Arc;
use std::time::Duration;

use protocol::card::OnMessage;
use protocol::input::InputKind;
use protocol::subject::Subject;
use protocol::topology::{CARE_CONSUMER, Capacity, Names};
use protocol::{NodeName, cancel};
use runtime::bus::{Bus, Ears, Patience, PullError, SYNC_ALWAYS, Topic};
use runtime::clock::Clock;
use runtime::metric::Metrics;
use runtime::supervisor::{Kind, StillRunning, Supervisor};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::bus_ledger::BusLedger;
use crate::bytes::ByteBudget;
use crate::cancel::Cancels;
use crate::core::Core;
use crate::hand::Hand;
use crate::inputs::Inputs;
use crate::intake::{Intake, Slots};
use crate::looks::Looks;
use crate::mesh::BusMesh;
use crate::registry::Registry;
use crate::served::Served;
use crate::wakes::Wakes;

/// Whether appends share atomic batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GroupCommit {
    /// Where the server syncs every write, as the provisioner noted on the consumers.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// What a node is started with.
pub struct NodeSettings {
    /// Its name, unique in the mesh.
    pub name: NodeName,
    /// Whether appends share atomic batches.
    pub group_commit: GroupCommit,
    /// Creates a skill's consumers when they are missing; `None` waits until somebody else does.
    pub provision: Option<Capacity>,
    /// Bytes of input in flight over all skills.
    pub bytes_in_flight_max: usize,
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A consumer is missing and cannot be created.
    #[error("cannot serve skill {skill}")]
    Provision {
        /// The skill.
        skill: String,
        /// Why.
        #[source]
        source: runtime::bus::ProvisionError,
    },
    /// A consumer cannot be read.
    #[error("cannot serve skill {skill}")]
    Consumer {
        /// The skill.
        skill: String,
        /// Why.
        #[source]
        source: PullError,
    },
    /// The connection is closed.
    #[error("cannot listen on the bus: {reason}")]
    Closed {
        /// What the client says.
        reason: String,
    },
}

/// Why a node did not stop in good order.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// Something still runs.
    #[error(transparent)]
    StillRunning(#[from] StillRunning),
    /// The server was gone.
    #[error(
        "the server is gone: {in_hand} deliveries were neither finished nor given back; their leases bring them to another node"
    )]
    Unreachable {
        /// Deliveries that were in hand.
        in_hand: usize,
    },
}

/// A running node.
pub struct Node {
    supervisor: Supervisor,
    bus: Bus,
    hand: Hand,
    stop_pulling: CancellationToken,
    stop_keeping: CancellationToken,
    release: CancellationToken,
    gone: CancellationToken,
    registry: Arc<Registry>,
}

/// How long a stopping node waits for the registry to take its word.
const TELL_LIMIT: Duration = Duration::from_secs(2);
/// How long attempts may take to let go once they are told to.
const GIVE_BACK_LIMIT: Duration = Duration::from_secs(3);
/// How long agents may take to end what they keep running.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// How long a stopping node waits until its last words are sent.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// How long to wait before asking again for a consumer that somebody else has to create.
const CONSUMER_WAIT: Duration = Duration::from_millis(500);

impl Node {
    /// Starts serving the skills. Work runs under `supervisor`, which is the node's own.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        bus: Bus,
        settings: NodeSettings,
        skills: Vec<Served>,
        supervisor: Supervisor,
        metrics: Metrics,
        clock: Clock,
    ) -> Result<Self, StartError> {
        let registry = Arc::new(Registry::new(bus.clone(), settings.name.clone(), clock.clone()));
        let stop_keeping = CancellationToken::new();
        let skills: Vec<_> = skills
            .into_iter()
            .map(|served| {
                let served = Arc::new(served);
                let slots = Arc::new(Slots::new(served.terms.concurrency));
                registry.add(Arc::clone(&served), Arc::clone(&slots));
                (served, slots)
            })
            .collect();
        // Before the consumers are there: a coordinator creates those of the skills that it finds announced.
        register(&registry, &supervisor, stop_keeping.clone());
        let mut lease = protocol::limits::LEASE_DEFAULT;
        let mut sync_always = false;
        for (served, _) in &skills {
            let facts = ensure_consumers(&bus, served, settings.provision.as_ref()).await?;
            lease = lease.min(facts.ack_wait);
            sync_always |= facts.sync_always;
        }
        let group_commit = match settings.group_commit {
            GroupCommit::Auto => sync_always,
            GroupCommit::On => true,
            GroupCommit::Off => false,
        };
        bus.gather(&supervisor).await.map_err(closed)?;
        let gone = CancellationToken::new();
        let ledger =
            BusLedger::new(bus.clone(), metrics.clone(), &supervisor, gone.clone(), group_commit);
        let budget = ByteBudget::new(settings.bytes_in_flight_max, metrics.clone());
        let core = Arc::new(Core {
            budget: budget.clone(),
            ledger: Arc::new(ledger),
            clock,
            node: settings.name.clone(),
            cancels: Cancels::default(),
            wakes: Wakes::default(),
            looks: Looks::default(),
            inputs: Inputs::default(),
            mesh: Arc::new(BusMesh::new(bus.clone())),
            hand: Hand::new(bus.clone(), settings.name),
            release: CancellationToken::new(),
            bus: bus.clone(),
        });
        let node = Self {
            bus,
            hand: core.hand.clone(),
            stop_pulling: CancellationToken::new(),
            stop_keeping,
            release: core.release.clone(),
            gone,
            registry,
            supervisor,
        };
        let interrupts =
            skills.iter().any(|(served, _)| served.terms.on_message == OnMessage::Interrupt);
        node.keep(&core, lease, interrupts).await?;
        for (served, slots) in skills {
            node.serve(&core, served, slots, &budget, &metrics).await?;
        }
        Ok(node)
    }

    async fn keep(
        &self,
        core: &Arc<Core>,
        lease: Duration,
        interrupts: bool,
    ) -> Result<(), StartError> {
        let subjects = self.bus.subjects();
        let mut topics = vec![Topic { subject: subjects.all_cancels(), group: None }];
        if interrupts {
            topics.push(Topic { subject: subjects.all_inputs(), group: None });
        }
        let ears = self.bus.listen(topics).await.map_err(closed)?;
        let hearing = hear(Arc::clone(core), ears, self.stop_keeping.clone());
        self.supervisor.spawn("ears", Kind::Critical, hearing);
        let keeping = self.hand.clone().keep(lease, self.stop_keeping.clone());
        self.supervisor.spawn("leases", Kind::Critical, keeping);
        Ok(())
    }

    async fn serve(
        &self,
        core: &Arc<Core>,
        served: Arc<Served>,
        slots: Arc<Slots>,
        budget: &ByteBudget,
        metrics: &Metrics,
    ) -> Result<(), StartError> {
        metrics.node.slots.inc_by(i64::try_from(served.terms.concurrency).unwrap_or(i64::MAX));
        let skill = served.terms.skill.to_string();
        let intake = Intake::open(
            Arc::clone(core),
            served,
            slots,
            &self.supervisor,
            budget.clone(),
            metrics.clone(),
        )
        .await
        .map_err(|source| StartError::Consumer { skill, source })?;
        let serving = intake.serve(self.stop_pulling.clone());
        self.supervisor.spawn("intake", Kind::Critical, serving);
        Ok(())
    }

    /// Stops in good order: no more pulls, attempts go on to a commit for `grace`, the rest is given back without
    /// costing an attempt. Without a server nothing can be committed or given back: the agents are ended then.
    ///
    /// # Errors
    /// See [`DrainError`].
    pub async fn drain(self, grace: Duration) -> Result<(), DrainError> {
        self.stop_pulling.cancel();
        let telling = timeout(TELL_LIMIT, self.registry.set_draining());
        let (_, in_grace) = tokio::join!(telling, timeout(grace, self.is_empty_handed()));
        let in_hand = self.hand.len();
        let unreachable = in_hand > 0 && !self.bus.is_connected();
        if in_grace.is_err() {
            tracing::warn!(in_hand, reason = "grace is over", "giving work back");
            self.release.cancel();
        }
        if unreachable {
            let reason = "the server is gone";
            tracing::warn!(in_hand, reason, "nothing can be committed or given back");
            self.gone.cancel();
        }
        let late = timeout(GIVE_BACK_LIMIT, self.is_empty_handed()).await.is_err();
        self.gone.cancel();
        if timeout(TELL_LIMIT, self.registry.remove()).await.is_err() {
            tracing::warn!(
                reason = "no answer",
                "its agents stay in the registry until they expire"
            );
        }
        if timeout(CLOSE_LIMIT, self.registry.close_agents()).await.is_err() {
            tracing::warn!(reason = "they took too long", "agents are ended by force");
        }
        self.stop_keeping.cancel();
        self.supervisor.shutdown();
        self.flush().await;
        let limit = if late { Duration::from_millis(100) } else { Duration::from_secs(2) };
        let ended = self.supervisor.wait(limit).await;
        // The last jobs to end may have given deliveries back.
        self.flush().await;
        if unreachable {
            return Err(DrainError::Unreachable { in_hand });
        }
        Ok(ended?)
    }

    async fn is_empty_handed(&self) {
        while !self.hand.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends what waits to be sent. A client without a connection would wait for one.
    async fn flush(&self) {
        if timeout(FLUSH_LIMIT, self.bus.flush()).await.is_err() {
            tracing::debug!(reason = "no connection", "not flushed");
        }
    }
}

fn closed(error: impl std::fmt::Display) -> StartError {
    StartError::Closed { reason: error.to_string() }
}

/// Tells running attempts of cancels and of what is said to their tasks.
async fn hear(core: Arc<Core>, mut ears: Ears, stop: CancellationToken) {
    loop {
        let message = tokio::select! {
            () = stop.cancelled() => return,
            message = ears.next() => message,
        };
        match core.bus.subjects().parse(&message.subject) {
            Some(Subject::Cancel(owner, task)) => {
                core.cancels.hear(owner, task, cancel::reason(&message.payload));
            }
            Some(Subject::Input(owner, task))
                if InputKind::of(&message.headers) == InputKind::Message =>
            {
                core.inputs.hear(owner, task);
            }
            Some(_) | None => {}
        }
    }
}

/// Keeps the node's agents in the registry.
fn register(registry: &Arc<Registry>, supervisor: &Supervisor, stop: CancellationToken) {
    let registry = Arc::clone(registry);
    supervisor.spawn("registry", Kind::Critical, async move { registry.renew(stop).await });
}

/// Reads a skill's consumers, creating or awaiting them.
async fn ensure_consumers(
    bus: &Bus,
    served: &Served,
    provision: Option<&Capacity>,
) -> Result<runtime::bus::ConsumerFacts, StartError> {
    let skill = &served.terms.skill;
    let consumer = Names::skill_consumer(skill);
    let fail = |source| StartError::Consumer { skill: skill.to_string(), source };
    let patience = Patience::new();
    loop {
        let run = bus.consumer(&bus.names().log, &consumer).await;
        let task = bus.consumer(&bus.names().inbox, &consumer).await;
        match (run, task, provision) {
            (Ok(_), Ok(facts), _) => return Ok(facts),
            (Err(PullError::NoConsumer { .. }), _, Some(capacity))
            | (_, Err(PullError::NoConsumer { .. }), Some(capacity)) => {
                // The last thing that a coordinator creates: what it noted there holds for every consumer.
                let care = match bus.consumer(&bus.names().log, CARE_CONSUMER).await {
                    Ok(care) => care,
                    Err(PullError::NoConsumer { .. }) => {
                        tracing::info!(%skill, reason = "no coordinator has created the streams yet", "waiting");
                        tokio::time::sleep(CONSUMER_WAIT).await;
                        continue;
                    }
                    Err(error) if error.may_pass() && patience.rest(&error).await => continue,
                    Err(error) => return Err(fail(error)),
                };
                let sync = care.sync_always.then_some(SYNC_ALWAYS);
                match bus.provision_skill(skill, capacity, sync).await {
                    Err(error) if error.may_pass() && patience.rest(&error).await => {}
                    Err(source) => {
                        return Err(StartError::Provision { skill: skill.to_string(), source });
                    }
                    Ok(_) => {}
                }
            }
            (Err(PullError::NoConsumer { .. }), _, None)
            | (_, Err(PullError::NoConsumer { .. }), None) => {
                tracing::info!(%skill, reason = "its consumers do not exist yet", "waiting");
                tokio::time::sleep(CONSUMER_WAIT).await;
            }
            (Err(error), _, _) | (_, Err(error), _) => {
                if !error.may_pass() || !patience.rest(&error).await {
                    return Err(fail(error));
                }
            }
        }
    }
}
