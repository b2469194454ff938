//! Everything that the mesh has on a server, as the client library spells it, and how each setting of it is judged.
//!
//! The one list: it is created from, diagnosed by and upgraded to. Judging works on the server's own words, so that
//! what is read with the library and what is read without it are judged alike.

pub(super) mod rule;

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream;
use protocol::subject::Subjects;
use protocol::topology::{self, BucketSpec, Capacity, ConsumerSpec, Names, StreamSpec};
use serde::Serialize;
use serde_json::{Map, Value};

use self::rule::{Held, Rule, Verdict};
use super::provision::SYNC_KEY;

type Rules = &'static [(&'static str, Rule)];

const STREAM: Rules = &[
    ("subjects", Rule::List),
    ("retention", Rule::Fixed),
    ("storage", Rule::Fixed),
    ("discard", Rule::Discard),
    ("num_replicas", Rule::More),
    ("max_bytes", Rule::Bytes),
    ("max_age", Rule::Age),
    ("max_msgs", Rule::Limit),
    ("max_msgs_per_subject", Rule::Limit),
    ("max_msg_size", Rule::Limit),
    ("duplicate_window", Rule::More),
    ("allow_direct", Rule::On),
    ("allow_atomic", Rule::On),
    ("allow_msg_schedules", Rule::On),
    ("allow_msg_ttl", Rule::On),
    ("republish", Rule::Absent),
];
/// Of buckets and of the object store. How many bytes they may take is nobody's business but the operator's.
const BUCKET: Rules = &[
    ("subjects", Rule::List),
    ("retention", Rule::Fixed),
    ("storage", Rule::Fixed),
    ("discard", Rule::Discard),
    ("num_replicas", Rule::More),
    ("max_age", Rule::Age),
    ("max_msgs", Rule::Limit),
    ("max_msgs_per_subject", Rule::Limit),
    ("max_msg_size", Rule::Limit),
    ("allow_direct", Rule::On),
    ("allow_rollup_hdrs", Rule::On),
    ("allow_msg_ttl", Rule::On),
    ("subject_delete_marker_ttl", Rule::More),
];
const CONSUMER: Rules = &[
    ("filter_subjects", Rule::List),
    ("ack_wait", Rule::More),
    ("max_deliver", Rule::Limit),
    ("max_ack_pending", Rule::Limit),
    ("max_waiting", Rule::Fixed),
];
/// Settings that are nanoseconds.
const SPANS: [&str; 4] = ["max_age", "duplicate_window", "subject_delete_marker_ttl", "ack_wait"];

/// A setting on the server that is not as the mesh wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The stream, consumer or bucket.
    pub what: String,
    /// The setting.
    pub setting: &'static str,
    /// Its value on the server.
    pub found: String,
    /// The value wanted.
    pub wanted: String,
}

impl Difference {
    /// Whether the setting is one that operators choose per mesh: without the settings file nobody knows what is wanted.
    #[must_use]
    pub fn is_chosen(&self, names: &Names) -> bool {
        is_chosen(names, &self.what, self.setting)
    }
}

pub(super) fn is_chosen(names: &Names, what: &str, setting: &str) -> bool {
    let of_audit = what == format!("stream {}", names.audit);
    matches!(setting, "num_replicas" | "max_bytes" | "ack_wait") || of_audit && setting == "max_age"
}

/// A stream, or what is kept in one: a bucket, an object store.
pub(super) struct Store {
    /// What people call it.
    pub(super) what: String,
    pub(super) config: stream::Config,
    /// Its specification, if it is a stream of messages.
    pub(super) spec: Option<StreamSpec>,
}

/// The streams, the buckets and the object store, in the order in which they are made.
pub(super) fn stores(subjects: &Subjects, capacity: &Capacity) -> Vec<Store> {
    let streams = topology::streams(subjects, capacity).into_iter().map(|spec| Store {
        what: format!("stream {}", spec.name),
        config: stream_config(&spec),
        spec: Some(spec),
    });
    let buckets = topology::buckets(subjects, capacity).into_iter().map(|spec| Store {
        what: format!("bucket {}", spec.name),
        config: bucket_config(&spec),
        spec: None,
    });
    let objects = Names::new(subjects).artifacts;
    let objects = Store {
        what: format!("object store {objects}"),
        config: objects_config(&objects, capacity.replicas),
        spec: None,
    };
    streams.chain(buckets).chain([objects]).collect()
}

/// Something on the server as it should be.
pub(super) struct Thing {
    /// What people call it.
    pub(super) what: String,
    /// The stream that it is, or that it reads.
    pub(super) stream: String,
    /// Its name, if it is a consumer.
    pub(super) consumer: Option<String>,
    settings: Value,
    rules: Rules,
}

impl Thing {
    pub(super) fn store(store: &Store) -> Self {
        Self {
            what: store.what.clone(),
            stream: store.config.name.clone(),
            consumer: None,
            settings: as_json(&store.config),
            rules: if store.spec.is_some() { STREAM } else { BUCKET },
        }
    }

