//! The registry: who serves what, how busy it is, and how soon the dead are gone.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test that calls them")]

use protocol::card::Registration;
use protocol::limits::{HEARTBEAT_EVERY, HEARTBEAT_TTL};
use serde_json::json;
use tokio::time::Instant;
use weft_tests::mesh::{AGENTS, Mesh};
use weft_tests::wait::wait_until;
use weft_tests::work::SOON;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");

async fn registered(mesh: &Mesh, skill: &str, node: &str) -> Option<Registration> {
    let agents = mesh.client.agents().await.unwrap();
    agents.into_iter().find(|agent| agent.skill.as_str() == skill && agent.node.as_str() == node)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_shows_its_card_its_schemas_and_its_load() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let mut node = mesh.node("n1").await;
    let probe = wait_until("the probe's card", SOON, || registered(&mesh, "probe", "n1")).await;
    assert_eq!((probe.kind.as_str(), probe.slots, probe.running), ("probe", 16, 0));
    assert!(!probe.draining && probe.seen_at >= probe.started_at);
    assert_eq!(probe.card.skills[0].id, "probe");
    assert_eq!(probe.card.supported_interfaces[0].url, "nats:weft.task.probe");
    let input = probe.input_schema.unwrap();
    assert_eq!(input["properties"]["sleepMs"]["type"], "integer", "{input}");
    assert!(probe.output_schema.is_some());
    let names: Vec<_> = mesh.client.agents().await.unwrap();
    let names: Vec<_> = names.iter().map(|agent| agent.skill.as_str()).collect();
    assert_eq!(names, ["echo", "probe"]);

    let mut tasks = Vec::new();
    for _ in 0..3 {
        tasks.push(mesh.submit("probe", json!({"sleepMs": 20_000, "status": "on it"})).await);
    }
    wait_until("its load", SOON, || async {
        registered(&mesh, "probe", "n1").await.filter(|agent| agent.running == 3)
    })
    .await;

    // While it drains it says so; when it has ended it is gone at once.
    node.terminate();
    wait_until("draining", HEARTBEAT_EVERY, || async {
        registered(&mesh, "probe", "n1").await.filter(|agent| agent.draining)
    })
    .await;
    for task in &tasks {
        mesh.client.cancel(&protocol::Owner::default(), task).await.unwrap();
    }
    let status = node.ended().await;
    assert!(status.success(), "{status}\n{}", node.said());
    assert!(mesh.client.agents().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_is_gone_when_its_heartbeat_has_expired() {
    let (mesh, mut coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let mut dies = mesh.node("n1").await;
    let _lives = mesh.node("n2").await;
    wait_until("both", SOON, || async {
        (mesh.client.agents().await.unwrap().len() == 4).then_some(())
    })
    .await;
    // A coordinator would take its cards out at once.
    coordinator.kill().await;
    dies.kill().await;
    let killed_at = Instant::now();
    // The server looks for what has expired about once a second.
    let limit = HEARTBEAT_TTL + std::time::Duration::from_secs(3);
    wait_until("the end of its cards", limit, || async {
        let agents = mesh.client.agents().await.unwrap();
        agents.iter().all(|agent| agent.node.as_str() == "n2").then_some(())
    })
    .await;
    assert!(
        killed_at.elapsed() > HEARTBEAT_TTL - HEARTBEAT_EVERY - std::time::Duration::from_secs(2)
    );
    assert_eq!(mesh.client.agents().await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_are_listed_with_their_load_until_they_end_or_their_heartbeat_has_expired() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let mut dies = mesh.gateway("g1").await;
    let mut ends = mesh.gateway("g2").await;
    let listen = ends.listen.clone().unwrap();
    let _client = tokio::net::TcpStream::connect(&listen).await.unwrap();
    wait_until("both of them, and the load of one", SOON, || async {
        let all = mesh.client.gateways().await.unwrap();
        let [first, second] = all.as_slice() else { return None };
        assert_eq!((first.name.as_str(), second.name.as_str()), ("g1", "g2"));
        assert_eq!((&second.listen, second.secure), (&listen, false));
        assert_eq!(second.weft_version, env!("CARGO_PKG_VERSION"));
        assert!(second.seen_at >= second.started_at && second.connections_max > 1);
        (second.connections == 1 && first.connections == 0).then_some(())
    })
    .await;
    let names = async || {
        let all = mesh.client.gateways().await.unwrap();
        all.into_iter().map(|one| one.name.to_string()).collect::<Vec<_>>()
    };
    dies.kill().await;
    assert_eq!(names().await, ["g1", "g2"], "nobody knows yet");
    let limit = HEARTBEAT_TTL + std::time::Duration::from_secs(3);
    wait_until("the end of the killed one", limit, async || {
        (names().await == ["g2"]).then_some(())
    })
    .await;
    ends.terminate();
    assert!(ends.ended().await.success(), "{}", ends.said());
    assert_eq!(names().await, [""; 0], "it takes itself out");
}
