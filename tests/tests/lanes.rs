//! Lanes: what shares one runs in the order of the inbox, one after the other, whoever dies; nobody else waits for it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test that calls them")]

use std::collections::BTreeMap;
use std::time::Duration;

use client::{Receipt, Submission};
use protocol::fault::code;
use protocol::id::{ContextId, DedupKey, Lane, Owner, TaskId};
use protocol::subject::Subject;
use protocol::task::TaskState;
use serde_json::{Value, json};
use weft_tests::mesh::{AGENTS, Mesh};
use weft_tests::oracle::Oracle;
use weft_tests::process::Process;
use weft_tests::work::{fault, kinds, submission};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");
const LANES: usize = 1_000;
const PER_LANE: usize = 20;
/// Of the lanes, so many get their messages in one burst, the others by turns.
const BURSTS: usize = 500;
/// What a loaded machine may take for all of them.
const LIMIT: Duration = Duration::from_secs(900);

/// Two slots a node.
fn agents() -> String {
    AGENTS.replace("concurrency = 16", "concurrency = 2")
}

fn in_lane(lane: usize, input: &Value) -> Submission {
    Submission {
        lane: Lane::parse(&format!("l{lane}")).ok(),
        ..submission("probe", input.to_string())
    }
}

/// Where in the log stream each task was seen to begin and to end.
async fn places(mesh: &Mesh) -> BTreeMap<TaskId, (Option<u64>, Option<u64>)> {
    let bus = mesh.client.bus();
    let mut found: BTreeMap<TaskId, (Option<u64>, Option<u64>)> = BTreeMap::new();
    bus.scan(&bus.names().log, &bus.subjects().all_logs(), 1, |message| {
        if let Some(Subject::Log(_, task)) = bus.subjects().parse(&message.subject) {
            let entry: protocol::entry::Entry = serde_json::from_slice(&message.payload).unwrap();
            let place = found.entry(task).or_default();
            if entry.attempt > 0 {
                place.0 = place.0.or(Some(message.sequence));
            }
            if entry.event.kind().is_terminal() {
                place.1 = Some(message.sequence);
            }
        }
        std::ops::ControlFlow::Continue(())
    })
    .await
    .unwrap();
    found
}

/// The neighbours of a lane of which the later one began before the earlier one had ended.
fn inversions(
    lane: &[Receipt],
    places: &BTreeMap<TaskId, (Option<u64>, Option<u64>)>,
) -> Vec<String> {
    let place = |receipt: &Receipt| places.get(&receipt.task).copied().unwrap_or_default();
    lane.windows(2)
        .filter_map(|pair| {
            let [earlier, later] = pair else { return None };
            let ((_, ended), (began, _)) = (place(earlier), place(later));
            let fine = began.is_none() || ended.is_some_and(|ended| began > Some(ended));
            (!fine).then(|| format!("{} {ended:?} and {} {began:?}", earlier.task, later.task))
        })
        .collect()
}

/// What the message at this place of a lane asks for: most end at once, some are claimed, some fail once.
fn input(lane: usize, place: usize) -> Value {
    match (lane + place) % 10 {
        0 => json!({"sleepMs": 15}),
        1 => json!({"failUntilAttempt": 1}),
        _ => json!({}),
    }
}

