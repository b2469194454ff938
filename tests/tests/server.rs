//! nats-server killed, restarted and frozen under load: what it acknowledged is not lost, and everybody comes back.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test that calls them")]
#![expect(
    clippy::print_stdout,
    reason = "the measured times are worth a line in the test's output"
)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use client::{Client, Receipt, SubmitError};
use futures_util::StreamExt as _;
use protocol::entry::Event;
use protocol::header::Headers;
use protocol::task::TaskState;
use protocol::{Owner, TaskId};
use runtime::bus::{Outgoing, StoreError, SystemBus};
use runtime::nats_server::ServerSettings;
use serde_json::{Value, json};
use tokio::time::Instant;
use weft_tests::http::{get, series};
use weft_tests::mesh::{AGENTS, Mesh, bus_settings};
use weft_tests::oracle::{Oracle, unfinished};
use weft_tests::process::Process;
use weft_tests::wait::wait_until;
use weft_tests::work::{SOON, marks, output, submission};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");
/// Tasks of each suite, and submissions under way at once.
const TASKS: usize = 2_000;
const AT_ONCE: usize = 200;
/// How long everything may take to come back and end.
const HEALED: Duration = Duration::from_secs(60);

/// What became of the submissions.
#[derive(Default)]
struct Submitted {
    receipts: Vec<Receipt>,
    errors: usize,
}

/// Submits tasks while something else happens; `stored` counts the receipts so far.
async fn submit_all(client: &Client, stored: &AtomicUsize) -> Submitted {
    let results = futures_util::stream::iter(0..TASKS)
        .map(|at| async move {
            let body = match at % 3 {
                0 => json!({"sleepMs": 30}),
                1 => json!({"steps": 2, "sleepMs": 10}),
                _ => json!({"failUntilAttempt": 1}),
            };
            let skill = if at % 2 == 0 { "echo" } else { "probe" };
            let result = client.submit(submission(skill, body.to_string())).await;
            stored.fetch_add(usize::from(result.is_ok()), Ordering::Relaxed);
            result
        })
        .buffer_unordered(AT_ONCE);
    results
        .fold(Submitted::default(), |mut all, result| async {
            match result {
                Ok(receipt) => all.receipts.push(receipt),
                Err(_) => all.errors += 1,
            }
            all
        })
        .await
}

/// Waits for the end of everything that the streams hold, and judges.
async fn assert_all_ended_once(mesh: &Mesh, submitted: &Submitted) {
    wait_until("every task has ended", HEALED, || async {
        unfinished(&mesh.client).await.ok().filter(BTreeSet::is_empty)
    })
    .await;
    let story = Oracle::read(&mesh.client).await.unwrap();
    assert_eq!(story.faults(), [""; 0]);
    for receipt in &submitted.receipts {
        let end = story.end(&receipt.task).map(|entry| entry.event.kind().name());
        assert_eq!(end, Some("completed"), "{} has a receipt", receipt.task);
    }
}

