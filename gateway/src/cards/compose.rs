//! A card from what the registry and the settings say: pure, so that the same registry always makes the same card.
//!
//! Nodes that run different releases of an agent say different things about it. The one that takes work and was started
//! last speaks for its skill; a skill stays on the card as long as any node is in the registry with it.

use std::collections::BTreeMap;

use protocol::Skill;
use protocol::card::{
    AgentCapabilities, AgentCard, AgentInterface, AgentProvider, AgentSkill, NATS_BINDING,
    Registration,
};
use runtime::config::GatewaySection;

use super::base::Base;
use super::{extensions, security};
use crate::a2a::VERSION;

/// Media types where nobody says any.
const MODES_DEFAULT: [&str; 2] = ["application/json", "text/plain"];

/// What a card is made for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// A skill, or the name on an agent's card; the whole mesh without one.
    pub(super) name: Option<&'a str>,
    /// Where clients reach the doors.
    pub(super) base: &'a Base,
    /// The first token of the mesh's subjects.
    pub(super) prefix: &'a str,
}

/// Who speaks for each skill that `wanted` means, among those that `may` be seen; empty when there is no such agent.
#[must_use]
pub(super) fn speakers<'a>(
    agents: &'a [Registration],
    name: Option<&str>,
    may: impl Fn(&Skill) -> bool,
) -> Vec<&'a Registration> {
    let mut best: BTreeMap<&Skill, &Registration> = BTreeMap::new();
    for agent in agents.iter().filter(|agent| may(&agent.skill)) {
        let rank = |one: &Registration| (!one.draining, one.started_at, one.node.clone());
        let speaker = best.entry(&agent.skill).or_insert(agent);
        if rank(agent) > rank(speaker) {
            *speaker = agent;
        }
    }
    match name {
        None => best.into_values().collect(),
        Some(name) => {
            let skill = best.iter().find(|(skill, _)| skill.as_str() == name);
            match skill {
                Some((_, agent)) => vec![*agent],
                None => best.into_values().filter(|agent| agent.card.name == name).collect(),
            }
        }
    }
}

/// The card of those who speak for it.
#[must_use]
pub(super) fn compose(
    speakers: &[&Registration],
    settings: &GatewaySection,
    wanted: Wanted<'_>,
) -> AgentCard {
    let mut card = AgentCard {
        supported_interfaces: interfaces(speakers, wanted),
        capabilities: AgentCapabilities {
            streaming: Some(true),
            push_notifications: Some(true),
            extensions: extensions::declared(),
            extended_agent_card: Some(settings.card.extended),
        },
        skills: speakers.iter().map(|agent| skill(agent)).collect(),
        ..titles(speakers, settings, wanted.name)
    };
    security::declare(settings, &mut card);
    card
}

/// What people see first, and the media types.
fn titles(speakers: &[&Registration], settings: &GatewaySection, name: Option<&str>) -> AgentCard {
    let own = &settings.card;
    let provider = own.provider.as_ref().map(|(organization, url)| AgentProvider {
        url: url.clone(),
        organization: organization.clone(),
    });
    let mesh = || {
        AgentCard {
        name: own.name.clone().unwrap_or_else(|| "Weft mesh".to_owned()),
        description: own.description.clone().unwrap_or_else(|| {
            "A mesh of agents. Each skill is an agent of its own; say which one a message is for.".to_owned()
        }),
        provider: provider.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        documentation_url: own.documentation_url.clone(),
        default_input_modes: MODES_DEFAULT.map(str::to_owned).to_vec(),
        default_output_modes: MODES_DEFAULT.map(str::to_owned).to_vec(),
        icon_url: own.icon_url.clone(),
        ..AgentCard::default()
    }
    };
    let newest = speakers.iter().max_by_key(|agent| agent.started_at);
    let (Some(_), Some(agent)) = (name, newest) else { return mesh() };
    let said = &agent.card;
    AgentCard {
        name: filled(&said.name, agent.skill.as_str()),
        description: filled(&said.description, &format!("The skill {}.", agent.skill)),
        provider: said.provider.clone().or(provider),
        version: filled(&said.version, &agent.weft_version),
        documentation_url: said.documentation_url.clone(),
        default_input_modes: modes(&said.default_input_modes, &[]),
        default_output_modes: modes(&said.default_output_modes, &[]),
        icon_url: said.icon_url.clone(),
        ..AgentCard::default()
    }
}

/// Where the agent is reached, best first.
fn interfaces(speakers: &[&Registration], wanted: Wanted<'_>) -> Vec<AgentInterface> {
    let base = wanted.base.as_str();
    let url = match wanted.name {
        None => base.to_owned(),
        Some(name) => format!("{base}/agents/{}", path_segment(name)),
    };
    let interface = |binding: &str, url: String| AgentInterface {
        url,
        protocol_binding: binding.to_owned(),
        protocol_version: VERSION.to_owned(),
        tenant: None,
    };
    let grpc = AgentInterface {
        tenant: wanted.name.map(|name| format!("~{name}")),
        ..interface("GRPC", wanted.base.grpc_target())
    };
    let mut all = vec![interface("JSONRPC", url.clone()), interface("HTTP+JSON", url), grpc];
    match wanted.name {
        None => all.push(interface(NATS_BINDING, format!("nats:{}.task.*", wanted.prefix))),
        Some(_) => all.extend(speakers.iter().map(|agent| {
            interface(NATS_BINDING, format!("nats:{}.task.{}", wanted.prefix, agent.skill))
        })),
    }
    all
}

/// One thing that can be done. Its required fields are never empty, so that all readings of a signed card agree.
fn skill(agent: &Registration) -> AgentSkill {
    let id = agent.skill.as_str();
    let own = agent.card.skills.iter().find(|one| one.id == id);
    let said = own.cloned().unwrap_or_default();
    let tags: Vec<String> = said.tags.into_iter().filter(|tag| !tag.is_empty()).collect();
    AgentSkill {
        id: id.to_owned(),
        name: filled(&said.name, id),
        description: filled(&said.description, &format!("The skill {id}.")),
        tags: if tags.is_empty() { vec![id.to_owned()] } else { tags },
        examples: said.examples.into_iter().filter(|text| !text.is_empty()).collect(),
        input_modes: modes(&said.input_modes, &agent.card.default_input_modes),
        output_modes: modes(&said.output_modes, &agent.card.default_output_modes),
        security_requirements: said.security_requirements,
    }
}

fn filled(text: &str, otherwise: &str) -> String {
    if text.trim().is_empty() { otherwise.to_owned() } else { text.to_owned() }
}

/// The first of the lists that says anything.
fn modes(own: &[String], general: &[String]) -> Vec<String> {
    let said = |list: &[String]| -> Vec<String> {
        list.iter().filter(|mode| !mode.is_empty()).cloned().collect()
    };
    [said(own), said(general), MODES_DEFAULT.map(str::to_owned).to_vec()]
        .into_iter()
        .find(|list| !list.is_empty())
        .unwrap_or_default()
}

/// A name as one segment of a path.
fn path_segment(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    segment
}

#[cfg(test)]
#[path = "compose_tests.rs"]
mod tests;
