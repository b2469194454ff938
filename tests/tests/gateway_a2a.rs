//! A2A's reference SDK against a real mesh: every operation over every binding, with the same results, and with nodes
//! and gateways killed in the middle.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test that calls them"
)]

use protocol::entry::Event;
use serde_json::{Value, json};
use weft_tests::mesh::Mesh;
use weft_tests::process::Process;
use weft_tests::python::{A2A_SDK, Python};
use weft_tests::wait::wait_until;
use weft_tests::work::SOON;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");
const SCRIPT: &str = "a2a_stranger.py";
const BINDINGS: [&str; 3] = ["JSONRPC", "HTTP+JSON", "GRPC"];

const CONFIG: &str = r#"
[bus]
lease = "2s"
[node]
drain_grace = "5s"
http = "127.0.0.1:0"
[coordinator]
http = "127.0.0.1:0"
[gateway]
http = "127.0.0.1:0"
listen = "127.0.0.1:0"
open = true
[gateway.push]
allow_local = true
[[agents]]
skill = "echo"
kind = "echo"
concurrency = 16
[[agents]]
skill = "play"
kind = "play"
concurrency = 8
timeout = "60s"
"#;

struct Lab {
    mesh: Mesh,
    python: Python,
    processes: Vec<Process>,
    _folder: tempfile::TempDir,
}

impl Lab {
    /// A mesh with a coordinator, a node and a gateway.
    async fn open() -> Self {
        let python = Python::with(env!("CARGO_TARGET_TMPDIR"), A2A_SDK).await;
        let folder = tempfile::tempdir().unwrap();
        let read_model = format!("[coordinator]\nread_model = {:?}", folder.path().join("tasks"));
        let config = CONFIG.replace("[coordinator]", &read_model);
        let (mesh, coordinator) = Mesh::start(PROGRAM, &config).await;
        let processes = vec![coordinator, mesh.node("n1").await, mesh.gateway("g1").await];
        Self { mesh, python, processes, _folder: folder }
    }

    fn door(&self, index: usize) -> String {
        self.processes[index].listen.clone().unwrap()
    }

    /// What the SDK's client saw over each binding.
    async fn seen(&self, what: &str) -> [Value; 3] {
        let door = self.door(2);
        let mut seen = Vec::new();
        for binding in BINDINGS {
            seen.push(self.python.run(SCRIPT, &[what, binding, &door]).await);
        }
        seen.try_into().unwrap()
    }
}

/// What was seen with everything named that differs from run to run: ids, times and hashes.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| match key.as_str() {
                "id" | "taskId" | "contextId" | "messageId" => (key.clone(), json!("id")),
                "timestamp" | "weft/submittedAt" | "weft/inputHash" | "weft/grant" => {
                    (key.clone(), json!("varies"))
                }
                _ => (key.clone(), plain(value)),
            })
            .collect(),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => value.clone(),
    }
}

fn state(task: &Value) -> &str {
    task["status"]["state"].as_str().unwrap_or_default().trim_start_matches("TASK_STATE_")
}

