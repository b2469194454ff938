//! A task and somebody talk: several turns, messages that come early, a node that dies in the middle.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test that calls them")]

use std::collections::BTreeSet;

use client::Choice;
use protocol::approval::Verdict;
use protocol::dead::Cause;
use protocol::fault::code;
use protocol::input::Input;
use protocol::limits::INPUTS_MAX;
use protocol::message::{Message, Part};
use protocol::task::TaskState;
use protocol::wait::WaitingFor;
use protocol::{Owner, TaskId};
use runtime::clock::Clock;
use serde_json::{Value, json};
use weft_tests::mesh::Mesh;
use weft_tests::oracle::Oracle;
use weft_tests::play::PLAYERS;
use weft_tests::wait::wait_until;
use weft_tests::work::{SOON, kinds, output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");

fn me() -> Owner {
    Owner::default()
}

async fn say(mesh: &Mesh, task: &TaskId, text: &str) {
    let message = Input::Message(Message::from_user(vec![Part::text(text)]));
    mesh.client.say(&me(), task, &message, None).await.unwrap();
}

/// Waits until the task asks under this name.
async fn asks(mesh: &Mesh, task: &TaskId, name: &str) {
    wait_until(&format!("{task} asks {name}"), SOON, || async {
        let log = mesh.client.log(&me(), task).await.unwrap();
        let asks = log.waiting_for.as_ref().and_then(WaitingFor::name) == Some(name);
        asks.then(|| assert_eq!(log.state, TaskState::InputRequired))
    })
    .await;
}

fn turns(count: usize) -> Value {
    let act = |at| json!({"act": "ask", "name": format!("turn-{at}"), "question": "and then?"});
    (0..count).map(act).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_goes_on_when_its_node_and_its_coordinator_die_between_turns() {
    let (mesh, mut coordinator) = Mesh::start(PROGRAM, PLAYERS).await;
    let mut node = mesh.node("n1").await;
    let task = mesh.submit("play", json!({ "acts": turns(6) })).await;
    for turn in 0..6 {
        asks(&mesh, &task, &format!("turn-{turn}")).await;
        match turn {
            1 => {
                node.kill().await;
                say(&mesh, &task, "1").await;
                assert!(node.restart().await);
            }
            3 => {
                coordinator.kill().await;
                say(&mesh, &task, "3").await;
                assert!(coordinator.restart().await);
            }
            _ => say(&mesh, &task, &turn.to_string()).await,
        }
    }
    let end = mesh.end_of(&task).await;
    assert_eq!(output(&end), json!(["0", "1", "2", "3", "4", "5"]));
    let entries = mesh.entries(&task).await;
    assert_eq!(kinds(&entries).iter().filter(|kind| **kind == "resumed").count(), 6);
    assert_eq!(Oracle::read(&mesh.client).await.unwrap().faults(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_come_early_answer_later_questions_in_order() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, PLAYERS).await;
    let mut acts = vec![json!({"act": "work", "ms": 1500})];
    acts.extend(turns(4).as_array().cloned().unwrap());
    let task = mesh.submit("play", json!({ "acts": acts })).await;
    // Before anybody has begun it, while it runs, and when it asks.
    say(&mesh, &task, "queued").await;
    let _node = mesh.node("n1").await;
    mesh.until_kind(&task, "claimed").await;
    say(&mesh, &task, "running").await;
    say(&mesh, &task, "still running").await;
    asks(&mesh, &task, "turn-3").await;
    say(&mesh, &task, "asked").await;
    let end = mesh.end_of(&task).await;
    assert_eq!(output(&end), json!([null, "queued", "running", "still running", "asked"]));
    let entries = mesh.entries(&task).await;
    let received = kinds(&entries).iter().filter(|kind| **kind == "received").count();
    assert_eq!(received, 3, "what has come already suspends nobody: {:?}", kinds(&entries));
    assert!(mesh.client.dead_letters(None, 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_cuts_a_step_short_where_the_skill_allows_it_and_nowhere_else() {
    let listening =
        "[[agents]]\nskill = \"listening\"\nkind = \"play\"\non_message = \"interrupt\"\n";
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &format!("{PLAYERS}{listening}")).await;
    let mut node = mesh.node("n1").await;
    let file = mesh.folder().join("marks");
    let acts = json!({ "mark": &file, "acts": [
        {"act": "step_or_message", "name": "long", "ms": 30_000},
        {"act": "step_or_message", "name": "short", "ms": 1},
        {"act": "ask", "name": "end", "question": "enough?"},
    ]});
    let cut = mesh.submit("listening", acts.clone()).await;
    mesh.until_kind(&cut, "claimed").await;
    say(&mesh, &cut, "stop that").await;
    asks(&mesh, &cut, "end").await;
    // What was cut short stays so, whoever goes on with the task.
    node.kill().await;
    say(&mesh, &cut, "yes").await;
    assert!(node.restart().await);
    let end = mesh.end_of(&cut).await;
    assert_eq!(output(&end), json!([{"said": "stop that"}, "short", "yes"]));
    let begun = weft_tests::work::marks(&file);
    assert_eq!(begun.iter().filter(|mark| mark.what == "long").count(), 1, "{begun:?}");

    let short = json!({"act": "step_or_message", "name": "short", "ms": 1500});
    let ask = json!({"act": "ask", "name": "end", "question": "enough?"});
    let kept = mesh.submit("play", json!({ "acts": [short, ask] })).await;
    mesh.until_kind(&kept, "claimed").await;
    say(&mesh, &kept, "stop that").await;
    assert_eq!(output(&mesh.end_of(&kept).await), json!(["short", "stop that"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_messages_is_refused_from_the_limit_on_and_loses_none_before_it() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, PLAYERS).await;
    let _node = mesh.node("n1").await;
    let hold = json!({"acts": [{"act": "signal", "name": "begin"}]});
    let hold = json!({"act": "delegate", "name": "hold", "skill": "play", "inputs": [hold]});
    let mut acts = vec![hold];
    acts.extend(turns(3).as_array().cloned().unwrap());
    acts.push(json!({"act": "signal", "name": "bell"}));
    acts.push(json!({"act": "approve", "name": "pay", "action": {"pay": 5}}));
    let task = mesh.submit("play", json!({ "acts": acts })).await;
    mesh.until_kind(&task, "suspended").await;
    const BEYOND: usize = 5;
    for number in 0..INPUTS_MAX + BEYOND {
        say(&mesh, &task, &number.to_string()).await;
    }
    // Neither is kept out by the flood, one before and one after the task asks for it.
    let bell = Input::Signal { name: "bell".to_owned(), payload: Vec::new() };
    mesh.client.say(&me(), &task, &bell, None).await.unwrap();
    let refused = wait_until("the refusals", SOON, || async {
        let letters = mesh.client.dead_letters(None, 100).await.unwrap();
        (letters.len() == BEYOND).then_some(letters)
    })
    .await;
    for letter in &refused {
        let letter = &letter.letter;
        assert_eq!((letter.cause, &letter.task), (Cause::Refused, &task));
    }
    let said: BTreeSet<_> = refused.iter().map(|one| format!("{:?}", one.letter.input)).collect();
    for number in INPUTS_MAX..INPUTS_MAX + BEYOND {
        let text = format!("\"{number}\"");
        assert!(said.iter().any(|input| input.contains(&text)), "{number} is not in {said:?}");
    }
    assert_eq!(refused.first().unwrap().letter.fault.code, code::INPUT_REFUSED);
    let child = TaskId::of_child(&me(), &task, 0, 0);
    let begin = Input::Signal { name: "begin".to_owned(), payload: Vec::new() };
    mesh.client.say(&me(), &child, &begin, None).await.unwrap();
    asks(&mesh, &task, "pay").await;
    let (now, by) = (Clock::system().now(), "ann".to_owned());
    let yes = Choice { verdict: Verdict::Approve, by, comment: None, action: None, hash: None };
    mesh.client.decide(&me(), &task, yes, now).await.unwrap();
    let end = mesh.end_of(&task).await;
    let said = output(&end).as_array().unwrap()[1..].to_vec();
    let rung = json!({"came": true, "payload": null});
    assert_eq!(said, [json!("0"), json!("1"), json!("2"), rung, json!({"done": {"pay": 5}})]);
    let letters = mesh.client.dead_letters(None, 100).await.unwrap();
    assert_eq!(letters.len(), BEYOND, "nothing else is refused");
}
