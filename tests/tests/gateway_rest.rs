//! The JSON doors of a gateway as bytes on a connection: plain REST, HTTP+JSON and JSON-RPC to the letter.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test that calls them"
)]

use serde_json::{Value, json};
use weft_tests::http::{Answer, request};
use weft_tests::mesh::Mesh;
use weft_tests::process::Process;
use weft_tests::python::Python;
use weft_tests::wait::wait_until;
use weft_tests::work::SOON;

mod garbage;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");

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

/// A mesh with a gateway.
struct Lab {
    mesh: Mesh,
    door: String,
    processes: [Process; 3],
    _folder: tempfile::TempDir,
}

impl Lab {
    async fn open() -> Self {
        // Lists need a read model. It stays a file of its own: the mesh has no folder before it is there.
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tasks.sqlite");
        let config =
            CONFIG.replace("[coordinator]", &format!("[coordinator]\nread_model = {file:?}"));
        let (mesh, coordinator) = Mesh::start(PROGRAM, &config).await;
        let node = mesh.node("n1").await;
        let gateway = mesh.gateway("g1").await;
        let door = gateway.listen.clone().unwrap();
        Self { mesh, door, processes: [coordinator, node, gateway], _folder: folder }
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        request(&self.door, method, path, headers, body.as_bytes()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &[("Content-Type", "application/json")], &body.to_string()).await
    }

    /// A2A with the headers that a client of it sends.
    async fn a2a(&self, method: &str, path: &str, body: &str) -> Answer {
        let headers = [("A2A-Version", "1.0"), ("Content-Type", "application/a2a+json")];
        self.ask(method, path, &headers, body).await
    }

