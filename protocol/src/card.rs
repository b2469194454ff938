//! Agent cards: what a node says about the agents it runs.
//!
//! An [`AgentCard`] follows A2A 1.0; the [`Registration`] around it, kept in the registry bucket under
//! `<skill>.<node>`, adds what only the mesh needs to know.

pub mod security;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::security::{SecurityRequirement, SecurityScheme};
use crate::{NodeName, Skill, Timestamp};

/// The URI of the NATS binding, as `protocolBinding` of an interface.
pub const NATS_BINDING: &str = "urn:weft:a2a-binding:nats:v1";
/// Stands for every media type in the modes of an agent that does not care.
pub const ANY_MEDIA_TYPE: &str = "*/*";

/// Where and how an agent is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentInterface {
    /// The address.
    pub url: String,
    /// The binding: `JSONRPC`, `GRPC`, `HTTP+JSON` or a URI of one's own.
    #[serde(alias = "protocol_binding")]
    pub protocol_binding: String,
    /// The A2A version spoken there.
    #[serde(alias = "protocol_version")]
    pub protocol_version: String,
    /// What clients put into the tenant of their requests there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// Who is responsible for an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentProvider {
    /// Its web site.
    pub url: String,
    /// Its name.
    pub organization: String,
}

/// Something beyond A2A that an agent understands.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AgentExtension {
    /// Names it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uri: String,
    /// What the agent does with it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Whether clients have to use it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// What clients have to know to use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Map<String, Value>>,
}

/// A signature over the card without its signatures: RFC 7515 over RFC 8785.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentCardSignature {
    /// The protected header, as base64url.
    pub protected: String,
    /// The signature, as base64url.
    pub signature: String,
    /// The header that is not protected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<Map<String, Value>>,
}

/// What an agent can do beyond the minimum.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentCapabilities {
    /// Streams events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streaming: Option<bool>,
    /// Calls webhooks.
    #[serde(default, alias = "push_notifications", skip_serializing_if = "Option::is_none")]
    pub push_notifications: Option<bool>,
    /// What it understands beyond A2A.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<AgentExtension>,
    /// Has a longer card for those it knows.
    #[serde(default, alias = "extended_agent_card", skip_serializing_if = "Option::is_none")]
    pub extended_agent_card: Option<bool>,
}

/// One thing an agent can do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentSkill {
    /// Unique within the agent; in Weft the skill's name.
    pub id: String,
    /// A name for people.
    pub name: String,
    /// What it does.
    pub description: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Inputs that work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
    /// Media types it reads.
    #[serde(default, alias = "input_modes", skip_serializing_if = "Vec::is_empty")]
    pub input_modes: Vec<String>,
    /// Media types it writes.
    #[serde(default, alias = "output_modes", skip_serializing_if = "Vec::is_empty")]
    pub output_modes: Vec<String>,
    /// What callers of this skill need, where it is more than what the card says.
    #[serde(default, alias = "security_requirements", skip_serializing_if = "Vec::is_empty")]
    pub security_requirements: Vec<SecurityRequirement>,
}

/// An A2A AgentCard.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentCard {
    /// A name for people.
    pub name: String,
    /// What the agent is for.
    pub description: String,
    /// Where it is reached, best first.
    #[serde(alias = "supported_interfaces")]
    pub supported_interfaces: Vec<AgentInterface>,
    /// Who is responsible for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<AgentProvider>,
    /// The agent's own version.
    pub version: String,
    /// Where people can read about it.
    #[serde(default, alias = "documentation_url", skip_serializing_if = "Option::is_none")]
    pub documentation_url: Option<String>,
    /// What it can do beyond the minimum.
    pub capabilities: AgentCapabilities,
    /// How callers can prove who they are, each way by a name.
    #[serde(default, alias = "security_schemes", skip_serializing_if = "BTreeMap::is_empty")]
    pub security_schemes: BTreeMap<String, SecurityScheme>,
    /// What is enough; any one of them.
    #[serde(default, alias = "security_requirements", skip_serializing_if = "Vec::is_empty")]
    pub security_requirements: Vec<SecurityRequirement>,
    /// Media types it reads.
    #[serde(alias = "default_input_modes")]
    pub default_input_modes: Vec<String>,
    /// Media types it writes.
    #[serde(alias = "default_output_modes")]
    pub default_output_modes: Vec<String>,
    /// What it can do.
    pub skills: Vec<AgentSkill>,
    /// Who vouches for the card.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<AgentCardSignature>,
    /// Its picture.
    #[serde(default, alias = "icon_url", skip_serializing_if = "Option::is_none")]
    pub icon_url: Option<String>,
}

/// What becomes of a message that comes for a task while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnMessage {
    /// It is kept and answers the task's next question.
    #[default]
    Enqueue,
    /// The running attempt is told at once.
    Interrupt,
    /// It is refused.
    Reject,
}

/// What keeps its order among the tasks of a skill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Nothing, but for tasks that were submitted into a lane.
    #[default]
    None,
    /// Tasks of one conversation: clients submit them into the lane of its id.
    Context,
}

/// One agent on one node, as the registry keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// The skill it serves.
    pub skill: Skill,
    /// The node it runs on.
    pub node: NodeName,
    /// The kind of agent: `echo`, `process` and so on.
    pub kind: String,
    /// Its public card.
    pub card: AgentCard,
    /// JSON Schema of the input, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// JSON Schema of the output, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// What becomes of a message that comes for a task while it runs.
    #[serde(default)]
    pub on_message: OnMessage,
    /// What keeps its order among the tasks.
    #[serde(default)]
    pub order: Order,
    /// Whether its results may be direct replies.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replies: bool,
    /// How long a canceled attempt may take to end by itself, in ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_grace_ms: Option<u64>,
    /// Attempts it may run at once.
    pub slots: u32,
    /// Attempts it runs now.
    pub running: u32,
    /// Whether the node takes no more work.
    pub draining: bool,
    /// Since when the node is up.
    pub started_at: Timestamp,
    /// When the node last renewed this.
    pub seen_at: Timestamp,
    /// The Weft version of the node.
    pub weft_version: String,
}
