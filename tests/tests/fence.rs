//! Who may write: zombies commit nothing, and asking twice does the work once.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail the test that calls them"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent_node::agent::Stop;
use agent_node::bus_ledger::BusLedger;
use agent_node::ledger::Ledger;
use agent_node::scribe::{Scribe, Start};
use bytes::Bytes;
use client::{Receipt, Submission};
use futures_util::future::join_all;
use protocol::TaskId;
use protocol::dead::{Cause, DeadLetter};
use protocol::entry::{Entry, Origin};
use protocol::id::{DedupKey, NodeName, Skill};
use protocol::log::TaskLog;
use protocol::submission::{Queue, Source, input_hash};
use protocol::time::Timestamp;
use runtime::clock::Clock;
use runtime::metric::Metrics;
use runtime::supervisor::Supervisor;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use weft_tests::http;
use weft_tests::mesh::{AGENTS, Mesh};
use weft_tests::oracle::Oracle;
use weft_tests::wait::wait_until;
use weft_tests::work::{SOON, kinds, marks, output, submission};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");
/// Zombies at once.
const TASKS: usize = 24;
/// How long the tasks of the zombie take: longer than a lease and the moment to notice it.
const TASK_MS: u64 = 6_000;

fn entries_by<'a>(log: &'a [Entry], node: &str) -> Vec<&'a Entry> {
    log.iter().filter(|entry| entry.by.as_str() == node).collect()
}

