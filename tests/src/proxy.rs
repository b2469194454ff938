//! A connection that can be cut while both of its ends live.

use std::net::SocketAddr;

use runtime::metric::Metrics;
use runtime::supervisor::{Kind, Supervisor};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Stands between clients and a server. Dropping it cuts all connections and refuses new ones.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    cut: watch::Sender<u64>,
    jobs: Supervisor,
}

impl Proxy {
    /// Listens on a free port of this machine for the server of a `nats://host:port` URL.
    pub async fn start(server: &str) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), server).await
    }

    /// As [`Proxy::start`], at a given address.
    pub async fn start_at(address: SocketAddr, server: &str) -> Self {
        let server = server.rsplit(['@', '/']).next().unwrap().to_owned();
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, jobs) = (watch::Sender::new(0), Supervisor::new(Metrics::new("test")));
        let (cuts, connecting) = (cut.clone(), jobs.clone());
        jobs.spawn("proxy", Kind::Work, async move {
            let stop = connecting.shutdown_token();
            loop {
                let accepted = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let (mut near, _) = accepted.unwrap();
                let (server, mut cuts, stop) = (server.clone(), cuts.subscribe(), stop.clone());
                connecting.spawn("proxied", Kind::Work, async move {
                    let Ok(mut far) = TcpStream::connect(server).await else { return };
                    tokio::select! {
                        () = stop.cancelled() => {}
                        _ = cuts.changed() => {}
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                    }
                });
            }
        });
        Self { address, cut, jobs }
    }

    /// The same URL with this proxy's address in place of the server's.
    #[must_use]
    pub fn url(&self, server: &str) -> String {
        let at = server.rfind(['@', '/']).map_or(0, |at| at + 1);
        format!("{}{}", &server[..at], self.address)
    }

    /// Ends all connections; new ones are let through.
    pub fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.jobs.shutdown();
    }
}
