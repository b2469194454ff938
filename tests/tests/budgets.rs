//! Budgets of whole trees: whatever is killed, at every sequence number nothing is lost and nothing is made up. What is
//! not allowed is told at once.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test that calls them"
)]
#![expect(clippy::print_stdout, reason = "what was counted is worth a line in the test's output")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use protocol::budget::{Unit, Usage};
use protocol::entry::{Child, Entry, Event};
use protocol::header::{self, Headers};
use protocol::log::TaskLog;
use protocol::message::value_of;
use protocol::{Owner, Skill, TaskId};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use runtime::bus::Outgoing;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use weft_tests::mesh::Mesh;
use weft_tests::oracle::Oracle;
use weft_tests::process::Process;
use weft_tests::wait::wait_until;
use weft_tests::work::{SOON, marks};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");
/// Trees.
const TREES: u64 = 200;
/// Trees at once.
const AT_ONCE: usize = 10;

const AGENTS: &str = r#"
[bus]
lease = "2s"
[node]
http = "127.0.0.1:0"
[coordinator]
http = "127.0.0.1:0"
[[agents]]
skill = "probe"
kind = "probe"
concurrency = 16
timeout = "60s"
[agents.retry]
attempts_max = 200
backoff_first = "20ms"
backoff_max = "100ms"
"#;

/// The input of a random task with random children.
fn tree(dice: &mut StdRng, mark: &std::path::Path, depth: u32) -> Value {
    let mut input = json!({
        "mark": mark,
        "steps": dice.random_range(1..4),
        "sleepMs": dice.random_range(0..12),
        "stepTokens": dice.random_range(0..20),
        "stepReserve": dice.random_range(1..20),
    });
    if depth > 0 && dice.random_range(0..4) > 0 {
        let children: Vec<_> =
            (0..dice.random_range(1..4)).map(|_| tree(dice, mark, depth - 1)).collect();
        let mut delegate = json!({"skill": "probe", "inputs": children});
        if dice.random_range(0..2) == 0 {
            delegate["tokens"] = json!(dice.random_range(1..60));
        }
        if dice.random_range(0..4) == 0 {
            delegate["enough"] = json!(1);
        }
        input["delegate"] = delegate;
    }
    input
}

/// Kills a random node again and again.
async fn kill(nodes: &mut [Process], stop: &CancellationToken) -> u32 {
    let (mut dice, mut kills) = (StdRng::seed_from_u64(7), 0);
    while !stop.is_cancelled() {
        tokio::time::sleep(Duration::from_millis(dice.random_range(100..600))).await;
        let at = dice.random_range(0..nodes.len());
        nodes[at].kill().await;
        kills += 1;
        while !nodes[at].restart().await {}
    }
    kills
}

async fn submit(mesh: &Mesh, input: &Value, grant: &Value) -> TaskId {
    let skill = Skill::parse("probe").unwrap();
    let subject = mesh.client.bus().subjects().task(&skill, &Owner::default());
    let headers = Headers::new().with(header::BUDGET, grant.to_string());
    let message = Outgoing::new(subject, headers, input.to_string().into());
    mesh.client.submit_raw(message).await.unwrap().task
}

async fn grow(mesh: &Mesh, mark: &std::path::Path, seed: u64) -> (TaskId, Value) {
    let mut dice = StdRng::seed_from_u64(seed);
    let input = tree(&mut dice, mark, 3);
    let grant = json!({"tokens": dice.random_range(20..600)});
    let task = submit(mesh, &input, &grant).await;
    mesh.end_of(&task).await;
    (task, input)
}

/// All tasks of the mesh, by what their logs say.
struct Books {
    logs: BTreeMap<TaskId, Vec<Entry>>,
    inputs: BTreeMap<TaskId, Value>,
    effects: BTreeMap<String, BTreeSet<String>>,
}

impl Books {
    fn children(&self, task: &TaskId) -> Vec<Child> {
        let delegated = |entry: &Entry| {
            let Event::Delegated { children, .. } = &entry.event else { return Vec::new() };
            children.clone()
        };
        self.logs[task].iter().flat_map(delegated).collect()
    }

    fn tokens(&self, task: &TaskId, name: &str) -> u64 {
        self.inputs[task][name].as_u64().unwrap()
    }

    /// Folds every prefix of a task's log; returns where it ends.
    fn audit(&self, task: &TaskId) -> TaskLog {
        let mut log = TaskLog::default();
        for (sequence, entry) in (1..).zip(self.logs[task].iter().cloned()) {
            log.apply(sequence, entry).unwrap();
            let account = log.account;
            let granted = account.granted.tokens.unwrap();
            let left = account.left(Unit::Tokens).unwrap();
            let sum = account.spent.tokens + account.reserved.tokens + left;
            assert_eq!(sum, granted, "{task} at its entry {sequence}: {account:?}");
        }
        log
    }

    /// What a task and everything below it used, by its log; checked against its children and against its effects.
    fn total(&self, task: &TaskId) -> u64 {
        let log = self.audit(task);
        let last = self.logs[task].last().unwrap();
        let total = log.account.total();
        assert_eq!(last.spent, Some(total), "{task} says at its end what it used");
        let mut below = 0;
        for child in self.children(task) {
            let slice = child.budget.unwrap().tokens.unwrap();
            let used = self.total(&child.task);
            // What is still out counts in full: the task went on without it, or ended before it.
            below += if log.slice_of(&child.task).is_some() { slice } else { used };
        }
        let (used, lost) = self.own(task);
        let own = total.tokens - below;
        let lost_most = lost * self.tokens(task, "stepReserve");
        assert!(own >= used && own <= used + lost_most, "{task}: {own}, {used} used, {lost} lost");
        total.tokens
    }

