//! What is kept of the doors' decisions: of each request one entry, whoever asked, across a kill and a stop.

use protocol::audit::{AuditEntry, OWNER_UNKNOWN};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use weft_tests::guest::{Answer, ask};
use weft_tests::mesh::Mesh;
use weft_tests::wait::wait_until;
use weft_tests::work::SOON;

use super::{PROGRAM, ROLES, entries, entry_of, key_lines, key_of, settings};

async fn named(at: &str, request: &str, key: &str, method: &str, path: &str, body: &str) -> Answer {
    let headers = [("X-Request-Id", request), ("X-API-Key", key)];
    let answer = ask(at, method, path, &headers, body).await;
    assert_eq!(answer.header("x-request-id"), request);
    answer
}

/// Waits until both skills are served.
async fn served(mesh: &Mesh) {
    wait_until("the skills", SOON, || async {
        (mesh.client.agents().await.ok()?.len() >= 2).then_some(())
    })
    .await;
}

/// Compares an entry with caller, door, operation, owner, skill, task, whether it was allowed and why not; `*` is anything.
fn is_as_wanted(entry: &AuditEntry, wanted: &str) {
    let shown = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let fields = [
        shown(entry.caller.as_deref()),
        entry.door.clone(),
        shown(entry.operation.as_deref()),
        shown(entry.owner.as_ref().map(protocol::Owner::as_str)),
        shown(entry.skill.as_ref().map(protocol::Skill::as_str)),
        shown(entry.task.as_deref()),
        entry.allowed.to_string(),
        shown(entry.reason.as_deref().and_then(|reason| reason.split(':').next())),
    ];
    for (found, wanted) in fields.iter().zip(wanted.split(' ')) {
        assert!(wanted == "*" || found == wanted, "{found} is not {wanted}: {entry:?}");
    }
    assert_eq!((entry.by.as_str(), entry.address.as_str()), ("g1", "127.0.0.1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_decision_is_kept_with_who_what_and_why() {
    let section = [
        key_lines("alice", "acme", "caller"),
        key_lines("paul", "pauls", "prober"),
        ROLES.to_owned(),
    ];
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &settings(&section.concat())).await;
    let _node = mesh.node("n1").await;
    served(&mesh).await;
    let gateway = mesh.gateway("g1").await;
    let at = gateway.listen.clone().unwrap();
    let send = super::message("echo");
    let call = |method: &str| {
        let params = json!({"id": "s77", "message": json!({
            "messageId": "m", "role": "ROLE_USER", "parts": [{"text": "x"}],
            "metadata": {"weft/skill": "echo"}
        })});
        json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
    };
    for (request, name, method, path, body, wanted) in [
        ("r1", "alice", "GET", "/acme/tasks/s77", "", "alice rest read acme - s77 true -"),
        ("r2", "alice", "GET", "/tasks/s77", "", "alice rest read acme - s77 true -"),
        ("r3", "alice", "POST", "/message:send", &send, "alice rest send acme echo * true -"),
        ("r4", "alice", "POST", "/", &call("GetTask"), "alice jsonrpc read acme - s77 true -"),
        ("r5", "alice", "POST", "/", &call("SendMessage"), "alice jsonrpc send acme echo * true -"),
        (
            "r6",
            "paul",
            "POST",
            "/message:send",
            &send,
            "paul rest send * echo - false PERMISSION_DENIED",
        ),
        (
            "r7",
            "paul",
            "POST",
            "/",
            &call("CancelTask"),
            "paul jsonrpc cancel pauls - * false PERMISSION_DENIED",
        ),
        (
            "r8",
            "alice",
            "GET",
            "/pauls/tasks/s77",
            "",
            "alice rest read acme - s77 false PERMISSION_DENIED",
        ),
        ("r9", "eve", "GET", "/tasks/s77", "", "- rest read - - s77 false UNAUTHENTICATED"),
        ("r10", "alice", "GET", "/v1/tasks/s77", "", "alice plain read acme - s77 true -"),
        ("r11", "alice", "POST", "/", "no json", "alice jsonrpc - acme - - true -"),
    ] {
        named(&at, request, &key_of(name), method, path, body).await;
        let entry = entry_of(&mesh, request).await;
        is_as_wanted(&entry, wanted);
    }
    let all = entries(&mesh).await;
    assert_eq!(all.len(), 11, "{all:#?}");
    let bus = mesh.client.bus();
    let unknown = bus.all(&bus.names().audit, &bus.subjects().audit(OWNER_UNKNOWN)).await.unwrap();
    assert_eq!(unknown.len(), 1, "by owner");
    let text = serde_json::to_string(&all).unwrap();
    assert!(!text.contains("wk_"), "a key is kept: {text}");
    let public =
        ask(&at, "GET", "/.well-known/agent-card.json", &[("X-Request-Id", "r12")], "").await;
    assert_eq!(public.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_request_is_kept_with_whom_and_which_skill_it_names() {
    let section = [
        key_lines("alice", "acme", "caller"),
        key_lines("rita", "acme", "reader"),
        ROLES.to_owned(),
    ];
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &settings(&section.concat())).await;
    let gateway = mesh.gateway("g1").await;
    let at = gateway.listen.clone().unwrap();
    for (request, name, method, path, wanted, asked_for) in [
        ("r1", "alice", "GET", "/pauls/tasks/s77", "alice rest read acme - s77", Some("pauls")),
        ("r2", "rita", "POST", "/v1/tasks/echo", "rita plain send acme echo -", None),
    ] {
        named(&at, request, &key_of(name), method, path, "").await;
        let entry = entry_of(&mesh, request).await;
        is_as_wanted(&entry, &format!("{wanted} false PERMISSION_DENIED"));
        assert_eq!(entry.asked_for.as_ref().map(protocol::Owner::as_str), asked_for, "{request}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_began_who_hung_up_at_once_is_kept() {
    let section = key_lines("alice", "acme", "caller");
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &settings(&section)).await;
    let _node = mesh.node("n1").await;
    served(&mesh).await;
    let gateway = mesh.gateway("g1").await;
    let at = gateway.listen.clone().unwrap();
    let body = json!({"message": {
        "messageId": "m", "role": "ROLE_USER", "parts": [{"data": {"sleepMs": 5_000}}],
        "metadata": {"weft/skill": "probe"}
    }})
    .to_string();
    let mut caller = TcpStream::connect(&at).await.unwrap();
    let head = format!(
        "POST /message:send HTTP/1.1\r\nHost: {at}\r\nX-Request-Id: gone\r\nX-API-Key: {}\r\nA2A-Version: 1.0\r\n\
         Content-Type: application/a2a+json\r\nContent-Length: {}\r\n\r\n{body}",
        key_of("alice"),
        body.len()
    );
    caller.write_all(head.as_bytes()).await.unwrap();
    let bus = mesh.client.bus();
    wait_until("the task", SOON, || async {
        (bus.stream_state(&bus.names().inbox).await.ok()?.last_seq > 0).then_some(())
    })
    .await;
    drop(caller);
    let entry = entry_of(&mesh, "gone").await;
    is_as_wanted(&entry, "alice rest send acme probe * true -");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_keeps_every_entry_and_no_kill_takes_what_is_stored() {
    let section = key_lines("alice", "acme", "caller");
    let (mut mesh, _coordinator) = Mesh::start(PROGRAM, &settings(&section)).await;
    let mut gateway = mesh.gateway("g1").await;
    let at = gateway.listen.clone().unwrap();
    let key = key_of("alice");
    let many = (0..300).map(|number| {
        let (at, key) = (at.clone(), key.clone());
        async move { named(&at, &format!("m{number}"), &key, "GET", "/tasks/s1", "").await.status }
    });
    let statuses = futures_util::future::join_all(many).await;
    assert!(statuses.iter().all(|status| *status == 404), "{statuses:?}");
    gateway.terminate();
    assert!(gateway.ended().await.success(), "{}", gateway.said());
    let kept = entries(&mesh).await;
    assert_eq!(kept.len(), 300);
    let ids: std::collections::HashSet<&str> = kept.iter().map(|entry| entry.id.as_str()).collect();
    assert_eq!(ids.len(), 300);

    // What was stored stays through the death of the gateway and of the server.
    let mut gateway = mesh.gateway("g2").await;
    let at = gateway.listen.clone().unwrap();
    named(&at, "last", &key, "GET", "/tasks/s1", "").await;
    entry_of(&mesh, "last").await;
    gateway.kill().await;
    mesh.server.kill().await;
    mesh.server.restart().await.unwrap();
    let kept = wait_until("the server", SOON, || async {
        let bus = mesh.client.bus();
        bus.is_alive().await.then_some(())?;
        Some(entries(&mesh).await.len())
    })
    .await;
    assert_eq!(kept, 301);
}
