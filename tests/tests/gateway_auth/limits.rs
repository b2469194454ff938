//! How often somebody may come, how slow and how large they may be, and what is open when a gateway stops.

use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use runtime::metric::Metrics;
use runtime::supervisor::{Kind, Supervisor};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use weft_tests::door;
use weft_tests::guest::{ask, over};
use weft_tests::http::{get, series};
use weft_tests::mesh::Mesh;
use weft_tests::pki::Authority;
use weft_tests::play::PLAYERS;
use weft_tests::wait::wait_until;
use weft_tests::work::SOON;

use super::{LET_IN, PROGRAM, TASK, key_lines, key_of, settings};

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_too_often_is_told_when_to_come_again() {
    let section = [
        "[gateway.limits]\nfailures_per_minute = 5\n",
        "[gateway.roles.slow]\noperations = [\"*\"]\nrate = 0.5\nburst = 3\n",
        &key_lines("alice", "acme", "slow"),
        &key_lines("rita", "acme", "slow"),
        &key_lines("paul", "acme", "caller"),
    ];
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &settings(&section.concat())).await;
    let gateway = mesh.gateway("g1").await;
    let at = gateway.listen.clone().unwrap();
    let come = |name: &'static str| {
        let at = at.clone();
        async move { ask(&at, "GET", TASK, &[("X-API-Key", &key_of(name))], "").await }
    };
    for _ in 0..3 {
        assert_eq!(come("alice").await.status, LET_IN);
    }
    let refused = come("alice").await;
    assert_eq!(refused.status, 429, "{}", refused.text);
    assert!(["1", "2"].contains(&refused.header("retry-after")), "{:?}", refused.headers);
    assert_eq!(refused.json()["error"]["details"][0]["reason"], "RATE_LIMITED");
    let (key, body) = (key_of("alice"), json!({"jsonrpc": "2.0", "id": 1, "method": "GetTask"}));
    let refused = ask(&at, "POST", "/", &[("X-API-Key", &key)], &body.to_string()).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (429, &json!(-32052)));
    assert_eq!(come("rita").await.status, LET_IN, "each has a rate of their own");
    for _ in 0..20 {
        assert_eq!(come("paul").await.status, LET_IN, "a role without a rate");
    }
    wait_until("the next one is let", SOON, || async {
        (come("alice").await.status == LET_IN).then_some(())
    })
    .await;

    let statuses = [401, 401, 401, 401, 401, 429, 429];
    for status in statuses {
        assert_eq!(come("eve").await.status, status);
    }
    assert!(!come("eve").await.header("retry-after").is_empty());
    assert_eq!(
        come("paul").await.status,
        LET_IN,
        "good credentials are not locked out by wrong ones"
    );
    assert_eq!(ask(&at, "GET", "/livez", &[], "").await.status, 200);
    let metrics = get(gateway.http.as_deref().unwrap(), "/metrics").await.unwrap().1;
    assert_eq!(series(&metrics, "weft_gateway_refused_total"), Some(8.0));
    let let_in = "weft_gateway_requests_total{door=\"rest\",operation=\"read\",status=\"404\"}";
    assert!(series(&metrics, let_in).is_some_and(|count| count >= 26.0), "{metrics}");
}

