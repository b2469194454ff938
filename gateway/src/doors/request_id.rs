//! Names requests: by the client's own word where it sends one, in every answer, and in the trace that it belongs to.

use axum::http::{HeaderMap, HeaderValue};
use protocol::header;
use protocol::submission::TraceContext;

use crate::limits::REQUEST_ID_CHARS_MAX;

/// The header, in requests and in answers.
pub const HEADER: &str = "x-request-id";

/// The name of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId {
    /// For logs and the audit.
    pub text: String,
    /// For the answer.
    pub value: HeaderValue,
}

/// The client's name for its request, or a new one when it has none that can be used.
#[must_use]
pub fn of(headers: &HeaderMap) -> RequestId {
    let usable = |text: &str| {
        !text.is_empty()
            && text.len() <= REQUEST_ID_CHARS_MAX
            && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let given = headers.get(HEADER).and_then(|value| value.to_str().ok());
    let text = given.filter(|text| usable(text)).map(str::to_owned);
    let text = text.unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    let value = HeaderValue::from_str(&text);
    RequestId { value: value.unwrap_or(HeaderValue::from_static("unnamed")), text }
}

/// The trace that the client says the request belongs to.
#[must_use]
pub fn trace(headers: &HeaderMap) -> TraceContext {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
    TraceContext {
        traceparent: text(header::TRACEPARENT),
        tracestate: text(header::TRACESTATE),
        baggage: text(header::BAGGAGE),
    }
}
