//! Webhooks: told durably, in order, to whoever asked and to nobody else.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test that calls them"
)]

#[path = "gateway_push/retire.rs"]
mod retire;
#[path = "gateway_push/seal.rs"]
mod seal;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gateway::core::events::Narrator;
use protocol::TaskId;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use weft_tests::cost::{processor, resident};
use weft_tests::door::{Answered, call};
use weft_tests::http::{get, series};
use weft_tests::mesh::Mesh;
use weft_tests::pki::Authority;
use weft_tests::process::{Orders, Process};
use weft_tests::wait::wait_until;
use weft_tests::webhook::{Call, Receiver};
use weft_tests::work::SOON;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");

const CONFIG: &str = r#"
[bus]
lease = "2s"
[node]
http = "127.0.0.1:0"
[coordinator]
http = "127.0.0.1:0"
[gateway]
http = "127.0.0.1:0"
listen = "127.0.0.1:0"
open = true
[gateway.push]
allow_local = true
timeout = "10s"
backoff_first = "20ms"
backoff_max = "2s"
failures_max = 6
[[agents]]
skill = "play"
kind = "play"
concurrency = 64
timeout = "60s"
"#;

/// A mesh with a node and a gateway.
struct Lab {
    mesh: Mesh,
    gateway: Process,
    _others: [Process; 2],
}

impl Lab {
    async fn open() -> Self {
        Self::with(CONFIG).await
    }

    async fn with(config: &str) -> Self {
        let (mesh, coordinator) = Mesh::start(PROGRAM, config).await;
        let node = mesh.node("n1").await;
        let gateway = mesh.gateway("g1").await;
        Self { mesh, gateway, _others: [coordinator, node] }
    }

    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answered {
        call(self.gateway.listen.as_ref().unwrap(), method, path, body).await
    }

    /// Begins a task of these acts, with a webhook if there is one, and returns its id.
    async fn begin(&self, acts: Value, webhook: Option<Value>) -> String {
        let mut configuration = json!({"returnImmediately": true});
        if let Some(webhook) = webhook {
            configuration["taskPushNotificationConfig"] = webhook;
        }
        let message = json!({"messageId": "m", "role": "ROLE_USER",
            "parts": [{"data": {"acts": acts}}]});
        let body = json!({"message": message, "configuration": configuration,
            "metadata": {"weft/skill": "play"}});
        let answered = self.ask("POST", "/message:send", Some(&body)).await;
        assert_eq!(answered.status, 200, "{}", answered.body);
        answered.body["task"]["id"].as_str().unwrap().to_owned()
    }

    async fn attach(&self, task: &str, webhook: &Value) -> Answered {
        self.ask("POST", &format!("/tasks/{task}/pushNotificationConfigs"), Some(webhook)).await
    }

    /// How the only webhook of a task does.
    async fn status(&self, task: &str) -> Value {
        let answered = self.ask("GET", &format!("/v1/tasks/{task}/push"), None).await;
        assert_eq!(answered.status, 200, "{}", answered.body);
        answered.body["webhooks"][0].clone()
    }

    async fn is(&self, task: &str, state: &str) -> Value {
        wait_until(&format!("a webhook that is {state}"), SOON, async || {
            Some(self.status(task).await).filter(|status| status["state"] == state)
        })
        .await
    }

    /// What a task's log has to tell.
    async fn story(&self, task: &str) -> Vec<Value> {
        let task = TaskId::parse(task).unwrap();
        let mut narrator = Narrator::new(&task, task.to_string());
        let entries = self.mesh.entries(&task).await;
        let events = entries.iter().flat_map(|entry| narrator.tell(entry));
        events.map(|event| serde_json::to_value(event.response).unwrap()).collect()
    }
}

fn hook(url: &str) -> Value {
    json!({"id": "hook", "url": url})
}

/// Says and makes things, `count` of each.
fn busy(count: usize, ms: usize) -> Value {
    let acts = (0..count).flat_map(|at| {
        [
            json!({"act": "say", "text": format!("at {at}")}),
            json!({"act": "chunk", "text": format!("{at} "), "append": at > 0, "last": at + 1 == count}),
            json!({"act": "work", "ms": ms}),
        ]
    });
    acts.collect()
}

