//! Three servers, three copies of each stream, every write synced: one of them may die at any moment.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test that calls them")]
#![expect(
    clippy::print_stdout,
    reason = "the measured times are worth a line in the test's output"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use client::{Client, Receipt};
use futures_util::StreamExt as _;
use protocol::header::Headers;
use protocol::topology::PUSH_CONSUMER;
use runtime::bus::{Bus, RollCall, SystemBus};
use runtime::clock::Clock;
use runtime::nats_server::{Cluster, ClusterSettings, SyncInterval};
use serde_json::{Value, json};
use tokio::time::Instant;
use weft_tests::http::get;
use weft_tests::mesh::{bus_settings, nats_server};
use weft_tests::oracle::{Oracle, unfinished};
use weft_tests::process::{Orders, Process};
use weft_tests::wait::wait_until;
use weft_tests::work::submission;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");
const TASKS: usize = 600;
const AT_ONCE: usize = 16;
/// A stream's failover takes up to 9 s, and there are two.
const HEALED: Duration = Duration::from_secs(90);

const CONFIG: &str = r#"
[bus]
lease = "2s"
replicas = 3
[[agents]]
skill = "echo"
kind = "echo"
[[agents]]
skill = "probe"
kind = "probe"
concurrency = 32
[agents.retry]
attempts_max = 30
backoff_first = "50ms"
"#;

async fn start(cluster: &Cluster, role: &str, name: &str, folder: &Path) -> Process {
    launch(cluster, role, name, folder).await
}

fn launch(
    cluster: &Cluster,
    role: &str,
    name: &str,
    folder: &Path,
) -> impl Future<Output = Process> + use<> {
    let orders = Orders {
        role: role.to_owned(),
        name: name.to_owned(),
        server: cluster.client_url(),
        system: (role == "coordinator").then(|| cluster.system_url()),
        config: CONFIG.to_owned(),
    };
    let log: PathBuf = folder.join(format!("{name}.log"));
    Process::start(PROGRAM, orders, log)
}

async fn stream_info(bus: &Bus, stream: &str) -> Option<Value> {
    let subject = format!("$JS.API.STREAM.INFO.{stream}");
    let limit = Duration::from_secs(2);
    let answer = bus.ask(subject, &Headers::new(), bytes::Bytes::new(), limit).await.ok()?;
    serde_json::from_slice(&answer.payload).ok()
}

/// The member that leads a stream, by index.
async fn leader_of(cluster: &Cluster, bus: &Bus, stream: &str) -> Option<usize> {
    let info = stream_info(bus, stream).await?;
    let leader = info.pointer("/cluster/leader")?.as_str()?;
    cluster.members().iter().position(|member| member.settings().name == leader)
}

/// Submits everything, patiently: what gets no answer is asked again under the same key.
async fn submit_all(client: &Client, stored: &AtomicUsize) -> Vec<Receipt> {
    let results = futures_util::stream::iter(0..TASKS).map(|at| async move {
        let (skill, body) = match at % 4 {
            0 => ("echo", json!({"number": at})),
            1 => ("probe", json!({"sleepMs": 100})),
            2 => ("probe", json!({"steps": 2, "sleepMs": 20, "failUntilAttempt": 1})),
            _ => ("probe", json!({"delegate": {"skill": "echo", "inputs": [at]}})),
        };
        let mut asked = submission(skill, body.to_string());
        asked.dedup_key = protocol::id::DedupKey::parse(&format!("number {at}")).ok();
        loop {
            if let Ok(receipt) = client.submit(asked.clone()).await {
                stored.fetch_add(1, Ordering::Relaxed);
                return receipt;
            }
        }
    });
    results.buffer_unordered(AT_ONCE).collect().await
}

