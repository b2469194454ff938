//! Messages that are wrong in every way: each ends in a log or as a letter, and nothing else is lost.

use std::time::Duration;

use bytes::Bytes;
use protocol::Owner;
use protocol::codec::{A2A_JSON, JSON, MSGPACK};
use protocol::dead::Cause;
use protocol::entry::{Entry, Event};
use protocol::fault::code;
use protocol::header::{CONTENT_TYPE, Headers};
use protocol::id::TaskId;
use protocol::limits::{CALLS_MAX, DEPTH_MAX, HEADER_BYTES_MAX};
use runtime::bus::{Outgoing, Pulled, StoreError};
use runtime::nats_server::ServerSettings;
use serde_json::json;
use weft_tests::http::{get, series};
use weft_tests::mesh::{AGENTS, Mesh};
use weft_tests::process::Process;
use weft_tests::raw::RawClient;
use weft_tests::wait::wait_until;
use weft_tests::work::{SOON, fault, kinds, marks, submission};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");

fn outgoing(subject: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Outgoing {
    let headers: Headers =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Outgoing::new(subject.to_owned(), headers, body.into())
}

/// What is sent to the skill `echo`, and the fault that it comes to.
struct Case {
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    code: &'static str,
    place: &'static str,
}

/// Bodies that are not what their content type says, or are nothing that a task may have.
fn bodies() -> Vec<Case> {
    let case = |content_type: &str, body: &[u8], code, place| {
        let named = (!content_type.is_empty()).then(|| (CONTENT_TYPE, content_type.to_owned()));
        Case { headers: named.into_iter().collect(), body: body.to_vec(), code, place }
    };
    let malformed = code::MALFORMED_BODY;
    let nested = |open: &[u8]| open.repeat(250 * 1024 / open.len());
    let deep = [&b"\x81\xa5parts\x91\x81\xa4data"[..], &[0x91; 200 * 1024]].concat();
    vec![
        case(JSON, b"{\"a\": 1", malformed, "line 1 column 7"),
        case(JSON, b"{\"a\": \xff}", malformed, "line 1"),
        case(JSON, b"", malformed, "line 1"),
        case(A2A_JSON, b"{\"parts\": []}", malformed, "$.parts"),
        case(MSGPACK, &[0xc1], malformed, "byte"),
        case(MSGPACK, &[0x82, 0xa1, b'a'], malformed, "byte"),
        case(MSGPACK, &[0xdd, 0xff, 0xff, 0xff, 0xff], malformed, "byte"),
        case(MSGPACK, &nested(&[0x91]), malformed, "byte"),
        case(MSGPACK, &deep, code::TOO_DEEP, "body"),
        case("text/plain", &[b'a', 0xff], malformed, "byte 1"),
        case("application/xml", b"<a/>", code::UNSUPPORTED_CONTENT_TYPE, "header Content-Type"),
        case(JSON, &nested(b"["), code::TOO_DEEP, "body"),
        case(JSON, &nested(b"{\"a\":"), code::TOO_DEEP, "body"),
        case("", &nested(b"["), code::TOO_DEEP, "body"),
        case("", &[[b'['; DEPTH_MAX + 1], [b']'; DEPTH_MAX + 1]].concat(), code::TOO_DEEP, "body"),
    ]
}

/// Headers that say what they may not say.
fn envelopes() -> Vec<Case> {
    let long = "x".repeat(HEADER_BYTES_MAX);
    let case = |headers: &[(&'static str, &str)], code, place| {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Case { headers, body: b"x".to_vec(), code, place }
    };
    let bad = |name, value, place| case(&[(name, value)], code::BAD_HEADER, place);
    vec![
        bad("Weft-Deadline", "soon", "header Weft-Deadline"),
        bad("Weft-Task-Id", "s1", "header Weft-Task-Id"),
        bad("Weft-Task-Id", "a.b", "header Weft-Task-Id"),
        bad("Weft-Task-Id", "", "header Weft-Task-Id"),
        bad("Weft-Context-Id", "a b", "header Weft-Context-Id"),
        bad("Weft-Dedup-Key", " ", "header Weft-Dedup-Key"),
        bad("Weft-Reply-To", "weft.log.default.s1", "header Weft-Reply-To"),
        bad("Weft-Reply-To", "$JS.API.STREAM.DELETE.WEFT_LOG", "header Weft-Reply-To"),
        case(
            &[("Weft-Task-Id", "a"), ("Weft-Dedup-Key", "b")],
            code::BAD_HEADER,
            "header Weft-Task-Id",
        ),
        case(&[("X-Long", &long)], code::TOO_LARGE, "headers"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_rejected_with_its_place() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let mut node = mesh.node("n1").await;
    let bus = mesh.client.bus();
    let mut good = Vec::new();
    let mut bad = Vec::new();
    for case in bodies().into_iter().chain(envelopes()) {
        good.push(mesh.submit("probe", json!({"sleepMs": 20})).await);
        let headers: Vec<_> =
            case.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let message = outgoing("weft.task.echo", &headers, case.body.clone());
        bad.push((TaskId::from_sequence(bus.store(message).await.unwrap().sequence), case));
    }
    for (task, Case { headers, body, code, place }) in &bad {
        let start = body.iter().take(20).collect::<Vec<_>>();
        let case = format!("{:.80} {start:?}", format!("{headers:?}"));
        let end = mesh.end_of(task).await;
        assert!(matches!(end.event, Event::Rejected { .. }), "{case}: {end:?}");
        assert_eq!(fault(&end).code, *code, "{case}");
        let found = fault(&end).place.clone().unwrap_or_default();
        assert!(found.starts_with(place), "{case}: {found:?}");
        assert_eq!(kinds(&mesh.entries(task).await), ["rejected"], "{case}");
        let shown = mesh.client.task(&Owner::default(), task).await.unwrap().unwrap();
        assert_eq!(shown.status.state, protocol::task::TaskState::Rejected, "{case}");
    }
    for task in &good {
        assert_eq!(mesh.end_of(task).await.event.kind().name(), "completed", "{task}");
    }
    assert!(mesh.client.dead_letters(None, 10).await.unwrap().is_empty());

    // Beyond what the stream or the server takes, the publisher hears of it at once and nothing is stored.
    let before = bus.stream_state(&bus.names().inbox).await.unwrap().last_seq;
    for bytes in [300 * 1024, 1024 * 1024, 1024 * 1024 + 1] {
        let message = outgoing("weft.task.echo", &[(CONTENT_TYPE, JSON)], vec![b'['; bytes]);
        let refused = bus.store(message).await.unwrap_err();
        assert!(matches!(refused, StoreError::TooLarge { .. }), "{bytes}: {refused}");
    }
    assert_eq!(bus.stream_state(&bus.names().inbox).await.unwrap().last_seq, before);
    assert!(node.is_running());
    let said = node.said();
    assert!(!said.contains("panicked"), "{said}");
}

/// Header blocks that no client library writes.
const POISON: [(&str, &[u8]); 7] = [
    ("invalid UTF-8 in a value", b"Weft-Context-Id: \xff\xfe\r\n"),
    ("invalid UTF-8 in a name", b"W\xffeft: x\r\n"),
    ("a line without a colon", b"no colon here\r\n"),
    ("a lone carriage return", b"Weft-Context-Id: a\rb\r\n"),
    ("a null byte in a name", b"W\0eft: x\r\n"),
    ("a carriage return in a continued value", b"Weft-Context-Id: a\r\n \rb\r\n"),
    ("a block that is no header block", b"\x00\x01\x02"),
];

/// A node that is brought back when it ends with an error, as a service manager would do.
struct Kept<'a> {
    mesh: &'a Mesh,
    node: Process,
    restarts: u32,
}

impl Kept<'_> {
    /// The log of a task once it satisfies `is_there`.
    async fn until(&mut self, task: &TaskId, is_there: impl Fn(&[Entry]) -> bool) -> Vec<Entry> {
        let ends_at = tokio::time::Instant::now() + SOON;
        loop {
            if !self.node.is_running() {
                assert!(!self.node.ended().await.success(), "an error is no success");
                self.restarts += 1;
                assert!(self.restarts < 20, "it does not stay up:\n{}", self.node.said());
                self.node = self.mesh.node(&format!("n{}", self.restarts)).await;
            }
            let entries = self.mesh.entries(task).await;
            if is_there(&entries) {
                return entries;
            }
            let late = tokio::time::Instant::now() > ends_at;
            assert!(!late, "{task}: {:?}\n{}", kinds(&entries), self.node.said());
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn poisoned_headers_cost_no_other_task() {
    let (mesh, mut coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let mut kept = Kept { mesh: &mesh, node: mesh.node("n0").await, restarts: 0 };
    let file = mesh.folder().join("marks");
    let mut raw = RawClient::connect(&mesh.server.client_url()).await;
    for (what, lines) in POISON {
        let mut around = Vec::new();
        for _ in 0..5 {
            around.push(mesh.submit("probe", json!({"sleepMs": 100, "mark": file})).await);
        }
        let poisoned = around.last().unwrap().sequence().unwrap() + 1;
        raw.publish("weft.task.probe", lines, b"{}").await;
        for _ in 0..5 {
            around.push(mesh.submit("probe", json!({"sleepMs": 100, "mark": file})).await);
        }
        let poisoned = TaskId::from_sequence(poisoned);
        assert!(!around.contains(&poisoned), "{what}: not stored");
        let entries = kept.until(&poisoned, |entries| !entries.is_empty()).await;
        let end = entries.last().unwrap();
        assert!(matches!(end.event, Event::Rejected { .. }), "{what}: {end:?}");
        assert_eq!(fault(end).code, code::BAD_HEADER, "{what}");
        for task in &around {
            kept.until(task, |entries| kinds(entries).contains(&"completed")).await;
        }
    }
    assert!(coordinator.is_running(), "{}", coordinator.said());
    mesh.until_settled("probe").await;
    let (_, entries) = mesh.run("echo", "after the poison").await;
    assert_eq!(kinds(&entries).last(), Some(&"completed"));
    assert!(mesh.client.dead_letters(None, 10).await.unwrap().is_empty());
    let done: std::collections::HashSet<_> =
        marks(&file).into_iter().map(|mark| mark.task).collect();
    assert_eq!(done.len(), POISON.len() * 10);
}

/// More deliveries in flight before a poisoned one than a sweep looks at in one turn.
const CROWD: usize = 2_100;

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_message_behind_thousands_is_found() {
    let config = AGENTS.replace("lease = \"2s\"", "lease = \"60s\"");
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &config).await;
    let mut first = mesh.node("first").await;
    first.terminate();
    assert!(first.ended().await.success());
    // Whoever holds this one keeps the consumer from settling what comes behind it.
    let bus = mesh.client.bus();
    let held = mesh.submit("probe", json!({})).await;
    let mut holder = bus.puller(&bus.names().inbox, "skill-probe").await.unwrap();
    holder.ask(1).await;
    let Pulled::Delivery(hold) = holder.next().await else { panic!("no delivery") };
    assert_eq!(Some(hold.position.sequence), held.sequence());

    let mut kept = Kept { mesh: &mesh, node: mesh.node("n0").await, restarts: 0 };
    let crowd = (0..CROWD).map(|_| submission("probe", "{}")).collect();
    let crowd = mesh.client.submit_all(crowd).await.unwrap();
    kept.until(&crowd.last().unwrap().task, |entries| !entries.is_empty()).await;
    let poisoned = TaskId::from_sequence(crowd.last().unwrap().sequence + 1);
    let mut raw = RawClient::connect(&mesh.server.client_url()).await;
    raw.publish("weft.task.probe", b"Weft-Context-Id: \xff\r\n", b"{}").await;
    let entries = kept.until(&poisoned, |entries| !entries.is_empty()).await;
    assert_eq!(kinds(&entries), ["rejected"]);
    bus.nak(&hold.ack_subject, Duration::ZERO).await;
    kept.until(&held, |entries| kinds(entries).contains(&"completed")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_large_says_so() {
    let small = |settings| ServerSettings { payload_bytes_max: 200_000, ..settings };
    let (mesh, _coordinator) = Mesh::start_with(PROGRAM, AGENTS, small).await;
    let _node = mesh.node("n1").await;
    let bus = mesh.client.bus();
    let input = json!({"artifact": "a".repeat(120_000), "outputChars": 120_000}).to_string();
    let is_told = |answer: &[u8]| {
        let answer: serde_json::Value = serde_json::from_slice(answer).unwrap();
        assert_eq!(answer["error"]["code"], code::TOO_LARGE, "{answer}");
        let hint = answer["error"]["hint"].as_str().unwrap();
        assert!(hint.contains("weft task get s"), "{hint}");
    };
    let (none, body) = (Headers::new(), input.clone().into());
    let called = bus.ask("weft.call.probe".to_owned(), &none, body, SOON).await.unwrap();
    is_told(&called.payload);

    let mut answers = bus.subscribe("replies.mine".to_owned(), None).await.unwrap();
    bus.flush().await;
    let message = outgoing("weft.task.probe", &[("Weft-Reply-To", "replies.mine")], input);
    bus.store(message).await.unwrap();
    let answer = tokio::time::timeout(SOON, answers.next()).await.unwrap().unwrap();
    is_told(&answer.payload);
    let (_, entries) = mesh.run("echo", "all the same").await;
    assert_eq!(kinds(&entries), ["completed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_the_limit_are_told_that_it_is_busy() {
    let (mesh, coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let client = async_nats::connect(mesh.server.client_url()).await.unwrap();
    let bus = mesh.client.bus();
    let mut early = bus.subscribe("replies.*".to_owned(), None).await.unwrap();
    bus.flush().await;
    for number in 0..CALLS_MAX {
        let reply = format!("replies.{number}");
        client.publish_with_reply("weft.call.nobody", reply, "{}".into()).await.unwrap();
    }
    // On the same connection, since only that keeps the order.
    let answer = tokio::select! {
        answer = client.request("weft.call.echo", "x".into()) => answer.unwrap(),
        answer = early.next() => panic!("a call ended: {answer:?}"),
    };
    let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(answer["error"]["code"], code::BUSY, "{answer}");
    let stored = wait_until("all others are stored", SOON, || async {
        let state = bus.stream_state(&bus.names().inbox).await.unwrap();
        (state.last_seq >= CALLS_MAX as u64).then_some(state.last_seq)
    })
    .await;
    assert_eq!(stored, CALLS_MAX as u64, "what is refused is not submitted");
    let (_, text) = get(coordinator.http.as_ref().unwrap(), "/metrics").await.unwrap();
    assert_eq!(series(&text, "weft_coordinator_calls_refused_total"), Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_message_in_the_run_queue_is_a_letter() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let mut node = mesh.node("n1").await;
    let bus = mesh.client.bus();
    let cases: [&[(&str, &str)]; 4] = [
        &[],
        &[("Weft-Task-Id", "s1")],
        &[("Weft-Task-Id", "a b"), ("Weft-Owner", "default")],
        &[("Weft-Task-Id", "s1"), ("Weft-Owner", "default"), ("Weft-Generation", "many")],
    ];
    for headers in cases {
        bus.store(outgoing("weft.run.probe", headers, "not yours")).await.unwrap();
    }
    let letters = wait_until("the letters", SOON, || async {
        let letters = mesh.client.dead_letters(None, 100).await.unwrap();
        (letters.len() == cases.len()).then_some(letters)
    })
    .await;
    for entry in &letters {
        assert_eq!(entry.letter.cause, Cause::Malformed);
        assert_eq!(entry.letter.fault.code, code::BAD_HEADER);
        assert!(
            entry.letter.fault.place.as_deref().unwrap_or_default().starts_with("header Weft-")
        );
        assert_eq!(
            protocol::message::value_of(&entry.letter.input.parts),
            json!([{"raw": "bm90IHlvdXJz"}])
        );
    }
    // Work that names a task which does not exist, or an entry that it does not have, starts nothing wrong.
    let (task, before) = mesh.run("echo", "mine").await;
    for generation in ["1", "7"] {
        let headers: &[(&str, &str)] = &[
            ("Weft-Task-Id", task.as_str()),
            ("Weft-Owner", "default"),
            ("Weft-Generation", generation),
        ];
        bus.store(outgoing("weft.run.echo", headers, "")).await.unwrap();
    }
    mesh.until_settled("echo").await;
    mesh.until_settled("probe").await;
    assert_eq!(mesh.entries(&task).await, before);
    assert!(node.is_running());
    let receipt = mesh.client.submit(submission("echo", "still here")).await.unwrap();
    assert_eq!(mesh.end_of(&receipt.task).await.event.kind().name(), "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn poisoned_headers_where_only_the_mesh_writes_stop_nobody_for_long() {
    let (mesh, mut coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let mut kept = Kept { mesh: &mesh, node: mesh.node("n0").await, restarts: 0 };
    let log = coordinator.log.clone();
    let mut raw = RawClient::connect(&mesh.server.client_url()).await;
    for subject in [
        "weft.run.probe",
        "weft.wake.default.s1",
        "weft.input.default.s1",
        "weft.cancel.default.s1",
    ] {
        raw.publish(subject, b"Weft-Task-Id: a\rb\r\n", b"{}").await;
        // Delegating needs both: the run queue for the children, and the wakes of their parent.
        let child = json!({"echo": "child"});
        let parent = json!({"delegate": {"skill": "probe", "inputs": [child, child]}});
        let task = mesh.submit("probe", parent).await;
        let kept_up = async {
            let mut look = tokio::time::interval(Duration::from_millis(20));
            loop {
                look.tick().await;
                if !coordinator.is_running() {
                    coordinator.restart().await;
                }
            }
        };
        let goes_on = async {
            kept.until(&task, |entries| kinds(entries).contains(&"completed")).await;
            wait_until("it is removed", SOON, || async {
                let said = std::fs::read_to_string(&log).unwrap();
                let removed = |line: &str| line.contains("removed") && line.contains(subject);
                said.lines().any(removed).then_some(())
            })
            .await;
        };
        tokio::select! {
            () = kept_up => {}
            () = goes_on => {}
        }
    }
    let (_, entries) = mesh.run("echo", "after the poison").await;
    assert_eq!(kinds(&entries).last(), Some(&"completed"));
}
