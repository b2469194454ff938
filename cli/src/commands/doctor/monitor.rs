//! Asks a nats-server's monitoring port how JetStream syncs and how full its store is.
//!
//! A bare HTTP GET: monitoring ports speak plain HTTP and one request is all there is.

use std::io;
use std::time::Duration;

use runtime::bus::AccountFill;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const ANSWER_LIMIT: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// Why the monitoring port did not tell.
#[derive(Debug, thiserror::Error)]
pub(super) enum MonitorError {
    /// It is no address that can be asked.
    #[error("{url} is no address of the form http://host:port")]
    Address { url: String },
    /// It does not answer.
    #[error("{url} does not answer: {error}")]
    NoAnswer { url: String, error: io::Error },
    /// It answers something else.
    #[error("{url} answers, but not as a nats-server with JetStream does")]
    NotJetStream { url: String },
}

/// What a server tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    /// Whether it syncs every write.
    pub(super) sync_always: bool,
    /// How full its store is.
    pub(super) store: Option<AccountFill>,
}

/// Asks it.
pub(super) async fn ask(url: &str) -> Result<Told, MonitorError> {
    let rest = url.strip_prefix("http://");
    let address = rest.map(|rest| rest.trim_end_matches('/')).filter(|rest| !rest.contains('/'));
    let address = address.ok_or_else(|| MonitorError::Address { url: url.to_owned() })?;
    let body = tokio::time::timeout(ANSWER_LIMIT, get(address, "/jsz"))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|error| MonitorError::NoAnswer { url: url.to_owned(), error })?;
    read(&body).ok_or_else(|| MonitorError::NotJetStream { url: url.to_owned() })
}

async fn get(address: &str, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    // HTTP/1.0: the body ends with the connection and is never chunked.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(answer)
}

fn read(answer: &[u8]) -> Option<Told> {
    let at = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let body: Value = serde_json::from_slice(answer.get(at + 4..)?).ok()?;
    let config = body.get("config")?.as_object()?;
    // The server leaves the key out where it is false.
    let sync_always = config.get("sync_always").and_then(Value::as_bool).unwrap_or(false);
    Some(Told { sync_always, store: AccountFill::of_server(&body) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_read_only_when_it_is_one() {
        let told = |sync_always| Some(Told { sync_always, store: None });
        let store = Some(AccountFill { bytes: 7, bytes_max: Some(10) });
        for (answer, expected) in [
            ("HTTP/1.0 200 OK\r\n\r\n{\"config\":{\"sync_always\":true}}", told(true)),
            ("HTTP/1.0 200 OK\r\n\r\n{\"config\":{\"sync_interval\":1}}", told(false)),
            (
                "HTTP/1.0 200 OK\r\n\r\n{\"config\":{\"max_storage\":10},\"storage\":7}",
                Some(Told { sync_always: false, store }),
            ),
            ("HTTP/1.0 200 OK\r\n\r\n{\"disabled\":true}", None),
            ("HTTP/1.0 404 Not Found\r\n\r\nno", None),
            ("", None),
        ] {
            assert_eq!(read(answer.as_bytes()), expected, "{answer:?}");
        }
    }
}
