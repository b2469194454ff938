//! What a task's log is made of. One entry is one commit: all of it or none of it.
//!
//! An entry also says what follows from it: the children it starts, the wait it begins. Whoever holds the
//! task after a crash carries the consequences out again, and because their ids are derived, nothing
//! happens twice. Names on the wire are append-only. Prompts and large values are referenced, never held.

use serde::{Deserialize, Serialize};

use crate::budget::{Grant, Usage};
use crate::fault::{FailureClass, Fault};
use crate::id::{ContextId, DedupKey, Lane, NodeName, Owner, Skill, TaskId};
use crate::message::{Message, Part};
use crate::submission::{ParentRef, Source};
use crate::task::Artifact;
use crate::time::Timestamp;
use crate::wait::{Answer, WaitingFor};

/// One message of a task's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// 1 for the first entry of a log, +1 with each further one (A2A 1.1 `generation`).
    pub generation: u64,
    /// When the writer wrote it, by its own clock. Order comes from the stream, never from this.
    pub at: Timestamp,
    /// The process that wrote it.
    pub by: NodeName,
    /// The attempt that wrote it, from 1; 0 when none was running.
    pub attempt: u32,
    /// What the task is; on the first entry of a log and nowhere else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Box<Origin>>,
    /// The agent's version, on the first entry of an attempt that goes on behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// On a terminal entry of a task with a grant: what the task used up, and what is still out with its children.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<Usage>,
    /// On a terminal entry of a task with a grant: what was added to the grant, the raises of its settled children
    /// included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raised: Option<Usage>,
    /// On the first entry of the attempt that takes up a re-queued task: the log stream's sequence of the message that
    /// brought it. Another message of the same generation is a copy of that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<u64>,
    /// What happened.
    pub event: Event,
}

/// What a task is and where it came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// What is to be done.
    pub skill: Skill,
    /// Who it belongs to.
    pub owner: Owner,
    /// Where its input is stored.
    pub source: Source,
    /// When that was stored.
    pub submitted_at: Timestamp,
    /// SHA-256 of the input as submitted (content type, zero byte, body), in hex. A second submission
    /// under the same key with another hash was another piece of work, and lost.
    pub input_hash: String,
    /// The conversation, if the submitter named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_id: Option<ContextId>,
    /// The dedup key, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup_key: Option<DedupKey>,
    /// When the result stops being of use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// The subject that gets the finished task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// The task that delegated it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentRef>,
    /// The dead task that it repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redrive_of: Option<TaskId>,
    /// W3C trace context of the submitter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The lane that it keeps its place in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<Lane>,
    /// What it may spend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Grant>,
    /// Delegations above it; 0 for what was submitted.
    #[serde(default, skip_serializing_if = "is_root")]
    pub depth: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this shape")]
fn is_root(depth: &u32) -> bool {
    *depth == 0
}

impl Origin {
    /// The origin of a submission that says nothing but its skill.
    #[must_use]
    pub fn bare(skill: Skill, source: Source, submitted_at: Timestamp) -> Self {
        Self {
            skill,
            owner: Owner::default(),
            source,
            submitted_at,
            input_hash: String::new(),
            context_id: None,
            dedup_key: None,
            deadline: None,
            reply_to: None,
            parent: None,
            redrive_of: None,
            traceparent: None,
            lane: None,
            budget: None,
            depth: 0,
        }
    }
}

/// What happened to a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Event {
    /// A node took the task on. Other entries of a new attempt say so just as well.
    Claimed {
        /// The node's connection name at the NATS server.
        client: String,
    },
    /// The agent says how far it is.
    Status {
        /// What it says.
        message: Message,
    },
    /// The agent produced something.
    Artifact {
        /// The thing, or a further piece of it.
        artifact: Artifact,
        /// Whether its parts go behind those already there under this id.
        append: bool,
        /// Whether nothing follows under this id.
        last_chunk: bool,
    },
    /// Part of the budget is set aside for a step that is about to run. It stays set aside until the step's
    /// entry settles it; without that entry the attempt was lost, and the amount counts as spent.
    Reserved {
        /// The step's name.
        name: String,
        /// How much.
        usage: Usage,
    },
    /// A journaled step is done.
    Step {
        /// Its name, for the check on resume.
        name: String,
        /// What it returned.
        output: Part,
        /// What it used.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        usage: Option<Usage>,
        /// SHA-256 of what was called with which arguments, where loops are watched for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fingerprint: Option<String>,
        /// The name of the approval that it used up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        approval: Option<String>,
    },
    /// The running attempt took what had come for the task already, without suspending it.
    Received {
        /// What it would have waited for.
        waiting_for: WaitingFor,
        /// What had come.
        answer: Answer,
    },
    /// Ended children gave back what they had not used.
    Refunded {
        /// How much each of them used.
        children: Vec<ChildSpend>,
    },
    /// The task handed work to others.
    Delegated {
        /// The step's name, for the check on resume.
        name: String,
        /// Whether more children under this name follow in the next entry.
        more: bool,
        /// The work.
        children: Vec<Child>,
    },
    /// The task waits and holds no worker.
    Suspended {
        /// For what.
        waiting_for: WaitingFor,
        /// For how long.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// Nobody has decided in time about what it waits for: further people may decide from now on.
    Escalated {
        /// The approval's name.
        name: String,
        /// Which level of the chain has begun: the last whose time has come.
        after_ms: u64,
        /// Who may decide now and could not before.
        to: Vec<String>,
        /// Why.
        reason: String,
    },
    /// What it waited for is there; it is queued again.
    Resumed {
        /// Why.
        reason: String,
        /// What came; nothing after the end of all children, and in a lane.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<Answer>,
    },
    /// An attempt failed and another one follows.
    AttemptFailed {
        /// The class of the failure.
        failure: FailureClass,
        /// What went wrong.
        fault: Fault,
        /// Not before this.
        retry_at: Timestamp,
        /// Whether a scheduled message brings it back, rather than the delivery in hand.
        requeued: bool,
    },
    /// A node gave the task back unfinished; that costs no attempt.
    Released {
        /// Why.
        reason: String,
        /// Whether a message of its own brings it back, rather than the delivery in hand.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        requeued: bool,
    },
    /// Ended with a result.
    Completed {
        /// What the agent returned.
        output: Vec<Part>,
    },
    /// Ended with an error; a dead letter says more.
    Failed {
        /// The class of the last failure.
        failure: FailureClass,
        /// What went wrong.
        fault: Fault,
    },
    /// Ended because somebody asked for it.
    Canceled {
        /// What was said about it.
        reason: String,
    },
    /// Not taken on: the input is not acceptable.
    Rejected {
        /// What is wrong with it.
        fault: Fault,
    },
}

