//! Secrets of webhooks are sealed where they are stored, and open to gateways with the key alone.

use std::path::PathBuf;

use gateway::push::census::Census;
use protocol::TaskId;
use serde_json::{Value, json};
use weft_tests::wait::wait_until;
use weft_tests::webhook::Receiver;
use weft_tests::work::SOON;

use super::{CONFIG, Lab, bodies, go, hook, once, waits};

/// The files of two keys, and settings with them in this order.
struct Keys {
    folder: tempfile::TempDir,
}

impl Keys {
    fn new() -> Self {
        let keys = Self { folder: tempfile::tempdir().unwrap() };
        for digit in ["1", "2"] {
            std::fs::write(keys.file(digit), format!("{}\n", digit.repeat(64))).unwrap();
        }
        keys
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self, names: &[&str]) -> String {
        let files: Vec<PathBuf> = names.iter().map(|name| self.file(name)).collect();
        let section = format!("[gateway.push]\nseal_keys = {files:?}");
        CONFIG.replace("[gateway.push]", &section)
    }
}

fn secret_hook(receiver: &Receiver) -> Value {
    json!({"id": "hook", "url": receiver.url("/hook?key=hidden-in-url"), "token": "hidden-token",
        "authentication": {"scheme": "Bearer", "credentials": "hidden-credentials"}})
}

fn key(task: &str) -> String {
    format!("default.{task}.hook")
}

async fn raw(lab: &Lab, task: &str) -> String {
    let bus = lab.mesh.client.bus();
    let found = bus.key(&bus.names().push, &key(task)).await.unwrap().unwrap();
    String::from_utf8(found.value.to_vec()).unwrap()
}

/// The name of the key that a webhook is sealed under.
async fn sealed_under(lab: &Lab, task: &str) -> Option<String> {
    let record: Value = serde_json::from_str(&raw(lab, task).await).unwrap();
    record.pointer("/sealed/key").map(|key| key.as_str().unwrap().to_owned())
}

async fn told_once(receiver: &Receiver, calls: usize) {
    wait_until("it is told", SOON, async || (receiver.calls().len() >= calls).then_some(())).await;
}

