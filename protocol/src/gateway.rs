//! What a gateway says of itself in the registry of gateways.

use serde::{Deserialize, Serialize};

use crate::id::NodeName;
use crate::time::Timestamp;

/// One gateway, as its key in the registry bucket holds it; the key is its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayRegistration {
    /// Its name.
    pub name: NodeName,
    /// Where it listens, as the machine knows it.
    pub listen: String,
    /// The address that clients use, when the settings name one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub url: Option<String>,
    /// Whether its doors speak TLS themselves.
    pub secure: bool,
    /// Connections of clients that are open now.
    pub connections: u32,
    /// How many it takes.
    pub connections_max: u32,
    /// Streams of events that clients read now.
    pub streams: u32,
    /// Since when it is up.
    pub started_at: Timestamp,
    /// When it last renewed this.
    pub seen_at: Timestamp,
    /// Its Weft version.
    pub weft_version: String,
}
