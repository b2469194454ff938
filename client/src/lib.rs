//! What submitters and operators do: submit, wait, read, list, cancel, and look after dead letters.
//!
//! Everything here goes over the bus alone and needs no coordinator but where it says so. Doors (HTTP, the
//! command line, `weft.call`) are thin layers over this crate.

mod approvals;
mod audit;
mod cancel;
mod dead;
mod list;
mod pages;
mod query;
mod read;
mod results;
mod say;
mod story;
mod submit;
mod tree;
mod watch;

use runtime::bus::{Bus, KvError};

pub use approvals::{Approvals, Cast, Choice, DecideError, Outcome, Pending, word};
pub use audit::{AuditPage, AuditQuery};
pub use cancel::CancelError;
pub use dead::{DeadError, DeadLetterEntry, DeadLetters, Redrive, UnreadableLetter};
pub use list::{Fetch, ListQuery, Listing, Summary};
pub use pages::EntryPage;
pub use query::QueryError;
pub use read::TaskError;
pub use results::{Results, WaitError, read_event};
pub use say::SayError;
pub use story::Story;
pub use submit::{Receipt, Submission, SubmitError};
pub use tree::TreeNode;
pub use watch::{Watch, WatchError};

use protocol::card::Registration;
use protocol::gateway::GatewayRegistration;
use serde::de::DeserializeOwned;

/// A client of the mesh. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    bus: Bus,
}

impl Client {
    /// A client over a connection.
    #[must_use]
    pub fn new(bus: Bus) -> Self {
        Self { bus }
    }

    /// The connection.
    #[must_use]
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// The agents that are in the registry now, by skill and node.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn agents(&self) -> Result<Vec<Registration>, KvError> {
        let mut found: Vec<Registration> = self.registered(&self.bus.names().agents).await?;
        found.sort_by(|a, b| (&a.skill, &a.node).cmp(&(&b.skill, &b.node)));
        Ok(found)
    }

    /// The gateways that are in their registry now, by name.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn gateways(&self) -> Result<Vec<GatewayRegistration>, KvError> {
        let mut found: Vec<GatewayRegistration> =
            self.registered(&self.bus.names().gateways).await?;
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }
    async fn registered<T: DeserializeOwned>(&self, bucket: &str) -> Result<Vec<T>, KvError> {
        let mut found = Vec::new();
        for (key, value) in self.bus.entries(bucket).await? {
            match serde_json::from_slice(&value) {
                Ok(registration) => found.push(registration),
                Err(error) => {
                    tracing::warn!(bucket, key, reason = %error, "unreadable registration")
                }
            }
        }
        Ok(found)
    }
}
