//! Sends finished spans to an OTLP endpoint, from a thread of its own.
//!
//! A span that ends is put into a bounded queue; when the queue is full or the endpoint does not answer,
//! spans are lost and the process goes on. The SDK's own messages are not built in, since a dead
//! endpoint would write one every few seconds: [`Watch`] says once that spans get lost, and once that they arrive again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::http::Uri;
use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter,
};

use super::{TelemetryError, TelemetryOptions};

/// Spans that wait to be sent; a busy node ends that many in under a second. About 1 KB each.
const QUEUE_SPANS_MAX: usize = 8192;

/// How long one batch may take, retries included.
const BATCH_LIMIT: Duration = Duration::from_secs(5);

/// What has become of spans that were handed to the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TraceCounts {
    /// Spans that the endpoint took.
    pub sent: u64,
    /// Spans that it did not take.
    pub lost: u64,
}

/// Counts spans and speaks up when the endpoint stops or starts taking them.
#[derive(Debug, Default)]
pub(super) struct Watch {
    sent: AtomicU64,
    lost: AtomicU64,
    failing: AtomicBool,
}

/// What is worth a log line.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Broke,
    Recovered,
}

#[derive(Debug)]
struct Watched {
    exporter: opentelemetry_otlp::SpanExporter,
    endpoint: String,
    watch: Arc<Watch>,
}

/// A provider of tracers whose spans go to `endpoint`.
pub(super) fn provider(
    options: &TelemetryOptions,
    endpoint: &str,
) -> Result<(SdkTracerProvider, Arc<Watch>), TelemetryError> {
    check(endpoint)?;
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .with_timeout(BATCH_LIMIT)
        .build()?;
    let watch = Arc::new(Watch::default());
    let watched = Watched { exporter, endpoint: endpoint.to_owned(), watch: Arc::clone(&watch) };
    let config = BatchConfigBuilder::default().with_max_queue_size(QUEUE_SPANS_MAX).build();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(BatchSpanProcessor::builder(watched).with_batch_config(config).build())
        .with_resource(resource(options))
        .build();
    Ok((provider, watch))
}

fn check(endpoint: &str) -> Result<(), TelemetryError> {
    let uri = endpoint.parse::<Uri>().ok().filter(|uri| uri.host().is_some());
    match uri.as_ref().and_then(Uri::scheme_str) {
        Some("http") => Ok(()),
        Some("https") => Err(TelemetryError::Tls { endpoint: endpoint.to_owned() }),
        Some(_) | None => Err(TelemetryError::Endpoint { endpoint: endpoint.to_owned() }),
    }
}

fn resource(options: &TelemetryOptions) -> Resource {
    Resource::builder()
        .with_service_name(options.service_name.clone())
        .with_attributes([
            KeyValue::new("service.namespace", "weft"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", uuid::Uuid::now_v7().to_string()),
            KeyValue::new("weft.role", options.role.clone()),
        ])
        .build()
}

impl Watch {
    pub(super) fn counts(&self) -> TraceCounts {
        TraceCounts {
            sent: self.sent.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
        }
    }

    fn note(&self, spans: u64, taken: bool) -> Option<Turn> {
        let counter = if taken { &self.sent } else { &self.lost };
        counter.fetch_add(spans, Ordering::Relaxed);
        let was_failing = self.failing.swap(!taken, Ordering::Relaxed);
        match (was_failing, taken) {
            (false, false) => Some(Turn::Broke),
            (true, true) => Some(Turn::Recovered),
            (false, true) | (true, false) => None,
        }
    }
}

impl SpanExporter for Watched {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let result = self.exporter.export(batch).await;
        let (endpoint, lost) = (&self.endpoint, self.watch.counts().lost);
        match (self.watch.note(spans, result.is_ok()), &result) {
            (Some(Turn::Broke), Err(error)) => {
                tracing::warn!(endpoint, %error, "spans get lost: the OTLP endpoint does not take them");
            }
            (Some(Turn::Recovered), _) => {
                tracing::info!(endpoint, lost, "the OTLP endpoint takes spans again");
            }
            (Some(Turn::Broke) | None, _) => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.exporter.shutdown()
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_is_worth_a_line() {
        let watch = Watch::default();
        for (taken, expected) in [
            (true, None),
            (false, Some(Turn::Broke)),
            (false, None),
            (false, None),
            (true, Some(Turn::Recovered)),
            (true, None),
            (false, Some(Turn::Broke)),
        ] {
            assert_eq!(watch.note(10, taken), expected);
        }
        assert_eq!(watch.counts(), TraceCounts { sent: 30, lost: 40 });
    }

    #[test]
    fn an_endpoint_is_a_plain_http_url() {
        assert!(check("http://127.0.0.1:4318/v1/traces").is_ok());
        assert!(check("http://[::1]:4318/v1/traces").is_ok());
        assert!(matches!(check("https://c:4318/v1/traces"), Err(TelemetryError::Tls { .. })));
        for wrong in ["", "localhost:4318", "/v1/traces", "grpc://c:4317", "http://", "a b"] {
            let refused = check(wrong);
            assert!(matches!(refused, Err(TelemetryError::Endpoint { .. })), "{wrong}");
        }
    }
}
