//! Who comes in through the doors of a gateway, what they may do there, and what is kept of it: real processes, real
//! TLS, a real issuer of tokens.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail the test that calls them"
)]

#[path = "gateway_auth/audit.rs"]
mod audit;
#[path = "gateway_auth/certificates.rs"]
mod certificates;
#[path = "gateway_auth/limits.rs"]
mod limits;
#[path = "gateway_auth/tokens.rs"]
mod tokens;

use gateway::auth::key;
use protocol::audit::AuditEntry;
use serde_json::json;
use weft_tests::guest::ask;
use weft_tests::mesh::{AGENTS, Mesh};
use weft_tests::wait::wait_until;
use weft_tests::work::SOON;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");
/// A task that nobody has.
const TASK: &str = "/tasks/s77";
/// What somebody hears about it who was let in.
const LET_IN: u16 = 404;

/// The settings of a mesh whose gateways have this section. The text may go on with sections of the gateway's.
fn settings(gateway: &str) -> String {
    let (before, rest) = AGENTS.split_once("[gateway]").unwrap();
    let (_, agents) = rest.split_once("[[agents]]").unwrap();
    format!(
        "{before}\n[[agents]]{agents}\n[gateway]\nhttp = \"127.0.0.1:0\"\nlisten = \"127.0.0.1:0\"\n{gateway}\n"
    )
}

/// A key that is the same in each run.
fn key_of(name: &str) -> String {
    let mut bits = [0; 32];
    bits[..name.len()].copy_from_slice(name.as_bytes());
    key::key_of(bits)
}

/// The lines of the settings file for a key.
fn key_lines(name: &str, owner: &str, role: &str) -> String {
    let hash = key::hex(key::hash_of(&key_of(name)));
    format!(
        "[[gateway.keys]]\nname = \"{name}\"\nsha256 = \"{hash}\"\nowner = \"{owner}\"\nrole = \"{role}\"\n"
    )
}

/// All audit entries that are stored, in their order.
async fn entries(mesh: &Mesh) -> Vec<AuditEntry> {
    let bus = mesh.client.bus();
    let mut found = Vec::new();
    bus.scan(&bus.names().audit, &bus.subjects().all_audits(), 1, |message| {
        found.push(serde_json::from_slice(&message.payload).unwrap());
        std::ops::ControlFlow::Continue(())
    })
    .await
    .unwrap();
    found
}

/// The audit entry of a request, once it is stored.
async fn entry_of(mesh: &Mesh, request: &str) -> AuditEntry {
    wait_until(request, SOON, || async {
        entries(mesh).await.into_iter().find(|entry| entry.request == request)
    })
    .await
}

