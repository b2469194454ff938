//! The settings file, `weft.toml`: read once, checked as a whole, all faults reported together.
//!
//! Defaults stand below the file, the file below the environment, the environment below the flags; the last two
//! are laid over by the commands through `clap`. One file serves every role: each reads its own sections.

mod coordinator;
mod gateway;
mod guard;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use coordinator::CoordinatorSection;
pub use gateway::{
    AccessSection, AuditScope, AuditSection, CARD_MAX_AGE_DEFAULT, CardSection, CertificateSection,
    DoorLimits, GatewaySection, JwksSource, JwtSection, KeyHash, KeySection, LISTEN_DEFAULT,
    Network, OPERATIONS, PushSection, ROLE_ANYBODY, ROLE_CALLER, RoleSection, SignSection,
    TlsSection,
};
pub use guard::{ApprovalSection, DEGRADE_BELOW_DEFAULT, GuardSection, OnBudget};
use protocol::card::{OnMessage, Order};
use protocol::id::{NodeName, Skill};
use protocol::limits::{
    CANCEL_GRACE_DEFAULT, CANCEL_GRACE_MAX, DRAIN_GRACE_DEFAULT, KEPT_MIN, LEASE_DEFAULT,
};
use protocol::retry::RetryPolicy;
use protocol::subject::{PREFIX_DEFAULT, Subjects};
use protocol::topology::Capacity;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A duration in words: `500ms`, `30s`, `1h 30m`, `90d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Days are left out by the parser, since some days of the calendar are shorter than others.
        let days = |text: &str| Duration::from_secs(60 * 60 * 24).checked_mul(text.parse().ok()?);
        let split =
            text.split_once('d').and_then(|(count, rest)| Some((days(count)?, rest.trim())));
        let (days, rest) = split.unwrap_or((Duration::ZERO, text));
        let wait = match (rest, days.is_zero()) {
            ("", false) => Some(Duration::ZERO),
            (rest, _) => {
                let wait = rest.parse::<jiff::SignedDuration>().ok();
                wait.and_then(|wait| Duration::try_from(wait).ok())
            }
        };
        wait.and_then(|wait| days.checked_add(wait))
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no duration such as 500ms, 30s, 1h30m or 90d"))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The file as it is written: sections that are read one by one, so that one fault does not hide another.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawFile {
    bus: toml::Table,
    node: toml::Table,
    coordinator: toml::Table,
    gateway: toml::Table,
    agents: Vec<toml::Table>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawBus {
    servers: Option<String>,
    credentials: Option<PathBuf>,
    prefix: Option<String>,
    replicas: Option<usize>,
    inbox_bytes_max: Option<i64>,
    lease: Option<Span>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawNode {
    name: Option<String>,
    http: Option<String>,
    drain_grace: Option<Span>,
    group_commit: Option<String>,
    provision: Option<bool>,
    bytes_in_flight_max: Option<usize>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawAgent {
    skill: Option<String>,
    kind: Option<String>,
    concurrency: Option<usize>,
    timeout: Option<Span>,
    cancel_grace: Option<Span>,
    on_message: OnMessage,
    order: Order,
    retry: toml::Table,
    guard: toml::Table,
    options: toml::Table,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawRetry {
    attempts_max: Option<u32>,
    backoff_first: Option<Span>,
    backoff_factor: Option<f64>,
    backoff_max: Option<Span>,
    jitter: Option<f64>,
}

/// The settings of all roles, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Server URLs, if the file names some.
    pub servers: Option<String>,
    /// A `.creds` file.
    pub credentials: Option<PathBuf>,
    /// The subjects of the mesh.
    pub subjects: Subjects,
    /// What the streams may take.
    pub capacity: Capacity,
    /// The node section.
    pub node: NodeSection,
    /// The coordinator section.
    pub coordinator: CoordinatorSection,
    /// The gateway section.
    pub gateway: GatewaySection,
    /// The agents that a node runs.
    pub agents: Vec<AgentSection>,
}

/// Settings of a node.
#[derive(Debug, Clone)]
pub struct NodeSection {
    /// Its name; made up when there is none.
    pub name: Option<NodeName>,
    /// Where health and metrics are served.
    pub http: Option<String>,
    /// How long attempts may go on after the node was told to stop.
    pub drain_grace: Duration,
    /// `auto`, `on` or `off`.
    pub group_commit: String,
    /// Whether the node creates its skills' consumers when they are missing.
    pub provision: bool,
    /// Bytes of input in flight over all skills.
    pub bytes_in_flight_max: usize,
}

/// One agent.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentSection {
    /// The skill it serves.
    pub skill: Skill,
    /// The kind, one of the list in `agent-node`.
    pub kind: String,
    /// Attempts at once.
    pub concurrency: usize,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How long a canceled attempt may take to end by itself.
    pub cancel_grace: Duration,
    /// What becomes of a message that comes for a task while it runs.
    pub on_message: OnMessage,
    /// What keeps its order.
    pub order: Order,
    /// The retry policy.
    pub retry: RetryPolicy,
    /// What watches over its calls.
    pub guard: GuardSection,
    /// What only this kind understands.
    pub options: serde_json::Value,
}

/// Attempts at once, unless the file says otherwise.
pub const CONCURRENCY_DEFAULT: usize = 16;
/// The largest number of slots of one agent on one node.
pub const CONCURRENCY_MAX: usize = 4096;
/// Bytes of input in flight on one node, unless the file says otherwise.
pub const BYTES_IN_FLIGHT_DEFAULT: usize = 512 * 1024 * 1024;
/// How long one attempt may take, unless the file says otherwise.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);
/// The longest duration that a setting may have. Longer ones are mistakes, and clocks cannot add the longest.
pub const SPAN_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// The longest time for which something is kept that is taken for meant.
const KEPT_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);
/// The shortest lease.
const LEASE_MIN: Duration = Duration::from_secs(1);
/// The shortest time that an attempt may be given.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// What is wrong with the settings, all of it.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// One sentence a fault, with its place.
    pub faults: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be used:", self.path.display())?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl Settings {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// With everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let fail = |faults| ConfigError { path: path.to_owned(), faults };
        let text = std::fs::read_to_string(path).map_err(|error| fail(vec![error.to_string()]))?;
        Self::parse(&text).map_err(fail)
    }

    /// The settings without a file.
    #[must_use]
    pub fn without_file() -> Self {
        Faults::default().settings(RawFile::default())
    }

    /// Checks the text of a file.
    ///
    /// # Errors
    /// All faults, each with its place.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        let table = text.parse::<toml::Table>().map_err(|error| vec![error.to_string()])?;
        let mut faults = Faults::default();
        let raw = faults.section("", table);
        let settings = faults.settings(raw);
        if faults.0.is_empty() { Ok(settings) } else { Err(faults.0) }
    }
}

#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn take<T, E: fmt::Display>(&mut self, place: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.0.push(format!("{place}: {error}"))).ok()
    }

    fn within<T: PartialOrd + fmt::Display>(
        &mut self,
        place: &str,
        value: T,
        low: T,
        high: T,
    ) -> T {
        if value < low || value > high {
            self.0.push(format!("{place}: {value} is not between {low} and {high}"));
        }
        value
    }

    fn span(
        &mut self,
        place: &str,
        span: Option<Span>,
        default: Duration,
        (low, high): (Duration, Duration),
    ) -> Duration {
        let wait = span.map_or(default, |span| span.0);
        if wait < low || wait > high {
            self.0.push(format!("{place}: {wait:?} is not between {low:?} and {high:?}"));
        }
        wait
    }

    /// How long something is kept; zero for ever.
    fn kept(&mut self, place: &str, span: Option<Span>, default: Duration) -> Duration {
        let kept = span.map_or(default, |span| span.0);
        if !kept.is_zero() && !(KEPT_MIN..=KEPT_MAX).contains(&kept) {
            self.0.push(format!(
                "{place}: {kept:?} is not between {KEPT_MIN:?} and {KEPT_MAX:?}; 0s keeps for ever"
            ));
        }
        kept
    }

    /// Reads a section. A key that cannot be read is a fault, and the others are read all the same.
    fn section<T: DeserializeOwned + Default>(&mut self, place: &str, mut table: toml::Table) -> T {
        let dot = if place.is_empty() { "" } else { "." };
        table.retain(|key: &str, value: &mut toml::Value| {
            let alone = toml::Table::from_iter([(key.to_owned(), value.clone())]);
            let read = alone.try_into::<T>();
            let reason = |error: toml::de::Error| error.message().trim().to_owned();
            self.take(&format!("{place}{dot}{key}"), read.map_err(reason)).is_some()
        });
        // What is left was readable key by key.
        table.try_into().unwrap_or_default()
    }

    fn settings(&mut self, raw: RawFile) -> Settings {
        let RawFile { bus, node, coordinator, gateway, agents } = raw;
        let bus: RawBus = self.section("bus", bus);
        let coordinator = self.coordinator(coordinator);
        let default = Capacity::default();
        let replicas = bus.replicas.unwrap_or(default.replicas);
        if !matches!(replicas, 1 | 3 | 5) {
            self.0.push(format!("bus.replicas: {replicas} is none of 1, 3, 5"));
        }
        let lease = self.span("bus.lease", bus.lease, LEASE_DEFAULT, (LEASE_MIN, SPAN_MAX));
        let prefix = bus.prefix.as_deref().unwrap_or(PREFIX_DEFAULT);
        let mut seen = BTreeMap::new();
        let agents = (0..)
            .zip(agents)
            .filter_map(|(at, agent)| {
                let place = format!("agents[{at}]");
                let agent: RawAgent = self.section(&place, agent);
                if let Some(skill) = &agent.skill
                    && let Some(first) = seen.insert(skill.clone(), at)
                {
                    self.0.push(format!(
                        "{place}.skill: {skill:?} is already served by agents[{first}]"
                    ));
                }
                self.agent(&place, agent)
            })
            .collect();
        let gateway = self.gateway(gateway);
        Settings {
            servers: bus.servers,
            credentials: bus.credentials,
            subjects: self.take("bus.prefix", Subjects::new(prefix)).unwrap_or_default(),
            capacity: Capacity {
                replicas,
                inbox_bytes_max: bus.inbox_bytes_max.unwrap_or(default.inbox_bytes_max),
                lease,
                audit_age_max: gateway.audit.age_max,
                audit_bytes_max: gateway.audit.bytes_max,
            },
            node: self.node(node),
            coordinator,
            gateway,
            agents,
        }
    }

    fn name(&mut self, place: &str, name: Option<String>) -> Option<NodeName> {
        name.and_then(|name| self.take(place, NodeName::parse(&name)))
    }

    fn node(&mut self, table: toml::Table) -> NodeSection {
        let raw: RawNode = self.section("node", table);
        let group_commit = raw.group_commit.unwrap_or_else(|| "auto".to_owned());
        if !matches!(group_commit.as_str(), "auto" | "on" | "off") {
            self.0.push(format!("node.group_commit: {group_commit:?} is none of auto, on, off"));
        }
        NodeSection {
            name: self.name("node.name", raw.name),
            http: raw.http,
            drain_grace: self.span(
                "node.drain_grace",
                raw.drain_grace,
                DRAIN_GRACE_DEFAULT,
                (Duration::ZERO, SPAN_MAX),
            ),
            group_commit,
            provision: raw.provision.unwrap_or(true),
            bytes_in_flight_max: raw.bytes_in_flight_max.unwrap_or(BYTES_IN_FLIGHT_DEFAULT),
        }
    }

    fn agent(&mut self, place: &str, raw: RawAgent) -> Option<AgentSection> {
        let concurrency = self.within(
            &format!("{place}.concurrency"),
            raw.concurrency.unwrap_or(CONCURRENCY_DEFAULT),
            1,
            CONCURRENCY_MAX,
        );
        let retry = self.section(&format!("{place}.retry"), raw.retry);
        let retry = self.retry(place, &retry);
        let guard = self.section(&format!("{place}.guard"), raw.guard);
        let guard = self.guard(&format!("{place}.guard"), guard);
        let timeout = self.span(
            &format!("{place}.timeout"),
            raw.timeout,
            TIMEOUT_DEFAULT,
            (TIMEOUT_MIN, SPAN_MAX),
        );
        let cancel_grace = self.span(
            &format!("{place}.cancel_grace"),
            raw.cancel_grace,
            CANCEL_GRACE_DEFAULT,
            (Duration::ZERO, CANCEL_GRACE_MAX),
        );
        let options = self.take(&format!("{place}.options"), serde_json::to_value(raw.options))?;
        let skill = self.required(&format!("{place}.skill"), raw.skill);
        let kind = self.required(&format!("{place}.kind"), raw.kind);
        Some(AgentSection {
            skill: self.take(&format!("{place}.skill"), Skill::parse(&skill?))?,
            kind: kind?,
            concurrency,
            timeout,
            cancel_grace,
            on_message: raw.on_message,
            order: raw.order,
            retry,
            guard,
            options,
        })
    }

    /// A key that has no default. One that is there and cannot be read has been told already.
    fn required(&mut self, place: &str, value: Option<String>) -> Option<String> {
        let told = self.0.iter().any(|fault| fault.starts_with(&format!("{place}:")));
        if value.is_none() && !told {
            self.0.push(format!("{place}: is missing"));
        }
        value
    }

    fn retry(&mut self, place: &str, raw: &RawRetry) -> RetryPolicy {
        let default = RetryPolicy::default();
        let attempts = raw.attempts_max.unwrap_or(default.attempts_max);
        let factor = raw.backoff_factor.unwrap_or(default.backoff_factor);
        let jitter = raw.jitter.unwrap_or(default.jitter);
        RetryPolicy {
            attempts_max: self.within(&format!("{place}.retry.attempts_max"), attempts, 1, 1000),
            backoff_first: self.span(
                &format!("{place}.retry.backoff_first"),
                raw.backoff_first,
                default.backoff_first,
                (Duration::ZERO, SPAN_MAX),
            ),
            backoff_factor: self.within(
                &format!("{place}.retry.backoff_factor"),
                factor,
                1.0,
                100.0,
            ),
            backoff_max: self.span(
                &format!("{place}.retry.backoff_max"),
                raw.backoff_max,
                default.backoff_max,
                (Duration::ZERO, SPAN_MAX),
            ),
            jitter: self.within(&format!("{place}.retry.jitter"), jitter, 0.0, 1.0),
        }
    }
}

#[cfg(test)]
mod tests;
