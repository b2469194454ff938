//! What operators see of a real node and a real coordinator: traces, metrics, health.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test that calls them")]

use std::collections::HashSet;

use protocol::submission::TraceContext;
use runtime::metric::Metrics;
use runtime::supervisor::Supervisor;
use serde_json::{Value, json};
use weft_tests::http::{get, series};
use weft_tests::mesh::{AGENTS, Mesh};
use weft_tests::otlp::Collector;
use weft_tests::process::{Orders, Process};
use weft_tests::proxy::Proxy;
use weft_tests::wait::wait_until;
use weft_tests::work::{SOON, submission};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

#[tokio::test(flavor = "multi_thread")]
async fn every_attempt_is_one_span_in_the_submitters_trace() {
    let supervisor = Supervisor::new(Metrics::new("test"));
    let collector = Collector::start(&supervisor).await;
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    let mut node = mesh.node_with("n1", AGENTS, &environment).await;
    let trace = TraceContext {
        traceparent: Some(format!("00-{TRACE}-{PARENT}-01")),
        ..TraceContext::default()
    };
    let input = json!({"failUntilAttempt": 2, "retryAfterMs": 20});
    let asked = client::Submission {
        trace,
        context: Some(protocol::id::ContextId::parse("talk").unwrap()),
        ..submission("probe", input.to_string())
    };
    let task = mesh.client.submit(asked).await.unwrap().task;
    mesh.end_of(&task).await;
    let (other, _) = mesh.run("echo", "without a trace").await;
    let spans = wait_until("the spans", SOON, || async {
        let spans = collector.spans();
        (spans.len() >= 4).then_some(spans)
    })
    .await;
    assert!(
        spans.iter().all(|span| span.name == "attempt" && span.service == "weft-node"),
        "{spans:?}"
    );
    let mine: Vec<_> = spans.iter().filter(|span| span.trace_id == TRACE).collect();
    assert_eq!(mine.len(), 3, "{spans:?}");
    let ids: HashSet<_> = mine.iter().map(|span| &span.id).collect();
    assert_eq!(ids.len(), 3);
    for span in &mine {
        assert_eq!(span.parent_id, PARENT);
        assert_eq!(span.get("task_id"), Some(task.as_str()));
        assert_eq!(span.get("skill"), Some("probe"));
        assert_eq!(span.get("context_id"), Some("talk"));
    }
    let mut attempts: Vec<_> = mine.iter().filter_map(|span| span.get("attempt")).collect();
    attempts.sort_unstable();
    assert_eq!(attempts, ["1", "2", "3"]);
    let theirs: Vec<_> = spans.iter().filter(|span| span.trace_id != TRACE).collect();
    assert_eq!(theirs.len(), 1);
    assert_eq!(
        (theirs[0].get("task_id"), theirs[0].parent_id.as_str()),
        (Some(other.as_str()), "")
    );

    // What is not exported yet goes out when the node ends in good order.
    let (last, _) = mesh.run("echo", "the last one").await;
    node.terminate();
    assert!(node.ended().await.success());
    assert!(collector.spans().iter().any(|span| span.get("task_id") == Some(last.as_str())));
    supervisor.shutdown();
}

/// Checks that a text is `OpenMetrics`, as far as a scraper would fail on it.
fn well_formed(text: &str) {
    assert!(text.ends_with("# EOF\n"), "no end: {text}");
    let mut described = HashSet::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (kind, name) = (words.next().unwrap(), words.next().unwrap());
            assert!(["HELP", "TYPE", "UNIT"].contains(&kind) && words.next().is_some(), "{line}");
            described.insert(name.to_owned());
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let name = name.split('{').next().unwrap();
        assert!(
            described.iter().any(|known| name.starts_with(known.as_str())),
            "undescribed: {line}"
        );
    }
}

