//! Looks at what is on the server and says how it differs from what the mesh wants. Changes nothing.
//!
//! What cannot be read is part of the answer and not an error: whoever diagnoses a mesh wants the rest all the same.

use std::collections::{BTreeMap, HashMap};

use async_nats::jetstream::{consumer, stream};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use protocol::header::Headers;
use protocol::id::Skill;
use protocol::subject::Subject;
use protocol::topology::{self, CARE_CONSUMER, Capacity, ConsumerSpec, Names};
use protocol::{Owner, Timestamp};
use serde::Deserialize;

use super::provision::{
    Difference, SYNC_ALWAYS, SYNC_KEY, compare_consumers, compare_streams, consumer_config,
    stream_config,
};
use super::{Bus, Outgoing, REQUEST_TIMEOUT, StoreError};
use crate::clock::Clock;

/// The settings that an operator chooses per mesh: without the settings file nobody knows what is wanted.
const CHOSEN: [&str; 3] = ["num_replicas", "max_bytes", "ack_wait"];

/// An expected sequence that no subject has: the publish proves the permission and is never stored.
const NEVER: u64 = 1 << 60;

/// What was found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Diagnosis {
    /// Milliseconds by which the server's clock is ahead of ours, half the round trip taken into account.
    pub server_ahead_ms: Option<i64>,
    /// Streams, consumers and buckets that should exist and do not.
    pub missing: Vec<String>,
    /// Settings that are not as wanted.
    pub differences: Vec<Difference>,
    /// What could not be read or done, each with what the server says.
    pub unreadable: Vec<(String, String)>,
    /// How full the streams are.
    pub streams: Vec<StreamFill>,
    /// How full the account is, which limits the streams that have no limit of their own.
    pub account: Option<AccountFill>,
    /// The queues of the skills that have consumers.
    pub skills: Vec<SkillQueue>,
    /// Dead letters by skill.
    pub dead_letters: BTreeMap<Skill, u64>,
    /// Submissions by skill, as long as the inbox keeps them.
    pub submissions: BTreeMap<Skill, u64>,
    /// Pull requests of coordinators that wait now; `None` without their consumer.
    pub coordinators_pulling: Option<usize>,
    /// Whether the provisioner noted that the server syncs every write.
    pub noted_sync_always: bool,
}

/// How full a stream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFill {
    /// The stream.
    pub name: String,
    /// Messages it holds.
    pub messages: u64,
    /// Bytes it holds.
    pub bytes: u64,
    /// Bytes it may hold; `None` without a limit.
    pub bytes_max: Option<u64>,
}

/// How much of what the account may store is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountFill {
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes allowed; `None` leaves it to the server's limit.
    pub bytes_max: Option<u64>,
}

/// A skill's queue in one of the streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkillQueue {
    /// The skill.
    pub skill: Skill,
    /// The stream.
    pub stream: String,
    /// Tasks that wait.
    pub pending: u64,
    /// Tasks in some node's hand.
    pub in_hand: u64,
    /// Pull requests of nodes that wait.
    pub pulling: usize,
}

#[derive(Deserialize)]
struct StreamAnswer {
    error: Option<AnswerError>,
    config: Option<stream::Config>,
    state: Option<StreamState>,
    ts: Option<String>,
}

#[derive(Deserialize)]
struct AnswerError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
struct StreamState {
    messages: u64,
    bytes: u64,
    #[serde(default)]
    subjects: HashMap<String, u64>,
}

impl Bus {
    /// Diagnoses the mesh's part of the server. `capacity` is what the settings file asks for; without it, what
    /// operators choose per mesh is not judged.
    pub async fn diagnose(&self, capacity: Option<&Capacity>, clock: &Clock) -> Diagnosis {
        let mut found = Diagnosis::default();
        self.diagnose_streams(capacity, clock, &mut found).await;
        self.diagnose_buckets(&mut found).await;
        self.diagnose_consumers(capacity, &mut found).await;
        self.try_submitting(&mut found).await;
        found.account = self.jetstream.query_account().await.ok().map(|account| AccountFill {
            bytes: account.storage,
            bytes_max: account
                .limits
                .max_storage
                .and_then(|max| u64::try_from(max).ok())
                .filter(|max| *max > 0),
        });
        if capacity.is_none() {
            found.differences.retain(|difference| !CHOSEN.contains(&difference.setting));
        }
        found
    }

    async fn diagnose_streams(
        &self,
        capacity: Option<&Capacity>,
        clock: &Clock,
        found: &mut Diagnosis,
    ) {
        let subjects = self.subjects().clone();
        let wanted = capacity.cloned().unwrap_or_default();
        for spec in topology::streams(&subjects, &wanted) {
            let what = format!("stream {}", spec.name);
            let asked_at = clock.now();
            let counted = if spec.schedules { subjects.all_dead() } else { subjects.all_tasks() };
            let answer = match self.stream_answer(&spec.name, &counted).await {
                Ok(answer) => answer,
                Err(reason) => {
                    found.unreadable.push((what, reason));
                    continue;
                }
            };
            if found.server_ahead_ms.is_none() {
                found.server_ahead_ms = ahead(answer.ts.as_deref(), asked_at, clock.now());
            }
            match (answer.error, answer.config, answer.state) {
                (None, Some(config), Some(state)) => {
                    found.streams.push(StreamFill {
                        name: spec.name.clone(),
                        messages: state.messages,
                        bytes: state.bytes,
                        bytes_max: u64::try_from(config.max_bytes).ok().filter(|max| *max > 0),
                    });
                    found.count(self, state.subjects);
                    found.differences.extend(compare_streams(
                        &spec.name,
                        &config,
                        &stream_config(&spec),
                    ));
                }
                // 10059: there is no such stream.
                (Some(error), ..) if error.err_code == 10_059 => found.missing.push(what),
                (Some(error), ..) => found.unreadable.push((what, error.description)),
                (None, ..) => found.unreadable.push((what, "an incomplete answer".to_owned())),
            }
        }
    }

