//! Steps survive: killed at each of them and between them, paused at any moment, taken over and back.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test that calls them"
)]
#![expect(clippy::print_stdout, reason = "what was survived is worth a line in the test's output")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use futures_util::future::{join_all, select_all};
use protocol::TaskId;
use protocol::entry::{Entry, Event};
use protocol::header::{self, Headers};
use protocol::log::TaskLog;
use protocol::{Owner, Skill};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use runtime::bus::Outgoing;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use weft_tests::mesh::Mesh;
use weft_tests::oracle::Oracle;
use weft_tests::process::Process;
use weft_tests::work::{Mark, kinds, marks, output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");
/// Tasks that are killed, each at a place of its own.
const RUNS: u64 = 200;
/// Steps of each.
const STEPS: u64 = 12;
/// Tasks at once.
const AT_ONCE: u64 = 8;
/// Pauses of nodes, most of them too short to be noticed.
const PAUSES: u64 = 1_000;
/// The share of pauses after which others have taken over: one in so many.
const LONG_EVERY: u64 = 20;
/// What one step of a paused task costs, in tokens, and what is set aside for it.
const STEP_TOKENS: u64 = 10;
const STEP_RESERVE: u64 = 15;

const AGENTS: &str = r#"
[bus]
lease = "2s"
[node]
drain_grace = "5s"
http = "127.0.0.1:0"
[coordinator]
http = "127.0.0.1:0"
[[agents]]
skill = "echo"
kind = "echo"
concurrency = 64
[agents.retry]
attempts_max = 200
[[agents]]
skill = "probe"
kind = "probe"
concurrency = 4
timeout = "60s"
[agents.retry]
attempts_max = 200
backoff_first = "20ms"
backoff_max = "100ms"
"#;

/// Starts nodes again as often as they die; returns how often that was.
async fn keep_alive(nodes: &mut [Process], stop: &CancellationToken) -> usize {
    let mut deaths = 0;
    loop {
        let ends = nodes.iter_mut().map(|node| Box::pin(node.ended()));
        let dead = tokio::select! {
            () = stop.cancelled() => return deaths,
            (_, dead, _) = select_all(ends) => dead,
        };
        deaths += 1;
        while !nodes[dead].restart().await {}
    }
}

/// The step entries of a log: name and the attempt that wrote it.
fn committed(entries: &[Entry]) -> Vec<(String, u32)> {
    let step = |entry: &Entry| {
        let Event::Step { name, .. } = &entry.event else { return None };
        Some((name.clone(), entry.attempt))
    };
    entries.iter().filter_map(step).collect()
}

/// Nothing that is in the log ran again, and everything is in it once, in order.
fn assert_survived(entries: &[Entry], of_task: &[Mark], steps: u64, what: &str) {
    let names: Vec<_> = (0..steps).map(|step| format!("step-{step}")).collect();
    let steps = committed(entries);
    assert!(steps.iter().map(|(name, _)| name).eq(&names), "{what}: {steps:?}");
    for (name, attempt) in steps {
        let ran: Vec<_> = of_task.iter().filter(|mark| mark.what == name).collect();
        assert!(!ran.is_empty(), "{what}: {name} is in the log and never ran");
        assert!(
            ran.iter().all(|mark| mark.attempt <= attempt),
            "{what}: {name} was committed by attempt {attempt} and ran {ran:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_killed_anywhere_repeats_nothing_that_it_has_written_down() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let mut nodes = Vec::new();
    for name in ["n0", "n1", "n2"] {
        nodes.push(mesh.node(name).await);
    }
    let mark_file = mesh.folder().join("marks");
    let stop = CancellationToken::new();
    let mut tasks = BTreeMap::new();
    let running = async {
        for first in (0..RUNS).step_by(usize::try_from(AT_ONCE).unwrap()) {
            let seeds = first..RUNS.min(first + AT_ONCE);
            let batch = seeds.map(|seed| run_killed(&mesh, &mark_file, seed));
            tasks.extend(join_all(batch).await);
        }
        stop.cancel();
    };
    let ((), deaths) = tokio::join!(running, keep_alive(&mut nodes, &stop));
    let all_marks = marks(&mark_file);
    for (task, seed) in &tasks {
        let of_task: Vec<_> =
            all_marks.iter().filter(|mark| mark.task == task.as_str()).cloned().collect();
        let (step, when) = place(*seed);
        let what = format!("seed {seed}, {when} step {step}");
        assert!(mesh.folder().join(format!("killed-{seed}")).exists(), "{what}: nobody died");
        assert_survived(&mesh.entries(task).await, &of_task, STEPS, &what);
    }
    println!("{RUNS} tasks of {STEPS} steps survived {deaths} kills, {} effects", all_marks.len());
    assert_eq!(tasks.len() as u64, RUNS);
    assert_eq!(Oracle::read(&mesh.client).await.unwrap().faults(), [""; 0]);
}

/// Where the task of a seed is killed: the first ones at every place, the others anywhere.
fn place(seed: u64) -> (u64, &'static str) {
    let moments = ["before", "inside", "after"];
    if seed < STEPS * 3 {
        return (seed / 3, moments[usize::try_from(seed % 3).unwrap()]);
    }
    let mut dice = StdRng::seed_from_u64(seed);
    (dice.random_range(0..STEPS), moments[dice.random_range(0..3)])
}

async fn run_killed(mesh: &Mesh, mark_file: &Path, seed: u64) -> (TaskId, u64) {
    let (step, when) = place(seed);
    let file = mesh.folder().join(format!("killed-{seed}"));
    let input = json!({
        "steps": STEPS, "sleepMs": seed % 4, "mark": mark_file,
        "kill": {"step": step, "when": when, "file": file},
    });
    let task = mesh.submit("probe", input).await;
    assert_eq!(mesh.end_of(&task).await.event.kind().name(), "completed", "seed {seed}");
    (task, seed)
}

/// Pauses a node again and again, at random moments, for random times.
async fn pause(node: &Process, seed: u64, pauses: u64) {
    let mut dice = StdRng::seed_from_u64(seed);
    for at in 0..pauses {
        let ms = if at % LONG_EVERY == 7 {
            dice.random_range(2_200..3_200)
        } else {
            dice.random_range(1..60)
        };
        node.freeze();
        tokio::time::sleep(Duration::from_millis(ms)).await;
        node.thaw();
        tokio::time::sleep(Duration::from_millis(dice.random_range(1..60))).await;
    }
}

async fn submit_granted(mesh: &Mesh, input: &Value, tokens: u64) -> TaskId {
    let subject =
        mesh.client.bus().subjects().task(&Skill::parse("probe").unwrap(), &Owner::default());
    let grant = json!({ "tokens": tokens }).to_string();
    let headers = Headers::new().with(header::BUDGET, grant);
    let message = Outgoing::new(subject, headers, input.to_string().into());
    mesh.client.submit_raw(message).await.unwrap().task
}

#[tokio::test(flavor = "multi_thread")]
async fn zombies_do_nothing_twice_that_counts() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let mut nodes = Vec::new();
    for name in ["n0", "n1", "n2", "n3"] {
        nodes.push(mesh.node(name).await);
    }
    let mark_file = mesh.folder().join("marks");
    let steps = 6;
    let input = json!({
        "steps": steps, "sleepMs": 20, "mark": mark_file,
        "stepTokens": STEP_TOKENS, "stepReserve": STEP_RESERVE,
        "delegate": {"skill": "echo", "inputs": ["a", "b"]},
    });
    let done = CancellationToken::new();
    let lane = || async {
        let mut tasks = Vec::new();
        while !done.is_cancelled() {
            let task = submit_granted(&mesh, &input, 100_000).await;
            let end = mesh.end_of(&task).await;
            assert_eq!(output(&end)["children"], json!(["a", "b"]));
            tasks.push(task);
        }
        tasks
    };
    let pausing = async {
        let share = PAUSES / nodes.len() as u64;
        join_all((0..).zip(&nodes).map(|(seed, node)| pause(node, seed, share))).await;
        done.cancel();
    };
    let (ran, ()) = tokio::join!(join_all((0..6).map(|_| lane())), pausing);
    let tasks: Vec<TaskId> = ran.into_iter().flatten().collect();
    let (all_marks, mut taken_over, mut repeated) = (marks(&mark_file), 0, 0);
    for task in &tasks {
        let entries = mesh.entries(task).await;
        let of_task: Vec<_> =
            all_marks.iter().filter(|mark| mark.task == task.as_str()).cloned().collect();
        let mut keys: Vec<_> = of_task.iter().map(|mark| mark.what.as_str()).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len() as u64, steps, "{task}: one key an effect");
        repeated += of_task.len() - keys.len();
        let names: Vec<_> = committed(&entries).into_iter().map(|(name, _)| name).collect();
        assert!(names.iter().eq(&(0..steps).map(|at| format!("step-{at}")).collect::<Vec<_>>()));
        taken_over += usize::from(debits(task, &entries, steps));
    }
    println!(
        "{} tasks, {PAUSES} pauses, {taken_over} taken over, {repeated} effects repeated under their keys",
        tasks.len()
    );
    assert!(taken_over > 0, "no pause was long enough");
    assert_eq!(Oracle::read(&mesh.client).await.unwrap().faults(), [""; 0]);
}

/// Every step is paid once, what was set aside by lost attempts at most besides; whether an attempt was lost.
fn debits(task: &TaskId, entries: &[Entry], steps: u64) -> bool {
    let log = TaskLog::fold((1..).zip(entries.iter().cloned())).unwrap();
    let delegations = kinds(entries).iter().filter(|kind| **kind == "delegated").count();
    assert_eq!((delegations, log.children), (1, 2), "{task}");
    let reserved = kinds(entries).iter().filter(|kind| **kind == "reserved").count() as u64;
    let lost = reserved - steps;
    assert_eq!(log.account.spent.tokens, steps * STEP_TOKENS + lost * STEP_RESERVE, "{task}");
    log.attempts.iter().any(|attempt| attempt.outcome == protocol::log::AttemptOutcome::Lost)
}
