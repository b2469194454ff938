//! Looks at what is on the server and says how it differs from what the mesh wants. Changes nothing.
//!
//! What cannot be read is part of the answer and not an error: whoever diagnoses a mesh wants the rest all the same.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_nats::jetstream::consumer;
use protocol::header::Headers;
use protocol::id::Skill;
use protocol::subject::Subject;
use protocol::topology::{self, CARE_CONSUMER, Capacity, Names};
use protocol::{Owner, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::provision::{SYNC_ALWAYS, SYNC_KEY};
use super::wanted::{Difference, Store, Thing, stores};
use super::{Bus, REQUEST_TIMEOUT, StoreError};
use crate::clock::Clock;

/// A copy that its leader has not heard of for longer is taken for offline: it hears from each every second.
const SILENT_AFTER: Duration = Duration::from_secs(5);

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
    /// What nobody answers for at this moment: it has no leader. Each with what the server or the client says.
    pub leaderless: Vec<(String, String)>,
    /// Copies of streams that are not up to date.
    pub lagging: Vec<Lagging>,
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
    /// Whether the server syncs every write, as the provisioner noted it; `None` when it did not know.
    pub noted_sync_always: Option<bool>,
}

/// A copy of a stream that is not up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lagging {
    /// The stream.
    pub stream: String,
    /// The server that has the copy.
    pub server: String,
    /// Whether that server is not there, or has been silent for seconds.
    pub offline: bool,
    /// How many operations it is behind.
    pub behind: u64,
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
    config: Option<Value>,
    state: Option<StreamState>,
    cluster: Option<StreamCluster>,
    ts: Option<String>,
}

#[derive(Deserialize)]
struct StreamCluster {
    leader: Option<String>,
    #[serde(default)]
    replicas: Vec<Replica>,
}

impl StreamCluster {
    /// A server that has lost the others goes on answering for some seconds.
    fn lacks(&self) -> Option<&'static str> {
        let there = 1 + self.replicas.iter().filter(|copy| !copy.is_away()).count();
        if self.leader.as_ref().is_none_or(String::is_empty) {
            Some("it has no leader")
        } else if there * 2 <= self.replicas.len() + 1 {
            Some("half of its copies or more are away")
        } else {
            None
        }
    }
}

#[derive(Deserialize)]
struct Replica {
    name: String,
    #[serde(default)]
    current: bool,
    #[serde(default)]
    offline: bool,
    /// Nanoseconds since the leader last heard of it; 0 if it never did.
    #[serde(default)]
    active: u64,
    #[serde(default)]
    lag: u64,
}

impl Replica {
    /// The server itself takes a minute to call another one offline.
    fn is_away(&self) -> bool {
        let never_heard = self.active == 0 && !self.current;
        self.offline || never_heard || Duration::from_nanos(self.active) > SILENT_AFTER
    }
}

/// Why something could not be read.
enum Unread {
    /// Nobody answers for it at this moment.
    Leaderless(String),
    /// The server says no, or says something else.
    Refused(String),
}

/// A page of the consumers of a stream. `missing` names those whose leader did not answer the server that lists them.
#[derive(Deserialize)]
struct ConsumerPage {
    error: Option<AnswerError>,
    #[serde(default)]
    consumers: Vec<consumer::Info>,
    missing: Option<Vec<String>>,
    #[serde(default)]
    limit: usize,
    #[serde(default)]
    total: usize,
}

/// The consumers of a stream.
#[derive(Default)]
struct Listed {
    consumers: Vec<consumer::Info>,
    /// Those that exist, with nobody who answers for them: their state, if listed at all, is not theirs.
    silent: Vec<String>,
}

impl Listed {
    fn is_silent(&self, consumer: &str) -> bool {
        self.silent.iter().any(|name| name == consumer)
    }
}

