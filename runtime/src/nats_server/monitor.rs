//! Asks a server's monitoring port: is it healthy, who leads its cluster.
//!
//! A bare HTTP GET over TCP. The server is on this machine, so an HTTP client would only add weight.

use std::{io, net::Ipv4Addr, time::Duration};

use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

const ANSWER_LIMIT: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: u64 = 256 * 1024;

/// Whether the server serves clients and JetStream, member of a cluster or not.
pub(super) async fn is_healthy(port: u16) -> bool {
    get(port, "/healthz").await.is_ok_and(|(status, _)| status == 200)
}

/// JetStream's view of the cluster.
#[derive(Debug, Deserialize)]
pub(super) struct MetaCluster {
    /// The server name of the leader; empty or missing during an election.
    #[serde(default)]
    pub(super) leader: String,
    /// How many members it knows.
    #[serde(default)]
    pub(super) cluster_size: usize,
}

#[derive(Deserialize)]
struct JetStream {
    meta_cluster: MetaCluster,
}

/// What this server believes about the cluster, or `None` while it believes nothing.
pub(super) async fn meta_cluster(port: u16) -> Option<MetaCluster> {
    let (_, body) = get(port, "/jsz").await.ok()?;
    Some(serde_json::from_slice::<JetStream>(&body).ok()?.meta_cluster)
}

/// Status code and body.
async fn get(port: u16, path: &str) -> io::Result<(u16, Vec<u8>)> {
    let exchange = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        // HTTP/1.0: the body ends with the connection and is never chunked.
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        Ok::<_, io::Error>(answer)
    };
    let answer = timeout(ANSWER_LIMIT, exchange).await??;
    split(&answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn split(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, rest) = answer.split_at_checked(end)?;
    let status = std::str::from_utf8(head).ok()?.split(' ').nth(1)?.parse().ok()?;
    Some((status, rest.get(4..)?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_split_into_status_and_body() {
        let table: [(&str, Option<(u16, &str)>); 4] = [
            ("HTTP/1.0 200 OK\r\nA: b\r\n\r\n{}", Some((200, "{}"))),
            ("HTTP/1.0 503 Service Unavailable\r\n\r\n", Some((503, ""))),
            ("HTTP/1.0 200 OK\r\n", None),
            ("SSH-2.0\r\n\r\n", None),
        ];
        for (answer, expected) in table {
            let expected = expected.map(|(status, body)| (status, body.as_bytes().to_vec()));
            assert_eq!(split(answer.as_bytes()), expected, "{answer:?}");
        }
    }
}
