//! Failed attempts: which are tried again, when, how often, and what survives what.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests fail the test that calls them"
)]

use std::time::Duration;

use client::Submission;
use protocol::TaskId;
use protocol::entry::{Entry, Event};
use protocol::fault::{FailureClass, code};
use protocol::header::{self, Headers};
use protocol::limits::{BATCH_MESSAGES_MAX, LOG_ENTRIES_MAX, STATUS_AT_ONCE};
use protocol::message::{Message, value_of};
use protocol::time::Timestamp;
use runtime::bus::Outgoing;
use serde_json::json;
use weft_tests::mesh::{AGENTS, Mesh};
use weft_tests::wait::wait_until;
use weft_tests::work::{SOON, fault, kinds, marks, submission};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");

/// A skill whose backoff is long enough to be measured, and one whose attempts may not take long.
fn agents() -> String {
    format!(
        "{AGENTS}
[[agents]]
skill = \"slow\"
kind = \"probe\"
[agents.retry]
attempts_max = 4
backoff_first = \"200ms\"
backoff_factor = 2.0
jitter = 0.2
[[agents]]
skill = \"brief\"
kind = \"probe\"
timeout = \"300ms\"
[agents.retry]
attempts_max = 2
"
    )
}

/// The failed attempts of a log: when each was written, what it was, and when the next one may begin.
fn failures(entries: &[Entry]) -> Vec<(Timestamp, FailureClass, Timestamp)> {
    let failed = entries.iter().filter_map(|entry| match &entry.event {
        Event::AttemptFailed { failure, retry_at, .. } => Some((entry.at, *failure, *retry_at)),
        _ => None,
    });
    failed.collect()
}

/// When the first entry of an attempt was written.
fn began(entries: &[Entry], attempt: u32) -> Timestamp {
    entries.iter().find(|entry| entry.attempt == attempt).unwrap().at
}

