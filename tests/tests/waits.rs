//! Tasks that wait hold no worker, and go on whatever is killed meanwhile.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test that calls them")]
#![expect(
    clippy::print_stdout,
    reason = "the measured times are worth a line in the test's output"
)]

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use futures_util::StreamExt as _;
use protocol::dead::Cause;
use protocol::entry::Kind;
use protocol::fault::code;
use protocol::header::{self, Headers};
use protocol::input::Input;
use protocol::message::{Message, Part};
use protocol::task::TaskState;
use protocol::{Owner, TaskId};
use runtime::bus::Outgoing;
use serde_json::{Value, json};
use tokio::time::Instant;
use weft_tests::mesh::Mesh;
use weft_tests::oracle::{Oracle, unfinished};
use weft_tests::play::PLAYERS;
use weft_tests::process::Process;
use weft_tests::wait::wait_until;
use weft_tests::work::{SOON, fault, kinds, output, submission};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");
/// Tasks that wait on one node with eight slots.
const WAITING: usize = 10_000;
/// How long the sleepers among them sleep: longer than it takes to restart everything.
const SLEEP: Duration = Duration::from_secs(20);
/// How long all of that may take on a loaded machine.
const ALL: Duration = Duration::from_secs(240);
const AT_ONCE: usize = 256;

fn me() -> Owner {
    Owner::default()
}

fn message(text: &str) -> Input {
    Input::Message(Message::from_user(vec![Part::text(text)]))
}

fn signal(name: &str) -> Input {
    Input::Signal { name: name.to_owned(), payload: vec![Part::data(json!({"n": 1}))] }
}

async fn play(mesh: &Mesh, acts: Value) -> TaskId {
    mesh.submit("play", json!({ "acts": acts })).await
}

async fn say(mesh: &Mesh, task: &TaskId, input: &Input) {
    mesh.client.say(&me(), task, input, None).await.unwrap();
}

