//! Brings a mesh that an earlier version made up to what this one wants, when an operator asks for it and not before.
//!
//! Only what adds is carried out: a setting that would take something away, or drop a stored message, is left as it is,
//! with the reason. The server's own words are edited, so that settings this version does not know stay as they are.

use protocol::Timestamp;
use protocol::header::Headers;
use protocol::id::Skill;
use protocol::topology::{self, Capacity, Names};
use serde::Serialize;
use serde_json::{Map, Value};

use super::wanted::rule::{Held, Verdict};
use super::wanted::{Thing, is_chosen, settings, shown, stores};
use super::{Bus, REQUEST_TIMEOUT};

/// Something could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot be brought up to this version: {reason}")]
pub struct UpgradeError {
    /// What.
    pub what: String,
    /// What the server says.
    pub reason: String,
}

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
    /// What becomes of it.
    #[serde(flatten)]
    pub fate: Fate,
}

/// What becomes of a setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "because", rename_all = "camelCase")]
pub enum Fate {
    /// An upgrade changes it: the change only adds.
    Adds,
    /// It was changed.
    Done,
    /// It is left as it is, and why.
    Stays(String),
    /// It was to be changed, and the server said this.
    Failed(String),
    /// It was to be changed, and something before it failed.
    NotTried,
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
    ) -> Result<Upgrade, UpgradeError> {
        let wanted = capacity.cloned().unwrap_or_default();
        let mut plan = Upgrade::default();
        for thing in self.things(&wanted, skills) {
            let Some(answer) = self.api(&thing.what, &info(&thing), String::new()).await? else {
                plan.missing.push(thing.what);
                continue;
            };
            let chosen = capacity.is_none().then(|| self.names());
            plan.look(thing, &answer, chosen, now);
        }
        Ok(plan)
    }

    /// Carries out what only adds, up to the first thing that fails. The plan says afterwards what became of each
    /// setting.
    ///
    /// # Errors
    /// When the server refuses something; what was carried out before stays.
    pub async fn carry_out(&self, plan: &mut Upgrade) -> Result<(), UpgradeError> {
        for Edit { what, subject, body } in std::mem::take(&mut plan.edits) {
            let gone = || UpgradeError {
                what: what.clone(),
                reason: "it was deleted meanwhile".to_owned(),
            };
            let answer = self.api(&what, &subject, body.to_string()).await;
            match answer.and_then(|answer| answer.ok_or_else(gone)) {
                Ok(_) => plan.settle(Some(&what), &Fate::Done),
                Err(error) => {
                    plan.settle(Some(&what), &Fate::Failed(error.reason.clone()));
                    plan.settle(None, &Fate::NotTried);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Streams first: a consumer's filters have to be subjects of its stream.
    fn things(&self, wanted: &Capacity, skills: &[Skill]) -> Vec<Thing> {
        let subjects = self.subjects();
        let shared = [topology::care_consumer(subjects), topology::push_consumer(subjects, wanted)];
        let of_skills =
            skills.iter().flat_map(|skill| topology::skill_consumers(subjects, wanted, skill));
        let consumers = shared.into_iter().chain(of_skills).map(|spec| Thing::consumer(&spec));
        stores(subjects, wanted).iter().map(Thing::store).chain(consumers).collect()
    }

    /// Asks the server's API; `None` when there is no such thing.
    async fn api(
        &self,
        what: &str,
        subject: &str,
        body: String,
    ) -> Result<Option<Value>, UpgradeError> {
        let fail = |reason: String| UpgradeError { what: what.to_owned(), reason };
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

fn info(thing: &Thing) -> String {
    match &thing.consumer {
        None => format!("$JS.API.STREAM.INFO.{}", thing.stream),
        Some(consumer) => format!("$JS.API.CONSUMER.INFO.{}.{consumer}", thing.stream),
    }
}

fn edit(thing: Thing, config: Map<String, Value>) -> Edit {
    let Thing { what, stream, consumer, .. } = thing;
    let Some(consumer) = consumer else {
        let subject = format!("$JS.API.STREAM.UPDATE.{stream}");
        return Edit { what, subject, body: config.into() };
    };
    let body = serde_json::json!({"stream_name": stream, "config": config, "action": "update"});
    let subject = format!("$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{consumer}");
    Edit { what, subject, body }
}

impl Upgrade {
    /// Whether an upgrade would do anything.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.edits.is_empty()
    }

    /// Compares one thing. `chosen` has the names when what operators choose is not known.
    fn look(&mut self, thing: Thing, answer: &Value, chosen: Option<&Names>, now: Timestamp) {
        let mut config = settings(answer.get("config").cloned().unwrap_or_default());
        let mut is_changed = false;
        for (setting, found, wanted, verdict) in thing.judge(&config, Held::read(answer, now)) {
            if chosen.is_some_and(|names| is_chosen(names, &thing.what, setting)) {
                continue;
            }
            let (after, fate) = match verdict {
                Verdict::Same => continue,
                Verdict::Stays(why) => (wanted, Fate::Stays(why)),
                Verdict::Adds(value) => {
                    config.insert(setting.to_owned(), value.clone());
                    is_changed = true;
                    (value, Fate::Adds)
                }
            };
            let (before, after) = (shown(setting, &found), shown(setting, &after));
            self.changes.push(Change { what: thing.what.clone(), setting, before, after, fate });
        }
        if is_changed {
            self.edits.push(edit(thing, config));
        }
    }

    /// Settles what was to be changed of one thing, or of all.
    fn settle(&mut self, what: Option<&str>, fate: &Fate) {
        let is_meant = |change: &&mut Change| {
            change.fate == Fate::Adds && what.is_none_or(|what| what == change.what)
        };
        self.changes.iter_mut().filter(is_meant).for_each(|change| change.fate = fate.clone());
    }
}