    /// What a task's own effects used, each key once, and how many reservations nothing settled.
    fn own(&self, task: &TaskId) -> (u64, u64) {
        let count = |kind: &str| {
            let entries = self.logs[task].iter();
            entries.filter(|entry| entry.event.kind().name() == kind).count() as u64
        };
        let paid = self.logs[task].iter().filter_map(|entry| {
            let Event::Step { usage, .. } = &entry.event else { return None };
            Some(usage.unwrap_or_default())
        });
        let paid = paid.fold(Usage::default(), Usage::plus).tokens;
        let keys = self.effects.get(task.as_str()).map_or(0, BTreeSet::len) as u64;
        // An effect without an entry belongs to a task that ended before it could be written down.
        assert!(keys >= count("step"), "{task} has {keys} effects and {} steps", count("step"));
        assert!(paid == count("step") * self.tokens(task, "stepTokens"), "{task}");
        (paid, count("reserved") - count("step").min(count("reserved")))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trees_of_tasks_keep_their_books_whatever_is_killed() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let mut nodes = Vec::new();
    for name in ["n0", "n1", "n2"] {
        nodes.push(mesh.node(name).await);
    }
    let mark = mesh.folder().join("marks");
    let (stop, mut inputs) = (CancellationToken::new(), BTreeMap::new());
    let growing = async {
        let seeds: Vec<u64> = (0..TREES).collect();
        for batch in seeds.chunks(AT_ONCE) {
            inputs.extend(join_all(batch.iter().map(|seed| grow(&mesh, &mark, *seed))).await);
        }
        stop.cancel();
    };
    let ((), kills) = tokio::join!(growing, kill(&mut nodes, &stop));
    let roots: Vec<TaskId> = inputs.keys().cloned().collect();
    let all_ended = || async {
        let open = weft_tests::oracle::unfinished(&mesh.client).await.ok()?;
        open.is_empty().then_some(())
    };
    wait_until("losers have ended too", SOON * 3, all_ended).await;
    let story = Oracle::read(&mesh.client).await.unwrap();
    assert_eq!(story.faults(), [""; 0]);
    for entries in story.logs.values() {
        for entry in entries {
            let Event::Delegated { children, .. } = &entry.event else { continue };
            let input =
                |child: &Child| (child.task.clone(), value_of(std::slice::from_ref(&child.input)));
            inputs.extend(children.iter().map(input));
        }
    }
    let mut effects: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for one in marks(&mark) {
        effects.entry(one.task).or_default().insert(one.what);
    }
    let books = Books { logs: story.logs, inputs, effects };
    let used: u64 = roots.iter().map(|root| books.total(root)).sum();
    let exceeded = books.logs.values().filter(|log| {
        matches!(&log.last().unwrap().event, Event::Failed { fault, .. } if fault.code == "budget_exceeded")
    });
    let exceeded = exceeded.count();
    println!(
        "{TREES} trees, {} tasks, {kills} kills, {used} tokens, {exceeded} stopped by their budget",
        books.logs.len()
    );
    assert!(kills > 10 && exceeded > 0, "{kills} kills, {exceeded} stopped");
    assert!(books.logs.len() as u64 > 2 * TREES, "trees have branches");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_allowed_is_told_at_once_with_its_place() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let _node = mesh.node("n0").await;
    let delegate = |skill: &str, more: Value| {
        let mut delegate = json!({"skill": skill, "inputs": [{}, {}]});
        delegate.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "delegate": delegate })
    };
    let call = json!({"call": {"name": "look", "arguments": {"page": 1}}});
    for (input, grant, code, place) in [
        (delegate("nowhere", json!({})), json!({}), "nobody_serves", "piece 0"),
        (delegate("probe", json!({})), json!({"fanOut": 1}), "delegation_limit", "budget.fanOut"),
        (delegate("probe", json!({})), json!({"depth": 0}), "delegation_limit", "budget.depth"),
        (
            delegate("probe", json!({"tokens": 6})),
            json!({"tokens": 10}),
            "budget_exceeded",
            "children",
        ),
        (
            json!({"steps": 1, "stepReserve": 11}),
            json!({"tokens": 10}),
            "budget_exceeded",
            "step-0",
        ),
        (json!({"acts": vec![call; 6]}), json!({}), "loop_detected", "look"),
    ] {
        let task = submit(&mesh, &input, &grant).await;
        let end = mesh.end_of(&task).await;
        let fault = weft_tests::work::fault(&end);
        assert_eq!(fault.code, code, "{fault}");
        assert!(fault.place.as_ref().is_some_and(|found| found.contains(place)), "{fault}");
        assert!(!weft_tests::work::kinds(&mesh.entries(&task).await).contains(&"delegated"));
    }
    let failing = json!({"failUntilAttempt": 99, "failAs": "permanent"});
    let input = json!({"delegate": {"skill": "probe", "inputs": [failing], "retries": 2}});
    let task = submit(&mesh, &input, &json!({"tokens": 10})).await;
    assert_eq!(mesh.end_of(&task).await.event.kind().name(), "completed");
    let entries = mesh.entries(&task).await;
    let waves = entries.iter().filter(|entry| entry.event.kind().name() == "delegated").count();
    assert_eq!(waves, 3, "the first and two retries");
    assert_eq!(Oracle::read(&mesh.client).await.unwrap().faults(), [""; 0]);
}
