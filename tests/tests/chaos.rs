//! Everything breaks at random, and every accepted task still ends exactly once.
//!
//! Nodes and coordinators are killed, frozen and started again while tasks of every sort flow, and nats-server is killed
//! once in the middle. The oracle then reads the streams alone. The seed of a run is printed and can be given again:
//!
//! `WEFT_CHAOS_SEED=7 WEFT_CHAOS_TASKS=100000 cargo test -p weft-tests --test chaos -- --nocapture`
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test that calls them"
)]
#![expect(
    clippy::print_stdout,
    reason = "the seed and the sums are what a reader of the output needs"
)]

#[path = "chaos/load.rs"]
mod load;
#[path = "chaos/monkey.rs"]
mod monkey;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weft_tests::mesh::Mesh;
use weft_tests::oracle::{Oracle, unfinished};
use weft_tests::wait::wait_until;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");
const TASKS_DEFAULT: usize = 10_000;
/// How long the rest may take once nothing breaks any more, and how much longer for each task: what is waited for is
/// read off the streams, from end to end.
const HEALED: Duration = Duration::from_secs(60);
const HEALED_PER_TASK: Duration = Duration::from_millis(3);

/// Attempts are lost by the dozen here: what is limited elsewhere must not end a task that means well.
const AGENTS: &str = r#"
[bus]
lease = "2s"
[[agents]]
skill = "echo"
kind = "echo"
concurrency = 64
[agents.retry]
attempts_max = 60
[[agents]]
skill = "probe"
kind = "probe"
concurrency = 64
timeout = "30s"
[agents.retry]
attempts_max = 60
backoff_first = "20ms"
backoff_max = "200ms"
"#;

#[expect(clippy::disallowed_methods, reason = "the only two settings of a test")]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_is_committed_twice() {
    let seed = setting("WEFT_CHAOS_SEED").unwrap_or_else(rand::random);
    let count = setting("WEFT_CHAOS_TASKS").map_or(TASKS_DEFAULT, |count| count as usize);
    println!("WEFT_CHAOS_SEED={seed} WEFT_CHAOS_TASKS={count}");
    let mut random = StdRng::seed_from_u64(seed);
    let plan = load::plan(&mut random, count);
    let (mut mesh, first) = Mesh::start(PROGRAM, AGENTS).await;
    let coordinators = vec![first, mesh.coordinator("c1", true).await];
    let mut nodes = Vec::new();
    for name in ["n0", "n1", "n2"] {
        nodes.push(mesh.node(name).await);
    }
    let mut fleet = monkey::Fleet { nodes, coordinators, random, done: monkey::Done::default() };
    let started = Instant::now();
    let (submitted, quiet) = (AtomicUsize::new(0), CancellationToken::new());
    let (server, client) = (&mut mesh.server, &mesh.client);
    let loading = async {
        let receipts = load::submit_all(client, &plan, &submitted).await;
        quiet.cancel();
        receipts
    };
    let middle = || submitted.load(Ordering::Relaxed) > plan.len() / 2;
    let (receipts, ()) = tokio::join!(loading, fleet.torment(server, middle, &quiet));
    let loaded = started.elapsed();
    println!("{} submissions in {loaded:?}; {:?}", receipts.len(), fleet.done);
    let healed = HEALED + HEALED_PER_TASK * u32::try_from(count).unwrap();
    wait_until("every task has ended", healed, || async {
        unfinished(&mesh.client).await.ok().filter(BTreeSet::is_empty)
    })
    .await;
    let story = Oracle::read(&mesh.client).await.unwrap();
    println!("{}", load::sums(&story));
    println!(
        "healed {:?} after the last submission, {:?} in all",
        started.elapsed() - loaded,
        started.elapsed()
    );
    let mut faults = story.faults();
    faults.extend(load::faults(&story, &receipts));
    let shown = faults.iter().take(20).collect::<Vec<_>>();
    assert!(faults.is_empty(), "{} faults with seed {seed}: {shown:#?}", faults.len());
    let monkey::Done {
        nodes_killed,
        nodes_frozen,
        nodes_drained,
        coordinators_killed,
        server_killed,
    } = fleet.done;
    println!(
        "{} tasks, 0 lost, 0 committed twice: {nodes_killed} nodes, {coordinators_killed} coordinators and {server_killed} \
         servers killed, {nodes_frozen} nodes frozen, {nodes_drained} drained, {} attempts taken over",
        story.submitted.len() + story.delegated.len(),
        load::takeovers(&story)
    );
    assert!(story.submitted.len() >= count * 99 / 100, "the load was there");
    assert!(fleet.done.nodes_killed > 3 && fleet.done.server_killed == 1, "and so was the chaos");
}
