//! A client of a gateway's doors, as plain as can be: HTTP/1.0, one request a connection, nothing hidden.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long any answer may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What a door answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The HTTP status.
    pub status: u16,
    /// The body as JSON; null when it is none.
    pub body: Value,
}

async fn ask(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> BufReader<TcpStream> {
    let body = body.map(ToString::to_string).unwrap_or_default();
    let mut request =
        format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nA2A-Version: 1.0\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    let length = body.len();
    request.push_str(&format!(
        "Content-Type: application/a2a+json\r\nContent-Length: {length}\r\n\r\n{body}"
    ));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    BufReader::new(stream)
}

async fn head(stream: &mut BufReader<TcpStream>) -> u16 {
    let mut status = 0;
    loop {
        let mut line = String::new();
        timeout(LIMIT, stream.read_line(&mut line)).await.unwrap().unwrap();
        if line.starts_with("HTTP/") {
            status = line.split(' ').nth(1).unwrap().parse().unwrap();
        }
        if line.trim().is_empty() {
            return status;
        }
    }
}

/// One request and its whole answer.
pub async fn call(address: &str, method: &str, path: &str, body: Option<&Value>) -> Answered {
    call_with(address, method, path, &[], body).await
}

/// The same with further headers.
pub async fn call_with(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> Answered {
    let mut stream = ask(address, method, path, headers, body).await;
    let status = head(&mut stream).await;
    let mut text = String::new();
    timeout(LIMIT, stream.read_to_string(&mut text)).await.unwrap().unwrap();
    Answered { status, body: serde_json::from_str(&text).unwrap_or_default() }
}

/// An event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its cursor.
    pub id: String,
    /// Its bytes.
    pub data: String,
}

impl Frame {
    /// The data as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

/// A stream of events that is being read.
pub struct Frames(BufReader<TcpStream>);

/// Opens a stream of events.
///
/// # Panics
/// When the door answers with something else.
pub async fn frames(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> Frames {
    let mut stream = ask(address, method, path, headers, body).await;
    let status = head(&mut stream).await;
    assert_eq!(status, 200, "{method} {path}");
    Frames(stream)
}

impl Frames {
    /// The next event; `None` at the end of the stream, also when it breaks.
    pub async fn next(&mut self) -> Option<Frame> {
        let mut frame = Frame { id: String::new(), data: String::new() };
        loop {
            let mut line = String::new();
            let read = timeout(LIMIT, self.0.read_line(&mut line)).await.expect("an event in time");
            if read.unwrap_or(0) == 0 {
                return None;
            }
            let line = line.trim_end();
            if let Some(id) = line.strip_prefix("id: ") {
                id.clone_into(&mut frame.id);
            } else if let Some(data) = line.strip_prefix("data: ") {
                data.clone_into(&mut frame.data);
            } else if line.is_empty() && !frame.data.is_empty() {
                return Some(frame);
            }
        }
    }

    /// All further events.
    pub async fn rest(mut self) -> Vec<Frame> {
        let mut all = Vec::new();
        while let Some(frame) = self.next().await {
            all.push(frame);
        }
        all
    }
}

/// The same events byte for byte. Says which differ rather than what they hold, which is much.
///
/// # Panics
/// When they are not.
pub fn same(one: &[Frame], other: &[Frame]) {
    let ids = |frames: &[Frame]| frames.iter().map(|frame| frame.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(one), ids(other));
    let differ = one.iter().zip(other).find(|(one, other)| one != other);
    assert!(differ.is_none(), "{:?}", differ.map(|(one, _)| &one.id));
}

/// A request to send a message of these parts.
#[must_use]
pub fn says(parts: Value) -> Value {
    json!({"message": {"messageId": "m1", "role": "ROLE_USER", "parts": parts}})
}

/// A request that has the agent `play` do these acts.
#[must_use]
pub fn plays(acts: Value) -> Value {
    says(json!([{"data": {"acts": acts}}]))
}

/// A request to say something to a task.
#[must_use]
pub fn follow_up(task: &str, text: &str) -> Value {
    json!({"message": {
        "messageId": format!("said-{text}"),
        "taskId": task,
        "role": "ROLE_USER",
        "parts": [{"text": text}],
    }})
}

/// The text of each message's first part, `-` where it has none.
#[must_use]
pub fn texts(history: &Value) -> Vec<String> {
    let text = |one: &Value| {
        one.pointer("/parts/0/text").and_then(Value::as_str).unwrap_or("-").to_owned()
    };
    history.as_array().map(|all| all.iter().map(text).collect()).unwrap_or_default()
}