/// How long a connection lives on which this is sent, and nothing more.
async fn life(at: &str, sent: &str) -> Duration {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let ended = timeout(SOON, stream.read_to_end(&mut answer)).await;
    ended.expect("the connection is ended").ok();
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_cut_off_and_others_do_not_notice() {
    let section = "open = true\n[gateway.limits]\nheader_wait = \"400ms\"\nbody_wait = \"400ms\"\nidle = \"3s\"";
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &settings(section)).await;
    let gateway = mesh.gateway("g1").await;
    let at = gateway.listen.clone().unwrap();
    let head = "POST /message:send HTTP/1.1\r\nHost: localhost\r\nA2A-Version: 1.0\r\n";
    let body = format!("{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{");
    let answered = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let then_slow = format!("{answered}GET /livez HTTP/1.1\r\nHost: loc");
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let (quick, idle) = (Duration::from_millis(400), Duration::from_secs(3));
    for (what, sent, least, most) in [
        ("half a line", "GET /liv", quick, idle),
        ("headers without an end", head, quick, idle),
        ("a body without an end", &body, quick, Duration::from_secs(10)),
        ("nothing", "", idle, Duration::from_secs(10)),
        ("nothing after a request", answered, idle, Duration::from_secs(10)),
        ("half a second request", &then_slow, quick, Duration::from_secs(10)),
        ("nothing after the preface", preface, idle, Duration::from_secs(10)),
    ] {
        let slow = life(&at, sent);
        let others = async {
            let answer = ask(&at, "GET", TASK, &[], "").await;
            assert_eq!(answer.status, LET_IN, "beside {what}");
        };
        let (lived, ()) = tokio::join!(slow, others);
        assert!(lived >= least && lived < most, "{what}: {lived:?}");
    }
    let large = "x".repeat(60_000);
    let many: Vec<(String, &str)> = (0..150).map(|at| (format!("X-{at}"), "1")).collect();
    let many: Vec<(&str, &str)> =
        many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(ask(&at, "GET", TASK, &[("X-Large", &large)], "").await.status, 431);
    assert_eq!(ask(&at, "GET", TASK, &many, "").await.status, 431);
    let stream = TcpStream::connect(&at).await.unwrap();
    let length = [("Content-Length", "99999999"), ("Content-Type", "application/json")];
    let answer = over(stream, "POST", "/message:send", &length, "").await.unwrap();
    assert_eq!(answer.status, 413, "said before the body came: {}", answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_has_to_end_too() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &settings("open = true")).await;
    let authority = Authority::new("ours");
    authority.sign("server", &["dns:localhost"]).write(mesh.folder());
    let section = format!(
        "open = true\n[gateway.tls]\ncert = \"{0}/cert.pem\"\nkey = \"{0}/key.pem\"\n[gateway.limits]\nheader_wait = \"400ms\"",
        mesh.folder().display()
    );
    let gateway = mesh.gateway_with("g1", &settings(&section)).await;
    let at = gateway.listen.clone().unwrap();
    for sent in ["", "\u{16}\u{3}\u{1}"] {
        let lived = life(&at, sent).await;
        assert!(lived >= Duration::from_millis(400) && lived < SOON, "{sent:?}: {lived:?}");
    }
    let slow: Vec<_> =
        futures_util::future::join_all((0..20).map(|_| TcpStream::connect(&at))).await;
    let stream = TcpStream::connect(&at).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let stream = authority.connector(None, &[]).connect(name, stream).await.unwrap();
    assert_eq!(over(stream, "GET", TASK, &[], "").await.unwrap().status, LET_IN);
    drop(slow);
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_callers_pass_the_same_gate() {
    let supervisor = Supervisor::new(Metrics::new("test"));
    let (mesh, _coordinator) =
        Mesh::start(PROGRAM, &settings(&key_lines("alice", "acme", "caller"))).await;
    let gateway = mesh.gateway("g1").await;
    let at = gateway.listen.clone().unwrap();
    let stream = TokioIo::new(TcpStream::connect(&at).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    supervisor.spawn("connection", Kind::Work, async { drop(connection.await) });
    for (key, admitted) in [(None, false), (Some("eve"), false), (Some("alice"), true)] {
        let path = format!("http://{at}/lf.a2a.v1.A2AService/GetTask");
        let mut request = axum::http::Request::post(path)
            .header("content-type", "application/grpc")
            .header("a2a-version", "1.0")
            .header("te", "trailers");
        if let Some(name) = key {
            request = request.header("x-api-key", key_of(name));
        }
        let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let headers = response.headers().clone();
        let trailers = response.into_body().collect().await.unwrap().trailers().cloned();
        let status =
            headers.get("grpc-status").or(trailers.as_ref().and_then(|all| all.get("grpc-status")));
        let status = status.unwrap().to_str().unwrap().to_owned();
        assert_eq!(status == "16", !admitted, "{key:?}: grpc-status {status}");
        assert_eq!(headers.contains_key("www-authenticate"), !admitted);
    }
    supervisor.shutdown();
}

fn plays(acts: &Value) -> Value {
    json!({"message": {"messageId": "m1", "role": "ROLE_USER", "parts": [{"data": {"acts": acts}}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_stops_ends_streams_and_answers_who_waits() {
    let config = format!(
        "{PLAYERS}\n[gateway]\nlisten = \"127.0.0.1:0\"\nopen = true\ndefault_skill = \"play\"\n\
         [gateway.limits]\ngrace = \"1s\""
    );
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &config).await;
    let node = mesh.node("n1").await;
    let mut gateway = mesh.gateway("g1").await;
    let at = gateway.listen.clone().unwrap();
    let work = plays(&json!([{"act": "work", "ms": 60_000}]));
    wait_until("the skill", SOON, || async {
        let now = json!({"returnImmediately": true});
        let mut quick = plays(&json!([]));
        quick["configuration"] = now;
        let sent = door::call(&at, "POST", "/message:send", Some(&quick)).await;
        (sent.status == 200).then_some(())
    })
    .await;
    let mut stream = door::frames(&at, "POST", "/message:stream", &[], Some(&work)).await;
    stream.next().await.unwrap();
    let blocking = tokio::join!(door::call(&at, "POST", "/message:send", Some(&work)), async {
        wait_until("both run", SOON, || async {
            let (_, metrics) = get(node.http.as_deref()?, "/metrics").await?;
            let running = series(&metrics, "weft_attempts_in_flight{skill=\"play\"}")?;
            (running >= 2.0).then_some(())
        })
        .await;
        gateway.terminate();
        let begun = Instant::now();
        while stream.next().await.is_some() {}
        begun.elapsed()
    });
    let (answered, stream_lived) = blocking;
    assert!(stream_lived < Duration::from_secs(10), "{stream_lived:?}");
    assert_eq!(answered.status, 503, "{answered:?}");
    assert!(timeout(SOON, gateway.ended()).await.unwrap().success(), "{}", gateway.said());
    assert!(TcpStream::connect(&at).await.is_err());
    assert!(!gateway.said().contains("ended without them"), "{}", gateway.said());
}

/// One request whose body comes a moment after its head, and the head of the answer.
async fn slow_body(stream: &mut TcpStream, path: &str) -> String {
    let body = "{}";
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&seen).into_owned();
        let length = text.split_once("content-length: ").and_then(|(_, rest)| {
            let (length, _) = rest.split_once('\r')?;
            let (_, body) = text.split_once("\r\n\r\n")?;
            Some(body.len() >= length.parse::<usize>().ok()?)
        });
        if length == Some(true) {
            return text;
        }
        assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0, "closed after {text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_leaves_its_connection_in_order() {
    let (mesh, _coordinator) =
        Mesh::start(PROGRAM, &settings(&key_lines("alice", "acme", "caller"))).await;
    let gateway = mesh.gateway("g1").await;
    let mut stream = TcpStream::connect(gateway.listen.clone().unwrap()).await.unwrap();
    for path in ["/", "/message:send", "/nothing/here", "/"] {
        let answer = slow_body(&mut stream, path).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{path}: {answer}");
    }
}

/// A request whose head promises a body of so many bytes.
fn head(path: &str, key: Option<&str>, bytes: usize) -> String {
    let shown = key.map(|name| format!("X-API-Key: {}\r\n", key_of(name))).unwrap_or_default();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nA2A-Version: 1.0\r\n{shown}\
         Content-Type: application/json\r\nContent-Length: {bytes}\r\n\r\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_refusal_reaches_a_client_that_writes_all_first() {
    let section = [
        "[gateway.roles.reader]\noperations = [\"read\"]\n",
        "[gateway.roles.cook]\noperations = [\"*\"]\nskills = [\"cook\"]\n",
        "[gateway.roles.slow]\noperations = [\"*\"]\nrate = 0.01\nburst = 1\n",
        &key_lines("rita", "acme", "reader"),
        &key_lines("carl", "acme", "cook"),
        &key_lines("sloe", "acme", "slow"),
        &key_lines("alice", "acme", "caller"),
    ];
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &settings(&section.concat())).await;
    let _node = mesh.node("n1").await;
    let gateway = mesh.gateway("g1").await;
    let at = gateway.listen.clone().unwrap();
    assert_eq!(ask(&at, "GET", TASK, &[("X-API-Key", &key_of("sloe"))], "").await.status, LET_IN);
    wait_until("the skill is announced", SOON, || async {
        let key = key_of("alice");
        let agents = ask(&at, "GET", "/v1/agents", &[("X-API-Key", &key)], "").await;
        agents.text.contains("\"echo\"").then_some(())
    })
    .await;
    let (large, too_large) = (8 << 20, (16 << 20) + 1);
    for (path, key, bytes, status) in [
        ("/message:send", None, large, 401),
        ("/", None, large, 401),
        ("/message:send", Some("rita"), large, 403),
        ("/agents/echo/message:send", Some("carl"), large, 403),
        ("/v1/tasks/echo", Some("carl"), large, 403),
        ("/v1/tasks/s1:cancel", Some("rita"), large, 403),
        ("/message:send", Some("sloe"), large, 429),
        ("/nothing/here", Some("alice"), large, 404),
        ("/v1/nothing", Some("alice"), large, 404),
        ("/message:send", Some("alice"), too_large, 413),
    ] {
        let expected = format!("HTTP/1.1 {status}");
        // Whoever listens first has the answer before any of the body.
        let mut stream = TcpStream::connect(&at).await.unwrap();
        stream.write_all(head(path, key, bytes).as_bytes()).await.unwrap();
        let mut start = [0; 12];
        timeout(SOON, stream.read_exact(&mut start)).await.expect(path).unwrap();
        assert_eq!(String::from_utf8_lossy(&start), expected, "{path} {key:?}");
        // And whoever writes everything first finds it behind that.
        let mut stream = TcpStream::connect(&at).await.unwrap();
        stream.write_all(head(path, key, bytes).as_bytes()).await.unwrap();
        let body = vec![b'x'; bytes];
        let wrote = timeout(SOON, stream.write_all(&body)).await.expect(path);
        assert!(wrote.is_ok(), "{path} {key:?}: {wrote:?}");
        let mut answer = Vec::new();
        let read = timeout(SOON, stream.read_to_end(&mut answer)).await.expect(path);
        assert!(read.is_ok(), "{path} {key:?}: {read:?}");
        assert!(String::from_utf8_lossy(&answer).starts_with(&expected), "{path} {key:?}");
    }
}
