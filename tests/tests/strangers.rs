//! Clients that know NATS and nothing of Weft: everything here is said by nats-py from a plain Python.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test that calls them"
)]

use protocol::Owner;
use protocol::id::TaskId;
use serde_json::{Value, json};
use weft_tests::mesh::{AGENTS, Mesh};
use weft_tests::process::Process;
use weft_tests::python::Python;
use weft_tests::work::kinds;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What the stranger saw, with the mesh that it saw it on.
async fn saw(what: &str) -> (Value, Mesh, [Process; 2]) {
    let python = Python::ready(env!("CARGO_TARGET_TMPDIR")).await;
    let (mesh, coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let node = mesh.node("n1").await;
    let seen = python.run("stranger.py", &[what, &mesh.server.client_url()]).await;
    (seen, mesh, [coordinator, node])
}

/// The only part of a completed entry's output.
fn part(entry: &Value) -> &Value {
    assert_eq!(entry["event"]["type"], "completed", "{entry}");
    let parts = entry["event"]["output"].as_array().unwrap();
    assert_eq!(parts.len(), 1, "{entry}");
    &parts[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_publish_is_a_durable_task() {
    let (seen, mesh, _processes) = saw("bare").await;
    let seen = seen.as_array().unwrap();
    let expected = [
        json!({"text": "hello"}),
        json!({"data": {"a": [1, 2]}}),
        json!({"data": [true]}),
        json!({"text": ""}),
        json!({"text": "caf\u{e9}"}),
        json!({"raw": "/wA="}),
    ];
    assert_eq!(seen.len(), expected.len());
    for (one, expected) in seen.iter().zip(expected) {
        assert_eq!(one["stream"], "WEFT_INBOX");
        assert_eq!(part(&one["entry"]), &expected);
        let task = TaskId::parse(&format!("s{}", one["seq"])).unwrap();
        let shown = mesh.client.task(&Owner::default(), &task).await.unwrap().unwrap();
        let shown = serde_json::to_value(shown).unwrap();
        assert_eq!(shown["status"]["state"], "TASK_STATE_COMPLETED");
        assert_eq!(shown["artifacts"][0]["parts"][0], expected);
        assert_eq!(shown["history"][0]["parts"][0], expected, "the input is kept too");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_without_a_receipt_is_a_task_too() {
    let (seen, mesh, _processes) = saw("core").await;
    assert_eq!(seen["subject"], "weft.event.default.s1");
    assert_eq!(part(&seen["entry"]), &json!({"text": "no receipt"}));
    assert_eq!(mesh.entries(&TaskId::from_sequence(1)).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_answered_by_the_finished_task() {
    let (seen, mesh, _processes) = saw("call").await;
    let text = &seen["text"];
    assert_eq!(text["status"]["state"], "TASK_STATE_COMPLETED", "{text}");
    assert_eq!(text["artifacts"][0]["parts"], json!([{"text": "ping"}]));
    assert_eq!(text["metadata"]["weft/skill"], "echo");
    let input = &seen["input"];
    assert_eq!(input["contextId"], "talk");
    assert_eq!(input["artifacts"][0]["parts"][0]["data"]["echo"], json!({"deep": [1]}));
    let fails = &seen["fails"];
    assert_eq!(fails["status"]["state"], "TASK_STATE_FAILED", "{fails}");
    assert_eq!(fails["metadata"]["weft/error"]["code"], "agent_error");
    let invalid = &seen["invalid"];
    assert_eq!(invalid["status"]["state"], "TASK_STATE_REJECTED", "{invalid}");
    let fault = &invalid["metadata"]["weft/error"];
    assert_eq!((&fault["code"], &fault["place"]), (&json!("invalid_input"), &json!("$.sleepMs")));
    // What would be rejected anyway is not even stored.
    assert_eq!(seen["refused"]["error"]["code"], "bad_header", "{}", seen["refused"]);
    assert_eq!(seen["refused"]["error"]["place"], "header Weft-Deadline");
    assert_eq!(seen["large"]["error"]["code"], "too_large", "{}", seen["large"]);
    let inbox = &mesh.client.bus().names().inbox;
    assert_eq!(mesh.client.bus().stream_state(inbox).await.unwrap().messages, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_say_the_rest() {
    let (seen, mesh, _processes) = saw("headers").await;
    let acme = Owner::parse("acme").unwrap();
    let log = async |task: &str| {
        let task = TaskId::parse(task).unwrap();
        let log = mesh.client.entries(&acme, &task).await.unwrap();
        let entries = log.into_iter().map(|(_, entry)| entry).collect::<Vec<_>>();
        assert_eq!(kinds(&entries).iter().filter(|kind| **kind == "completed").count(), 1);
        assert_eq!(entries.last().unwrap().attempt, 1);
        serde_json::to_value(&entries[0].origin).unwrap()
    };
    assert_eq!(part(&seen["first"]), &json!({"data": {"n": 1}}));
    let origin = log("order-17").await;
    let expected = [
        ("owner", json!("acme")),
        ("contextId", json!("conversation")),
        ("replyTo", json!("replies.here")),
        ("traceparent", json!(TRACE)),
    ];
    for (name, value) in expected {
        assert_eq!(origin[name], value, "{origin}");
    }
    let submitted = protocol::Timestamp::parse(origin["submittedAt"].as_str().unwrap()).unwrap();
    let deadline = protocol::Timestamp::parse(origin["deadline"].as_str().unwrap()).unwrap();
    assert_eq!(deadline.since(submitted).as_secs(), 60);
    let reply = &seen["reply"];
    assert_eq!((&reply["id"], &reply["contextId"]), (&json!("order-17"), &json!("conversation")));
    assert_eq!(reply["artifacts"][0]["parts"][0]["data"], json!({"n": 1}));

    // One execution under one key; who asks again hears the same end.
    let task = seen["keyed"]["task"].as_str().unwrap();
    assert_eq!(log(task).await["dedupKey"], "a key of mine");
    assert_eq!(seen["repeated"]["id"], task);
    assert_eq!(seen["repeated"]["status"]["state"], "TASK_STATE_COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_codecs_carry_an_a2a_message() {
    let (seen, _mesh, _processes) = saw("packed").await;
    let expected = json!({"data": {"n": [1, 2.5, null, true], "text": "\u{e9}"}});
    for codec in ["msgpack", "json"] {
        assert_eq!(part(&seen[codec]), &expected, "{codec}");
    }
}