/// A delegated piece of work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Child {
    /// Its id, derived from parent, position and index.
    pub task: TaskId,
    /// What is to be done.
    pub skill: Skill,
    /// Its input, or a reference to it.
    pub input: Part,
    /// The slice of the parent's budget that it may spend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Grant>,
    /// Why this skill was chosen, when the parent asked for a need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A node that should not run it if another can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avoid: Option<NodeName>,
    /// Whether the parent goes on, without the others, as soon as this child ends without a result.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub essential: bool,
}

/// What an ended child used of its slice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChildSpend {
    /// The child.
    pub task: TaskId,
    /// What it used, its own children included.
    pub spent: Usage,
    /// What was added to its slice while it ran, by raises of its own and of its children.
    #[serde(default, skip_serializing_if = "Usage::is_nothing")]
    pub raised: Usage,
}

/// The types of entries, without their content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// See [`Event::Claimed`].
    Claimed,
    /// See [`Event::Status`].
    Status,
    /// See [`Event::Artifact`].
    Artifact,
    /// See [`Event::Reserved`].
    Reserved,
    /// See [`Event::Step`].
    Step,
    /// See [`Event::Received`].
    Received,
    /// See [`Event::Refunded`].
    Refunded,
    /// See [`Event::Delegated`].
    Delegated,
    /// See [`Event::Suspended`].
    Suspended,
    /// See [`Event::Escalated`].
    Escalated,
    /// See [`Event::Resumed`].
    Resumed,
    /// See [`Event::AttemptFailed`].
    AttemptFailed,
    /// See [`Event::Released`].
    Released,
    /// See [`Event::Completed`].
    Completed,
    /// See [`Event::Failed`].
    Failed,
    /// See [`Event::Canceled`].
    Canceled,
    /// See [`Event::Rejected`].
    Rejected,
}

impl Kind {
    /// Every type.
    pub const ALL: [Self; 17] = [
        Self::Claimed,
        Self::Status,
        Self::Artifact,
        Self::Reserved,
        Self::Step,
        Self::Received,
        Self::Refunded,
        Self::Delegated,
        Self::Suspended,
        Self::Escalated,
        Self::Resumed,
        Self::AttemptFailed,
        Self::Released,
        Self::Completed,
        Self::Failed,
        Self::Canceled,
        Self::Rejected,
    ];

    /// The name on the wire, in the entry and in the header `Weft-Entry`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Status => "status",
            Self::Artifact => "artifact",
            Self::Reserved => "reserved",
            Self::Step => "step",
            Self::Received => "received",
            Self::Refunded => "refunded",
            Self::Delegated => "delegated",
            Self::Suspended => "suspended",
            Self::Escalated => "escalated",
            Self::Resumed => "resumed",
            Self::AttemptFailed => "attempt_failed",
            Self::Released => "released",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Rejected => "rejected",
        }
    }

    /// The type with this wire name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether nothing can follow.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled | Self::Rejected)
    }
}

impl Event {
    /// A step that used nothing and needed nobody's approval.
    #[must_use]
    pub fn step(name: impl Into<String>, output: Part) -> Self {
        Self::Step { name: name.into(), output, usage: None, fingerprint: None, approval: None }
    }

    /// The type.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Claimed { .. } => Kind::Claimed,
            Self::Status { .. } => Kind::Status,
            Self::Artifact { .. } => Kind::Artifact,
            Self::Reserved { .. } => Kind::Reserved,
            Self::Step { .. } => Kind::Step,
            Self::Received { .. } => Kind::Received,
            Self::Refunded { .. } => Kind::Refunded,
            Self::Delegated { .. } => Kind::Delegated,
            Self::Suspended { .. } => Kind::Suspended,
            Self::Escalated { .. } => Kind::Escalated,
            Self::Resumed { .. } => Kind::Resumed,
            Self::AttemptFailed { .. } => Kind::AttemptFailed,
            Self::Released { .. } => Kind::Released,
            Self::Completed { .. } => Kind::Completed,
            Self::Failed { .. } => Kind::Failed,
            Self::Canceled { .. } => Kind::Canceled,
            Self::Rejected { .. } => Kind::Rejected,
        }
    }
}
