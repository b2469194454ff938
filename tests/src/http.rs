//! Reads what a process serves over HTTP.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Status and body of a GET; `None` when nobody answers.
pub async fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// The value of a series, such as `weft_tasks_completed_total{skill="echo"}`, in a text of metrics.
#[must_use]
pub fn series(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// An answer with everything that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status; 0 when the other end said nothing before it closed.
    pub status: u16,
    /// Status line and headers, header names in lower case.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The body as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Sends these bytes over a connection of their own and reads until the other end closes. `None` when nobody listens.
///
/// # Panics
/// When that takes longer than a minute.
pub async fn exchange(address: &str, request: &[u8]) -> Option<Answer> {
    let exchanged = tokio::time::timeout(std::time::Duration::from_secs(60), async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        // Who refuses early may close before everything is sent; what was answered is still there.
        let _sent = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _read = stream.read_to_end(&mut answer).await;
        Some(answer)
    });
    exchanged.await.expect("an answer within a minute").map(|bytes| Answer::read(&bytes))
}

impl Answer {
    /// Reads what came over a connection.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(bytes.len());
        let (head, rest) = bytes.split_at(end);
        let lines = String::from_utf8_lossy(head);
        let lines: Vec<String> = lines
            .lines()
            .map(|line| match line.split_once(':') {
                Some((name, value)) => format!("{}:{value}", name.to_ascii_lowercase()),
                None => line.to_owned(),
            })
            .collect();
        let status = lines.first().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let body = rest.get(4..).unwrap_or_default().to_vec();
        Self { status: status.unwrap_or(0), head: lines.join("\n"), body }
    }
}

/// A request in HTTP/1.0 with headers and a body.
///
/// # Panics
/// When nobody listens.
pub async fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut head = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    exchange(address, &[head.as_bytes(), body].concat()).await.expect("somebody listens")
}
