//! What the doors of a mesh decided about a request: who asked for what, and whether they were let.
//!
//! One entry a decision, on `audit.<owner>`. An entry is written after its decision and may come twice; its `id` tells.

use serde::{Deserialize, Serialize};

use crate::id::{NodeName, Owner, Skill};
use crate::time::Timestamp;

/// The owner under whom decisions about callers are kept who could not show who they are. The dash at its end
/// keeps it apart from the owners that people choose.
pub const OWNER_UNKNOWN: &str = "unknown-";

/// A decision of a door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// Names this entry among all.
    pub id: String,
    /// When it was decided.
    pub at: Timestamp,
    /// The gateway that decided.
    pub by: NodeName,
    /// The request, as its answer and the logs name it.
    pub request: String,
    /// The address of the client.
    pub address: String,
    /// Who asked; none when they could not show it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub caller: Option<String>,
    /// How they showed it: `key`, `token`, `certificate`, or `open`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub shown: Option<String>,
    /// The door: `jsonrpc`, `rest`, `grpc`, `card`, `file`, `plain` or `description`.
    pub door: String,
    /// The operation, when it is known: `send`, `read`, `cancel`, `push`, `decide`, `card`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub operation: Option<String>,
    /// On whose behalf.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner: Option<Owner>,
    /// The owner that the request names and its caller may not act for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub asked_for: Option<Owner>,
    /// The skill that was meant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub skill: Option<Skill>,
    /// The task that was meant, as the request names it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub task: Option<String>,
    /// Whether it was allowed.
    pub allowed: bool,
    /// Why not: a stable word such as `UNAUTHENTICATED`, and what was wrong.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

impl AuditEntry {
    /// Under whom the entry is kept.
    #[must_use]
    pub fn kept_under(&self) -> &str {
        self.owner.as_ref().map_or(OWNER_UNKNOWN, Owner::as_str)
    }
}