    pub(super) fn consumer(spec: &ConsumerSpec) -> Self {
        Self {
            what: format!("consumer {} on {}", spec.name, spec.stream),
            stream: spec.stream.clone(),
            consumer: Some(spec.name.clone()),
            settings: as_json(&consumer_config(spec, None)),
            rules: CONSUMER,
        }
    }

    /// The settings that are not as wanted, each with the value that there is, the one wanted and what an upgrade makes of
    /// it. One that is not mentioned is null.
    pub(super) fn judge(
        &self,
        found: &Map<String, Value>,
        held: Held,
    ) -> Vec<(&'static str, Value, Value, Verdict)> {
        let judged = self.rules.iter().map(|&(setting, rule)| {
            let there = found.get(setting).cloned().unwrap_or_default();
            let wanted = self.settings.get(setting).cloned().unwrap_or_default();
            let verdict = rule.judge(&there, &wanted, held);
            (setting, there, wanted, verdict)
        });
        judged.filter(|(.., verdict)| *verdict != Verdict::Same).collect()
    }

    /// What is not as wanted, for people. `found` is the configuration that the server tells.
    pub(super) fn differences<T: Serialize>(&self, found: &T) -> Vec<Difference> {
        let found = settings(as_json(found));
        let judged = self.judge(&found, Held::default()).into_iter();
        judged
            .map(|(setting, there, wanted, _)| Difference {
                what: self.what.clone(),
                setting,
                found: shown(setting, &there),
                wanted: shown(setting, &wanted),
            })
            .collect()
    }
}

/// The settings that a server tells. A consumer with one filter may have it under another name.
pub(super) fn settings(config: Value) -> Map<String, Value> {
    let Value::Object(mut config) = config else { return Map::new() };
    if let Some(one) = config.remove("filter_subject").filter(|one| one != "") {
        config.insert("filter_subjects".to_owned(), Value::Array(vec![one]));
    }
    config
}

/// A value for people.
pub(super) fn shown(setting: &str, value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(words) => {
            words.iter().map(|word| word.as_str().unwrap_or_default()).collect::<Vec<_>>().join(" ")
        }
        Value::Number(span) if SPANS.contains(&setting) => span
            .as_u64()
            .map_or_else(|| span.to_string(), |ns| format!("{:?}", Duration::from_nanos(ns))),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// What the library sends and reads is JSON always.
fn as_json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn stream_config(spec: &StreamSpec) -> stream::Config {
    stream::Config {
        name: spec.name.clone(),
        description: Some(spec.description.to_owned()),
        subjects: spec.subjects.clone(),
        retention: stream::RetentionPolicy::Limits,
        storage: stream::StorageType::File,
        discard: if spec.bytes_max > 0 && !spec.drops_oldest {
            stream::DiscardPolicy::New
        } else {
            stream::DiscardPolicy::Old
        },
        num_replicas: spec.replicas,
        max_bytes: spec.bytes_max,
        max_age: spec.age_max,
        max_message_size: spec.message_bytes_max,
        duplicate_window: spec.duplicate_window,
        allow_direct: true,
        allow_atomic_publish: true,
        allow_message_schedules: spec.schedules,
        allow_message_ttl: spec.message_ttl,
        republish: spec.republish.clone().map(|(source, destination)| stream::Republish {
            source,
            destination,
            headers_only: false,
        }),
        ..stream::Config::default()
    }
}

/// As every client of NATS knows a key-value bucket (ADR-8 of NATS), with one value a key.
fn bucket_config(spec: &BucketSpec) -> stream::Config {
    stream::Config {
        name: format!("KV_{}", spec.name),
        description: Some(spec.description.to_owned()),
        subjects: vec![format!("$KV.{}.>", spec.name)],
        max_messages_per_subject: 1,
        deny_delete: true,
        allow_message_ttl: spec.marker_ttl.is_some(),
        subject_delete_marker_ttl: spec.marker_ttl,
        ..kept_config(spec.replicas)
    }
}

/// As every client of NATS knows an object store (ADR-20 of NATS).
fn objects_config(name: &str, replicas: usize) -> stream::Config {
    stream::Config {
        name: format!("OBJ_{name}"),
        subjects: vec![format!("$O.{name}.C.>"), format!("$O.{name}.M.>")],
        ..kept_config(replicas)
    }
}

fn kept_config(replicas: usize) -> stream::Config {
    stream::Config {
        discard: stream::DiscardPolicy::New,
        allow_rollup: true,
        allow_direct: true,
        num_replicas: replicas,
        ..stream::Config::default()
    }
}

pub(super) fn consumer_config(spec: &ConsumerSpec, sync: Option<&str>) -> pull::Config {
    let metadata = sync.map(|sync| (SYNC_KEY.to_owned(), sync.to_owned())).into_iter().collect();
    pull::Config {
        durable_name: Some(spec.name.clone()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: spec.ack_wait,
        max_deliver: spec.deliveries_max,
        filter_subjects: spec.filters.clone(),
        max_ack_pending: spec.ack_pending_max,
        max_waiting: spec.pulls_waiting_max,
        metadata,
        ..pull::Config::default()
    }
}
