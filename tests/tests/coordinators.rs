//! Two coordinators share all waiting tasks, and either of them goes on without the other.
#![expect(
    clippy::print_stdout,
    reason = "helpers of tests fail the test that calls them; measured times are worth a line in its output"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::TaskId;
use protocol::entry::Event;
use protocol::time::Timestamp;
use runtime::clock::Clock;
use serde_json::json;
use weft_tests::mesh::{AGENTS, Mesh};
use weft_tests::oracle::{Oracle, unfinished};
use weft_tests::wait::wait_until;
use weft_tests::work::submission;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");
/// Tasks that wait for children.
const PARENTS: usize = 200;
/// Children of each.
const CHILDREN: usize = 4;
/// Resumes before one coordinator is killed.
const BEFORE_THE_KILL: usize = PARENTS / 4;
/// How long waiting tasks may stand still when a coordinator dies.
const STANDSTILL_MAX: Duration = Duration::from_millis(500);
const HEALED: Duration = Duration::from_secs(60);

/// When each resume happened, and by whom, in the order of the stream.
async fn resumes(mesh: &Mesh) -> Vec<(TaskId, String, Timestamp)> {
    let entries = mesh.all_entries().await.into_iter();
    let resumes = entries.filter(|(_, entry)| matches!(entry.event, Event::Resumed { .. }));
    resumes.map(|(task, entry)| (task, entry.by.to_string(), entry.at)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_dies_and_no_wait_is_lost_or_answered_twice() {
    let (mesh, mut dying) = Mesh::start(PROGRAM, AGENTS).await;
    let _living = mesh.coordinator("c1", true).await;
    let _nodes = [mesh.node("n0").await, mesh.node("n1").await];
    let inputs = vec![json!({"sleepMs": 20}); CHILDREN];
    let delegate = json!({"delegate": {"skill": "probe", "inputs": inputs}}).to_string();
    let all = (0..PARENTS).map(|_| submission("probe", delegate.clone())).collect();
    let parents = mesh.client.submit_all(all).await.unwrap();
    wait_until("some have gone on", HEALED, || async {
        let seen = resumes(&mesh).await;
        let by = |name: &str| seen.iter().any(|(_, by, _)| by == name);
        (seen.len() >= BEFORE_THE_KILL && by("c0") && by("c1")).then_some(())
    })
    .await;
    dying.kill().await;
    let killed_at = Clock::system().now();
    wait_until("every task has ended", HEALED, || async {
        unfinished(&mesh.client).await.ok().filter(std::collections::BTreeSet::is_empty)
    })
    .await;

    let seen = resumes(&mesh).await;
    let mut times = BTreeMap::<&TaskId, usize>::new();
    for (task, ..) in &seen {
        *times.entry(task).or_default() += 1;
    }
    for parent in &parents {
        assert_eq!(times.get(&parent.task), Some(&1), "{} was resumed once", parent.task);
    }
    let last = seen.iter().rfind(|(_, by, _)| by == "c0").map(|(_, _, at)| *at).unwrap();
    let next = seen.iter().find(|(_, by, at)| by == "c1" && *at >= last).map(|(_, _, at)| *at);
    let gap = next.unwrap().since(last);
    let after: Vec<_> = seen.iter().map(|(.., at)| *at).filter(|at| *at >= last).collect();
    let stillest = after.windows(2).map(|pair| pair[1].since(pair[0])).max().unwrap_or_default();
    println!(
        "killed {:?} after its last resume; the living one went on {gap:?} after that; longest standstill {stillest:?}; {} of {} resumes after the kill",
        killed_at.since(last),
        after.len(),
        seen.len()
    );
    assert!(gap < STANDSTILL_MAX, "the living one went on after {gap:?}");
    assert!(after.len() > PARENTS / 4, "the kill came in the middle");
    assert_eq!(Oracle::read(&mesh.client).await.unwrap().faults(), [""; 0]);
}
