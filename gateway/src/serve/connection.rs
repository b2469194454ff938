//! One connection: HTTP/1.1 or HTTP/2 as the client likes, and how long each part of it may take.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use runtime::config::DoorLimits;
use runtime::supervisor::Many;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::linger::Linger;
use crate::auth::Peer;

/// How long what is left may take after the grace.
const CUT_AFTER: Duration = Duration::from_millis(500);
/// How often an HTTP/2 client that is silent is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(20);
/// How long its answer may take.
const PING_WAIT: Duration = Duration::from_secs(20);

/// Serves connections. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connections {
    router: Router,
    limits: Arc<DoorLimits>,
    builder: Builder<Spawn>,
    closing: CancellationToken,
}

impl Connections {
    pub(super) fn new(
        router: Router,
        limits: DoorLimits,
        requests: Many,
        closing: CancellationToken,
    ) -> Self {
        let mut builder = Builder::new(Spawn(requests));
        builder
            .http1()
            .timer(TokioTimer::new())
            .max_headers(limits.headers)
            .max_buf_size(limits.header_bytes.max(8192))
            .header_read_timeout(limits.idle.max(limits.header_wait));
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_WAIT);
        Self { router, limits: Arc::new(limits), builder, closing }
    }

    /// How long a handshake may take.
    pub(super) fn patience(&self) -> Duration {
        self.limits.header_wait
    }

    /// Serves one connection to its end.
    pub(super) async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        peer: Peer,
    ) {
        let activity = Arc::new(Activity::new());
        let (router, limits, seen) =
            (self.router.clone(), Arc::clone(&self.limits), Arc::clone(&activity));
        let service = tower::service_fn(move |request: hyper::Request<Incoming>| {
            let (router, peer) = (router.clone(), peer.clone());
            let open = Open::begin(&seen);
            let (wait, told) = (limits.body_wait, Arc::clone(&seen));
            async move {
                let mut request: Request =
                    request.map(|body| Body::new(Hurried::new(body, wait, told)));
                request.extensions_mut().insert(peer);
                let response = router.oneshot(request).await?;
                Ok::<_, Infallible>(response.map(|body| Body::new(Held { body, _open: open })))
            }
        });
        let stream = Watched { stream, activity: Arc::clone(&activity), linger: None };
        let stream = TokioIo::new(stream);
        let connection = self.builder.serve_connection(stream, TowerToHyperService::new(service));
        let mut connection = std::pin::pin!(connection);
        let mut cut: Option<Instant> = None;
        loop {
            // A first byte moves the end forward, and nobody tells.
            let next_look = Instant::now() + self.limits.header_wait;
            let look_at =
                cut.unwrap_or_else(|| activity.patience_ends(&self.limits).min(next_look));
            tokio::select! {
                // What the client has done wrong is its own business.
                _ = connection.as_mut() => return,
                () = self.closing.cancelled(), if cut.is_none() => {
                    connection.as_mut().graceful_shutdown();
                    cut = Some(Instant::now() + self.limits.grace + CUT_AFTER);
                }
                () = tokio::time::sleep_until(look_at) => {
                    if cut.is_some() {
                        return;
                    }
                    if activity.patience_ends(&self.limits) <= Instant::now() {
                        connection.as_mut().graceful_shutdown();
                        cut = Some(Instant::now() + CUT_AFTER);
                    }
                }
            }
        }
    }
}

/// Runs the requests of HTTP/2 connections as jobs of the process.
#[derive(Clone)]
struct Spawn(Many);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Spawn {
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// What happens on a connection.
struct Activity {
    since: Instant,
    /// HTTP/2: bytes between requests are no sign of one.
    is_http2: AtomicBool,
    /// A request's body was left before its end.
    is_unread: AtomicBool,
    open: AtomicUsize,
    /// Milliseconds after `since` at which the last request ended.
    quiet_since: AtomicU64,
    /// When the first byte came after that: of a request whose headers have not been read whole. HTTP/1.1 only.
    first_byte: Mutex<Option<Instant>>,
}

impl Activity {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            is_http2: AtomicBool::new(false),
            is_unread: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            quiet_since: AtomicU64::new(0),
            first_byte: Mutex::new(None),
        }
    }

    /// When the connection is to be ended, unless something happens before. With a request open, that is looked at again
    /// later.
    fn patience_ends(&self, limits: &DoorLimits) -> Instant {
        if self.open.load(Ordering::Acquire) > 0 {
            return Instant::now() + limits.header_wait.min(limits.idle);
        }
        let quiet_since = Duration::from_millis(self.quiet_since.load(Ordering::Acquire));
        let idle_ends = self.since + quiet_since + limits.idle;
        let first_byte = *self.first_byte.lock().unwrap_or_else(PoisonError::into_inner);
        first_byte.map_or(idle_ends, |at| idle_ends.min(at + limits.header_wait))
    }

    /// Whether the connection ends over bytes that nobody has read. HTTP/2 has a word for that.
    fn lingers(&self) -> bool {
        self.is_unread.load(Ordering::Acquire) && !self.is_http2.load(Ordering::Acquire)
    }

    fn received(&self, bytes: &[u8]) {
        let none_before = self.first_byte.lock().unwrap_or_else(PoisonError::into_inner).is_none();
        let none_ended = self.quiet_since.load(Ordering::Acquire) == 0;
        if none_before && none_ended && bytes.starts_with(b"PRI") {
            self.is_http2.store(true, Ordering::Release);
        }
        let is_http2 = self.is_http2.load(Ordering::Acquire);
        if !is_http2 && self.open.load(Ordering::Acquire) == 0 {
            let mut first = self.first_byte.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(Instant::now);
        }
    }
}

/// A request whose answer is not whole yet.
struct Open(Arc<Activity>);

impl Open {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.open.fetch_add(1, Ordering::AcqRel);
        *activity.first_byte.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Self(Arc::clone(activity))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let after = u64::try_from(self.0.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.quiet_since.store(after, Ordering::Release);
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// An answer's body, which keeps its request open until its end.
struct Held {
    body: Body,
    _open: Open,
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request's body, which has to be there in time.
struct Hurried {
    body: Incoming,
    wait: Duration,
    ends: Option<Pin<Box<Sleep>>>,
    is_whole: bool,
    activity: Arc<Activity>,
}

impl Hurried {
    fn new(body: Incoming, wait: Duration, activity: Arc<Activity>) -> Self {
        Self { body, wait, ends: None, is_whole: false, activity }
    }
}

impl Drop for Hurried {
    fn drop(&mut self) {
        if !self.is_whole && !hyper::body::Body::is_end_stream(&self.body) {
            self.activity.is_unread.store(true, Ordering::Release);
        }
    }
}

impl hyper::body::Body for Hurried {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.is_whole = frame.is_none();
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let wait = self.wait;
        let ends = self.ends.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
        ready!(ends.as_mut().poll(context));
        let late = format!("the body took over {wait:?}");
        Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, late).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The bytes of a connection, which tell when a request begins.
struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
    linger: Option<Linger>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if let Some(bytes) = buffer.filled().get(before..).filter(|bytes| !bytes.is_empty()) {
            self.activity.received(bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            if !this.activity.lingers() {
                return Poll::Ready(Ok(()));
            }
        }
        let linger = this.linger.get_or_insert_with(Linger::begin);
        linger.poll(Pin::new(&mut this.stream), context).map(Ok)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        all: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, all)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
