//! The bus: everything that Weft asks of NATS, in Weft's own words.
//!
//! The files of this folder are the only ones that name the client library. Above them there are subjects,
//! fences, deliveries and stored messages; below them a connection that breaks and comes back.

mod batch;
mod connect;
mod count;
mod delivery;
mod diagnose;
mod ears;
mod file;
mod key;
mod kv;
mod lane;
mod leader;
mod message;
mod objects;
mod old_files;
mod outbox;
mod provision;
mod pull;
mod read;
mod store;
mod system;
mod upgrade;
mod wanted;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use protocol::subject::Subjects;
use protocol::topology::Names;

pub use connect::{
    BusSettings, ConnectError, Credentials, Patience, START_PATIENCE, ServerFacts, TlsFiles,
};
pub use delivery::{Delivery, HandOut, Position};
pub use diagnose::{AccountFill, Diagnosis, Lagging, SkillQueue, StreamFill};
pub use ears::{Ears, ListenError, Topic};
pub use file::{FileError, FileFacts, FileReader, FileWriter};
pub use key::KeyValue;
pub use kv::KvError;
pub use lane::Ahead;
pub use leader::InFlight;
pub use message::{AskError, Glimpse, Message, SubscribeError, Subscription};
pub use objects::ObjectError;
pub use old_files::OldFile;
pub use provision::{ProvisionError, Provisioned, SYNC_ALWAYS, SYNC_INTERVAL};
pub use pull::{ConsumerFacts, PullError, Pulled, Puller};
pub use read::{Page, ReadError, StoredMessage, StreamState};
pub use store::{Outgoing, StoreError, Stored};
pub use system::{ClientEvent, ClientEvents, ClientGone, ClientLink, RollCall, SystemBus};
pub use upgrade::{Change, Fate, Upgrade, UpgradeError};
pub use wanted::Difference;

/// How long one request to JetStream may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether an error of JetStream, as the client library writes it, may pass by itself: no leader, no answer, too few
/// servers at this moment. The library's own kinds do not reach every caller, its texts do.
fn may_pass(text: &str) -> bool {
    // 10008, 10023 and 10005: no leader or no resources at this moment, too few servers for the replicas.
    const PASSING: [&str; 7] = [
        "temporarily unavailable",
        "error code 10008",
        "error code 10023",
        "error code 10005",
        "timed out",
        "no responders",
        "no answer",
    ];
    PASSING.iter().any(|passing| text.contains(passing))
}

/// A connection to the bus. Cheap to clone; it reconnects by itself.
#[derive(Clone)]
pub struct Bus {
    client: async_nats::Client,
    jetstream: async_nats::jetstream::Context,
    shared: Arc<Shared>,
}

struct Shared {
    settings: BusSettings,
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
