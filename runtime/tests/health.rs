//! The health and metrics doors, asked over real HTTP by a client that is not ours.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test that calls them")]

use std::net::SocketAddr;
use std::time::Duration;

use protocol::Skill;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weft_runtime::health::Health;
use weft_runtime::health::server::serve;
use weft_runtime::metric::{CONTENT_TYPE, Metrics};
use weft_runtime::supervisor::Supervisor;

const LIMIT: Duration = Duration::from_secs(10);
const ANY_PORT: &str = "127.0.0.1:0";

struct Process {
    health: Health,
    metrics: Metrics,
    supervisor: Supervisor,
    addr: SocketAddr,
}

async fn process() -> Process {
    let (health, metrics) = (Health::new(), Metrics::new("test"));
    let supervisor = Supervisor::new(metrics.clone());
    let served =
        serve(ANY_PORT.parse().unwrap(), health.clone(), metrics.clone(), &supervisor).await;
    let addr = served.unwrap().local_addr;
    assert_ne!(addr.port(), 0);
    Process { health, metrics, supervisor, addr }
}

/// Status code, head and body.
async fn get(addr: SocketAddr, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(LIMIT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, head.to_lowercase(), body.to_owned())
}

#[tokio::test]
async fn readiness_follows_the_checks_and_liveness_does_not() {
    let process = process().await;
    let bus = process.health.check("bus");
    let coordinator = process.health.check("coordinator");
    coordinator.ok();
    let ok = r#"{"name":"coordinator","status":"ok"}"#;
    let gone = r#"{"name":"coordinator","status":"degraded","reason":"none in sight"}"#;
    type Step<'a> = (&'a dyn Fn(), u16, String);
    let steps: [Step<'_>; 5] = [
        (
            &|| {},
            503,
            format!(
                r#"{{"status":"failed","checks":[{{"name":"bus","status":"failed","reason":"starting"}},{ok}]}}"#
            ),
        ),
        (
            &|| bus.ok(),
            200,
            format!(r#"{{"status":"ok","checks":[{{"name":"bus","status":"ok"}},{ok}]}}"#),
        ),
        (
            &|| coordinator.degraded("none in sight"),
            200,
            format!(r#"{{"status":"degraded","checks":[{{"name":"bus","status":"ok"}},{gone}]}}"#),
        ),
        (
            &|| bus.failed("disconnected for 3s"),
            503,
            format!(
                r#"{{"status":"failed","checks":[{{"name":"bus","status":"failed","reason":"disconnected for 3s"}},{gone}]}}"#
            ),
        ),
        (
            &|| bus.ok(),
            200,
            format!(r#"{{"status":"degraded","checks":[{{"name":"bus","status":"ok"}},{gone}]}}"#),
        ),
    ];
    for (change, expected_code, expected_body) in steps {
        change();
        let (code, head, body) = get(process.addr, "/readyz").await;
        assert_eq!((code, body), (expected_code, expected_body));
        assert!(head.contains("content-type: application/json"), "{head}");
        assert_eq!(get(process.addr, "/livez").await.0, 200);
    }
}

#[tokio::test]
async fn metrics_are_served_as_openmetrics() {
    let process = process().await;
    process.metrics.skill(&Skill::parse("echo").unwrap()).tasks_completed.inc();
    let (code, head, body) = get(process.addr, "/metrics").await;
    assert_eq!(code, 200);
    assert!(head.contains(&format!("content-type: {CONTENT_TYPE}")), "{head}");
    assert!(body.contains("weft_tasks_completed_total{skill=\"echo\"} 1\n"), "{body}");
    assert!(body.ends_with("# EOF\n"), "{body}");
    assert_eq!(get(process.addr, "/").await.0, 404);
}

#[tokio::test]
async fn the_server_ends_with_the_process_even_if_a_client_hangs() {
    let process = process().await;
    let mut hanging = TcpStream::connect(process.addr).await.unwrap();
    hanging.write_all(b"GET /readyz HTTP/1.1\r\n").await.unwrap();
    // Served after the hanging connection was accepted.
    assert_eq!(get(process.addr, "/livez").await.0, 200);
    process.supervisor.shutdown();
    process.supervisor.wait(LIMIT).await.unwrap();
    assert_eq!(process.supervisor.failure(), None);
    assert!(TcpStream::connect(process.addr).await.is_err());
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let process = process().await;
    let again =
        serve(process.addr, process.health.clone(), process.metrics, &process.supervisor).await;
    let error = again.unwrap_err();
    assert_eq!(error.addr, process.addr.to_string());
    assert!(error.to_string().contains(&process.addr.to_string()), "{error}");
}