    /// Submits acts to the agent that plays them, and answers with the task's id.
    async fn play(&self, acts: Value) -> String {
        let answer = self.post("/v1/tasks/play", &json!({ "acts": acts })).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Waits until the task is in this state.
    async fn is_in(&self, task: &str, state: &str) {
        wait_until(&format!("{task} is {state}"), SOON, || async {
            let shown = self.get(&format!("/v1/tasks/{task}")).await.json();
            (shown["status"]["state"] == state).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_with_curl_can_submit_wait_and_look() {
    let lab = Lab::open().await;
    let done = lab.ask("POST", "/v1/tasks/echo?wait=30s", &[], "hello").await;
    assert_eq!((done.status, done.header("content-type")), (200, Some("application/json")));
    let task = done.json();
    assert_eq!(task["status"]["state"], "TASK_STATE_COMPLETED", "{task}");
    assert_eq!(task["artifacts"][0]["parts"][0]["text"], "hello");
    assert!(done.header("x-request-id").is_some_and(|id| id.len() > 16));

    let form = [("Content-Type", "application/x-www-form-urlencoded"), ("X-Request-Id", "mine-7")];
    let stored = lab.ask("POST", "/v1/tasks/echo/", &form, "{\"a\": [1]}").await;
    assert_eq!((stored.status, stored.header("x-request-id")), (202, Some("mine-7")));
    let location = stored.header("location").unwrap().to_owned();
    let shown = lab.get(&format!("{location}?wait=30")).await.json();
    assert_eq!(shown["artifacts"][0]["parts"][0]["data"], json!({"a": [1]}), "{shown}");
    assert_eq!(location, format!("/v1/tasks/{}", shown["id"].as_str().unwrap()));

    let key = [("Idempotency-Key", "order 7"), ("Weft-Context-Id", "case-1")];
    let first = lab.ask("POST", "/v1/tasks/echo?wait=30s", &key, "once").await.json();
    let second = lab.ask("POST", "/v1/tasks/echo?wait=30s", &key, "once").await.json();
    assert_eq!(first["id"], second["id"]);
    assert_eq!(second["artifacts"][0]["parts"][0]["text"], "once", "{second}");
    assert_eq!(first["contextId"], "case-1");

    let listed = wait_until("the read model to have the task", SOON, || async {
        let page = lab.get("/v1/tasks?contextId=case-1&skill=echo&status=completed").await.json();
        page["tasks"].as_array().filter(|tasks| !tasks.is_empty()).cloned()
    })
    .await;
    assert_eq!((listed.len(), &listed[0]["id"]), (1, &first["id"]));
    let tree = lab.get(&format!("{location}/tree")).await.json();
    assert_eq!((&tree["skill"], &tree["children"]), (&json!("echo"), &json!([])));
    let agents = lab.get("/v1/agents").await.json();
    let skills: Vec<_> = agents["agents"].as_array().unwrap().iter().map(|a| &a["skill"]).collect();
    assert_eq!(skills, ["echo", "play"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_plain_request_is_named() {
    let lab = Lab::open().await;
    let table = [
        ("POST", "/v1/tasks/nobody", "x", 404, "SKILL_NOT_FOUND", "nobody"),
        ("POST", "/v1/tasks/echo?wait=soon", "x", 400, "INVALID_PARAMS", "wait"),
        ("GET", "/v1/tasks/s999999", "", 404, "TASK_NOT_FOUND", "s999999"),
        ("GET", "/v1/tasks/no.such", "", 404, "TASK_NOT_FOUND", "no.such"),
        ("GET", "/v1/tasks/s999999/tree", "", 404, "TASK_NOT_FOUND", "s999999"),
        ("GET", "/v1/tasks/s999999/events", "", 404, "TASK_NOT_FOUND", "s999999"),
        ("POST", "/v1/tasks/s999999:cancel", "", 404, "TASK_NOT_FOUND", "s999999"),
        ("POST", "/v1/tasks/s999999/messages", "x", 404, "TASK_NOT_FOUND", "s999999"),
        ("POST", "/v1/tasks/s999999/signals/a", "x", 404, "TASK_NOT_FOUND", "s999999"),
        ("POST", "/v1/tasks/s999999/decision", "{}", 400, "INVALID_PARAMS", "verdict"),
        ("POST", "/v1/tasks/s999999/decision", "{", 400, "INVALID_REQUEST", "JSON"),
        ("GET", "/v1/tasks?pageSize=x&status=dead", "", 400, "INVALID_PARAMS", "status"),
        ("GET", "/v1/tasks?pageSize=-1", "", 400, "INVALID_PARAMS", "pageSize"),
        ("GET", "/v1/tasks?skill=echo&state=working", "", 400, "INVALID_PARAMS", "state"),
        ("GET", "/v1/nothing", "", 404, "METHOD_NOT_FOUND", "/v1/nothing"),
        ("DELETE", "/v1/tasks", "", 405, "METHOD_NOT_ALLOWED", "GET"),
    ];
    for (method, path, body, status, reason, said) in table {
        let answer = lab.ask(method, path, &[], body).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        let error = &answer.json()["error"];
        assert_eq!(error["details"][0]["reason"], reason, "{method} {path}: {error}");
        assert!(error["message"].as_str().unwrap().contains(said), "{method} {path}: {error}");
    }
    let large = "x".repeat(17 << 20);
    let answer = lab.ask("POST", "/v1/tasks/echo", &[], &large).await;
    assert_eq!(answer.status, 413, "{}", answer.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_requests_answer_questions_send_signals_and_decide() {
    let lab = Lab::open().await;
    let acts = json!([
        {"act": "ask", "name": "q", "question": "which?"},
        {"act": "signal", "name": "bell"},
        {"act": "approve", "name": "pay", "action": {"pay": 5}},
    ]);
    let task = lab.play(acts).await;
    let at = |rest: &str| format!("/v1/tasks/{task}{rest}");
    let asked = lab.get(&at("?wait=30s")).await.json();
    assert_eq!(asked["status"]["state"], "TASK_STATE_INPUT_REQUIRED", "{asked}");
    let said = lab.ask("POST", &at("/messages"), &[], "the red one").await;
    assert_eq!(said.status, 202, "{said:?}");
    let rung = lab.ask("POST", &at("/signals/bell"), &[], "").await;
    assert_eq!(rung.status, 202, "{rung:?}");
    let pending = wait_until("an approval", SOON, || async {
        let pending = lab.get("/v1/approvals").await.json();
        pending["pending"].get(0).cloned()
    })
    .await;
    assert_eq!((&pending["task"], &pending["name"]), (&json!(task), &json!("pay")));
    let stale = json!({"verdict": "approve", "hash": "00"});
    assert_eq!(lab.post(&at("/decision"), &stale).await.status, 400);
    let yes = json!({"verdict": "approve", "comment": "fine", "hash": pending["request"]["hash"]});
    let decided = lab.post(&at("/decision"), &yes).await;
    assert_eq!(decided.status, 200, "{decided:?}");
    assert_eq!(decided.json()["outcome"], "approved by anybody");
    let end = lab.get(&at("?wait=30s")).await.json();
    assert_eq!(end["status"]["state"], "TASK_STATE_COMPLETED", "{end}");
    assert_eq!(lab.post(&at("/decision"), &yes).await.status, 400, "nothing is asked any more");
    assert_eq!(lab.ask("POST", &at(":cancel"), &[], "").await.status, 400);

    let waits = lab.play(json!([{"act": "sleep", "name": "long", "ms": 600_000}])).await;
    lab.is_in(&waits, "TASK_STATE_WORKING").await;
    let canceled = lab.ask("POST", &format!("/v1/tasks/{waits}:cancel"), &[], "").await;
    assert_eq!(canceled.json()["status"]["state"], "TASK_STATE_CANCELED", "{canceled:?}");
    drop(lab.mesh);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_json_is_what_the_specification_says() {
    let lab = Lab::open().await;
    let message = |text: &str| json!({"message": {"messageId": "m1", "role": "ROLE_USER", "parts": [{"text": text}]}});
    let hello = message("hello").to_string();
    let places = ["/agents/echo", "/default", "/agents/echo/default", "/~echo", "/default~echo"];
    for place in places {
        let mut hello = message("hello");
        hello["metadata"] = json!({"weft/skill": "echo"});
        let answer = lab.a2a("POST", &format!("{place}/message:send/"), &hello.to_string()).await;
        assert_eq!(answer.status, 200, "{place}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/a2a+json"));
        let task = &answer.json()["task"];
        assert_eq!(task["status"]["state"], "TASK_STATE_COMPLETED", "{place}: {task}");
        let id = task["id"].as_str().unwrap();
        let shown = lab.a2a("GET", &format!("/tasks/{id}?historyLength=0"), "").await.json();
        assert_eq!((&shown["id"], shown.get("history")), (&json!(id), None), "{place}");
    }
    let refused = [
        ("POST", "/message:send", "{", 400, "INVALID_REQUEST", ""),
        ("POST", "/message:send", "[]", 400, "INVALID_REQUEST", ""),
        ("POST", "/message:send", "{}", 400, "INVALID_PARAMS", "message"),
        ("GET", "/tasks?pageSize=0", "", 400, "INVALID_PARAMS", "pageSize"),
        ("GET", "/tasks?pageSize=x", "", 400, "INVALID_PARAMS", "pageSize"),
        ("GET", "/tasks?includeArtifacts=yes", "", 400, "INVALID_PARAMS", "includeArtifacts"),
        (
            "GET",
            "/tasks?statusTimestampAfter=now",
            "",
            400,
            "INVALID_PARAMS",
            "statusTimestampAfter",
        ),
        ("GET", "/tasks/s99999", "", 404, "TASK_NOT_FOUND", ""),
        ("GET", "/tasks/s99999:subscribe", "", 404, "TASK_NOT_FOUND", ""),
        ("POST", "/tasks/s99999:cancel", "", 404, "TASK_NOT_FOUND", ""),
        ("GET", "/message:send", "", 405, "METHOD_NOT_ALLOWED", ""),
        ("GET", "/no/such/place", "", 404, "METHOD_NOT_FOUND", ""),
    ];
    for (method, path, body, status, reason, field) in refused {
        let answer = lab.a2a(method, path, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/a2a+json"), "{path}");
        let error = &answer.json()["error"];
        assert_eq!(
            (&error["code"], &error["details"][0]["reason"]),
            (&json!(status), &json!(reason))
        );
        let violation = &error["details"][1]["fieldViolations"][0]["field"];
        assert_eq!(violation.as_str().unwrap_or_default(), field, "{method} {path}: {error}");
    }
    assert_eq!(lab.a2a("PUT", "/tasks", "").await.header("allow"), Some("GET"));
    let xml = [("A2A-Version", "1.0"), ("Content-Type", "text/xml")];
    let answer = lab.ask("POST", "/agents/echo/message:send", &xml, &hello).await.json();
    assert_eq!(answer["error"]["details"][0]["reason"], "CONTENT_TYPE_NOT_SUPPORTED", "{answer}");
    for (headers, query, fine) in [
        (vec![], "", false),
        (vec![("A2A-Version", "0.3")], "", false),
        (vec![("A2A-Version", "1.4")], "", true),
        (vec![], "?A2A-Version=1.0", true),
    ] {
        let path = format!("/agents/echo/message:send{query}");
        let answer = lab.ask("POST", &path, &headers, &hello).await;
        assert_eq!(answer.status == 200, fine, "{headers:?} {query} {answer:?}");
        if !fine {
            let reason = &answer.json()["error"]["details"][0]["reason"];
            assert_eq!(reason, "VERSION_NOT_SUPPORTED");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_client_sends_makes_a_result_a_direct_reply() {
    let lab = Lab::open().await;
    let facts = json!({"weft/reply": true, "theirs": 1});
    let forged = json!({"message": {"messageId": "m1", "role": "ROLE_USER",
        "parts": [{"text": "comes back as it is", "metadata": facts}]}});
    let answer = lab.a2a("POST", "/agents/echo/message:send", &forged.to_string()).await.json();
    let part = &answer["task"]["artifacts"][0]["parts"][0];
    assert_eq!(part["metadata"], json!({"theirs": 1}), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn json_rpc_is_what_the_specification_says() {
    let lab = Lab::open().await;
    let send = |id: &str, text: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"SendMessage","params":{{"message":{{"messageId":"m","role":"ROLE_USER","parts":[{{"text":"{text}"}}]}}}}}}"#
        )
    };
    for (path, id) in [("/agents/echo", "1"), ("/agents/echo/", "\"a\""), ("/agents/echo", "-15")] {
        let answer = lab.a2a("POST", path, &send(id, "hi")).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        let answer = answer.json();
        assert_eq!(answer["id"].to_string(), id);
        assert_eq!(answer["jsonrpc"], "2.0");
        assert_eq!(answer["result"]["task"]["artifacts"][0]["parts"][0]["text"], "hi", "{answer}");
    }
    let no_id = send("1", "quiet").replace("\"id\":1,", "");
    let answer = lab.a2a("POST", "/agents/echo", &no_id).await;
    assert_eq!((answer.status, answer.body.len()), (204, 0), "{answer:?}");

    let call = |method: &str, params: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{params}}}"#)
    };
    let table = [
        ("{".to_owned(), -32700, Value::Null),
        ("[]".to_owned(), -32600, Value::Null),
        (format!("[{}]", send("1", "x")), -32600, Value::Null),
        (r#"{"jsonrpc":"2.0","id":{},"method":"GetTask"}"#.to_owned(), -32600, Value::Null),
        (r#"{"id":4,"method":"GetTask"}"#.to_owned(), -32600, json!(4)),
        (call("message/send", "{}"), -32601, json!(7)),
        (call("GetTask", "{}"), -32602, json!(7)),
        (call("GetTask", "[]"), -32602, json!(7)),
        (call("GetTask", r#"{"id":"s9999"}"#), -32001, json!(7)),
        (call("SubscribeToTask", r#"{"id":"s9999"}"#), -32001, json!(7)),
        (call("SendStreamingMessage", "{}"), -32602, json!(7)),
        (call("ListTasks", r#"{"pageSize":"many"}"#), -32602, json!(7)),
    ];
    for (body, code, id) in table {
        let answer = lab.a2a("POST", "/", &body).await;
        assert_eq!(answer.status, 200, "{body}");
        let answer = answer.json();
        assert_eq!(
            (&answer["error"]["code"], &answer["id"]),
            (&json!(code), &id),
            "{body}: {answer}"
        );
        let info = &answer["error"]["data"][0]["@type"];
        assert_eq!(info, "type.googleapis.com/google.rpc.ErrorInfo", "{body}");
    }
    let old = lab.ask("POST", "/", &[], &call("GetTask", r#"{"id":"s1"}"#)).await.json();
    assert_eq!((&old["error"]["code"], &old["id"]), (&json!(-32009), &json!(7)));
    let plain = [("A2A-Version", "1.0"), ("Content-Type", "text/plain")];
    let plain = lab.ask("POST", "/agents/echo", &plain, &send("5", "x")).await.json();
    assert_eq!((&plain["error"]["code"], &plain["id"]), (&json!(-32005), &json!(5)), "{plain}");
    let get = lab.a2a("GET", "/", "").await;
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_server_sent_events_in_every_binding() {
    let lab = Lab::open().await;
    let params = r#"{"message":{"messageId":"m","role":"ROLE_USER","parts":[{"text":"hi"}]}}"#;
    let rpc = format!(
        r#"{{"jsonrpc":"2.0","id":"q","method":"SendStreamingMessage","params":{params}}}"#
    );
    for (path, body, result) in
        [("/agents/echo/message:stream", params, ""), ("/agents/echo", rpc.as_str(), "/result")]
    {
        let answer = lab.a2a("POST", path, body).await;
        assert_eq!(answer.header("content-type"), Some("text/event-stream"), "{answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-accel-buffering"), Some("no"));
        let text = String::from_utf8(answer.body).unwrap();
        let mut data = Vec::new();
        for event in text.split("\n\n").filter(|event| event.contains("data: ")) {
            assert!(event.starts_with("id: "), "{event}");
            let json: Value = serde_json::from_str(event.split_once("data: ").unwrap().1).unwrap();
            if !result.is_empty() {
                assert_eq!((&json["jsonrpc"], &json["id"]), (&json!("2.0"), &json!("q")));
            }
            data.push(json.pointer(result).unwrap().clone());
        }
        assert!(data.first().unwrap()["task"].is_object(), "{path}: {text}");
        let last = &data.last().unwrap()["statusUpdate"]["status"]["state"];
        assert_eq!(last, "TASK_STATE_COMPLETED", "{path}: {text}");
    }
    let waits = lab.play(json!([{"act": "sleep", "name": "nap", "ms": 3_500}])).await;
    let answer = lab.get(&format!("/v1/tasks/{waits}/events")).await;
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.contains(": waiting\n\n"), "silence is filled: {text}");
    assert!(text.contains("TASK_STATE_COMPLETED"), "{text}");

    let events = |text: &str| -> Vec<String> {
        let all = text.split("\n\n").filter(|event| event.contains("data: "));
        all.map(str::to_owned).collect()
    };
    let path = format!("/v1/tasks/{waits}/events");
    let again = String::from_utf8(lab.get(&path).await.body).unwrap();
    assert_eq!(events(&again), events(&text), "whoever comes later sees the same");
    let all = events(&text);
    let seen = all[1].lines().next().unwrap().strip_prefix("id: ").unwrap();
    let rest = lab.ask("GET", &path, &[("Last-Event-ID", seen)], "").await.body;
    assert_eq!(events(&String::from_utf8(rest).unwrap()), all[2..]);
    let wrong = lab.ask("GET", &path, &[("Last-Event-ID", "yesterday")], "").await;
    assert_eq!(wrong.status, 400, "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openapi_document_is_served_and_valid() {
    let lab = Lab::open().await;
    let answer = lab.get("/openapi.json").await;
    assert_eq!(answer.status, 200);
    let document = lab.mesh.folder().join("openapi.json");
    std::fs::write(&document, &answer.body).unwrap();
    let python =
        Python::with(env!("CARGO_TARGET_TMPDIR"), &["openapi-spec-validator==0.9.0"]).await;
    let said = python.run("openapi.py", &[document.to_str().unwrap()]).await;
    assert_eq!(said, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_sent_again_answers_one_question() {
    let lab = Lab::open().await;
    let asks =
        |at: usize| json!({"act": "ask", "name": format!("q{at}"), "question": format!("q{at}?")});
    let task = lab.play((0..2).map(asks).collect()).await;
    lab.is_in(&task, "TASK_STATE_INPUT_REQUIRED").await;
    let say = |text: &str| {
        json!({"message": {
            "messageId": "a1", "taskId": task, "role": "ROLE_USER", "parts": [{"text": text}],
            "extensions": ["urn:weft:a2a:idempotent-send:v1"],
        }})
        .to_string()
    };
    for _ in 0..3 {
        let answer = lab.a2a("POST", "/message:send", &say("yes")).await;
        let question = &answer.json()["task"]["status"]["message"]["parts"][0]["text"];
        assert_eq!(question, "q1?", "{answer:?}");
    }
    let other = lab.a2a("POST", "/message:send", &say("no")).await;
    assert_eq!(other.status, 400, "{other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_very_many_values_is_refused_before_it_is_read() {
    let lab = Lab::open().await;
    let list = vec!["0"; 300_000].join(",");
    let body = format!(
        r#"{{"message":{{"messageId":"m","role":"ROLE_USER","parts":[{{"data":[{list}]}}]}}}}"#
    );
    let answer = lab.a2a("POST", "/message:send", &body).await;
    assert_eq!(answer.status, 413, "{}", answer.head);
}
