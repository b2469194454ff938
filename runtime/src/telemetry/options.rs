//! What telemetry can be told, and what the standard environment variables say about it.

use std::fmt;
use std::io::IsTerminal as _;
use std::str::FromStr;

use serde::Deserialize;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A word that names no log format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no log format; there are text and json")]
pub struct LogFormatError {
    /// The word.
    pub found: String,
}

impl FromStr for LogFormat {
    type Err = LogFormatError;

    fn from_str(word: &str) -> Result<Self, LogFormatError> {
        match word {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(LogFormatError { found: word.to_owned() }),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// What telemetry should do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetryOptions {
    /// `service.name` of the traces, such as `weft-node`.
    pub service_name: String,
    /// What this process is: `node`, `coordinator`, `gateway`, `dev`.
    pub role: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines are written, in the form of `RUST_LOG`; `None` stands for `info`.
    pub log_filter: Option<String>,
    /// Whether text lines have colors.
    pub color: bool,
    /// The full URL that traces are posted to; `None` turns them off.
    pub traces_endpoint: Option<String>,
}

impl TelemetryOptions {
    /// Text at level `info` without colors, and no traces.
    #[must_use]
    pub fn new(role: &str) -> Self {
        Self {
            service_name: format!("weft-{role}"),
            role: role.to_owned(),
            log_format: LogFormat::default(),
            log_filter: None,
            color: false,
            traces_endpoint: None,
        }
    }

    /// What `RUST_LOG`, `NO_COLOR` and OpenTelemetry's standard variables say.
    #[must_use]
    pub fn from_environment(role: &str) -> Self {
        Self::from_lookup(role, std::io::stderr().is_terminal(), variable)
    }

    fn from_lookup(role: &str, terminal: bool, get: impl Fn(&str) -> Option<String>) -> Self {
        // OpenTelemetry and NO_COLOR both want an empty variable to count as unset.
        let get = |name| get(name).filter(|value| !value.trim().is_empty());
        let mut options = Self::new(role);
        if let Some(name) = get("OTEL_SERVICE_NAME") {
            options.service_name = name;
        }
        options.log_filter = get("RUST_LOG");
        options.color = terminal && get("NO_COLOR").is_none();
        let disabled =
            get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if !disabled {
            options.traces_endpoint = get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
                .or_else(|| get("OTEL_EXPORTER_OTLP_ENDPOINT").map(|base| traces_url(&base)));
        }
        options
    }
}

/// The URL for traces below a base endpoint, as the OTLP specification builds it.
fn traces_url(base: &str) -> String {
    format!("{}/v1/traces", base.trim_end_matches('/'))
}

#[expect(clippy::disallowed_methods, reason = "the home of the telemetry variables")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(terminal: bool, variables: &[(&str, &str)]) -> TelemetryOptions {
        TelemetryOptions::from_lookup("node", terminal, |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_endpoint_follows_the_otlp_specification() {
        const BASE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        for (variables, expected) in [
            (&[][..], None),
            (&[(BASE, "http://c:4318")], Some("http://c:4318/v1/traces")),
            (&[(BASE, "http://c:4318/otlp/")], Some("http://c:4318/otlp/v1/traces")),
            (&[(TRACES, "http://t:1/in"), (BASE, "http://c:4318")], Some("http://t:1/in")),
            (&[(TRACES, ""), (BASE, "http://c:4318")], Some("http://c:4318/v1/traces")),
            (&[(BASE, " ")], None),
            (&[(BASE, "http://c:4318"), ("OTEL_SDK_DISABLED", "true")], None),
            (
                &[(BASE, "http://c:4318"), ("OTEL_SDK_DISABLED", "false")],
                Some("http://c:4318/v1/traces"),
            ),
        ] {
            assert_eq!(from(true, variables).traces_endpoint.as_deref(), expected, "{variables:?}");
        }
    }

    #[test]
    fn colors_need_a_terminal_and_nobody_against_them() {
        for (terminal, variables, expected) in [
            (true, &[][..], true),
            (true, &[("NO_COLOR", "1")], false),
            (true, &[("NO_COLOR", "")], true),
            (false, &[], false),
        ] {
            assert_eq!(from(terminal, variables).color, expected);
        }
    }

    #[test]
    fn names_and_filter_come_from_their_variables() {
        let options = from(false, &[("OTEL_SERVICE_NAME", "mine"), ("RUST_LOG", "warn")]);
        assert_eq!(
            (options.service_name.as_str(), options.log_filter.as_deref()),
            ("mine", Some("warn"))
        );
        assert_eq!(from(false, &[]).service_name, "weft-node");
    }

    #[test]
    fn a_log_format_reads_what_it_writes() {
        for format in [LogFormat::Text, LogFormat::Json] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert_eq!("xml".parse::<LogFormat>(), Err(LogFormatError { found: "xml".to_owned() }));
    }
}
