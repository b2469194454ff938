//! How much the doors take, before anything is known about who asks.

use std::time::Duration;

use serde::Deserialize;

use crate::config::{Faults, SPAN_MAX, Span};

/// Limits of the doors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorLimits {
    /// Connections at once. Further ones wait for the end of others.
    pub connections: usize,
    /// Connections at once from one address that is neither this machine nor a trusted proxy.
    pub connections_per_address: usize,
    /// Headers of one request.
    pub headers: usize,
    /// Bytes of the headers of one request.
    pub header_bytes: usize,
    /// How long the headers of a request, or a TLS handshake, may take.
    pub header_wait: Duration,
    /// How long the body of a request may take.
    pub body_wait: Duration,
    /// How long a connection may stay without an open request.
    pub idle: Duration,
    /// Open requests on one HTTP/2 connection.
    pub streams: u32,
    /// How long open requests may go on once the gateway was told to stop.
    pub grace: Duration,
    /// Failed authentications a minute from one address. Further ones are told to wait, and no longer audited one by one.
    pub failures_per_minute: u32,
}

impl Default for DoorLimits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connections_per_address: 256,
            headers: 100,
            header_bytes: 32 * 1024,
            header_wait: Duration::from_secs(10),
            body_wait: Duration::from_secs(60),
            idle: Duration::from_secs(75),
            streams: 256,
            grace: Duration::from_secs(5),
            failures_per_minute: 30,
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLimits {
    connections: Option<usize>,
    connections_per_address: Option<usize>,
    headers: Option<usize>,
    header_bytes: Option<usize>,
    header_wait: Option<Span>,
    body_wait: Option<Span>,
    idle: Option<Span>,
    streams: Option<u32>,
    grace: Option<Span>,
    failures_per_minute: Option<u32>,
}

/// Shorter times are mistakes: nobody's headers arrive within a moment.
const WAIT_MIN: Duration = Duration::from_millis(100);

impl Faults {
    pub(super) fn door_limits(&mut self, table: toml::Table) -> DoorLimits {
        let raw: RawLimits = self.section("gateway.limits", table);
        let place = |key: &str| format!("gateway.limits.{key}");
        let usual = DoorLimits::default();
        let mut size = |key: &str, value: Option<usize>, usual: usize, low: usize, high: usize| {
            self.within(&place(key), value.unwrap_or(usual), low, high)
        };
        let connections = size("connections", raw.connections, usual.connections, 1, 1_000_000);
        let per_address = raw.connections_per_address;
        let connections_per_address = size(
            "connections_per_address",
            per_address,
            usual.connections_per_address,
            1,
            1_000_000,
        );
        let headers = size("headers", raw.headers, usual.headers, 16, 1024);
        // The HTTP library needs 8 KiB for its buffer.
        let bytes = raw.header_bytes;
        let header_bytes = size("header_bytes", bytes, usual.header_bytes, 8192, 1024 * 1024);
        let mut wait = |key: &str, span: Option<Span>, usual: Duration, low: Duration| {
            self.span(&place(key), span, usual, (low, SPAN_MAX))
        };
        DoorLimits {
            connections,
            connections_per_address,
            headers,
            header_bytes,
            header_wait: wait("header_wait", raw.header_wait, usual.header_wait, WAIT_MIN),
            body_wait: wait("body_wait", raw.body_wait, usual.body_wait, WAIT_MIN),
            idle: wait("idle", raw.idle, usual.idle, WAIT_MIN),
            grace: wait("grace", raw.grace, usual.grace, Duration::ZERO),
            streams: self.within(
                &place("streams"),
                raw.streams.unwrap_or(usual.streams),
                1,
                10_000,
            ),
            failures_per_minute: self.within(
                &place("failures_per_minute"),
                raw.failures_per_minute.unwrap_or(usual.failures_per_minute),
                1,
                1_000_000,
            ),
        }
    }
}
