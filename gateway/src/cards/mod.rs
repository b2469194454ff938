//! Agent cards: one for the mesh, one for each agent and skill, made from the registry.

pub mod base;
mod canonical;
mod compose;
pub mod extensions;
mod security;
mod shelf;
mod sign;

use std::net::SocketAddr;
use std::sync::Arc;

use protocol::Skill;
use protocol::card::{AgentCard, Registration};
use runtime::config::GatewaySection;
use serde_json::{Map, Value, json};

use self::base::Base;
use self::compose::{Wanted, compose, speakers};
pub use self::shelf::Made;
use self::shelf::Shelf;
pub use self::sign::{SignKeyError, Signer};
use crate::a2a::error::Error;
use crate::a2a::request::ExtendedCardRequest;
use crate::core::Core;
use crate::core::call::{Call, Operation};

/// Where the doors show the keys that cards are signed with.
pub const KEY_SET_PATH: &str = "/.well-known/jwks.json";

/// What makes cards.
#[derive(Debug)]
pub struct Cards {
    listen: String,
    signer: Option<Signer>,
    shelf: Shelf,
}

impl Cards {
    /// For doors at this address.
    ///
    /// # Errors
    /// When the key to sign with cannot be used.
    pub fn open(settings: &GatewaySection, listen: SocketAddr) -> Result<Self, SignKeyError> {
        let listen = if listen.ip().is_unspecified() {
            format!("127.0.0.1:{}", listen.port())
        } else {
            listen.to_string()
        };
        let base = Base::of_settings(settings, &listen);
        let own_jku = format!("{}{KEY_SET_PATH}", base.as_str());
        let sign = settings.card.sign.as_ref();
        let signer = sign.map(|section| Signer::open(section, own_jku)).transpose()?;
        Ok(Self { listen, signer, shelf: Shelf::default() })
    }

    /// Where the doors are, for cards that are asked for without an address.
    #[must_use]
    pub fn listen(&self) -> &str {
        &self.listen
    }

    /// The public keys that cards are signed with, if they are.
    #[must_use]
    pub fn key_set(&self) -> Option<Value> {
        self.signer.as_ref().map(Signer::key_set)
    }

    fn finish(&self, mut card: AgentCard) -> AgentCard {
        if let Some(signer) = &self.signer {
            signer.sign(&mut card);
        }
        card
    }
}

impl Core {
    /// The public card of the mesh, or of the agent or skill `name`.
    ///
    /// # Errors
    /// When nobody serves it, or the registry has never answered.
    pub async fn card(&self, name: Option<&str>, base: &Base) -> Result<Arc<Made>, Error> {
        let shelf = &self.cards.shelf;
        // A registry that does not answer for a while is no reason to have no card.
        let agents = match (self.agents.now().await, shelf.seen()) {
            (Ok(agents), _) | (Err(_), Some(agents)) => agents,
            (Err(error), None) => return Err(error),
        };
        shelf.see(&agents);
        if let Some(made) = shelf.find(name, base) {
            return Ok(made);
        }
        let card = self.compose(&agents, name, base, |_| true).ok_or_else(|| nobody(name))?;
        let made = Made::of(self.cards.finish(card));
        let made = Arc::new(made.map_err(|error| Error::Internal(error.to_string()))?);
        shelf.keep(&agents, name, base, Arc::clone(&made));
        Ok(made)
    }

    /// `GetExtendedAgentCard`: the skills that the caller may use, with their JSON Schemas, and for callers who may look at
    /// tasks with their nodes and load.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn extended_card(
        &self,
        call: &Call,
        _request: ExtendedCardRequest,
    ) -> Result<AgentCard, Error> {
        if !self.settings.card.extended {
            return Err(Error::UnsupportedOperation(
                "this gateway has no extended agent card".to_owned(),
            ));
        }
        call.may(Operation::Card, None)?;
        let agents = self.agents.now().await?;
        let may = |skill: &Skill| call.allows(Operation::Card, Some(skill));
        let base = match &call.base {
            Some(base) => base.clone(),
            None => Base::of_settings(&self.settings, self.cards.listen()),
        };
        let name = call.agent();
        let mut card = self.compose(&agents, name, &base, may).ok_or_else(|| nobody(name))?;
        let with_load = call.allows(Operation::Read, None);
        let facts: Map<String, Value> = card
            .skills
            .iter()
            .map(|skill| (skill.id.clone(), facts(&agents, &skill.id, with_load)))
            .collect();
        card.capabilities.extensions.push(extensions::skills(facts));
        Ok(self.cards.finish(card))
    }

    /// A card without signatures; `None` when there is nobody with that name.
    fn compose(
        &self,
        agents: &[Registration],
        name: Option<&str>,
        base: &Base,
        may: impl Fn(&Skill) -> bool,
    ) -> Option<AgentCard> {
        let speakers = speakers(agents, name, may);
        let prefix = self.client.bus().subjects().prefix();
        let wanted = Wanted { name, base, prefix };
        (name.is_none() || !speakers.is_empty()).then(|| compose(&speakers, &self.settings, wanted))
    }
}

fn nobody(name: Option<&str>) -> Error {
    Error::MethodNotFound(format!("there is no agent or skill {:?}", name.unwrap_or_default()))
}

/// What is known about a skill beyond its card.
fn facts(agents: &[Registration], skill: &str, with_load: bool) -> Value {
    let of_skill = || agents.iter().filter(|agent| agent.skill.as_str() == skill);
    let mut facts = Map::new();
    // The one that speaks for the skill on the card speaks for it here.
    if let Some(speaker) = speakers(agents, Some(skill), |_| true).first() {
        for (key, schema) in
            [("inputSchema", &speaker.input_schema), ("outputSchema", &speaker.output_schema)]
        {
            if let Some(schema) = schema {
                facts.insert(key.to_owned(), schema.clone());
            }
        }
        facts.insert("onMessage".to_owned(), json!(speaker.on_message));
        facts.insert("order".to_owned(), json!(speaker.order));
    }
    if with_load {
        let node = |agent: &Registration| {
            json!({
                "node": agent.node,
                "slots": agent.slots,
                "running": agent.running,
                "draining": agent.draining,
            })
        };
        facts.insert("nodes".to_owned(), of_skill().map(node).collect());
    }
    Value::Object(facts)
}
