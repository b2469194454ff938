//! The settings file, `weft.toml`: read once, checked as a whole, all faults reported together.
//!
//! Defaults stand below the file, the file below the environment, the environment below the flags; the last two
//! are laid over by the commands through `clap`. One file serves every role: each reads its own sections.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::id::{NodeName, Skill};
use protocol::limits::{CANCEL_GRACE_DEFAULT, DRAIN_GRACE_DEFAULT, LEASE_DEFAULT};
use protocol::retry::RetryPolicy;
use protocol::subject::{PREFIX_DEFAULT, Subjects};
use protocol::topology::Capacity;
use serde::Deserialize;

/// A duration in words: `500ms`, `30s`, `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<jiff::SignedDuration>()
            .ok()
            .and_then(|wait| Duration::try_from(wait).ok())
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no duration such as 500ms, 30s or 1h30m"))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The file as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawFile {
    bus: RawBus,
    node: RawNode,
    coordinator: RawCoordinator,
    agents: Vec<RawAgent>,
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
struct RawCoordinator {
    name: Option<String>,
    http: Option<String>,
    system_servers: Option<String>,
    system_credentials: Option<PathBuf>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAgent {
    skill: String,
    kind: String,
    concurrency: Option<usize>,
    timeout: Option<Span>,
    cancel_grace: Option<Span>,
    #[serde(default)]
    retry: RawRetry,
    #[serde(default)]
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

/// Settings of a coordinator.
#[derive(Debug, Clone)]
pub struct CoordinatorSection {
    /// Its name; made up when there is none.
    pub name: Option<NodeName>,
    /// Where health and metrics are served.
    pub http: Option<String>,
    /// Server URLs for the system account; without them a crash is noticed by the lease alone.
    pub system_servers: Option<String>,
    /// A `.creds` file for the system account.
    pub system_credentials: Option<PathBuf>,
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
    /// The retry policy.
    pub retry: RetryPolicy,
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
        let raw = toml::from_str::<RawFile>(text).map_err(|error| vec![error.to_string()])?;
        let mut faults = Faults::default();
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

    fn settings(&mut self, raw: RawFile) -> Settings {
        let RawFile { bus, node, coordinator, agents } = raw;
        let default = Capacity::default();
        let replicas = bus.replicas.unwrap_or(default.replicas);
        if !matches!(replicas, 1 | 3 | 5) {
            self.0.push(format!("bus.replicas: {replicas} is none of 1, 3, 5"));
        }
        let lease = bus.lease.map_or(LEASE_DEFAULT, |span| span.0);
        if lease < Duration::from_secs(1) {
            self.0.push("bus.lease: less than 1s would be lost to a passing stall".to_owned());
        }
        let prefix = bus.prefix.as_deref().unwrap_or(PREFIX_DEFAULT);
        let mut seen = BTreeMap::new();
        let agents = (0..)
            .zip(agents)
            .filter_map(|(at, agent)| {
                let place = format!("agents[{at}]");
                if let Some(first) = seen.insert(agent.skill.clone(), at) {
                    self.0.push(format!(
                        "{place}.skill: {:?} is already served by agents[{first}]",
                        agent.skill
                    ));
                }
                self.agent(&place, agent)
            })
            .collect();
        Settings {
            servers: bus.servers,
            credentials: bus.credentials,
            subjects: self.take("bus.prefix", Subjects::new(prefix)).unwrap_or_default(),
            capacity: Capacity {
                replicas,
                inbox_bytes_max: bus.inbox_bytes_max.unwrap_or(default.inbox_bytes_max),
                lease,
            },
            node: self.node(node),
            coordinator: CoordinatorSection {
                name: self.name("coordinator.name", coordinator.name),
                http: coordinator.http,
                system_servers: coordinator.system_servers,
                system_credentials: coordinator.system_credentials,
            },
            agents,
        }
    }

    fn name(&mut self, place: &str, name: Option<String>) -> Option<NodeName> {
        name.and_then(|name| self.take(place, NodeName::parse(&name)))
    }

    fn node(&mut self, raw: RawNode) -> NodeSection {
        let group_commit = raw.group_commit.unwrap_or_else(|| "auto".to_owned());
        if !matches!(group_commit.as_str(), "auto" | "on" | "off") {
            self.0.push(format!("node.group_commit: {group_commit:?} is none of auto, on, off"));
        }
        NodeSection {
            name: self.name("node.name", raw.name),
            http: raw.http,
            drain_grace: raw.drain_grace.map_or(DRAIN_GRACE_DEFAULT, |span| span.0),
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
        let retry = self.retry(place, &raw.retry);
        let options = self.take(&format!("{place}.options"), serde_json::to_value(raw.options))?;
        Some(AgentSection {
            skill: self.take(&format!("{place}.skill"), Skill::parse(&raw.skill))?,
            kind: raw.kind,
            concurrency,
            timeout: raw.timeout.map_or(TIMEOUT_DEFAULT, |span| span.0),
            cancel_grace: raw.cancel_grace.map_or(CANCEL_GRACE_DEFAULT, |span| span.0),
            retry,
            options,
        })
    }

    fn retry(&mut self, place: &str, raw: &RawRetry) -> RetryPolicy {
        let default = RetryPolicy::default();
        let attempts = raw.attempts_max.unwrap_or(default.attempts_max);
        let factor = raw.backoff_factor.unwrap_or(default.backoff_factor);
        let jitter = raw.jitter.unwrap_or(default.jitter);
        RetryPolicy {
            attempts_max: self.within(&format!("{place}.retry.attempts_max"), attempts, 1, 1000),
            backoff_first: raw.backoff_first.map_or(default.backoff_first, |span| span.0),
            backoff_factor: self.within(
                &format!("{place}.retry.backoff_factor"),
                factor,
                1.0,
                100.0,
            ),
            backoff_max: raw.backoff_max.map_or(default.backoff_max, |span| span.0),
            jitter: self.within(&format!("{place}.retry.jitter"), jitter, 0.0, 1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_reported_together_with_their_places() {
        let faults = Settings::parse(
            r#"
            [bus]
            replicas = 2
            prefix = "a.b"
            [node]
            group_commit = "maybe"
            [[agents]]
            skill = "echo"
            kind = "echo"
            concurrency = 0
            [[agents]]
            skill = "echo"
            kind = "echo"
            [agents.retry]
            jitter = 2.0
            "#,
        )
        .unwrap_err();
        let places: Vec<_> = faults.iter().filter_map(|fault| fault.split(':').next()).collect();
        for place in [
            "bus.replicas",
            "bus.prefix",
            "node.group_commit",
            "agents[0].concurrency",
            "agents[1].skill",
            "agents[1].retry.jitter",
        ] {
            assert!(places.contains(&place), "{place} is missing in {faults:?}");
        }
    }

    #[test]
    fn a_misspelt_key_is_an_error() {
        assert!(Settings::parse("[node]\ndrain_grase = \"3s\"").is_err());
        assert!(
            Settings::parse("[[agents]]\nskill = \"a\"\nkind = \"echo\"\ntimeout = \"soon\"")
                .is_err()
        );
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let settings =
            Settings::parse("[[agents]]\nskill = \"a\"\nkind = \"echo\"\ntimeout = \"1m 30s\"")
                .unwrap();
        assert_eq!(settings.agents[0].timeout, Duration::from_secs(90));
        assert_eq!(settings.agents[0].concurrency, CONCURRENCY_DEFAULT);
        assert_eq!(settings.capacity, Capacity::default());
        assert_eq!(Settings::without_file().node.group_commit, "auto");
    }
}
