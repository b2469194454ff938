//! The accept loop: plain or TLS, HTTP/1.1 and HTTP/2 on one port, with limits on connections and on time.
//!
//! Nothing is known about a client yet, so everything has an end: a handshake, the headers of a request, a connection on
//! which nothing is asked. When the gateway stops, the door closes first, open requests may end, and what is left after the
//! grace is cut off.

mod connection;
mod guests;
mod linger;
pub mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use runtime::config::DoorLimits;
use runtime::metric::Metrics;
use runtime::supervisor::{Kind, Many, Supervisor};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::auth::Peer;
use connection::Connections;
use guests::Guests;
use tls::Tls;

/// How long the loop rests when the machine has no more sockets.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// The doors cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for clients")]
pub struct ListenError {
    /// Where.
    pub address: String,
    /// Why.
    #[source]
    pub error: io::Error,
}

impl ListenError {
    /// Whether somebody else listens there.
    pub(crate) fn is_taken(&self) -> bool {
        self.error.kind() == io::ErrorKind::AddrInUse
    }
}

/// Doors that are about to open.
pub struct Listener {
    /// Where they are.
    pub address: SocketAddr,
    socket: TcpListener,
}

/// Takes the address.
///
/// # Errors
/// When it is none, or taken.
pub async fn listen(address: &str) -> Result<Listener, ListenError> {
    let refused = |error| ListenError { address: address.to_owned(), error };
    let socket = TcpListener::bind(address).await.map_err(refused)?;
    Ok(Listener { address: socket.local_addr().map_err(refused)?, socket })
}

/// What the loop works with.
pub struct Serving {
    /// All doors.
    pub router: Router,
    /// How much they take.
    pub limits: DoorLimits,
    /// Without it, clients speak plain HTTP.
    pub tls: Option<Tls>,
    /// Proxies, which may have as many connections as they like.
    pub proxies: Vec<runtime::config::Network>,
    /// What is counted.
    pub metrics: Metrics,
    /// Cancelled when the last connection has ended.
    pub quiet: CancellationToken,
}

impl Listener {
    /// Serves until the process shuts down.
    pub fn serve(self, serving: Serving, jobs: &Supervisor) {
        if let Some(tls) = serving.tls.clone() {
            let closing = jobs.shutdown_token();
            jobs.spawn("certificates", Kind::Work, async move {
                closing.run_until_cancelled(tls.keep_fresh()).await;
            });
        }
        let (each, requests) = (jobs.many("connection"), jobs.many("request"));
        let closing = jobs.shutdown_token();
        jobs.spawn("doors", Kind::Critical, async move {
            accept(self.socket, serving, (each, requests), closing).await;
        });
    }
}

async fn accept(
    socket: TcpListener,
    serving: Serving,
    (each, requests): (Many, Many),
    closing: CancellationToken,
) {
    let Serving { router, limits, tls, proxies, metrics, quiet } = serving;
    let most = limits.connections;
    let free = Arc::new(Semaphore::new(most));
    let guests = Guests::new(limits.connections_per_address, proxies);
    let connections = Connections::new(router, limits, requests, closing.clone());
    while let Some(permit) = closing.run_until_cancelled(Arc::clone(&free).acquire_owned()).await {
        let Some(accepted) = closing.run_until_cancelled(socket.accept()).await else { break };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Of one connection that is gone already, or of the machine, which has no more sockets.
                tracing::warn!(reason = %error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            }
        };
        let Some(place) = guests.take(address.ip()) else {
            tracing::debug!(%address, "too many connections of one address");
            continue;
        };
        let (connections, tls, metrics) = (connections.clone(), tls.clone(), metrics.clone());
        each.spawn(async move {
            metrics.gateway.connections.inc();
            drop(greet(stream, address, tls, &connections).await);
            metrics.gateway.connections.dec();
            drop((place, permit));
        });
    }
    drop(socket);
    // All places are free again when the last connection has ended.
    let all = u32::try_from(most).unwrap_or(u32::MAX);
    drop(free.acquire_many(all).await);
    quiet.cancel();
}

/// Serves one connection to its end. Errors are the client's.
async fn greet(
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<Tls>,
    connections: &Connections,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        connections.serve(stream, Peer { address, certificate: None }).await;
        return Ok(());
    };
    let handshake = tls.acceptor().accept(stream);
    let stream = tokio::time::timeout(connections.patience(), handshake).await??;
    let certificate = tls::name_of(&stream);
    connections.serve(stream, Peer { address, certificate }).await;
    Ok(())
}
