//! Every stream, consumer and bucket of the mesh, as data.
//!
//! The coordinator creates them and `weft doctor` compares them; both read this one list. Names are
//! stable and documented, for autoscalers read their lag and operators write permissions against them.

use std::time::Duration;

use crate::id::Skill;
use crate::limits::{
    ACK_PENDING_MAX, AUDIT_AGE_DEFAULT, AUDIT_BYTES_DEFAULT, AUDIT_ENTRY_BYTES_MAX, CARE_LEASE,
    DELIVERIES_MAX, DUPLICATE_WINDOW, HEARTBEAT_TTL, INBOX_MESSAGE_BYTES_MAX, LEASE_DEFAULT,
    PULLS_WAITING_MAX, PUSH_PENDING_MAX,
};
use crate::subject::Subjects;

/// What the operator decides about storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// Copies of each stream: 1, 3 or 5.
    pub replicas: usize,
    /// Bytes that the inbox may take; a full one refuses submissions at once (error 10077).
    pub inbox_bytes_max: i64,
    /// How long a delivery belongs to a worker that gives no sign of life.
    pub lease: Duration,
    /// How long decisions of doors are kept; zero for ever.
    pub audit_age_max: Duration,
    /// Bytes of them, beyond which the oldest go; -1 leaves it to the account's limit.
    pub audit_bytes_max: i64,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            replicas: 1,
            inbox_bytes_max: 8 * 1024 * 1024 * 1024,
            lease: LEASE_DEFAULT,
            audit_age_max: AUDIT_AGE_DEFAULT,
            audit_bytes_max: AUDIT_BYTES_DEFAULT,
        }
    }
}

/// A stream: file storage, limits retention, no rollup, and nothing ever dropped but what says so of itself.
///
/// With a limit of its own it refuses what is beyond (discard new). The server allows no such limit on a stream
/// with schedules, so that one has none, and the account's limit refuses in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSpec {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: &'static str,
    /// What it stores.
    pub subjects: Vec<String>,
    /// Copies.
    pub replicas: usize,
    /// Bytes it may take; -1 leaves it to the account's limit, which refuses writes and drops nothing.
    pub bytes_max: i64,
    /// How long messages are kept; zero for ever.
    pub age_max: Duration,
    /// Whether a full stream makes room for what is new by dropping its oldest messages.
    pub drops_oldest: bool,
    /// Bytes of one message; -1 leaves it to the server.
    pub message_bytes_max: i32,
    /// How long a `Nats-Msg-Id` is remembered.
    pub duplicate_window: Duration,
    /// Whether messages may be scheduled. Never where untrusted publishers write.
    pub schedules: bool,
    /// Whether single messages may have a time to live.
    pub message_ttl: bool,
    /// Passes stored messages on: from subject, to subject.
    pub republish: Option<(String, String)>,
}

/// A durable pull consumer: explicit acks, all messages from the first on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerSpec {
    /// The stream it reads.
    pub stream: String,
    /// Its durable name.
    pub name: String,
    /// The subjects it hands out.
    pub filters: Vec<String>,
    /// How long a delivery stays with a worker that gives no sign of life.
    pub ack_wait: Duration,
    /// Deliveries before the server gives up.
    pub deliveries_max: i64,
    /// Deliveries in flight.
    pub ack_pending_max: i64,
    /// Pull requests that may wait.
    pub pulls_waiting_max: i64,
}

/// A key-value bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketSpec {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: &'static str,
    /// Copies.
    pub replicas: usize,
    /// Whether single keys may have a time to live, and how long a marker of their end stays.
    pub marker_ttl: Option<Duration>,
}

/// The names, made from the subject prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The stream of submissions.
    pub inbox: String,
    /// The stream of logs and of everything that only the mesh may write.
    pub log: String,
    /// The stream of what doors decided.
    pub audit: String,
    /// The registry of agents.
    pub agents: String,
    /// Session, shared and long-term memory.
    pub state: String,
    /// Parts over the inline limit.
    pub artifacts: String,
    /// Webhooks, and how far each has been told.
    pub push: String,
    /// The registry of gateways.
    pub gateways: String,
}

/// The consumer of waiting tasks' wakes and of cancels, shared by all coordinators.
pub const CARE_CONSUMER: &str = "coordinator";
/// The consumer of the jobs of telling webhooks, shared by all gateways.
pub const PUSH_CONSUMER: &str = "gateway-push";

impl Names {
    /// The names under a prefix.
    #[must_use]
    pub fn new(subjects: &Subjects) -> Self {
        let prefix = subjects.prefix();
        let upper = prefix.to_ascii_uppercase();
        Self {
            inbox: format!("{upper}_INBOX"),
            log: format!("{upper}_LOG"),
            audit: format!("{upper}_AUDIT"),
            agents: format!("{prefix}_agents"),
            state: format!("{prefix}_state"),
            artifacts: format!("{prefix}_artifacts"),
            push: format!("{prefix}_push"),
            gateways: format!("{prefix}_gateways"),
        }
    }