/// The kinds of events, with the states that they tell.
fn story(events: &Value) -> Vec<String> {
    let told = events.as_array().unwrap().iter().map(|event| {
        let (kind, what) = event.as_object().unwrap().iter().next().unwrap();
        match kind.as_str() {
            "artifactUpdate" => format!("artifact {}", what["artifact"]["artifactId"]),
            _ => format!("{kind} {}", state(what)),
        }
    });
    told.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_has_the_same_result_in_every_binding() {
    let lab = Lab::open().await;
    let seen = lab.seen("operations").await;
    for (binding, seen) in BINDINGS.iter().zip(&seen) {
        let echo = &seen["echo"];
        assert_eq!(
            (state(echo), &echo["contextId"]),
            ("COMPLETED", &json!("talk")),
            "{binding}: {seen}"
        );
        assert_eq!(echo["artifacts"][0]["parts"], json!([{"text": "hello"}, {"data": {"n": 1}}]));
        assert_eq!(echo["history"][0]["parts"], echo["artifacts"][0]["parts"]);
        assert_eq!(&seen["got"], echo);
        assert_eq!(seen["histories"], json!([0, 1, 1]));
        assert!(["SUBMITTED", "WORKING"].contains(&state(&seen["immediate"])), "{binding}: {seen}");
        let followed = story(&seen["followed"]);
        assert!(followed[0].starts_with("task "), "{binding}: {followed:?}");
        assert!(followed.last().unwrap().ends_with("INPUT_REQUIRED"), "{binding}: {followed:?}");
        let streamed = ["task SUBMITTED", "artifact \"result\"", "statusUpdate COMPLETED"];
        assert_eq!(story(&seen["streamed"]), streamed, "{binding}");
        assert_eq!(state(&seen["canceled"]), "CANCELED", "{binding}");
        assert_eq!(seen["card"], json!(["echo", "play"]), "{binding}");
        assert_eq!(seen["extended"], json!(["echo", "play"]), "{binding}");
    }
    for what in ["echo", "got", "streamed", "canceled"] {
        let plain: Vec<_> = seen.iter().map(|seen| plain(&seen[what])).collect();
        assert_eq!(plain[0], plain[1], "{what}: {} and {}", BINDINGS[0], BINDINGS[1]);
        assert_eq!(plain[0], plain[2], "{what}: {} and {}", BINDINGS[0], BINDINGS[2]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_have_pages_filters_and_an_order() {
    let lab = Lab::open().await;
    for seen in lab.seen("lists").await {
        assert_eq!(seen["pages"], json!([[[5, 4], 6], [[3, 2], 6], [[1, 0], 6]]), "{seen}");
        assert_eq!(seen["waiting"], json!([5]));
        assert_eq!(seen["completed"], json!([4, 3, 2, 1, 0]));
        assert_eq!(seen["since"], json!([5, 4, 3, 2]));
        assert_eq!(seen["bare"], json!(vec![[false, false]; 6]));
        let full = &seen["full"];
        assert_eq!(full[0][0], json!(false), "a task that waits has made nothing yet: {seen}");
        assert_eq!(full.as_array().unwrap()[1..], vec![json!([true, 1]); 5]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_has_turns() {
    let lab = Lab::open().await;
    let seen = lab.seen("conversation").await;
    for (binding, seen) in BINDINGS.iter().zip(&seen) {
        for (turn, question) in [("first", "Which city?"), ("second", "Which day?")] {
            let task = &seen[turn];
            assert_eq!(state(task), "INPUT_REQUIRED", "{binding}: {task}");
            assert_eq!(task["status"]["message"]["parts"][0]["text"], question);
        }
        let third = &seen["third"];
        assert_eq!(state(third), "COMPLETED", "{binding}: {third}");
        assert_eq!(third["artifacts"][0]["parts"], json!([{"data": ["Ghent", "Monday"]}]));
        let history = third["history"].as_array().unwrap();
        let said: Vec<_> = history[1..].iter().map(|one| &one["parts"][0]["text"]).collect();
        assert_eq!(said, ["Which city?", "Ghent", "Which day?", "Monday"], "{binding}: {third}");
    }
    assert_eq!(plain(&seen[0]), plain(&seen[1]));
    assert_eq!(plain(&seen[0]), plain(&seen[2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_the_exceptions_of_the_sdk() {
    let lab = Lab::open().await;
    let expected = json!({
        "get unknown": "TaskNotFoundError",
        "get a foreign tenant's": "TaskNotFoundError",
        "cancel unknown": "TaskNotFoundError",
        "cancel ended": "TaskNotCancelableError",
        "follow unknown": "TaskNotFoundError",
        "follow ended": "UnsupportedOperationError",
        "say to unknown": "TaskNotFoundError",
        "say to ended": "UnsupportedOperationError",
        "say in another context": "InvalidParamsError",
        "no parts": "InvalidParamsError",
        "no message id": "InvalidParamsError",
        "a part of nothing": "InvalidParamsError",
        "a bad context": "InvalidParamsError",
        "a skill of nobody": "InvalidParamsError",
        "a negative history": "InvalidParamsError",
        "a page of nothing": "InvalidParamsError",
        "a page of too many": "InvalidParamsError",
        "a made up token": "InvalidParamsError",
        "a bad tenant": "InvalidParamsError",
    });
    for (binding, seen) in BINDINGS.iter().zip(lab.seen("errors").await) {
        assert_eq!(seen, expected, "{binding}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_agents_and_parts() {
    let lab = Lab::open().await;
    for seen in lab.seen("tenants").await {
        let expected = json!({"got": "TASK_STATE_COMPLETED", "named": "echo"});
        assert_eq!(seen, expected);
    }
    for seen in lab.seen("agents").await {
        assert_eq!(seen, json!({"echo": ["echo", ["echo"]], "play": ["play", ["play"]]}));
    }
    for seen in lab.seen("parts").await {
        assert_eq!(seen["history"], seen["sent"]);
        assert_eq!(seen["artifacts"][0]["parts"], seen["sent"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_kept_and_called() {
    let lab = Lab::open().await;
    for (binding, seen) in BINDINGS.iter().zip(lab.seen("push").await) {
        let expected = json!({
            "one": ["one", true, "t1", "Bearer", true],
            "unnamed": true,
            "listed": true,
            "left": ["one"],
            "refused": "TaskNotFoundError",
            "complete": true,
            "tokens": ["inline", "t1"],
            "logins": ["", "Bearer secret"],
        });
        assert_eq!(seen, expected, "{binding}");
    }
}

/// Waits until the node has begun a task behind the entries that there were.
async fn begun_behind(lab: &Lab, before: usize, what: &str) {
    wait_until(&format!("the task is under way: {what}"), SOON, || async {
        let entries = lab.mesh.all_entries().await;
        let steps = |event: &Event| matches!(event, Event::Step { .. });
        entries[before..].iter().any(|(_, entry)| steps(&entry.event)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_does_not_notice_that_a_node_dies() {
    let mut lab = Lab::open().await;
    let step = json!({"act": "step", "name": "begin"}).to_string();
    let work = json!({"act": "work", "ms": 1500}).to_string();
    let mut generation = 1;
    for binding in BINDINGS {
        for what in ["blocking", "streaming"] {
            let before = lab.mesh.all_entries().await.len();
            let door = lab.door(2);
            let mut script = lab.python.start(SCRIPT, &[what, binding, &door, &step, &work]);
            script.next().await;
            begun_behind(&lab, before, &format!("{binding} {what}")).await;
            generation += 1;
            let next = lab.mesh.node(&format!("n{generation}")).await;
            let mut dead = std::mem::replace(&mut lab.processes[1], next);
            dead.kill().await;
            let seen = script.next().await;
            let last = if what == "blocking" {
                seen.clone()
            } else {
                let told = story(&seen);
                assert_eq!(told[0], "task SUBMITTED", "{binding}: {told:?}");
                assert_eq!(told.iter().filter(|one| one.contains("COMPLETED")).count(), 1);
                let artifacts = told.iter().filter(|one| one.starts_with("artifact")).count();
                assert_eq!(artifacts, 1, "{binding}: {told:?}");
                seen.as_array().unwrap().last().unwrap()["statusUpdate"].clone()
            };
            assert_eq!(state(&last), "COMPLETED", "{binding} {what}: {seen}");
        }
    }
    // Every one of the tasks was really lost by a node once.
    let takeovers = lab.mesh.all_entries().await;
    let completed =
        takeovers.iter().filter(|(_, one)| matches!(one.event, Event::Completed { .. }));
    assert!(completed.into_iter().all(|(_, entry)| entry.attempt == 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_gateway_goes_on_where_a_dead_one_stopped() {
    let mut lab = Lab::open().await;
    for binding in BINDINGS {
        let second = lab.mesh.gateway(&format!("g-{}", &binding[..4])).await;
        let (first, other) = (lab.door(2), second.listen.clone().unwrap());
        let mut script = lab.python.start(SCRIPT, &["elsewhere", binding, &first, &other]);
        assert_eq!(script.next().await, json!({"asked": true}), "{binding}");
        let mut dead = std::mem::replace(&mut lab.processes[2], second);
        dead.kill().await;
        let broken = script.next().await;
        assert_ne!(
            broken,
            json!({"broken": null}),
            "{binding}: the stream ended as if all was well"
        );
        let seen = script.next().await;
        assert_eq!(state(&seen["answered"]), "COMPLETED", "{binding}: {seen}");
        let anew = story(&seen["anew"]);
        assert!(anew[0].starts_with("task "), "{binding}: {anew:?}");
        assert_eq!(anew.last().unwrap(), "statusUpdate COMPLETED", "{binding}");
        let list = |what: &str| seen[what].as_array().unwrap().clone();
        let joined: Vec<_> = list("before").into_iter().chain(list("rest")).collect();
        assert_eq!(joined[1..], list("whole"), "{binding}: no gap and no repeat");
        let cursors: Vec<_> = joined.iter().map(|one| one[0].as_str().unwrap()).collect();
        assert!(cursors.len() > 5, "{binding}: {cursors:?}");
        let events: Vec<_> = joined.iter().map(|one| one[1].clone()).collect();
        let told = story(&json!(events));
        assert_eq!(told.last().unwrap(), "statusUpdate COMPLETED", "{binding}: {told:?}");
    }
}
