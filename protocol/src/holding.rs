//! What a node says about the deliveries in its hands, on core NATS.
//!
//! When the server sees the node's connection end, a coordinator gives these deliveries back at once instead of
//! waiting for their leases. Messages may be lost: then the lease does it.

use serde::{Deserialize, Serialize};

/// A change of what a node has in hand, or all of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holding {
    /// The node's connection name at the server.
    pub client: String,
    /// Whether this is all of it: what was known before is void.
    #[serde(default)]
    pub complete: bool,
    /// Deliveries taken: a number of the node's own, and where acknowledgements go.
    #[serde(default)]
    pub taken: Vec<(u64, String)>,
    /// The numbers of deliveries settled since.
    #[serde(default)]
    pub settled: Vec<u64>,
}
