//! What all doors share: streams in log order that survive a killed gateway, answers that survive a killed node, follow-ups,
//! history, lists, cancels, and other people's tasks.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test that calls them"
)]

use std::time::Duration;

use protocol::Owner;
use serde_json::{Value, json};
use weft_tests::door::{
    Answered, Frame, call, call_with, follow_up, frames, plays, same, says, texts,
};
use weft_tests::mesh::Mesh;
use weft_tests::play::PLAYERS;
use weft_tests::process::Process;
use weft_tests::wait::wait_until;
use weft_tests::work::SOON;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");

fn config() -> String {
    format!(
        "{PLAYERS}\n[gateway]\nhttp = \"127.0.0.1:0\"\nlisten = \"127.0.0.1:0\"\nopen = true\ndefault_skill = \"play\"\n"
    )
}

async fn mesh() -> (Mesh, Process, Process) {
    let (mesh, coordinator) = Mesh::start(PROGRAM, &config()).await;
    let node = mesh.node("n1").await;
    wait_until("the agents are announced", SOON, || async {
        let agents = mesh.client.agents().await.ok()?;
        let serves = |skill: &str| agents.iter().any(|agent| agent.skill.as_str() == skill);
        (serves("play") && serves("echo")).then_some(())
    })
    .await;
    (mesh, coordinator, node)
}

fn at(gateway: &Process) -> &str {
    gateway.listen.as_deref().unwrap()
}

async fn send(gateway: &Process, request: &Value) -> Value {
    let answered = call(at(gateway), "POST", "/message:send", Some(request)).await;
    assert_eq!(answered.status, 200, "{answered:?}");
    answered.body["task"].clone()
}

async fn send_now(gateway: &Process, request: &Value) -> Value {
    let mut request = request.clone();
    request["configuration"] = json!({"returnImmediately": true});
    send(gateway, &request).await
}

async fn get(gateway: &Process, path: &str) -> Answered {
    call(at(gateway), "GET", path, None).await
}

async fn until_state(gateway: &Process, task: &str, state: &str) -> Value {
    let path = format!("/tasks/{task}");
    wait_until(&format!("{task} is {state}"), SOON, || async {
        let body = get(gateway, &path).await.body;
        (body["status"]["state"] == *state).then_some(body)
    })
    .await
}

