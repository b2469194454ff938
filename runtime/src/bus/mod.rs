//! The bus: everything that Weft asks of NATS, in Weft's own words.
//!
//! The files of this folder are the only ones that name the client library. Above them there are subjects,
//! fences, deliveries and stored messages; below them a connection that breaks and comes back.

mod batch;
mod connect;
mod delivery;
mod diagnose;
mod kv;
mod leader;
mod message;
mod objects;
mod outbox;
mod provision;
mod pull;
mod read;
mod store;
mod system;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use protocol::subject::Subjects;
use protocol::topology::Names;

pub use connect::{BusSettings, ConnectError, Credentials, ServerFacts, TlsFiles};
pub use delivery::{Delivery, Position};
pub use diagnose::{AccountFill, Diagnosis, SkillQueue, StreamFill};
pub use kv::KvError;
pub use message::{AskError, Glimpse, Message, SubscribeError, Subscription};
pub use objects::ObjectError;
pub use provision::{Difference, ProvisionError, Provisioned, SYNC_ALWAYS};
pub use pull::{ConsumerFacts, PullError, Pulled, Puller};
pub use read::{ReadError, StoredMessage, StreamState};
pub use store::{Outgoing, StoreError, Stored};
pub use system::{ClientGone, Disconnects, SystemBus};

/// How long one request to JetStream may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to the bus. Cheap to clone; it reconnects by itself.
#[derive(Clone)]
pub struct Bus {
    client: async_nats::Client,
    jetstream: async_nats::jetstream::Context,
    shared: Arc<Shared>,
}

struct Shared {
    subjects: Arc<Subjects>,
    names: Names,
    client_name: String,
    watch: connect::Watch,
    outbox: OnceLock<Arc<outbox::Outbox>>,
}

impl Bus {
    /// The subjects of the mesh.
    #[must_use]
    pub fn subjects(&self) -> &Arc<Subjects> {
        &self.shared.subjects
    }

    /// The names of streams and buckets.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.shared.names
    }

    /// This connection's name at the server, unique among all processes.
    #[must_use]
    pub fn client_name(&self) -> &str {
        &self.shared.client_name
    }
}
