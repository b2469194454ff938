//! Brings a mesh that an earlier version made up to what this one wants, when an operator asks for it and not before.
//!
//! Only what adds is carried out: a setting that would take something away, or drop a stored message, is left as it is,
//! with the reason. The server's own words are edited, so that settings this version does not know stay as they are.

mod rule;

use protocol::Timestamp;
use protocol::header::Headers;
use protocol::id::Skill;
use protocol::topology::{self, Capacity, Names};
use serde::Serialize;
use serde_json::{Map, Value};

use self::rule::{Held, Rule, Verdict};
use super::provision::{Difference, ProvisionError, consumer_config, stream_config};
use super::{Bus, REQUEST_TIMEOUT};

/// A setting that is not as this version wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The stream, consumer or bucket.
    pub what: String,
    /// The setting.
    pub setting: &'static str,
    /// Its value on the server.
    pub before: String,
    /// The value that an upgrade gives it; the one that is wanted where it stays.
    pub after: String,
    /// Why it stays; none when the change only adds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stays_because: Option<String>,
}

/// What an upgrade would do.
#[derive(Debug, Default)]
pub struct Upgrade {
    /// Every difference.
    pub changes: Vec<Change>,
    /// What does not exist. Coordinators create it.
    pub missing: Vec<String>,
    edits: Vec<Edit>,
}

/// The new settings of one thing.
#[derive(Debug)]
struct Edit {
    what: String,
    subject: String,
    body: Value,
}

/// A stream, bucket or consumer, and how its settings are judged.
struct Thing {
    what: String,
    stream: String,
    consumer: Option<String>,
    wanted: Value,
    rules: &'static [(&'static str, Rule)],
}

const STREAM: &[(&str, Rule)] = &[
    ("subjects", Rule::List),
    ("retention", Rule::Fixed),
    ("storage", Rule::Fixed),
    ("discard", Rule::Discard),
    ("num_replicas", Rule::More),
    ("max_bytes", Rule::Bytes),
    ("max_age", Rule::Age),
    ("max_msg_size", Rule::Limit),
    ("duplicate_window", Rule::More),
    ("allow_direct", Rule::On),
    ("allow_atomic", Rule::On),
    ("allow_msg_schedules", Rule::On),
    ("allow_msg_ttl", Rule::On),
    ("republish", Rule::Absent),
];
const BUCKET: &[(&str, Rule)] = &[
    ("num_replicas", Rule::More),
    ("allow_msg_ttl", Rule::On),
    ("subject_delete_marker_ttl", Rule::More),
];
const OBJECTS: &[(&str, Rule)] = &[("num_replicas", Rule::More)];
const CONSUMER: &[(&str, Rule)] = &[
    ("filter_subjects", Rule::List),
    ("ack_wait", Rule::More),
    ("max_deliver", Rule::Limit),
    ("max_ack_pending", Rule::Limit),
    ("max_waiting", Rule::Fixed),
];
/// There is no such stream, no such consumer.
const MISSING: [u64; 2] = [10_059, 10_014];

impl Bus {
    /// What an upgrade would do, with the consumers of these skills. Without `capacity` the settings that operators
    /// choose per mesh are not judged.
    ///
    /// # Errors
    /// When something cannot be read.
    pub async fn plan_upgrade(
        &self,
        capacity: Option<&Capacity>,
        skills: &[Skill],
        now: Timestamp,
    ) -> Result<Upgrade, ProvisionError> {
        let wanted = capacity.cloned().unwrap_or_default();
        let mut plan = Upgrade::default();
        for thing in self.things(&wanted, skills)? {
            let Some(answer) = self.api(&thing.what, &thing.info(), String::new()).await? else {
                plan.missing.push(thing.what);
                continue;
            };
            let chosen = capacity.is_none().then(|| self.names());
            plan.look(thing, &answer, chosen, now);
        }
        Ok(plan)
    }

    /// Carries out what only adds.
    ///
    /// # Errors
    /// When the server refuses something; what was carried out before stays.
    pub async fn carry_out(&self, plan: &Upgrade) -> Result<(), ProvisionError> {
        for Edit { what, subject, body } in &plan.edits {
            if self.api(what, subject, body.to_string()).await?.is_none() {
                let reason = "it was deleted meanwhile".to_owned();
                return Err(ProvisionError { what: what.clone(), reason });
            }
        }
        Ok(())
    }

