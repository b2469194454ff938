//! Trees of tasks: enough of them, too few of them, the end of all of them, and who is chosen for a need.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the measured times are worth a line in the test's output, and a helper of a test may fail the test"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use client::{Submission, TreeNode};
use protocol::budget::{Account, Grant, Unit};
use protocol::entry::{Child, Entry, Event};
use protocol::fault::code;
use protocol::header::{self, Headers};
use protocol::input::Input;
use protocol::log::TaskLog;
use protocol::message::Part;
use protocol::need::{Need, Resolution};
use protocol::task::TaskState;
use protocol::wait::WaitingFor;
use protocol::{NodeName, Owner, Skill, TaskId, consequence};
use runtime::bus::Outgoing;
use runtime::clock::Clock;
use serde_json::{Value, json};
use weft_tests::mesh::Mesh;
use weft_tests::oracle::Oracle;
use weft_tests::play::PLAYERS;
use weft_tests::wait::wait_until;
use weft_tests::work::{SOON, fault, kinds, output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");
/// Tasks in the middle of the tree, and the leaves of each.
const MIDDLES: usize = 4;
const LEAVES: usize = 25;
/// Workers of the leaves.
const BUSY: usize = 20;
/// How long the end of a tree may take on a loaded machine; on a quiet one it takes a tenth of it.
const CASCADE: Duration = Duration::from_secs(2);

fn me() -> Owner {
    Owner::default()
}

fn script(acts: &Value) -> Value {
    json!({ "acts": acts })
}

fn waits() -> Value {
    script(&json!([{"act": "signal", "name": "never"}]))
}

fn done() -> Value {
    script(&json!([]))
}

fn fails() -> Value {
    script(&json!([{"act": "fail", "message": "no"}]))
}

fn children(entries: &[Entry]) -> Vec<Child> {
    let delegated = entries.iter().flat_map(|entry| {
        if let Event::Delegated { children, .. } = &entry.event { children.as_slice() } else { &[] }
    });
    delegated.cloned().collect()
}

async fn delegate(mesh: &Mesh, inputs: Vec<Value>, enough: Option<u32>) -> TaskId {
    let act = json!({
        "act": "delegate", "name": "all", "skill": "play", "inputs": inputs, "enough": enough,
    });
    mesh.submit("play", script(&json!([act]))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_goes_on_with_enough_children_or_when_no_more_can_complete() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, PLAYERS).await;
    let _node = mesh.node("n1").await;
    let inputs = vec![waits(), done(), fails(), waits(), done()];
    let task = delegate(&mesh, inputs, Some(2)).await;
    let not_awaited = json!({"fault": code::NOT_AWAITED});
    let result = output(&mesh.end_of(&task).await);
    assert_eq!(result[0][1], json!([]), "{result}");
    assert_eq!((&result[0][0], &result[0][3]), (&not_awaited, &not_awaited), "{result}");
    for child in children(&mesh.entries(&task).await) {
        let end = mesh.end_of(&child.task).await.event.kind().name();
        assert!(["completed", "failed", "canceled"].contains(&end), "{end}");
    }
    let short = delegate(&mesh, vec![fails(), waits(), fails()], Some(2)).await;
    let end = mesh.end_of(&short).await;
    assert_eq!(fault(&end).code, code::CHILD_FAILED);
    let waiting = &children(&mesh.entries(&short).await)[1];
    assert_eq!(mesh.end_of(&waiting.task).await.event.kind().name(), "canceled");
    let all = delegate(&mesh, vec![done(), done()], None).await;
    assert_eq!(output(&mesh.end_of(&all).await), json!([[[], []]]));
    assert_eq!(Oracle::read(&mesh.client).await.unwrap().faults(), [""; 0]);
}

fn then(act: &Value) -> Value {
    script(&json!([{"act": "signal", "name": "go"}, act]))
}

/// How the books of a task stand after each of its entries.
fn books(entries: &[Entry]) -> Vec<Account> {
    let mut log = TaskLog::default();
    let mut after = |(at, entry): (u64, &Entry)| {
        log.apply(at, entry.clone()).map(|()| log.account).map_err(|error| error.to_string())
    };
    (1..).zip(entries).map(&mut after).collect::<Result<_, _>>().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_waited_for_any_more_is_canceled_and_gives_back_its_slice() {
    const GRANT: u64 = 900;
    let (mesh, mut coordinator) = Mesh::start(PROGRAM, PLAYERS).await;
    let _node = mesh.node("n1").await;
    let fail = json!({"act": "fail", "message": "no"});
    let say = json!({"act": "say", "text": "done"});
    for (essential, enough, last, end, first) in [
        (true, None, &fail, "failed", done()),
        (false, Some(1), &say, "completed", waits()),
        (false, Some(1), &say, "completed", script(&json!([{"act": "work", "ms": 50_000}]))),
    ] {
        let act = json!({
            "act": "delegate", "name": "all", "skill": "play", "enough": enough,
            "essential": essential, "inputs": [first, waits(), then(last)],
        });
        let submission = Submission {
            budget: Some(Grant { tokens: Some(GRANT), ..Grant::default() }),
            ..Submission::new(Skill::parse("play").unwrap(), script(&json!([act])).to_string())
        };
        let task = mesh.client.submit(submission).await.unwrap().task;
        mesh.until_kind(&task, "suspended").await;
        let below = children(&mesh.entries(&task).await);
        let is_done = first == done();
        let ready = if is_done { "completed" } else { "claimed" };
        if first != waits() {
            mesh.until_kind(&below[0].task, ready).await;
        }
        mesh.until_kind(&below[2].task, "suspended").await;
        // Whoever looks next finds it all in the logs.
        coordinator.kill().await;
        let go = Input::Signal { name: "go".to_owned(), payload: Vec::new() };
        mesh.client.say(&me(), &below[2].task, &go, None).await.unwrap();
        assert!(coordinator.restart().await);
        let last_entry = mesh.end_of(&task).await;
        assert_eq!(last_entry.event.kind().name(), end, "{last_entry:?}");
        if essential {
            assert_eq!(fault(&last_entry).code, code::CHILD_FAILED);
        }
        for (child, expected) in
            below.iter().zip([if is_done { "completed" } else { "canceled" }, "canceled", end])
        {
            assert_eq!(mesh.end_of(&child.task).await.event.kind().name(), expected, "{child:?}");
        }
        let books = books(&mesh.entries(&task).await);
        for account in &books {
            let left = account.left(Unit::Tokens).unwrap();
            assert_eq!(account.spent.tokens + account.reserved.tokens + left, GRANT, "{account:?}");
        }
        assert!(books.iter().any(|account| account.reserved.tokens == GRANT / 4 * 3));
        let last = books.last().unwrap();
        assert_eq!((last.spent.tokens, last.reserved.tokens), (0, 0), "all slices are back");
        assert_eq!(last_entry.spent.map(|spent| spent.tokens), Some(0));
    }
    assert_eq!(Oracle::read(&mesh.client).await.unwrap().faults(), [""; 0]);
}

/// What a node wrote into a task's log before it died, and nothing else: no child is in its queue.
async fn dies_before_dispatch(mesh: &Mesh, task: &TaskId, is_suspended: bool) -> Vec<Child> {
    let (envelope, message) = mesh.client.submission(&me(), task).await.unwrap().unwrap();
    let work = script(&json!([{"act": "work", "ms": 50_000}]));
    let child = |index| Child {
        task: TaskId::of_child(&me(), task, 0, index),
        skill: Skill::parse("play").unwrap(),
        input: Part::data(work.clone()),
        budget: Some(Grant { tokens: Some(100), ..Grant::default() }),
        reason: None,
        avoid: None,
        essential: false,
    };
    let children: Vec<_> = (0..2).map(child).collect();
    let name = "all".to_owned();
    let mut events = vec![Event::Delegated { name, more: false, children: children.clone() }];
    if is_suspended {
        let waiting_for = WaitingFor::Children { position: 0, enough: None };
        events.push(Event::Suspended { waiting_for, until: None });
    }
    let mut expected_last = Some(0);
    for (generation, event) in (1..).zip(events) {
        let entry = Entry {
            generation,
            at: Clock::system().now(),
            by: NodeName::parse("dead").unwrap(),
            attempt: 1,
            origin: (generation == 1).then(|| Box::new(envelope.origin(&message.payload))),
            agent: None,
            spent: None,
            raised: None,
            driver: None,
            event,
        };
        let subject = mesh.client.bus().subjects().log(&me(), task);
        let headers = Headers::new().with(header::ENTRY, entry.event.kind().name());
        let payload = serde_json::to_vec(&entry).unwrap().into();
        let message = Outgoing { expected_last, ..Outgoing::new(subject, headers, payload) };
        expected_last = Some(mesh.client.bus().store(message).await.unwrap().sequence);
    }
    children
}

#[tokio::test(flavor = "multi_thread")]
async fn children_that_were_never_dispatched_are_canceled_with_their_parent() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, PLAYERS).await;
    for is_suspended in [true, false] {
        let work = json!({"act": "work", "ms": 50_000});
        let inputs = vec![script(&json!([work])), script(&json!([work]))];
        let act = json!({"act": "delegate", "name": "all", "skill": "play", "inputs": inputs});
        let submission = Submission {
            budget: Some(Grant { tokens: Some(900), ..Grant::default() }),
            ..Submission::new(Skill::parse("play").unwrap(), script(&json!([act])).to_string())
        };
        let task = mesh.client.submit(submission).await.unwrap().task;
        let children = dies_before_dispatch(&mesh, &task, is_suspended).await;
        mesh.client.cancel(&me(), &task).await.unwrap();
        if is_suspended {
            // Nobody runs anything: the coordinator ends all three by what the parent's log says.
            assert_eq!(mesh.end_of(&task).await.event.kind().name(), "canceled");
            for child in &children {
                mesh.end_of(&child.task).await;
                let entries = mesh.entries(&child.task).await;
                assert_eq!(kinds(&entries), ["canceled"], "it was never begun");
            }
            // The dead node was only frozen, and its children reach their queue after all.
            let log = mesh.client.log(&me(), &task).await.unwrap();
            let origin = log.origin.as_deref().unwrap();
            for child in &children {
                let late =
                    consequence::dispatch(mesh.client.bus().subjects(), origin, &task, child);
                let late = Outgoing::new(late.subject, late.headers, late.payload);
                mesh.client.bus().store(late).await.unwrap();
            }
        }
        let mut node = mesh.node("n1").await;
        // Without the suspension whoever takes the task over dispatches them, and then it ends with them.
        assert_eq!(mesh.end_of(&task).await.event.kind().name(), "canceled");
        for child in &children {
            assert_eq!(mesh.end_of(&child.task).await.event.kind().name(), "canceled");
        }
        mesh.until_settled("play").await;
        for child in &children {
            let entries = mesh.entries(&child.task).await;
            assert_eq!(entries.last().unwrap().event.kind().name(), "canceled");
            assert_eq!(entries.last().unwrap().spent.map(|spent| spent.tokens), Some(0));
            assert!(!is_suspended || entries.len() == 1, "{:?}", kinds(&entries));
        }
        for account in books(&mesh.entries(&task).await) {
            let left = account.left(Unit::Tokens).unwrap();
            assert_eq!(account.spent.tokens + account.reserved.tokens + left, 900, "{account:?}");
        }
        node.kill().await;
    }
    assert_eq!(Oracle::read(&mesh.client).await.unwrap().faults(), [""; 0]);
}