/// Kills the leader of one stream, then that of the other, each with a part of the tasks under way.
async fn kill_leaders(cluster: &mut Cluster, bus: &Bus, stored: &AtomicUsize) {
    for (part, stream) in [(1, &bus.names().log), (2, &bus.names().inbox)] {
        wait_until("some are stored", HEALED, || async {
            (stored.load(Ordering::Relaxed) >= TASKS * part / 4).then_some(())
        })
        .await;
        let leads = || leader_of(cluster, bus, stream);
        let leader = wait_until("the stream has a leader", HEALED, leads).await;
        let killed_at = Instant::now();
        cluster.kill(leader).await.unwrap();
        let replaced =
            || async { leader_of(cluster, bus, stream).await.filter(|now| *now != leader) };
        wait_until("another member leads", HEALED, replaced).await;
        println!("{stream} has another leader {:?} after kill -9", killed_at.elapsed());
        cluster.member(leader).unwrap().restart().await.unwrap();
        cluster.wait_ready().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_loses_its_leaders_loses_no_task() {
    let folder = tempfile::tempdir().unwrap();
    let settings = ClusterSettings {
        sync_interval: SyncInterval::Always,
        ..ClusterSettings::new(folder.path().join("nats"))
    };
    let mut cluster = Cluster::start(&nats_server().await, &settings).await.unwrap();
    let mut processes = vec![start(&cluster, "coordinator", "c0", folder.path()).await];
    for name in ["n0", "n1"] {
        processes.push(start(&cluster, "node", name, folder.path()).await);
    }
    let bus = Bus::connect(bus_settings(&cluster.client_url(), "test")).await.unwrap();
    for stream in [&bus.names().log, &bus.names().inbox] {
        let info = stream_info(&bus, stream).await.unwrap();
        assert_eq!(info.pointer("/config/num_replicas"), Some(&json!(3)), "{stream}");
    }
    let client = Client::new(bus.clone());
    let (started, stored) = (Instant::now(), AtomicUsize::new(0));
    let (receipts, ()) =
        tokio::join!(submit_all(&client, &stored), kill_leaders(&mut cluster, &bus, &stored));
    println!("{} receipts in {:?}", receipts.len(), started.elapsed());
    wait_until("every task has ended", HEALED, || async {
        unfinished(&client).await.ok().filter(BTreeSet::is_empty)
    })
    .await;
    println!("all ended after {:?}", started.elapsed());
    // A member that has just come back may still answer with what it had.
    let story = wait_until("a story without gaps", HEALED, || async {
        let story = Oracle::read(&client).await.ok()?;
        story.faults().iter().all(|fault| !fault.contains("lost")).then_some(story)
    })
    .await;
    assert_eq!(story.faults(), [""; 0]);
    assert_eq!(story.submitted.len(), TASKS);
    for receipt in &receipts {
        let end = story.end(&receipt.task).map(|entry| entry.event.kind().name());
        assert_eq!(end, Some("completed"), "{} has a receipt", receipt.task);
    }
    for process in &mut processes {
        assert!(process.is_running(), "{} has exited:\n{}", process.orders.name, process.said());
    }
}

/// Starts three servers and a coordinator that creates the streams, and kills all but the first server.
async fn without_quorum(folder: &Path) -> Cluster {
    let settings = ClusterSettings::new(folder.join("nats"));
    let mut cluster = Cluster::start(&nats_server().await, &settings).await.unwrap();
    let mut first = start(&cluster, "coordinator", "first", folder).await;
    first.terminate();
    assert!(first.ended().await.success(), "{}", first.said());
    // What the survivor had not heard of it would call missing, and rightly. The last consumer was made last.
    let survivor = cluster.members().first().unwrap().monitor_url();
    let survivor = survivor.trim_start_matches("http://").to_owned();
    let all = "/jsz?accounts=true&streams=true&consumers=true";
    wait_until("the survivor knows what there is", HEALED, || async {
        let (_, known) = get(&survivor, all).await?;
        known.contains(PUSH_CONSUMER).then_some(())
    })
    .await;
    for member in [1, 2] {
        cluster.kill(member).await.unwrap();
    }
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_that_start_without_a_leader_wait_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = without_quorum(folder.path()).await;
    let logs = ["c0", "n0"].map(|name| folder.path().join(format!("{name}.log")));
    let (coordinator, node) = (
        launch(&cluster, "coordinator", "c0", folder.path()),
        launch(&cluster, "node", "n0", folder.path()),
    );
    let healing = async {
        for log in &logs {
            wait_until(&format!("{} says what it waits for", log.display()), HEALED, || async {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                said.contains("waiting for the servers").then_some(())
            })
            .await;
        }
        for member in [1, 2] {
            cluster.restart(member).await.unwrap();
        }
        cluster.wait_ready().await.unwrap();
    };
    let (coordinator, node, ()) = tokio::join!(coordinator, node, healing);
    let (mut coordinator, mut node) = (coordinator, node);
    let bus = Bus::connect(bus_settings(&cluster.client_url(), "test")).await.unwrap();
    let client = Client::new(bus);
    wait_until("a task has ended", HEALED, || async {
        client.submit(submission("echo", "x")).await.ok()?;
        unfinished(&client).await.ok().filter(BTreeSet::is_empty)
    })
    .await;
    for process in [&mut coordinator, &mut node] {
        assert!(process.is_running(), "{}", process.said());
        assert!(!process.said().contains("enable it"), "{}", process.said());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diagnosis_tells_silence_from_a_missing_permission() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = without_quorum(folder.path()).await;
    let bus = wait_until("a connection", HEALED, || async {
        Bus::connect_to_diagnose(bus_settings(&cluster.client_url(), "test")).await.ok()
    })
    .await;
    let system = SystemBus::connect(bus_settings(&cluster.system_url(), "test")).await.unwrap();
    // A leader that has lost the others goes on for some seconds.
    wait_until("nobody answers for the streams", HEALED, || async {
        let found = bus.diagnose(None, &Clock::system()).await;
        assert_eq!((found.missing.len(), found.unreadable.len()), (0, 0), "{found:?}");
        let known = found.can_read("WEFT_LOG") || found.knows_consumers("WEFT_INBOX");
        (!known && !found.leaderless.is_empty()).then_some(())
    })
    .await;
    assert_eq!(system.roll_call().await, Some(RollCall { answered: 1, of: 3 }));

    cluster.restart(1).await.unwrap();
    cluster.wait_ready().await.unwrap();
    wait_until("the third server's copies are told", HEALED, || async {
        let found = bus.diagnose(None, &Clock::system()).await;
        let is_told = |stream: &str| {
            let mut lagging = found.lagging.iter();
            lagging.any(|copy| copy.stream == stream && copy.server == "n3" && copy.offline)
        };
        let told = is_told("stream WEFT_LOG") && is_told("stream WEFT_INBOX");
        (found.leaderless.is_empty() && told).then_some(())
    })
    .await;
    assert_eq!(system.roll_call().await, Some(RollCall { answered: 2, of: 3 }));
}
