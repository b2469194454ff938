//! Files: parts over the inline limit leave as addresses, are fetched in ranges by those who may, and come back.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test that calls them"
)]

#[path = "gateway_files/unused.rs"]
mod unused;

use std::time::Duration;

use gateway::auth::key::{hash_of, hex};
use protocol::audit::AuditEntry;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weft_tests::cost::resident;
use weft_tests::http::{Answer, exchange, request};
use weft_tests::mesh::Mesh;
use weft_tests::process::Process;
use weft_tests::wait::wait_until;
use weft_tests::webhook::Receiver;
use weft_tests::work::SOON;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");

const CONFIG: &str = r#"
[bus]
lease = "2s"
[node]
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
"#;

struct Lab {
    mesh: Mesh,
    gateway: Process,
    door: String,
    _others: [Process; 2],
}

impl Lab {
    async fn open(config: &str) -> Self {
        let (mesh, coordinator) = Mesh::start(PROGRAM, config).await;
        let node = mesh.node("n1").await;
        let gateway = mesh.gateway("g1").await;
        let door = gateway.listen.clone().unwrap();
        Self { mesh, gateway, door, _others: [coordinator, node] }
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let headers = [&[("A2A-Version", "1.0")], headers].concat();
        request(&self.door, method, path, &headers, body).await
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let headers = [&[("Content-Type", "application/json")], headers].concat();
        self.ask("POST", path, &headers, body.to_string().as_bytes()).await
    }

    /// Sends these parts to the echo agent and returns the task.
    async fn echo(&self, parts: Value, headers: &[(&str, &str)]) -> Value {
        let answer = self.post("/message:send", headers, &to_echo(parts)).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        let task = answer.json()["task"].clone();
        assert_eq!(task["status"]["state"], "TASK_STATE_COMPLETED", "{task}");
        task
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask("GET", path, headers, b"").await
    }

    /// The path of an address here.
    fn path(&self, url: &Value) -> String {
        let (url, base) = (url.as_str().unwrap(), format!("http://{}", self.door));
        assert!(url.starts_with(&base), "{url}");
        url[base.len()..].to_owned()
    }

    async fn stored(&self) -> u64 {
        let bus = self.mesh.client.bus();
        bus.stream_state(&format!("OBJ_{}", bus.names().artifacts)).await.unwrap().messages
    }
}

fn to_echo(parts: Value) -> Value {
    json!({"message": {"messageId": "m", "role": "ROLE_USER", "parts": parts},
        "metadata": {"weft/skill": "echo"}})
}

/// Bytes in which each place looks different.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| u8::try_from((at ^ (at >> 8) ^ (at >> 16)) & 0xff).unwrap()).collect()
}

fn encoded(bytes: &[u8]) -> String {
    serde_json::to_value(protocol::message::Part::raw(bytes.to_vec(), None)).unwrap()["raw"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_names_the_store_and_every_range_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let model = format!("[coordinator]\nread_model = {:?}", folder.path().join("model"));
    let lab = Lab::open(&CONFIG.replace("[coordinator]", &model)).await;
    let receiver = Receiver::taking().await;
    let content = bytes(300_000);
    let part = json!({"raw": encoded(&content), "mediaType": "image/png", "filename": "ü b.png"});
    let task = lab.echo(json!([part]), &[]).await;
    let id = task["id"].as_str().unwrap();
    let shown = task["artifacts"][0]["parts"][0].clone();
    assert_eq!((&shown["mediaType"], &shown["filename"]), (&json!("image/png"), &json!("ü b.png")));
    let path = lab.path(&shown["url"]);

    let mut said = vec![task.to_string()];
    said.push(lab.get(&format!("/tasks/{id}"), &[]).await.json().to_string());
    let listed = wait_until("the task is listed", SOON, async || {
        let listed = lab.get("/tasks?includeArtifacts=true&historyLength=9", &[]).await.json();
        (listed["tasks"][0]["artifacts"].is_array()).then_some(listed)
    })
    .await;
    said.push(listed.to_string());
    let asked = json!({"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": id}});
    said.push(lab.post("/", &[], &asked).await.json().to_string());
    let mut streamed = to_echo(json!([part]));
    streamed["configuration"] = json!({"taskPushNotificationConfig": {"url": receiver.url("/")}});
    let stream = lab.post("/message:stream", &[], &streamed).await;
    said.push(String::from_utf8(stream.body).unwrap());
    let told = wait_until("the file is told", SOON, async || {
        receiver.calls().into_iter().find(|call| call.body["artifactUpdate"].is_object())
    })
    .await;
    said.push(told.body.to_string());
    for text in &said {
        assert!(!text.contains("weft-object") && !text.contains("weft/content"), "{text}");
        assert!(text.contains(&format!("http://{}/files/", lab.door)), "{text}");
    }

    every_part(&lab, &path, &content).await;
}

