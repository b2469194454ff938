//! Chooses free ports, and reads from the server's ports file that it really listens on them.

use std::{
    net::{Ipv4Addr, TcpListener},
    ops::Range,
    path::Path,
};

use serde::Deserialize;

/// Below the range from which systems take the source ports of outgoing connections (32768 on
/// Linux, 49152 on macOS). A port from that range can be lost to some client's connection while
/// the server is down for a restart; even the reconnect of its own client can take it.
const STEADY: Range<u16> = 10_240..32_768;

const TRIES: usize = 200;

/// A port that was free a moment ago.
pub(super) fn free() -> Option<u16> {
    (0..TRIES)
        .map(|_| rand::random_range(STEADY))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
}

/// Where a running server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) client: u16,
    pub(super) monitor: u16,
}

#[derive(Deserialize)]
struct PortsFile {
    nats: Vec<String>,
    monitoring: Vec<String>,
}

/// What the server with this process id wrote, or `None` as long as it has not (or half of it).
///
/// The file proves that *this* process listens: an answer on the port alone could be another's.
pub(super) async fn read(ports_dir: &Path, pid: u32) -> Option<Bound> {
    let mut entries = tokio::fs::read_dir(ports_dir).await.ok()?;
    let suffix = format!("_{pid}.ports");
    while let Some(entry) = entries.next_entry().await.ok()? {
        if entry.file_name().to_string_lossy().ends_with(&suffix) {
            return parse(&tokio::fs::read(entry.path()).await.ok()?);
        }
    }
    None
}

fn parse(text: &[u8]) -> Option<Bound> {
    let file: PortsFile = serde_json::from_slice(text).ok()?;
    let port = |urls: &[String]| urls.first()?.rsplit_once(':')?.1.parse().ok();
    Some(Bound { client: port(&file.nats)?, monitor: port(&file.monitoring)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ports_file_is_read_only_when_it_is_whole() {
        let whole = r#"{"nats":["nats://127.0.0.1:41051"],"monitoring":["http://127.0.0.1:416"]}"#;
        let bound = Some(Bound { client: 41051, monitor: 416 });
        let table = [
            (whole, bound),
            (&whole[..whole.len() - 1], None),
            (r#"{"nats":[],"monitoring":[]}"#, None),
            (r#"{"nats":["nats://127.0.0.1"],"monitoring":["http://127.0.0.1:1"]}"#, None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn a_free_port_can_be_bound_and_a_taken_one_is_not_chosen() {
        let port = free().unwrap();
        assert!(STEADY.contains(&port));
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!((0..100).all(|_| free() != Some(port)));
    }
}
