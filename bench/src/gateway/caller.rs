//! A caller of the doors: HTTP/1.1 on one connection that stays open, one request at a time, and no library in between.
//!
//! Callers stand for machines of their own and share the processors of what is measured here, so they cost as little as
//! they can. Each sends the same bytes again and again.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::BenchError;

/// A connection, and what is sent over it.
pub(super) struct Caller {
    stream: TcpStream,
    request: Bytes,
    answer: Vec<u8>,
}

/// How an answer begins that has come whole: where its body is.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    body_at: usize,
    length: usize,
}

fn fail(error: &dyn std::error::Error) -> BenchError {
    BenchError::weft("ask over HTTP")(error)
}

fn broken(what: &str, answer: &[u8]) -> BenchError {
    let said = String::from_utf8_lossy(answer);
    BenchError::Weft { doing: "ask over HTTP", reason: format!("{what}: {said}") }
}

/// A POST of JSON to the root of a server.
pub(super) fn post(host: &str, body: &[u8]) -> Bytes {
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nA2A-Version: 1.0\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat().into()
}

impl Caller {
    pub(super) async fn open(address: &str, request: Bytes) -> Result<Self, BenchError> {
        let stream = TcpStream::connect(address).await.map_err(|error| fail(&error))?;
        stream.set_nodelay(true).map_err(|error| fail(&error))?;
        Ok(Self { stream, request, answer: Vec::with_capacity(4096) })
    }

    /// Asks once, and returns the body of the answer.
    pub(super) async fn call(&mut self) -> Result<&[u8], BenchError> {
        self.stream.write_all(&self.request).await.map_err(|error| fail(&error))?;
        self.answer.clear();
        let Head { body_at, length } = loop {
            let read = self.stream.read_buf(&mut self.answer).await;
            if read.map_err(|error| fail(&error))? == 0 {
                return Err(fail(&io::Error::from(io::ErrorKind::UnexpectedEof)));
            }
            match head(&self.answer)? {
                Some(head) if self.answer.len() >= head.body_at + head.length => break head,
                Some(_) | None => {}
            }
        };
        let body = self.answer.get(body_at..).filter(|body| body.len() == length);
        body.ok_or_else(|| broken("more than one answer", &self.answer))
    }
}

/// The head of an answer, once it is there whole.
fn head(answer: &[u8]) -> Result<Option<Head>, BenchError> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = answer.get(..end).map(String::from_utf8_lossy).unwrap_or_default();
    if !text.starts_with("HTTP/1.1 200 ") {
        return Err(broken("refused", answer));
    }
    let length = text.lines().filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let length = length.ok_or_else(|| broken("of unknown length", answer))?;
    Ok(Some(Head { body_at: end + 4, length }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        const WHOLE: &str = "HTTP/1.1 200 OK\r\ncontent-LENGTH:  2\r\nx: y\r\n\r\n{}";
        let body_at = WHOLE.len() - 2;
        for (answer, expected) in [
            (WHOLE, Ok(Some(Head { body_at, length: 2 }))),
            (&WHOLE[..body_at], Ok(Some(Head { body_at, length: 2 }))),
            (&WHOLE[..body_at - 1], Ok(None)),
            ("", Ok(None)),
            ("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", Err(())),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Err(())),
        ] {
            assert_eq!(head(answer.as_bytes()).map_err(drop), expected, "{answer:?}");
        }
    }
}
