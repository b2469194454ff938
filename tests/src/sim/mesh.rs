//! The model of what is around an attempt: coordinators that say who meets a need, and results kept for later.

use std::time::Duration;

use agent_node::mesh::Mesh;
use bytes::Bytes;
use coordinator::policy::route::route;
use futures_util::future::BoxFuture;
use protocol::Skill;
use protocol::card::Registration;
use protocol::fault::{Fault, code};
use protocol::need::{Need, Resolution};
use serde_json::{Value, json};

use super::hold::Hold;
use super::sabotage::Sabotage;
use super::world::{Role, World};

/// How long an answer may take, and how often it is asked for.
const RESOLVE_LIMIT: Duration = Duration::from_secs(1);
const RESOLVE_TRIES: usize = 3;

/// What a skill's card says that it does.
pub(super) fn has_tag(world: &World, skill: &Skill, tag: &str) -> bool {
    tag == "do" || tag == "spare" && *skill == world.workload.spare
}

/// The mesh in the model.
pub(super) struct SimMesh(pub(super) Hold);

impl World {
    /// What the registry says: every node that is up serves both skills.
    fn registry(&self) -> Vec<Registration> {
        let nodes = self.processes.iter().filter(|one| one.role == Role::Node && one.up);
        let skills =
            [(&self.workload.skill, vec!["do"]), (&self.workload.spare, vec!["do", "spare"])];
        let cards = nodes.flat_map(|node| {
            skills.iter().map(move |(skill, tags)| {
                json!({
                    "skill": skill, "node": node.name, "kind": "model",
                    "card": {
                        "name": skill, "description": "", "version": "1", "capabilities": {},
                        "supportedInterfaces": [], "defaultInputModes": [], "defaultOutputModes": [],
                        "skills": [{"id": skill, "name": skill, "description": "", "tags": tags}],
                    },
                    "slots": self.workload.slots, "running": node.busy, "draining": node.draining,
                    "startedAt": self.clock.now(), "seenAt": self.clock.now(), "weftVersion": "0",
                })
            })
        });
        cards.map(|card| serde_json::from_value(card).expect("a registration")).collect()
    }

    /// A coordinator's answer, unless none is there to give it.
    fn resolve(&mut self, need: &Need) -> Option<Resolution> {
        let well = |one: &super::world::Process| {
            one.role == Role::Coordinator && one.up && one.frozen_until <= self.now
        };
        let heard = self.processes.iter().any(well);
        if !heard || self.mishap(self.faults.lost) {
            self.count("need without an answer");
            return None;
        }
        let asked = match self.sabotage {
            Some(Sabotage::Need) => Need::default(),
            Some(_) | None => need.clone(),
        };
        let mut found = route(&asked, &self.registry(), self.clock.now());
        if let Resolution::Found { skill, reason } = &mut found {
            if self.sabotage == Some(Sabotage::Reason) {
                reason.clear();
            }
            let tag = need.tags.concat();
            self.seen.resolved.push((tag, skill.clone(), reason.clone()));
        }
        self.count(match &found {
            Resolution::Found { .. } => "need met",
            Resolution::Nobody { .. } => "need that nobody meets",
        });
        Some(found)
    }

    fn kept(&self, key: &str) -> Option<Bytes> {
        let found = match self.sabotage {
            Some(Sabotage::Mixup) => {
                self.results.iter().find(|(other, _)| *other != key).map(|(_, value)| value)
            }
            Some(_) | None => self.results.get(key),
        }?;
        if self.sabotage != Some(Sabotage::Stale) {
            return Some(found.clone());
        }
        let mut kept: Value = serde_json::from_slice(found).ok()?;
        *kept.get_mut("at")? = json!(self.clock.now());
        Some(kept.to_string().into())
    }
}

impl Mesh for SimMesh {
    fn resolve<'a>(&'a self, need: &'a Need) -> BoxFuture<'a, Result<Resolution, Fault>> {
        Box::pin(async move {
            for _ in 0..RESOLVE_TRIES {
                self.0.turn().await;
                if let Some(found) = self.0.with(|world| world.resolve(need)) {
                    return Ok(found);
                }
                self.0.sleep(RESOLVE_LIMIT).await;
            }
            Err(Fault::new(code::BUS_UNAVAILABLE, "no coordinator answers"))
        })
    }

    fn is_served<'a>(&'a self, _: &'a Skill) -> BoxFuture<'a, Result<bool, Fault>> {
        Box::pin(std::future::ready(Ok(true)))
    }

    fn kept<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, Fault>> {
        Box::pin(async move {
            self.0.turn().await;
            Ok(self.0.with(|world| world.kept(key)))
        })
    }

    fn keep(&self, key: String, value: Bytes) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            self.0.turn().await;
            self.0.with(|world| {
                if !world.mishap(world.faults.lost) {
                    world.results.insert(key, value);
                }
            });
            Ok(())
        })
    }
}
