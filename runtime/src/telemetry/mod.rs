//! Sets up what the process tells about its work: logs on stderr, traces over OTLP.
//!
//! Logs and traces are two readers of the same `tracing` spans and events, each with its own filter,
//! so a quiet log does not thin out the traces. Traces are on only where an endpoint is given; an endpoint that
//! is dead costs spans, never work (see [`export`]). [`span_context`] carries a trace across the bus.

mod export;
mod options;
pub mod span_context;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing::field::Field;
use tracing::{Dispatch, Subscriber};
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::{EnvFilter, LevelFilter, ParseError, Targets};
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::Filter;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry, layer::SubscriberExt as _};

pub use export::TraceCounts;
pub use options::{LogFormat, LogFormatError, TelemetryOptions};

/// The log filter where none is given.
pub const LOG_FILTER_DEFAULT: &str = "info";

/// Telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter is none.
    #[error("{filter:?} is no log filter such as \"info\" or \"info,weft_runtime=debug\"")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        #[source]
        error: ParseError,
    },
    /// The traces endpoint is no URL that can be posted to.
    #[error("{endpoint:?} is no OTLP endpoint of the form http://host:port/v1/traces")]
    Endpoint {
        /// The endpoint.
        endpoint: String,
    },
    /// The traces endpoint wants TLS.
    #[error(
        "the OTLP endpoint {endpoint:?} needs TLS, which is not built in; send to a collector on this host over http"
    )]
    Tls {
        /// The endpoint.
        endpoint: String,
    },
    /// The exporter refused its settings, some of which it reads from `OTEL_EXPORTER_OTLP_*`.
    #[error("the OTLP exporter cannot be set up")]
    Exporter(#[from] ExporterBuildError),
    /// This process has telemetry already.
    #[error("telemetry is set up twice in one process")]
    Twice,
}

/// Spans were still waiting to be sent when the limit was reached; they are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the OTLP endpoint did not take the last spans within {limit:?}")]
pub struct FlushError {
    /// How long was waited.
    pub limit: Duration,
}

/// Keeps traces flowing; shut it down last, so that the last spans are sent.
#[derive(Debug)]
#[must_use = "the last spans are sent by its shutdown"]
pub struct TelemetryGuard {
    traces: Option<(SdkTracerProvider, Arc<export::Watch>)>,
}

/// Sets telemetry up for the whole process, with logs on stderr.
///
/// # Errors
/// When an option is invalid or telemetry was set up before.
pub fn init(options: &TelemetryOptions) -> Result<TelemetryGuard, TelemetryError> {
    let (dispatch, guard) = build(options, std::io::stderr)?;
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| TelemetryError::Twice)?;
    Ok(guard)
}

/// The same with logs going to `writer`, without touching the process: `with_default` gives it a scope.
///
/// # Errors
/// When an option is invalid.
pub fn build<W>(
    options: &TelemetryOptions,
    writer: W,
) -> Result<(Dispatch, TelemetryGuard), TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = options.log_filter.as_deref().unwrap_or(LOG_FILTER_DEFAULT);
    let filter = log_filter(filter)?;
    let traces = options
        .traces_endpoint
        .as_deref()
        .map(|endpoint| export::provider(options, endpoint))
        .transpose()?;
    // Broken stderr must not become a panic inside of whoever logs.
    let logs = fmt::layer().with_writer(writer).log_internal_errors(false);
    let registry =
        Registry::default().with(traces.as_ref().map(|(provider, _)| {
            trace_layer(provider.tracer("weft")).with_filter(LevelFilter::INFO)
        }));
    let dispatch = match options.log_format {
        LogFormat::Text if options.color => {
            Dispatch::new(registry.with(logs.with_ansi(true).with_filter(filter)))
        }
        LogFormat::Text => {
            let logs = logs.with_ansi(false).fmt_fields(debug_fn(plain).delimited(" "));
            Dispatch::new(registry.with(logs.with_filter(filter)))
        }
        LogFormat::Json => {
            let logs = logs.json().flatten_event(true).with_span_list(false);
            Dispatch::new(registry.with(logs.with_filter(filter)))
        }
    };
    Ok((dispatch, TelemetryGuard { traces }))
}

/// Writes a field as the library does without colors, but without its way over styles.
fn plain(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> std::fmt::Result {
    if field.name() != "message" {
        writer.write_str(field.name())?;
        writer.write_char('=')?;
    }
    writer.write_fmt(format_args!("{value:?}"))
}

/// A filter that looks at targets and levels only costs a span much less than one that may look at spans.
fn log_filter<S>(text: &str) -> Result<Box<dyn Filter<S> + Send + Sync>, TelemetryError> {
    if !text.contains('[')
        && let Ok(targets) = text.parse::<Targets>()
    {
        return Ok(Box::new(targets));
    }
    let by_span = EnvFilter::try_new(text)
        .map_err(|error| TelemetryError::Filter { filter: text.to_owned(), error })?;
    Ok(Box::new(by_span))
}

impl TelemetryGuard {
    /// Sends the spans that still wait, for at most `limit`, and ends tracing. Spans that end later
    /// are not sent.
    ///
    /// # Errors
    /// When the limit was reached first.
    pub async fn shutdown(self, limit: Duration) -> Result<(), FlushError> {
        let Some((provider, _)) = self.traces else { return Ok(()) };
        // It blocks for as long as the exporter does, hence off the event loop.
        let flushed =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(limit).is_ok());
        if flushed.await.unwrap_or(false) { Ok(()) } else { Err(FlushError { limit }) }
    }

    /// What has become of the spans so far; `None` where traces are off.
    #[must_use]
    pub fn trace_counts(&self) -> Option<TraceCounts> {
        self.traces.as_ref().map(|(_, watch)| watch.counts())
    }
}

/// Without what costs time in every span and nobody reads: code locations, thread names, busy times.
fn trace_layer<S>(tracer: SdkTracer) -> tracing_opentelemetry::OpenTelemetryLayer<S, SdkTracer>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_context_activation(false)
}