/// Fetches a file whole, in parts, and under conditions.
async fn every_part(lab: &Lab, path: &str, content: &[u8]) {
    let size = content.len();
    let whole = lab.get(path, &[]).await;
    let tag = whole.header("etag").unwrap().to_owned();
    for (name, value) in [
        ("content-type", "image/png"),
        ("content-length", "300000"),
        ("accept-ranges", "bytes"),
        ("x-content-type-options", "nosniff"),
        ("content-disposition", "attachment; filename*=UTF-8''%C3%BC%20b.png"),
    ] {
        assert_eq!(whole.header(name), Some(value), "{name}");
    }
    assert!(whole.status == 200 && whole.body == content);
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=5-131079", 5, 131_080),
        ("bytes=131072-131072", 131_072, 131_073),
        ("bytes=200000-", 200_000, size),
        ("bytes=-7", size - 7, size),
        ("bytes=10-99999999", 10, size),
    ] {
        let part = lab.get(path, &[("Range", range)]).await;
        assert_eq!(part.status, 206, "{range}");
        assert!(part.body == content[from..to], "{range}: {} bytes", part.body.len());
        let said = format!("bytes {from}-{}/{size}", to - 1);
        assert_eq!(part.header("content-range"), Some(said.as_str()));
    }
    for (headers, status, length) in [
        (vec![("Range", "bytes=300000-")], 416, 0),
        (vec![("Range", "bytes=0-1,5-6")], 416, 0),
        (vec![("Range", "bytes=0-9"), ("If-Range", tag.as_str())], 206, 10),
        (vec![("Range", "bytes=0-9"), ("If-Range", "\"other\"")], 200, size),
        (vec![("If-None-Match", tag.as_str())], 304, 0),
        (vec![("If-None-Match", "\"other\"")], 200, size),
    ] {
        let answer = lab.get(path, &headers).await;
        assert_eq!((answer.status, answer.body.len()), (status, length), "{headers:?}");
        let nowhere = answer.header("content-range") == Some("bytes */300000");
        assert_eq!(nowhere, status == 416, "{headers:?}");
    }
    let head = lab.ask("HEAD", path, &[], b"").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some("300000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_brought_can_be_named_and_comes_back() {
    let lab = Lab::open(CONFIG).await;
    let content = bytes(3_000_001);
    let headers = [("Content-Type", "application/zip")];
    let brought = lab.ask("POST", "/files?filename=a%20b.zip", &headers, &content).await;
    assert_eq!(brought.status, 201, "{}", String::from_utf8_lossy(&brought.body));
    let said = brought.json();
    assert_eq!((&said["filename"], &said["size"]), (&json!("a b.zip"), &json!(3_000_001)));
    assert_eq!(brought.header("location"), said["url"].as_str());
    let again = lab.stored().await;
    let twice = lab.ask("POST", "/files?filename=a%20b.zip", &headers, &content).await;
    assert_eq!(twice.json()["url"], said["url"]);
    assert_eq!(lab.stored().await, again, "the same bytes are stored once");

    let task = lab.echo(json!([{"url": said["url"]}]), &[]).await;
    let shown = &task["artifacts"][0]["parts"][0];
    assert_eq!((&shown["mediaType"], &shown["filename"]), (&said["mediaType"], &said["filename"]));
    let back = lab.get(&lab.path(&shown["url"]), &[]).await;
    assert!(back.body == content, "{} bytes", back.body.len());
    let object = said["url"].as_str().unwrap().split(['/', '?']).nth(4).unwrap().to_owned();
    for url in
        [format!("weft-object:{object}"), said["url"].as_str().unwrap().replace("sig=", "sig=x")]
    {
        let refused = lab.post("/message:send", &[], &to_echo(json!([{"url": url}]))).await;
        assert_eq!(refused.status, 400, "{url}");
        assert!(String::from_utf8_lossy(&refused.body).contains("message.parts[0].url"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_too_large_or_breaks_off_leaves_nothing() {
    let lab = Lab::open(CONFIG).await;
    let before = lab.stored().await;
    let max = protocol::limits::OBJECT_BYTES_MAX;
    let head = |rest: &str| format!("POST /files HTTP/1.1\r\nHost: {}\r\n{rest}\r\n\r\n", lab.door);
    let announced = head(&format!("Connection: close\r\nContent-Length: {}", max + 1));
    assert_eq!(exchange(&lab.door, announced.as_bytes()).await.unwrap().status, 413);
    // Nobody announces the length of a chunked body.
    let mut chunked = head("Connection: close\r\nTransfer-Encoding: chunked").into_bytes();
    let chunk = vec![7_u8; 1 << 20];
    for _ in 0..65 {
        chunked.extend_from_slice(b"100000\r\n");
        chunked.extend_from_slice(&chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let refused = exchange(&lab.door, &chunked).await.unwrap();
    assert!(matches!(refused.status, 413 | 0), "{refused:?}");
    let mut stream = TcpStream::connect(&lab.door).await.unwrap();
    stream.write_all(head("Content-Length: 9000000").as_bytes()).await.unwrap();
    stream.write_all(&vec![1; 2_000_000]).await.unwrap();
    wait_until("some of it is stored", SOON, async || (lab.stored().await > before).then_some(()))
        .await;
    drop(stream);
    wait_until("nothing is left", SOON, async || (lab.stored().await == before).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_pass_through_without_being_held() {
    let lab = Lab::open(CONFIG).await;
    let content = bytes(60_000_000);
    let before = resident(&lab.gateway);
    let brought = lab.ask("POST", "/files", &[], &content).await;
    assert_eq!(brought.status, 201);
    let path = lab.path(&brought.json()["url"]);
    // A client that reads the beginning and then nothing more.
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(&lab.door).await.unwrap();
        let asked = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", lab.door);
        stream.write_all(asked.as_bytes()).await.unwrap();
        let mut some = vec![0; 100_000];
        stream.read_exact(&mut some).await.unwrap();
        slow.push(stream);
    }
    let whole = lab.get(&path, &[]).await;
    assert!(whole.body == content, "{} bytes", whole.body.len());
    let grown = resident(&lab.gateway).saturating_sub(before);
    assert!(grown < 48 << 20, "{grown} bytes for five readers of 60 MB and a writer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_for_those_who_may_see_its_task() {
    let keys = [("ANN", "acme"), ("BOB", "acme"), ("EVE", "other")];
    let mut config = CONFIG.replace("open = true", "open = false");
    for (name, owner) in keys {
        let key = hex(hash_of(&format!("wk_{name}")));
        let name = name.to_lowercase();
        config.push_str(&format!(
            "[[gateway.keys]]\nname = \"{name}\"\nowner = \"{owner}\"\nsha256 = \"{key}\"\n"
        ));
    }
    let lab = Lab::open(&config).await;
    let key = |name: &str| format!("Bearer wk_{name}");
    let (ann, bob, eve) = (key("ANN"), key("BOB"), key("EVE"));
    let part = json!({"raw": encoded(&bytes(200_000))});
    let task = lab.echo(json!([part]), &[("Authorization", &ann)]).await;
    let url = task["artifacts"][0]["parts"][0]["url"].clone();
    let path = lab.path(&url);
    let object = path.split(['/', '?']).nth(2).unwrap().to_owned();
    for (path, who, status) in [
        (path.clone(), Some(&ann), 200),
        (path.clone(), Some(&bob), 200),
        (path.clone(), Some(&eve), 404),
        (path.clone(), None, 401),
        (path.replace("owner=acme", "owner=other"), Some(&eve), 404),
        (path.replace("octet-stream", "html"), Some(&ann), 404),
        (format!("/files/{object}"), Some(&ann), 404),
        (path.replace(&object, &"0".repeat(64)), Some(&ann), 404),
    ] {
        let headers: Vec<_> = who.map(|who| ("Authorization", who.as_str())).into_iter().collect();
        assert_eq!(lab.get(&path, &headers).await.status, status, "{path} {who:?}");
    }
    let (bus, eves) = (lab.mesh.client.bus(), protocol::Owner::parse("other").unwrap());
    wait_until("what eve may not see is told to the audit", SOON, async || {
        let kept = bus.all(&bus.names().audit, &bus.subjects().audit(eves.as_str())).await.unwrap();
        let entries = kept.iter().map(|one| serde_json::from_slice(&one.payload).unwrap());
        let mut denied = entries.filter(|entry: &AuditEntry| !entry.allowed);
        denied
            .any(|entry| entry.asked_for.is_some_and(|owner| owner.as_str() == "acme"))
            .then_some(())
    })
    .await;
    let stolen = to_echo(json!([{"url": url}]));
    let refused = lab.post("/message:send", &[("Authorization", &eve)], &stolen).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert_eq!(lab.ask("POST", "/files", &[], b"x").await.status, 401);
    // Whoever has the same bytes has an address of their own.
    let task = lab.echo(json!([part]), &[("Authorization", &eve)]).await;
    let own = lab.path(&task["artifacts"][0]["parts"][0]["url"]);
    assert!(own.contains(&object) && own != path);
    assert_eq!(lab.get(&own, &[("Authorization", &eve)]).await.status, 200);
    tokio::time::timeout(Duration::from_secs(5), async {
        assert_eq!(lab.get(&own, &[("Authorization", &ann)]).await.status, 404);
    })
    .await
    .unwrap();
}