/// The order in which the messages are stored: bursts first, then by turns.
fn order() -> Vec<(usize, usize)> {
    let bursts = (0..BURSTS).flat_map(|lane| (0..PER_LANE).map(move |place| (lane, place)));
    let turns = (0..PER_LANE).flat_map(|place| (BURSTS..LANES).map(move |lane| (lane, place)));
    // Mixed, so that both are under way at the same time.
    let (bursts, turns): (Vec<_>, Vec<_>) = (bursts.collect(), turns.collect());
    bursts.chunks(40).zip(turns.chunks(40)).flat_map(|(a, b)| [a, b].concat()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_lanes_keep_their_order_over_two_kills() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &agents()).await;
    let mut nodes: Vec<Process> = Vec::new();
    for name in ["n0", "n1", "n2", "n3"] {
        nodes.push(mesh.node(name).await);
    }

    // The head of one more lane comes back in an hour.
    let mut stuck = Vec::new();
    let hour = json!({"failUntilAttempt": 1, "retryAfterMs": 3_600_000});
    for input in std::iter::once(&hour).chain(std::iter::repeat_n(&json!({}), 3)) {
        stuck.push(mesh.client.submit(in_lane(LANES, input)).await.unwrap());
    }

    let order = order();
    let all = order.iter().map(|(lane, place)| in_lane(*lane, &input(*lane, *place))).collect();
    let receipts = mesh.client.submit_all(all).await.unwrap();
    let mut lanes: Vec<Vec<Receipt>> = vec![Vec::new(); LANES];
    for ((lane, _), receipt) in order.iter().zip(receipts) {
        lanes.get_mut(*lane).unwrap().push(receipt);
    }
    let last = lanes.last().unwrap().clone();
    for (victim, place) in [(0, PER_LANE / 4), (1, PER_LANE / 2)] {
        mesh.results.end_of(&last.get(place).unwrap().task, LIMIT).await.unwrap();
        let victim = nodes.get_mut(victim).unwrap();
        victim.kill().await;
        assert!(victim.restart().await);
    }
    for lane in &lanes {
        for receipt in lane {
            let end = mesh.results.end_of(&receipt.task, LIMIT).await.unwrap();
            assert_eq!(end.event.kind().name(), "completed", "{}", receipt.task);
        }
    }
    let found = places(&mesh).await;
    let inverted: Vec<_> = lanes.iter().flat_map(|lane| inversions(lane, &found)).collect();
    assert_eq!(inverted, [""; 0]);

    // Nobody has waited for the lane whose head waits, and nobody of that lane has begun.
    let state = async |task: &TaskId| {
        mesh.client.task(&Owner::default(), task).await.unwrap().unwrap().status.state
    };
    let (head, behind) = stuck.split_first().unwrap();
    assert_eq!(state(&head.task).await, TaskState::Working);
    for receipt in behind {
        assert_eq!(kinds(&mesh.entries(&receipt.task).await), ["suspended"]);
        assert_eq!(state(&receipt.task).await, TaskState::Submitted);
    }
    // Without its head it goes on.
    mesh.client.cancel(&Owner::default(), &head.task).await.unwrap();
    for receipt in behind {
        mesh.end_of(&receipt.task).await;
    }
    assert_eq!(inversions(&stuck, &places(&mesh).await), [""; 0]);
    assert_eq!(Oracle::read(&mesh.client).await.unwrap().faults(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_or_canceled_in_a_lane_lets_nobody_past() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let _node = mesh.node("n1").await;
    let submit = async |input: Value, key: Option<&str>| {
        let dedup_key = key.and_then(|key| DedupKey::parse(key).ok());
        mesh.client.submit(Submission { dedup_key, ..in_lane(1, &input) }).await.unwrap()
    };
    let head = submit(json!({"sleepMs": 3_000}), Some("a")).await;
    let canceled = submit(json!({}), None).await;
    let copy = submit(json!({"sleepMs": 3_000}), Some("a")).await;
    let late = Submission { deadline: Some("0s".to_owned()), ..in_lane(1, &json!({})) };
    let late = mesh.client.submit(late).await.unwrap();
    let last = submit(json!({}), None).await;
    assert_eq!(copy.task, head.task);
    for receipt in [&canceled, &last] {
        mesh.until_kind(&receipt.task, "suspended").await;
    }
    assert_eq!(mesh.end_of(&late.task).await.event.kind().name(), "failed");
    mesh.client.cancel(&Owner::default(), &canceled.task).await.unwrap();
    assert_eq!(mesh.end_of(&canceled.task).await.event.kind().name(), "canceled");
    mesh.end_of(&last.task).await;
    let found = places(&mesh).await;
    assert_eq!(inversions(&[head, last], &found), [""; 0]);
    mesh.until_settled("probe").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_skill_that_keeps_the_order_of_conversations_asks_for_lanes() {
    let config =
        format!("{AGENTS}\n[[agents]]\nskill = \"talk\"\nkind = \"probe\"\norder = \"context\"\n");
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &config).await;
    let _node = mesh.node("n1").await;
    let asked = Submission { context: ContextId::parse("c1").ok(), ..submission("talk", "{}") };
    let receipt = mesh.client.submit(asked.clone()).await.unwrap();
    let end = mesh.end_of(&receipt.task).await;
    assert_eq!(
        (end.event.kind().name(), fault(&end).code.as_str()),
        ("rejected", code::LANE_MISSING)
    );
    assert!(fault(&end).hint.as_ref().unwrap().contains("weft.task.talk.default.c1"));

    let asked = mesh.client.in_order(asked).await.unwrap();
    assert_eq!(asked.lane.as_ref().map(Lane::as_str), Some("c1"));
    let receipt = mesh.client.submit(asked).await.unwrap();
    assert_eq!(mesh.end_of(&receipt.task).await.event.kind().name(), "completed");
    // Another skill's conversations keep no order.
    let other = Submission { context: ContextId::parse("c1").ok(), ..submission("probe", "{}") };
    assert_eq!(mesh.client.in_order(other).await.unwrap().lane, None);
    let without = mesh.client.submit(submission("talk", "{}")).await.unwrap();
    assert_eq!(mesh.end_of(&without.task).await.event.kind().name(), "completed");
}