    async fn stream_answer(&self, stream: &str, filter: &str) -> Result<StreamAnswer, String> {
        let subject = format!("$JS.API.STREAM.INFO.{stream}");
        let body = serde_json::json!({ "subjects_filter": filter }).to_string();
        let answer = self.ask(subject.clone(), &Headers::new(), body.into(), REQUEST_TIMEOUT).await;
        let answer = answer
            .map_err(|error| self.shared.watch.violation(&subject).unwrap_or(error.reason))?;
        serde_json::from_slice(&answer.payload).map_err(|error| error.to_string())
    }

    async fn diagnose_buckets(&self, found: &mut Diagnosis) {
        let names = self.names();
        let stores = [
            (format!("bucket {}", names.agents), format!("KV_{}", names.agents)),
            (format!("bucket {}", names.state), format!("KV_{}", names.state)),
            (format!("object store {}", names.artifacts), format!("OBJ_{}", names.artifacts)),
        ];
        for (what, stream) in stores {
            match self.stream_answer(&stream, "").await {
                Ok(StreamAnswer { error: None, .. }) => {}
                Ok(StreamAnswer { error: Some(error), .. }) if error.err_code == 10_059 => {
                    found.missing.push(what);
                }
                Ok(StreamAnswer { error: Some(error), .. }) => {
                    found.unreadable.push((what, error.description));
                }
                Err(reason) => found.unreadable.push((what, reason)),
            }
        }
    }

    async fn diagnose_consumers(&self, capacity: Option<&Capacity>, found: &mut Diagnosis) {
        let names = self.names();
        let wanted = capacity.cloned().unwrap_or_default();
        for name in [&names.inbox, &names.log] {
            if !found.streams.iter().any(|stream| stream.name == *name) {
                continue;
            }
            let listed = match self.jetstream.get_stream_no_info(name).await {
                Ok(stream) => stream.consumers().try_collect::<Vec<_>>().await,
                Err(error) => {
                    found.unreadable.push((format!("consumers of {name}"), error.to_string()));
                    continue;
                }
            };
            match listed {
                Ok(consumers) => found.note_consumers(self, name, &consumers, &wanted),
                Err(error) => {
                    found.unreadable.push((format!("consumers of {name}"), error.to_string()));
                }
            }
        }
    }

    /// Asks for a write that the fence refuses: whether this user may submit at all.
    async fn try_submitting(&self, found: &mut Diagnosis) {
        let Ok(skill) = Skill::parse("doctor") else { return };
        let subject = self.subjects().task(&skill, &Owner::default());
        let message = Outgoing {
            expected_last: Some(NEVER),
            ..Outgoing::new(subject.clone(), Headers::new(), Bytes::new())
        };
        let refused = match self.store(message).await {
            // A missing stream has been noted already.
            Err(StoreError::Fenced | StoreError::NoStream { .. }) | Ok(_) => return,
            Err(error) => error,
        };
        found.unreadable.push((format!("submitting to {subject}"), refused.to_string()));
    }
}

impl Diagnosis {
    fn count(&mut self, bus: &Bus, counts: HashMap<String, u64>) {
        for (subject, count) in counts {
            let (skill, counts) = match bus.subjects().parse(&subject) {
                Some(Subject::Dead(skill)) => (skill, &mut self.dead_letters),
                Some(Subject::Task(skill, _)) => (skill, &mut self.submissions),
                Some(_) | None => continue,
            };
            *counts.entry(skill).or_default() += count;
        }
    }

    fn note_consumers(
        &mut self,
        bus: &Bus,
        stream: &str,
        consumers: &[consumer::Info],
        wanted: &Capacity,
    ) {
        let subjects = bus.subjects();
        let care = topology::care_consumer(subjects, wanted);
        if stream == care.stream {
            match consumers.iter().find(|info| info.name == CARE_CONSUMER) {
                Some(info) => {
                    self.coordinators_pulling = Some(info.num_waiting);
                    self.noted_sync_always =
                        info.config.metadata.get(SYNC_KEY).is_some_and(|s| s == SYNC_ALWAYS);
                    self.compare(info, &care);
                }
                None => self.missing.push(format!("consumer {CARE_CONSUMER} on {stream}")),
            }
        }
        for info in consumers {
            let skill = info.name.strip_prefix("skill-").and_then(|name| Skill::parse(name).ok());
            let Some(skill) = skill.filter(|skill| Names::skill_consumer(skill) == info.name)
            else {
                continue;
            };
            for spec in topology::skill_consumers(subjects, wanted, &skill) {
                if spec.stream == stream {
                    self.compare(info, &spec);
                }
            }
            self.skills.push(SkillQueue {
                skill,
                stream: stream.to_owned(),
                pending: info.num_pending,
                in_hand: u64::try_from(info.num_ack_pending).unwrap_or(u64::MAX),
                pulling: info.num_waiting,
            });
        }
    }

    fn compare(&mut self, info: &consumer::Info, spec: &ConsumerSpec) {
        let what = format!("consumer {} on {}", spec.name, spec.stream);
        let wanted = consumer_config(spec, None);
        self.differences.extend(compare_consumers(&what, &info.config, &wanted));
    }
}

fn ahead(server: Option<&str>, asked_at: Timestamp, heard_at: Timestamp) -> Option<i64> {
    let server = Timestamp::parse(server?).ok()?;
    let middle = asked_at.millis().midpoint(heard_at.millis());
    Some(server.millis() - middle)
}
