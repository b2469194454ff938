//! Garbage for a living gateway: whatever comes, it answers, and never with a fault of its own.

use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use weft_tests::http::Answer;

use super::Lab;

#[path = "../../../gateway/tests/mutate/mod.rs"]
mod mutate;

/// Requests that are answered well.
const GOOD: &[&[u8]] = &[
    b"POST /agents/echo/message:send HTTP/1.0\r\nA2A-Version: 1.0\r\nContent-Type: application/a2a+json\r\nContent-Length: 86\r\n\r\n{\"message\":{\"messageId\":\"m\",\"role\":\"ROLE_USER\",\"parts\":[{\"text\":\"hi\"}],\"taskId\":\"\"}  }",
    b"POST /agents/echo HTTP/1.0\r\nA2A-Version: 1.0\r\nContent-Length: 126\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"SendMessage\",\"params\":{\"message\":{\"messageId\":\"m\",\"role\":\"ROLE_USER\",\"parts\":[{\"data\":1}]}}}",
    b"POST /agents/echo/message:stream HTTP/1.0\r\nA2A-Version: 1.0\r\nA2A-Extensions: urn:weft:a2a:resume:v1\r\nContent-Length: 72\r\n\r\n{\"message\":{\"messageId\":\"m\",\"role\":\"ROLE_USER\",\"parts\":[{\"text\":\"hi\"}]}}",
    b"GET /tasks?pageSize=7&status=working&includeArtifacts=true HTTP/1.0\r\nA2A-Version: 1.0\r\n\r\n",
    b"GET /tasks/s1:subscribe HTTP/1.0\r\nA2A-Version: 1.0\r\nLast-Event-ID: 1.0\r\n\r\n",
    b"POST /tasks/s1:cancel HTTP/1.0\r\nA2A-Version: 1.0\r\nContent-Length: 2\r\n\r\n{}",
    b"GET /default/tasks/s1?historyLength=2 HTTP/1.0\r\nA2A-Version: 1.0\r\n\r\n",
    b"POST /tasks/s1/pushNotificationConfigs HTTP/1.0\r\nA2A-Version: 1.0\r\nContent-Length: 29\r\n\r\n{\"url\":\"https://example.org\"}",
    b"GET /extendedAgentCard HTTP/1.0\r\nA2A-Version: 1.0\r\n\r\n",
    b"GET /agents/echo/.well-known/agent-card.json HTTP/1.0\r\nIf-None-Match: \"a\"\r\n\r\n",
    b"GET /files/abc HTTP/1.0\r\nRange: bytes=0-5\r\n\r\n",
    b"POST /v1/tasks/echo?wait=1s HTTP/1.0\r\nIdempotency-Key: a\r\nWeft-Context-Id: c\r\nWeft-Deadline: 5s\r\nWeft-Budget: {\"tokens\":5}\r\nContent-Length: 2\r\n\r\nhi",
    b"GET /v1/tasks/s1?wait=10ms HTTP/1.0\r\n\r\n",
    b"GET /v1/tasks/s1/tree HTTP/1.0\r\nWeft-Owner: default\r\n\r\n",
    b"POST /v1/tasks/s1/decision HTTP/1.0\r\nContent-Length: 21\r\n\r\n{\"verdict\":\"approve\"}",
    b"POST /v1/tasks/s1/signals/bell HTTP/1.0\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\nx",
    b"GET /v1/approvals HTTP/1.0\r\n\r\n",
];

/// Requests that are made.
const REQUESTS: usize = 1_500;
/// Requests at once.
const AT_ONCE: usize = 12;

/// How long an answer may take while the client may still send.
const PATIENCE: Duration = Duration::from_millis(700);
/// How long it may take once the client has said that nothing follows.
const LIMIT: Duration = Duration::from_secs(20);

/// Sends a request and reads what comes. Nothing may come when the request was cut off; that the connection stays open
/// without an end is a hang.
async fn sent(door: &str, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(door).await.unwrap();
    // Who refuses early may close before everything is sent; what was answered is still there.
    let _sent = stream.write_all(request).await;
    let mut answer = Vec::new();
    if timeout(PATIENCE, stream.read_to_end(&mut answer)).await.is_err() {
        let _closed = stream.shutdown().await;
        let hangs = timeout(LIMIT, stream.read_to_end(&mut answer)).await.is_err();
        assert!(!hangs, "b\"{}\" hangs", request.escape_ascii());
    }
    Answer::read(&answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_answered_and_never_called_a_fault_of_the_gateway() {
    let mut lab = Lab::open().await;
    let mut random = mutate::Random(0x67_61_72_62);
    let garbage: Vec<Vec<u8>> = (0..REQUESTS)
        .map(|at| match GOOD.get(at) {
            Some(good) => good.to_vec(),
            None => mutate::mutated(&mut random, GOOD),
        })
        .collect();
    let door = &lab.door;
    let mut answers = futures_util::stream::iter(garbage)
        .map(|mut request| async move {
            // What is cut off inside its headers would wait for the rest of them.
            request.extend_from_slice(b"\r\n\r\n");
            let answer = sent(door, &request).await;
            (request, answer)
        })
        .buffer_unordered(AT_ONCE);
    let (mut fine, mut refused) = (0, 0);
    while let Some((request, answer)) = answers.next().await {
        assert!(
            answer.status < 500 && !answer.body.windows(6).any(|code| code == b"-32603"),
            "b\"{}\" is answered with {}\n{}",
            request.escape_ascii(),
            answer.head,
            String::from_utf8_lossy(&answer.body)
        );
        fine += usize::from((200..300).contains(&answer.status));
        refused += usize::from(answer.status >= 400);
    }
    drop(answers);
    assert!(fine > REQUESTS / 20 && refused > REQUESTS / 4, "{fine} fine, {refused} refused");
    assert!(lab.processes.iter_mut().all(|process| process.is_running()));
    assert_eq!(lab.ask("POST", "/v1/tasks/echo?wait=30s", &[], "still there").await.status, 200);
}
