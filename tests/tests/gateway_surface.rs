//! What a client of any door sees at the edges: deadlines, a gateway that stops or is not ready, what is refused and when.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test that calls them"
)]

use protocol::{Owner, TaskId};
use runtime::metric::Metrics;
use runtime::supervisor::Supervisor;
use serde_json::{Value, json};
use weft_tests::door::{Answered, call, call_with, follow_up, frames, plays, texts};
use weft_tests::http::{get, series};
use weft_tests::mesh::Mesh;
use weft_tests::play::PLAYERS;
use weft_tests::process::Process;
use weft_tests::wait::wait_until;
use weft_tests::wire::{self, Caller};
use weft_tests::work::SOON;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");

const IDEMPOTENT: (&str, &str) = ("A2A-Extensions", "urn:weft:a2a:idempotent-send:v1");

fn config() -> String {
    format!(
        "{PLAYERS}\n[gateway]\nhttp = \"127.0.0.1:0\"\nlisten = \"127.0.0.1:0\"\nopen = true\n\
         default_skill = \"play\"\n[gateway.limits]\ngrace = \"2s\"\n[gateway.push]\nallow_local = true\n"
    )
}

async fn mesh() -> (Mesh, Process, Process, Process) {
    let (mesh, coordinator) = Mesh::start(PROGRAM, &config()).await;
    let node = mesh.node("n1").await;
    let gateway = mesh.gateway("g1").await;
    wait_until("the agents are announced", SOON, || async {
        let agents = mesh.client.agents().await.ok()?;
        agents.iter().any(|agent| agent.skill.as_str() == "play").then_some(())
    })
    .await;
    (mesh, coordinator, node, gateway)
}

fn at(gateway: &Process) -> &str {
    gateway.listen.as_deref().unwrap()
}

async fn post(gateway: &Process, path: &str, body: &Value) -> Answered {
    call(at(gateway), "POST", path, Some(body)).await
}

fn works(ms: u64) -> Value {
    json!([{"act": "work", "ms": ms}])
}

fn at_once(mut request: Value) -> Value {
    request["configuration"] = json!({"returnImmediately": true});
    request
}

/// How many tasks were submitted so far.
async fn submitted(mesh: &Mesh) -> u64 {
    mesh.client.bus().stream_state(&mesh.client.bus().names().inbox).await.unwrap().last_seq
}

