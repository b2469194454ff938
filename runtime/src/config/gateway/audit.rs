//! What the audit holds, for how long, and how much.

use std::time::Duration;

use protocol::topology::Capacity;
use serde::Deserialize;

use crate::config::{Faults, Span};

/// Settings of the audit. The stream is made with its limits; later changes are reported and not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditSection {
    /// Which decisions.
    pub keep: AuditScope,
    /// How long; zero for ever.
    pub age_max: Duration,
    /// Bytes, beyond which the oldest entries go; -1 leaves it to the account's limit, which refuses.
    pub bytes_max: i64,
}

/// Which decisions of the doors are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditScope {
    /// All.
    #[default]
    All,
    /// Those against the caller.
    Denied,
    /// None.
    Off,
}

/// The least that is taken for meant, in bytes.
const BYTES_MIN: i64 = 1024 * 1024;

impl Default for AuditSection {
    fn default() -> Self {
        let Capacity { audit_age_max, audit_bytes_max, .. } = Capacity::default();
        Self { keep: AuditScope::All, age_max: audit_age_max, bytes_max: audit_bytes_max }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawAudit {
    keep: AuditScope,
    max_age: Option<Span>,
    max_bytes: Option<i64>,
}

impl Faults {
    /// A word says which decisions are kept, a section also how many.
    pub(super) fn audit(&mut self, value: Option<toml::Value>) -> AuditSection {
        const PLACE: &str = "gateway.audit";
        let usual = AuditSection::default();
        let table = match value {
            None => return usual,
            Some(toml::Value::Table(table)) => table,
            Some(word) => {
                let keep = word.try_into::<AuditScope>();
                let keep = keep.map_err(|error| error.message().trim().to_owned());
                return AuditSection { keep: self.take(PLACE, keep).unwrap_or_default(), ..usual };
            }
        };
        let raw: RawAudit = self.section(PLACE, table);
        let age_max = self.kept(&format!("{PLACE}.max_age"), raw.max_age, usual.age_max);
        let bytes_max = raw.max_bytes.unwrap_or(usual.bytes_max);
        if bytes_max != -1 && bytes_max < BYTES_MIN {
            self.0.push(format!(
                "{PLACE}.max_bytes: {bytes_max} is less than {BYTES_MIN}; -1 leaves it to the account's limit"
            ));
        }
        AuditSection { keep: raw.keep, age_max, bytes_max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn a_word_or_a_section_and_the_streams_hear_of_it() {
        let day = Duration::from_secs(24 * 60 * 60);
        let usual = AuditSection::default();
        assert_eq!((usual.age_max, usual.bytes_max), (90 * day, 1 << 30));
        for (text, expected) in [
            ("", usual),
            ("audit = \"denied\"", AuditSection { keep: AuditScope::Denied, ..usual }),
            ("[gateway.audit]\nkeep = \"off\"", AuditSection { keep: AuditScope::Off, ..usual }),
            (
                "[gateway.audit]\nmax_age = \"7d 12h\"\nmax_bytes = 2097152",
                AuditSection { age_max: day * 15 / 2, bytes_max: 2 << 20, ..usual },
            ),
            (
                "[gateway.audit]\nmax_age = \"0s\"\nmax_bytes = -1",
                AuditSection { age_max: Duration::ZERO, bytes_max: -1, ..usual },
            ),
        ] {
            let settings = Settings::parse(&format!("[gateway]\n{text}")).unwrap();
            assert_eq!(settings.gateway.audit, expected, "{text}");
            let Capacity { audit_age_max, audit_bytes_max, .. } = settings.capacity;
            assert_eq!((audit_age_max, audit_bytes_max), (expected.age_max, expected.bytes_max));
        }
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        for (text, place) in [
            ("audit = \"some\"", "gateway.audit:"),
            ("audit = 7", "gateway.audit:"),
            ("[gateway.audit]\nmax_age = \"5m\"", "gateway.audit.max_age:"),
            ("[gateway.audit]\nmax_age = \"99999d\"", "gateway.audit.max_age:"),
            ("[gateway.audit]\nmax_bytes = 1000", "gateway.audit.max_bytes:"),
            ("[gateway.audit]\nkeep = \"some\"", "gateway.audit.keep:"),
            ("[gateway.audit]\nage = \"90d\"", "gateway.audit.age:"),
        ] {
            let faults = Settings::parse(&format!("[gateway]\n{text}")).unwrap_err();
            assert!(faults.iter().any(|fault| fault.starts_with(place)), "{text}: {faults:?}");
        }
    }
}
