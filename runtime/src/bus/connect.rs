//! Connects, and keeps watch over the connection.
//!
//! The client's defaults notice a frozen server after minutes; the intervals here find it in seconds.
//! Permission violations reach a client only as events that name no request: they are remembered for a
//! while, so that the request that then times out can say why.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use protocol::subject::Subjects;
use protocol::topology::Names;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Bus, REQUEST_TIMEOUT, Shared};

/// The oldest server that has everything the mesh relies on and no known hole.
pub(super) const SERVER_VERSION_MIN: (i64, i64, i64) = (2, 14, 3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const PING_INTERVAL: Duration = Duration::from_secs(2);
const RECONNECT_DELAY_MAX: Duration = Duration::from_millis(500);
const VIOLATIONS_KEPT: usize = 64;
const VIOLATION_AGE_MAX: Duration = Duration::from_secs(30);

/// How to prove who one is.
#[derive(Clone, Default)]
pub enum Credentials {
    /// As the server's default user, or with what the URL says.
    #[default]
    None,
    /// A `.creds` file.
    File(PathBuf),
    /// User and password.
    User {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A token.
    Token(String),
    /// An nkey seed.
    Nkey(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::File(_) => "credentials file",
            Self::User { .. } => "user and password",
            Self::Token(_) => "token",
            Self::Nkey(_) => "nkey",
        })
    }
}

/// TLS files beyond the system's own roots.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// Further root certificates.
    pub ca: Option<PathBuf>,
    /// The client's certificate and key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Where and how to connect.
#[derive(Debug, Clone)]
pub struct BusSettings {
    /// Server URLs, separated by commas.
    pub servers: String,
    /// How to prove who one is.
    pub credentials: Credentials,
    /// TLS files.
    pub tls: TlsFiles,
    /// What the process is, the first part of the connection's name.
    pub role: String,
    /// The subjects of the mesh.
    pub subjects: Subjects,
}

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No server answers, or none lets us in.
    #[error("cannot connect to {servers}: {reason}")]
    Unreachable {
        /// The URLs tried.
        servers: String,
        /// What the client says.
        reason: String,
    },
    /// A file of credentials or certificates cannot be read.
    #[error("cannot use the credentials: {reason}")]
    Credentials {
        /// What is wrong.
        reason: String,
    },
    /// The server lacks something that the mesh relies on.
    #[error("nats-server {found} at {servers} is too old: 2.14.3 or newer is needed")]
    TooOld {
        /// The URLs.
        servers: String,
        /// Its version.
        found: String,
    },
    /// The server runs without JetStream, or this account may not use it.
    #[error(
        "JetStream is not available at {servers}: start the server with JetStream and enable it for this account"
    )]
    NoJetStream {
        /// The URLs.
        servers: String,
    },
}

/// What a server says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// Its version.
    pub version: String,
    /// Its name.
    pub name: String,
    /// Bytes of the largest message it takes.
    pub payload_bytes_max: usize,
}

/// What the event callback has seen.
#[derive(Clone)]
pub(super) struct Watch {
    connected: watch::Sender<u64>,
    violations: Arc<Mutex<VecDeque<(Instant, String)>>>,
}

impl Watch {
    fn new() -> Self {
        Self { connected: watch::Sender::new(0), violations: Arc::default() }
    }

    fn note(&self, event: &async_nats::Event) {
        match event {
            async_nats::Event::Connected => self.connected.send_modify(|epoch| *epoch += 1),
            async_nats::Event::ServerError(error) => {
                let text = error.to_string();
                tracing::warn!(reason = %text, "the server reports an error");
                if text.to_ascii_lowercase().contains("permissions violation") {
                    let mut kept =
                        self.violations.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    kept.push_back((Instant::now(), text));
                    if kept.len() > VIOLATIONS_KEPT {
                        kept.pop_front();
                    }
                }
            }
            async_nats::Event::Disconnected
            | async_nats::Event::LameDuckMode
            | async_nats::Event::Draining
            | async_nats::Event::Closed
            | async_nats::Event::SlowConsumer(_)
            | async_nats::Event::ClientError(_) => tracing::debug!(%event, "connection event"),
        }
    }

    /// The recent violation that names this subject.
    pub(super) fn violation(&self, subject: &str) -> Option<String> {
        let quoted = format!("\"{}\"", subject.to_ascii_lowercase());
        let kept = self.violations.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        kept.iter()
            .rev()
            .find(|(at, text)| {
                at.elapsed() < VIOLATION_AGE_MAX && text.to_ascii_lowercase().contains(&quoted)
            })
            .map(|(_, text)| text.clone())
    }
}

