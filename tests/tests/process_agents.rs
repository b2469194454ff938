//! Durable agents that are programs, in Python: the examples and a task of twelve steps, on nodes that are killed.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test that calls them")]
#![expect(clippy::print_stdout, reason = "what a run of kills did is worth a line in its output")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use client::{Choice, Outcome};
use protocol::approval::Verdict;
use protocol::entry::{Entry, Event};
use protocol::input::Input;
use protocol::message::{Message, Part};
use protocol::task::TaskState;
use protocol::wait::WaitingFor;
use protocol::{Owner, TaskId};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use runtime::clock::Clock;
use serde_json::{Value, json};
use weft_tests::mesh::Mesh;
use weft_tests::oracle::Oracle;
use weft_tests::process::Process;
use weft_tests::wait::wait_until;
use weft_tests::work::{SOON, kinds, output, submission};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");
/// Kills of the node under the tasks of twelve steps.
const KILLS: usize = 12;
/// Tasks of twelve steps at once.
const TASKS: usize = 4;
const STEPS: usize = 12;

const HEAD: &str = r#"
[bus]
lease = "2s"
[node]
drain_grace = "5s"
http = "127.0.0.1:0"
[coordinator]
http = "127.0.0.1:0"
"#;

/// Every step leaves its key in the file `effects`; its result is made of the one before.
const TWELVE: &str = r#"
import os, sys, time
sys.path.insert(1, SDK)
from weft_agent import serve

def work(input, ctx):
    def effect(before):
        with open(os.path.join(os.environ["WEFT_SCRATCH"], "effects"), "a") as file:
            file.write(ctx.idempotency_key + "\n")
        time.sleep(0.02)
        return before + 1
    value = input["from"]
    for number in range(12):
        value = ctx.step("step-%d" % number, effect, value)
    return value

serve(work)
"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn me() -> Owner {
    Owner::default()
}

/// A mesh with the agents of an example, whose outside world is the mesh's folder.
async fn example(name: &str) -> (Mesh, Process, Process) {
    let folder = root().join("examples").join(name);
    let text = std::fs::read_to_string(folder.join("weft.toml")).unwrap();
    start(&format!("{HEAD}{text}"), &folder).await
}