/// Lets another gateway take the place of the one that runs.
async fn replace(lab: &mut Lab, name: &str, config: &str) {
    lab.gateway.kill().await;
    lab.gateway = lab.mesh.gateway_with(name, config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_holds_no_secret_and_keys_are_changed_while_webhooks_wait() {
    let keys = Keys::new();
    let mut lab = Lab::with(&keys.config(&["1"])).await;
    let receiver = Receiver::taking().await;
    let task = lab.begin(waits(), Some(secret_hook(&receiver))).await;
    told_once(&receiver, 1).await;
    let stored = raw(&lab, &task).await;
    assert!(!stored.contains("hidden") && !stored.contains(&receiver.address), "{stored}");
    let path = format!("/tasks/{task}/pushNotificationConfigs/hook");
    let shown = lab.ask("GET", &path, None).await;
    assert_eq!(shown.body["token"], "hidden-token", "its client sees all of it");
    let first = sealed_under(&lab, &task).await.unwrap();
    let counted = Census { open: 0, sealed: [(first.clone(), 1)].into() };
    assert_eq!(Census::take(lab.mesh.client.bus()).await.unwrap(), counted);

    // The second key is made known, and then seals; what was sealed under the first one opens all the same.
    replace(&mut lab, "g2", &keys.config(&["2", "1"])).await;
    go(&lab, &task).await;
    assert_eq!(lab.is(&task, "done").await["endpoint"], receiver.address);
    let second = sealed_under(&lab, &task).await.unwrap();
    assert_ne!(first, second, "a webhook that is told is sealed under the newer key");
    let said = lab.gateway.said();
    assert!(said.contains(&first) && said.contains(&second), "{said}");
    assert!(!said.contains("hidden") && !said.contains("in the clear"), "{said}");

    replace(&mut lab, "g3", &keys.config(&["2"])).await;
    assert_eq!(lab.ask("GET", &path, None).await.body, shown.body, "without the old key");
    let calls = receiver.calls();
    assert_eq!(once(&calls), lab.story(&task).await);
    for call in &calls {
        assert_eq!(call.header("authorization"), "Bearer hidden-credentials");
        assert_eq!(call.header("a2a-notification-token"), "hidden-token");
        assert_eq!(call.path, "/hook?key=hidden-in-url");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_from_before_there_was_a_key_are_told_and_sealed_then() {
    let keys = Keys::new();
    let mut lab = Lab::open().await;
    let receiver = Receiver::taking().await;
    let task = lab.begin(waits(), Some(secret_hook(&receiver))).await;
    told_once(&receiver, 1).await;
    assert!(raw(&lab, &task).await.contains("hidden-credentials"));
    let counted = Census::take(lab.mesh.client.bus()).await.unwrap();
    assert_eq!(counted, Census { open: 1, ..Census::default() });
    replace(&mut lab, "g2", &keys.config(&["1"])).await;
    go(&lab, &task).await;
    lab.is(&task, "done").await;
    assert_eq!(once(&receiver.calls()), lab.story(&task).await);
    let stored = raw(&lab, &task).await;
    assert!(!stored.contains("hidden"), "{stored}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_key_a_webhook_waits_and_others_are_told() {
    let keys = Keys::new();
    let mut lab = Lab::with(&keys.config(&["1"])).await;
    let (receiver, other) = (Receiver::taking().await, Receiver::taking().await);
    let task = lab.begin(waits(), Some(secret_hook(&receiver))).await;
    told_once(&receiver, 1).await;
    // Who calls local addresses tries things; who does not is told that there is no key.
    let careless = CONFIG.replace("allow_local = true", "allow_local = false");
    replace(&mut lab, "g2", &careless).await;
    let put_off = |lab: &Lab| lab.gateway.said().contains("webhook put off");
    wait_until("it is put off", SOON, async || put_off(&lab).then_some(())).await;
    let said = lab.gateway.said();
    let name = sealed_under(&lab, &task).await.unwrap();
    assert!(said.contains("in the clear") && said.contains(&name), "{said}");
    replace(&mut lab, "g3", CONFIG).await;
    assert!(!lab.gateway.said().contains("in the clear"));
    let unsealed = lab.begin(json!([]), Some(hook(&other.url("/other")))).await;
    lab.is(&unsealed, "done").await;
    assert_eq!(bodies(&other.calls()), lab.story(&unsealed).await);
    let status = lab.status(&task).await;
    assert!(status["outcome"].as_str().unwrap().contains(&name), "{status}");
    assert_eq!((&status["state"], &status["endpoint"]), (&json!("active"), &json!("")));
    let configs = format!("/tasks/{task}/pushNotificationConfigs");
    for path in [format!("{configs}/hook"), configs] {
        let refused = lab.ask("GET", &path, None).await;
        assert_eq!(refused.status, 503, "{refused:?}");
        assert!(refused.body.to_string().contains(&name), "{refused:?}");
    }
    go(&lab, &task).await;
    lab.mesh.end_of(&TaskId::parse(&task).unwrap()).await;

    let _further = lab.mesh.gateway_with("g4", &keys.config(&["1"])).await;
    wait_until("the end is told", SOON, async || {
        (once(&receiver.calls()) == lab.story(&task).await).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_moved_to_another_webhook_does_not_open() {
    let keys = Keys::new();
    let lab = Lab::with(&keys.config(&["1"])).await;
    let (receiver, other) = (Receiver::taking().await, Receiver::taking().await);
    let task = lab.begin(waits(), Some(secret_hook(&receiver))).await;
    let thief = lab.begin(waits(), Some(hook(&other.url("/thief")))).await;
    told_once(&receiver, 1).await;
    told_once(&other, 1).await;
    // The gateway's own writes are over: it has told what there is.
    let bus = lab.mesh.client.bus();
    let mut record: Value = serde_json::from_str(&raw(&lab, &thief).await).unwrap();
    let stolen: Value = serde_json::from_str(&raw(&lab, &task).await).unwrap();
    record["sealed"] = stolen["sealed"].clone();
    record["progress"]["calledAt"] = Value::Null;
    let value = serde_json::to_vec(&record).unwrap().into();
    bus.put_key(&bus.names().push, &key(&thief), value).await.unwrap();
    let calls = receiver.calls().len();
    go(&lab, &thief).await;
    let status = lab.is(&thief, "disabled").await;
    assert!(status["outcome"].as_str().unwrap().contains("not as it was sealed"), "{status}");
    assert_eq!((receiver.calls().len(), calls), (calls, calls), "nobody was called");
    go(&lab, &task).await;
    lab.is(&task, "done").await;
    assert_eq!(bodies(&receiver.calls()), lab.story(&task).await);
}
