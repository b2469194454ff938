//! One message with a broken header, on a subject that clients may publish to, must not end what nodes and
//! coordinators are doing.

use std::time::Duration;

use protocol::entry::Event;
use serde_json::json;
use weft_tests::mesh::{AGENTS, Mesh};
use weft_tests::raw::RawClient;
use weft_tests::wait::wait_until;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");
const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_cancel_or_call_costs_no_running_task() {
    let (mesh, mut coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let mut node = mesh.node("n1").await;
    let long = mesh.submit("probe", json!({"sleepMs": 3_000})).await;
    mesh.until_kind(&long, "claimed").await;
    let mut raw = RawClient::connect(&mesh.server.client_url()).await;
    for subject in ["weft.call.echo", "weft.query.tasks"] {
        for poison in [&b"X: a\rb\r\n"[..], b"X: \xff\xfe\r\n", b"no colon\r\n"] {
            raw.publish(subject, poison, b"").await;
        }
    }
    // A core subscription hears cancels also where no stream stores them under this name.
    for poison in [&b"X: a\rb\r\n"[..], b"X: \xff\xfe\r\n"] {
        raw.publish("weft.cancel.default.zz.no.stream", poison, b"").await;
    }
    let entries = mesh.until_kind(&long, "completed").await;
    assert!(entries.iter().all(|entry| entry.attempt <= 1), "{entries:?}");
    assert!(node.is_running() && coordinator.is_running());
    // Both hear again.
    let bus = mesh.connect("caller").await;
    let call = || async {
        let headers = protocol::header::Headers::new();
        bus.ask("weft.call.echo".to_owned(), &headers, "hi".into(), SOON).await.ok()
    };
    wait_until("calls are answered again", SOON, call).await;
    let stubborn = mesh.submit("probe", json!({"sleepMs": 60_000})).await;
    mesh.until_kind(&stubborn, "claimed").await;
    mesh.client.cancel(&protocol::Owner::default(), &stubborn).await.unwrap();
    let entries = mesh.until_kind(&stubborn, "canceled").await;
    let end = entries.last().unwrap();
    assert!(matches!(end.event, Event::Canceled { .. }));
    assert_eq!(end.by.as_str(), "n1", "the node heard it by itself");
}
