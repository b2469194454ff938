//! Who serves what: the registry as it was a moment ago, and the skill that a request is for.
//!
//! The registry is a scan of a bucket, too dear for each request: requests use what was read within the last second or
//! so, and only one for a skill that was not there waits for a new look.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::Client;
use protocol::Skill;
use protocol::card::Registration;
use protocol::message::{Message, Part};
use runtime::supervisor::{Kind, Supervisor};
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::a2a::error::Error;
use crate::core::Core;
use crate::core::call::{Call, Operation};
use crate::limits::{AGENTS_AGE_MAX, AGENTS_MISS_AGE_MAX, AGENTS_STALE_MAX};

/// The key in the metadata of a request or a message that names the skill.
pub const SKILL: &str = "weft/skill";

/// The agents of the mesh. Cheap to clone.
#[derive(Clone)]
pub struct Agents(Arc<Inner>);

struct Inner {
    client: Client,
    jobs: Supervisor,
    last: Mutex<Option<(Instant, Arc<Vec<Registration>>)>>,
    reading: tokio::sync::Mutex<()>,
}

impl Agents {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(client: Client, jobs: Supervisor) -> Self {
        let (last, reading) = (Mutex::default(), tokio::sync::Mutex::default());
        Self(Arc::new(Inner { client, jobs, last, reading }))
    }

    /// The agents as they were a moment ago: about a second under load, ten at most.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn now(&self) -> Result<Arc<Vec<Registration>>, Error> {
        let Some((age, agents)) = self.last() else { return self.within(AGENTS_AGE_MAX).await };
        if age > AGENTS_STALE_MAX {
            return self.within(AGENTS_AGE_MAX).await;
        }
        if age > AGENTS_AGE_MAX && self.0.reading.try_lock().is_ok() {
            let again = self.clone();
            self.0.jobs.spawn("registry", Kind::Work, async move {
                if let Err(error) = again.within(AGENTS_AGE_MAX).await {
                    tracing::warn!(reason = %error, "registry not read");
                }
            });
        }
        Ok(agents)
    }

    /// The agents as they were at most so long ago.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn within(&self, age_max: Duration) -> Result<Arc<Vec<Registration>>, Error> {
        let _one_at_a_time = self.0.reading.lock().await;
        if let Some((_, agents)) = self.last().filter(|(age, _)| *age <= age_max) {
            return Ok(agents);
        }
        let read = self.0.client.agents().await;
        let agents = Arc::new(read.map_err(|error| Error::Unavailable(error.to_string()))?);
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), Arc::clone(&agents)));
        Ok(agents)
    }

    fn last(&self) -> Option<(Duration, Arc<Vec<Registration>>)> {
        let last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().map(|(at, agents)| (at.elapsed(), Arc::clone(agents)))
    }
}

/// What of a request says which skill it is for.
#[derive(Debug, Clone, Copy, Default)]
struct Wanted<'a> {
    /// A skill, or the name on a card.
    agent: Option<&'a str>,
    /// A skill by name.
    skill: Option<&'a str>,
    /// What the settings say.
    default: Option<&'a Skill>,
}

impl Core {
    /// What can be said about a request before its body is read: whether the caller may do this at all, and whether they
    /// may send anything to the agent that the address names.
    ///
    /// # Errors
    /// With what is missing.
    pub async fn foresee(
        &self,
        call: &Call,
        operation: Operation,
        agent: Option<&str>,
    ) -> Result<(), Error> {
        call.may(operation, None)?;
        let (Some(name), Some(_)) = (agent, &call.caller.skills) else { return Ok(()) };
        let agents = self.agents.now().await?;
        let skills = skills_of(&agents, name);
        match skills.first() {
            Some(first) if !skills.iter().any(|one| call.allows(operation, Some(one))) => {
                call.may(operation, Some(first))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The skill that a message is for, and the agents of the mesh.
    pub(super) async fn skill(
        &self,
        call: &Call,
        message: &Message,
        metadata: Option<&Map<String, Value>>,
    ) -> Result<(Skill, Arc<Vec<Registration>>), Error> {
        call.may(Operation::Send, None)?;
        let named = |facts: Option<&'_ Map<String, Value>>| {
            facts.and_then(|facts| facts.get(SKILL)).map(|value| {
                value
                    .as_str()
                    .map(str::to_owned)
                    .ok_or_else(|| wrong("a skill is named by a string"))
            })
        };
        let skill = named(metadata).or_else(|| named(message.metadata.as_ref())).transpose()?;
        let default = self.settings.default_skill.as_ref();
        let wanted = Wanted { agent: call.agent(), skill: skill.as_deref(), default };
        let agents = self.agents.now().await?;
        let (skill, agents) = match choose(&agents, call, wanted) {
            Ok(skill) => (skill, agents),
            Err(_) => {
                let agents = self.agents.within(AGENTS_MISS_AGE_MAX).await?;
                (choose(&agents, call, wanted)?, agents)
            }
        };
        call.may(Operation::Send, Some(&skill))?;
        Ok((skill, agents))
    }
}

fn wrong(description: impl Into<String>) -> Error {
    Error::field(format!("metadata[{SKILL:?}]"), description)
}

/// The skills that an agent's name stands for: the skill itself, or all with its name on the card.
#[must_use]
pub fn skills_of<'a>(agents: &'a [Registration], name: &str) -> BTreeSet<&'a Skill> {
    let exact: BTreeSet<_> =
        agents.iter().map(|agent| &agent.skill).filter(|skill| skill.as_str() == name).collect();
    if !exact.is_empty() {
        return exact;
    }
    agents.iter().filter(|agent| agent.card.name == name).map(|agent| &agent.skill).collect()
}