async fn ended(mesh: &Mesh, task: &TaskId) -> Value {
    output(&mesh.end_of(task).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_wait_ends_by_what_comes_or_by_its_limit() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, PLAYERS).await;
    let _node = mesh.node("n1").await;
    let ask = |limit: Option<u32>| json!([{"act": "ask", "name": "q", "question": "?", "limitMs": limit}]);
    let bell = |limit: Option<u32>| json!([{"act": "signal", "name": "bell", "limitMs": limit}]);
    let began = Instant::now();
    let sleeper = play(&mesh, json!([{"act": "sleep", "name": "nap", "ms": 1500}])).await;
    let (asked, unasked) = (play(&mesh, ask(None)).await, play(&mesh, ask(Some(300))).await);
    let (rung, unrung) = (play(&mesh, bell(None)).await, play(&mesh, bell(Some(300))).await);
    for task in [&asked, &rung] {
        mesh.until_kind(task, "suspended").await;
    }
    let state = mesh.client.log(&me(), &asked).await.unwrap().state;
    assert_eq!(state, TaskState::InputRequired);
    // What does not fit the wait is kept and does not end it.
    say(&mesh, &rung, &message("not a signal")).await;
    say(&mesh, &rung, &signal("gong")).await;
    say(&mesh, &asked, &message("blue")).await;
    say(&mesh, &rung, &signal("bell")).await;
    assert_eq!(ended(&mesh, &asked).await, json!(["blue"]));
    assert_eq!(ended(&mesh, &rung).await, json!([{"came": true, "payload": {"n": 1}}]));
    assert_eq!(ended(&mesh, &unasked).await, json!([null]));
    assert_eq!(ended(&mesh, &unrung).await, json!([{"came": false, "payload": null}]));
    assert_eq!(ended(&mesh, &sleeper).await, json!(["nap"]));
    assert!(began.elapsed() >= Duration::from_millis(1_500));
    for task in [&sleeper, &asked, &unasked, &rung, &unrung] {
        let mut kinds = kinds(&mesh.entries(task).await);
        // A slow machine writes the attempt down before it ends.
        kinds.retain(|kind| *kind != "claimed");
        assert_eq!(kinds, ["suspended", "resumed", "completed"], "{task}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_a_waiting_task_with_one_letter() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, PLAYERS).await;
    let _node = mesh.node("n1").await;
    let body = json!({"acts": [{"act": "signal", "name": "never"}]}).to_string();
    let mut late = submission("play", body);
    late.deadline = Some("1s".to_owned());
    let task = mesh.client.submit(late).await.unwrap().task;
    let end = mesh.end_of(&task).await;
    assert_eq!((fault(&end).code.as_str(), end.attempt), (code::DEADLINE_EXCEEDED, 0));
    let letters = mesh.client.dead_letters(None, 10).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!((&letters[0].letter.task, letters[0].letter.cause), (&task, Cause::Failed));
    assert!(!letters[0].letter.input.parts.is_empty(), "the letter holds the input");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_of_no_use_is_refused_with_a_letter_and_a_reply() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, PLAYERS).await;
    let _node = mesh.node("n1").await;
    let done = play(&mesh, json!([])).await;
    mesh.end_of(&done).await;
    let busy = mesh.submit("strict", json!({"acts": [{"act": "work", "ms": 3000}]})).await;
    mesh.until_kind(&busy, "claimed").await;
    let open = play(&mesh, json!([{"act": "signal", "name": "bell"}])).await;
    mesh.until_kind(&open, "suspended").await;
    let bus = mesh.client.bus();
    let mut replies = bus.subscribe("answers.*".to_owned(), None).await.unwrap();
    bus.flush().await;
    let bad = Headers::new().with(header::INPUT, "shout");
    let nobody = TaskId::parse("nobody").unwrap();
    for (at, (task, headers, expected)) in [
        (&done, Headers::new(), code::INPUT_REFUSED),
        (&busy, Headers::new(), code::INPUT_REFUSED),
        (&open, bad, code::BAD_HEADER),
        (&nobody, Headers::new(), code::INPUT_REFUSED),
    ]
    .into_iter()
    .enumerate()
    {
        let headers = headers.with(header::REPLY_TO, format!("answers.{at}"));
        let subject = bus.subjects().input(&me(), task);
        let said = Outgoing::new(subject.clone(), headers, "hello".into());
        let sequence = bus.store(said).await.unwrap().sequence;
        let reply = tokio::time::timeout(SOON, replies.next()).await.unwrap().unwrap();
        assert_eq!(reply.subject, format!("answers.{at}"));
        let reply: Value = serde_json::from_slice(&reply.payload).unwrap();
        assert_eq!(reply["error"]["code"], expected, "{reply}");
        let letters = mesh.client.dead_letters(None, 10).await.unwrap();
        let letter = &letters.last().unwrap().letter;
        assert_eq!((letters.len(), letter.cause, &letter.task), (at + 1, Cause::Refused, task));
        let left = bus.at_from_leader(&bus.names().log, sequence).await.unwrap();
        assert_eq!(left, None, "what is refused is not kept for later");
    }
    let letters = mesh.client.dead_letters(None, 10).await.unwrap();
    let again = mesh.client.redrive(letters[0].number, client::Redrive::default()).await;
    assert!(matches!(again, Err(client::DeadError::NoTask { .. })), "{again:?}");
    say(&mesh, &open, &signal("bell")).await;
    mesh.end_of(&open).await;
}

/// The tasks whose last entry is of this kind.
async fn at_rest(mesh: &Mesh, kind: Kind) -> BTreeSet<String> {
    let (bus, mut found) = (mesh.client.bus(), BTreeSet::new());
    bus.scan(&bus.names().log, &bus.subjects().all_logs(), 1, |message| {
        let last = message.headers.get(header::ENTRY).and_then(Kind::from_name);
        if last == Some(kind) {
            found.insert(message.subject);
        } else {
            found.remove(&message.subject);
        }
        ControlFlow::Continue(())
    })
    .await
    .unwrap();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_waiting_tasks_outlive_a_restart_of_everything() {
    let (mut mesh, mut coordinator) = Mesh::start(PROGRAM, PLAYERS).await;
    let mut second = mesh.coordinator("c1", false).await;
    let mut node = mesh.node("n1").await;
    let began = Instant::now();
    let sleep = u64::try_from(SLEEP.as_millis()).unwrap();
    let tasks: Vec<TaskId> = futures_util::stream::iter(0..WAITING)
        .map(|at| {
            let act = match at % 2 {
                0 => json!({"act": "sleep", "name": "nap", "ms": sleep}),
                _ => json!({"act": "signal", "name": "bell"}),
            };
            let mesh = &mesh;
            async move { play(mesh, json!([act])).await }
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    println!("{WAITING} submitted after {:?}", began.elapsed());
    let (sleepers, listeners) = (WAITING / 2, WAITING / 2);
    wait_until("all wait, or have slept", ALL, || async {
        let waiting = at_rest(&mesh, Kind::Suspended).await.len();
        let ended = at_rest(&mesh, Kind::Completed).await.len();
        (waiting + ended >= WAITING).then_some(())
    })
    .await;
    println!("all wait after {:?}", began.elapsed());
    mesh.server.kill().await;
    for process in [&mut coordinator, &mut second, &mut node] {
        process.kill().await;
    }
    mesh.server.restart().await.unwrap();
    for process in [&mut coordinator, &mut second, &mut node] {
        assert!(process.restart().await);
    }
    let back = Instant::now();
    futures_util::stream::iter(tasks.iter().skip(1).step_by(2))
        .for_each_concurrent(AT_ONCE, |task| {
            let mesh = &mesh;
            async move { say(mesh, task, &signal("bell")).await }
        })
        .await;
    wait_until("every task has ended", ALL, || async {
        unfinished(&mesh.client).await.ok().filter(BTreeSet::is_empty)
    })
    .await;
    println!("all ended {:?} after the restart, {:?} in all", back.elapsed(), began.elapsed());
    let story = Oracle::read(&mesh.client).await.unwrap();
    assert_eq!(story.faults(), [""; 0]);
    assert_eq!(at_rest(&mesh, Kind::Completed).await.len(), sleepers + listeners);
    let resumed = story.logs.values().flatten();
    let resumed = resumed.filter(|entry| entry.event.kind() == Kind::Resumed).count();
    assert_eq!(resumed, WAITING, "each wait ends once");
}

/// Kills one of the processes after another, with a pause, until told to stop.
async fn kill_in_turn(processes: &mut [Process], until: &tokio::sync::Notify) -> usize {
    let mut kills = 0;
    let mut at = 0_usize;
    loop {
        tokio::select! {
            () = until.notified() => return kills,
            () = tokio::time::sleep(Duration::from_millis(350)) => {}
        }
        let count = processes.len();
        let Some(victim) = processes.get_mut(at % count) else { return kills };
        victim.kill().await;
        assert!(victim.restart().await);
        (kills, at) = (kills + 1, at + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_wait_is_lost_or_resolved_twice_while_coordinators_and_nodes_are_killed() {
    let (mesh, coordinator) = Mesh::start(PROGRAM, PLAYERS).await;
    let mut processes =
        vec![coordinator, mesh.node("n1").await, mesh.coordinator("c1", false).await];
    let _stays = mesh.node("n2").await;
    let stop = tokio::sync::Notify::new();
    let run = async {
        let acts = json!([
            {"act": "sleep", "name": "one", "ms": 200},
            {"act": "signal", "name": "bell"},
            {"act": "step", "name": "between"},
            {"act": "ask", "name": "q", "question": "?"},
            {"act": "sleep", "name": "two", "ms": 300}
        ]);
        let mut tasks = Vec::new();
        for _ in 0..60 {
            let task = play(&mesh, acts.clone()).await;
            // Before anybody waits for it: it is kept.
            say(&mesh, &task, &message("yes")).await;
            say(&mesh, &task, &signal("bell")).await;
            tasks.push(task);
        }
        for task in &tasks {
            let expected =
                json!(["one", {"came": true, "payload": {"n": 1}}, "between", "yes", "two"]);
            assert_eq!(ended(&mesh, task).await, expected);
        }
        stop.notify_one();
    };
    let ((), kills) = tokio::join!(run, kill_in_turn(&mut processes, &stop));
    println!("{kills} kills");
    let story = Oracle::read(&mesh.client).await.unwrap();
    assert_eq!(story.faults(), [""; 0]);
    for entries in story.logs.values() {
        let used: Vec<u64> = entries.iter().flat_map(used).collect();
        assert_eq!(used.len(), used.iter().collect::<BTreeSet<_>>().len(), "used twice: {used:?}");
    }
}

/// The messages that an entry uses up.
fn used(entry: &protocol::entry::Entry) -> Vec<u64> {
    use protocol::entry::Event;
    if let Event::Resumed { answer: Some(answer), .. } | Event::Received { answer, .. } =
        &entry.event
    {
        return answer.sequences().to_vec();
    }
    Vec::new()
}
