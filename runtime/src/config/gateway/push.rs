//! How webhooks are called: where they may be, how patient the gateway is, and when it gives one up.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::config::{Faults, SPAN_MAX, Span};

/// Settings of webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushSection {
    /// Whether plain `http` and addresses of this machine and its networks are allowed. Whoever may make a webhook then
    /// reaches whatever the gateway reaches.
    pub allow_local: bool,
    /// How long one call may take, answer included.
    pub timeout: Duration,
    /// The wait after the first failure; it doubles with each further one.
    pub backoff_first: Duration,
    /// The longest wait, and the most that a `Retry-After` is granted.
    pub backoff_max: Duration,
    /// Failures in a row after which a webhook is disabled.
    pub failures_max: u32,
    /// How long a webhook may fail without a success until it is disabled.
    pub give_up_after: Duration,
    /// How long a webhook stays to be seen after the end of its task was told, or after it was given up and its task
    /// has ended. Coordinators remove it then.
    pub retention: Duration,
    /// Files with the keys that webhooks' URLs and credentials are stored under: the first one seals, each of them
    /// opens. Without any they are stored in the clear.
    pub seal_keys: Vec<PathBuf>,
}

impl Default for PushSection {
    fn default() -> Self {
        Self {
            allow_local: false,
            timeout: Duration::from_secs(10),
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_secs(5 * 60),
            failures_max: 50,
            give_up_after: Duration::from_secs(24 * 60 * 60),
            retention: Duration::from_secs(7 * 24 * 60 * 60),
            seal_keys: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawPush {
    allow_local: bool,
    timeout: Option<Span>,
    backoff_first: Option<Span>,
    backoff_max: Option<Span>,
    failures_max: Option<u32>,
    give_up_after: Option<Span>,
    retention: Option<Span>,
    seal_keys: Vec<PathBuf>,
}

impl Faults {
    pub(super) fn push(&mut self, table: toml::Table) -> PushSection {
        const SOON: Duration = Duration::from_millis(1);
        let raw: RawPush = self.section("gateway.push", table);
        let usual = PushSection::default();
        let mut span = |key, span, default| {
            self.span(&format!("gateway.push.{key}"), span, default, (SOON, SPAN_MAX))
        };
        let timeout = span("timeout", raw.timeout, usual.timeout);
        let backoff_first = span("backoff_first", raw.backoff_first, usual.backoff_first);
        let backoff_max =
            span("backoff_max", raw.backoff_max, usual.backoff_max.max(backoff_first));
        let give_up_after = span("give_up_after", raw.give_up_after, usual.give_up_after);
        let retention = span("retention", raw.retention, usual.retention);
        if backoff_max < backoff_first {
            self.0.push("gateway.push.backoff_max: shorter than backoff_first".to_owned());
        }
        PushSection {
            allow_local: raw.allow_local,
            timeout,
            backoff_first,
            backoff_max,
            failures_max: self.within(
                "gateway.push.failures_max",
                raw.failures_max.unwrap_or(usual.failures_max),
                1,
                1_000_000,
            ),
            give_up_after,
            retention,
            seal_keys: raw.seal_keys,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn all_of_it_can_be_said_and_what_is_wrong_is_named() {
        let text = "[gateway.push]\nallow_local = true\ntimeout = \"2s\"\nbackoff_first = \"10ms\"\n\
            backoff_max = \"1s\"\nfailures_max = 3\ngive_up_after = \"1h\"\nretention = \"2d\"\n\
            seal_keys = [\"new.key\", \"old.key\"]";
        let section = Settings::parse(text).unwrap().gateway.push;
        assert_eq!(
            section,
            PushSection {
                allow_local: true,
                timeout: Duration::from_secs(2),
                backoff_first: Duration::from_millis(10),
                backoff_max: Duration::from_secs(1),
                failures_max: 3,
                give_up_after: Duration::from_secs(3600),
                retention: Duration::from_secs(48 * 3600),
                seal_keys: vec!["new.key".into(), "old.key".into()],
            }
        );
        assert_eq!(Settings::parse("").unwrap().gateway.push, PushSection::default());
        for (text, place) in [
            ("failures_max = 0", "gateway.push.failures_max"),
            ("timeout = \"0s\"", "gateway.push.timeout"),
            ("backoff_first = \"2s\"\nbackoff_max = \"1s\"", "gateway.push.backoff_max"),
            ("retries = 1", "gateway.push.retries"),
        ] {
            let faults = Settings::parse(&format!("[gateway.push]\n{text}")).unwrap_err();
            assert!(faults.iter().any(|fault| fault.starts_with(place)), "{faults:?}");
        }
    }
}
