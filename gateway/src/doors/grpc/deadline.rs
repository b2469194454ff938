//! How long a call may take: what the client says in `grpc-timeout` holds here too.
//!
//! Clients give up by themselves; a proxy between may not, and hears from here that the time is over. What was asked goes
//! on: only the call ends, with everything that waited on its behalf.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::status::status;
use crate::a2a::error::Error;
use crate::auth::trail::Trail;
use crate::limits::CALL_TIMEOUT_MAX;

/// The header (gRPC over HTTP/2, `Timeout`).
const HEADER: &str = "grpc-timeout";
/// Digits of its number.
const DIGITS_MAX: usize = 8;

/// When a call has to end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(Instant);

impl Deadline {
    /// The deadline of a call that comes now, if it has one. What cannot be read is none, as in other servers.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let said = headers.get(HEADER)?.to_str().ok()?;
        let timeout = timeout(said).filter(|timeout| *timeout <= CALL_TIMEOUT_MAX)?;
        Some(Self(Instant::now() + timeout))
    }

    /// What comes of `work` until then.
    pub(super) async fn hold<T>(self, work: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout_at(self.0, work).await.ok()
    }

    /// An answer's body that ends then at the latest.
    pub(super) fn bound(self, body: Body, trail: Trail) -> Body {
        let end = Box::pin(tokio::time::sleep_until(self.0));
        Body::new(Bounded { body: Some(body), end, trail })
    }
}

/// The error that says so.
pub(super) fn passed(trail: &Trail) -> Error {
    Error::DeadlineExceeded { task: trail.facts().task }
}

fn timeout(said: &str) -> Option<Duration> {
    let digits = said.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = said.split_at_checked(digits)?;
    if digits > DIGITS_MAX {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// A body with an end in time. What it holds is let go then.
struct Bounded {
    body: Option<Body>,
    end: Pin<Box<Sleep>>,
    trail: Trail,
}

impl hyper::body::Body for Bounded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        std::task::ready!(self.end.as_mut().poll(context));
        self.body = None;
        let mut trailers = HeaderMap::new();
        let written = status(&passed(&self.trail)).add_header(&mut trailers);
        Poll::Ready(written.is_ok().then(|| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(hyper::body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(hyper::body::Body::size_hint).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_protocol_writes_them() {
        for (said, expected) in [
            ("1S", Some(Duration::from_secs(1))),
            ("250m", Some(Duration::from_millis(250))),
            ("2H", Some(Duration::from_secs(7200))),
            ("3M", Some(Duration::from_secs(180))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("7n", Some(Duration::from_nanos(7))),
            ("100000000n", None),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("", None),
            ("S", None),
            ("5", None),
            ("-1S", None),
            ("1.5S", None),
            ("1s", None),
            ("1Sx", None),
        ] {
            assert_eq!(timeout(said), expected, "{said:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, "99999999H".parse().unwrap());
        assert!(Deadline::of(&headers).is_none(), "longer than anything here lives");
    }
}
