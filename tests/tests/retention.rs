//! Tasks that ended long ago go with everything about them, whoever removes them and however often; all others stay.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test that calls them")]
#![expect(clippy::print_stdout, reason = "the measured rate is worth a line in the test's output")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::{Client, Submission};
use coordinator::retire::{Retire, TaskPlaces};
use futures_util::StreamExt as _;
use projection::Projection;
use protocol::id::{DedupKey, Lane};
use protocol::input::Input;
use protocol::query::Query;
use protocol::task::TaskState;
use protocol::{Owner, TaskId, Timestamp};
use runtime::clock::Clock;
use runtime::metric::Metrics;
use runtime::supervisor::{Kind, Supervisor};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use weft_tests::mesh::Mesh;
use weft_tests::oracle::Oracle;
use weft_tests::play::PLAYERS;
use weft_tests::wait::wait_until;
use weft_tests::work::{SOON, output, submission};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");

fn me() -> Owner {
    Owner::default()
}

/// Whoever removes tasks.
fn retire(client: &Client) -> Retire {
    Retire {
        client: client.clone(),
        clock: Clock::system(),
        metrics: Metrics::new("coordinator"),
        tasks_kept: None,
        webhooks_kept: Duration::ZERO,
        read_model: None,
    }
}

/// How many logs go of tasks that ended before a time: children in the first round, their parents in the second.
async fn removed(mesh: &Mesh, before: Timestamp) -> usize {
    let (retire, mut places) = (retire(&mesh.client), TaskPlaces::default());
    let first = retire.tasks(&mut places, before).await.unwrap();
    let second = retire.tasks(&mut places, before).await.unwrap();
    assert_eq!(retire.tasks(&mut places, before).await.unwrap(), 0);
    first + second
}

/// When everything has ended that has ended by now.
fn later() -> Timestamp {
    Clock::system().now().after(Duration::from_secs(60))
}

/// How many messages there are, by the first tokens of their subjects and the task or skill that follows.
async fn stored(mesh: &Mesh) -> BTreeMap<String, usize> {
    let bus = mesh.client.bus();
    let mut found = BTreeMap::new();
    for stream in [&bus.names().inbox, &bus.names().log] {
        bus.scan(stream, "weft.>", 1, |message| {
            let tokens: Vec<&str> = message.subject.split('.').collect();
            let name = match tokens.as_slice() {
                [_, kind @ ("log" | "input" | "cancel" | "wake"), _, task] => {
                    format!("{kind} {task}")
                }
                [_, kind @ ("task" | "run" | "dead"), skill, ..] => format!("{kind} {skill}"),
                _ => message.subject.clone(),
            };
            *found.entry(name).or_default() += 1;
            std::ops::ControlFlow::Continue(())
        })
        .await
        .unwrap();
    }
    found
}

fn keyed(key: &str) -> Submission {
    Submission { dedup_key: Some(DedupKey::parse(key).unwrap()), ..submission("echo", "once") }
}

async fn play(mesh: &Mesh, acts: Value) -> TaskId {
    mesh.submit("play", json!({ "acts": acts })).await
}

