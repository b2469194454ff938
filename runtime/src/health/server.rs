//! The HTTP doors for probes and scrapers: `/livez`, `/readyz` and `/metrics`.
//!
//! They show operational facts and take no input, but have no authentication: bind them to an address
//! that only the operator reaches. They close as soon as the process shuts down, which tells a balancer the same as a 503.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::{Health, Status};
use crate::metric::{self, Metrics};
use crate::supervisor::{Kind, Supervisor};

/// How long answers under way may take once the process shuts down.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// The server as its starter sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Where it listens; the port that was given when 0 was asked for.
    pub local_addr: SocketAddr,
}

/// The server could not listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr} for health checks and metrics")]
pub struct ServeError {
    /// Where.
    pub addr: String,
    /// Why.
    #[source]
    pub error: io::Error,
}

/// Reads an address such as `127.0.0.1:9100`; port 0 takes a free one.
///
/// # Errors
/// When the text is no such address.
pub fn parse_address(text: &str) -> Result<SocketAddr, ServeError> {
    text.parse().map_err(|error| ServeError {
        addr: format!("{text:?}"),
        error: io::Error::new(io::ErrorKind::InvalidInput, error),
    })
}

#[derive(Debug, Clone)]
struct Doors {
    health: Health,
    metrics: Metrics,
}

/// Listens on `addr` and serves until the process shuts down.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(
    addr: SocketAddr,
    health: Health,
    metrics: Metrics,
    supervisor: &Supervisor,
) -> Result<Served, ServeError> {
    let refused = |error| ServeError { addr: addr.to_string(), error };
    let listener = TcpListener::bind(addr).await.map_err(refused)?;
    let local_addr = listener.local_addr().map_err(refused)?;
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(exposition))
        .fallback(|| async { (StatusCode::NOT_FOUND, "try /livez, /readyz or /metrics\n") })
        .with_state(Doors { health, metrics });
    let shutdown = supervisor.shutdown_token();
    supervisor.spawn("health", Kind::Critical, async move {
        let closing = shutdown.clone().cancelled_owned();
        let server = axum::serve(listener, router).with_graceful_shutdown(closing);
        tokio::select! {
            ended = server => ended,
            // A client that never finishes its request must not hold the process.
            () = async { shutdown.cancelled().await; tokio::time::sleep(CLOSE_LIMIT).await } => Ok(()),
        }
    });
    tracing::info!(addr = %local_addr, "health and metrics served");
    Ok(Served { local_addr })
}

async fn readyz(State(doors): State<Doors>) -> Response {
    let report = doors.health.report();
    let code = match report.status {
        Status::Ok | Status::Degraded => StatusCode::OK,
        Status::Failed => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, [(CACHE_CONTROL, "no-store")], Json(report)).into_response()
}

async fn exposition(State(doors): State<Doors>) -> Response {
    ([(CONTENT_TYPE, metric::CONTENT_TYPE)], doors.metrics.encode()).into_response()
}
