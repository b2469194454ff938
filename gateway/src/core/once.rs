//! What a message that is sent again is recognised by: decided once for each message, for everything that depends on it.

use protocol::id::DedupKey;
use protocol::message::Message;
use protocol::submission::input_hash;
use protocol::{Owner, TaskId};

use crate::a2a::error::Error;
use crate::cards::extensions::IDEMPOTENT_SEND;
use crate::core::call::Call;

/// Characters of a webhook's id that is made of a message's.
const WEBHOOK_CHARS: usize = 32;

/// A message whose id is a key: the same message again does nothing again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Once(String);

impl Once {
    /// `None` for a message that may be said twice: ids repeat in real clients, so that only the extension makes them keys.
    pub(super) fn of(call: &Call, message: &Message) -> Option<Self> {
        let named = message.extensions.iter().any(|one| one == IDEMPOTENT_SEND);
        (named || call.speaks(IDEMPOTENT_SEND)).then(|| Self(message.message_id.clone()))
    }

    /// The key of the task that the message begins.
    ///
    /// # Errors
    /// When the message's id can be none.
    pub(super) fn key(&self) -> Result<DedupKey, Error> {
        DedupKey::parse(&self.0).map_err(|e| Error::field("message.messageId", e.to_string()))
    }

    /// The name under which the stream stores the message once, where it is said to a task.
    pub(super) fn name(&self, owner: &Owner, task: &TaskId) -> String {
        let place = format!("{owner}.{task}.{}", self.0);
        format!("said-{}", input_hash(None, place.as_bytes()))
    }

    /// The id of the webhook that the message brings, where the client has chosen none.
    pub(super) fn webhook(&self) -> String {
        let hash = input_hash(None, self.0.as_bytes());
        format!("m-{}", hash.get(..WEBHOOK_CHARS).unwrap_or_default())
    }
}
