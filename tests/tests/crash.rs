//! What happens to work when the process that does it is killed.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test that calls them"
)]
#![expect(
    clippy::print_stdout,
    reason = "the measured times are worth a line in the test's output"
)]

use std::time::Duration;

use futures_util::future::select_all;
use protocol::entry::Entry;
use protocol::lifecycle::Phase;
use protocol::limits::HEARTBEAT_TTL;
use protocol::log::{AttemptOutcome, TaskLog};
use protocol::{TaskId, Timestamp};
use runtime::clock::Clock;
use serde_json::json;
use tokio::time::{Instant, timeout};
use weft_tests::http::{get, series};
use weft_tests::mesh::{AGENTS, Mesh};
use weft_tests::oracle::Oracle;
use weft_tests::process::{Orders, Process};
use weft_tests::proxy::Proxy;
use weft_tests::wait::wait_until;
use weft_tests::work::{SOON, kinds, marks, output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");
/// Kills in the measurement of the fast path.
const KILLS: usize = 7;
/// The lease in [`AGENTS`].
const LEASE: Duration = Duration::from_secs(2);

/// The node that a log's last entry is by, as an index.
fn holder(nodes: &[Process], entries: &[Entry]) -> usize {
    let by = entries.last().unwrap().by.as_str();
    nodes.iter().position(|node| node.orders.name == by).unwrap()
}

/// Kills the node that holds a task; tells when, and how long it took until another attempt wrote.
async fn kill_holder(mesh: &Mesh, nodes: &mut [Process], task: &TaskId) -> (usize, Duration) {
    let before = mesh
        .until(task, "two steps", |log| {
            kinds(log).iter().filter(|kind| **kind == "step").count() >= 2
        })
        .await;
    let victim = holder(nodes, &before);
    let killed_at: Timestamp = Clock::system().now();
    nodes[victim].kill().await;
    mesh.end_of(task).await;
    let entries = mesh.entries(task).await;
    let second = entries.iter().find(|entry| entry.attempt == 2).unwrap();
    assert_ne!(second.by.as_str(), nodes[victim].orders.name, "by another node");
    (victim, second.at.since(killed_at))
}

/// No step that is in the log ran again, and the log ended once.
fn assert_resumed(entries: &[Entry], mark_file: &std::path::Path, task: &TaskId, steps: usize) {
    let ends = entries.iter().filter(|entry| entry.event.kind().is_terminal()).count();
    assert_eq!(ends, 1);
    assert_eq!(entries.last().unwrap().event.kind().name(), "completed");
    let of_task = marks(mark_file).into_iter().filter(|mark| mark.task == task.as_str());
    let of_task = of_task.collect::<Vec<_>>();
    let committed = |attempt| {
        let step = |entry: &&Entry| entry.attempt == attempt && entry.event.kind().name() == "step";
        entries.iter().filter(step).count()
    };
    assert_eq!(committed(1) + committed(2), steps);
    for (at, step) in (0..steps).map(|step| (step, format!("step-{step}"))) {
        let ran = of_task.iter().filter(|mark| mark.what == step).collect::<Vec<_>>();
        if at < committed(1) {
            assert!(ran.len() == 1 && ran[0].attempt == 1, "{step} was committed, and ran {ran:?}");
        } else {
            assert_eq!(ran.last().unwrap().attempt, 2, "{step}");
        }
    }
    // The step that the kill cut short is the only one that ran twice.
    assert!(of_task.len() <= steps + 1, "{of_task:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_is_replaced_at_once_and_committed_steps_stay() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let mut nodes = vec![mesh.node("n0").await, mesh.node("n1").await];
    let mark_file = mesh.folder().join("marks");
    let mut gaps = Vec::new();
    for _ in 0..KILLS {
        let input = json!({"steps": 6, "sleepMs": 60, "mark": mark_file});
        let task = mesh.submit("probe", input).await;
        let (victim, gap) = kill_holder(&mesh, &mut nodes, &task).await;
        assert_resumed(&mesh.entries(&task).await, &mark_file, &task, 6);
        gaps.push(gap);
        assert!(nodes[victim].restart().await);
    }
    gaps.sort_unstable();
    println!("kill -9 to the next attempt's first entry, with system events: {gaps:?}");
    assert!(gaps[KILLS / 2] < Duration::from_millis(100), "{gaps:?}");
    assert_eq!(Oracle::read(&mesh.client).await.unwrap().faults(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_coordinators_a_kill_costs_each_task_one_attempt() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let other = mesh.coordinator("c1", true).await;
    let mut victim = mesh.node("n0").await;
    let tasks = claimed(&mesh, 10, 1_000).await;
    let _heirs = [mesh.node("n1").await, mesh.node("n2").await];
    // The slower of the two, if it hears of the end at all, hears of it when the heirs are at work.
    other.freeze();
    victim.kill().await;
    let killed_at = Instant::now();
    let taken_over = async {
        for task in &tasks {
            mesh.until(task, "a second attempt", |log| log.last().unwrap().attempt == 2).await;
        }
    };
    timeout(Duration::from_secs(1), taken_over).await.ok();
    other.thaw();
    wait_until("the dead node is out of the registry", SOON, || async {
        let agents = mesh.client.agents().await.unwrap();
        (agents.iter().all(|agent| agent.node.as_str() != "n0")).then_some(())
    })
    .await;
    let gone_after = killed_at.elapsed();
    assert!(gone_after < HEARTBEAT_TTL / 3, "by its connection and not by time: {gone_after:?}");
    for task in &tasks {
        mesh.end_of(task).await;
        let entries = mesh.entries(task).await;
        assert_eq!(entries.last().unwrap().attempt, 2, "{task}: {entries:#?}");
    }
    let agents = mesh.client.agents().await.unwrap();
    assert_eq!(agents.len(), 4, "the heirs are still there: {agents:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_reconnects_keeps_its_work() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let _other = mesh.coordinator("c1", true).await;
    let proxy = Proxy::start(&mesh.server.client_url()).await;
    let orders = Orders {
        role: "node".to_owned(),
        name: "n0".to_owned(),
        server: proxy.url(&mesh.server.client_url()),
        system: None,
        config: AGENTS.to_owned(),
    };
    let node = Process::start(PROGRAM, orders, mesh.folder().join("n0.log")).await;
    let tasks = claimed(&mesh, 10, 3_000).await;
    let _tempted = mesh.node("n1").await;
    for cut in 1..=3 {
        proxy.cut();
        wait_until("connected again", SOON, || async {
            let (_, text) = get(node.http.as_ref().unwrap(), "/metrics").await?;
            let reconnects = series(&text, "weft_bus_reconnects_total")?;
            let connected = series(&text, "weft_bus_connected")?;
            (reconnects >= f64::from(cut) && connected == 1.0).then_some(())
        })
        .await;
    }
    for task in &tasks {
        mesh.end_of(task).await;
        let entries = mesh.entries(task).await;
        assert_eq!(kinds(&entries), ["claimed", "completed"], "{task}");
        assert_eq!(entries.last().unwrap().attempt, 1, "{task}");
    }
}

/// Submits tasks that take so many milliseconds, and waits until each is in a node's hand.
async fn claimed(mesh: &Mesh, count: usize, sleep_ms: u64) -> Vec<TaskId> {
    let mut tasks = Vec::new();
    for _ in 0..count {
        tasks.push(mesh.submit("probe", json!({"sleepMs": sleep_ms})).await);
    }
    for task in &tasks {
        mesh.until_kind(task, "claimed").await;
    }
    tasks
}

#[tokio::test(flavor = "multi_thread")]
async fn without_system_events_the_lease_finds_a_killed_node() {
    let (mesh, mut first) = Mesh::start(PROGRAM, AGENTS).await;
    first.kill().await;
    let _blind = mesh.coordinator("c1", false).await;
    let mut nodes = vec![mesh.node("n0").await, mesh.node("n1").await];
    let mark_file = mesh.folder().join("marks");
    let input = json!({"steps": 6, "sleepMs": 60, "mark": mark_file});
    let task = mesh.submit("probe", input).await;
    let (_, gap) = kill_holder(&mesh, &mut nodes, &task).await;
    assert_resumed(&mesh.entries(&task).await, &mark_file, &task, 6);
    println!("kill -9 to the next attempt's first entry, by a lease of {LEASE:?}: {gap:?}");
    // The lease runs from its last renewal, of which there is one every third of it.
    assert!(gap > LEASE / 2 && gap < LEASE + Duration::from_secs(1), "{gap:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_coordinator_plain_tasks_flow_and_waiting_parents_resume_with_the_next() {
    let (mesh, mut coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let mut nodes = vec![mesh.node("n0").await, mesh.node("n1").await];
    mesh.run("echo", "first").await;
    coordinator.kill().await;

    let (_, plain) = mesh.run("echo", "plain").await;
    assert_eq!(kinds(&plain), ["completed"]);
    let retried = mesh.submit("probe", json!({"failUntilAttempt": 2})).await;
    assert_eq!(output(&mesh.end_of(&retried).await)["attempt"], 3);
    let dying = mesh.submit("probe", json!({"failUntilAttempt": 99})).await;
    assert_eq!(mesh.end_of(&dying).await.event.kind().name(), "failed");
    let rejected = mesh.submit("probe", json!({"sleepMs": "long"})).await;
    assert_eq!(mesh.end_of(&rejected).await.event.kind().name(), "rejected");
    let killed = mesh.submit("probe", json!({"steps": 6, "sleepMs": 60})).await;
    let (victim, _) = kill_holder(&mesh, &mut nodes, &killed).await;
    assert!(nodes[victim].restart().await);

    let mut parents = submit_parents(&mesh, 5).await;
    for parent in &parents {
        children_ended(&mesh, parent).await;
        assert_eq!(
            mesh.client.log(&protocol::Owner::default(), parent).await.unwrap().phase,
            Phase::Waiting
        );
    }
    // The next coordinator takes the wakes in its hands and does nothing with them.
    let mut frozen = mesh.coordinator("c1", true).await;
    for parent in &parents {
        assert_eq!(output(&mesh.end_of(parent).await)["children"], json!(["a", "b", "c"]));
    }
    frozen.freeze();
    parents = submit_parents(&mesh, 5).await;
    for parent in &parents {
        children_ended(&mesh, parent).await;
    }
    frozen.kill().await;
    let _last = mesh.coordinator("c2", true).await;
    for parent in &parents {
        assert_eq!(output(&mesh.end_of(parent).await)["children"], json!(["a", "b", "c"]));
    }
    let story = Oracle::read(&mesh.client).await.unwrap();
    assert_eq!(story.faults(), [""; 0]);
    assert_eq!(story.letters_of(&dying), 1);
}

async fn submit_parents(mesh: &Mesh, count: usize) -> Vec<TaskId> {
    let mut parents = Vec::new();
    for _ in 0..count {
        let delegate = json!({"delegate": {"skill": "echo", "inputs": ["a", "b", "c"]}});
        parents.push(mesh.submit("probe", delegate).await);
    }
    parents
}

/// Waits until a parent has suspended and its children have ended.
async fn children_ended(mesh: &Mesh, parent: &TaskId) {
    mesh.until_kind(parent, "suspended").await;
    for index in 0..3 {
        mesh.end_of(&TaskId::of_child(&protocol::Owner::default(), parent, 0, index)).await;
    }
}

/// Starts nodes again as often as they die.
async fn keep_alive(nodes: &mut [Process]) {
    loop {
        let (_, dead, _) = select_all(nodes.iter_mut().map(|node| Box::pin(node.ended()))).await;
        while !nodes[dead].restart().await {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_kills_every_worker_ends_in_the_dead_letters_once() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let mut nodes = vec![mesh.node("n0").await, mesh.node("n1").await];
    let mark_file = mesh.folder().join("marks");
    let at_once = json!({"abort": true, "mark": mark_file});
    let later = json!({"abort": true, "sleepMs": 50, "mark": mark_file});
    let (mut deadly, mut harmless) = (Vec::new(), Vec::new());
    let living = async {
        for input in [at_once, later] {
            let task = mesh.submit("probe", input).await;
            harmless.push(mesh.submit("echo", json!("harmless")).await);
            mesh.end_of(&task).await;
            deadly.push(task);
        }
        for task in &harmless {
            assert_eq!(mesh.end_of(task).await.event.kind().name(), "completed");
        }
    };
    tokio::select! {
        () = living => {}
        () = keep_alive(&mut nodes) => {}
    }
    let story = Oracle::read(&mesh.client).await.unwrap();
    assert_eq!(story.faults(), [""; 0]);
    for task in &deadly {
        assert_eq!(story.letters_of(task), 1);
        let letter = story.letters.iter().find(|letter| letter.task == *task).unwrap();
        let lost = |attempt: &&protocol::log::Attempt| attempt.outcome == AttemptOutcome::Lost;
        assert_eq!(letter.attempts.iter().filter(lost).count(), 4, "{:#?}", letter.attempts);
        assert_eq!(letter.fault.code, protocol::fault::code::ATTEMPTS_EXHAUSTED);
        let log = TaskLog::fold((1..).zip(story.log(task).iter().cloned())).unwrap();
        assert!(log.is_ended());
        let ran = marks(&mark_file).iter().filter(|mark| mark.task == task.as_str()).count();
        println!("{task} ran {ran} times");
        // A first run that dies within its first moments leaves no entry, so it is not counted.
        assert!((4..=5).contains(&ran), "ran {ran} times");
    }
    wait_until("nothing is left to hand out", SOON, || async {
        let facts =
            mesh.client.bus().consumer(&mesh.client.bus().names().inbox, "skill-probe").await;
        facts.ok().filter(|facts| facts.pending == 0 && facts.ack_pending == 0)
    })
    .await;
}