async fn signal(mesh: &Mesh, task: &TaskId) {
    let go = Input::Signal { name: "go".to_owned(), payload: vec![] };
    mesh.client.say(&me(), task, &go, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_long_ago_goes_and_what_goes_on_stays_whole() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, PLAYERS).await;
    let _node = mesh.node("n1").await;
    let echoes = |name: &str| json!({"act": "delegate", "name": name, "skill": "echo", "inputs": ["a", "b"]});
    let go = json!({"act": "signal", "name": "go"});
    let before = Clock::system().now();
    let plain = mesh.submit("echo", json!("plain")).await;
    let once = mesh.client.submit(keyed("k")).await.unwrap().task;
    mesh.end_of(&once).await;
    mesh.client.submit(keyed("k")).await.unwrap();
    let failed = play(&mesh, json!([{"act": "fail", "message": "no"}])).await;
    let tree = play(&mesh, json!([echoes("all")])).await;
    let parent = play(&mesh, json!([echoes("early"), go, echoes("late")])).await;
    let waiting = play(&mesh, json!([go])).await;
    let answered = play(&mesh, json!([go])).await;
    mesh.until_kind(&answered, "suspended").await;
    signal(&mesh, &answered).await;
    let queued = mesh.submit("later", json!("queued")).await;
    let canceled = mesh.submit("later", json!("canceled")).await;
    mesh.client.cancel(&me(), &canceled).await.unwrap();
    for task in [&plain, &failed, &tree, &answered, &canceled] {
        mesh.end_of(task).await;
    }
    // It has its children's results by now and waits for the signal.
    mesh.until(&parent, "waits twice", |entries| {
        entries.iter().filter(|entry| entry.event.kind().name() == "suspended").count() == 2
    })
    .await;
    mesh.until_kind(&waiting, "suspended").await;
    mesh.until_settled("echo").await;
    mesh.until_settled("play").await;

    let all = stored(&mesh).await;
    assert_eq!(removed(&mesh, before).await, 0, "before its time");
    assert_eq!(stored(&mesh).await, all);
    // Of the tree the two leaves as well.
    assert_eq!(removed(&mesh, later()).await, 8);
    let left = stored(&mesh).await;
    let leaves: Vec<&String> = left.keys().filter(|name| name.starts_with("log c-")).collect();
    assert_eq!(leaves.len(), 2, "the parent's two stay with it: {left:?}");
    for (name, count) in [("task echo", 0), ("task play", 2), ("task later", 1), ("dead play", 1)] {
        assert_eq!(left.get(name).copied().unwrap_or(0), count, "{name}: {left:?}");
    }
    for task in [&plain, &once, &failed, &tree, &answered, &canceled] {
        let about = left.keys().find(|name| name.ends_with(&format!(" {task}")));
        assert_eq!(about, None, "{left:?}");
        assert_eq!(mesh.client.task(&me(), task).await.unwrap(), None);
    }

    for task in [&parent, &waiting] {
        signal(&mesh, task).await;
    }
    let result = output(&mesh.end_of(&parent).await);
    assert_eq!((&result[0], &result[2]), (&json!(["a", "b"]), &json!(["a", "b"])), "{result}");
    mesh.end_of(&waiting).await;
    // The key is free again, and what was canceled is never begun.
    let again = mesh.client.submit(keyed("k")).await.unwrap().task;
    assert_eq!(again, once);
    mesh.until(&again, "run again", |entries| !entries.is_empty()).await;
    let serves = format!("{PLAYERS}[[agents]]\nskill = \"later\"\nkind = \"echo\"\n");
    let _later = mesh.node_with("n2", &serves, &[]).await;
    mesh.end_of(&queued).await;
    mesh.until_settled("later").await;
    assert_eq!(mesh.entries(&canceled).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_was_canceled_in_its_queue_goes_with_its_parent() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, PLAYERS).await;
    let _node = mesh.node("n1").await;
    let busy: Vec<TaskId> = futures_util::future::join_all(
        (0..4).map(|_| mesh.submit("strict", json!({"acts": [{"act": "work", "ms": 50_000}]}))),
    )
    .await;
    for task in &busy {
        mesh.until_kind(task, "claimed").await;
    }
    let child =
        json!({"act": "delegate", "name": "c", "skill": "strict", "inputs": [{"acts": []}]});
    let parent = play(&mesh, json!([child])).await;
    mesh.until_kind(&parent, "suspended").await;
    mesh.client.cancel(&me(), &parent).await.unwrap();
    mesh.end_of(&parent).await;
    let tree = mesh.client.tree(&me(), &parent, 10).await.unwrap().unwrap();
    let child = &tree.children[0].task;
    let ended = mesh.until_kind(child, "canceled").await;
    assert_eq!((ended.len(), ended[0].attempt), (1, 0), "it was never begun");
    assert!(mesh.client.task(&me(), child).await.unwrap().is_some());
    for task in &busy {
        mesh.client.cancel(&me(), task).await.unwrap();
        mesh.end_of(task).await;
    }
    mesh.until_settled("strict").await;
    assert_eq!(removed(&mesh, later()).await, 6);
    assert_eq!(stored(&mesh).await, BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_is_cut_short_anywhere_loses_nothing_that_is_kept() {
    const TASKS: usize = 3_000;
    let (mesh, _coordinator) = Mesh::start(PROGRAM, PLAYERS).await;
    let _node = mesh.node("n1").await;
    let mut kept = Vec::new();
    for at in 0..3 {
        let go = json!([{"act": "signal", "name": "go"}]);
        kept.push(play(&mesh, go).await);
        let some = (0..TASKS / 3).map(|n| mesh.submit("echo", json!(format!("{at}-{n}"))));
        futures_util::stream::iter(some).buffer_unordered(64).for_each(async |_| ()).await;
    }
    wait_until("all have ended", SOON, || async {
        let oracle = Oracle::read(&mesh.client).await.ok()?;
        let ended =
            mesh.all_entries().await.iter().filter(|(task, _)| oracle.end(task).is_some()).count();
        (ended >= TASKS).then_some(())
    })
    .await;
    for task in &kept {
        mesh.until_kind(task, "suspended").await;
    }
    mesh.until_settled("echo").await;

    let now = later();
    let (began, mut cuts, mut places) = (Instant::now(), 0, TaskPlaces::default());
    // Each is dropped at another moment, as by a kill; a second coordinator goes on all the while.
    let mut patience = Duration::from_millis(1);
    loop {
        patience = patience.mul_f64(1.25);
        let (one, other) = (retire(&mesh.client), retire(&mesh.client));
        let mut fresh = TaskPlaces::default();
        let both =
            async { tokio::join!(one.tasks(&mut places, now), other.tasks(&mut fresh, now)) };
        match timeout(patience, both).await {
            Ok((Ok(0), Ok(0))) => break,
            Ok((one, other)) => drop((one.unwrap(), other.unwrap())),
            Err(_) => cuts += 1,
        }
        let bus = mesh.client.bus();
        for task in &kept {
            assert!(!mesh.entries(task).await.is_empty());
            let place = task.sequence().unwrap();
            assert!(bus.at(&bus.names().inbox, place).await.unwrap().is_some(), "{task}");
        }
    }
    println!("{TASKS} tasks removed in {:?}, cut short {cuts} times", began.elapsed());
    assert!(cuts > 3, "it was never cut short");
    let left = stored(&mesh).await;
    let logs = left.keys().filter(|name| name.starts_with("log ")).count();
    assert_eq!(
        (logs, left.get("task echo"), left.get("task play")),
        (3, None, Some(&3)),
        "{left:?}"
    );
    for task in &kept {
        signal(&mesh, task).await;
        mesh.end_of(task).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_in_a_lane_does_not_outlive_its_log() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, PLAYERS).await;
    let _node = mesh.node("n1").await;
    let in_lane = |key: &str| Submission { lane: Lane::parse("l").ok(), ..keyed(key) };
    let first = mesh.client.submit(in_lane("k")).await.unwrap().task;
    mesh.end_of(&first).await;
    wait_until("the clock goes on", SOON, || async {
        let entries = mesh.entries(&first).await;
        (Clock::system().now() > entries.last()?.at.after(Duration::from_millis(5))).then_some(())
    })
    .await;
    let between = Clock::system().now();
    wait_until("the clock goes on", SOON, || async {
        (Clock::system().now() > between.after(Duration::from_millis(5))).then_some(())
    })
    .await;
    mesh.client.submit(in_lane("k")).await.unwrap();
    mesh.until_settled("echo").await;
    assert_eq!(removed(&mesh, between).await, 1);
    assert!(mesh.entries(&first).await.is_empty());
    let next = mesh.client.submit(in_lane("other")).await.unwrap().task;
    assert_eq!(output(&mesh.end_of(&next).await), json!("once"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_read_model_forgets_what_is_removed() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, PLAYERS).await;
    let _node = mesh.node("n1").await;
    let folder = tempfile::tempdir().unwrap();
    let model = Arc::new(Projection::open(&folder.path().join("tasks.sqlite")).unwrap());
    let jobs = Supervisor::new(Metrics::new("coordinator"));
    let (bus, stop) = (mesh.client.bus().clone(), jobs.shutdown_token());
    jobs.spawn("read model", Kind::Work, projection::follow(bus, Arc::clone(&model), stop));
    for _ in 0..5 {
        mesh.run("echo", "x").await;
    }
    let waits = json!([{"act": "delegate", "name": "c", "skill": "echo", "inputs": ["a"]},
        {"act": "signal", "name": "go"}]);
    let parent = play(&mesh, waits).await;
    mesh.until(&parent, "waits twice", |entries| {
        entries.iter().filter(|entry| entry.event.kind().name() == "suspended").count() == 2
    })
    .await;
    mesh.until_settled("echo").await;
    assert!(model.caught_up(SOON).await);
    let listed = |state| {
        let page = model.list(&Query { state, ..Query::default() }).unwrap();
        (page.tasks.len(), page.total)
    };
    assert_eq!((listed(None), listed(Some(TaskState::Completed))), ((7, 7), (6, 6)));

    let retire = Retire { read_model: Some(Arc::clone(&model)), ..retire(&mesh.client) };
    assert_eq!(retire.tasks(&mut TaskPlaces::default(), later()).await.unwrap(), 5);
    assert_eq!((listed(None), listed(Some(TaskState::Completed))), ((2, 2), (1, 1)));
    jobs.shutdown();
    drop((retire, model));

    // What nobody has followed for as long as tasks stay at least may list what is gone.
    for (age, left) in [(59, 2), (61, 0)] {
        for name in std::fs::read_dir(folder.path()).unwrap() {
            let file = std::fs::File::options().write(true).open(name.unwrap().path()).unwrap();
            let written = file.metadata().unwrap().modified().unwrap();
            file.set_modified(written - Duration::from_secs(age * 60)).unwrap();
        }
        let model = Projection::open(&folder.path().join("tasks.sqlite")).unwrap();
        assert_eq!(model.list(&Query::default()).unwrap().tasks.len(), left, "{age} minutes");
    }
}