impl Bus {
    /// Connects and checks that the server can carry the mesh.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(settings: BusSettings) -> Result<Self, ConnectError> {
        let bus = Self::connect_plain(settings.clone()).await?;
        let servers = redacted(&settings.servers);
        let (major, minor, patch) = SERVER_VERSION_MIN;
        if !bus.client.is_server_compatible(major, minor, patch) {
            return Err(ConnectError::TooOld { servers, found: bus.server().version });
        }
        if bus.jetstream.query_account().await.is_err()
            && bus.shared.watch.violation("$JS.API.INFO").is_none()
        {
            return Err(ConnectError::NoJetStream { servers });
        }
        Ok(bus)
    }

    /// Connects without asking for JetStream, as to the system account.
    pub(super) async fn connect_plain(settings: BusSettings) -> Result<Self, ConnectError> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let client_name = format!("{}-{id}", settings.role);
        let watch = Watch::new();
        let noted = watch.clone();
        let options = async_nats::ConnectOptions::new()
            .name(&client_name)
            .custom_inbox_prefix(format!("_INBOX.{id}"))
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(PING_INTERVAL)
            .request_timeout(Some(REQUEST_TIMEOUT))
            .client_capacity(8192)
            .reconnect_delay_callback(|attempts| {
                Duration::from_millis(20 << attempts.min(5)).min(RECONNECT_DELAY_MAX)
            })
            .event_callback(move |event| {
                noted.note(&event);
                std::future::ready(())
            });
        let urls = addresses(&settings.servers)?;
        let credentials = match settings.credentials {
            Credentials::None => from_urls(&urls),
            given @ (Credentials::File(_)
            | Credentials::User { .. }
            | Credentials::Token(_)
            | Credentials::Nkey(_)) => given,
        };
        let options = with_tls(with_credentials(options, &credentials).await?, &settings.tls);
        let client = options.connect(urls).await.map_err(|error| ConnectError::Unreachable {
            servers: redacted(&settings.servers),
            reason: error.to_string(),
        })?;
        let mut jetstream = async_nats::jetstream::new(client.clone());
        jetstream.set_timeout(REQUEST_TIMEOUT);
        let names = Names::new(&settings.subjects);
        let subjects = Arc::new(settings.subjects);
        let shared = Shared { subjects, names, client_name, watch, outbox: OnceLock::new() };
        Ok(Self { client, jetstream, shared: Arc::new(shared) })
    }

    /// What the server says about itself.
    #[must_use]
    pub fn server(&self) -> ServerFacts {
        let info = self.client.server_info();
        ServerFacts {
            version: info.version,
            name: info.server_name,
            payload_bytes_max: info.max_payload,
        }
    }

    /// Whether the connection stands at this moment.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Counts the connections made, the first included; changes tell of reconnects.
    #[must_use]
    pub fn connections(&self) -> watch::Receiver<u64> {
        self.shared.watch.connected.subscribe()
    }

    /// Whether the client library still works. A message with a carriage return inside a header value makes its
    /// connection task panic (async-nats 0.51, `header.rs`); nothing brings it back, though its state still says
    /// connected.
    pub async fn is_alive(&self) -> bool {
        let flushed = tokio::time::timeout(REQUEST_TIMEOUT, self.client.flush()).await;
        // A flush that takes long only waits for a reconnect.
        !matches!(flushed, Ok(Err(_)))
    }

    /// Waits until everything published so far has been written to the socket.
    pub async fn flush(&self) {
        if let Some(outbox) = self.shared.outbox.get() {
            outbox.send().await;
        }
        if let Err(error) = self.client.flush().await {
            tracing::debug!(reason = %error, "flush failed");
        }
    }
}

fn addresses(servers: &str) -> Result<Vec<async_nats::ServerAddr>, ConnectError> {
    servers.split(',').map(|url| url.trim().parse()).collect::<Result<_, std::io::Error>>().map_err(
        |error| ConnectError::Unreachable { servers: redacted(servers), reason: error.to_string() },
    )
}

/// The client library reads no user out of a URL, so this does.
fn from_urls(urls: &[async_nats::ServerAddr]) -> Credentials {
    urls.iter()
        .find_map(|url| {
            let user = url.username()?.to_owned();
            Some(match url.password() {
                Some(password) => Credentials::User { user, password: password.to_owned() },
                None => Credentials::Token(user),
            })
        })
        .unwrap_or_default()
}

async fn with_credentials(
    options: async_nats::ConnectOptions,
    credentials: &Credentials,
) -> Result<async_nats::ConnectOptions, ConnectError> {
    Ok(match credentials {
        Credentials::None => options,
        Credentials::File(path) => options.credentials_file(path).await.map_err(|error| {
            ConnectError::Credentials { reason: format!("{}: {error}", path.display()) }
        })?,
        Credentials::User { user, password } => {
            options.user_and_password(user.clone(), password.clone())
        }
        Credentials::Token(token) => options.token(token.clone()),
        Credentials::Nkey(seed) => options.nkey(seed.clone()),
    })
}

fn with_tls(mut options: async_nats::ConnectOptions, tls: &TlsFiles) -> async_nats::ConnectOptions {
    if let Some(ca) = &tls.ca {
        options = options.add_root_certificates(ca.clone());
    }
    if let Some((certificate, key)) = &tls.identity {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    options
}

/// Server URLs without user and password.
fn redacted(servers: &str) -> String {
    let one = |url: &str| match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            format!(
                "{}{}",
                url.get(..scheme + 3).unwrap_or_default(),
                url.get(at + 1..).unwrap_or_default()
            )
        }
        (None, Some(at)) => url.get(at + 1..).unwrap_or_default().to_owned(),
        _ => url.to_owned(),
    };
    servers.split(',').map(|url| one(url.trim())).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::redacted;

    #[test]
    fn passwords_do_not_reach_error_messages() {
        for (url, shown) in [
            ("nats://u:p@h:4222", "nats://h:4222"),
            ("nats://h:4222, tls://u:p@i", "nats://h:4222,tls://i"),
            ("token@h", "h"),
        ] {
            assert_eq!(redacted(url), shown);
        }
    }
}