fn waits() -> Value {
    json!([{"act": "signal", "name": "go", "limit_ms": null}])
}

async fn go(lab: &Lab, task: &str) {
    let signaled = lab.ask("POST", &format!("/v1/tasks/{task}/signals/go"), None).await;
    assert!(signaled.status < 300, "{signaled:?}");
}

fn bodies(calls: &[Call]) -> Vec<Value> {
    calls.iter().map(|call| call.body.clone()).collect()
}

/// The first call of each event, by what makes a repetition known as one.
fn once(calls: &[Call]) -> Vec<Value> {
    let mut seen = Vec::new();
    let fresh = calls.iter().filter(|call| {
        let key = call.header("idempotency-key").to_owned();
        let fresh = !seen.contains(&key);
        seen.push(key);
        fresh
    });
    fresh.map(|call| call.body.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_told_in_order() {
    let lab = Lab::open().await;
    let receiver = Receiver::taking().await;
    let webhook = json!({"url": receiver.url("/hook?a=b"), "token": "my-token",
        "authentication": {"scheme": "Bearer", "credentials": "my-secret"}});
    let task = lab.begin(busy(20, 0), Some(webhook)).await;
    lab.is(&task, "done").await;
    let calls = receiver.calls();
    let story = lab.story(&task).await;
    assert!(story.len() > 40, "{}", story.len());
    assert_eq!(bodies(&calls), story);
    for call in &calls {
        for (name, value) in [
            ("content-type", "application/a2a+json"),
            ("authorization", "Bearer my-secret"),
            ("x-a2a-notification-token", "my-token"),
            ("a2a-notification-token", "my-token"),
            ("a2a-version", "1.0"),
            ("host", &receiver.address),
        ] {
            assert_eq!(call.header(name), value, "{name}");
        }
        assert_eq!(call.path, "/hook?a=b");
    }
    assert_eq!(once(&calls).len(), calls.len(), "each event has a key of its own");
    let said = lab.gateway.said();
    assert!(!said.contains("my-secret") && !said.contains("my-token"), "{said}");
    let metrics = get(lab.gateway.http.as_ref().unwrap().trim_start_matches("http://"), "/metrics");
    let (_, metrics) = metrics.await.unwrap();
    assert_eq!(series(&metrics, "weft_push_told_total"), Some(calls.len() as f64));
    assert_eq!(series(&metrics, "weft_push_held"), Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_made_read_listed_and_deleted() {
    let lab = Lab::open().await;
    let receiver = Receiver::taking().await;
    let task = lab.begin(waits(), None).await;
    let configs = format!("/tasks/{task}/pushNotificationConfigs");
    let full = json!({"id": "a.b/c d", "url": receiver.url("/1"), "token": "t",
        "authentication": {"scheme": "Basic", "credentials": "eDp5"}});
    let made = lab.attach(&task, &full).await;
    let mut expected = full.clone();
    expected["taskId"] = json!(task);
    assert_eq!(made.body, expected);
    let one = format!("{configs}/a.b%2Fc%20d");
    assert_eq!(lab.ask("GET", &one, None).await.body, expected);
    let unnamed = lab.attach(&task, &json!({"url": receiver.url("/2")})).await.body;
    let id = unnamed["id"].as_str().unwrap().to_owned();
    assert!(id.len() > 8, "an id is made up: {unnamed}");

    let all = lab.ask("GET", &configs, None).await.body;
    assert_eq!((all["configs"].as_array().unwrap().len(), &all["nextPageToken"]), (2, &json!("")));
    let first = lab.ask("GET", &format!("{configs}?pageSize=1"), None).await.body;
    let next = first["nextPageToken"].as_str().unwrap();
    let second = lab.ask("GET", &format!("{configs}?pageSize=1&pageToken={next}"), None).await.body;
    assert_eq!(all["configs"], json!([first["configs"][0], second["configs"][0]]));
    assert_eq!(second["nextPageToken"], "");

    for _ in 0..2 {
        let deleted = lab.ask("DELETE", &one, None).await;
        assert!(deleted.status < 300, "{deleted:?}");
    }
    assert_eq!(lab.ask("GET", &one, None).await.status, 404);
    for number in 1..16 {
        let more = lab.attach(&task, &hook(&receiver.url(&format!("/m{number}")))).await;
        assert_eq!(more.status, 200, "the same id again is the same webhook: {more:?}");
        let more = json!({"id": format!("m{number}"), "url": receiver.url("/m")});
        let wanted = if number <= 14 { 200 } else { 413 };
        assert_eq!(lab.attach(&task, &more).await.status, wanted, "{number}");
    }
    let nowhere = lab.attach("s999999", &hook(&receiver.url("/x"))).await;
    assert_eq!(nowhere.status, 404, "{nowhere:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_made_later_is_told_what_follows() {
    let lab = Lab::open().await;
    let receiver = Receiver::taking().await;
    let acts = json!([{"act": "say", "text": "early"}, {"act": "signal", "name": "go", "limit_ms": null},
        {"act": "say", "text": "late"}]);
    let task = lab.begin(acts, None).await;
    wait_until("the task waits", SOON, async || {
        let entries = lab.mesh.entries(&TaskId::parse(&task).unwrap()).await;
        entries.iter().any(|entry| entry.event.kind().name() == "suspended").then_some(())
    })
    .await;
    let before = lab.story(&task).await;
    lab.attach(&task, &hook(&receiver.url("/now"))).await;
    go(&lab, &task).await;
    lab.is(&task, "done").await;
    let story = lab.story(&task).await;
    assert_eq!(bodies(&receiver.calls()), story[before.len()..]);
    let ended = lab.attach(&task, &json!({"id": "end", "url": receiver.url("/end")})).await;
    assert_eq!(ended.status, 200, "{ended:?}");
    let told = wait_until("the end is told", SOON, async || {
        receiver
            .calls_at("/end")
            .last()
            .filter(|call| call.body["statusUpdate"].is_object())
            .cloned()
    })
    .await;
    assert_eq!(told.body["statusUpdate"]["status"]["state"], "TASK_STATE_COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gateway_leaves_no_gap() {
    let mut lab = Lab::open().await;
    let receiver = Receiver::taking().await;
    let task = lab.begin(busy(60, 20), Some(hook(&receiver.url("/hook")))).await;
    let other = lab.mesh.gateway("g2").await;
    wait_until("some events are told", SOON, async || (receiver.calls().len() > 20).then_some(()))
        .await;
    // The first gateway alone was there when the job was made.
    lab.gateway.kill().await;
    let before = receiver.calls().len();
    lab.gateway = other;
    lab.is(&task, "done").await;
    let calls = receiver.calls();
    let story = lab.story(&task).await;
    assert_eq!(once(&calls), story);
    assert!(before < story.len(), "the kill came in the middle: {before} of {}", story.len());
    assert!(calls.len() <= story.len() + 1, "only the last call is made twice: {}", calls.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_tried_again_and_later_each_time() {
    let lab = Lab::open().await;
    let flaky = Receiver::answering(|number, _| match number % 4 {
        0 => (500, vec![]),
        1 => (302, vec![("location", "http://127.0.0.1:1/elsewhere".to_owned())]),
        2 => (429, vec![("retry-after", "1".to_owned())]),
        _ => (202, vec![]),
    })
    .await;
    let task = lab.begin(json!([]), Some(hook(&flaky.url("/flaky")))).await;
    let status = lab.is(&task, "done").await;
    let (calls, story) = (flaky.calls(), lab.story(&task).await);
    assert_eq!(once(&calls), story);
    assert_eq!(calls.len(), story.len() * 4);
    assert_eq!((&status["failures"], &status["told"]), (&json!(0), &json!(story.len())));
    assert_eq!(status["endpoint"], flaky.address);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_gone_or_always_fails_is_given_up_and_that_is_shown() {
    let lab = Lab::open().await;
    for (answer, calls, reason) in [(410, 1, "410 Gone"), (503, 6, "6 failures in a row")] {
        let receiver = Receiver::answering(move |_, _| (answer, vec![])).await;
        let task = lab.begin(json!([]), Some(hook(&receiver.url("/x")))).await;
        let status = lab.is(&task, "disabled").await;
        assert!(status["outcome"].as_str().unwrap().contains(reason), "{status}");
        assert_eq!(receiver.calls().len(), calls, "{answer}");
        let config =
            lab.ask("GET", &format!("/tasks/{task}/pushNotificationConfigs/hook"), None).await;
        assert_eq!(config.body["url"], receiver.url("/x"), "it stays readable");
        let said = lab.gateway.said();
        assert!(said.contains("webhook disabled") && said.contains(reason), "{said}");
    }
    let nobody = "http://127.0.0.1:9/hook";
    let task = lab.begin(json!([]), Some(hook(nobody))).await;
    let status = lab.is(&task, "disabled").await;
    assert!(status["outcome"].as_str().unwrap().contains("no connection"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_endpoint_holds_up_nobody_else() {
    let lab = Lab::open().await;
    let gate = Arc::new(Semaphore::new(0));
    let (waiting, opened) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&gate));
    let counted = Arc::clone(&waiting);
    let slow = Receiver::slowly(move |_, _| {
        let (opened, counted) = (Arc::clone(&opened), Arc::clone(&counted));
        Box::pin(async move {
            counted.fetch_add(1, Ordering::SeqCst);
            drop(opened.acquire().await);
            (200, vec![])
        })
    })
    .await;
    let fast = Receiver::taking().await;
    let mut slow_tasks = Vec::new();
    for _ in 0..30 {
        slow_tasks.push(lab.begin(json!([]), Some(hook(&slow.url("/slow")))).await);
    }
    wait_until("the slow one is busy", SOON, async || {
        (waiting.load(Ordering::SeqCst) == 8).then_some(())
    })
    .await;
    let task = lab.begin(busy(10, 0), Some(hook(&fast.url("/fast")))).await;
    lab.is(&task, "done").await;
    assert_eq!(bodies(&fast.calls()), lab.story(&task).await);
    assert_eq!(waiting.load(Ordering::SeqCst), 8, "and it got no more calls meanwhile");
    gate.add_permits(10_000);
    for task in slow_tasks {
        lab.is(&task, "done").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_webhook_is_not_called() {
    let lab = Lab::open().await;
    let (deleted, kept) = (Receiver::taking().await, Receiver::taking().await);
    let task = lab.begin(waits(), Some(json!({"id": "gone", "url": deleted.url("/")}))).await;
    wait_until("it is told", SOON, async || (!deleted.calls().is_empty()).then_some(())).await;
    let path = format!("/tasks/{task}/pushNotificationConfigs/gone");
    assert!(lab.ask("DELETE", &path, None).await.status < 300);
    lab.attach(&task, &json!({"id": "kept", "url": kept.url("/")})).await;
    wait_until("the job is let go", SOON, async || {
        let address = lab.gateway.http.as_ref().unwrap().trim_start_matches("http://");
        let (_, metrics) = get(address, "/metrics").await?;
        (series(&metrics, "weft_push_held") == Some(1.0)).then_some(())
    })
    .await;
    let before = deleted.calls().len();
    go(&lab, &task).await;
    lab.is(&task, "done").await;
    assert!(!kept.calls().is_empty());
    assert_eq!(deleted.calls().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_webhook_reaches_what_only_the_gateway_reaches() {
    let lab = Lab::with(&CONFIG.replace("allow_local = true", "allow_local = false")).await;
    let inside = Receiver::taking().await;
    let port = inside.address.rsplit(':').next().unwrap().to_owned();
    let task = lab.begin(waits(), None).await;
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("https://127.0.0.1:{port}/"),
        format!("https://127.1:{port}/"),
        format!("https://0x7f000001:{port}/"),
        format!("https://2130706433:{port}/"),
        format!("https://localhost:{port}/"),
        format!("https://[::1]:{port}/"),
        format!("https://[::ffff:127.0.0.1]:{port}/"),
        format!("https://0.0.0.0:{port}/"),
        "https://169.254.169.254/latest/meta-data/".to_owned(),
        "https://10.0.0.1/".to_owned(),
        "https://192.168.1.1/".to_owned(),
        "https://100.64.0.1/".to_owned(),
        "https://[fd00::1]/".to_owned(),
        "https://metadata.google.internal/".to_owned(),
        "https://user:pass@example.com/".to_owned(),
        "http://example.com/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "nonsense".to_owned(),
        String::new(),
    ] {
        let refused = lab.attach(&task, &hook(&url)).await;
        assert_eq!(refused.status, 400, "{url}: {refused:?}");
        let details = refused.body["error"]["details"].to_string();
        assert!(details.contains("\"field\":\"url\""), "{url}: {details}");
        let body = json!({"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "x"}]},
            "configuration": {"taskPushNotificationConfig": hook(&url)},
            "metadata": {"weft/skill": "play"}});
        let refused = lab.ask("POST", "/message:send", Some(&body)).await;
        assert_eq!(refused.status, 400, "{url}: {refused:?}");
    }
    assert_eq!(inside.calls().len(), 0);
    let fine = lab.attach(&task, &hook("https://8.8.8.8:444/hook")).await;
    assert_eq!(fine.status, 200, "{fine:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_webhooks_are_judged() {
    let mut lab = Lab::open().await;
    let (good, bad) = (Authority::new("good"), Authority::new("bad"));
    let roots = lab.mesh.folder().join("roots.pem");
    std::fs::write(&roots, good.pem()).unwrap();
    let orders = Orders { name: "g2".to_owned(), ..lab.gateway.orders.clone() };
    let log = lab.mesh.folder().join("g2.log");
    lab.gateway.kill().await;
    let environment = [("SSL_CERT_FILE", roots.to_str().unwrap())];
    lab.gateway = Process::start_with(PROGRAM, orders, log, &environment).await;
    for (authority, name, host, state) in [
        (&good, "ip:127.0.0.1", "127.0.0.1", "done"),
        (&good, "dns:localhost", "localhost", "done"),
        (&good, "dns:elsewhere.example", "127.0.0.1", "disabled"),
        (&bad, "ip:127.0.0.1", "127.0.0.1", "disabled"),
    ] {
        let receiver = Receiver::over_tls(&authority.sign("receiver", &[name])).await;
        let port = receiver.address.rsplit(':').next().unwrap();
        let task = lab.begin(json!([]), Some(hook(&format!("https://{host}:{port}/x")))).await;
        let status = lab.is(&task, state).await;
        assert_eq!(receiver.calls().is_empty(), state == "disabled", "{name}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_waiting_webhooks_cost_little() {
    const TASKS: usize = 63;
    let lab = Lab::open().await;
    let receiver = Receiver::taking().await;
    let before = resident(&lab.gateway);
    let mut tasks = Vec::new();
    for _ in 0..TASKS {
        let task = lab.begin(waits(), None).await;
        for number in 0..16 {
            let webhook = json!({"id": format!("h{number}"), "url": receiver.url("/")});
            assert_eq!(lab.attach(&task, &webhook).await.status, 200);
        }
        tasks.push(task);
    }
    let address = lab.gateway.http.clone().unwrap();
    wait_until("all are held", SOON, async || {
        let (_, metrics) = get(address.trim_start_matches("http://"), "/metrics").await?;
        (series(&metrics, "weft_push_held") == Some((TASKS * 16) as f64)).then_some(())
    })
    .await;
    let (held, busy) = (resident(&lab.gateway), processor(&lab.gateway));
    // Two leases: whatever happens to waiting jobs happens in this time.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let idle = processor(&lab.gateway) - busy;
    let grown = held.saturating_sub(before);
    let few = grown < 24 << 20 && idle < Duration::from_secs(2);
    assert!(few, "{grown} bytes, and {idle:?} of processor in 4 s, for {} webhooks", TASKS * 16);
    for task in &tasks {
        go(&lab, task).await;
    }
    wait_until("all are told", SOON * 2, async || {
        let ends = receiver
            .calls()
            .iter()
            .filter(|call| call.body["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED")
            .count();
        (ends == TASKS * 16).then_some(())
    })
    .await;
}