fn choose(agents: &[Registration], call: &Call, wanted: Wanted<'_>) -> Result<Skill, Error> {
    let allowed = |skills: &BTreeSet<&Skill>| -> Vec<String> {
        let may = skills.iter().filter(|skill| call.allows(Operation::Send, Some(skill)));
        may.map(ToString::to_string).collect()
    };
    let list = |skills: &BTreeSet<&Skill>| {
        let names = allowed(skills);
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let all: BTreeSet<&Skill> = agents.iter().map(|agent| &agent.skill).collect();
    let served = match wanted.agent {
        None => all,
        Some(name) => {
            let of_agent = skills_of(agents, name);
            if of_agent.is_empty() {
                return Err(Error::nobody_serves(name, allowed(&all)));
            }
            of_agent
        }
    };
    let default = wanted.default.map(Skill::as_str);
    let by_default = || default.filter(|name| served.iter().any(|skill| skill.as_str() == *name));
    if let Some(name) = wanted.skill {
        let found = served.iter().find(|skill| skill.as_str() == name);
        return found.map(|skill| (*skill).clone()).ok_or_else(|| {
            wrong(format!("nobody serves {name:?}; the skills are {}", list(&served)))
        });
    }
    if let Some(skill) = by_default().and_then(|name| Skill::parse(name).ok()) {
        return Ok(skill);
    }
    let mut usable = served.iter().filter(|skill| call.allows(Operation::Send, Some(skill)));
    match (usable.next(), usable.next(), wanted.agent) {
        (Some(only), None, _) => Ok((*only).clone()),
        // One that the caller may not use: the answer is the same as for naming it.
        (None, None, Some(_)) if served.len() == 1 => {
            served.first().map(|skill| (*skill).clone()).ok_or_else(|| wrong("no skill"))
        }
        _ => Err(wrong(format!(
            "say which skill the message is for, here or as /agents/<name>; the skills are {}",
            list(&served)
        ))),
    }
}

/// Checks the media types that parts state against what the agents of a skill read.
pub(super) fn check_media_types(
    agents: &[Registration],
    skill: &Skill,
    parts: &[Part],
) -> Result<(), Error> {
    let mut supported = BTreeSet::new();
    for agent in agents.iter().filter(|agent| agent.skill == *skill) {
        let own = agent.card.skills.iter().find(|one| one.id == skill.as_str());
        let modes = own.map(|one| &one.input_modes).filter(|modes| !modes.is_empty());
        supported.extend(modes.unwrap_or(&agent.card.default_input_modes));
    }
    let stated = parts.iter().filter_map(|part| part.media_type.as_deref());
    for media_type in stated.filter(|one| !one.is_empty()) {
        if !supported.is_empty() && !supported.iter().any(|mode| covers(mode, media_type)) {
            return Err(Error::ContentTypeNotSupported {
                media_type: media_type.to_owned(),
                agent: skill.to_string(),
                supported: supported.into_iter().cloned().collect(),
            });
        }
    }
    Ok(())
}

/// Whether a mode, possibly with a wildcard, covers a media type; parameters do not count.
fn covers(mode: &str, media_type: &str) -> bool {
    let essence =
        |text: &str| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (mode, media_type) = (essence(mode), essence(media_type));
    match mode.strip_suffix("/*") {
        Some("*") => true,
        Some(kind) => media_type.split('/').next() == Some(kind),
        None => mode == "*" || mode == media_type,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_cover_media_types() {
        for (mode, media_type, expected) in [
            ("text/plain", "text/plain", true),
            ("text/plain", "Text/Plain; charset=utf-8", true),
            ("text/*", "text/markdown", true),
            ("text/*", "image/png", false),
            ("*/*", "image/png", true),
            ("*", "image/png", true),
            ("application/json", "text/plain", false),
        ] {
            assert_eq!(covers(mode, media_type), expected, "{mode} {media_type}");
        }
    }
}
