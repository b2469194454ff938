//! Writes events as Server-Sent Events, for every door that streams.
//!
//! An event's id is its cursor, from which a client may go on at any gateway. A stream that fails in the middle, also
//! because this process goes down, ends with an event `error`: the end of a stream alone means the end of the task.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::a2a::error::Error;
use crate::core::{EventStream, StreamEvent};
use crate::limits::KEEP_ALIVE;

/// How a binding writes events and the error that ends a stream.
pub trait Frames: Send + 'static {
    /// The data of an event.
    ///
    /// # Errors
    /// When it is no JSON.
    fn event(&self, event: &StreamEvent) -> Result<Vec<u8>, serde_json::Error>;
    /// The data of an error.
    fn error(&self, error: &Error) -> Value;
}

/// The answer that streams these events.
///
/// # Errors
/// When the stream fails before its first event: that is an error like any other.
pub async fn answer(
    mut events: EventStream,
    frames: impl Frames,
    closing: CancellationToken,
) -> Result<Response, Error> {
    // Who goes on behind a cursor may have nothing to see for long, and hears that it is being served all the same.
    let first = match tokio::time::timeout(KEEP_ALIVE, events.next()).await {
        Ok(first) => first.transpose()?,
        Err(_) => None,
    };
    let events = futures_util::stream::iter(first.map(Ok)).chain(events);
    let body = Body::from_stream(written(events, frames, closing, KEEP_ALIVE));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

fn written(
    events: impl Stream<Item = Result<StreamEvent, Error>> + Send + 'static,
    frames: impl Frames,
    closing: CancellationToken,
    keep_alive: Duration,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send {
    async_stream::stream! {
        let mut events = Box::pin(events);
        loop {
            let next = tokio::select! {
                biased;
                next = tokio::time::timeout(keep_alive, events.next()) => next,
                () = closing.cancelled() => {
                    let gone = "this gateway goes down; subscribe again".to_owned();
                    yield Ok(failed(&frames, &Error::Unavailable(gone)));
                    break;
                }
            };
            match next {
                Err(_) => yield Ok(Bytes::from_static(b": waiting\n\n")),
                Ok(None) => break,
                Ok(Some(Err(error))) => {
                    yield Ok(failed(&frames, &error));
                    break;
                }
                Ok(Some(Ok(event))) => match frames.event(&event) {
                    Ok(data) => yield Ok(frame(&event.cursor, &data)),
                    Err(error) => {
                        yield Ok(failed(&frames, &Error::Internal(error.to_string())));
                        break;
                    }
                },
            }
        }
    }
}

/// JSON has no line ends but within strings, where they are escaped.
fn frame(cursor: &str, data: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(data.len() + cursor.len() + 16);
    if !cursor.is_empty() {
        frame.extend_from_slice(b"id: ");
        frame.extend_from_slice(cursor.as_bytes());
        frame.push(b'\n');
    }
    frame.extend_from_slice(b"data: ");
    frame.extend_from_slice(data);
    frame.extend_from_slice(b"\n\n");
    frame.into()
}

fn failed(frames: &impl Frames, error: &Error) -> Bytes {
    format!("event: error\ndata: {}\n\n", frames.error(error)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::a2a::render;
    use crate::a2a::response::{StatusUpdate, StreamResponse};
    use protocol::task::{TaskState, TaskStatus};

    struct Plain;

    impl Frames for Plain {
        fn event(&self, event: &StreamEvent) -> Result<Vec<u8>, serde_json::Error> {
            serde_json::to_vec(&event.response)
        }
        fn error(&self, error: &Error) -> Value {
            render::status(error)
        }
    }

    fn event(cursor: &str) -> StreamEvent {
        let status = TaskStatus { state: TaskState::Working, message: None, timestamp: None };
        let (task_id, context_id) = ("s1".to_owned(), "line\nend".to_owned());
        let update = StatusUpdate { task_id, context_id, status, metadata: None };
        StreamEvent { cursor: cursor.to_owned(), response: StreamResponse::StatusUpdate(update) }
    }

    async fn text(events: Vec<Result<StreamEvent, Error>>) -> String {
        let events = futures_util::stream::iter(events);
        let written = written(events, Plain, CancellationToken::new(), KEEP_ALIVE);
        let frames: Vec<_> = written.map(|frame| frame.unwrap()).collect().await;
        String::from_utf8(frames.concat()).unwrap()
    }

    #[tokio::test]
    async fn an_event_has_its_cursor_and_one_line_of_data() {
        let text = text(vec![Ok(event("3.1"))]).await;
        assert!(text.starts_with("id: 3.1\ndata: {\"statusUpdate\":"), "{text}");
        assert_eq!(text.matches('\n').count(), 3, "{text}");
    }

    #[tokio::test]
    async fn a_failure_in_the_middle_is_the_last_event() {
        let failure = Err(Error::Unavailable("no leader".to_owned()));
        let text = text(vec![Ok(event("1.0")), failure, Ok(event("2.0"))]).await;
        let last = text.split("\n\n").nth(1).unwrap();
        assert!(last.starts_with("event: error\ndata: {\"error\":{\"code\":503"), "{text}");
        assert!(!text.contains("2.0"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_filled_and_a_closing_process_says_so() {
        let closing = CancellationToken::new();
        let silent = futures_util::stream::pending();
        let mut written = Box::pin(written(silent, Plain, closing.clone(), KEEP_ALIVE));
        for _ in 0..3 {
            let before = tokio::time::Instant::now();
            assert_eq!(written.next().await.unwrap().unwrap(), ": waiting\n\n");
            assert!(before.elapsed() <= Duration::from_secs(3));
        }
        closing.cancel();
        let last = written.next().await.unwrap().unwrap();
        assert!(last.starts_with(b"event: error\n"));
        assert!(written.next().await.is_none());
    }
}