/// A task that says and makes much, slowly enough to be interrupted.
fn talkative(count: usize) -> Value {
    let mut acts = vec![json!({"act": "chunk", "text": "0", "append": false})];
    for at in 1..count {
        acts.push(json!({"act": "work", "ms": 40}));
        acts.push(json!({"act": "say", "text": format!("said {at}")}));
        acts.push(json!({"act": "chunk", "text": at.to_string(), "append": true}));
    }
    plays(Value::Array(acts))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_at_another_gateway_without_a_gap_or_a_repeat() {
    let (mesh, _coordinator, _node) = mesh().await;
    let mut first = mesh.gateway("g1").await;
    let second = mesh.gateway("g2").await;
    let request = talkative(40);
    let mut stream = frames(at(&first), "POST", "/message:stream", &[], Some(&request)).await;
    let begin = stream.next().await.unwrap();
    assert_eq!(begin.id, "0.0");
    assert_eq!(begin.json()["task"]["status"]["state"], "TASK_STATE_SUBMITTED");
    let task = begin.json()["task"]["id"].as_str().unwrap().to_owned();
    let path = format!("/tasks/{task}:subscribe");
    let whole = frames(at(&second), "GET", &path, &[("Last-Event-ID", "0.0")], None).await;

    let mut seen: Vec<Frame> = Vec::new();
    while seen.len() < 25 {
        seen.push(stream.next().await.unwrap());
    }
    first.kill().await;
    // What was already on its way when the gateway died was seen as well.
    seen.extend(stream.rest().await);
    let last = seen.last().unwrap().id.clone();
    let rest = frames(at(&second), "GET", &path, &[("Last-Event-ID", &last)], None).await;
    seen.extend(rest.rest().await);
    same(&seen, &whole.rest().await);

    let end = seen.last().unwrap().json();
    assert_eq!(end["statusUpdate"]["status"]["state"], "TASK_STATE_COMPLETED");
    let chunks: Vec<String> = seen
        .iter()
        .filter_map(|frame| frame.json()["artifactUpdate"]["artifact"].as_object().cloned())
        .filter(|artifact| artifact["artifactId"] == "text")
        .map(|artifact| artifact["parts"][0]["text"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(chunks, (0..40).map(|at| at.to_string()).collect::<Vec<_>>(), "in log order");
    // After the end there is nothing to subscribe to, and a resume has the end again.
    let late = get(&second, &path).await;
    assert_eq!(late.body["error"]["details"][0]["reason"], "UNSUPPORTED_OPERATION");
    let again = frames(at(&second), "GET", &path, &[("Last-Event-ID", "0.0")], None).await;
    same(&again.rest().await, &seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_and_a_late_one_see_what_a_quick_one_sees() {
    let (mesh, _coordinator, _node) = mesh().await;
    let gateway = mesh.gateway("g1").await;
    let large = "x".repeat(60_000);
    let acts: Vec<Value> = (0..120)
        .map(|at| json!({"act": "chunk", "text": format!("{at} {large}"), "append": at > 0}))
        .collect();
    let request = plays(acts.into());
    let mut slow = frames(at(&gateway), "POST", "/message:stream", &[], Some(&request)).await;
    let first = slow.next().await.unwrap();
    let task = first.json()["task"]["id"].as_str().unwrap().to_owned();
    let path = format!("/tasks/{task}:subscribe");
    let quick = frames(at(&gateway), "GET", &path, &[("Last-Event-ID", "0.0")], None).await;
    let quick = quick.rest().await;
    // Seven megabytes fit into no socket: the slow one stands still, and its mailbox has overflowed since.
    let slow = slow.rest().await;
    same(&quick, &slow);
    let last = quick.last().unwrap().json();
    assert_eq!(last["statusUpdate"]["status"]["state"], "TASK_STATE_COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocking_send_does_not_notice_that_its_node_was_killed() {
    let (mesh, _coordinator, mut node) = mesh().await;
    let gateway = mesh.gateway("g1").await;
    let acts = json!([{"act": "step", "name": "one", "ms": 1}, {"act": "step", "name": "two", "ms": 1500}]);
    let request = plays(acts);
    let (task, ()) = tokio::join!(send(&gateway, &request), async {
        let begun = async || {
            let entries = mesh.all_entries().await;
            entries.iter().any(|(_, one)| one.event.kind().name() == "step").then_some(())
        };
        wait_until("the first step is done", SOON, begun).await;
        node.kill().await;
        assert!(node.restart().await);
    });
    assert_eq!(task["status"]["state"], "TASK_STATE_COMPLETED");
    assert_eq!(task["artifacts"][0]["parts"][0]["data"], json!(["one", "two"]));
    assert_eq!(task["metadata"]["weft/attempts"], 2);
    let read = get(&gateway, &format!("/tasks/{}", task["id"].as_str().unwrap())).await.body;
    assert_eq!(read["history"], task["history"]);
    assert_eq!(read["artifacts"], task["artifacts"]);
    assert_eq!(read["status"], task["status"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_is_answered_turn_by_turn_and_its_history_keeps_the_order() {
    let (mesh, _coordinator, _node) = mesh().await;
    let gateway = mesh.gateway("g1").await;
    let ask =
        |at: usize| json!({"act": "ask", "name": format!("q{at}"), "question": format!("q{at}?")});
    let mut request = plays((0..3).map(ask).collect());
    request["message"]["contextId"] = "talk".into();
    let task = send(&gateway, &request).await;
    let id = task["id"].as_str().unwrap();
    assert_eq!(task["status"]["state"], "TASK_STATE_INPUT_REQUIRED");
    assert_eq!(task["status"]["message"]["parts"][0]["text"], "q0?");
    assert_eq!(
        (&task["contextId"], &task["status"]["message"]["taskId"]),
        (&json!("talk"), &json!(id))
    );

    let mut stream =
        frames(at(&gateway), "GET", &format!("/tasks/{id}:subscribe"), &[], None).await;
    assert_eq!(stream.next().await.unwrap().json()["task"]["id"], id);
    let second = send(&gateway, &follow_up(id, "a0")).await;
    assert_eq!(
        second["status"]["message"]["parts"][0]["text"], "q1?",
        "the question behind the answer"
    );
    assert_eq!(texts(&second["history"]), ["-", "q0?", "a0", "q1?"]);
    let third = send(&gateway, &follow_up(id, "a1")).await;
    let mut wrong = follow_up(id, "x");
    wrong["message"]["contextId"] = "other".into();
    let refused = call(at(&gateway), "POST", "/message:send", Some(&wrong)).await;
    assert_eq!(
        refused.body["error"]["details"][1]["fieldViolations"][0]["field"],
        "message.contextId"
    );
    assert_eq!(third["status"]["state"], "TASK_STATE_INPUT_REQUIRED");
    let end = send(&gateway, &follow_up(id, "a2")).await;
    assert_eq!(end["status"]["state"], "TASK_STATE_COMPLETED");
    let all = ["-", "q0?", "a0", "q1?", "a1", "q2?", "a2"];
    assert_eq!(texts(&end["history"]), all);
    let read = async |length: &str| get(&gateway, &format!("/tasks/{id}{length}")).await.body;
    assert_eq!(read("").await["history"], end["history"]);
    assert_eq!(texts(&read("?historyLength=2").await["history"]), all[5..]);
    assert_eq!(read("?historyLength=0").await.get("history"), None);
    let negative = read("?historyLength=-1").await;
    assert_eq!(negative["error"]["details"][0]["reason"], "INVALID_PARAMS", "{negative}");

    let states: Vec<Value> = stream
        .rest()
        .await
        .iter()
        .filter_map(|frame| frame.json().pointer("/statusUpdate/status/state").cloned())
        .collect();
    let (asks, works) = ("TASK_STATE_INPUT_REQUIRED", "TASK_STATE_WORKING");
    assert_eq!(states, [works, asks, works, asks, works, "TASK_STATE_COMPLETED"]);
    let late = call(at(&gateway), "POST", "/message:send", Some(&follow_up(id, "late"))).await;
    assert_eq!(late.body["error"]["details"][0]["reason"], "UNSUPPORTED_OPERATION");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_asked_for_and_decided_over_a2a() {
    let (mesh, _coordinator, _node) = mesh().await;
    let gateway = mesh.gateway("g1").await;
    let act = json!([{"act": "approve", "name": "rm", "action": {"tool": "rm", "path": "/tmp/x"}}]);
    let task = send(&gateway, &plays(act)).await;
    let id = task["id"].as_str().unwrap();
    let question = &task["status"]["message"];
    assert_eq!(task["status"]["state"], "TASK_STATE_INPUT_REQUIRED");
    let asked = &question["metadata"]["weft/approval"];
    assert_eq!((&asked["name"], &asked["request"]["action"]["tool"]), (&json!("rm"), &json!("rm")));
    // A message that decides nothing would wait for ever.
    let vague = call(at(&gateway), "POST", "/message:send", Some(&follow_up(id, "go on"))).await;
    assert_eq!(vague.body["error"]["details"][0]["reason"], "INVALID_PARAMS");
    let mut decision = follow_up(id, "yes");
    decision["message"]["parts"] =
        json!([{"data": {"verdict": "approve", "hash": asked["request"]["hash"]}}]);
    let end = send(&gateway, &decision).await;
    assert_eq!(end["status"]["state"], "TASK_STATE_COMPLETED", "{end}");
    assert_eq!(end["artifacts"][0]["parts"][0]["data"][0]["done"]["path"], "/tmp/x");
}

#[tokio::test(flavor = "multi_thread")]
async fn sending_twice_under_one_id_is_one_task_only_for_who_asks_for_it() {
    let (mesh, _coordinator, _node) = mesh().await;
    let gateway = mesh.gateway("g1").await;
    let idempotent = [("A2A-Extensions", "urn:weft:a2a:idempotent-send:v1")];
    let mut request = plays(json!([{"act": "step", "name": "once"}]));
    request["message"]["messageId"] = "order-17".into();
    let post = async |request: &Value, headers: &[(&str, &str)]| {
        call_with(at(&gateway), "POST", "/message:send", headers, Some(request)).await
    };
    let (one, two) = (post(&request, &idempotent).await, post(&request, &idempotent).await);
    assert_eq!(one.body["task"]["status"]["state"], "TASK_STATE_COMPLETED", "{one:?}");
    assert_eq!(one, two);
    let plain = post(&request, &[]).await;
    assert_ne!(
        plain.body["task"]["id"], one.body["task"]["id"],
        "ids of messages repeat in real clients"
    );
    request["message"]["parts"] = json!([{"text": "something else"}]);
    let other = post(&request, &idempotent).await;
    let field = &other.body["error"]["details"][1]["fieldViolations"][0]["field"];
    assert_eq!(field, "message.messageId", "{other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_answers_with_the_canceled_task_once() {
    let (mesh, _coordinator, _node) = mesh().await;
    let gateway = mesh.gateway("g1").await;
    let running = send_now(&gateway, &plays(json!([{"act": "work", "ms": 60_000}]))).await;
    assert_eq!(running["status"]["state"], "TASK_STATE_SUBMITTED");
    let waiting =
        send(&gateway, &plays(json!([{"act": "ask", "name": "q", "question": "?"}]))).await;
    until_state(&gateway, running["id"].as_str().unwrap(), "TASK_STATE_WORKING").await;
    for task in [&running, &waiting] {
        let path = format!("/tasks/{}:cancel", task["id"].as_str().unwrap());
        let mut stale = json!({"metadata": {"ifGenerationMatch": 77}});
        let refused = call(at(&gateway), "POST", &path, Some(&stale)).await;
        assert_eq!(refused.body["error"]["details"][0]["reason"], "GENERATION_MISMATCH");
        stale = json!({});
        let canceled = call(at(&gateway), "POST", &path, Some(&stale)).await;
        assert_eq!(canceled.body["status"]["state"], "TASK_STATE_CANCELED", "{canceled:?}");
        let again = call(at(&gateway), "POST", &path, Some(&stale)).await;
        assert_eq!(again.body["error"]["details"][0]["reason"], "TASK_NOT_CANCELABLE");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tasks_of_others_look_missing() {
    let (mesh, _coordinator, _node) = mesh().await;
    let gateway = mesh.gateway("g1").await;
    let mine = send(&gateway, &plays(json!([{"act": "ask", "name": "q", "question": "?"}]))).await;
    let id = mine["id"].as_str().unwrap();
    let follow = follow_up(id, "hello");
    for (method, path, body) in [
        ("GET", format!("/other/tasks/{id}"), None),
        ("GET", format!("/other/tasks/{id}:subscribe"), None),
        ("POST", format!("/other/tasks/{id}:cancel"), Some(json!({}))),
        ("POST", "/other/message:send".to_owned(), Some(follow.clone())),
        ("POST", "/other/message:stream".to_owned(), Some(follow)),
        ("GET", "/tasks/s999999".to_owned(), None),
        ("GET", "/tasks/nonsense".to_owned(), None),
    ] {
        let answered = call(at(&gateway), method, &path, body.as_ref()).await;
        assert_eq!(answered.status, 404, "{method} {path}: {answered:?}");
        assert_eq!(answered.body["error"]["details"][0]["reason"], "TASK_NOT_FOUND");
    }
    let log = mesh.client.log(&Owner::default(), &protocol::TaskId::parse(id).unwrap()).await;
    assert!(!log.unwrap().is_ended());
}

async fn refuses_what_cannot_be_listed(gateway: &Process) {
    for (query, field) in [
        ("pageSize=0", "pageSize"),
        ("pageSize=101", "pageSize"),
        ("status=done", "status"),
        ("status=9", "status"),
        ("historyLength=-1", "historyLength"),
        ("pageToken=nonsense", "pageToken"),
    ] {
        let refused = get(gateway, &format!("/tasks?{query}")).await;
        let found = &refused.body["error"]["details"][1]["fieldViolations"][0]["field"];
        assert_eq!((query, found), (query, &json!(field)), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_need_a_read_model_and_say_so() {
    let (mesh, _coordinator, _node) = mesh().await;
    let gateway = mesh.gateway("g1").await;
    let refused = get(&gateway, "/tasks").await;
    assert_eq!((refused.status, &refused.body["error"]["status"]), (503, &json!("UNAVAILABLE")));
    assert!(refused.body["error"]["message"].as_str().unwrap().contains("read_model"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocking_send_and_a_stream_outlive_a_restart_of_the_server() {
    let (mut mesh, _coordinator, _node) = mesh().await;
    let gateway = mesh.gateway("g1").await;
    let acts = json!([{"act": "step", "name": "one"}, {"act": "work", "ms": 2000}, {"act": "say", "text": "late"}]);
    let request = plays(acts);
    let mut stream = frames(at(&gateway), "POST", "/message:stream", &[], Some(&request)).await;
    stream.next().await.unwrap();
    stream.next().await.unwrap();
    let sending = send(&gateway, &request);
    let (task, ()) = tokio::join!(sending, async {
        wait_until("both have begun", SOON, async || {
            let entries = mesh.all_entries().await;
            let begun = entries.iter().filter(|(_, one)| one.event.kind().name() == "step");
            (begun.count() == 2).then_some(())
        })
        .await;
        mesh.server.kill().await;
        mesh.server.restart().await.unwrap();
    });
    assert_eq!(task["status"]["state"], "TASK_STATE_COMPLETED");
    let rest = stream.rest().await;
    let ids: Vec<_> = rest.iter().map(|frame| &frame.id).collect();
    let once: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(once.len(), ids.len(), "{ids:?}");
    let last = rest.last().unwrap().json();
    assert_eq!(last["statusUpdate"]["status"]["state"], "TASK_STATE_COMPLETED", "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_newest_first_with_what_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tasks.sqlite");
    let config =
        config().replace("[coordinator]", &format!("[coordinator]\nread_model = {file:?}"));
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &config).await;
    let _node = mesh.node("n1").await;
    let gateway = mesh.gateway("g1").await;
    for at in 0..7 {
        let mut request = plays(json!([{"act": "chunk", "text": "piece"}]));
        request["message"]["contextId"] = format!("c{}", at % 2).into();
        send(&gateway, &request).await;
    }
    send(&gateway, &plays(json!([{"act": "fail", "message": "no"}]))).await;
    let all = wait_until("all are listed", SOON, || async {
        let body = get(&gateway, "/tasks").await.body;
        let ended = |task: &Value| task["status"]["state"] != "TASK_STATE_WORKING";
        let tasks = body["tasks"].as_array()?;
        (tasks.len() == 8 && tasks.iter().all(ended)).then_some(body.clone())
    })
    .await;
    assert_eq!((&all["totalSize"], &all["nextPageToken"]), (&json!(8), &json!("")));
    let stamps: Vec<_> = all["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["status"]["timestamp"].as_str().unwrap())
        .collect();
    assert!(stamps.is_sorted_by(|a, b| a >= b), "{stamps:?}");

    let (mut paged, mut token) = (Vec::new(), String::new());
    loop {
        let body = get(&gateway, &format!("/tasks?pageSize=3&pageToken={token}")).await.body;
        assert_eq!((&body["pageSize"], &body["totalSize"]), (&json!(3), &json!(8)));
        paged.extend(body["tasks"].as_array().unwrap().clone());
        token = body["nextPageToken"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(Value::Array(paged), all["tasks"]);
    for (query, count) in [
        ("contextId=c1", 3),
        ("status=TASK_STATE_FAILED", 1),
        ("status=4", 1),
        ("status=TASK_STATE_UNSPECIFIED", 8),
        ("statusTimestampAfter=2100-01-01T00:00:00Z", 0),
    ] {
        let body = get(&gateway, &format!("/tasks?{query}")).await.body;
        assert_eq!((query, body["totalSize"].as_u64()), (query, Some(count)));
    }
    let rich =
        get(&gateway, "/tasks?contextId=c1&historyLength=5&includeArtifacts=true").await.body;
    assert_eq!(rich["tasks"][0]["artifacts"][0]["parts"][0]["text"], "piece", "{rich}");
    assert_eq!(rich["tasks"][0]["history"].as_array().unwrap().len(), 1);
    assert_eq!(all["tasks"][0].get("artifacts"), None);
    assert_eq!(
        get(&gateway, "/other/tasks").await.body["totalSize"],
        0,
        "foreign owners see nothing"
    );
    assert_eq!(get(&gateway, "/agents/echo/tasks").await.body["totalSize"], 0);
    refuses_what_cannot_be_listed(&gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_find_their_skill_or_are_told_which_there_are() {
    let (mesh, _coordinator, _node) = mesh().await;
    let gateway = mesh.gateway("g1").await;
    let hello = says(json!([{"text": "hello"}]));
    let by_path = call(at(&gateway), "POST", "/agents/echo/message:send", Some(&hello)).await;
    assert_eq!(by_path.body["task"]["artifacts"][0]["parts"][0]["text"], "hello", "{by_path:?}");
    let mut by_metadata = hello.clone();
    by_metadata["metadata"] = json!({"weft/skill": "echo"});
    assert_eq!(send(&gateway, &by_metadata).await["metadata"]["weft/skill"], "echo");
    by_metadata["metadata"] = json!({"weft/skill": "cook"});
    let unknown = call(at(&gateway), "POST", "/message:send", Some(&by_metadata)).await;
    let message = unknown.body["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("cook") && message.contains("echo") && message.contains("play"),
        "{message}"
    );

    let mut typed = hello.clone();
    typed["message"]["parts"][0]["mediaType"] = "application/x-unheard-of".into();
    let refused = call(at(&gateway), "POST", "/agents/play/message:send", Some(&typed)).await;
    assert_eq!(refused.body["error"]["details"][0]["reason"], "CONTENT_TYPE_NOT_SUPPORTED");
    let large = "y".repeat(300_000);
    let long = says(json!([{"text": large}]));
    let stored = call(at(&gateway), "POST", "/agents/echo/message:send", Some(&long)).await;
    let object = |part: &Value| {
        let url = part["url"].as_str().unwrap();
        url.split(['/', '?']).find(|piece| piece.len() == 64).map(str::to_owned)
    };
    let task = &stored.body["task"];
    let said = object(&task["history"][0]["parts"][0]);
    assert!(said.is_some(), "{stored:?}");
    assert_eq!(
        object(&task["artifacts"][0]["parts"][0]),
        said,
        "what is echoed is the same object"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_starts_is_found_soon() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &config()).await;
    let gateway = mesh.gateway("g1").await;
    let hello = says(json!([{"text": "hello"}]));
    let path = "/agents/echo/message:send";
    let early = call(at(&gateway), "POST", path, Some(&hello)).await;
    assert_eq!(early.body["error"]["details"][0]["reason"], "INVALID_PARAMS");
    let _node = mesh.node("n1").await;
    wait_until("the agent is announced", SOON, || async {
        let agents = mesh.client.agents().await.ok()?;
        agents.iter().any(|agent| agent.skill.as_str() == "echo").then_some(())
    })
    .await;
    // The registry may be read anew for a skill that was not there, but not for each request.
    wait_until("the agent is found", Duration::from_secs(5), || async {
        let found = call(at(&gateway), "POST", path, Some(&hello)).await;
        (found.status == 200).then_some(())
    })
    .await;
}
