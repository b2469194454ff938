//! Cancels: of what waits, of what runs, of what rests, and of what is over.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests fail the test that calls them"
)]

use std::time::Duration;

use client::CancelError;
use protocol::Owner;
use protocol::entry::Event;
use protocol::id::{DedupKey, TaskId};
use serde_json::json;
use tokio::time::Instant;
use weft_tests::mesh::{AGENTS, Mesh};
use weft_tests::wait::wait_until;
use weft_tests::work::{SOON, kinds, marks, submission};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");

async fn cancel(mesh: &Mesh, task: &TaskId) {
    mesh.client.cancel(&Owner::default(), task).await.unwrap();
}

/// Waits for the end and checks that it is a cancel.
async fn canceled(mesh: &Mesh, task: &TaskId) {
    let end = mesh.end_of(task).await;
    assert!(matches!(end.event, Event::Canceled { .. }), "{task}: {end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_queued_never_begins() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    // The consumers are there and nobody pulls.
    mesh.node("n0").await.kill().await;
    let file = mesh.folder().join("marks");
    let body = || json!({"mark": file}).to_string();
    let chosen = client::Submission {
        task_id: Some(TaskId::parse("chosen").unwrap()),
        ..submission("probe", body())
    };
    let keyed = client::Submission {
        dedup_key: Some(DedupKey::parse("a key").unwrap()),
        ..submission("probe", body())
    };
    let mut tasks = Vec::new();
    for asked in [submission("probe", body()), chosen, keyed] {
        tasks.push(mesh.client.submit(asked).await.unwrap().task);
    }
    let spared = mesh.submit("probe", json!({"mark": file, "echo": "spared"})).await;
    for task in &tasks {
        cancel(&mesh, task).await;
        canceled(&mesh, task).await;
    }
    let _node = mesh.node("n1").await;
    mesh.end_of(&spared).await;
    mesh.until_settled("probe").await;
    for task in &tasks {
        assert_eq!(kinds(&mesh.entries(task).await), ["canceled"], "{task}");
        let shown = mesh.client.task(&Owner::default(), task).await.unwrap().unwrap();
        assert_eq!(shown.status.state, protocol::task::TaskState::Canceled);
    }
    let ran = marks(&file);
    assert!(ran.iter().all(|mark| mark.task == spared.as_str()) && ran.len() == 1, "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_asked_first_and_then_ended() {
    let (mesh, mut coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let mut node = mesh.node("n1").await;
    let begin = async |stubborn: bool| {
        let input = json!({"sleepMs": 25_000, "status": "at work", "stubborn": stubborn});
        let task = mesh.submit("probe", input).await;
        mesh.until_kind(&task, "status").await;
        task
    };

    let cooperative = begin(false).await;
    let asked_at = Instant::now();
    cancel(&mesh, &cooperative).await;
    canceled(&mesh, &cooperative).await;
    assert!(asked_at.elapsed() < Duration::from_millis(900), "{:?}", asked_at.elapsed());

    let stubborn = begin(true).await;
    let asked_at = Instant::now();
    cancel(&mesh, &stubborn).await;
    canceled(&mesh, &stubborn).await;
    let took = asked_at.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(5), "{took:?}");
    assert_eq!(mesh.entries(&stubborn).await.last().unwrap().by.as_str(), "n1");

    // The node hears of it by itself.
    let alone = begin(false).await;
    coordinator.kill().await;
    cancel(&mesh, &alone).await;
    canceled(&mesh, &alone).await;

    assert!(node.is_running());
    let (_, entries) = mesh.run("echo", "and the node goes on").await;
    assert_eq!(kinds(&entries), ["completed"]);
    mesh.until_settled("probe").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_parent_takes_its_children_along() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let _node = mesh.node("n1").await;
    let child = json!({"sleepMs": 25_000, "status": "at work"});
    let input = json!({"delegate": {"skill": "probe", "inputs": [child, child, child]}});
    let parent = mesh.submit("probe", input).await;
    let entries = mesh.until_kind(&parent, "suspended").await;
    let children = entries
        .iter()
        .find_map(|entry| match &entry.event {
            Event::Delegated { children, .. } => Some(children.clone()),
            _ => None,
        })
        .unwrap();
    for child in &children {
        mesh.until_kind(&child.task, "status").await;
    }
    cancel(&mesh, &parent).await;
    canceled(&mesh, &parent).await;
    for child in &children {
        canceled(&mesh, &child.task).await;
    }
    mesh.until_settled("probe").await;
    assert_eq!(mesh.entries(&parent).await.last().unwrap().event.kind().name(), "canceled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_waits_for_its_retry_is_not_tried_again() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let _node = mesh.node("n1").await;
    let file = mesh.folder().join("marks");
    let mut tasks = Vec::new();
    // One rests as a delayed delivery, one in the schedule.
    for wait in [2_500, 6_000] {
        let input = json!({"failUntilAttempt": 1, "retryAfterMs": wait, "mark": file});
        let task = mesh.submit("probe", input).await;
        mesh.until_kind(&task, "attempt_failed").await;
        let asked_at = Instant::now();
        cancel(&mesh, &task).await;
        canceled(&mesh, &task).await;
        // Not when its time comes and a node remembers that it heard of it.
        assert!(asked_at.elapsed() < Duration::from_millis(1_500), "{:?}", asked_at.elapsed());
        assert_eq!(mesh.entries(&task).await.last().unwrap().by.as_str(), "c0");
        tasks.push(task);
    }
    let bus = mesh.client.bus();
    wait_until("the scheduled message", SOON, || async {
        bus.last(&bus.names().log, "weft.run.probe").await.unwrap()
    })
    .await;
    mesh.until_settled("probe").await;
    assert_eq!(marks(&file).len(), 2, "{:?}", marks(&file));
    for task in &tasks {
        assert_eq!(kinds(&mesh.entries(task).await), ["attempt_failed", "canceled"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_of_a_canceled_task_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("deaf.py");
    let text = "import os, signal, sys, time\n\
        signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
        sys.stdin.readline()\n\
        open(os.environ['PID_FILE'], 'w').write(str(os.getpid()) + '\\n')\n\
        time.sleep(60)\n";
    std::fs::write(&script, text).unwrap();
    let pid_file = folder.path().join("pid");
    let config = format!(
        "{AGENTS}
[[agents]]
skill = \"deaf\"
kind = \"process\"
concurrency = 1
cancel_grace = \"300ms\"
[agents.options]
command = [\"python3\", {script:?}]
stop_grace = \"200ms\"
env = {{ PID_FILE = {pid_file:?} }}
"
    );
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &config).await;
    let _node = mesh.node("n1").await;
    let task = mesh.submit("deaf", json!("anything")).await;
    let pid = wait_until("the program's id", SOON, || async {
        std::fs::read_to_string(&pid_file).ok()?.strip_suffix('\n')?.parse::<u32>().ok()
    })
    .await;
    assert!(is_alive(pid));
    cancel(&mesh, &task).await;
    canceled(&mesh, &task).await;
    wait_until("the end of the program", SOON, || async { (!is_alive(pid)).then_some(()) }).await;
}

fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A killed process that nobody has waited for yet is a zombie.
    stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next()).is_some_and(|c| c != 'Z')
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_or_unknown_is_an_error() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let _node = mesh.node("n1").await;
    let (task, before) = mesh.run("echo", "done").await;
    let refused = mesh.client.cancel(&Owner::default(), &task).await.unwrap_err();
    assert!(matches!(refused, CancelError::Ended { state: "completed", .. }), "{refused}");
    assert_eq!(refused.to_string(), format!("task {task} has already ended: completed"));
    assert_eq!(mesh.entries(&task).await, before);
    for unknown in ["s999999", "nobody"] {
        let task = TaskId::parse(unknown).unwrap();
        let refused = mesh.client.cancel(&Owner::default(), &task).await.unwrap_err();
        assert!(matches!(refused, CancelError::Unknown { .. }), "{refused}");
    }
    // Another owner's task is no business of this one.
    let other = Owner::parse("acme").unwrap();
    let refused = mesh.client.cancel(&other, &task).await.unwrap_err();
    assert!(matches!(refused, CancelError::Unknown { .. }), "{refused}");
}