#[derive(Deserialize)]
struct AnswerError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl AnswerError {
    /// 10008: the cluster has no leader. 10118: nor has the stream, or its server is not there.
    fn has_no_leader(&self) -> bool {
        matches!(self.err_code, 10_008 | 10_118)
    }
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
        let wanted = capacity.cloned().unwrap_or_default();
        // Side by side: where something is not permitted, each answer takes as long as the limit allows.
        let ((), submitting, account) = tokio::join!(
            self.diagnose_streams(&wanted, clock, &mut found),
            self.try_submitting(),
            self.jetstream.query_account(),
        );
        if let Some((what, unread)) = submitting {
            found.note_unread(what, unread);
        }
        found.account = account.ok().map(|account| AccountFill {
            bytes: account.storage,
            bytes_max: account
                .limits
                .max_storage
                .and_then(|max| u64::try_from(max).ok())
                .filter(|max| *max > 0),
        });
        self.diagnose_consumers(&wanted, &mut found).await;
        if capacity.is_none() {
            found.differences.retain(|difference| !difference.is_chosen(self.names()));
        }
        found
    }

    async fn diagnose_streams(&self, wanted: &Capacity, clock: &Clock, found: &mut Diagnosis) {
        let subjects = self.subjects();
        let asked = stores(subjects, wanted).into_iter().map(|store| async move {
            let counted = store.spec.as_ref().map(|spec| {
                if spec.schedules { subjects.all_dead() } else { subjects.all_tasks() }
            });
            let counted = counted.unwrap_or_default();
            let answer = self.stream_answer(&store.config.name, &counted, clock).await;
            (store, answer)
        });
        for (store, answer) in futures_util::future::join_all(asked).await {
            match answer {
                Ok((answer, ahead_ms)) => {
                    found.server_ahead_ms = found.server_ahead_ms.or(ahead_ms);
                    found.note_stream(self, &store, answer);
                }
                Err(unread) => found.note_unread(store.what, unread),
            }
        }
    }

    /// What a stream says, and by how much the server's clock is ahead.
    async fn stream_answer(
        &self,
        stream: &str,
        filter: &str,
        clock: &Clock,
    ) -> Result<(StreamAnswer, Option<i64>), Unread> {
        let subject = format!("$JS.API.STREAM.INFO.{stream}");
        let body = serde_json::json!({ "subjects_filter": filter }).to_string();
        let asked_at = clock.now();
        let answer: StreamAnswer = self.ask_api(&subject, body).await?;
        let heard_at = clock.now();
        if let Some(error) = answer.error.as_ref().filter(|error| error.has_no_leader()) {
            return Err(Unread::Leaderless(error.description.clone()));
        }
        let copied = answer.cluster.as_ref().filter(|cluster| !cluster.replicas.is_empty());
        if let Some(reason) = copied.and_then(StreamCluster::lacks) {
            return Err(Unread::Leaderless(reason.to_owned()));
        }
        let ahead_ms = ahead(answer.ts.as_deref(), asked_at, heard_at);
        Ok((answer, ahead_ms))
    }

    async fn diagnose_consumers(&self, wanted: &Capacity, found: &mut Diagnosis) {
        let names = self.names();
        for name in [&names.inbox, &names.log] {
            if !found.streams.iter().any(|stream| stream.name == *name) {
                continue;
            }
            match self.list_consumers(name).await {
                Ok(listed) => found.note_consumers(self, name, &listed, wanted),
                Err(unread) => found.note_unread(format!("consumers of {name}"), unread),
            }
        }
    }

    /// The consumers of a stream, page by page, and the names of those whose leader does not answer.
    async fn list_consumers(&self, stream: &str) -> Result<Listed, Unread> {
        let subject = format!("$JS.API.CONSUMER.LIST.{stream}");
        let (mut listed, mut offset) = (Listed::default(), 0);
        loop {
            let body = serde_json::json!({ "offset": offset }).to_string();
            let page: ConsumerPage = self.ask_api(&subject, body).await?;
            if let Some(error) = page.error {
                let unread =
                    if error.has_no_leader() { Unread::Leaderless } else { Unread::Refused };
                return Err(unread(error.description));
            }
            listed.consumers.extend(page.consumers);
            listed.silent.extend(page.missing.into_iter().flatten());
            offset += page.limit;
            if page.limit == 0 || offset >= page.total {
                return Ok(listed);
            }
        }
    }

    /// Asks the server's API. Silence is told from a missing permission by what the server said about it.
    async fn ask_api<T: DeserializeOwned>(&self, subject: &str, body: String) -> Result<T, Unread> {
        let asked =
            self.ask(subject.to_owned(), &Headers::new(), body.into(), REQUEST_TIMEOUT).await;
        let answer = asked.map_err(|error| match self.shared.watch.violation(subject) {
            Some(violation) => Unread::Refused(violation),
            None => Unread::Leaderless(error.reason),
        })?;
        serde_json::from_slice(&answer.payload).map_err(|error| Unread::Refused(error.to_string()))
    }

    /// Whether this user may submit at all, and if not, why.
    async fn try_submitting(&self) -> Option<(String, Unread)> {
        let skill = Skill::parse("doctor").ok()?;
        let subject = self.subjects().task(&skill, &Owner::default());
        match self.would_take(subject.clone()).await {
            // A missing stream has been noted already.
            Err(StoreError::NoStream { .. }) | Ok(()) => None,
            Err(error) => {
                let passing = matches!(
                    error,
                    StoreError::NoAnswer { .. } | StoreError::Refused { code: 10_008, .. }
                );
                let unread = if passing { Unread::Leaderless } else { Unread::Refused };
                Some((format!("submitting to {subject}"), unread(error.to_string())))
            }
        }
    }
}