fn assert_running(processes: &mut [Process]) {
    for process in processes {
        assert!(process.is_running(), "{} has exited:\n{}", process.orders.name, process.said());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_nothing_that_it_acknowledged() {
    let (mut mesh, coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let mut processes = vec![coordinator, mesh.node("n0").await, mesh.node("n1").await];
    let stored = AtomicUsize::new(0);
    let (server, client) = (&mut mesh.server, &mesh.client);
    let breaking = async {
        for part in [1, 2] {
            wait_until("some are stored", SOON, || async {
                (stored.load(Ordering::Relaxed) >= TASKS * part / 4).then_some(())
            })
            .await;
            server.kill().await;
            server.restart().await.unwrap();
        }
    };
    let started = Instant::now();
    let (submitted, ()) = tokio::join!(submit_all(client, &stored), breaking);
    let took = started.elapsed();
    println!("{} receipts, {} errors in {took:?}", submitted.receipts.len(), submitted.errors);
    assert!(submitted.receipts.len() > TASKS / 2);
    assert_all_ended_once(&mesh, &submitted).await;
    println!(
        "two kills of the server healed {:?} after the last submission",
        started.elapsed() - took
    );
    assert_running(&mut processes);
    mesh.run("echo", "afterwards").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_is_waited_for() {
    let (mesh, coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let mut processes = vec![coordinator, mesh.node("n0").await, mesh.node("n1").await];
    let stored = AtomicUsize::new(0);
    let freezing = async {
        wait_until("some are stored", SOON, || async {
            (stored.load(Ordering::Relaxed) >= TASKS / 4).then_some(())
        })
        .await;
        mesh.server.freeze().await.unwrap();
        let lost = || async { (!mesh.client.bus().is_connected()).then_some(()) };
        wait_until("the client has noticed", SOON, lost).await;
        mesh.server.thaw().unwrap();
        wait_until("the client is back", SOON, || async {
            mesh.client.bus().is_connected().then_some(())
        })
        .await;
    };
    let (submitted, ()) = tokio::join!(submit_all(&mesh.client, &stored), freezing);
    println!("{} receipts, {} errors", submitted.receipts.len(), submitted.errors);
    assert_all_ended_once(&mesh, &submitted).await;
    assert_running(&mut processes);
    mesh.run("echo", "afterwards").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scheduled_retries_survive_a_restart_of_everything() {
    let (mut mesh, mut coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let mut node = mesh.node("n0").await;
    let mark_file = mesh.folder().join("marks");
    let input = json!({"failUntilAttempt": 1, "retryAfterMs": 7_000, "mark": mark_file});
    let mut tasks = Vec::<TaskId>::new();
    for _ in 0..20 {
        tasks.push(mesh.submit("probe", input.clone()).await);
    }
    for task in &tasks {
        mesh.until_kind(task, "attempt_failed").await;
    }
    mesh.until_settled("probe").await;
    mesh.server.kill().await;
    for process in [&mut node, &mut coordinator] {
        process.kill().await;
    }
    mesh.server.restart().await.unwrap();
    assert!(node.restart().await);
    for task in &tasks {
        let end = mesh.end_of(task).await;
        assert_eq!(output(&end)["attempt"], 2);
        let log = mesh.entries(task).await;
        let [failed, .., ended] = log.as_slice() else { panic!("{log:?}") };
        let Event::AttemptFailed { retry_at, requeued: true, .. } = failed.event else {
            panic!("not scheduled: {failed:?}")
        };
        assert!(ended.at >= retry_at, "tried again too early: {log:#?}");
        let late = ended.at.since(retry_at);
        assert!(late < Duration::from_secs(3), "{late:?} late");
    }
    assert_eq!(marks(&mark_file).len(), 2 * tasks.len());
    assert_eq!(Oracle::read(&mesh.client).await.unwrap().faults(), [""; 0]);
}

/// How many tasks of a suite got another id.
async fn renamed(node: &Process) -> f64 {
    let (_, text) = get(node.http.as_ref().unwrap(), "/metrics").await.unwrap();
    ["echo", "probe"]
        .iter()
        .filter_map(|skill| {
            series(&text, &format!("weft_tasks_renamed_total{{skill=\"{skill}\"}}"))
        })
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_that_is_set_back_loses_no_task() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let node = mesh.node("n0").await;
    let mark_file = mesh.folder().join("marks");
    let same = json!({"mark": mark_file, "echo": "same"});
    let slow = json!({"mark": mark_file, "steps": 2, "sleepMs": 20, "echo": "slow"});
    let mut before = Vec::new();
    let called_before = json!({"echo": "called before"});
    for input in
        [same.clone(), json!({"echo": "before"}), slow.clone(), same.clone(), called_before]
    {
        let task = mesh.submit("probe", input).await;
        mesh.end_of(&task).await;
        before.push((task.clone(), mesh.entries(&task).await));
    }
    mesh.until_settled("probe").await;
    let bus = mesh.client.bus();
    let inbox = &bus.names().inbox;
    let created = bus.stream_created(inbox).await.unwrap();
    let gone = bus
        .ask(format!("$JS.API.STREAM.DELETE.{inbox}"), &Headers::new(), Bytes::new(), SOON)
        .await;
    gone.unwrap();
    wait_until("the inbox is there again", SOON, || async {
        bus.stream_created(inbox).await.ok().filter(|at| *at != created)
    })
    .await;

    let mut after = Vec::new();
    for input in [same.clone(), json!({"echo": "after"}), slow, same] {
        after.push((mesh.submit("probe", input.clone()).await, input));
    }
    for ((old, entries), (receipt, input)) in before.iter().zip(&after) {
        assert_eq!(receipt, old, "the sequence comes again");
        let end = mesh.end_of(receipt).await;
        assert_eq!(output(&end)["echo"], input["echo"], "{end:?}");
        assert_ne!(entries.last(), Some(&end), "the end of the one before");
        assert_eq!(mesh.entries(old).await, *entries, "the log of the one before is as it was");
    }
    let logs = Oracle::read(&mesh.client).await.unwrap().logs;
    let renamed_to: Vec<_> = logs
        .keys()
        .filter(|task| task.as_str().contains('-') && task.sequence().is_some())
        .collect();
    assert_eq!(renamed_to.len(), after.len(), "{logs:?}");
    for task in renamed_to {
        let task = mesh.client.task(&Owner::default(), task).await.unwrap().unwrap();
        assert_eq!(task.status.state, TaskState::Completed);
        assert!(!task.history.is_empty(), "its input is there");
    }
    assert_eq!(renamed(&node).await, 4.0);
    assert!(node.said().contains("task gets another id"), "{}", node.said());
    assert!(mesh.client.dead_letters(None, 10).await.unwrap().is_empty());

    let body = Bytes::from(r#"{"echo": "called after"}"#);
    let answer = bus.ask("weft.call.probe".to_owned(), &Headers::new(), body, SOON).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    let said = &answer["artifacts"][0]["parts"][0]["data"]["echo"];
    assert_eq!(said, "called after", "the answer of the one before: {answer}");
}

/// What a server's store has room for, and the size of what fills it, in bytes.
const ROOM: u64 = 48 * 1024 * 1024;
const BALLAST: usize = 512 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_refuses_at_once_and_what_has_begun_goes_on_when_there_is_room() {
    let config = AGENTS
        .replace("[bus]", "[bus]\ninbox_bytes_max = 8388608")
        .replace("[gateway]", "[gateway]\naudit = { max_bytes = 8388608 }");
    let small = |settings| ServerSettings { store_bytes_max: Some(ROOM), ..settings };
    let (mesh, coordinator) = Mesh::start_with(PROGRAM, &config, small).await;
    let mut processes = vec![coordinator, mesh.node("n0").await];
    let bus = mesh.client.bus();
    let api = |what: String, body: serde_json::Value| async move {
        let body = body.to_string().into();
        bus.ask(format!("$JS.API.STREAM.{what}"), &Headers::new(), body, SOON).await.unwrap()
    };
    api("CREATE.BALLAST".to_owned(), json!({"name": "BALLAST", "subjects": ["ballast"]})).await;
    let mark_file = mesh.folder().join("marks");
    let input = json!({"steps": 3, "sleepMs": 1_000, "mark": mark_file});
    let mut tasks = Vec::new();
    for _ in 0..10 {
        tasks.push(mesh.submit("probe", input.clone()).await);
    }
    for task in &tasks {
        mesh.until(task, "begun", |log| !log.is_empty()).await;
    }
    let ballast =
        || Outgoing::new("ballast".to_owned(), Headers::new(), vec![b'x'; BALLAST].into());
    let full = wait_until("it is full", SOON, || async { bus.store(ballast()).await.err() }).await;
    assert_eq!(full, StoreError::Full);
    let refused = mesh.client.submit(submission("echo", "x")).await.unwrap_err();
    let SubmitError::Store { source: StoreError::Full, .. } = refused else { panic!("{refused}") };
    wait_until("a commit waits", SOON, || async {
        processes.last()?.said().contains("append not stored yet").then_some(())
    })
    .await;
    let system = SystemBus::connect(bus_settings(&mesh.server.system_url(), "test")).await.unwrap();
    let store = system.fullest_store().await.unwrap();
    assert_eq!(store.bytes_max, Some(ROOM));
    assert!(store.bytes * 100 > ROOM * 95, "the doctor sees it: {store:?}");
    api("PURGE.BALLAST".to_owned(), json!({})).await;
    for task in &tasks {
        assert_eq!(mesh.end_of(task).await.event.kind().name(), "completed");
    }
    assert_running(&mut processes);
    let story = Oracle::read(&mesh.client).await.unwrap();
    assert_eq!(story.faults(), [""; 0]);
    let attempts = tasks.iter().map(|task| story.log(task).last().unwrap().attempt).max();
    assert_eq!(attempts, Some(1), "waiting for room costs no attempt");
    mesh.run("echo", "afterwards").await;
}
