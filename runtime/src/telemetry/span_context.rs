//! Carries a trace from one process to the next, in the headers of W3C Trace Context.
//!
//! Whoever receives work calls [`set_remote_parent`] on the span of that work; whoever passes work on sends
//! [`outgoing`]. A process without traces passes on what it was given, unchanged, so that it leaves no
//! gap in other people's traces. Baggage is never looked into.

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use protocol::header::{TRACEPARENT, TRACESTATE};
use protocol::submission::TraceContext;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Makes `span` a child of the remote one that `remote` names. Call it before the span has children of
/// its own. Without traces, or when `remote` names no span, nothing happens.
pub fn set_remote_parent(span: &Span, remote: &TraceContext) {
    if remote.traceparent.is_none() {
        return;
    }
    let context = TraceContextPropagator::new()
        .extract_with_context(&opentelemetry::Context::new(), &Received(remote));
    if context.span().span_context().is_valid() {
        // The only errors are that this process has no traces and that the span is filtered out.
        drop(span.set_parent(context));
    }
}

/// What to send on with work that `span` causes: the span itself as parent, or `incoming` unchanged where
/// there are no traces. `incoming` is what the work came with; empty when it began here.
#[must_use]
pub fn outgoing(span: &Span, incoming: &TraceContext) -> TraceContext {
    let context = span.context();
    if !context.span().span_context().is_valid() {
        return incoming.clone();
    }
    let mut sent =
        Sent(TraceContext { baggage: incoming.baggage.clone(), ..TraceContext::default() });
    TraceContextPropagator::new().inject_context(&context, &mut sent);
    sent.0
}

struct Received<'a>(&'a TraceContext);

impl Extractor for Received<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            TRACEPARENT => self.0.traceparent.as_deref(),
            TRACESTATE => self.0.tracestate.as_deref(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

struct Sent(TraceContext);

impl Injector for Sent {
    fn set(&mut self, key: &str, value: String) {
        match key {
            TRACEPARENT => self.0.traceparent = Some(value),
            // An empty header says nothing and some readers refuse it.
            TRACESTATE => self.0.tracestate = Some(value).filter(|value| !value.is_empty()),
            _ => {}
        }
    }
}
