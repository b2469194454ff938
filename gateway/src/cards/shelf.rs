//! Public cards as they are sent: made once when the registry says something new, not for each request.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use protocol::card::{AgentCard, Registration};
use sha2::{Digest as _, Sha256};

use super::base::Base;
use crate::limits::CARDS_KEPT_MAX;

/// A card, ready to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// The card.
    pub card: AgentCard,
    /// It in JSON.
    pub bytes: Bytes,
    /// A strong validator over those bytes, in quotes.
    pub etag: String,
}

impl Made {
    /// Writes a card.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub(super) fn of(card: AgentCard) -> Result<Self, serde_json::Error> {
        let bytes = serde_json::to_vec(&card)?;
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(Sha256::digest(&bytes)));
        Ok(Self { card, bytes: bytes.into(), etag })
    }
}

type Key = (Option<String>, Base);

/// Cards that were made from what the registry says.
#[derive(Debug, Default)]
pub(super) struct Shelf(Mutex<Content>);

#[derive(Debug, Default)]
struct Content {
    agents: Option<Arc<Vec<Registration>>>,
    print: u64,
    made: HashMap<Key, Arc<Made>>,
}

impl Shelf {
    /// Takes note of what the registry says; cards that were made from something else are thrown away.
    pub(super) fn see(&self, agents: &Arc<Vec<Registration>>) {
        let mut content = self.content();
        if content.agents.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, agents)) {
            return;
        }
        let print = print(agents);
        if print != content.print {
            content.made.clear();
            content.print = print;
        }
        content.agents = Some(Arc::clone(agents));
    }

    /// What the registry said last, if it ever did.
    pub(super) fn seen(&self) -> Option<Arc<Vec<Registration>>> {
        self.content().agents.clone()
    }

    /// The card that was made for this.
    pub(super) fn find(&self, name: Option<&str>, base: &Base) -> Option<Arc<Made>> {
        let key = (name.map(str::to_owned), base.clone());
        self.content().made.get(&key).cloned()
    }

    /// Keeps a card, unless the registry has said something else meanwhile.
    pub(super) fn keep(
        &self,
        agents: &Arc<Vec<Registration>>,
        name: Option<&str>,
        base: &Base,
        made: Arc<Made>,
    ) {
        let mut content = self.content();
        if content.print != print(agents) {
            return;
        }
        if content.made.len() >= CARDS_KEPT_MAX {
            content.made.clear();
        }
        content.made.insert((name.map(str::to_owned), base.clone()), made);
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of the registry can be seen on a card: not who is how busy, nor who was seen when.
fn print(agents: &[Registration]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for agent in agents {
        (&agent.skill, &agent.node, agent.draining, agent.started_at).hash(&mut hasher);
        serde_json::to_vec(&agent.card).unwrap_or_default().hash(&mut hasher);
    }
    hasher.finish()
}
