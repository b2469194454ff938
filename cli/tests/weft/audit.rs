//! `weft audit` on a real mesh: what it finds, in which order, and what comes while somebody follows.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use protocol::contract;
use serde_json::Value;

use crate::support::{Dev, wait_until};

/// One request with its own id, and the status of its answer.
fn ask(dev: &Dev, request: &str, path: &str, headers: &str) -> u16 {
    let url = dev.fact("gateway");
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: {address}\r\nA2A-Version: 1.0\r\nX-Request-Id: {request}\r\n{headers}\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The requests that it lists with these further arguments, in its order.
fn listed(dev: &Dev, arguments: &[&str]) -> Vec<String> {
    let mut all = vec!["audit", "-o", "json"];
    all.extend(arguments);
    let found = dev.run(&all).json();
    for entry in found.as_array().unwrap() {
        contract::validate("audit-entry", entry).unwrap();
    }
    let name = |entry: &Value| entry["request"].as_str().unwrap().to_owned();
    found.as_array().unwrap().iter().map(name).collect()
}

struct Follower(Child);

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn decisions_are_found_newest_first_by_whatever_is_known_of_them() {
    let dev = Dev::start();
    for (request, path, headers, status) in [
        ("r1", "/tasks/s77", "", 404),
        ("r2", "/tasks/s77", "X-API-Key: wk_wrong\r\n", 401),
        ("r3", "/extendedAgentCard", "", 200),
        ("r4", "/acme/tasks/s78", "", 404),
    ] {
        assert_eq!(ask(&dev, request, path, headers), status, "{request}");
        // Each is stored before the next is decided, so that their order is known.
        wait_until(request, || (listed(&dev, &["--request", request]) == [request]).then_some(()));
    }
    for (arguments, expected) in [
        (&[][..], &["r4", "r3", "r2", "r1"][..]),
        (&["--limit", "2"], &["r4", "r3"]),
        (&["--decision", "denied"], &["r2"]),
        (&["--decision", "allowed", "--task", "s77"], &["r1"]),
        (&["--operation", "read"], &["r4", "r2", "r1"]),
        (&["--owner", "acme"], &["r4"]),
        (&["--owner", "unknown-"], &["r2"]),
        (&["--since", "1h", "--operation", "card"], &["r3"]),
        (&["--since", "2100-01-01T00:00:00Z"], &[]),
        (&["--caller", "nobody-of-that-name"], &[]),
    ] {
        assert_eq!(listed(&dev, arguments), expected, "{arguments:?}");
    }
    let caller = dev.run(&["audit", "--request", "r1", "-o", "json"]).json();
    let caller = caller[0]["caller"].as_str().unwrap().to_owned();
    assert_eq!(listed(&dev, &["--caller", &caller]), ["r4", "r3", "r1"]);
    let table = dev.run(&["audit"]).out;
    assert!(table.contains("denied") && table.contains("UNAUTHENTICATED"), "{table}");
    for arguments in [
        &["audit", "--since", "yesterday"][..],
        &["audit", "--limit", "0"],
        &["approval", "list", "--for", ""],
    ] {
        let said = dev.run(arguments);
        assert!(said.code == 2 && said.err.contains(arguments[arguments.len() - 2]), "{said:?}");
    }

    let mut command = dev.command(&["audit", "--follow", "--limit", "1", "-o", "jsonl"]);
    let mut follower = Follower(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(follower.0.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["request"], "r4", "the newest that is there");
    for request in ["r5", "r6"] {
        ask(&dev, request, "/tasks/s77", "");
        assert_eq!(next()["request"], request);
    }
}