async fn state_of(mesh: &Mesh, task: &str) -> Option<&'static str> {
    let task = TaskId::parse(task).unwrap();
    let known = mesh.client.task(&Owner::default(), &task).await.ok()??;
    Some(known.status.state.word())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_too_many_is_refused_before_the_message_is_stored() {
    let (_mesh, _coordinator, _node, gateway) = mesh().await;
    let asks = plays(json!([{"act": "ask", "name": "q", "question": "q?"}]));
    let task = post(&gateway, "/message:send", &asks).await.body["task"].clone();
    let id = task["id"].as_str().unwrap();
    let hook = |at: usize| json!({"id": format!("h{at}"), "url": "http://127.0.0.1:9/"});
    for number in 0..16 {
        let path = format!("/tasks/{id}/pushNotificationConfigs");
        assert_eq!(post(&gateway, &path, &hook(number)).await.status, 200);
    }
    let mut late = at_once(follow_up(id, "late"));
    late["configuration"]["taskPushNotificationConfig"] = hook(16);
    let refused = post(&gateway, "/message:send", &late).await;
    assert_eq!(refused.status, 413, "{refused:?}");
    let known = call(at(&gateway), "GET", &format!("/tasks/{id}"), None).await.body;
    assert_eq!(texts(&known["history"]), ["-", "q?"], "nothing was said");
    assert_eq!(known["status"]["state"], "TASK_STATE_INPUT_REQUIRED");
    // One in the place of a known one is none too many.
    late["configuration"]["taskPushNotificationConfig"] = hook(15);
    let taken = post(&gateway, "/message:send", &late).await;
    assert_eq!(taken.status, 200, "{taken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_call_ends_with_its_deadline_and_its_task_goes_on() {
    let (mesh, _coordinator, _node, gateway) = mesh().await;
    let jobs = Supervisor::new(Metrics::new("test"));
    let mut caller = Caller::connect(at(&gateway), &jobs).await;
    let soon = [("grpc-timeout", "700m")];
    let request = wire::plays(works(1500));
    let mut tasks = Vec::new();
    for (method, streams) in [("SendMessage", false), ("SendStreamingMessage", true)] {
        let before = submitted(&mesh).await;
        let ended = caller.call(method, &soon, &request).await;
        assert_eq!(ended.status, "4", "{method}: {ended:?}");
        let task = format!("s{}", before + 1);
        assert!(ended.details.contains("DEADLINE_EXCEEDED"), "{ended:?}");
        assert!(ended.details.contains(&task), "{task}: {ended:?}");
        assert_eq!(ended.bytes > 0, streams, "{ended:?}");
        tasks.push(task);
    }
    for task in &tasks {
        wait_until(&format!("{task} goes on to its end"), SOON, || async {
            (state_of(&mesh, task).await? == "completed").then_some(())
        })
        .await;
    }
    let http = gateway.http.clone().unwrap();
    wait_until("no stream is left open", SOON, || async {
        let (_, metrics) = get(&http, "/metrics").await?;
        (series(&metrics, "weft_gateway_open_streams")? == 0.0).then_some(())
    })
    .await;
    let patient = [("grpc-timeout", "1M")];
    let ended = caller.call("SendMessage", &patient, &wire::plays(works(1))).await;
    assert_eq!((ended.status.as_str(), ended.bytes > 0), ("0", true), "{ended:?}");
    jobs.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_while_a_gateway_stops_is_told_the_task() {
    let (mesh, _coordinator, _node, mut gateway) = mesh().await;
    let jobs = Supervisor::new(Metrics::new("test"));
    let mut caller = Caller::connect(at(&gateway), &jobs).await;
    let work = plays(works(60_000));
    let rpc = json!({"jsonrpc": "2.0", "id": "mine", "method": "SendMessage", "params": work});
    let plain = json!({"acts": works(60_000)});
    let request = wire::plays(works(60_000));
    let address = at(&gateway).to_owned();
    let before = submitted(&mesh).await;
    let json_type = [("Content-Type", "application/json")];
    let waiting = async {
        tokio::join!(
            call(&address, "POST", "/", Some(&rpc)),
            call(&address, "POST", "/message:send", Some(&work)),
            call_with(&address, "POST", "/v1/tasks/play?wait=50s", &json_type, Some(&plain)),
            caller.call("SendMessage", &[], &request),
        )
    };
    let stopping = async {
        wait_until("all are stored", SOON, || async {
            (submitted(&mesh).await >= before + 4).then_some(())
        })
        .await;
        gateway.terminate();
    };
    let ((rpc, rest, plain, grpc), ()) = tokio::join!(waiting, stopping);
    let mut named = Vec::new();
    let info = &rpc.body["error"]["data"][0];
    assert_eq!((rpc.status, &rpc.body["id"]), (503, &json!("mine")), "{rpc:?}");
    assert_eq!(info["reason"], "UNAVAILABLE", "{rpc:?}");
    named.push(info["metadata"]["taskId"].as_str().unwrap().to_owned());
    let info = &rest.body["error"]["details"][0];
    assert_eq!((rest.status, &info["reason"]), (503, &json!("UNAVAILABLE")), "{rest:?}");
    named.push(info["metadata"]["taskId"].as_str().unwrap().to_owned());
    assert_eq!(plain.status, 202, "{plain:?}");
    named.push(plain.body["id"].as_str().unwrap().to_owned());
    assert_eq!(grpc.status, "14", "{grpc:?}");
    let left = (before + 1..=before + 4).map(|at| format!("s{at}"));
    let left: Vec<String> = left.filter(|task| !named.contains(task)).collect();
    assert_eq!(left.len(), 1, "{named:?}");
    assert!(grpc.details.contains(&left[0]), "{left:?} {grpc:?}");
    assert!(gateway.ended().await.success(), "{}", gateway.said());
    assert_eq!(state_of(&mesh, &left[0]).await, Some("working"));
    jobs.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_begins_with_the_time_at_which_the_server_stored_the_task() {
    let (mesh, _coordinator, _node, gateway) = mesh().await;
    let other = mesh.gateway("g2").await;
    let first = async |gateway: &Process, request: &Value, headers: &[(&str, &str)]| {
        let path = "/message:stream";
        let mut stream = frames(at(gateway), "POST", path, headers, Some(request)).await;
        stream.next().await.unwrap()
    };
    // In any single millisecond two clocks may agree.
    for number in 0..6 {
        let mut request = plays(works(1));
        let told = first(&gateway, &request, &[]).await.json()["task"].clone();
        let task = TaskId::parse(told["id"].as_str().unwrap()).unwrap();
        let (_, stored) = mesh.client.submission(&Owner::default(), &task).await.unwrap().unwrap();
        assert_eq!(told["status"]["timestamp"], json!(stored.at));
        assert_eq!(told["metadata"]["weft/submittedAt"], json!(stored.at));
        let now = post(&gateway, "/message:send", &at_once(request.clone())).await;
        let now = &now.body["task"];
        let task = TaskId::parse(now["id"].as_str().unwrap()).unwrap();
        let (_, stored) = mesh.client.submission(&Owner::default(), &task).await.unwrap().unwrap();
        assert_eq!(now["status"]["timestamp"], json!(stored.at));

        request["message"]["messageId"] = format!("once-{number}").into();
        let one = first(&gateway, &request, &[IDEMPOTENT]).await;
        let two = first(&other, &request, &[IDEMPOTENT]).await;
        assert_eq!(one, two, "the same message is the same stream");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_skill_that_nobody_serves_is_missing_in_plain_rest() {
    let (_mesh, _coordinator, _node, gateway) = mesh().await;
    let missing = post(&gateway, "/v1/tasks/cook", &json!({"parts": [{"text": "x"}]})).await;
    assert_eq!(missing.status, 404, "{missing:?}");
    let info = &missing.body["error"]["details"][0];
    assert_eq!(info["reason"], "SKILL_NOT_FOUND");
    assert_eq!(info["metadata"]["skills"], "echo,play,strict");
    let params = post(&gateway, "/agents/cook/message:send", &plays(works(1))).await;
    assert_eq!(params.status, 400, "A2A has no error of its own for it: {params:?}");
    assert_eq!(params.body["error"]["details"][1]["fieldViolations"][0]["field"], "agent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_ready_only_while_tasks_would_be_accepted() {
    let (mesh, mut coordinator) = Mesh::start(PROGRAM, &config()).await;
    coordinator.kill().await;
    let names = mesh.client.bus().names().clone();
    let nats = async_nats::connect(mesh.server.client_url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(nats);
    jetstream.delete_stream(&names.inbox).await.unwrap();
    let gateway = mesh.gateway("g1").await;
    let ready = async |expected: u16| {
        wait_until(&format!("readiness is {expected}"), SOON, || async {
            (get(at(&gateway), "/readyz").await?.0 == expected).then_some(())
        })
        .await;
    };
    assert_eq!(get(at(&gateway), "/readyz").await.unwrap().0, 503, "before there is an inbox");
    assert_eq!(get(at(&gateway), "/livez").await.unwrap().0, 200);
    let report = get(gateway.http.as_deref().unwrap(), "/readyz").await.unwrap();
    assert!(report.0 == 503 && report.1.contains("no stream takes subject"), "{report:?}");
    assert!(coordinator.restart().await);
    ready(200).await;
    assert_eq!(submitted(&mesh).await, 0, "looking leaves nothing behind");
    let mut inbox = jetstream.get_stream(&names.inbox).await.unwrap();
    let mut smaller = inbox.info().await.unwrap().config.clone();
    smaller.max_bytes = 600_000;
    jetstream.update_stream(smaller).await.unwrap();
    for _ in 0..2 {
        let task = vec![b'x'; 200_000].into();
        jetstream.publish("weft.task.nobody", task).await.unwrap().await.unwrap();
    }
    ready(503).await;
    inbox.purge().await.unwrap();
    ready(200).await;
    coordinator.kill().await;
    jetstream.delete_stream(&names.log).await.unwrap();
    ready(503).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_decides_belongs_to_the_history() {
    let (_mesh, _coordinator, _node, gateway) = mesh().await;
    let act = json!([{"act": "approve", "name": "rm", "action": {"tool": "rm"}}]);
    let task = post(&gateway, "/message:send", &plays(act)).await.body["task"].clone();
    let id = task["id"].as_str().unwrap();
    assert_eq!(task["status"]["state"], "TASK_STATE_INPUT_REQUIRED");
    let mut decision = follow_up(id, "yes");
    decision["message"]["parts"] = json!([{"data": {"verdict": "approve"}}, {"text": "go on"}]);
    let send = async || {
        let path = "/message:send";
        call_with(at(&gateway), "POST", path, &[IDEMPOTENT], Some(&decision)).await
    };
    let end = send().await;
    assert_eq!(end.body["task"]["status"]["state"], "TASK_STATE_COMPLETED", "{end:?}");
    let known = call(at(&gateway), "GET", &format!("/tasks/{id}"), None).await.body;
    for history in [&end.body["task"]["history"], &known["history"]] {
        assert_eq!(history.as_array().map(Vec::len), Some(3), "{history}");
        assert_eq!(history[2]["messageId"], "said-yes");
        assert_eq!(history[2]["role"], "ROLE_USER");
        assert_eq!(history[2]["parts"], decision["message"]["parts"]);
    }
    assert_eq!(send().await, end, "the same message decides once");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_of_a_cancel_is_kept_whoever_ends_the_task() {
    let (mesh, _coordinator, _node, gateway) = mesh().await;
    let running = post(&gateway, "/message:send", &at_once(plays(works(60_000)))).await;
    let running = running.body["task"]["id"].as_str().unwrap().to_owned();
    wait_until("it runs", SOON, || async {
        (state_of(&mesh, &running).await? == "working").then_some(())
    })
    .await;
    let waiting = plays(json!([{"act": "ask", "name": "q", "question": "q?"}]));
    let waiting = post(&gateway, "/message:send", &waiting).await;
    let waiting = waiting.body["task"]["id"].as_str().unwrap().to_owned();
    for task in [running, waiting] {
        let path = format!("/tasks/{task}:cancel");
        let refused = post(&gateway, &path, &json!({"metadata": {"reason": 7}})).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        let why = json!({"metadata": {"reason": "too dear"}});
        let canceled = post(&gateway, &path, &why).await.body;
        assert_eq!(canceled["status"]["state"], "TASK_STATE_CANCELED", "{canceled}");
        let said = canceled["status"]["message"]["parts"][0]["text"].as_str().unwrap();
        assert!(said.starts_with("too dear (canceled "), "{said}");
    }
}