#[tokio::test(flavor = "multi_thread")]
async fn the_class_of_a_failure_decides_what_follows() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &agents()).await;
    let mut node = mesh.node("n1").await;
    let transient = FailureClass::Transient;
    for (skill, input, attempts, end, class, code_of_last) in [
        ("probe", json!({"failUntilAttempt": 2}), 3, "completed", Some(transient), None),
        (
            "probe",
            json!({"failUntilAttempt": 99}),
            4,
            "failed",
            Some(transient),
            Some(code::AGENT_ERROR),
        ),
        (
            "probe",
            json!({"failUntilAttempt": 99, "failAs": "permanent"}),
            1,
            "failed",
            None,
            Some(code::AGENT_ERROR),
        ),
        ("probe", json!({"panic": true}), 4, "failed", Some(transient), Some(code::AGENT_PANICKED)),
        (
            "brief",
            json!({"sleepMs": 20_000}),
            2,
            "failed",
            Some(FailureClass::Lost),
            Some(code::ATTEMPT_TIMEOUT),
        ),
    ] {
        let (task, entries) = mesh.run(skill, input.to_string()).await;
        let last = entries.last().unwrap();
        assert_eq!(last.event.kind().name(), end, "{input}");
        assert_eq!(last.attempt, attempts, "{input}: {:?}", kinds(&entries));
        let failed = failures(&entries);
        assert_eq!(failed.len(), attempts as usize - 1, "{input}");
        assert!(failed.iter().all(|(_, found, _)| Some(*found) == class), "{input}: {failed:?}");
        if let Some(code) = code_of_last {
            assert_eq!(fault(last).code, code, "{input}");
        }
        let log = mesh.client.log(&protocol::Owner::default(), &task).await.unwrap();
        assert_eq!(log.attempts.len(), attempts as usize, "{input}");
    }
    for line in ["attempt failed, another one follows", "attempt failed, the task is given up"] {
        let said = node.said();
        let line =
            said.lines().find(|said| said.contains(line)).unwrap_or_else(|| panic!("{said}"));
        for word in ["WARN", "task_id", "attempt", "class", "agent_error"] {
            assert!(line.contains(word), "{word}: {line}");
        }
    }
    let panicked = mesh.run("probe", json!({"panic": true}).to_string()).await.1;
    let said = &fault(panicked.last().unwrap()).message;
    assert!(said.contains("the probe was told to panic"), "{said}");
    assert!(node.is_running(), "a panic ends an attempt, not the node:\n{}", node.said());
    let (_, entries) = mesh.run("echo", "still here").await;
    assert_eq!(kinds(&entries), ["completed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_grow_are_spread_and_are_kept() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &agents()).await;
    let _node = mesh.node("n1").await;
    let mut tasks = Vec::new();
    for _ in 0..8 {
        tasks.push(mesh.submit("slow", json!({"failUntilAttempt": 99})).await);
    }
    let mut first_waits = Vec::new();
    for task in &tasks {
        mesh.end_of(task).await;
        let entries = mesh.entries(task).await;
        let failed = failures(&entries);
        assert_eq!(failed.len(), 3, "{:?}", kinds(&entries));
        for ((at, _, retry_at), (attempt, expected_ms)) in
            failed.iter().zip([(2, 200_u64), (3, 400), (4, 800)])
        {
            let wait = retry_at.since(*at).as_millis() as u64;
            let (low, high) = (expected_ms * 8 / 10, expected_ms * 12 / 10);
            // The wait is counted from the failure, which the entry is written a moment after.
            assert!((low.saturating_sub(60)..=high).contains(&wait), "{expected_ms} ms: {wait} ms");
            assert!(began(&entries, attempt) >= *retry_at, "attempt {attempt} came early");
        }
        first_waits.push(failed.first().map(|(at, _, retry_at)| retry_at.since(*at)).unwrap());
    }
    first_waits.sort();
    first_waits.dedup_by_key(|wait| wait.as_millis());
    assert!(first_waits.len() > 2, "no jitter: {first_waits:?}");

    // What the peer asked for counts, however short the policy's own wait is.
    let (_, entries) =
        mesh.run("probe", json!({"failUntilAttempt": 1, "retryAfterMs": 1500}).to_string()).await;
    let (at, _, retry_at) = failures(&entries).pop().unwrap();
    assert!(retry_at.since(at) > Duration::from_millis(1400), "{:?}", retry_at.since(at));
    let late = began(&entries, 2).since(retry_at);
    assert!(began(&entries, 2) >= retry_at && late < Duration::from_secs(2), "{late:?} late");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_redelivery_does_not_run_early() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let node = mesh.node("n1").await;
    let file = mesh.folder().join("marks");
    let input = json!({"failUntilAttempt": 1, "retryAfterMs": 3000, "mark": file});
    let task = mesh.submit("probe", input).await;
    let entries = mesh.until_kind(&task, "attempt_failed").await;
    let (_, _, retry_at) = failures(&entries).pop().unwrap();
    // What a coordinator does for a node that it takes for dead: the delivery comes back at once.
    let sequence = task.sequence().unwrap();
    let ack = format!("$JS.ACK.WEFT_INBOX.skill-probe.1.{sequence}.1.1700000000000000000.0");
    let pulled = async || {
        let (_, text) = weft_tests::http::get(node.http.as_ref().unwrap(), "/metrics").await?;
        weft_tests::http::series(&text, "weft_pulled_messages_total")
    };
    let before = pulled().await.unwrap();
    mesh.client.bus().nak(&ack, Duration::ZERO).await;
    wait_until("an early redelivery", SOON, || async { (pulled().await? > before).then_some(()) })
        .await;
    mesh.end_of(&task).await;
    let entries = mesh.entries(&task).await;
    assert!(began(&entries, 2) >= retry_at, "{:?}", kinds(&entries));
    assert_eq!(marks(&file).len(), 2);
    assert_eq!(entries.last().unwrap().attempt, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_requeued_message_starts_no_second_run() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let _node = mesh.node("n1").await;
    let file = mesh.folder().join("marks");
    let input = json!({
        "sleepMs": 2_000, "failUntilAttempt": 1, "retryAfterMs": 5_100, "mark": file
    });
    let task = mesh.submit("probe", input).await;
    let entries =
        mesh.until(&task, "second attempt", |log| log.iter().any(|one| one.attempt == 2)).await;
    assert!(entries.last().unwrap().driver.is_some(), "{entries:?}");
    // What a coordinator publishes that finds the consequence missing after the window of message ids.
    let bus = mesh.client.bus();
    let headers = Headers::new()
        .with(header::TASK_ID, task.as_str())
        .with(header::OWNER, "default")
        .with(header::GENERATION, "2");
    bus.store(Outgoing::new("weft.run.probe".to_owned(), headers, "".into())).await.unwrap();
    mesh.end_of(&task).await;
    mesh.until_settled("probe").await;
    let entries = mesh.entries(&task).await;
    assert_eq!(kinds(&entries), ["claimed", "attempt_failed", "claimed", "completed"]);
    assert_eq!(marks(&file).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_wait_survives_the_restart_of_everything() {
    let (mut mesh, mut coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let mut node = mesh.node("n1").await;
    let file = mesh.folder().join("marks");
    let input = json!({"failUntilAttempt": 1, "retryAfterMs": 7000, "mark": file});
    let task = mesh.submit("probe", input).await;
    let entries = mesh.until_kind(&task, "attempt_failed").await;
    let Event::AttemptFailed { requeued, retry_at, .. } = entries.last().unwrap().event else {
        panic!("{entries:?}");
    };
    assert!(requeued, "a wait this long goes through the schedule");
    let subject = format!("weft.timer.default.{task}.retry-1");
    wait_until("the schedule", SOON, || async {
        mesh.client.bus().last(&mesh.client.bus().names().log, &subject).await.unwrap()
    })
    .await;
    mesh.until_settled("probe").await;
    node.kill().await;
    coordinator.kill().await;
    mesh.server.kill().await;
    mesh.server.restart().await.unwrap();
    let _coordinator = mesh.coordinator("c1", true).await;
    let _node = mesh.node("n2").await;
    mesh.end_of(&task).await;
    let entries = mesh.entries(&task).await;
    assert_eq!(entries.last().unwrap().event.kind().name(), "completed");
    let again = began(&entries, 2);
    assert!(again >= retry_at, "early");
    assert!(again.since(retry_at) < Duration::from_secs(5), "{:?} late", again.since(retry_at));
    let ran = marks(&file);
    assert_eq!(ran.len(), 2, "{ran:?}");
    assert_eq!(entries.last().unwrap().by.as_str(), "n2");
}

/// A mesh with an agent that says what its input lists.
fn players() -> String {
    format!("{AGENTS}\n[[agents]]\nskill = \"play\"\nkind = \"play\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn words_about_progress_that_come_too_fast_are_not_all_written() {
    const WORDS: usize = 3_000;
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &players()).await;
    let _node = mesh.node("n1").await;
    let mut acts: Vec<_> =
        (0..WORDS).map(|at| json!({"act": "say", "text": at.to_string()})).collect();
    acts.push(json!({"act": "work", "ms": 600}));
    acts.push(json!({"act": "step", "name": "s"}));
    let (_, entries) = mesh.run("play", json!({ "acts": acts }).to_string()).await;
    let said: Vec<usize> = entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::Status { message } => value_of(&message.parts).as_str()?.parse().ok(),
            _ => None,
        })
        .collect();
    let at_once = STATUS_AT_ONCE as usize;
    assert!((at_once..at_once + WORDS / 10).contains(&said.len()), "{} words", said.len());
    assert!(said.is_sorted(), "{said:?}");
    assert_eq!(said.last(), Some(&(WORDS - 1)), "the newest one is there");
    let names = kinds(&entries);
    let (last, step) = (
        names.iter().rposition(|kind| *kind == "status"),
        names.iter().position(|kind| *kind == "step"),
    );
    assert!(last < step, "it did not wait for the end: {:?}", names.iter().rev().take(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_at_its_limit_fails_its_task() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &players()).await;
    let bus = mesh.client.bus();
    let chosen = TaskId::parse("long").unwrap();
    let acts: Vec<_> = (0..5).map(|at| json!({"act": "step", "name": format!("s{at}")})).collect();
    let input = json!({ "acts": acts }).to_string();
    let submission =
        Submission { task_id: Some(chosen.clone()), ..submission("play", input.clone()) };
    let receipt = mesh.client.submit(submission).await.unwrap();
    let stored = bus.at(&bus.names().inbox, receipt.sequence).await.unwrap().unwrap();
    let origin = mesh.client.envelope(&stored).unwrap().origin(input.as_bytes());
    // The attempt before this one was talkative, and its node has vanished.
    let entries = (1..=LOG_ENTRIES_MAX as u64 - 2).map(|generation| {
        let entry = Entry {
            generation,
            at: stored.at,
            by: "n0".parse().unwrap(),
            attempt: 1,
            origin: (generation == 1).then(|| Box::new(origin.clone())),
            agent: None,
            spent: None,
            raised: None,
            driver: None,
            event: Event::Status { message: Message::from_agent("...") },
        };
        let headers = Headers::new().with(header::ENTRY, "status");
        let body = serde_json::to_vec(&entry).unwrap();
        Outgoing::new(bus.subjects().log(&receipt.owner, &chosen), headers, body.into())
    });
    let entries: Vec<_> = entries.collect();
    for batch in entries.chunks(BATCH_MESSAGES_MAX) {
        bus.store_batch(batch.to_vec()).await.unwrap();
    }
    let _node = mesh.node("n1").await;
    let end = mesh.end_of(&chosen).await;
    assert_eq!((end.event.kind().name(), end.attempt), ("failed", 2));
    assert_eq!(fault(&end).code, code::LOG_FULL);
    let entries = mesh.entries(&chosen).await;
    assert_eq!(entries.len(), LOG_ENTRIES_MAX + 1, "the end comes beyond the limit");
    assert_eq!(kinds(&entries)[LOG_ENTRIES_MAX - 2..], ["claimed", "step", "failed"]);
    let letters = mesh.client.dead_letters(None, 10).await.unwrap();
    assert_eq!(letters.len(), 1);
    mesh.until_settled("play").await;
}