async fn metrics(process: &Process) -> String {
    let (status, text) = get(process.http.as_ref().unwrap(), "/metrics").await.unwrap();
    assert_eq!(status, 200);
    well_formed(&text);
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_happened() {
    let (mesh, coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let node = mesh.node("n1").await;
    for _ in 0..3 {
        mesh.run("echo", "one").await;
    }
    mesh.run("probe", json!({"failUntilAttempt": 1}).to_string()).await;
    mesh.run("probe", json!({"failUntilAttempt": 9, "failAs": "permanent"}).to_string()).await;
    mesh.run("probe", json!({"sleepMs": "x"}).to_string()).await;
    let waits = mesh.submit("probe", json!({"sleepMs": 25_000, "status": "at work"})).await;
    mesh.until_kind(&waits, "status").await;
    let text = metrics(&node).await;
    for (name, expected) in [
        ("weft_tasks_received_total{skill=\"echo\"}", 3.0),
        ("weft_tasks_completed_total{skill=\"echo\"}", 3.0),
        ("weft_attempts_started_total{skill=\"echo\"}", 3.0),
        ("weft_tasks_received_total{skill=\"probe\"}", 4.0),
        ("weft_tasks_completed_total{skill=\"probe\"}", 1.0),
        ("weft_tasks_retried_total{skill=\"probe\"}", 1.0),
        ("weft_tasks_failed_total{skill=\"probe\"}", 1.0),
        ("weft_dead_letters_total{skill=\"probe\"}", 1.0),
        ("weft_tasks_rejected_total{skill=\"probe\"}", 1.0),
        ("weft_attempts_in_flight{skill=\"probe\"}", 1.0),
        ("weft_bus_connected", 1.0),
        ("weft_slots", 80.0),
    ] {
        assert_eq!(series(&text, name), Some(expected), "{name}\n{text}");
    }
    mesh.client.cancel(&protocol::Owner::default(), &waits).await.unwrap();
    mesh.end_of(&waits).await;
    let canceled = "weft_tasks_canceled_total{skill=\"probe\"}";
    wait_until(canceled, SOON, || async {
        (series(&metrics(&node).await, canceled) == Some(1.0)).then_some(())
    })
    .await;
    let text = metrics(&coordinator).await;
    assert!(
        series(&text, "weft_coordinator_tasks_canceled_total").is_some_and(|count| count >= 1.0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn health_follows_the_bus_down_and_up() {
    let (mut mesh, mut coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let mut node = mesh.node("n1").await;
    let doors = [coordinator.http.clone().unwrap(), node.http.clone().unwrap()];
    for step in ["before", "down", "up again"] {
        let expected = if step == "down" { 503 } else { 200 };
        match step {
            "down" => mesh.server.kill().await,
            "up again" => mesh.server.restart().await.unwrap(),
            _ => {}
        }
        for door in &doors {
            let report = wait_until(&format!("{step}: {expected}"), SOON, || async {
                let (status, report) = get(door, "/readyz").await?;
                (status == expected).then_some(report)
            })
            .await;
            let report: Value = serde_json::from_str(&report).unwrap();
            let failed = report["status"] == "failed";
            assert_eq!(failed, step == "down", "{report}");
            assert!(report["checks"].as_array().is_some_and(|checks| !checks.is_empty()));
            assert_eq!(get(door, "/livez").await.unwrap().0, 200, "{step}");
        }
    }
    assert!(coordinator.is_running() && node.is_running());
    let (_, entries) = mesh.run("echo", "after the storm").await;
    assert_eq!(weft_tests::work::kinds(&entries), ["completed"]);
    let reconnects = series(&metrics(&node).await, "weft_bus_reconnects_total");
    assert!(reconnects.is_some_and(|count| count >= 1.0), "{reconnects:?}");
    assert_eq!(get(&doors[1], "/nothing").await.unwrap().0, 404);

    // A node that drains takes no more work, and says so while it still lives.
    let task = mesh.submit("probe", json!({"sleepMs": 25_000, "status": "at work"})).await;
    mesh.until_kind(&task, "status").await;
    node.terminate();
    wait_until("not ready", SOON, || async {
        (get(&doors[1], "/readyz").await?.0 == 503).then_some(())
    })
    .await;
    mesh.client.cancel(&protocol::Owner::default(), &task).await.unwrap();
    assert!(node.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_system_account_is_tried_again_and_its_loss_is_shown() {
    let (mesh, mut first) = Mesh::start(PROGRAM, AGENTS).await;
    first.kill().await;
    let url = mesh.server.system_url();
    let address = Proxy::start(&url).await.address;
    let orders = Orders {
        role: "coordinator".to_owned(),
        name: "c1".to_owned(),
        server: mesh.server.client_url(),
        system: Some(url.replace(url.rsplit(['@', '/']).next().unwrap(), &address.to_string())),
        config: AGENTS.to_owned(),
    };
    let coordinator = Process::start(PROGRAM, orders, mesh.folder().join("c1.log")).await;
    let door = coordinator.http.as_deref().unwrap();
    let mut proxy = None;
    for expected in ["degraded", "ok", "degraded"] {
        proxy = if expected == "ok" { Some(Proxy::start_at(address, &url).await) } else { None };
        wait_until(&format!("the system account is {expected}"), SOON, || async {
            let (status, report) = get(door, "/readyz").await?;
            let report: Value = serde_json::from_str(&report).unwrap();
            let check = report["checks"].as_array()?.iter().find(|c| c["name"] == "system account");
            let connected =
                series(&metrics(&coordinator).await, "weft_coordinator_system_connected");
            assert_eq!(status, 200, "it works all the same: {report}");
            let shown = connected == Some(f64::from(u8::from(expected == "ok")));
            (check?["status"] == expected && shown).then_some(())
        })
        .await;
        if expected == "ok" {
            let mut victim = mesh.node("n0").await;
            let task = mesh.submit("probe", json!({"sleepMs": 25_000})).await;
            mesh.until_kind(&task, "claimed").await;
            victim.kill().await;
            wait_until("given back", SOON, || async {
                let text = metrics(&coordinator).await;
                (series(&text, "weft_coordinator_crash_naks_total") == Some(1.0)).then_some(())
            })
            .await;
        }
    }
    drop(proxy);
}
