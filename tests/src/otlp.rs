//! An OTLP collector in this process: it keeps the spans that are posted to it.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message as _;
use runtime::supervisor::{Kind, Supervisor};
use tokio::net::TcpListener;

/// A span as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Its name.
    pub name: String,
    /// The trace it belongs to, in hex.
    pub trace_id: String,
    /// Its own id, in hex.
    pub id: String,
    /// The span above it, in hex; empty for a root.
    pub parent_id: String,
    /// What is said about it, as text.
    pub attributes: Vec<(String, String)>,
    /// `service.name` of the process that sent it.
    pub service: String,
}

impl Span {
    /// What is said about it under a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A running collector.
#[derive(Clone)]
pub struct Collector {
    kept: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` has to be.
    pub endpoint: String,
}

impl Collector {
    /// Listens until `supervisor` shuts down.
    pub async fn start(supervisor: &Supervisor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self { kept: Arc::default(), endpoint };
        let kept = Arc::clone(&collector.kept);
        let receive = |body: Bytes| async move {
            kept.lock().unwrap().push(ExportTraceServiceRequest::decode(body).unwrap());
        };
        let router = Router::new().route("/v1/traces", post(receive));
        supervisor.spawn("collector", Kind::Work, async { axum::serve(listener, router).await });
        collector
    }

    /// Every span so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        let mut found = Vec::new();
        for resource in self.kept.lock().unwrap().iter().flat_map(|sent| &sent.resource_spans) {
            let about = resource.resource.as_ref().map(|resource| texts(&resource.attributes));
            let service = about.and_then(|about| {
                about.into_iter().find(|(key, _)| key == "service.name").map(|(_, value)| value)
            });
            for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
                found.push(Span {
                    name: span.name.clone(),
                    trace_id: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent_id: hex(&span.parent_span_id),
                    attributes: texts(&span.attributes),
                    service: service.clone().unwrap_or_default(),
                });
            }
        }
        found
    }
}

fn texts(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let text = |attribute: &KeyValue| match attribute.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        Value::BoolValue(fact) => Some(fact.to_string()),
        _ => None,
    };
    attributes.iter().filter_map(|one| Some((one.key.clone(), text(one)?))).collect()
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
