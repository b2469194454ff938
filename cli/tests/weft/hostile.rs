//! Lists and dead letters on streams that hold what no node of ours has written, and more than fits a window.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use bytes::Bytes;
use protocol::header::Headers;
use protocol::subject::Subjects;
use runtime::bus::{Bus, BusSettings, Credentials, Outgoing, TlsFiles};
use serde_json::Value;

use crate::support::{Dev, wait_until};

/// More messages than a list looks at.
const MORE_THAN_A_WINDOW: usize = 50_001;

async fn bus(dev: &Dev) -> Bus {
    let settings = BusSettings {
        servers: dev.fact("nats"),
        credentials: Credentials::None,
        tls: TlsFiles::default(),
        role: "test".to_owned(),
        subjects: Subjects::default(),
    };
    Bus::connect(settings).await.unwrap()
}

async fn store(bus: &Bus, subject: &str, body: &str) -> u64 {
    let message = Outgoing::new(subject.to_owned(), Headers::new(), Bytes::from(body.to_owned()));
    bus.store(message).await.unwrap().sequence
}

fn row<'a>(listed: &'a Value, task: &str) -> &'a Value {
    let tasks = listed["tasks"].as_array().unwrap();
    tasks.iter().find(|row| row["id"] == task).unwrap_or_else(|| panic!("no {task} in {listed}"))
}

#[tokio::test]
async fn an_end_that_lies_before_the_window_is_found() {
    let dev = Dev::start();
    let task = dev.run(&["task", "send", "probe", "{\"steps\": 1}", "--wait", "-o", "json"]).json();
    let queued = dev.run(&["task", "send", "nobody", "x"]).out;
    let bus = bus(&dev).await;
    let log = &bus.names().log;
    let before = bus.stream_state(log).await.unwrap().last_seq;
    for _ in 0..MORE_THAN_A_WINDOW {
        bus.tell("weft.run.filler".to_owned(), &Headers::new(), Bytes::new()).await;
    }
    bus.flush().await;
    let until = before + u64::try_from(MORE_THAN_A_WINDOW).unwrap();
    while bus.stream_state(log).await.unwrap().last_seq < until {
        tokio::task::yield_now().await;
    }
    let task = task["id"].as_str().unwrap();
    let listed = dev.run(&["task", "list", "-o", "json"]).json();
    assert_eq!(row(&listed, task)["state"], "TASK_STATE_COMPLETED", "{listed}");
    assert_eq!(row(&listed, task)["attempts"], 1);
    assert_eq!(row(&listed, queued.trim())["state"], "TASK_STATE_SUBMITTED");
    assert_eq!(listed["olderNotRead"], true);
    for (state, count) in [("completed", 1), ("submitted", 1), ("failed", 0)] {
        let listed = dev.run(&["task", "list", "--state", state, "-o", "jsonl"]);
        assert_eq!(listed.out.lines().count(), count, "{state}: {listed:?}");
    }
    let one = dev.run(&["task", "list", "--limit", "1"]);
    assert!(one.err.contains("there are more, --limit shows them"), "{one:?}");
}

#[tokio::test]
async fn garbage_in_a_log_is_one_row_and_poison_ends_no_list() {
    let dev = Dev::start();
    assert_eq!(dev.run(&["task", "send", "echo", "x", "--wait"]).code, 0);
    let bus = bus(&dev).await;
    store(&bus, "weft.log.default.rubbish", "{ no json").await;
    store(&bus, "weft.log.default.s1", "{}").await;
    let listed = dev.run(&["task", "list", "-o", "json"]).json();
    for broken in ["rubbish", "s1"] {
        let row = row(&listed, broken);
        assert_eq!(row["state"], Value::Null, "{row}");
        assert!(row["error"].as_str().unwrap().contains("is unreadable at sequence"), "{row}");
    }
    let table = dev.run(&["task", "list"]);
    assert!(table.code == 0 && table.out.contains("unreadable"), "{table:?}");

    // A carriage return in a header: the client library's connection does not survive it.
    for subject in ["weft.log.default.poison", "weft.task.nobody"] {
        publish_poison(&dev.fact("nats"), subject);
    }
    let log = &bus.names().log;
    let last = bus.stream_state(log).await.unwrap().last_seq;
    assert!(last >= 4, "the poison was not stored");
    let listed = dev.run(&["task", "list", "-o", "json"]);
    assert!(listed.code == 0, "{listed:?}");
    row(&listed.json(), "poison");
}

fn publish_poison(url: &str, subject: &str) {
    let mut stream = TcpStream::connect(url.strip_prefix("nats://").unwrap()).unwrap();
    let headers = "NATS/1.0\r\nX-Bad: a\rb\r\n\r\n";
    let size = headers.len();
    write!(stream, "CONNECT {{\"headers\":true,\"verbose\":false}}\r\n").unwrap();
    write!(stream, "HPUB {subject} {size} {size}\r\n{headers}\r\nPING\r\n").unwrap();
    let mut said = String::new();
    let mut buffer = [0; 4096];
    while !said.contains("PONG") {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0 && !said.contains("-ERR"), "{said}");
        said.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
}

#[tokio::test]
async fn an_unreadable_letter_is_shown_and_discarded() {
    let dev = Dev::start();
    let bus = bus(&dev).await;
    let number = store(&bus, "weft.dead.probe", "{}").await.to_string();
    let listed = dev.run(&["dlq", "list"]);
    assert!(
        listed.code == 0 && listed.err.contains(&format!("{number} is unreadable")),
        "{listed:?}"
    );
    let shown = dev.run(&["dlq", "get", &number]);
    assert!(shown.err.contains(&format!("weft dlq discard {number}")), "{shown:?}");
    let discarded = dev.run(&["dlq", "discard", &number]);
    assert_eq!((discarded.code, discarded.out), (0, format!("{number}  discarded\n")));
    assert_eq!(dev.run(&["dlq", "discard", &number]).code, 4);
    let other = store(&bus, "weft.run.filler", "").await.to_string();
    assert_eq!(dev.run(&["dlq", "discard", &other]).code, 4, "what is no letter was removed");
    wait_until("an empty list", || dev.run(&["dlq", "list"]).err.contains("no dead").then_some(()));
}