    /// Streams first: a consumer's filters have to be subjects of its stream.
    fn things(&self, wanted: &Capacity, skills: &[Skill]) -> Result<Vec<Thing>, ProvisionError> {
        let (subjects, names) = (self.subjects(), self.names());
        let mut all = Vec::new();
        for spec in topology::streams(subjects, wanted) {
            let what = format!("stream {}", spec.name);
            let wanted = as_json(&what, &stream_config(&spec))?;
            all.push(Thing { what, stream: spec.name, consumer: None, wanted, rules: STREAM });
        }
        for spec in topology::buckets(subjects, wanted) {
            let mut goal = Map::from_iter([("num_replicas".to_owned(), spec.replicas.into())]);
            if let Some(ttl) = spec.marker_ttl {
                let ttl = u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX);
                goal.insert("allow_msg_ttl".to_owned(), true.into());
                goal.insert("subject_delete_marker_ttl".to_owned(), ttl.into());
            }
            let (what, stream) = (format!("bucket {}", spec.name), format!("KV_{}", spec.name));
            let rules = if spec.marker_ttl.is_some() { BUCKET } else { OBJECTS };
            all.push(Thing { what, stream, consumer: None, wanted: goal.into(), rules });
        }
        all.push(Thing {
            what: format!("object store {}", names.artifacts),
            stream: format!("OBJ_{}", names.artifacts),
            consumer: None,
            wanted: serde_json::json!({ "num_replicas": wanted.replicas }),
            rules: OBJECTS,
        });
        let shared = [topology::care_consumer(subjects), topology::push_consumer(subjects, wanted)];
        let of_skills =
            skills.iter().flat_map(|skill| topology::skill_consumers(subjects, wanted, skill));
        for spec in shared.into_iter().chain(of_skills) {
            let what = format!("consumer {} on {}", spec.name, spec.stream);
            let wanted = as_json(&what, &consumer_config(&spec, None))?;
            let (stream, consumer) = (spec.stream, Some(spec.name));
            all.push(Thing { what, stream, consumer, wanted, rules: CONSUMER });
        }
        Ok(all)
    }

    /// Asks the server's API; `None` when there is no such thing.
    async fn api(
        &self,
        what: &str,
        subject: &str,
        body: String,
    ) -> Result<Option<Value>, ProvisionError> {
        let fail = |reason: String| ProvisionError { what: what.to_owned(), reason };
        let asked =
            self.ask(subject.to_owned(), &Headers::new(), body.into(), REQUEST_TIMEOUT).await;
        let answer = asked.map_err(|error| {
            fail(self.shared.watch.violation(subject).unwrap_or_else(|| error.reason.clone()))
        })?;
        let answer: Value =
            serde_json::from_slice(&answer.payload).map_err(|error| fail(error.to_string()))?;
        let Some(error) = answer.get("error") else { return Ok(Some(answer)) };
        let code = error.get("err_code").and_then(Value::as_u64).unwrap_or(0);
        if MISSING.contains(&code) {
            return Ok(None);
        }
        let said = error.get("description").and_then(Value::as_str).unwrap_or_default();
        Err(fail(format!("{said} (error code {code})")))
    }
}

fn as_json<T: Serialize>(what: &str, value: &T) -> Result<Value, ProvisionError> {
    let fail = |error: serde_json::Error| ProvisionError {
        what: what.to_owned(),
        reason: error.to_string(),
    };
    serde_json::to_value(value).map_err(fail)
}

impl Thing {
    fn info(&self) -> String {
        match &self.consumer {
            None => format!("$JS.API.STREAM.INFO.{}", self.stream),
            Some(consumer) => format!("$JS.API.CONSUMER.INFO.{}.{consumer}", self.stream),
        }
    }

    fn edit(self, config: Map<String, Value>) -> Edit {
        let Self { what, stream, consumer, .. } = self;
        let Some(consumer) = consumer else {
            let subject = format!("$JS.API.STREAM.UPDATE.{stream}");
            return Edit { what, subject, body: config.into() };
        };
        let body = serde_json::json!({"stream_name": stream, "config": config, "action": "update"});
        let subject = format!("$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{consumer}");
        Edit { what, subject, body }
    }
}

impl Upgrade {
    /// Whether an upgrade would do anything.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.edits.is_empty()
    }

    /// Compares one thing. `chosen` has the names when what operators choose is not known.
    fn look(&mut self, thing: Thing, answer: &Value, chosen: Option<&Names>, now: Timestamp) {
        let held = Held::read(answer, now);
        let config = answer.get("config").and_then(Value::as_object);
        let mut config = config.cloned().unwrap_or_default();
        one_filter_is_a_list(&mut config);
        let mut is_changed = false;
        for &(setting, rule) in thing.rules {
            let value = |of: Option<&Value>| of.cloned().unwrap_or(Value::Null);
            let (found, wanted) = (value(config.get(setting)), value(thing.wanted.get(setting)));
            let (after, stays_because) = match rule.judge(&found, &wanted, held) {
                Verdict::Same => continue,
                Verdict::Adds(value) => (value, None),
                Verdict::Stays(why) => (wanted, Some(why)),
            };
            let (before, told) = (shown(&found), shown(&after));
            let what = thing.what.clone();
            let difference = Difference { what, setting, found: before, wanted: told };
            if chosen.is_some_and(|names| difference.is_chosen(names)) {
                continue;
            }
            if stays_because.is_none() {
                config.insert(setting.to_owned(), after);
                is_changed = true;
            }
            let Difference { what, setting, found: before, wanted: after } = difference;
            self.changes.push(Change { what, setting, before, after, stays_because });
        }
        if is_changed {
            self.edits.push(thing.edit(config));
        }
    }
}

/// A consumer with one filter may have it under another name.
fn one_filter_is_a_list(config: &mut Map<String, Value>) {
    if let Some(one) = config.remove("filter_subject") {
        config.insert("filter_subjects".to_owned(), Value::Array(vec![one]));
    }
}

/// A value for people.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(words) => {
            words.iter().map(|word| word.as_str().unwrap_or_default()).collect::<Vec<_>>().join(" ")
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}
