//! nats-server killed, restarted and frozen under load: what it acknowledged is not lost, and everybody comes back.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test that calls them")]
#![expect(
    clippy::print_stdout,
    reason = "the measured times are worth a line in the test's output"
)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use client::{Client, Receipt};
use futures_util::StreamExt as _;
use protocol::TaskId;
use protocol::entry::Event;
use serde_json::json;
use tokio::time::Instant;
use weft_tests::mesh::{AGENTS, Mesh};
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
