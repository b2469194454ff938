//! What an attempt may ask of the mesh around it: who serves what, and values kept between tasks.
//!
//! One trait with two members: the bus, and a mesh in memory for agents' own tests. Nothing here decides anything about a
//! task; what an attempt makes of an answer is written into its log.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use futures_util::future::BoxFuture;
use protocol::Skill;
use protocol::fault::{Fault, code};
use protocol::header::Headers;
use protocol::need::{Need, Resolution};
use protocol::topology::Names;
use runtime::bus::{Bus, Outgoing, PullError};
use tokio::time::Instant;

/// The mesh around an attempt.
pub trait Mesh: Send + Sync + 'static {
    /// Which skill meets a need.
    fn resolve<'a>(&'a self, need: &'a Need) -> BoxFuture<'a, Result<Resolution, Fault>>;

    /// Whether there is, or has been, anybody to do work of a skill.
    fn is_served<'a>(&'a self, skill: &'a Skill) -> BoxFuture<'a, Result<bool, Fault>>;

    /// The value kept under a key, if there is one.
    fn kept<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, Fault>>;

    /// Keeps a value under a key, in place of the one before.
    fn keep(&self, key: String, value: Bytes) -> BoxFuture<'_, Result<(), Fault>>;
}

/// How long a coordinator may take to say who meets a need.
const RESOLVE_LIMIT: Duration = Duration::from_secs(1);
/// How often they are asked.
const RESOLVE_TRIES: u32 = 3;
/// For how long a skill that was served counts as served without being looked up.
const SERVED_FOR: Duration = Duration::from_secs(60);

/// The mesh on the bus.
pub struct BusMesh {
    bus: Bus,
    served: DashMap<Skill, Instant>,
}

impl BusMesh {
    /// The mesh that a connection belongs to.
    #[must_use]
    pub fn new(bus: Bus) -> Self {
        Self { bus, served: DashMap::new() }
    }

    async fn look_up(&self, skill: &Skill) -> Result<bool, Fault> {
        let consumer = Names::skill_consumer(skill);
        match self.bus.consumer(&self.bus.names().log, &consumer).await {
            Ok(_) => return Ok(true),
            Err(PullError::NoConsumer { .. }) => {}
            Err(error) => return Err(unavailable(&error)),
        }
        let announced = self
            .bus
            .entries(&self.bus.names().agents)
            .await
            .map_err(|error| unavailable(&error))?;
        let prefix = format!("{skill}.");
        Ok(announced.iter().any(|(key, _)| key.starts_with(&prefix)))
    }
}

fn unavailable(error: &dyn std::error::Error) -> Fault {
    Fault::new(code::BUS_UNAVAILABLE, error.to_string())
}

impl Mesh for BusMesh {
    fn resolve<'a>(&'a self, need: &'a Need) -> BoxFuture<'a, Result<Resolution, Fault>> {
        Box::pin(async move {
            let body = serde_json::to_vec(need).map_err(|error| unavailable(&error))?;
            let subject = self.bus.subjects().resolve();
            let body = Bytes::from(body);
            let mut tried = 1;
            loop {
                let (subject, body) = (subject.clone(), body.clone());
                match self.bus.ask(subject, &Headers::new(), body, RESOLVE_LIMIT).await {
                    Ok(answer) => return protocol::codec::json(&answer.payload),
                    // Whoever had the question may have been killed with it.
                    Err(_) if tried < RESOLVE_TRIES => tried += 1,
                    Err(error) => {
                        let hint = "a coordinator has to run to resolve a need";
                        return Err(unavailable(&error).hint(hint));
                    }
                }
            }
        })
    }

    fn is_served<'a>(&'a self, skill: &'a Skill) -> BoxFuture<'a, Result<bool, Fault>> {
        Box::pin(async move {
            let fresh = |at: &Instant| at.elapsed() < SERVED_FOR;
            if self.served.get(skill).is_some_and(|at| fresh(&at)) {
                return Ok(true);
            }
            let is_served = self.look_up(skill).await?;
            if is_served {
                self.served.insert(skill.clone(), Instant::now());
            }
            Ok(is_served)
        })
    }

    fn kept<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, Fault>> {
        Box::pin(async move {
            let bucket = &self.bus.names().state;
            let found = self
                .bus
                .last(&format!("KV_{bucket}"), &format!("$KV.{bucket}.{key}"))
                .await
                .map_err(|error| unavailable(&error))?;
            Ok(found.map(|stored| stored.payload).filter(|value| !value.is_empty()))
        })
    }

    fn keep(&self, key: String, value: Bytes) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let subject = format!("$KV.{}.{key}", self.bus.names().state);
            let stored = self.bus.store(Outgoing::new(subject, Headers::new(), value)).await;
            stored.map(drop).map_err(|error| unavailable(&error))
        })
    }
}

/// A mesh in memory. What is not said about it is not known: every skill is served, no need is met.
#[derive(Debug, Default)]
pub struct MemoryMesh {
    state: Mutex<MemoryState>,
}

#[derive(Debug, Default)]
struct MemoryState {
    unserved: HashSet<Skill>,
    resolutions: Vec<(Need, Skill, String)>,
    kept: HashMap<String, Bytes>,
}

impl MemoryMesh {
    fn with<T>(&self, act: impl FnOnce(&mut MemoryState) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Lets nobody serve a skill.
    pub fn without(&self, skill: Skill) {
        self.with(|state| state.unserved.insert(skill));
    }

    /// Lets a skill meet a need.
    pub fn resolves(&self, need: Need, skill: Skill, reason: &str) {
        self.with(|state| state.resolutions.push((need, skill, reason.to_owned())));
    }
}

impl Mesh for MemoryMesh {
    fn resolve<'a>(&'a self, need: &'a Need) -> BoxFuture<'a, Result<Resolution, Fault>> {
        let found = self.with(|state| {
            state.resolutions.iter().find(|(known, _, _)| known.tags == need.tags).cloned()
        });
        let nobody = || Resolution::Nobody {
            fault: Fault::new(code::NOBODY_SERVES, format!("nobody meets the need {need:?}")),
        };
        let answer =
            found.map_or_else(nobody, |(_, skill, reason)| Resolution::Found { skill, reason });
        Box::pin(std::future::ready(Ok(answer)))
    }

    fn is_served<'a>(&'a self, skill: &'a Skill) -> BoxFuture<'a, Result<bool, Fault>> {
        Box::pin(std::future::ready(Ok(!self.with(|state| state.unserved.contains(skill)))))
    }

    fn kept<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, Fault>> {
        Box::pin(std::future::ready(Ok(self.with(|state| state.kept.get(key).cloned()))))
    }

    fn keep(&self, key: String, value: Bytes) -> BoxFuture<'_, Result<(), Fault>> {
        self.with(|state| state.kept.insert(key, value));
        Box::pin(std::future::ready(Ok(())))
    }
}