/// What a zombie would write next: its end, a step, a status and a step, an artifact, a failure, a delegation.
fn input(at: usize, mark: &Path) -> Value {
    let mut input = json!({"sleepMs": TASK_MS, "mark": mark});
    let more = match at % 5 {
        0 => json!({}),
        1 => json!({"steps": 1}),
        2 => json!({"status": "on it", "artifact": "found"}),
        3 => json!({"failUntilAttempt": 1, "failAs": "permanent"}),
        _ => json!({"delegate": {"skill": "echo", "inputs": ["a"]}}),
    };
    input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    input
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_commits_nothing() {
    let config = AGENTS.replace("concurrency = 16", "concurrency = 24");
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &config).await;
    let zombie = mesh.node("n0").await;
    let mark_file = mesh.folder().join("marks");
    let mut tasks = Vec::new();
    for at in 0..TASKS {
        tasks.push(mesh.submit("probe", input(at, &mark_file)).await);
    }
    for task in &tasks {
        mesh.until(task, "begun", |log| !log.is_empty()).await;
    }
    let heir = mesh.node("n1").await;
    zombie.freeze();
    for task in &tasks {
        mesh.until(task, "taken over", |log| !entries_by(log, "n1").is_empty()).await;
    }
    let unended =
        mesh.all_entries().await.iter().all(|(_, entry)| !entry.event.kind().is_terminal());
    assert!(unended, "the zombie comes back while its heir still works");
    zombie.thaw();
    let refused = || async {
        let (_, metrics) = http::get(zombie.http.as_deref()?, "/metrics").await?;
        let count = http::series(&metrics, "weft_commits_fenced_total{skill=\"probe\"}")?;
        (count >= TASKS as f64).then_some(count)
    };
    wait_until("the zombie was refused every time", SOON, refused).await;
    for (at, task) in tasks.iter().enumerate() {
        let end = mesh.end_of(task).await;
        assert_eq!(end.event.kind().name(), "completed", "{at} {task}");
        let log = mesh.entries(task).await;
        let first_of_heir = log.iter().position(|entry| entry.by.as_str() == "n1").unwrap();
        // A parent that was resumed is everybody's again.
        let resumed = log.iter().position(|entry| entry.event.kind().name() == "resumed");
        let late = entries_by(&log[first_of_heir..resumed.unwrap_or(log.len())], "n0");
        assert!(late.is_empty(), "{at} {task}: {late:?}");
        let artifacts = kinds(&log).iter().filter(|kind| **kind == "artifact").count();
        assert_eq!(artifacts, usize::from(at % 5 == 2), "{:?}", kinds(&log));
    }
    let mut counted = 0.0;
    for node in [&zombie, &heir] {
        let (_, metrics) = http::get(node.http.as_deref().unwrap(), "/metrics").await.unwrap();
        let name = "weft_tasks_completed_total{skill=\"probe\"}";
        counted += http::series(&metrics, name).unwrap_or_default();
    }
    assert!((counted - TASKS as f64).abs() < 0.5, "only what is in the log counts: {counted}");
    assert_eq!(Oracle::read(&mesh.client).await.unwrap().faults(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_attempts_in_one_millisecond_one_owns_the_log() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let supervisor = Supervisor::new(Metrics::new("test"));
    let bus = mesh.connect("test").await;
    let ledger: Arc<dyn Ledger> = Arc::new(BusLedger::new(
        bus.clone(),
        Metrics::new("test"),
        &supervisor,
        CancellationToken::new(),
        false,
    ));
    let at = Timestamp::from_millis(1_000);
    let source = Source { queue: Queue::Inbox, sequence: 1 };
    let scribe = || {
        let start = Start {
            task: TaskId::from_sequence(1),
            origin: Box::new(Origin::bare(Skill::parse("probe").unwrap(), source, at)),
            log: TaskLog::default(),
            node: NodeName::parse("n1").unwrap(),
        };
        Scribe::new(Arc::clone(&ledger), Arc::clone(bus.subjects()), Clock::fixed(at), start)
    };
    let (first, second) = (scribe(), scribe());
    assert_eq!(first.claim("c").await, Ok(()));
    assert_eq!(second.claim("c").await, Err(Stop::Fenced));
    supervisor.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_again_while_it_runs_goes_on_and_is_settled_once() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let node = mesh.node("n1").await;
    let file = mesh.folder().join("marks");
    let task = mesh.submit("probe", json!({"sleepMs": 3_000, "mark": file})).await;
    mesh.until_kind(&task, "claimed").await;
    let pulled = async || {
        let (_, text) = http::get(node.http.as_ref().unwrap(), "/metrics").await?;
        http::series(&text, "weft_pulled_messages_total")
    };
    let before = pulled().await.unwrap();
    // What a coordinator does for a node whose connection broke.
    let sequence = task.sequence().unwrap();
    let ack = format!("$JS.ACK.WEFT_INBOX.skill-probe.1.{sequence}.1.1700000000000000000.0");
    mesh.client.bus().nak(&ack, Duration::ZERO).await;
    wait_until("it comes again", SOON, || async { (pulled().await? > before).then_some(()) }).await;
    mesh.end_of(&task).await;
    assert_eq!(kinds(&mesh.entries(&task).await), ["claimed", "completed"]);
    assert_eq!(marks(&file).len(), 1);
    mesh.until_settled("probe").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_id_at_two_skills_is_a_conflict() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let _node = mesh.node("n1").await;
    let asked = |skill| Submission {
        task_id: TaskId::parse_chosen("mine").ok(),
        ..submission(skill, "{}")
    };
    let first = mesh.client.submit(asked("echo")).await.unwrap();
    mesh.end_of(&first.task).await;
    let second = mesh.client.submit(asked("probe")).await.unwrap();
    let letters = letters_about(&mesh, &first.task, 1).await;
    assert_eq!((letters[0].cause, letters[0].origin.skill.as_str()), (Cause::Conflict, "probe"));
    assert_eq!(letters[0].origin.source.sequence, second.sequence);
    mesh.until_settled("probe").await;
    assert_eq!(kinds(&mesh.entries(&first.task).await), ["claimed", "completed"]);
}

struct Asked {
    mesh: Mesh,
    mark: PathBuf,
}

impl Asked {
    fn body(&self, echo: &str, sleep_ms: u64) -> Bytes {
        json!({"mark": self.mark, "sleepMs": sleep_ms, "echo": echo}).to_string().into()
    }

    async fn ask(&self, key: &str, echo: &str, sleep_ms: u64) -> Receipt {
        let mut asked = submission("probe", self.body(echo, sleep_ms));
        asked.dedup_key = DedupKey::parse(key).ok();
        self.mesh.client.submit(asked).await.unwrap()
    }

    fn runs(&self, task: &TaskId) -> Vec<u32> {
        let ran = marks(&self.mark).into_iter().filter(|mark| mark.task == task.as_str());
        ran.map(|mark| mark.attempt).collect()
    }

    /// Two bodies under one key at the same moment, on two nodes: whoever commits first has won.
    async fn race(&self, round: usize, sleep_ms: u64) -> TaskId {
        let key = format!("key {sleep_ms} {round}");
        let (a, b) = tokio::join!(self.ask(&key, "a", sleep_ms), self.ask(&key, "b", sleep_ms));
        assert_eq!(a.task, b.task);
        let end = self.mesh.end_of(&a.task).await;
        let winner = output(&end)["echo"].as_str().unwrap().to_owned();
        let (lost, loser) = if winner == "a" { (&b, "b") } else { (&a, "a") };
        let letters = letters_about(&self.mesh, &a.task, 1).await;
        let [letter] = letters.as_slice() else { panic!("one letter: {letters:?}") };
        assert_eq!((letter.cause, letter.origin.source.sequence), (Cause::Conflict, lost.sequence));
        let hash = |echo| input_hash(None, &self.body(echo, sleep_ms));
        assert_eq!(letter.origin.input_hash, hash(loser));
        let log = self.mesh.entries(&a.task).await;
        assert_eq!(log[0].origin.as_ref().unwrap().input_hash, hash(&winner));
        a.task
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_is_one_execution_over_every_restart() {
    let (mesh, mut coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let mut nodes = [mesh.node("n0").await, mesh.node("n1").await];
    let mark = mesh.folder().join("marks");
    let mut asked = Asked { mesh, mark };

    // While it runs, and after its end. None of these submissions has a `Nats-Msg-Id`: all are stored.
    let first = asked.ask("order 17", "x", 300).await;
    asked.mesh.until(&first.task, "begun", |log| !log.is_empty()).await;
    let mut receipts = vec![first.clone(), asked.ask("order 17", "x", 300).await];
    asked.mesh.end_of(&first.task).await;
    receipts.push(asked.ask("order 17", "x", 300).await);
    asked.mesh.until_settled("probe").await;

    // After a crash of everything.
    asked.mesh.server.kill().await;
    for process in nodes.iter_mut().chain([&mut coordinator]) {
        process.kill().await;
    }
    asked.mesh.server.restart().await.unwrap();
    for process in nodes.iter_mut().chain([&mut coordinator]) {
        assert!(process.restart().await);
    }
    asked.mesh.until_settled("probe").await;
    receipts.push(asked.ask("order 17", "x", 300).await);
    asked.mesh.until_settled("probe").await;
    let sequences = receipts.iter().map(|receipt| receipt.sequence).collect::<BTreeSet<_>>();
    assert_eq!(sequences.len(), receipts.len(), "each was stored as a message of its own");
    assert!(receipts.iter().all(|receipt| receipt.task == first.task));
    assert_eq!(asked.runs(&first.task), [1]);

    // Across a redelivery: the worker dies, the second request waits beside the first.
    let task = asked.ask("order 18", "y", 600).await.task;
    let log = asked.mesh.until(&task, "begun", |log| !log.is_empty()).await;
    asked.ask("order 18", "y", 600).await;
    let victim = nodes.iter_mut().find(|node| node.orders.name == log[0].by.as_str()).unwrap();
    victim.kill().await;
    asked.ask("order 18", "y", 600).await;
    assert_eq!(output(&asked.mesh.end_of(&task).await)["attempt"], 2);
    asked.mesh.until_settled("probe").await;
    assert_eq!(asked.runs(&task), [1, 2]);
    let story = Oracle::read(&asked.mesh.client).await.unwrap();
    assert_eq!(story.faults(), [""; 0]);
    assert_eq!(story.letters, []);
}

async fn letters_about(mesh: &Mesh, task: &TaskId, count: usize) -> Vec<DeadLetter> {
    wait_until("a letter about each that lost", SOON, || async {
        let letters = Oracle::read(&mesh.client).await.ok()?.letters;
        let about = letters.into_iter().filter(|letter| letter.task == *task).collect::<Vec<_>>();
        (about.len() >= count).then_some(about)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_bodies_under_one_key_the_first_wins_and_the_second_is_told() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let _nodes = (mesh.node("n0").await, mesh.node("n1").await);
    let mark = mesh.folder().join("marks");
    let asked = Asked { mesh, mark };
    for sleep_ms in [0, 50] {
        join_all((0..10).map(|round| asked.race(round, sleep_ms))).await;
    }
    // Long after the end.
    let task = asked.race(10, 50).await;
    let late = asked.ask("key 50 10", "c", 50).await;
    let letters = letters_about(&asked.mesh, &task, 2).await;
    assert_eq!(letters[1].origin.source.sequence, late.sequence);
    asked.mesh.until_settled("probe").await;
    assert_eq!(Oracle::read(&asked.mesh.client).await.unwrap().faults(), [""; 0]);
}
