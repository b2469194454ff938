//! SIGTERM: what is under way reaches a commit or is given back, at no attempt's cost, and nothing is lost.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "helpers of tests fail the test that calls them"
)]
#![expect(
    clippy::print_stdout,
    reason = "the measured times are worth a line in the test's output"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use protocol::log::{AttemptOutcome, TaskLog};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, interval, timeout};
use weft_tests::mesh::{AGENTS, Mesh};
use weft_tests::oracle::{Oracle, unfinished};
use weft_tests::process::Process;
use weft_tests::wait::wait_until;
use weft_tests::work::{SOON, kinds, marks};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");
/// Steps of a task that takes longer than the grace period.
const STEPS: usize = 12;

/// Sends SIGTERM and returns how long the process took to end well.
async fn drained(process: &mut Process, limit: Duration) -> Duration {
    let asked_at = Instant::now();
    process.terminate();
    let status = timeout(limit, process.ended()).await;
    let status = status.unwrap_or_else(|_| panic!("still there after {limit:?}"));
    assert_eq!(status.code(), Some(0), "{}", process.said());
    asked_at.elapsed()
}

async fn nodes_in_registry(mesh: &Mesh) -> Vec<String> {
    let agents = mesh.client.agents().await.unwrap();
    let mut nodes = agents.iter().map(|agent| agent.node.to_string()).collect::<Vec<_>>();
    nodes.dedup();
    nodes
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_processes_leave_at_once_and_vanish_from_the_registry() {
    let (mesh, mut coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let mut node = mesh.node("n0").await;
    wait_until("the node is announced", SOON, || async {
        (nodes_in_registry(&mesh).await == ["n0"]).then_some(())
    })
    .await;
    mesh.run("echo", "warm").await;
    let took = drained(&mut node, Duration::from_secs(2)).await;
    assert_eq!(nodes_in_registry(&mesh).await, [""; 0]);
    println!("an idle node drains in {took:?}");
    drained(&mut coordinator, Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_outlasts_the_grace_is_given_back_without_costing_an_attempt() {
    let config = AGENTS
        .replace("drain_grace = \"5s\"", "drain_grace = \"1s\"")
        .replace("attempts_max = 4", "attempts_max = 1");
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &config).await;
    let mut leaving = mesh.node("n0").await;
    let mark_file = mesh.folder().join("marks");
    let (mut short, mut long, mut stubborn) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..5 {
        short.push(mesh.submit("probe", json!({"sleepMs": 500, "mark": mark_file})).await);
        let steps = json!({"steps": STEPS, "sleepMs": 250, "mark": mark_file});
        long.push(mesh.submit("probe", steps).await);
        stubborn.push(mesh.submit("probe", json!({"sleepMs": 2500, "stubborn": true})).await);
    }
    for task in short.iter().chain(&long).chain(&stubborn) {
        mesh.until(task, "begun", |log| !log.is_empty()).await;
    }
    let waiting = mesh.submit("probe", json!({"sleepMs": 3000})).await;
    mesh.until(&waiting, "begun", |log| !log.is_empty()).await;
    let queued = mesh.submit("probe", json!("{}")).await;
    let took = drained(&mut leaving, Duration::from_secs(3)).await;
    println!("a node with 16 attempts and a grace of 1 s drains in {took:?}");
    assert!(took > Duration::from_millis(900), "it waited for the grace: {took:?}");
    let _heir = mesh.node("n1").await;
    for task in &short {
        let log = mesh.entries(task).await;
        assert_eq!((kinds(&log).last().copied(), log[0].by.as_str()), (Some("completed"), "n0"));
    }
    for task in long.iter().chain(&stubborn).chain([&waiting]) {
        let end = mesh.end_of(task).await;
        assert_eq!((end.event.kind().name(), end.by.as_str()), ("completed", "n1"));
        let entries = mesh.entries(task).await;
        assert!(kinds(&entries).contains(&"released"), "{:?}", kinds(&entries));
        let log = TaskLog::fold((1..).zip(entries)).unwrap();
        let outcomes = log.attempts.iter().map(|attempt| attempt.outcome).collect::<Vec<_>>();
        assert_eq!(outcomes, [AttemptOutcome::Released, AttemptOutcome::Ended]);
        assert_eq!(log.failures(), 0);
    }
    for task in &long {
        let log = mesh.entries(task).await;
        let by_n0 =
            log.iter().filter(|entry| entry.attempt == 1 && entry.event.kind().name() == "step");
        let by_n0 = by_n0.count();
        assert!(by_n0 >= 3, "the grace was used: {:?}", kinds(&log));
        let ran = marks(&mark_file).into_iter().filter(|mark| mark.task == task.as_str());
        let second = ran.filter(|mark| mark.attempt == 2).map(|mark| mark.what).collect::<Vec<_>>();
        let rest = (by_n0..STEPS).map(|step| format!("step-{step}")).collect::<Vec<_>>();
        assert_eq!(second, rest, "goes on at the next step");
    }
    assert_eq!(mesh.end_of(&queued).await.by.as_str(), "n1");
    assert_eq!(Oracle::read(&mesh.client).await.unwrap().faults(), [""; 0]);
}

/// A way to the server on which one acknowledgement can be held back.
struct Muffled {
    url: String,
    held: Arc<AtomicBool>,
}

impl Muffled {
    /// Passes everything on, but the first acknowledgement of an append to a log only once it is not `held`.
    async fn open(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let held = Arc::new(AtomicBool::new(true));
        let (server, until) = (server.trim_start_matches("nats://").to_owned(), Arc::clone(&held));
        tokio::spawn(async move {
            while let Ok((node, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                let ((hear, mut tell), (mut read, write)) =
                    (server.into_split(), node.into_split());
                tokio::spawn(async move { tokio::io::copy(&mut read, &mut tell).await });
                tokio::spawn(pass_all_but_one(hear, write, Arc::clone(&until)));
            }
        });
        Self { url, held }
    }
}

async fn pass_all_but_one(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    held: Arc<AtomicBool>,
) -> std::io::Result<()> {
    const STORED: &[u8] = b"{\"stream\":\"WEFT_LOG\"";
    let (mut bytes, mut kept) = (vec![0; 64 * 1024], None);
    let mut tick = interval(Duration::from_millis(5));
    loop {
        tokio::select! {
            count = from.read(&mut bytes) => {
                let chunk = &bytes[..count?];
                if chunk.is_empty() {
                    return Ok(());
                }
                let stored = chunk.windows(STORED.len()).any(|window| window == STORED);
                if stored && kept.is_none() {
                    kept = Some(chunk.to_vec());
                } else {
                    to.write_all(chunk).await?;
                }
            }
            _ = tick.tick() => {
                if !held.load(Ordering::SeqCst) && let Some(chunk) = &mut kept {
                    to.write_all(&std::mem::take(chunk)).await?;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_under_way_when_the_grace_ends_costs_no_attempt() {
    let config = AGENTS.replace("drain_grace = \"5s\"", "drain_grace = \"500ms\"");
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &config).await;
    let way = Muffled::open(&mesh.server.client_url()).await;
    let mut leaving = mesh.node_at("n0", &way.url).await;
    let task = mesh.submit("probe", json!({"sleepMs": 2_000})).await;
    // The claim is in the log, and the node does not know it.
    mesh.until_kind(&task, "claimed").await;
    leaving.terminate();
    wait_until("the grace is over", SOON, || async {
        leaving.said().contains("giving work back").then_some(())
    })
    .await;
    way.held.store(false, Ordering::SeqCst);
    leaving.ended().await;
    let _heir = mesh.node("n1").await;
    mesh.end_of(&task).await;
    let entries = mesh.entries(&task).await;
    assert_eq!(kinds(&entries)[..2], ["claimed", "released"], "{:?}", kinds(&entries));
    let log = TaskLog::fold((1..).zip(entries)).unwrap();
    assert_eq!(log.failures(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_nodes_come_and_go_and_no_task_waits_for_a_lease() {
    let config = AGENTS.replace("lease = \"2s\"", "lease = \"20s\"");
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &config).await;
    let mesh = Arc::new(mesh);
    let mut nodes = [mesh.node("n0").await, mesh.node("n1").await];
    let stop = AtomicBool::new(false);
    let submitting = async {
        let mut tick = interval(Duration::from_millis(2));
        let mut tasks = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            tick.tick().await;
            let (skill, input) = match tasks.len() % 4 {
                0 => ("probe", json!({"sleepMs": 20})),
                _ => ("echo", json!("load")),
            };
            tasks.push(mesh.submit(skill, input).await);
        }
        tasks
    };
    let rolling = async {
        for round in 0..8 {
            let leaving = &mut nodes[round % 2];
            drained(leaving, Duration::from_secs(8)).await;
            assert!(leaving.restart().await);
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (tasks, ()) = tokio::join!(submitting, rolling);
    let count = tasks.len();
    let ended_by = Instant::now() + Duration::from_secs(8);
    futures_util::stream::iter(&tasks)
        .for_each_concurrent(64, |task| async {
            mesh.results.end_of(task, ended_by - Instant::now()).await.unwrap();
        })
        .await;
    let story = Oracle::read(&mesh.client).await.unwrap();
    assert_eq!(story.faults(), [""; 0]);
    assert!(unfinished(&mesh.client).await.unwrap().is_empty());
    let waited = |task| {
        let log = story.log(task);
        log.last().unwrap().at.since(log[0].origin.as_ref().unwrap().submitted_at)
    };
    let longest = tasks.iter().map(waited).max().unwrap();
    println!("{count} tasks over 8 drains, the slowest took {longest:?}");
    assert!(longest < Duration::from_secs(5), "a task waited for a lease: {longest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_agents_are_ended_after_the_grace() {
    let config = AGENTS
        .replace("drain_grace = \"5s\"", "drain_grace = \"1s\"")
        .replace("timeout = \"30s\"", "timeout = \"300s\"");
    let (mut mesh, _coordinator) = Mesh::start(PROGRAM, &config).await;
    let mut leaving = mesh.node("n0").await;
    let stubborn = mesh.submit("probe", json!({"sleepMs": 120_000, "stubborn": true})).await;
    let stepping = mesh.submit("probe", json!({"steps": 2, "sleepMs": 1_000})).await;
    for task in [&stubborn, &stepping] {
        mesh.until(task, "begun", |log| !log.is_empty()).await;
    }
    mesh.server.kill().await;
    leaving.terminate();
    // The agent itself would go on for two minutes.
    let status = timeout(Duration::from_secs(60), leaving.ended()).await.unwrap();
    assert_eq!(status.code(), Some(1), "{}", leaving.said());
    let said = leaving.said();
    assert!(said.contains("nothing can be committed or given back"), "{said}");
    assert!(said.contains("Unreachable { in_hand: 2 }"), "{said}");
    mesh.server.restart().await.unwrap();
    let _heir = mesh.node("n1").await;
    assert_eq!(mesh.end_of(&stepping).await.by.as_str(), "n1");
    assert_eq!(Oracle::read(&mesh.client).await.unwrap().log(&stubborn)[0].by.as_str(), "n0");
}