/// Starts a mesh whose agents stand in `folder`.
async fn start(config: &str, folder: &Path) -> (Mesh, Process, Process) {
    let scratch = tempfile::tempdir().unwrap().keep();
    let config = config
        .replace(
            r#"pass_env = ["WEFT_SCRATCH"]"#,
            &format!("env = {{ WEFT_SCRATCH = {scratch:?} }}"),
        )
        .replace(r#"["python3", ""#, &format!(r#"["python3", "{}/"#, folder.display()));
    let (mesh, coordinator) = Mesh::start(PROGRAM, &config).await;
    std::fs::write(mesh.folder().join("scratch"), scratch.to_str().unwrap()).unwrap();
    let node = mesh.node("n1").await;
    (mesh, coordinator, node)
}

/// The outside world of a mesh.
fn scratch(mesh: &Mesh) -> PathBuf {
    std::fs::read_to_string(mesh.folder().join("scratch")).unwrap().into()
}

/// How often each key has had an effect.
fn effects(mesh: &Mesh, file: &str) -> BTreeMap<String, usize> {
    let text = std::fs::read_to_string(scratch(mesh).join(file)).unwrap_or_default();
    let mut found = BTreeMap::new();
    for key in text.split_inclusive('\n').filter_map(|line| line.split_whitespace().next()) {
        *found.entry(key.to_owned()).or_insert(0) += 1;
    }
    found
}

/// The keys of a task's committed steps. No name comes twice in these tasks.
fn committed(task: &TaskId, entries: &[Entry]) -> Vec<String> {
    let key = |entry: &Entry| {
        let Event::Step { name, .. } = &entry.event else { return None };
        Some(format!("{task}/{name}"))
    };
    entries.iter().filter_map(key).collect()
}

async fn restart(node: &mut Process) {
    while !node.restart().await {}
}

/// Kills the node and starts it again; the effects of steps that were committed by then, which must not change.
async fn kill(
    mesh: &Mesh,
    node: &mut Process,
    tasks: &[TaskId],
    file: &str,
) -> BTreeMap<String, usize> {
    node.kill().await;
    let counted = effects(mesh, file);
    let mut done = BTreeMap::new();
    for task in tasks {
        for key in committed(task, &mesh.entries(task).await) {
            done.insert(key.clone(), counted.get(&key).copied().unwrap_or(0));
        }
    }
    restart(node).await;
    done
}

async fn sound(mesh: &Mesh) {
    assert_eq!(Oracle::read(&mesh.client).await.unwrap().faults(), [""; 0]);
    std::fs::remove_dir_all(scratch(mesh)).unwrap();
}

async fn say(mesh: &Mesh, task: &TaskId, text: &str) {
    let message = Input::Message(Message::from_user(vec![Part::text(text)]));
    mesh.client.say(&me(), task, &message, None).await.unwrap();
}

/// Waits until a task waits for something of this name, and returns what it is.
async fn waits(mesh: &Mesh, task: &TaskId, name: &str) -> WaitingFor {
    wait_until(&format!("{task} waits for {name}"), SOON, || async {
        let log = mesh.client.log(&me(), task).await.unwrap();
        let ended = log.is_ended().then_some(log.state);
        assert_eq!(ended, None::<TaskState>, "{task} does not wait for {name}");
        log.waiting_for.filter(|waiting| waiting.name() == Some(name))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twelve_steps_none_that_is_committed_runs_again_whenever_the_node_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let sdk = root().join("sdk/python");
    let code = TWELVE.replace("SDK", &format!("{:?}", sdk.to_str().unwrap()));
    std::fs::write(folder.path().join("twelve.py"), code).unwrap();
    let agent = r#"
[[agents]]
skill = "twelve"
kind = "process"
concurrency = 4
timeout = "30s"
[agents.retry]
attempts_max = 40
[agents.options]
command = ["python3", "twelve.py"]
pass_env = ["WEFT_SCRATCH"]
"#;
    let (mesh, _coordinator, mut node) = start(&format!("{HEAD}{agent}"), folder.path()).await;
    let mut dice = StdRng::seed_from_u64(12);
    let mut tasks = Vec::new();
    for at in 0..TASKS {
        tasks.push(mesh.submit("twelve", json!({"from": at * 100})).await);
    }
    let mut frozen: BTreeMap<String, usize> = BTreeMap::new();
    let mut seen = 0;
    for _ in 0..KILLS {
        let more = dice.random_range(1..=TASKS * STEPS / KILLS);
        let total = || effects(&mesh, "effects").values().sum::<usize>();
        let most = TASKS * STEPS - 1;
        wait_until("further steps", SOON, || async {
            (total() >= seen + more || effects(&mesh, "effects").len() >= most).then_some(())
        })
        .await;
        for (key, count) in kill(&mesh, &mut node, &tasks, "effects").await {
            frozen.entry(key).or_insert(count);
        }
        seen = total();
    }
    for (at, task) in tasks.iter().enumerate() {
        assert_eq!(output(&mesh.end_of(task).await), json!(at * 100 + STEPS));
        assert_eq!(committed(task, &mesh.entries(task).await).len(), STEPS);
    }
    let counted = effects(&mesh, "effects");
    assert_eq!(counted.len(), TASKS * STEPS, "every step has had its effect");
    for (key, before) in &frozen {
        assert_eq!(counted.get(key), Some(before), "{key} ran again after it was committed");
    }
    let repeated: usize = counted.values().map(|count| count - 1).sum();
    println!(
        "{KILLS} kills: 0 of {} committed steps ran again, {repeated} effects were repeated before their commit",
        frozen.len()
    );
    sound(&mesh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_made_once_as_somebody_has_changed_it() {
    let (mesh, _coordinator, mut node) = example("approval").await;
    let task = mesh.submit("pay", json!({"to": "acme", "amount": 120})).await;
    let WaitingFor::Approval { request, .. } = waits(&mesh, &task, "payment").await else {
        panic!("no approval")
    };
    assert_eq!(request.question, "Pay 120 to ACME?");
    node.kill().await;
    let action = Some(json!({"to": "ACME", "amount": 90}));
    let choice =
        Choice { verdict: Verdict::Edit, by: "ann".to_owned(), comment: None, action, hash: None };
    let cast = mesh.client.decide(&me(), &task, choice, Clock::system().now()).await.unwrap();
    let outcome = mesh.client.outcome(&me(), &task, &cast, SOON).await.unwrap();
    assert!(matches!(outcome, Outcome::Counted(_)), "{outcome:?}");
    restart(&mut node).await;
    assert_eq!(output(&mesh.end_of(&task).await), json!({"paid": 90, "to": "ACME"}));
    let key = format!("{task}/transfer");
    assert_eq!(effects(&mesh, "bank"), BTreeMap::from([(key, 1)]));
    sound(&mesh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crew_keeps_to_its_budget_and_falls_back() {
    let (mesh, _coordinator, mut node) = example("crew").await;
    let topics = ["tides", "comets", "dragons", "moss", "salt"];
    let budget = Some(serde_json::from_value(json!({"tokens": 4000})).unwrap());
    let submission =
        client::Submission { budget, ..submission("editor", json!(topics).to_string()) };
    let task = mesh.client.submit(submission).await.unwrap().task;
    wait_until("somebody reads", SOON, || async {
        (!effects(&mesh, "effects").is_empty()).then_some(())
    })
    .await;
    node.kill().await;
    restart(&mut node).await;
    let done = output(&mesh.end_of(&task).await);
    let report = "tides: 5 sources; comets: 6 sources; dragons: an old map; moss: 4 sources; salt: 4 sources";
    assert_eq!(done["report"], report);
    let (spent, left) =
        (done["spent"]["tokens"].as_u64().unwrap(), done["left"]["tokens"].as_u64().unwrap());
    let read: usize = topics.iter().map(|topic| 200 + topic.len()).sum();
    let plain = u64::try_from(read + 40 * topics.len()).unwrap();
    // A read that the kill cut short counts as spent with all that was set aside for it.
    assert!(spent >= plain && spent <= 4000, "{spent} tokens, {plain} without a kill");
    assert_eq!(spent + left, 4000);
    let entries = mesh.entries(&task).await;
    let children: usize = entries
        .iter()
        .map(|entry| {
            let Event::Delegated { children, .. } = &entry.event else { return 0 };
            children.len()
        })
        .sum();
    assert_eq!(children, topics.len() + 1, "one child more for dragons");
    sound(&mesh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_conversation_survives_its_node() {
    const TURNS: usize = 16;
    let (mesh, _coordinator, mut node) = example("conversation").await;
    let task = mesh.client.submit(submission("guide", "thing 1")).await.unwrap().task;
    let mut frozen = BTreeMap::new();
    for turn in 1..=TURNS {
        let asked = waits(&mesh, &task, &format!("turn {turn}")).await;
        let WaitingFor::Input { question, .. } = asked else { panic!("{asked:?}") };
        let answer = protocol::message::value_of(&question.parts);
        assert_eq!(answer, json!(format!("Packed: thing {turn}. What else?")));
        if turn % 5 == 0 {
            frozen
                .append(&mut kill(&mesh, &mut node, std::slice::from_ref(&task), "effects").await);
        }
        let next = if turn == TURNS { "done".to_owned() } else { format!("thing {}", turn + 1) };
        say(&mesh, &task, &next).await;
    }
    let done: Value = output(&mesh.end_of(&task).await);
    assert_eq!(
        (done["turns"].as_u64(), done["packed"].as_array().unwrap().len()),
        (Some(16), TURNS)
    );
    let counted = effects(&mesh, "effects");
    assert_eq!(counted.len(), TURNS);
    for (key, before) in &frozen {
        assert_eq!((before, counted.get(key)), (&1, Some(&1)), "{key} was thought of again");
    }
    let entries = mesh.entries(&task).await;
    assert_eq!(kinds(&entries).iter().filter(|kind| **kind == "step").count(), TURNS);
    sound(&mesh).await;
}