/// Starts a gateway that is expected to refuse, and answers what it says. The section may name where it listens.
async fn refused(mesh: &Mesh, gateway: &str) -> String {
    let mut config = settings(gateway);
    if gateway.contains("listen") {
        config = config.replacen("listen = \"127.0.0.1:0\"\n", "", 1);
    }
    let orders = mesh.gateway_orders("refused", &config);
    let mut command = tokio::process::Command::new(PROGRAM);
    command.arg(serde_json::to_string(&orders).unwrap()).kill_on_drop(true);
    let ended = tokio::time::timeout(SOON, command.output()).await;
    let output = ended.unwrap_or_else(|_| panic!("it runs: {gateway}")).unwrap();
    assert!(!output.status.success(), "{gateway}");
    assert!(output.stdout.is_empty(), "it said that it is ready: {gateway}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_opens_only_when_it_is_settled_who_comes_in() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let secret = key::hex(key::hash_of(&key_of("alice")));
    for (gateway, told) in [
        (String::new(), "NoWayIn"),
        ("open = true\nlisten = \"0.0.0.0:0\"".to_owned(), "OpenAnywhere"),
        (format!("{}color = 1", key_lines("alice", "acme", "caller")), "gateway.keys[0].color"),
        (
            format!(
                "{}[gateway.tls]\ncert = \"/none\"\nkey = \"/none\"",
                key_lines("alice", "acme", "caller")
            ),
            "/none",
        ),
    ] {
        let said = refused(&mesh, &gateway).await;
        assert!(said.contains(told), "{gateway}: {said}");
        assert!(!said.contains(&secret), "a hash is shown: {said}");
    }
    let open = mesh.gateway_with("g1", &settings("open = true")).await;
    let at = open.listen.clone().unwrap();
    assert_eq!(ask(&at, "GET", TASK, &[], "").await.status, LET_IN);
    for (headers, status) in [
        (&[("Host", "evil.example")][..], 403),
        (&[("Origin", "http://evil.example")], 403),
        (&[("Host", "127.0.0.1")], LET_IN),
        (&[("X-API-Key", "wk_wrong")], 401),
    ] {
        assert_eq!(ask(&at, "GET", TASK, headers, "").await.status, status, "{headers:?}");
    }
}

const ROLES: &str = r#"
[gateway.roles.reader]
operations = ["read"]
[gateway.roles.prober]
operations = ["send", "read"]
skills = ["probe"]
owners = ["acme"]
"#;

fn message(skill: &str) -> String {
    json!({
        "message": {
            "messageId": "m", "role": "ROLE_USER",
            "parts": [{"text": "hi"}], "metadata": {"weft/skill": skill},
        },
        "configuration": {"returnImmediately": true},
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_what_its_role_allows_and_nothing_else() {
    let keys = [
        key_lines("alice", "acme", "caller"),
        key_lines("rita", "acme", "reader"),
        key_lines("paul", "pauls", "prober"),
        ROLES.to_owned(),
    ];
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &settings(&keys.concat())).await;
    let _node = mesh.node("n1").await;
    let mut gateway = mesh.gateway("g1").await;
    let at = gateway.listen.clone().unwrap();
    wait_until("the skills", SOON, || async {
        let (key, body) = (key_of("alice"), message("probe"));
        let sent = ask(&at, "POST", "/message:send", &[("X-API-Key", &key)], &body).await;
        (sent.status == 200).then_some(())
    })
    .await;
    for (name, method, path, skill, status) in [
        ("alice", "GET", "/tasks/s77", "", LET_IN),
        ("alice", "GET", "/acme/tasks/s77", "", LET_IN),
        ("alice", "GET", "/pauls/tasks/s77", "", 403),
        ("alice", "POST", "/message:send", "echo", 200),
        ("alice", "POST", "/pauls/message:send", "echo", 403),
        ("rita", "GET", "/tasks/s77", "", LET_IN),
        ("rita", "POST", "/message:send", "echo", 403),
        ("rita", "POST", "/tasks/s1:cancel", "", 403),
        ("paul", "GET", "/tasks/s77", "", LET_IN),
        ("paul", "GET", "/acme/tasks/s77", "", LET_IN),
        ("paul", "GET", "/other/tasks/s77", "", 403),
        ("paul", "POST", "/message:send", "probe", 200),
        ("paul", "POST", "/message:send", "echo", 403),
        ("eve", "GET", "/tasks/s77", "", 401),
    ] {
        let body = if skill.is_empty() { String::new() } else { message(skill) };
        for header in ["X-API-Key", "Authorization"] {
            let key = key_of(name);
            let value = if header == "X-API-Key" { key } else { format!("Bearer {key}") };
            let answer = ask(&at, method, path, &[(header, &value)], &body).await;
            assert_eq!(answer.status, status, "{name} {method} {path} {skill}: {}", answer.text);
        }
    }
    // The settings are all that a gateway knows of keys: the next one takes the same.
    gateway.kill().await;
    assert!(gateway.restart().await);
    let at = gateway.listen.clone().unwrap();
    let key = key_of("alice");
    assert_eq!(ask(&at, "GET", TASK, &[("X-API-Key", &key)], "").await.status, LET_IN);
    let said = gateway.said();
    for name in ["alice", "rita", "paul", "eve"] {
        assert!(!said.contains(&key_of(name)), "the key of {name} is in the log");
        assert!(!said.contains(&key::hex(key::hash_of(&key_of(name)))), "its hash is in the log");
    }
    assert!(said.contains("alice"), "nobody is in the log: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_and_wrong_credentials_look_alike_and_public_addresses_ask_for_none() {
    let patient = "[gateway.limits]\nfailures_per_minute = 1000\n";
    let keys = format!("{}{patient}", key_lines("alice", "acme", "caller"));
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &settings(&keys)).await;
    let gateway = mesh.gateway("g1").await;
    let at = gateway.listen.clone().unwrap();
    let near = format!("{}B", &key_of("alice")[..45]);
    let tried: Vec<Vec<(&str, String)>> = vec![
        vec![],
        vec![("X-API-Key", String::new())],
        vec![("X-API-Key", near.clone())],
        vec![("Authorization", format!("Bearer {near}"))],
        vec![("Authorization", "Basic YWxpY2U6YWxpY2U=".to_owned())],
        vec![("Authorization", "Bearer a.b.c".to_owned())],
        vec![
            ("X-API-Key", "wk_x".to_owned()),
            ("Authorization", format!("Bearer {}", key_of("alice"))),
        ],
    ];
    for path in ["/tasks", "/v1/tasks", "/nothing/here", "/tasks/s1", "/extendedAgentCard"] {
        let mut seen = Vec::new();
        for headers in &tried {
            let headers: Vec<(&str, &str)> =
                headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let mut answer = ask(&at, "GET", path, &headers, "").await;
            assert_eq!(answer.status, 401, "{path} {headers:?}");
            let schemes = answer.header("www-authenticate");
            assert!(schemes.contains("Bearer") && schemes.contains("X-API-Key"), "{schemes}");
            answer.headers.remove("x-request-id");
            answer.headers.remove("date");
            seen.push(answer);
        }
        assert!(seen.windows(2).all(|two| two[0] == two[1]), "{path}: {seen:#?}");
    }
    for path in ["/livez", "/readyz", "/.well-known/agent-card.json", "/openapi.json"] {
        let answer = ask(&at, "GET", path, &[], "").await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(ask(&at, "HEAD", path, &[], "").await.status, 200, "{path}");
        let answer = ask(&at, "POST", path, &[], "").await;
        assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD"), "{path}");
    }
    let hidden = mesh.gateway_with("g2", &settings(&format!("public_cards = false\n{keys}"))).await;
    let at = hidden.listen.clone().unwrap();
    let card = "/.well-known/agent-card.json";
    assert_eq!(ask(&at, "GET", card, &[], "").await.status, 401);
    let key = key_of("alice");
    assert_eq!(ask(&at, "GET", card, &[("X-API-Key", &key)], "").await.status, 200);
}
