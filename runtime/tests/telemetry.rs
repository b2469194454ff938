//! Traces against a real OTLP receiver over HTTP, and what logs look like.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test that calls them"
)]

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span as Received;
use prost::Message as _;
use protocol::submission::TraceContext;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tracing::instrument::WithSubscriber as _;
use tracing::{Dispatch, Instrument as _, Span, info, info_span};
use weft_runtime::metric::Metrics;
use weft_runtime::supervisor::{Kind, Supervisor};
use weft_runtime::telemetry::span_context::{outgoing, set_remote_parent};
use weft_runtime::telemetry::{
    FlushError, LogFormat, TelemetryError, TelemetryOptions, TraceCounts, build, init,
};

const LIMIT: Duration = Duration::from_secs(20);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// An OTLP collector: it keeps what is posted to `/v1/traces`.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

impl Collector {
    async fn start(supervisor: &Supervisor) -> (Self, SocketAddr) {
        let collector = Self::default();
        let kept = collector.clone();
        let receive = |headers: HeaderMap, body: Bytes| async move {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            kept.0.lock().unwrap().push(ExportTraceServiceRequest::decode(body).unwrap());
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let router = Router::new().route("/v1/traces", post(receive));
        supervisor.spawn("collector", Kind::Work, async { axum::serve(listener, router).await });
        (collector, addr)
    }

    fn spans(&self) -> Vec<Received> {
        let requests = self.0.lock().unwrap();
        let resources = requests.iter().flat_map(|request| &request.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    fn span(&self, name: &str) -> Received {
        self.spans().into_iter().find(|span| span.name == name).unwrap()
    }

    fn resource(&self, key: &str) -> Option<Value> {
        let requests = self.0.lock().unwrap();
        let attributes = &requests[0].resource_spans[0].resource.as_ref().unwrap().attributes;
        let found = attributes.iter().find(|attribute| attribute.key == key);
        found.and_then(|attribute| attribute.value.clone()?.value)
    }
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn traced(addr: SocketAddr) -> TelemetryOptions {
    TelemetryOptions {
        traces_endpoint: Some(format!("http://{addr}/v1/traces")),
        ..TelemetryOptions::new("node")
    }
}

fn remote(flags: &str) -> TraceContext {
    TraceContext {
        traceparent: Some(format!("00-{TRACE}-{PARENT}-{flags}")),
        tracestate: Some("vendor=1".to_owned()),
        baggage: Some("tenant=acme".to_owned()),
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_span_continues_the_trace_that_its_work_came_with() {
    let supervisor = Supervisor::new(Metrics::new("test"));
    let (collector, addr) = Collector::start(&supervisor).await;
    // A log filter that hides everything must not hide traces.
    let options = TelemetryOptions { log_filter: Some("off".to_owned()), ..traced(addr) };
    let log = Log::default();
    let writer = log.clone();
    let (dispatch, guard) = build(&options, move || writer.clone()).unwrap();
    let incoming = remote("01");
    let sent = tracing::dispatcher::with_default(&dispatch, || {
        let attempt = info_span!("attempt", task_id = "t1", attempt = 2);
        set_remote_parent(&attempt, &incoming);
        attempt.in_scope(|| {
            info!("working");
            drop(info_span!("step").entered());
            outgoing(&Span::current(), &incoming)
        })
    });
    guard.shutdown(LIMIT).await.unwrap();

    let (attempt, step) = (collector.span("attempt"), collector.span("step"));
    assert_eq!(hex(&attempt.trace_id), TRACE);
    assert_eq!(hex(&attempt.parent_span_id), PARENT);
    assert_eq!(attempt.trace_state, "vendor=1");
    assert_eq!(attempt.events[0].name, "working");
    assert!(attempt.attributes.iter().any(|attribute| attribute.key == "task_id"));
    assert_eq!(hex(&step.trace_id), TRACE);
    assert_eq!(step.parent_span_id, attempt.span_id);
    let expected = TraceContext {
        traceparent: Some(format!("00-{TRACE}-{}-01", hex(&attempt.span_id))),
        ..incoming
    };
    assert_eq!(sent, expected);
    let service = Value::StringValue("weft-node".to_owned());
    assert_eq!(collector.resource("service.name"), Some(service));
    assert_eq!(collector.resource("weft.role"), Some(Value::StringValue("node".to_owned())));
    assert_eq!(log.text(), "");
}

#[tokio::test]
async fn concurrent_attempts_keep_their_own_traces() {
    let supervisor = Supervisor::new(Metrics::new("test"));
    let (collector, addr) = Collector::start(&supervisor).await;
    let (dispatch, guard) = build(&traced(addr), io::sink).unwrap();
    for number in 1..=20_u64 {
        let trace = format!("{number:032x}");
        let incoming = TraceContext {
            traceparent: Some(format!("00-{trace}-{PARENT}-01")),
            ..TraceContext::default()
        };
        let attempt = tracing::dispatcher::with_default(&dispatch, || {
            let attempt = info_span!("attempt", number);
            set_remote_parent(&attempt, &incoming);
            attempt
        });
        let work = async move {
            tokio::task::yield_now().await;
            let step = info_span!("step");
            let passed_on = async {
                tokio::task::yield_now().await;
                outgoing(&Span::current(), &TraceContext::default())
            };
            let passed_on = passed_on.instrument(step).await;
            assert_eq!(passed_on.tracestate, None, "an empty header");
            let passed_on = passed_on.traceparent.unwrap();
            assert!(passed_on.contains(&trace), "{passed_on} is not of trace {trace}");
        };
        let work = work.instrument(attempt).with_subscriber(dispatch.clone());
        supervisor.spawn("attempt", Kind::Work, work);
    }
    let begin = Instant::now();
    while supervisor.counts("attempt").running > 0 {
        assert!(begin.elapsed() < LIMIT);
        tokio::task::yield_now().await;
    }
    assert_eq!(supervisor.counts("attempt").panics, 0);
    let waiting = guard.trace_counts().unwrap();
    assert_eq!(waiting.lost, 0);
    guard.shutdown(LIMIT).await.unwrap();
    let spans = collector.spans();
    assert_eq!(spans.len(), 40);
    for step in spans.iter().filter(|span| span.name == "step") {
        let parent = spans.iter().find(|span| span.span_id == step.parent_span_id).unwrap();
        assert_eq!((parent.name.as_str(), &parent.trace_id), ("attempt", &step.trace_id));
    }
}

#[tokio::test]
async fn a_trace_that_is_not_sampled_is_passed_on_but_not_sent() {
    let supervisor = Supervisor::new(Metrics::new("test"));
    let (collector, addr) = Collector::start(&supervisor).await;
    let (dispatch, guard) = build(&traced(addr), io::sink).unwrap();
    let sent = tracing::dispatcher::with_default(&dispatch, || {
        let attempt = info_span!("attempt");
        set_remote_parent(&attempt, &remote("00"));
        outgoing(&attempt, &remote("00")).traceparent.unwrap()
    });
    guard.shutdown(LIMIT).await.unwrap();
    assert!(sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-00"), "{sent}");
    assert!(!sent.contains(PARENT), "{sent}");
    assert_eq!(collector.spans(), []);
}

#[tokio::test]
async fn without_traces_everything_is_passed_on_unchanged() {
    let (dispatch, guard) = build(&TelemetryOptions::new("node"), io::sink).unwrap();
    assert_eq!(guard.trace_counts(), None);
    let broken =
        TraceContext { traceparent: Some("no traceparent".to_owned()), ..TraceContext::default() };
    for dispatch in [dispatch, Dispatch::none()] {
        for incoming in [remote("01"), broken.clone(), TraceContext::default()] {
            let sent = tracing::dispatcher::with_default(&dispatch, || {
                let span = info_span!("attempt");
                set_remote_parent(&span, &incoming);
                span.in_scope(|| outgoing(&Span::current(), &incoming))
            });
            assert_eq!(sent, incoming);
        }
    }
    guard.shutdown(LIMIT).await.unwrap();
}

#[tokio::test]
async fn a_broken_traceparent_begins_a_new_trace() {
    let supervisor = Supervisor::new(Metrics::new("test"));
    let (collector, addr) = Collector::start(&supervisor).await;
    let (dispatch, guard) = build(&traced(addr), io::sink).unwrap();
    tracing::dispatcher::with_default(&dispatch, || {
        for traceparent in
            ["", "00-0-0-0", &format!("00-{TRACE}"), &"00-".repeat(2000), "\u{1F642}"]
        {
            let span = info_span!("attempt");
            let incoming = TraceContext {
                traceparent: Some(traceparent.to_owned()),
                ..TraceContext::default()
            };
            set_remote_parent(&span, &incoming);
        }
    });
    guard.shutdown(LIMIT).await.unwrap();
    let spans = collector.spans();
    assert_eq!(spans.len(), 5);
    assert!(spans.iter().all(|span| span.parent_span_id.is_empty()));
}

#[tokio::test]
async fn a_dead_endpoint_neither_blocks_nor_floods_the_log() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = closed.local_addr().unwrap();
    drop(closed);
    let log = Log::default();
    let writer = log.clone();
    let (dispatch, guard) = build(&traced(addr), move || writer.clone()).unwrap();
    // The exporter's thread knows no scope, so what it says goes to the process.
    tracing::dispatcher::set_global_default(dispatch.clone()).unwrap();
    assert!(matches!(init(&TelemetryOptions::new("node")), Err(TelemetryError::Twice)));

    let begin = Instant::now();
    let mut ended = 0;
    // Several batches, each of which fails.
    while guard.trace_counts().unwrap().lost < 1500 {
        assert!(begin.elapsed() < LIMIT);
        let one = Instant::now();
        tracing::dispatcher::with_default(&dispatch, || drop(info_span!("attempt")));
        assert!(one.elapsed() < Duration::from_secs(1), "a span waited for the endpoint");
        ended += 1;
        if ended % 512 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let begin = Instant::now();
    let limit = Duration::from_millis(300);
    let flushed = guard.shutdown(limit).await;
    assert!(begin.elapsed() < limit + Duration::from_secs(2), "{:?}", begin.elapsed());
    assert_eq!(flushed, Err(FlushError { limit }));
    let text = log.text();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains(&addr.to_string())).collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("WARN") && lines[0].contains("spans get lost"), "{lines:?}");
}

#[tokio::test]
async fn an_endpoint_that_never_answers_holds_shutdown_no_longer_than_its_limit() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (dispatch, guard) = build(&traced(silent.local_addr().unwrap()), io::sink).unwrap();
    tracing::dispatcher::with_default(&dispatch, || drop(info_span!("attempt")));
    let (begin, limit) = (Instant::now(), Duration::from_millis(200));
    assert_eq!(guard.shutdown(limit).await, Err(FlushError { limit }));
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn spans_are_counted_once_sent() {
    let supervisor = Supervisor::new(Metrics::new("test"));
    let (_collector, addr) = Collector::start(&supervisor).await;
    let (dispatch, guard) = build(&traced(addr), io::sink).unwrap();
    tracing::dispatcher::with_default(&dispatch, || {
        for _ in 0..512 {
            drop(info_span!("attempt"));
        }
    });
    let begin = Instant::now();
    while guard.trace_counts() != Some(TraceCounts { sent: 512, lost: 0 }) {
        assert!(begin.elapsed() < LIMIT, "{:?}", guard.trace_counts());
        tokio::task::yield_now().await;
    }
    guard.shutdown(LIMIT).await.unwrap();
}

#[test]
fn logs_are_text_or_json_and_follow_their_filter() {
    let plain = TelemetryOptions::new("node");
    let with = |log_format, color, filter: Option<&str>| TelemetryOptions {
        log_format,
        color,
        log_filter: filter.map(str::to_owned),
        ..plain.clone()
    };
    for (options, lines, in_first) in [
        (with(LogFormat::Text, false, None), 1, " INFO attempt{task_id=\"t1\"}: "),
        (with(LogFormat::Text, true, None), 1, "\u{1b}["),
        (
            with(LogFormat::Json, true, None),
            1,
            "\"span\":{\"task_id\":\"t1\",\"name\":\"attempt\"}",
        ),
        (with(LogFormat::Json, false, Some("debug")), 2, "\"message\":\"done\""),
        (with(LogFormat::Text, false, Some("warn")), 0, ""),
        (with(LogFormat::Text, false, Some("warn,telemetry=info")), 1, "done"),
    ] {
        let log = Log::default();
        let writer = log.clone();
        let (dispatch, _guard) = build(&options, move || writer.clone()).unwrap();
        tracing::dispatcher::with_default(&dispatch, || {
            let _attempt = info_span!("attempt", task_id = "t1").entered();
            info!(steps = 3, "done");
            tracing::debug!("detail");
        });
        let text = log.text();
        assert_eq!(text.lines().count(), lines, "{options:?}\n{text}");
        assert!(text.lines().next().unwrap_or_default().contains(in_first), "{options:?}\n{text}");
        assert_eq!(text.contains('\u{1b}'), options.color && options.log_format == LogFormat::Text);
        if options.log_format == LogFormat::Json {
            for line in text.lines() {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
            }
        }
    }
}

#[test]
fn invalid_options_are_named() {
    let plain = TelemetryOptions::new("node");
    let filter = TelemetryOptions { log_filter: Some("a=b=c".to_owned()), ..plain.clone() };
    let endpoint =
        |url: &str| TelemetryOptions { traces_endpoint: Some(url.to_owned()), ..plain.clone() };
    for (options, expected) in [
        (filter, "\"a=b=c\" is no log filter"),
        (endpoint("localhost:4318"), "\"localhost:4318\" is no OTLP endpoint"),
        (endpoint("https://collector:4318/v1/traces"), "needs TLS"),
    ] {
        let error = build(&options, io::sink).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