/// Finished, waiting, and enough to keep all workers of the skill busy and a queue behind them.
fn middle() -> Value {
    let leaf = |at: usize| match at % 5 {
        0 => done(),
        1 => waits(),
        _ => script(&json!([{"act": "work", "ms": 50_000}])),
    };
    let inputs: Vec<_> = (0..LEAVES).map(leaf).collect();
    script(&json!([{"act": "delegate", "name": "leaves", "skill": "slow", "inputs": inputs}]))
}

fn count(node: &TreeNode, of: &mut BTreeMap<&'static str, usize>) {
    *of.entry(node.state.word()).or_default() += 1;
    node.children.iter().for_each(|child| count(child, of));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_reaches_a_hundred_leaves_and_leaves_finished_ones_as_they_are() {
    let config = format!(
        "{PLAYERS}\n[[agents]]\nskill = \"slow\"\nkind = \"play\"\nconcurrency = {BUSY}\ntimeout = \"60s\"\ncancel_grace = \"1s\"\n"
    );
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &config).await;
    let _second = mesh.coordinator("c1", false).await;
    let _node = mesh.node("n1").await;
    let middles: Vec<_> = (0..MIDDLES).map(|_| middle()).collect();
    let root = delegate(&mesh, middles, None).await;
    let tree = || async { mesh.client.tree(&me(), &root, 1_000).await.unwrap().unwrap() };
    wait_until("a tree with busy, waiting and finished leaves", SOON, || async {
        let tree = tree().await;
        let leaves = || tree.children.iter().flat_map(|one| one.children.iter().enumerate());
        let waiting = leaves().filter(|(_, leaf)| leaf.waiting_for.is_some()).count();
        let finished = leaves().filter(|(_, leaf)| leaf.state == TaskState::Completed).count();
        let busy = leaves().filter(|(at, leaf)| at % 5 > 1 && leaf.attempts > 0).count();
        let ready = leaves().count() == MIDDLES * LEAVES && waiting >= MIDDLES;
        (ready && finished >= MIDDLES && busy == BUSY).then_some(())
    })
    .await;
    // From now on no worker is free. While the tree was read one may have been.
    let before = tree().await;
    let mut states = BTreeMap::new();
    count(&before, &mut states);
    let finished = states["completed"];
    assert!(states.contains_key("submitted"), "some have not been begun: {states:?}");
    let asked_at = Clock::system().now();
    mesh.client.cancel(&me(), &root).await.unwrap();
    let after = wait_until("the whole tree has ended", SOON, || async {
        let tree = tree().await;
        let mut states = BTreeMap::new();
        count(&tree, &mut states);
        let open = states.keys().any(|state| !["completed", "canceled"].contains(state));
        (!open).then_some((tree, states))
    })
    .await;
    let story = Oracle::read(&mesh.client).await.unwrap();
    let last = story.logs.values().filter_map(|log| log.last()).map(|entry| entry.at).max();
    let took = last.unwrap().since(asked_at);
    println!("{:?} ended within {took:?} of the cancel", after.1);
    assert!(took < CASCADE, "{took:?}");
    assert_eq!(after.1["completed"], finished, "finished ones stay finished, no other finishes");
    assert_eq!(story.faults(), [""; 0]);
    for (task, log) in &story.logs {
        let ends = log.iter().filter(|entry| entry.event.kind().is_terminal()).count();
        assert_eq!(ends, 1, "{task}: {:?}", kinds(log));
    }
    let cut = mesh.client.tree(&me(), &root, 10).await.unwrap().unwrap();
    let read = cut.children.iter().map(|one| 1 + one.children.len()).sum::<usize>() + 1;
    let not_read = cut.not_read + cut.children.iter().map(|one| one.not_read).sum::<usize>();
    assert_eq!((read, not_read), (10, MIDDLES * LEAVES + MIDDLES + 1 - 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_need_is_met_by_whoever_can_and_the_answer_says_why() {
    let (mesh, mut coordinator) = Mesh::start(PROGRAM, PLAYERS).await;
    let _second = mesh.coordinator("c1", false).await;
    let _node = mesh.node("n1").await;
    let bus = mesh.client.bus();
    let ask = |need: Value| async move {
        let body = need.to_string().into();
        let body: bytes::Bytes = body;
        // On core NATS a question is lost with the coordinator that had it: whoever asks asks again.
        let answer = wait_until("somebody answers", SOON, || async {
            let subject = bus.subjects().resolve();
            bus.ask(subject, &Headers::new(), body.clone(), Duration::from_secs(1)).await.ok()
        })
        .await;
        serde_json::from_slice::<Resolution>(&answer.payload).unwrap()
    };
    let need = |tags: &[&str]| {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        serde_json::to_value(Need { tags, ..Need::default() }).unwrap()
    };
    let found = wait_until("the node is in the registry", SOON, || async {
        match ask(need(&["play"])).await {
            Resolution::Found { skill, reason } => Some((skill, reason)),
            Resolution::Nobody { .. } => None,
        }
    })
    .await;
    assert_eq!(found.0.as_str(), "play");
    assert!(found.1.starts_with("best of 2 skills with tag \"play\""), "{}", found.1);
    coordinator.kill().await;
    for (need, expected) in [
        (need(&["play", "flies"]), code::NOBODY_SERVES),
        (json!({"tag": ["play"]}), code::MALFORMED_BODY),
        (json!(7), code::MALFORMED_BODY),
    ] {
        let answer = ask(need.clone()).await;
        let Resolution::Nobody { fault } = answer else { unreachable!("{need}: {answer:?}") };
        assert_eq!(fault.code, expected, "{need}: {fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_result_stands_in_for_a_child_that_fails_while_it_is_young_enough() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, PLAYERS).await;
    let _node = mesh.node("n1").await;
    let broken = mesh.folder().join("broken");
    let input = script(&json!([{"act": "fail_if", "path": &broken}]));
    let run = async |cached_ms: Option<u64>| {
        let act = json!({"act": "delegate", "name": "part", "skill": "play", "inputs": [input],
            "cachedMs": cached_ms});
        let task = mesh.submit("play", script(&json!([act]))).await;
        output(&mesh.end_of(&task).await)
    };
    let hour = Some(3_600_000);
    let failed = json!([[{"fault": "agent_error"}]]);
    let fine = json!([[["fine"]]]);
    std::fs::write(&broken, "").unwrap();
    assert_eq!(run(hour).await, failed, "there is no earlier result");
    std::fs::remove_file(&broken).unwrap();
    assert_eq!(run(hour).await, fine);
    std::fs::write(&broken, "").unwrap();
    assert_eq!(run(hour).await, fine, "the kept result");
    assert_eq!(run(Some(1)).await, failed, "it is older than that");
    assert_eq!(run(None).await, failed, "nobody asked for an earlier one");
}
