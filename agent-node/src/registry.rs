//! Tells the mesh which agents this node runs, again and again.
//!
//! Each agent has a key `<skill>.<node>` in the registry bucket with a time to live: a node that dies vanishes
//! from it by itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use protocol::card::{
    AgentCapabilities, AgentCard, AgentInterface, AgentSkill, NATS_BINDING, Registration,
};
use protocol::limits::{HEARTBEAT_EVERY, HEARTBEAT_TTL};
use protocol::schema::Schema;
use protocol::{NodeName, Timestamp};
use runtime::bus::Bus;
use runtime::clock::Clock;
use tokio_util::sync::CancellationToken;

use crate::intake::Slots;
use crate::served::Served;

/// How soon an agent is announced again that was not.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

type Agents = Vec<(Arc<Served>, Arc<Slots>)>;

/// The agents of a node, as the mesh sees them.
pub(crate) struct Registry {
    bus: Bus,
    node: NodeName,
    clock: Clock,
    started_at: Timestamp,
    draining: AtomicBool,
    agents: Mutex<Agents>,
}

impl Registry {
    pub(crate) fn new(bus: Bus, node: NodeName, clock: Clock) -> Self {
        let started_at = clock.now();
        Self {
            bus,
            node,
            clock,
            started_at,
            draining: AtomicBool::new(false),
            agents: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn add(&self, served: Arc<Served>, slots: Arc<Slots>) {
        self.agents.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((served, slots));
    }

    fn agents(&self) -> Agents {
        self.agents.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Renews all keys until told to stop.
    pub(crate) async fn renew(&self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(HEARTBEAT_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            // A node may be there before the registry is: it is known as soon as it can be.
            while !self.put().await {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(AGAIN_AFTER) => {}
                }
            }
        }
    }

    /// Says that the node takes no more work.
    pub(crate) async fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.put().await;
    }

    /// Ends what agents keep running between tasks.
    pub(crate) async fn close_agents(&self) {
        for (served, _) in self.agents() {
            served.agent.close().await;
        }
    }

    /// Takes the node's agents out of the registry.
    pub(crate) async fn remove(&self) {
        for (served, _) in self.agents() {
            let key = self.key(&served);
            if let Err(error) = self.bus.remove_key(&self.bus.names().agents, &key).await {
                tracing::debug!(reason = %error, key, "agent not removed, its key will expire");
            }
        }
    }

    fn key(&self, served: &Served) -> String {
        format!("{}.{}", served.terms.skill, self.node)
    }

    /// Tells the registry about every agent; whether all of them are in it.
    async fn put(&self) -> bool {
        let mut all = true;
        for (served, slots) in self.agents() {
            let registration = self.registration(&served, &slots);
            let Ok(value) = serde_json::to_vec(&registration) else { continue };
            let (bucket, key) = (&self.bus.names().agents, self.key(&served));
            if let Err(error) = self.bus.put_for(bucket, &key, value.into(), HEARTBEAT_TTL).await {
                tracing::warn!(reason = %error, key, "agent not announced");
                all = false;
            }
        }
        all
    }

    fn registration(&self, served: &Served, slots: &Slots) -> Registration {
        // Asked anew each time: a process agent says more about itself once its program has started.
        let about = served.agent.about();
        let skill = &served.terms.skill;
        let modes = |said: &[String]| match said {
            [] => vec!["application/json".to_owned(), "text/plain".to_owned()],
            said => said.to_vec(),
        };
        let (input_modes, output_modes) = (modes(&about.input_modes), modes(&about.output_modes));
        let card = AgentCard {
            name: about.name.clone(),
            description: about.description.clone(),
            supported_interfaces: vec![AgentInterface {
                url: format!(
                    "nats:{}",
                    self.bus.subjects().task(skill, &protocol::Owner::default())
                ),
                protocol_binding: NATS_BINDING.to_owned(),
                protocol_version: "1.0".to_owned(),
                tenant: None,
            }],
            version: about.version.clone(),
            capabilities: AgentCapabilities {
                streaming: Some(true),
                ..AgentCapabilities::default()
            },
            default_input_modes: input_modes,
            default_output_modes: output_modes,
            skills: vec![AgentSkill {
                id: skill.to_string(),
                name: about.name.clone(),
                description: about.description.clone(),
                tags: about.tags.clone(),
                examples: about.examples.clone(),
                input_modes: about.input_modes.clone(),
                output_modes: about.output_modes.clone(),
                ..AgentSkill::default()
            }],
            ..AgentCard::default()
        };
        Registration {
            skill: skill.clone(),
            node: self.node.clone(),
            kind: about.kind,
            card,
            input_schema: served.input.as_ref().map(Schema::source).cloned(),
            output_schema: served.agent.output_schema(),
            on_message: served.terms.on_message,
            order: served.terms.order,
            replies: about.replies,
            cancel_grace_ms: u64::try_from(served.terms.cancel_grace.as_millis()).ok(),
            slots: u32::try_from(served.terms.concurrency).unwrap_or(u32::MAX),
            running: u32::try_from(slots.running()).unwrap_or(u32::MAX),
            draining: self.draining.load(Ordering::Relaxed),
            started_at: self.started_at,
            seen_at: self.clock.now(),
            weft_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}