impl Diagnosis {
    fn note_unread(&mut self, what: String, unread: Unread) {
        match unread {
            Unread::Leaderless(reason) => self.leaderless.push((what, reason)),
            Unread::Refused(reason) => self.unreadable.push((what, reason)),
        }
    }

    fn note_stream(&mut self, bus: &Bus, store: &Store, answer: StreamAnswer) {
        let what = store.what.clone();
        let copies = answer.cluster.into_iter().flat_map(|cluster| cluster.replicas);
        let behind = copies.filter(|copy| copy.is_away() || !copy.current);
        self.lagging.extend(behind.map(|copy| Lagging {
            stream: what.clone(),
            offline: copy.is_away(),
            server: copy.name,
            behind: copy.lag,
        }));
        match (answer.error, answer.config, answer.state) {
            // 10059: there is no such stream.
            (Some(error), ..) if error.err_code == 10_059 => self.missing.push(what),
            (Some(error), ..) => self.unreadable.push((what, error.description)),
            (None, Some(config), Some(state)) => {
                self.differences.extend(Thing::store(store).differences(&config));
                if let Some(spec) = &store.spec {
                    let bytes_max = config.get("max_bytes").and_then(Value::as_u64);
                    self.streams.push(StreamFill {
                        name: spec.name.clone(),
                        messages: state.messages,
                        bytes: state.bytes,
                        bytes_max: bytes_max.filter(|max| *max > 0),
                    });
                    self.count(bus, state.subjects);
                }
            }
            (None, ..) => self.unreadable.push((what, "an incomplete answer".to_owned())),
        }
    }

    /// Whether the consumers of a stream could be read.
    #[must_use]
    pub fn knows_consumers(&self, stream: &str) -> bool {
        self.can_read(stream) && self.streams.iter().any(|one| one.name == stream)
    }

    /// Whether something whose name ends like this is there and can be read.
    #[must_use]
    pub fn can_read(&self, name: &str) -> bool {
        let lacks = |what: &str| what.ends_with(name);
        !self.missing.iter().any(|what| lacks(what))
            && !self.leaderless.iter().any(|(what, _)| lacks(what))
            && !self.unreadable.iter().any(|(what, _)| lacks(what))
    }

    fn count(&mut self, bus: &Bus, counts: HashMap<String, u64>) {
        for (subject, count) in counts {
            let (skill, counts) = match bus.subjects().parse(&subject) {
                Some(Subject::Dead(skill)) => (skill, &mut self.dead_letters),
                Some(Subject::Task(skill, ..)) => (skill, &mut self.submissions),
                Some(_) | None => continue,
            };
            *counts.entry(skill).or_default() += count;
        }
    }

    fn note_consumers(&mut self, bus: &Bus, stream: &str, listed: &Listed, wanted: &Capacity) {
        let subjects = bus.subjects();
        for name in &listed.silent {
            let what = format!("consumer {name} on {stream}");
            self.leaderless.push((what, "its leader does not answer".to_owned()));
        }
        let answering = || listed.consumers.iter().filter(|info| !listed.is_silent(&info.name));
        for spec in [topology::care_consumer(subjects), topology::push_consumer(subjects, wanted)] {
            if spec.stream != stream || listed.is_silent(&spec.name) {
                continue;
            }
            match answering().find(|info| info.name == spec.name) {
                Some(info) => {
                    self.differences.extend(Thing::consumer(&spec).differences(&info.config))
                }
                None => self.missing.push(format!("consumer {} on {stream}", spec.name)),
            }
        }
        for info in answering() {
            if info.name == CARE_CONSUMER {
                self.coordinators_pulling = Some(info.num_waiting);
                let noted = info.config.metadata.get(SYNC_KEY);
                self.noted_sync_always = noted.map(|sync| sync == SYNC_ALWAYS);
            }
            let skill = info.name.strip_prefix("skill-").and_then(|name| Skill::parse(name).ok());
            let Some(skill) = skill.filter(|skill| Names::skill_consumer(skill) == info.name)
            else {
                continue;
            };
            for spec in topology::skill_consumers(subjects, wanted, &skill) {
                if spec.stream == stream {
                    self.differences.extend(Thing::consumer(&spec).differences(&info.config));
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
}

fn ahead(server: Option<&str>, asked_at: Timestamp, heard_at: Timestamp) -> Option<i64> {
    let server = Timestamp::parse(server?).ok()?;
    let middle = asked_at.millis().midpoint(heard_at.millis());
    Some(server.millis() - middle)
}
