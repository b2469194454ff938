//! Watches a request from the moment it is let in to the last byte of its answer: one log line, the metrics, and the end of
//! streams when the gateway stops.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use runtime::metric::Metrics;
use runtime::metric::label::RequestLabel;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::trail::Trail;

/// What is told about a request at its end.
pub(super) struct Seen {
    pub(super) metrics: Metrics,
    pub(super) trail: Trail,
    pub(super) door: &'static str,
    pub(super) request: String,
    pub(super) address: IpAddr,
    pub(super) caller: Arc<str>,
    pub(super) status: u16,
    pub(super) since: Instant,
    /// Whether it was counted as an open stream.
    pub(super) is_stream: bool,
}

/// The status in the log of a request whose client went away before it was answered.
pub(super) const GONE: u16 = 499;

impl Drop for Seen {
    fn drop(&mut self) {
        let facts = self.trail.facts();
        let operation = facts.operation.map_or("none", |one| one.word());
        let took = self.since.elapsed();
        let label = RequestLabel { door: self.door, operation, status: u32::from(self.status) };
        self.metrics.gateway.requests.get_or_create(&label).inc();
        if self.is_stream {
            self.metrics.gateway.open_streams.dec();
        } else {
            self.metrics.gateway.request_duration.observe(took.as_secs_f64());
        }
        tracing::info!(
            request = self.request,
            caller = &*self.caller,
            address = %self.address,
            door = self.door,
            operation,
            task = facts.task,
            status = self.status,
            ms = took.as_secs_f64() * 1000.0,
            "request"
        );
    }
}

/// Lets an answer go, and watches it.
pub(super) fn release(
    mut response: Response,
    mut seen: Seen,
    closing: CancellationToken,
) -> Response {
    seen.status = status_of(&response);
    let stream = stream_of(response.headers());
    if stream.is_some() {
        seen.is_stream = true;
        seen.metrics.gateway.open_streams.inc();
    }
    let ends = stream.map(|stream| (stream, Box::pin(closing.cancelled_owned())));
    let body = std::mem::take(response.body_mut());
    *response.body_mut() = Body::new(Watched { body, ends, _seen: seen });
    response
}

/// The HTTP status; for gRPC, whose errors have HTTP status 200, the one that belongs to them.
pub(super) fn status_of(response: &Response) -> u16 {
    let code = response.headers().get("grpc-status").and_then(|code| code.to_str().ok());
    match code {
        Some("3" | "9") => 400,
        Some("5") => 404,
        Some("7") => 403,
        Some("8") => 429,
        Some("14") => 503,
        Some("16") => 401,
        Some(code) if code != "0" => 500,
        _ => response.status().as_u16(),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Events,
    Grpc,
}

fn stream_of(headers: &HeaderMap) -> Option<Stream> {
    let kind = headers.get(CONTENT_TYPE)?.as_bytes();
    if kind.starts_with(b"text/event-stream") {
        Some(Stream::Events)
    } else if kind.starts_with(b"application/grpc") && !headers.contains_key("grpc-status") {
        Some(Stream::Grpc).filter(|_| !headers.contains_key(CONTENT_LENGTH))
    } else {
        None
    }
}

struct Watched {
    body: Body,
    ends: Option<(Stream, Pin<Box<WaitForCancellationFutureOwned>>)>,
    _seen: Seen,
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        // Only a stream that has nothing to say is ended: an answer under way is given to its end.
        let Some((stream, closing)) = &mut self.ends else { return Poll::Pending };
        if closing.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        let stream = *stream;
        self.ends = None;
        self.body = Body::empty();
        Poll::Ready(match stream {
            Stream::Events => None,
            Stream::Grpc => Some(Ok(Frame::trailers(unavailable()))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What a gRPC client reads as: try again, somewhere else.
fn unavailable() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("14"));
    trailers
        .insert("grpc-message", HeaderValue::from_static("the gateway stops; the task goes on"));
    trailers
}
