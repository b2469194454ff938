//! Agent cards in front of a real mesh: who is on them, how they are cached, who vouches for them, who sees more.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test that calls them"
)]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weft_tests::mesh::{AGENTS, Mesh};
use weft_tests::process::Process;
use weft_tests::python::Python;
use weft_tests::wait::wait_until;
use weft_tests::work::SOON;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");
const CARD: &str = "/.well-known/agent-card.json";
/// The reference SDK with what it needs to verify signatures.
const SDK: &[&str] =
    &["a2a-sdk[signing]==1.3.0", "PyJWT==2.15.1", "cryptography==50.0.2", "protobuf==7.36.2"];

/// A node with one agent that is a program.
const PROGRAM_AGENT: &str = r#"
[[agents]]
skill = "shout"
kind = "process"
[agents.options]
command = ["sh", "-c", '''
echo '{"type":"hello","protocol":1,"description":"Writes in capitals","tags":["loud"],"outputModes":["text/markdown"]}'
while read -r line; do echo '{"type":"result","output":"HELLO"}'; done
''']
input_modes = ["text/*"]
"#;

struct Answered {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Answered {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

async fn ask(gateway: &Process, method: &str, path: &str, headers: &[(&str, &str)]) -> Answered {
    let address = gateway.listen.as_deref().unwrap();
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        request.push_str(&format!("Host: {address}\r\n"));
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    Answered { status, headers, body: body.to_owned() }
}

/// The card of the mesh, once it lists these skills.
async fn listing(gateway: &Process, skills: &[&str]) -> Answered {
    wait_until(&format!("a card with {skills:?}"), SOON, || async {
        let answered = ask(gateway, "GET", CARD, &[]).await;
        let card = answered.json();
        let listed: Vec<_> = card["skills"]
            .as_array()
            .unwrap()
            .iter()
            .map(|skill| skill["id"].as_str().unwrap())
            .collect();
        (listed == skills).then_some(())?;
        Some(answered)
    })
    .await
}

/// The settings of [`AGENTS`] with further ones of the gateway: lines of its own section, then sections.
fn with_gateway(lines: &str, sections: &str) -> String {
    let text = AGENTS.replacen("open = true\n", lines, 1);
    text.replacen("[[agents]]", &format!("{sections}\n[[agents]]"), 1)
}

fn interface<'a>(card: &'a Value, binding: &str) -> &'a Value {
    let all = card["supportedInterfaces"].as_array().unwrap();
    all.iter().find(|one| one["protocolBinding"] == binding).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn mesh_agents_and_skills_have_full_cards() {
    let python = Python::with(env!("CARGO_TARGET_TMPDIR"), SDK).await;
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let _node = mesh.node("n1").await;
    let gateway = mesh.gateway("g1").await;
    listing(&gateway, &["echo", "probe"]).await;
    let address = gateway.listen.as_deref().unwrap();
    let paths = ["", "/agents/echo", "/agents/Echo", "/agents/probe"];
    let seen = python.run("a2a_cards.py", &[&["read", address], &paths[..]].concat()).await;
    for path in paths {
        let card = &seen[path];
        assert_eq!(card["missing"], json!([]), "{path}: {card:#}");
        assert_eq!(card["same"], true, "{path}");
        assert_eq!(
            card["understood"], card["document"],
            "{path}: something is not in A2A's own words"
        );
        let card = &card["document"];
        let base = format!("http://{address}{path}");
        let bindings: Vec<_> = card["supportedInterfaces"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["protocolBinding"].as_str().unwrap())
            .collect();
        assert_eq!(bindings, ["JSONRPC", "HTTP+JSON", "GRPC", "urn:weft:a2a-binding:nats:v1"]);
        assert_eq!(interface(card, "JSONRPC")["url"], *base);
        assert_eq!(interface(card, "HTTP+JSON")["url"], *base);
        let grpc = interface(card, "GRPC");
        assert_eq!(grpc["url"], *address);
        let tenant = path.strip_prefix("/agents/").map(|name| format!("~{name}"));
        assert_eq!(grpc["tenant"].as_str().map(str::to_owned), tenant);
        let capabilities = &card["capabilities"];
        for word in ["streaming", "pushNotifications", "extendedAgentCard"] {
            assert_eq!(capabilities[word], true, "{path} {word}");
        }
        let extensions = capabilities["extensions"].as_array().unwrap();
        assert!(
            extensions.len() >= 6 && extensions.iter().all(|one| one.get("required").is_none())
        );
        assert_eq!((card.get("securitySchemes"), card.get("securityRequirements")), (None, None));
    }
    let echo = &seen["/agents/echo"]["document"];
    assert_eq!((&echo["name"], &echo["defaultInputModes"]), (&json!("Echo"), &json!(["*/*"])));
    assert_eq!(echo["skills"].as_array().unwrap().len(), 1);
    assert_eq!(interface(echo, "urn:weft:a2a-binding:nats:v1")["url"], "nats:weft.task.echo");
    assert_eq!(seen["/agents/Echo"]["document"]["skills"], echo["skills"]);
    let missing = ask(&gateway, "GET", "/agents/nobody/.well-known/agent-card.json", &[]).await;
    assert_eq!((missing.status, &missing.json()["error"]["status"]), (404, &json!("NOT_FOUND")));
    let keys = ask(&gateway, "GET", "/.well-known/jwks.json", &[]).await;
    assert_eq!(keys.status, 404, "{}", keys.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn cards_are_made_for_caches() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let _node = mesh.node("n1").await;
    let gateway = mesh.gateway("g1").await;
    let first = listing(&gateway, &["echo", "probe"]).await;
    let etag = first.header("etag").to_owned();
    assert_eq!((first.status, first.header("cache-control")), (200, "public, max-age=60"));
    assert_eq!(first.header("content-type"), "application/json");
    assert!(first.header("vary").contains("Host"), "{:?}", first.headers);
    assert!(etag.starts_with('"') && etag.len() > 20, "{etag}");

    let known = ask(&gateway, "GET", CARD, &[("If-None-Match", &etag)]).await;
    assert_eq!((known.status, known.body.as_str(), known.header("etag")), (304, "", etag.as_str()));
    let several = format!("\"other\", W/{etag}");
    assert_eq!(ask(&gateway, "GET", CARD, &[("If-None-Match", &several)]).await.status, 304);
    let stale = ask(&gateway, "GET", CARD, &[("If-None-Match", "\"other\"")]).await;
    assert_eq!((stale.status, stale.body), (200, first.body.clone()));
    let head = ask(&gateway, "HEAD", CARD, &[]).await;
    assert_eq!((head.status, head.body.as_str(), head.header("etag")), (200, "", etag.as_str()));
    assert_eq!(head.header("content-length"), first.body.len().to_string());

    // Whoever asks under another name gets that name, and another validator; nobody's proxy is believed.
    let other = ask(&gateway, "GET", CARD, &[("Host", "localhost")]).await;
    assert_eq!(interface(&other.json(), "JSONRPC")["url"], "http://localhost");
    assert_eq!(interface(&other.json(), "GRPC")["url"], "localhost:80");
    assert_ne!(other.header("etag"), etag);
    let forged = [("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Proto", "https")];
    let forged = ask(&gateway, "GET", CARD, &forged).await;
    assert_eq!(forged.header("etag"), etag);

    // Every gateway of a mesh makes the same card.
    let second = mesh.gateway("g2").await;
    listing(&second, &["echo", "probe"]).await;
    let there = ask(&second, "GET", CARD, &[("Host", gateway.listen.as_deref().unwrap())]).await;
    assert_eq!(there.header("etag"), etag);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_skill_is_on_the_card_while_any_node_serves_it() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let gateway = mesh.gateway("g1").await;
    listing(&gateway, &[]).await;
    let mut n1 = mesh.node("n1").await;
    let alone = listing(&gateway, &["echo", "probe"]).await;
    let mut shouts = mesh.node_with("shouts", PROGRAM_AGENT, &[]).await;
    let more = listing(&gateway, &["echo", "probe", "shout"]).await;
    assert_ne!(more.header("etag"), alone.header("etag"));

    // What the program itself says is on the card once it has been started.
    let shout = more.json()["skills"][2].clone();
    assert_eq!(shout["inputModes"], json!(["text/*"]));
    assert_eq!(shout["outputModes"], json!(["application/json", "text/plain"]));
    assert_eq!(shout["tags"], json!(["shout"]));
    mesh.run("shout", "hello").await;
    let said = wait_until("what the program says", SOON, || async {
        let card = ask(&gateway, "GET", CARD, &[]).await.json();
        (card["skills"][2]["tags"] == json!(["loud"])).then(|| card["skills"][2].clone())
    })
    .await;
    assert_eq!(said["outputModes"], json!(["text/markdown"]));
    assert_eq!(said["description"], "Writes in capitals");

    let mut n2 = mesh.node("n2").await;
    wait_until("the second node", SOON, || async {
        (mesh.client.agents().await.unwrap().len() == 5).then_some(())
    })
    .await;
    n1.terminate();
    assert!(n1.ended().await.success(), "{}", n1.said());
    listing(&gateway, &["echo", "probe", "shout"]).await;
    shouts.terminate();
    assert!(shouts.ended().await.success(), "{}", shouts.said());
    listing(&gateway, &["echo", "probe"]).await;
    n2.kill().await;
    listing(&gateway, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_hold_and_every_changed_byte_breaks_them() {
    let python = Python::with(env!("CARGO_TARGET_TMPDIR"), SDK).await;
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display().to_string();
    python.run("a2a_cards.py", &["keys", &place]).await;
    for (key, algorithm, kind) in [("p256", "ES256", "EC"), ("ed25519", "EdDSA", "OKP")] {
        let config = with_gateway(
            "open = true\nurl = \"https://mesh.example\"\n",
            &format!("[gateway.sign]\nkey = \"{place}/{key}.pem\"\nkid = \"k1\"\n"),
        );
        let (mesh, _coordinator) = Mesh::start(PROGRAM, &config).await;
        let gateway = mesh.gateway("g1").await;
        let address = gateway.listen.as_deref().unwrap();
        // Without skills both readings of the canonical form differ, and both are signed.
        listing(&gateway, &[]).await;
        let empty = python.run("a2a_cards.py", &["verify", address, ""]).await;
        assert_eq!(
            (&empty["signatures"], &empty["letter"]),
            (&json!(2), &json!(true)),
            "{empty:#}"
        );
        let _node = mesh.node("n1").await;
        listing(&gateway, &["echo", "probe"]).await;
        for path in ["", "/agents/echo"] {
            let seen = python.run("a2a_cards.py", &["verify", address, path]).await;
            assert_eq!(seen["signatures"], 1, "{seen:#}");
            assert_eq!(seen["letter"], true);
            assert_eq!(seen["asked"], json!(["k1", "https://mesh.example/.well-known/jwks.json"]));
            assert_eq!(
                (&seen["keys"][0]["alg"], &seen["keys"][0]["kty"]),
                (&json!(algorithm), &json!(kind))
            );
            assert_eq!(seen["fooled"], json!([]));
            assert!(seen["tried"].as_u64().unwrap() > 30, "{seen:#}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_extended_card_holds_what_its_caller_may_use() {
    // The keys are wk_full, wk_echo and wk_none.
    let config = with_gateway(
        "",
        r#"
[[gateway.keys]]
name = "full"
owner = "acme"
sha256 = "FULL"
[[gateway.keys]]
name = "narrow"
owner = "acme"
role = "narrow"
sha256 = "NARROW"
[[gateway.keys]]
name = "blind"
owner = "acme"
role = "blind"
sha256 = "BLIND"
[gateway.roles.narrow]
operations = ["send", "card"]
skills = ["echo"]
[gateway.roles.blind]
operations = ["send"]
"#,
    );
    let config = ["FULL", "NARROW", "BLIND"].iter().fold(config, |text, name| {
        let key = gateway::auth::key::hash_of(&format!("wk_{}", name.to_lowercase()));
        text.replace(name, &gateway::auth::key::hex(key))
    });
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &config).await;
    let _node = mesh.node("n1").await;
    let gateway = mesh.gateway("g1").await;
    let public = listing(&gateway, &["echo", "probe"]).await.json();
    assert_eq!(public["securityRequirements"], json!([{"schemes": {"apiKey": {}}}]));
    assert_eq!(public["securitySchemes"]["apiKey"]["apiKeySecurityScheme"]["name"], "X-API-Key");

    let extended = async |key: &str, path: &str| {
        let bearer = format!("Bearer wk_{key}");
        ask(&gateway, "GET", path, &[("Authorization", &bearer), ("A2A-Version", "1.0")]).await
    };
    let skills = |card: &Value| -> Vec<String> {
        let all = card["skills"].as_array().unwrap().iter();
        all.map(|skill| skill["id"].as_str().unwrap().to_owned()).collect()
    };
    let facts = |card: &Value| -> Value {
        let all = card["capabilities"]["extensions"].as_array().unwrap().iter();
        all.clone().find(|one| one["uri"] == "urn:weft:a2a:skills:v1").unwrap()["params"].clone()
    };
    let full = extended("full", "/extendedAgentCard").await.json();
    assert_eq!(skills(&full), ["echo", "probe"]);
    let probe = &facts(&full)["probe"];
    assert_eq!(probe["inputSchema"]["properties"]["sleepMs"]["type"], "integer", "{probe:#}");
    assert_eq!(
        (&probe["nodes"][0]["node"], &probe["nodes"][0]["slots"]),
        (&json!("n1"), &json!(16))
    );
    let narrow = extended("narrow", "/extendedAgentCard").await.json();
    assert_eq!(skills(&narrow), ["echo"]);
    assert_eq!(facts(&narrow)["echo"].get("nodes"), None, "only those who may read see the load");
    let own = extended("narrow", "/agents/echo/extendedAgentCard").await.json();
    assert_eq!(skills(&own), ["echo"]);

    // A skill that the caller may not use looks like one that nobody serves.
    let foreign = extended("narrow", "/agents/probe/extendedAgentCard").await;
    let nowhere = extended("narrow", "/agents/nobody/extendedAgentCard").await;
    assert_eq!((foreign.status, nowhere.status), (404, 404));
    assert_eq!(foreign.body.replace("probe", "nobody"), nowhere.body);
    assert_eq!(extended("blind", "/extendedAgentCard").await.status, 403);
    let unknown = ask(&gateway, "GET", "/extendedAgentCard", &[("A2A-Version", "1.0")]).await;
    assert_eq!((unknown.status, unknown.headers.contains_key("www-authenticate")), (401, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nats_binding_is_as_its_page_says() {
    let python = Python::ready(env!("CARGO_TARGET_TMPDIR")).await;
    let model = tempfile::tempdir().unwrap();
    let model = format!("[coordinator]\nread_model = \"{}\"", model.path().join("m").display());
    let config = AGENTS.replacen("[coordinator]", &model, 1);
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &config).await;
    let _node = mesh.node_with("n1", weft_tests::play::PLAYERS, &[]).await;
    let _other = mesh.node("n2").await;
    let gateway = mesh.gateway("g1").await;
    listing(&gateway, &["echo", "play", "probe", "strict"]).await;
    let seen = python.run("nats_binding.py", &[&mesh.server.client_url()]).await;
    assert_eq!(seen["wrong"], json!([]), "{seen:#}");

    // The same tasks over HTTP.
    let at =
        async |path: String| ask(&gateway, "GET", &path, &[("A2A-Version", "1.0")]).await.json();
    for (what, state) in [("sent", "COMPLETED"), ("asked", "COMPLETED"), ("canceled", "CANCELED")] {
        let here = &seen[what];
        let there = at(format!("/tasks/{}", here["id"].as_str().unwrap())).await;
        assert_eq!(there["status"]["state"], format!("TASK_STATE_{state}"), "{what}: {there:#}");
        assert_eq!(there["status"]["state"], here["status"]["state"], "{what}");
        assert_eq!(there["contextId"], here["contextId"], "{what}");
        assert_eq!(there.get("artifacts").unwrap_or(&json!([])), &here["artifacts"], "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_extended_cards_says_so() {
    let config = with_gateway(
        "open = true\n",
        "[gateway.card]\nextended = false\nname = \"Ours\"\nmax_age = \"5s\"",
    );
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &config).await;
    let gateway = mesh.gateway("g1").await;
    let public = listing(&gateway, &[]).await;
    assert_eq!(public.header("cache-control"), "public, max-age=5");
    let card = public.json();
    assert_eq!(
        (&card["name"], &card["capabilities"]["extendedAgentCard"]),
        (&json!("Ours"), &json!(false))
    );
    let refused = ask(&gateway, "GET", "/extendedAgentCard", &[("A2A-Version", "1.0")]).await;
    let details = refused.json()["error"]["details"][0]["reason"].clone();
    assert_eq!(
        (refused.status, details),
        (400, json!("UNSUPPORTED_OPERATION")),
        "{}",
        refused.body
    );
}