    /// The durable that a skill's tasks are pulled from, in both streams.
    #[must_use]
    pub fn skill_consumer(skill: &Skill) -> String {
        format!("skill-{skill}")
    }
}

/// Everything that must exist before the first worker starts.
#[must_use]
pub fn streams(subjects: &Subjects, capacity: &Capacity) -> Vec<StreamSpec> {
    let names = Names::new(subjects);
    vec![
        StreamSpec {
            name: names.inbox,
            description: "tasks as they were submitted",
            subjects: subjects.inbox_stream(),
            replicas: capacity.replicas,
            bytes_max: capacity.inbox_bytes_max,
            age_max: Duration::ZERO,
            drops_oldest: false,
            message_bytes_max: i32::try_from(INBOX_MESSAGE_BYTES_MAX).unwrap_or(i32::MAX),
            duplicate_window: DUPLICATE_WINDOW,
            schedules: false,
            message_ttl: false,
            republish: None,
        },
        StreamSpec {
            name: names.log,
            description: "one log per task, and the work and letters that follow from them",
            subjects: subjects.log_stream(),
            replicas: capacity.replicas,
            bytes_max: -1,
            age_max: Duration::ZERO,
            drops_oldest: false,
            message_bytes_max: -1,
            duplicate_window: DUPLICATE_WINDOW,
            schedules: true,
            message_ttl: true,
            republish: Some((subjects.all_logs(), format!("{}.event.>", subjects.prefix()))),
        },
        StreamSpec {
            name: names.audit,
            description: "what doors decided about requests",
            subjects: vec![subjects.all_audits()],
            replicas: capacity.replicas,
            bytes_max: capacity.audit_bytes_max,
            age_max: capacity.audit_age_max,
            // A gateway lets nobody in whose entry is not stored: a full audit would be a closed door.
            drops_oldest: true,
            message_bytes_max: i32::try_from(AUDIT_ENTRY_BYTES_MAX).unwrap_or(i32::MAX),
            duplicate_window: DUPLICATE_WINDOW,
            schedules: false,
            message_ttl: false,
            republish: None,
        },
    ]
}

/// The buckets.
#[must_use]
pub fn buckets(subjects: &Subjects, capacity: &Capacity) -> Vec<BucketSpec> {
    let names = Names::new(subjects);
    let replicas = capacity.replicas;
    vec![
        BucketSpec {
            name: names.agents,
            description: "agent cards with a heartbeat",
            replicas,
            marker_ttl: Some(HEARTBEAT_TTL),
        },
        BucketSpec {
            name: names.state,
            description: "memory of sessions and agents",
            replicas,
            marker_ttl: None,
        },
        BucketSpec {
            name: names.push,
            description: "webhooks and how far each has been told",
            replicas,
            marker_ttl: None,
        },
        BucketSpec {
            name: names.gateways,
            description: "gateways with a heartbeat",
            replicas,
            marker_ttl: Some(HEARTBEAT_TTL),
        },
    ]
}

fn consumer(stream: String, name: String, filters: Vec<String>, lease: Duration) -> ConsumerSpec {
    ConsumerSpec {
        stream,
        name,
        filters,
        ack_wait: lease,
        deliveries_max: DELIVERIES_MAX,
        ack_pending_max: ACK_PENDING_MAX,
        pulls_waiting_max: PULLS_WAITING_MAX,
    }
}

/// The two consumers of a skill: submissions first, then re-queued and delegated work.
#[must_use]
pub fn skill_consumers(
    subjects: &Subjects,
    capacity: &Capacity,
    skill: &Skill,
) -> [ConsumerSpec; 2] {
    let names = Names::new(subjects);
    let name = Names::skill_consumer(skill);
    [
        consumer(names.inbox, name.clone(), subjects.tasks_of(skill).to_vec(), capacity.lease),
        consumer(names.log, name, vec![subjects.run(skill)], capacity.lease),
    ]
}

/// The consumer that all coordinators share. Its deliveries are always retried: each ends in an ack once
/// the log shows that nothing is left to do.
#[must_use]
pub fn care_consumer(subjects: &Subjects) -> ConsumerSpec {
    ConsumerSpec {
        deliveries_max: -1,
        ..consumer(
            Names::new(subjects).log,
            CARE_CONSUMER.to_owned(),
            vec![subjects.all_wakes(), subjects.all_cancels(), subjects.all_inputs()],
            CARE_LEASE,
        )
    }
}

/// The consumer that all gateways share. A gateway keeps a delivery for as long as the task lives, so only its lease
/// says that the gateway is gone.
#[must_use]
pub fn push_consumer(subjects: &Subjects, capacity: &Capacity) -> ConsumerSpec {
    ConsumerSpec {
        deliveries_max: -1,
        ack_pending_max: PUSH_PENDING_MAX,
        ..consumer(
            Names::new(subjects).log,
            PUSH_CONSUMER.to_owned(),
            vec![subjects.all_pushes()],
            capacity.lease,
        )
    }
}
